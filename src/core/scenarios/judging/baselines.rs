//! What becomes the baseline, what does not, and how long it is waited for.

use super::*;
use crate::api::conditions::{ConditionType, holds};
use crate::api::status::{Baseline, BaselineSource};

/// Before any weight moves `samples` are read one by one, the last of them again and again; afterwards `reading`.
fn sampled(yaml: &str, samples: &[Said], reading: f64) -> World {
    let mut samples = samples.to_vec();
    samples.reverse();
    let mut world = World::with_canary(yaml);
    world.answer(move |question, weight| match (question.side, weight) {
        (Side::Canary, 1..) => Said::one(reading),
        _ if samples.len() == 1 => samples[0].clone(),
        _ => samples.pop().unwrap(),
    });
    world
}

fn baseline(world: &World) -> &Baseline {
    metric_of(world).baseline.as_ref().unwrap()
}

/// It waits for a baseline, and says why.
fn waits(mut world: World, why: &str) -> World {
    world.run(120);
    assert_eq!(
        (world.status.phase, world.path()),
        (Phase::Baseline, vec![0]),
        "{why}"
    );
    let message = &world.status.message;
    assert!(
        message.contains("no traffic moves before there is a baseline"),
        "{message}"
    );
    assert!(message.contains(why), "{message}");
    assert!(holds(&world.status.conditions, ConditionType::Blind));
    let told = world
        .events
        .iter()
        .filter(|event| event.reason == "Blind")
        .count();
    assert_eq!(told, 1, "people are told once");
    world
}

/// The query of [`metric`] as one that names the canary itself, which production cannot be asked.
fn of_the_canary(yaml: &str) -> String {
    yaml.replace("$(version)", "v2")
}

#[test]
fn the_baseline_is_the_median_of_its_samples() {
    let rows: &[(&[f64], f64)] = &[
        (&[7.0], 7.0),
        (&[7.0, 1.0], 4.0),
        (&[7.0, 1.0, 2.0], 2.0),
        (&[100.0, 3.0, 1.0, 9.0, 2.0], 3.0),
        (&[-8.0, -2.0, 0.0, -4.0], -3.0),
    ];
    for (samples, median) in rows {
        let yaml = metric(&format!("deviation: 1, samples: {}", samples.len()));
        let said: Vec<Said> = samples.iter().copied().map(Said::one).collect();
        let mut world = sampled(&yaml, &said, *median);
        world.until(|w| w.weight() == 10);
        let Baseline {
            value,
            samples: n,
            source,
            ..
        } = baseline(&world);
        assert_eq!(
            (value.total_cmp(median).is_eq(), *source),
            (true, BaselineSource::Measured),
            "{value}"
        );
        assert_eq!(*n as usize, samples.len());
    }
}

#[test]
fn samples_are_taken_one_check_interval_apart() {
    let mut world = sampled(&metric("deviation: 1, samples: 4"), &[Said::one(4.0)], 4.0);
    world.run_to(Phase::Baseline);
    let span = took(&mut world, |w| w.status.phase == Phase::Progressing);
    assert!(span >= Span::secs(30) && span < Span::secs(32), "{span}");
}

#[test]
fn what_is_not_a_number_is_no_sample() {
    let said = [
        Said::one(2.0),
        Said::one(f64::NAN),
        Said::one(f64::INFINITY),
        Said::failed("refused"),
        Said::many([("{a}", 9.0), ("{b}", f64::NAN)]),
        Said::many((0..101).map(|i| (i, 9.0))),
        Said::one(6.0),
        Said::one(3.0),
    ];
    let mut world = sampled(&metric("deviation: 1, samples: 3"), &said, 3.0);
    world.until(|w| w.weight() == 10);
    assert_eq!(baseline(&world).value.to_bits(), 3.0_f64.to_bits());
    assert!(!holds(&world.status.conditions, ConditionType::Blind));
}

