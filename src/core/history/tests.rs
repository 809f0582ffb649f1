use proptest::prelude::*;

use super::super::decide::worth_writing;
use super::super::sequential::design::{Design, MAX_STEPS, MULTIPLIERS};
use super::super::world::{STEPS, World, at, number, spec};
use super::*;
use crate::api::evidence::{Counted, Counts, Evidence};
use crate::api::status::{Phase, Reading};
use crate::api::{BirdWatchSpec, BirdWatchStatus};

const VERDICTS: [Option<Verdict>; 4] = [
    None,
    Some(Verdict::Bad),
    Some(Verdict::Unknown),
    Some(Verdict::Unhealthy),
];

fn point(second: i64, verdict: Option<Verdict>) -> Point {
    Point {
        at: at(second),
        weight: 10,
        value: Some(0.5),
        compared_with: None,
        upper: None,
        lower: None,
        evidence: None,
        verdict,
    }
}

/// Where the verdict is another than at the point before.
fn changes(points: &[Point]) -> Vec<Timestamped> {
    let pairs = points
        .windows(2)
        .filter(|pair| pair[0].verdict != pair[1].verdict);
    pairs.map(|pair| (pair[1].at, pair[1].verdict)).collect()
}

type Timestamped = (jiff::Timestamp, Option<Verdict>);

proptest! {
    #[test]
    fn however_it_comes_history_is_bounded_in_order_and_keeps_both_ends(
        steps in prop::collection::vec((1_i64..500, 0_usize..4), 1..400), most in 2_usize..70,
    ) {
        let (mut all, mut kept, mut now) = (Vec::new(), Vec::new(), 0);
        for (later, verdict) in steps {
            now += later;
            let point = point(now, VERDICTS[verdict]);
            all.push(point.clone());
            kept.push(point);
            thin(&mut kept, most);
            prop_assert!(kept.len() <= most);
            prop_assert!(kept.windows(2).all(|pair| pair[0].at < pair[1].at));
            prop_assert_eq!(kept.first(), all.first());
            prop_assert_eq!(kept.last(), all.last());
            prop_assert!(kept.iter().all(|point| all.contains(point)));
        }
        prop_assert_eq!(kept.len(), all.len().min(most));
    }

    #[test]
    fn changes_of_verdict_stay_while_they_fill_less_than_half(
        changed in prop::collection::btree_set(1_i64..2000, 0..15), most in 30_usize..61,
    ) {
        let (mut all, mut kept, mut bad) = (Vec::new(), Vec::new(), false);
        for second in 0..2000 {
            bad ^= changed.contains(&second);
            let point = point(second, bad.then_some(Verdict::Bad));
            all.push(point.clone());
            kept.push(point);
            thin(&mut kept, most);
        }
        prop_assert_eq!(changes(&kept), changes(&all));
    }

    #[test]
    fn a_rounded_number_is_within_a_millionth_and_none_that_json_cannot_hold(value in any::<f64>()) {
        match rounded(value) {
            Some(short) => prop_assert!((short - value).abs() <= value.abs() * 6e-6),
            None => prop_assert!(!value.is_finite() || value.abs() > 1.79e308),
        }
    }
}

#[test]
fn what_stays_is_spread_over_the_whole_time() {
    let mut kept = Vec::new();
    for second in 0..5000 {
        kept.push(point(second, None));
        thin(&mut kept, MOST_OF_METRIC);
    }
    let gaps = kept.windows(2).map(|pair| Span::between(pair[0].at, pair[1].at));
    let longest = gaps.max().unwrap();
    assert!(longest <= Span::secs(3 * 5000 / 60), "{longest}");
}

fn counted(components: usize) -> Counted {
    let requests = Counts {
        requests: 123_456_789.123_45,
        bad: 12_345.678_901_2,
    };
    Counted {
        reporter: Some("destination".to_owned()),
        bound: Some("300".to_owned()),
        design: Design::new(1.5, 0.01, 1.234_567_890_123, components)
            .unwrap()
            .into(),
        share: 0.05,
        evidence: Evidence {
            components: vec![vec![-123.456_789_012_345_67; MULTIPLIERS.len()]; components],
            canary: requests,
            production: requests,
        },
        judged: Some(at(5000)),
        step_canary: requests,
        step_production: requests,
        requests_per_second: 123.456_789_012,
    }
}

