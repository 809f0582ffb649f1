//! Judging by limits, from a spec to what becomes of the canary: which reading is good, and which is bad.

use super::super::observation::*;
use super::super::world::{Said, World, spec};
use crate::api::Span;
use crate::api::status::{FailureReason, MetricStatus, Phase, Verdict};

mod always;
mod baselines;
mod compared;
mod counted;
mod unknown;

use Verdict::{Bad, Good, Unhealthy, Unknown};

/// A metric of both versions with these further fields, judged at 10 % every ten seconds.
fn metric(fields: &str) -> String {
    format!(
        "service: aleph\n\
         metrics: [{{name: m, query: 'm{{version=\"$(version)\"}}', {fields}}}]\n\
         steps: [{{weight: 10, hold: 1m}}, {{weight: 100, hold: 1m}}]\n\
         settle: 0s\n\
         checkInterval: 10s\n"
    )
}

/// Before any weight moves both versions say `before`, and the canary's checks `readings` one by one, the last of
/// them again and again.
fn with_readings(yaml: &str, before: f64, readings: &[Said]) -> World {
    let mut readings = readings.to_vec();
    readings.reverse();
    let next = move || match readings.len() {
        1 => readings[0].clone(),
        _ => readings.pop().unwrap(),
    };
    with_script(yaml, before, next)
}

fn with_script(yaml: &str, before: f64, mut next: impl FnMut() -> Said + 'static) -> World {
    let mut world = World::with_canary(yaml);
    world.answer(move |question, weight| match (question.side, weight) {
        (Side::Canary, 1..) => next(),
        _ => Said::one(before),
    });
    world
}

/// Lets so many checks of the canary's traffic be taken in.
fn checked(mut world: World, checks: usize) -> World {
    world.until(|w| w.weight() == 10);
    for _ in 0..checks {
        let before = last_check(&world);
        world.until(|w| last_check(w) != before);
    }
    world
}

fn last_check(world: &World) -> Option<jiff::Timestamp> {
    world.status.rollout.as_ref().unwrap().last_check
}

fn metric_of(world: &World) -> &MetricStatus {
    &world.status.rollout.as_ref().unwrap().metrics[0]
}

fn verdict(world: &World) -> Verdict {
    metric_of(world).verdict.unwrap()
}

/// What was read last, in words.
fn words(world: &World) -> &str {
    &metric_of(world).last.as_ref().unwrap().message
}

fn reason(world: &World) -> Option<FailureReason> {
    Some(world.status.rollout.as_ref()?.failure.as_ref()?.reason)
}

/// The verdict on the first reading of the canary, and that it has the consequence it must have.
fn judged(fields: &str, before: f64, reading: Said) -> (Verdict, World) {
    let world = checked(with_readings(&metric(fields), before, &[reading]), 1);
    let verdict = verdict(&world);
    let (phase, weight, why) = match verdict {
        Unhealthy => (Phase::RolledBack, 0, Some(FailureReason::MetricUnhealthy)),
        _ => (Phase::Progressing, 10, None),
    };
    assert_eq!(
        (world.status.phase, world.weight(), reason(&world)),
        (phase, weight, why),
        "{fields}: {}",
        words(&world)
    );
    (verdict, world)
}

/// Fields of the metric, what is read before any weight moves, and the verdict on each reading after it.
type Row = (&'static str, f64, &'static [(f64, Verdict)]);