#[test]
fn from_three_samples_on_three_times_their_spread_is_allowed_too() {
    // Around a median of 3 the distances are 2, 1, 0, 1 and 97: the spread is 1.4826, three times that 4.4478.
    let five: &[f64] = &[1.0, 4.0, 3.0, 2.0, 100.0];
    let rows: &[(&str, &[f64], f64, Verdict)] = &[
        ("", five, 7.4478, Good),
        ("", five, 7.4479, Unhealthy),
        ("direction: decrease, ", five, -1.4478, Good),
        ("direction: decrease, ", five, -1.4479, Unhealthy),
        // Two are no spread, whatever lies between them.
        ("", &[1.0, 5.0], 3.5, Good),
        ("", &[1.0, 5.0], 3.5001, Unhealthy),
        // Three are: median 3, distances 2, 0 and 2, and so 2.9652, three times that 8.8956.
        ("", &[1.0, 3.0, 5.0], 11.8956, Good),
        ("", &[1.0, 3.0, 5.0], 11.8957, Unhealthy),
        // It widens a limit and never narrows it.
        ("", &[3.0, 3.0, 3.0], 3.5, Good),
        ("", &[3.0, 3.0, 3.0], 3.5001, Unhealthy),
        // Production of the same moment has none, and `max` is absolute.
        ("compareTo: production, ", five, 7.4, Unhealthy),
        ("max: 5, ", five, 5.0001, Unhealthy),
    ];
    for (fields, samples, reading, expected) in rows {
        let yaml = metric(&format!("{fields}deviation: 0.5, samples: {}", samples.len()));
        let mut said: Vec<Said> = samples.iter().copied().map(Said::one).collect();
        // For what production says once weight has moved.
        said.push(Said::one(3.0));
        let world = checked(sampled(&yaml, &said, *reading), 1);
        assert_eq!(
            verdict(&world),
            *expected,
            "{fields}{samples:?}: {}",
            words(&world)
        );
    }
}

#[test]
fn a_percentage_of_0_is_no_limit_and_the_rollout_waits_and_says_so() {
    for fields in ["", ", direction: both", ", compareTo: previous", ", max: 5"] {
        let yaml = metric(&format!("deviationPercent: 20{fields}"));
        waits(
            sampled(&yaml, &[Said::one(0.0)], 0.0),
            "give minAbsolute beside deviationPercent",
        );
    }
    // Once it is not 0 the rollout goes on.
    let mut world = sampled(
        &metric("deviationPercent: 20"),
        &[Said::one(0.0), Said::one(5.0)],
        5.0,
    );
    world.until(|w| w.weight() == 10);
    assert_eq!(baseline(&world).value.to_bits(), 5.0_f64.to_bits());
}

#[test]
fn production_beyond_its_own_bounds_starts_nothing() {
    let cases = [
        ("max: 3", "production itself is beyond limit 3"),
        ("min: 5", "production itself is beyond limit 5"),
        ("min: 1, max: 3", "production itself is beyond limits 1 to 3"),
        ("deviation: 1, max: 3", "production itself is beyond limit 3"),
    ];
    for (fields, why) in cases {
        let world = waits(sampled(&metric(fields), &[Said::one(4.0)], 4.0), why);
        let blind = world.events.iter().find(|event| event.reason == "Blind");
        assert!(blind.unwrap().note.ends_with("it is at 4"), "{blind:?}");
    }
    for fields in ["max: 4", "min: 4"] {
        let mut world = sampled(&metric(fields), &[Said::one(4.0)], 4.0);
        world.until(|w| w.weight() == 10);
    }
    let yaml = of_the_canary(&metric("max: 3"));
    waits(
        sampled(&yaml, &[Said::one(4.0)], 4.0),
        "before any traffic has moved it is beyond limit 3",
    );
}

#[test]
fn an_empty_answer_before_any_traffic_is_an_assumed_0_only_where_the_traffic_is_known_to_be_none() {
    let yaml = of_the_canary(&metric("deviation: 1"));
    let empty = |traffic: Result<f64, String>| Said {
        traffic,
        ..Said::empty()
    };
    for (rate, source) in [
        (0.0, BaselineSource::AssumedZero),
        (3.0, BaselineSource::Measured),
    ] {
        let mut world = sampled(&yaml, &[empty(Ok(rate))], 0.5);
        world.until(|w| w.weight() == 10);
        assert_eq!(
            (baseline(&world).value.to_bits(), baseline(&world).source),
            (0, source)
        );
    }
    waits(
        sampled(&yaml, &[empty(Err("Prometheus refused".to_owned()))], 0.5),
        "the traffic is unknown: Prometheus refused",
    );
}