/// The status of a rollout with twenty metrics and a hundred steps whose every number is long and whose verdicts flap,
/// after thousands of checks, and with another like it before.
fn worst(metric: &str, steps: usize) -> (BirdWatchStatus, BirdWatchSpec) {
    let metrics: Vec<String> = (0..20)
        .map(|i| format!("{{name: metric-number-{i}, {metric}}}"))
        .collect();
    let weights: Vec<String> = (1..=steps)
        .map(|i| format!("{{weight: {i}, hold: 1m}}"))
        .collect();
    let yaml = format!(
        "service: aleph\nmetrics: [{}]\nsteps: [{}]\n",
        metrics.join(", "),
        weights.join(", ")
    );
    let mut world = World::with_canary(&yaml);
    world.run(30);
    let mut status = world.status;
    let rollout = status.rollout.as_mut().unwrap();
    rollout.confirmed = 100;
    assert_eq!(rollout.metrics.len(), 20, "{}", status.message);
    for known in rollout.metrics.iter_mut().filter_map(|m| m.counted.as_mut()) {
        *known = counted(known.design.step_weights.len());
    }
    for second in 0..2000 {
        rollout.last_check = Some(at(second));
        for metric in &mut rollout.metrics {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let value = Some(0.001_234_567_890_123 / (second + 1) as f64);
            metric.verdict = Some([Verdict::Good, Verdict::Unhealthy][usize::from(second % 2 == 0)]);
            metric.last = Some(Reading {
                value,
                compared_with: value,
                upper: value,
                lower: value,
                message: "metric is 0.1235, baseline 0.1235, limits 0.1235 to 0.1235".repeat(2),
                at: at(second),
            });
        }
        note(rollout);
    }
    status.previous = previous(rollout);
    (status, world.spec.unwrap())
}

fn size(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).unwrap().len()
}

fn of_history(status: &BirdWatchStatus) -> usize {
    let metrics = status.rollout.iter().flat_map(|rollout| &rollout.metrics);
    metrics.map(|metric| size(&metric.history)).sum::<usize>() + size(&status.previous)
}

#[test]
fn twenty_metrics_and_thousands_of_checks_make_no_large_status() {
    const KIB: usize = 1024;
    let query = "query: 'histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{\
        destination_service_name=\"$(service)\", destination_version=\"$(version)\"}[1m])) by (le))', \
        deviation: 0.5, direction: both";
    // As long as all together may be, in bytes of which JSON makes two where it can.
    let pad = "\\\"".repeat(1200);
    let own = ["total", "bad"].map(|kind| format!("{kind}: '{kind}{{version=\"$(version)\", p=\"{pad}\"}}'"));
    let own = own.join(", ");
    assert!((90_000..100_000).contains(&(own.len() * 20)), "{}", own.len());
    for (what, metric, steps, all) in [
        ("queries", query, MAX_STEPS, 256 * KIB),
        ("presets", "preset: error-rate", 10, 256 * KIB),
        // The schema's own limits: half of what etcd takes has room for it, spec and all.
        ("selectors", own.as_str(), MAX_STEPS, 700 * KIB),
    ] {
        let (status, spec) = worst(metric, steps);
        let (whole, history) = (size(&status) + size(&spec), of_history(&status));
        println!("twenty {what}, {steps} steps: spec and status {whole} bytes, of which history {history}");
        assert!(whole <= all && history <= 160 * KIB, "{what}: {whole} {history}");
        let points = |metric: &MetricStatus| metric.history.len();
        let rollout = status.rollout.as_ref().unwrap();
        assert!(
            rollout
                .metrics
                .iter()
                .all(|metric| points(metric) == MOST_OF_ALL / 20)
        );
    }
}

#[test]
fn queries_that_are_too_long_together_are_refused() {
    let of = |bytes: usize| {
        let pad = "x".repeat(bytes / 20);
        let metrics: Vec<String> = (0..20)
            .map(|i| format!("{{name: m{i}, query: 'max(up{{p=\"{pad}\"}})', max: 1}}"))
            .collect();
        crate::core::plan::resolve(&spec(&format!(
            "service: aleph\nmetrics: [{}]\n",
            metrics.join(", ")
        )))
    };
    assert!(of(99_000).is_ok());
    let problems = of(100_000).unwrap_err();
    assert_eq!((problems.len(), problems[0].field.as_str()), (1, "metrics"));
    assert!(
        problems[0].problem.contains("100,000 bytes together"),
        "{problems:?}"
    );
}

