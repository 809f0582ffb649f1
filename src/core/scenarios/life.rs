//! Rollouts from their first step to their end: steps, holds, readings, capacity.

use super::*;

#[test]
fn a_healthy_canary_is_promoted_step_by_step() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    assert_eq!(world.path(), [0, 10, 50, 100, 0]);
    assert_eq!(
        world.seen.rule,
        Ok(RuleSeen {
            production: Some("v2".into()),
            canary: Some("v2".into()),
            host: None,
        })
    );
    assert_eq!(world.status.promoted_version.as_deref(), Some("v2"));
    assert!(!world.seen.finalizer);
    assert_eq!(
        world.reasons(),
        [
            "RolloutStarted",
            "WeightConfirmed",
            "WeightConfirmed",
            "WeightConfirmed",
            "Promoted"
        ]
    );
}

#[test]
fn each_step_is_held_for_its_whole_hold() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    let mut since = std::collections::BTreeMap::new();
    for (time, weight) in &world.weights {
        since.entry(*weight).or_insert(*time);
    }
    let held = |from: i64, to: i64| since[&to].duration_since(since[&from]).as_millis();
    for (from, to) in [(10, 50), (50, 100)] {
        assert!(
            (10_000..=10_300).contains(&held(from, to)),
            "{from} % for {} ms",
            held(from, to)
        );
    }
}

#[test]
fn an_unhealthy_canary_goes_back_in_the_pass_that_sees_it() {
    let mut world = World::with_canary(STEPS);
    sick_above(10)(&mut world);
    world.run_to(Phase::RolledBack);
    assert_eq!(world.path(), [0, 10, 50, 0]);
    let failure = world.status.rollout.as_ref().unwrap().failure.clone().unwrap();
    assert_eq!(failure.reason, FailureReason::MetricUnhealthy);
    for part in ["errors is 2", "baseline 0", "limit 0.5"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert!(
        world
            .events
            .iter()
            .any(|e| e.reason == "CanaryUnhealthy" && e.note.contains("weight 50 %"))
    );
}

#[test]
fn freeze_leaves_traffic_as_it_is_and_resume_goes_on() {
    let mut world = World::with_canary(&format!("{STEPS}ifUnhealthy: freeze\n"));
    sick_above(10)(&mut world);
    world.run_to(Phase::Frozen).run(1000);
    assert_eq!((world.weight(), world.status.phase), (50, Phase::Frozen));
    world.oracle = |_, _| (number(0.0), 1.0);
    world.seen.verb = Some("resume/1".into());
    world.run_to(Phase::Promoted);
}

#[test]
fn a_frozen_canary_without_pods_goes_to_zero() {
    let mut world = World::with_canary(&format!("{STEPS}ifUnhealthy: freeze\n"));
    sick_above(0)(&mut world);
    world.run_to(Phase::Frozen);
    world.pods("v2", 0);
    world.run_to(Phase::RolledBack);
    assert_eq!(world.weight(), 0);
}

#[test]
fn blind_is_not_sick_and_the_hold_stands_still() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.run(3);
    world.oracle = |_, _| (Outcome::Failed("Prometheus does not answer".into()), 0.0);
    world.run(600);
    assert_eq!((world.weight(), world.status.phase), (10, Phase::Progressing));
    assert_eq!(
        world.reasons().iter().filter(|r| **r == "Blind").count(),
        1,
        "people are told once"
    );
    assert!(holds(&world.status.conditions, ConditionType::Blind));
    world.oracle = |_, _| (number(0.0), 1.0);
    world.run_to(Phase::Promoted);
}

#[test]
fn without_any_traffic_the_first_step_is_taken_on_an_assumed_zero_and_nothing_beyond_it() {
    let mut world = World::with_canary(STEPS);
    world.oracle = |_, _| {
        (
            Outcome::Empty {
                unknown_names: Ok(Vec::new()),
            },
            0.0,
        )
    };
    world.until(|w| w.weight() == 10).run(3600);
    assert_eq!(world.path(), [0, 10]);
    assert!(
        world
            .events
            .iter()
            .any(|e| e.reason == "Blind" && e.note.contains("served no request"))
    );
    assert!(world.events.iter().any(|e| e.note.contains("assumed")));
}