const LIMITS: &[Row] = &[
    (
        "deviation: 0.5",
        4.0,
        &[(4.5, Good), (4.5001, Unhealthy), (-100.0, Good)],
    ),
    ("deviation: 0", 4.0, &[(4.0, Good), (4.0001, Unhealthy)]),
    (
        "deviation: 0.5, direction: decrease",
        4.0,
        &[(3.5, Good), (3.4999, Unhealthy), (100.0, Good)],
    ),
    (
        "deviation: 0.5, direction: both",
        4.0,
        &[(3.5, Good), (4.5, Good), (3.4999, Unhealthy), (4.5001, Unhealthy)],
    ),
    (
        "deviationPercent: 25",
        4.0,
        &[(5.0, Good), (5.0001, Unhealthy), (0.0, Good)],
    ),
    // A percentage is of the size: below 0 the limit is above the baseline too.
    (
        "deviationPercent: 25",
        -4.0,
        &[(-3.0, Good), (-2.9999, Unhealthy), (-9.0, Good)],
    ),
    (
        "deviationPercent: 25, direction: decrease",
        4.0,
        &[(3.0, Good), (2.9999, Unhealthy), (100.0, Good)],
    ),
    (
        "deviationPercent: 25, direction: both",
        -4.0,
        &[
            (-3.0, Good),
            (-5.0, Good),
            (-2.9999, Unhealthy),
            (-5.0001, Unhealthy),
        ],
    ),
    // Both must be exceeded.
    (
        "deviationPercent: 25, minAbsolute: 3",
        4.0,
        &[(6.0, Good), (7.0, Good), (7.0001, Unhealthy)],
    ),
    (
        "deviationPercent: 25, minAbsolute: 3",
        400.0,
        &[(404.0, Good), (500.0, Good), (500.0001, Unhealthy)],
    ),
    (
        "deviationPercent: 25, minAbsolute: 3",
        0.0,
        &[(3.0, Good), (3.0001, Unhealthy)],
    ),
    ("max: 5", 4.0, &[(5.0, Good), (5.0001, Unhealthy), (-100.0, Good)]),
    ("min: 3", 4.0, &[(3.0, Good), (2.9999, Unhealthy), (100.0, Good)]),
    (
        "min: 3, max: 5",
        4.0,
        &[(4.0, Good), (2.0, Unhealthy), (6.0, Unhealthy)],
    ),
    // Of two limits the nearer counts.
    ("deviation: 10, max: 5", 4.0, &[(5.0, Good), (5.0001, Unhealthy)]),
    ("deviation: 0.5, max: 5", 4.0, &[(4.5, Good), (4.5001, Unhealthy)]),
    ("deviation: 0.5, min: 3", 4.0, &[(3.0, Good), (2.9999, Unhealthy)]),
    (
        "deviation: 2, min: 3, direction: decrease",
        4.0,
        &[(3.0, Good), (2.9999, Unhealthy)],
    ),
];
#[test]
fn a_reading_is_bad_beyond_its_limit_and_good_at_it() {
    for (fields, before, readings) in LIMITS {
        for (reading, expected) in *readings {
            let (verdict, _) = judged(fields, *before, Said::one(*reading));
            assert_eq!(verdict, *expected, "{fields}: {reading} after {before}");
        }
    }
}

#[test]
fn a_bad_reading_says_what_was_read_and_what_it_was_compared_with() {
    for (fields, before, reading, expected) in [
        ("deviation: 0.5", 4.0, 7.0, "m is 7, baseline 4, limit 4.5"),
        (
            "deviation: 0.5, direction: decrease",
            4.0,
            1.0,
            "m is 1, baseline 4, limit 3.5",
        ),
        (
            "deviation: 0.5, direction: both",
            4.0,
            1.0,
            "m is 1, baseline 4, limits 3.5 to 4.5",
        ),
        ("deviationPercent: 25", 4.0, 7.0, "m is 7, baseline 4, limit 5"),
        ("max: 5", 4.0, 7.0, "m is 7, baseline 4, limit 5"),
    ] {
        let (_, world) = judged(fields, before, Said::one(reading));
        assert_eq!(words(&world), expected);
        let told = world
            .events
            .iter()
            .find(|event| event.reason == "CanaryUnhealthy");
        assert!(told.unwrap().note.contains(expected), "{told:?}");
    }
}

/// Fields of the metric, the canary's series after a baseline of 4, the verdict on them, and what is named.
type Several = (
    &'static str,
    &'static [(&'static str, f64)],
    Verdict,
    &'static str,
);