/// Of 99 steps and twenty metrics four steps share a component; one metric alone has one for each.
#[test]
fn many_steps_of_many_metrics_share_components_of_the_evidence() {
    let components = |metrics: usize, weight: i32| {
        let metrics: Vec<String> = (0..metrics)
            .map(|i| format!("{{name: m{i}, preset: error-rate}}"))
            .collect();
        let mut world = World::with_canary(&format!(
            "service: aleph\nincrement: 1\ninterval: 5s\nmetrics: [{}]\n",
            metrics.join(", ")
        ));
        world.until(|w| w.status.weight == Some(weight));
        let metrics = &world.status.rollout.as_ref().unwrap().metrics;
        let counted = metrics.last().unwrap().counted.as_ref().unwrap();
        (
            counted.design.step_weights.len(),
            counted.evidence.components.len(),
        )
    };
    assert_eq!(components(1, 6), (99, 5));
    assert_eq!([5, 6].map(|weight| components(20, weight)), [(25, 1), (25, 2)]);
}

#[test]
fn one_metric_costs_a_few_kilobytes() {
    let mut world = World::with_canary(&STEPS.replace("hold: 10s", "hold: 20m"));
    world.run_to(Phase::Promoted);
    let history = &world.status.rollout.as_ref().unwrap().metrics[0].history;
    assert_eq!(history.len(), MOST_OF_METRIC);
    assert!(size(history) < 7 * 1024, "{}", size(history));
    let weights: Vec<u8> = history.iter().map(|point| point.weight).collect();
    assert!(weights.is_sorted() && weights.contains(&10) && weights.contains(&50) && weights.contains(&100));
}

#[test]
fn a_status_without_history_reads_and_one_with_it_is_read_back_whole() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    let written = serde_json::to_value(&world.status).unwrap();
    let read: BirdWatchStatus = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(read, world.status);
    let mut old = written;
    let metric = old.pointer_mut("/rollout/metrics/0").unwrap();
    assert!(metric.as_object_mut().unwrap().remove("history").is_some());
    let read: BirdWatchStatus = serde_json::from_value(old).unwrap();
    assert!(read.previous.is_none() && read.rollout.unwrap().metrics[0].history.is_empty());
}

#[test]
fn the_last_rollouts_readings_stay_when_the_next_begins() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    assert!(world.status.previous.is_none());
    let first = world.status.rollout.clone().unwrap();
    world.deploy("v3");
    world.until(|w| w.weight() == 10);
    let previous = world.status.previous.clone().unwrap();
    assert_eq!(
        (previous.id.as_str(), previous.canary.as_str()),
        (first.id.as_str(), "v2")
    );
    assert_eq!(
        (previous.production.as_str(), previous.ended),
        ("v1", first.ended)
    );
    let (now, before) = (&previous.metrics[0].history, &first.metrics[0].history);
    assert_eq!((now.first(), now.last()), (before.first(), before.last()));
    assert!(now.len() <= MOST_OF_METRIC / 2);
    // One that never read anything is no reason to forget.
    world.set_weight(0);
    world.oracle = |_, _| (number(f64::NAN), 1.0);
    world.deploy("v4");
    world.run(60);
    let of = |world: &World| world.status.previous.as_ref().unwrap().canary.clone();
    let third = of(&world);
    world.deploy("v5");
    world.run(60);
    assert_eq!(world.status.rollout.as_ref().unwrap().canary.version, "v5");
    assert_eq!(of(&world), third);
}

#[test]
fn history_is_worth_no_write_by_itself() {
    let mut world = World::with_canary(&STEPS.replace("hold: 10s", "hold: 5m"));
    world.until(|w| w.weight() == 10);
    world.run(20);
    let before = world.status.clone();
    let metric = &mut world.status.rollout.as_mut().unwrap().metrics[0];
    metric.history.push(point(10_000, None));
    assert!(!worth_writing(&before, &world.status, at(0), at(29)));
    assert!(worth_writing(&before, &world.status, at(0), at(30)));
}

#[test]
fn evidence_is_told_in_decimal_places_beside_what_would_be_enough() {
    let mut world =
        World::with_canary("service: aleph\nsteps: [{weight: 10, hold: 60s}]\ncheckInterval: 5s\n");
    world.traffic.bad = |_, _| 0.001;
    world.until(|w| w.weight() == 10);
    world.run(40);
    let metric = &world.status.rollout.as_ref().unwrap().metrics[0];
    let strength = strength(metric).unwrap();
    assert!((strength.limit - 2.0).abs() < 1e-9, "a budget of 1 % is 100:1");
    let last = metric.history.last().unwrap();
    assert!((last.evidence.unwrap() - strength.evidence).abs() < 1e-5 * strength.evidence.abs());
    assert!(strength.evidence < 0.0 && last.compared_with.is_some());
}
