//! What says nothing: never good, never bad, and unhealthy only where the spec says so and not too soon.

use super::*;
use crate::api::conditions::{ConditionType, holds};
use crate::core::world::STEPS;

fn lookup_failed() -> Said {
    Said::outcome(Outcome::Empty {
        unknown_names: Err("Prometheus refused".to_owned()),
    })
}

fn misspelt() -> Said {
    Said::outcome(Outcome::Empty {
        unknown_names: Ok(vec!["mm".to_owned()]),
    })
}

#[test]
fn what_says_nothing_is_unknown_with_its_reason_and_the_hold_stands_still() {
    let cases = [
        (Said::one(f64::NAN), "answered NaN"),
        (Said::one(f64::INFINITY), "answered inf"),
        (Said::one(f64::NEG_INFINITY), "answered -inf"),
        (Said::many([("{a}", f64::NAN)]), "answered NaN for {a}"),
        (Said::outcome(Outcome::Series(Vec::new())), "answered nothing"),
        (Said::failed("Prometheus refused"), "Prometheus refused"),
        (misspelt(), "no series named mm"),
        (
            lookup_failed(),
            "its names could not be looked up: Prometheus refused",
        ),
        (Said::empty().at_rate(0.0), "the version served no request"),
        (
            Said {
                traffic: Err("it broke".to_owned()),
                ..Said::empty()
            },
            "the traffic is unknown: it broke",
        ),
    ];
    for fields in [
        "deviation: 1",
        "deviation: 1, direction: decrease",
        "min: -5, max: 5",
    ] {
        for (said, why) in &cases {
            let (verdict, mut world) = judged(fields, 0.0, said.clone());
            assert_eq!(verdict, Unknown, "{fields}: {why}");
            assert!(words(&world).contains(why), "{why}: {}", words(&world));
            // Longer than the hold.
            world.run(150);
            assert_eq!(
                (world.status.phase, world.path()),
                (Phase::Progressing, vec![0, 10]),
                "{why}"
            );
            assert!(holds(&world.status.conditions, ConditionType::Blind), "{why}");
        }
    }
}

#[test]
fn an_empty_answer_of_a_version_that_served_requests_is_a_0_on_either_side_of_a_limit() {
    let (verdict, world) = judged("deviation: 1", 0.0, Said::empty());
    assert_eq!(verdict, Good, "{}", words(&world));
    let (verdict, _) = judged("deviation: 1, direction: decrease", 4.0, Said::empty());
    assert_eq!(verdict, Unhealthy);
    let (verdict, _) = judged("min: 1", 4.0, Said::empty());
    assert_eq!(verdict, Unhealthy);
}

#[test]
fn a_lower_limit_waits_for_a_first_result_after_a_change_of_weight_and_no_longer() {
    let spec = STEPS
        .replace("settle: 0s", "settle: 20s")
        .replace("deviation: 0.5", "min: 1");
    let judged = |first: i64| {
        let mut world = World::with_canary(&spec);
        world.answer(|_, _| Said::one(4.0));
        world.until(|w| w.weight() == 10);
        let begun = world.now;
        world.answer(move |_, weight| {
            let _ = weight;
            Said::empty()
        });
        world.run(first);
        let early = (world.status.phase, verdict(&world));
        assert_eq!(early, (Phase::Progressing, Unknown), "{}", words(&world));
        assert!(!holds(&world.status.conditions, ConditionType::Blind));
        (world, begun)
    };
    let (mut world, _) = judged(15);
    world.answer(|_, _| Said::one(4.0));
    world.run_to(Phase::Promoted);
    let (mut world, begun) = judged(15);
    world.run_to(Phase::RolledBack);
    assert!(world.now.duration_since(begun).as_secs() >= 20);
}

#[test]
fn a_quantile_without_a_result_is_no_0_whatever_traffic_there_was() {
    for query in [
        "histogram_quantile(0.99, sum by (le) (rate(latency_bucket[1m])))",
        "1000 * avg_over_time(latency[1m])",
    ] {
        let spec = format!(
            "service: aleph\nmetrics: [{{name: latency, query: '{query}', max: 9}}]\nsteps: [{{weight: 10, hold: 10s}}]\nsettle: 0s\n"
        );
        let mut world = World::with_canary(&spec);
        world.answer(|_, _| Said::one(4.0));
        world.until(|w| w.weight() == 10);
        world.answer(|_, _| Said::empty());
        world.run(60);
        let judged = (world.status.phase, verdict(&world));
        assert_eq!(judged, (Phase::Progressing, Unknown), "{}", words(&world));
    }
}