#[test]
fn an_assumed_0_is_no_baseline_where_lower_is_worse_and_nothing_could_be_below_the_limit() {
    let nothing = [Said::empty().at_rate(0.0)];
    for fields in [
        "deviation: 0.05, direction: decrease",
        "deviation: 0.05, direction: both",
        "deviationPercent: 20, minAbsolute: 0.05, direction: decrease",
        "deviation: 0.05, direction: both, max: 1",
        "deviation: 0.05, direction: decrease, samples: 3",
    ] {
        for (yaml, remedy) in [
            (metric(fields), "send production some requests"),
            (of_the_canary(&metric(fields)), "use $(version) in the query"),
        ] {
            let why = format!("nearly everything would be good beside an assumed 0: {remedy}");
            let world = waits(sampled(&yaml, &nothing, 0.9), &why);
            assert!(
                world.status.message.ends_with("or give min"),
                "{}",
                world.status.message
            );
        }
    }
    // A floor of its own judges whatever was assumed, and so does what was measured.
    for (fields, samples) in [
        ("deviation: 0.05, direction: decrease, min: 0.8", &nothing[..]),
        ("min: 0.8, direction: decrease", &nothing),
        (
            "deviation: 0.05, direction: decrease",
            &[nothing[0].clone(), Said::one(0.9)],
        ),
    ] {
        let yaml = of_the_canary(&metric(fields));
        let world = checked(sampled(&yaml, samples, 0.9), 1);
        assert_eq!(verdict(&world), Good, "{fields}");
        let world = checked(sampled(&yaml, samples, 0.7), 1);
        assert_eq!(verdict(&world), Unhealthy, "{fields}");
    }
}

#[test]
fn the_baseline_of_a_retry_waits_until_the_query_no_longer_sees_the_last_attempt() {
    let yaml = metric("deviation: 1")
        .replace(
            "'m{version=\"$(version)\"}'",
            "'rate(m{version=\"$(version)\"}[40s])'",
        )
        .replace("settle: 0s\n", "");
    let mut world = with_readings(&yaml, 4.0, &[Said::one(9.0)]);
    world.run_to(Phase::RolledBack);
    assert_eq!(world.path(), [0, 10, 0]);
    let checks = world.checks;
    world.seen.verb = Some("retry/1".into());
    world.run(30);
    assert_eq!(world.status.phase, Phase::Baseline, "{}", world.status.message);
    assert_eq!(
        world.checks, checks,
        "nothing is asked before the range and a scrape are over"
    );
    let waited = took(&mut world, |w| w.checks > checks);
    let all = waited.plus(Span::secs(30));
    assert!(all >= Span::secs(41) && all < Span::secs(44), "{all}");
}

#[test]
fn the_baseline_of_a_version_that_never_had_weight_waits_for_nothing() {
    let yaml = metric("deviation: 1")
        .replace(
            "'m{version=\"$(version)\"}'",
            "'rate(m{version=\"$(version)\"}[40s])'",
        )
        .replace("settle: 0s\n", "");
    let mut world = with_readings(&yaml, 4.0, &[Said::one(4.0)]);
    let waited = took(&mut world, |w| w.checks > 0);
    assert!(waited < Span::secs(5), "{waited}");
}

#[test]
fn a_sample_counts_once_though_the_plan_is_changed_and_changed_back() {
    let of = |limit: u8| metric(&format!("max: {limit}, samples: 3"));
    let mut world = with_readings(&of(1), 0.0, &[Said::one(0.0)]);
    let samples = |world: &World| {
        let rollout = world.status.rollout.as_ref();
        rollout.and_then(|rollout| Some(rollout.metrics.first()?.samples.len()))
    };
    world.until(|world| samples(world) == Some(1));
    for limit in [2, 1] {
        // The next sample is asked for, and not there yet.
        world.spec = Ok(spec(&of(limit)));
        world.calm_down();
    }
    assert_eq!(samples(&world), Some(1));
    world.run_to(Phase::Promoted);
}