#[test]
fn a_misspelt_metric_name_never_moves_traffic() {
    let mut world = World::with_canary(STEPS);
    world.oracle = |_, _| {
        (
            Outcome::Empty {
                unknown_names: Ok(vec!["istio_requets_total".into()]),
            },
            5.0,
        )
    };
    world.run(600);
    assert_eq!((world.path(), world.status.phase), (vec![0], Phase::Baseline));
    assert!(
        world
            .status
            .message
            .contains("no series named istio_requets_total"),
        "{}",
        world.status.message
    );
}

#[test]
fn an_empty_answer_of_a_version_that_served_requests_is_a_zero() {
    let mut world = World::with_canary(STEPS);
    world.oracle = |_, _| {
        (
            Outcome::Empty {
                unknown_names: Ok(Vec::new()),
            },
            5.0,
        )
    };
    world.run_to(Phase::Promoted);
}

#[test]
fn a_small_canary_is_held_at_its_capacity_and_says_so() {
    let mut world = World::with_canary(STEPS);
    let production = &mut world.seen.deployments[0];
    (
        production.replicas,
        production.current,
        production.updated,
        production.available,
    ) = (10, 10, 10, 10);
    let canary = &mut world.seen.deployments[1];
    (canary.replicas, canary.current, canary.updated, canary.available) = (1, 1, 1, 1);
    world.run(600);
    assert_eq!(world.path(), [0, 10]);
    assert!(
        world.status.message.contains("needs 3 available pods"),
        "{}",
        world.status.message
    );
    assert_eq!(world.reasons().iter().filter(|r| **r == "Held").count(), 1);
}

#[test]
fn a_killed_operator_loses_no_hold_and_counts_no_absence() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.run(6);
    world.crash(60);
    world.calm_down();
    assert_eq!(world.weight(), 10);
    world.run(3);
    assert_eq!(world.weight(), 10, "6 + 3 s are served, not 66");
    world.run(2);
    assert_eq!(world.weight(), 50);
}

#[test]
fn m_of_n_bad_checks_hold_the_weight_before_they_end_the_rollout() {
    let yaml = STEPS.replace("deviation: 0.5", "deviation: 0.5, failures: {count: 3, of: 5}");
    let mut world = World::with_canary(&format!("{yaml}checkInterval: 1s\n"));
    sick_above(0)(&mut world);
    world.until(|w| w.weight() == 10);
    world.run(2);
    assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 10));
    world.run(2);
    assert_eq!(world.status.phase, Phase::RolledBack);
}

#[test]
fn the_hold_is_at_least_what_the_query_looks_back() {
    let yaml = STEPS.replace("settle: 0s", "").replace(
        "errors{version=\"$(version)\"}",
        "rate(errors{version=\"$(version)\"}[30s])",
    );
    let mut world = World::with_canary(&yaml);
    world.until(|w| w.weight() == 10);
    let from = world.now;
    assert!(
        world.status.message.contains("31s instead of 10s"),
        "{}",
        world.status.message
    );
    world.until(|w| w.weight() == 50);
    assert!(Span::between(from, world.now) >= Span::secs(31));
}

#[test]
fn a_canary_compared_with_production_is_judged_at_full_weight_too() {
    let yaml = STEPS.replace("deviation: 0.5", "deviation: 0.5, compareTo: production");
    let mut world = World::with_canary(&yaml);
    world.oracle = |q, weight| match (q.side, weight) {
        (Side::Production, 100) => (number(f64::NAN), 0.0),
        _ => (number(3.0), 10.0),
    };
    world.run_to(Phase::Promoted);
}

#[test]
fn a_raise_that_could_not_be_written_is_not_made_up_for_on_old_evidence() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.routes_writable = false;
    world.run(15);
    sick_above(0)(&mut world);
    world.run(15);
    world.routes_writable = true;
    world.run(60);
    assert_eq!(
        (world.path(), world.status.phase),
        (vec![0, 10, 0], Phase::RolledBack)
    );
}