/// The seconds a metric has been unknown for when the rollout ends, where it does within ten minutes.
fn ends_after(fields: &str, readings: &[Said]) -> Option<i64> {
    let mut world = checked(with_readings(&metric(fields), 4.0, readings), 1);
    let begun = world.now;
    let seconds = |world: &World| world.now.duration_since(begun).as_secs();
    world.until(|w| w.status.phase != Phase::Progressing || seconds(w) > 600);
    if world.status.phase == Phase::Progressing {
        assert_eq!((world.weight(), verdict(&world)), (10, Unknown));
        return None;
    }
    world.run_to(Phase::RolledBack);
    assert_eq!(
        reason(&world),
        Some(FailureReason::MetricUnknown),
        "{}",
        words(&world)
    );
    assert!(
        world.reasons().contains(&"CanaryUnhealthy"),
        "{:?}",
        world.reasons()
    );
    Some(seconds(&world))
}

#[test]
fn unknown_ends_a_rollout_only_where_asked_for_and_not_before_its_time() {
    let nothing = || Said::one(f64::NAN);
    let rows: &[(&str, &[Said], Option<i64>)] = &[
        ("deviation: 1", &[nothing()], None),
        ("deviation: 1, ifUnknown: hold", &[nothing()], None),
        ("deviation: 1, ifUnknown: unhealthy", &[nothing()], Some(300)),
        (
            "deviation: 1, ifUnknown: unhealthy, unknownFor: 60s",
            &[nothing()],
            Some(60),
        ),
        (
            "max: 5, ifUnknown: unhealthy, unknownFor: 60s",
            &[Said::failed("no")],
            Some(60),
        ),
        // Between two checks: at the next.
        (
            "deviation: 1, ifUnknown: unhealthy, unknownFor: 65s",
            &[nothing()],
            Some(70),
        ),
        // M of N is about bad readings.
        (
            "deviation: 1, ifUnknown: unhealthy, unknownFor: 60s, failures: {count: 3, of: 3}",
            &[nothing()],
            Some(60),
        ),
    ];
    for (fields, readings, seconds) in rows {
        let ended = ends_after(fields, readings);
        let near = match (ended, seconds) {
            (Some(is), Some(expected)) => (*expected..=expected + 3).contains(&is),
            (is, expected) => is == *expected,
        };
        assert!(near, "{fields}: after {ended:?} and not {seconds:?}");
    }
}

#[test]
fn a_reading_in_between_starts_the_time_of_the_unknown_again() {
    let nothing = || Said::one(f64::NAN);
    let fields = "deviation: 1, ifUnknown: unhealthy, unknownFor: 60s";
    let mut readings = vec![nothing(); 5];
    readings.push(Said::one(4.0));
    readings.push(nothing());
    // 5 unknown checks, a good one at 50 s, unknown from 60 s on.
    let ended = ends_after(fields, &readings).unwrap();
    assert!((120..=124).contains(&ended), "{ended}");
}

#[test]
fn a_time_without_an_operator_is_no_time_of_the_unknown() {
    let yaml = metric("deviation: 1, ifUnknown: unhealthy, unknownFor: 60s");
    let mut world = checked(with_readings(&yaml, 4.0, &[Said::one(f64::NAN)]), 1);
    world.crash(600);
    world.run(50);
    assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 10));
    world.run(30);
    assert_eq!(reason(&world), Some(FailureReason::MetricUnknown));
}

#[test]
fn a_bad_metric_ends_the_rollout_whatever_is_unknown_of_another() {
    let yaml = metric("deviation: 1").replace(
        "metrics: [",
        "metrics: [{name: other, query: 'other{version=\"$(version)\"}', max: 5}, ",
    );
    let mut world = World::with_canary(&yaml);
    world.answer(|question, weight| match (&*question.metric, weight) {
        ("other", 1..) => Said::failed("refused"),
        ("m", 1..) => Said::one(9.0),
        _ => Said::one(4.0),
    });
    world.run_to(Phase::RolledBack);
    assert_eq!(reason(&world), Some(FailureReason::MetricUnhealthy));
}