const SEVERAL: &[Several] = &[
    (
        "deviation: 1",
        &[("{a}", 4.0), ("{b}", 9.0), ("{c}", 7.0)],
        Unhealthy,
        "m is 9 for {b}",
    ),
    (
        "deviation: 1",
        &[("{a}", 4.0), ("{b}", 4.5)],
        Good,
        "m is 4.5 for {b}",
    ),
    (
        "deviation: 1, direction: decrease",
        &[("{a}", 4.0), ("{b}", 1.0), ("{c}", 2.0)],
        Unhealthy,
        "m is 1 for {b}",
    ),
    (
        "deviation: 1, direction: both",
        &[("{a}", 5.5), ("{b}", 1.0), ("{c}", 6.0)],
        Unhealthy,
        "m is 1 for {b}",
    ),
    (
        "min: 3, max: 5",
        &[("{a}", 2.0), ("{b}", 9.0)],
        Unhealthy,
        "m is 9 for {b}",
    ),
    // One that is bad is bad beside whatever says nothing.
    (
        "deviation: 1",
        &[("{a}", f64::NAN), ("{b}", 9.0)],
        Unhealthy,
        "m is 9 for {b}",
    ),
    (
        "deviation: 1",
        &[("{b}", 9.0), ("{a}", f64::NAN)],
        Unhealthy,
        "m is 9 for {b}",
    ),
    (
        "deviation: 1",
        &[("{a}", f64::INFINITY), ("{b}", 9.0)],
        Unhealthy,
        "m is 9 for {b}",
    ),
    // And else one that says nothing makes the reading say nothing.
    (
        "deviation: 1",
        &[("{a}", f64::NAN), ("{b}", 4.0)],
        Unknown,
        "NaN for {a}",
    ),
    (
        "deviation: 1",
        &[("{b}", 4.0), ("{a}", f64::NAN)],
        Unknown,
        "NaN for {a}",
    ),
    (
        "deviation: 1",
        &[("{b}", 4.0), ("{a}", f64::NEG_INFINITY)],
        Unknown,
        "-inf for {a}",
    ),
];
#[test]
fn the_worst_of_several_series_counts_and_is_named() {
    for (fields, series, expected, named) in SEVERAL {
        let (verdict, world) = judged(fields, 4.0, Said::many(series.iter().copied()));
        assert_eq!(verdict, *expected, "{fields}: {series:?}");
        assert!(words(&world).contains(named), "{}", words(&world));
    }
}

#[test]
fn a_hundred_series_are_judged_and_one_more_says_nothing() {
    let series = |count: usize| Said::many((0..count).map(|i| (i, if i == 99 { 9.0 } else { 4.0 })));
    let (verdict, world) = judged("deviation: 1", 4.0, series(100));
    assert_eq!(verdict, Unhealthy, "{}", words(&world));
    let (verdict, world) = judged("deviation: 1", 4.0, series(101));
    assert_eq!(verdict, Unknown);
    assert!(words(&world).contains("101 series"), "{}", words(&world));
}

#[test]
fn readings_per_request_are_divided_by_the_requests_of_the_version_asked_about() {
    // Production: 4 of 400; the canary: so many of 10.
    for (canary, expected) in [(0.2, Good), (0.21, Unhealthy)] {
        let mut world = World::with_canary(&metric("deviation: 0.01, per: request"));
        world.answer(move |question, _| match question.side {
            Side::Production => Said::one(4.0).at_rate(400.0),
            Side::Canary => Said::one(canary).at_rate(10.0),
        });
        let world = checked(world, 1);
        assert_eq!(verdict(&world), expected, "{}", words(&world));
        assert_eq!(
            metric_of(&world).baseline.as_ref().unwrap().value.to_bits(),
            0.01_f64.to_bits()
        );
    }
}

#[test]
fn a_version_without_requests_has_nothing_to_divide_by() {
    let rates: [(Result<f64, String>, &str); 3] = [
        (Ok(0.0), "no requests"),
        (Ok(-1.0), "no requests"),
        (
            Err("Prometheus refused".to_owned()),
            "the request rate is unknown: Prometheus refused",
        ),
    ];
    for (traffic, why) in rates {
        let said = Said {
            traffic,
            ..Said::one(0.0)
        };
        let (verdict, world) = judged("deviation: 1, per: request", 4.0, said);
        assert_eq!(verdict, Unknown);
        assert!(words(&world).contains(why), "{}", words(&world));
    }
}

/// How long a world takes to do something.
fn took(world: &mut World, until: impl Fn(&World) -> bool) -> Span {
    let begun = world.now;
    world.until(until);
    Span::between(begun, world.now)
}
