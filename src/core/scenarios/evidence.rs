//! What counts as evidence and what no longer does: edits, lost canaries, other hands on a frozen one.

use super::super::decide::worth_writing;
use super::super::observation::*;
use super::super::world::{STEPS, World, at, number, spec};
use super::sick_above;
use crate::api::Span;
use crate::api::conditions::{ConditionType, holds};
use crate::api::status::{FailureReason, Phase};

#[test]
fn a_metric_edited_in_at_the_end_of_a_hold_is_read_before_the_next_raise() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.run(9);
    let more = "metrics: [{name: more, query: 'more{version=\"$(version)\"}', max: 1}, ";
    let yaml = STEPS.replace("metrics: [", more).replace("hold: 10s", "hold: 5s");
    world.oracle = |q, _| (number(if q.metric == "more" { 7.0 } else { 0.0 }), 1.0);
    world.spec = Ok(spec(&yaml));
    world.run_to(Phase::RolledBack);
    assert_eq!(world.path(), [0, 10, 0]);
}

#[test]
fn an_edit_does_not_make_old_evidence_new() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.routes_writable = false;
    world.run(120);
    world.oracle = |_, _| (number(f64::NAN), 1.0);
    world.run(30);
    world.spec.as_mut().unwrap().notify = Some(serde_json::from_str(r#"{"level": "ends"}"#).unwrap());
    world.routes_writable = true;
    world.run(60);
    assert_eq!(world.weight(), 10, "{}", world.status.message);
}

#[test]
fn the_baseline_is_given_as_much_time_as_any_other_check() {
    let mut world = World::with_canary(&STEPS.replace("hold: 10s", "hold: 2m"));
    world.seen.settings.query_timeout = Span::secs(5);
    world.until(|w| w.asked().is_some());
    assert_eq!(world.asked().unwrap().deadline, Span::secs(5));
}

#[test]
fn bare_readings_are_few_whatever_they_are_compared_with() {
    for compared in ["baseline", "previous", "production"] {
        let yaml = STEPS.replace("hold: 10s", "hold: 5m").replace(
            "deviation: 0.5",
            &format!("deviation: 0.5, compareTo: {compared}"),
        );
        let mut world = World::with_canary(&yaml);
        world.until(|w| w.weight() == 10);
        world.run(3);
        let written = world.status.clone();
        world.oracle = |q, _| (number(if q.side == Side::Production { 0.25 } else { 0.125 }), 1.0);
        world.run(15);
        assert_ne!(world.status, written);
        assert!(
            !worth_writing(&written, &world.status, at(0), at(29)),
            "{compared}"
        );
    }
}

#[test]
fn a_canary_lost_before_its_first_traffic_is_waited_for_until_its_deadline() {
    let mut world = World::with_canary(STEPS);
    world.oracle = |_, _| (number(f64::NAN), 1.0);
    world.run_to(Phase::Baseline);
    world.pods("v2", 0);
    world.calm_down();
    assert_eq!(world.status.phase, Phase::Pending, "{}", world.status.message);
    assert!(
        world.status.message.contains("0 available"),
        "{}",
        world.status.message
    );
    world.run_to(Phase::RolledBack);
    let failure = world.status.rollout.as_ref().unwrap().failure.as_ref();
    assert_eq!(failure.unwrap().reason, FailureReason::DeadlineExceeded);
    assert_eq!(world.path(), [0]);
}

#[test]
fn a_canary_that_comes_back_before_its_deadline_goes_on() {
    let mut world = World::with_canary(STEPS);
    world.routes_writable = false;
    world.run_to(Phase::Progressing);
    world.pods("v2", 0);
    world.calm_down();
    assert_eq!(world.status.phase, Phase::Pending);
    world.pods("v2", 2);
    world.routes_writable = true;
    world.run_to(Phase::Promoted);
}

#[test]
fn a_selector_that_is_changed_and_changed_back_makes_no_old_version_new() {
    let mut world = World::new(STEPS);
    let others = world.seen.deployments.clone();
    world.deploy("v0");
    let yaml = format!("{STEPS}canaryVersion: v1\n");
    world.spec = Ok(spec(&yaml));
    world.calm_down();
    let right = World::new(STEPS).spec.unwrap();
    let mut wrong = right.clone();
    wrong.workload = Some(serde_json::from_str(r#"{"selector": {"app": "mistyped"}}"#).unwrap());
    world.spec = Ok(wrong);
    let all = std::mem::take(&mut world.seen.deployments);
    assert_ne!(all, others);
    world.calm_down();
    world.spec = Ok(right);
    world.seen.deployments = all;
    world.run(60);
    assert!(world.status.rollout.is_none(), "{}", world.status.message);
    world.deploy("v2");
    world.run_to(Phase::Progressing);
}

#[test]
fn a_hand_that_lowers_a_frozen_canary_is_named_and_the_weight_that_is_left_shows() {
    let mut world = World::with_canary(&format!("{STEPS}ifUnhealthy: freeze\n"));
    sick_above(0)(&mut world);
    world.run_to(Phase::Frozen);
    world.set_weight(4);
    world.calm_down();
    assert_eq!(
        (world.status.phase, world.status.weight),
        (Phase::Frozen, Some(4))
    );
    assert!(
        world.status.message.contains("kubectl-edit lowered"),
        "{}",
        world.status.message
    );
    assert!(holds(&world.status.conditions, ConditionType::Interference));
    world.set_weight(10);
    world.calm_down();
    assert_eq!(world.weight(), 4, "not raised again in this attempt");
    world.set_weight(2);
    world.run(5);
    assert_eq!((world.weight(), world.status.weight), (2, Some(2)));
    world.seen.verb = Some("resume/1".into());
    world.calm_down();
    assert!(!world.status.verb.as_ref().unwrap().accepted);
}

#[test]
fn the_point_of_no_return_needs_fresh_evidence_about_what_was_watched() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 100);
    world.add_route("gateway/http[0]");
    world.run(60);
    assert_eq!(world.status.phase, Phase::Promoting, "held for the route");
    world.oracle = |_, _| (number(f64::NAN), 1.0);
    world.run(60);
    world.seen.routes.pop();
    world.run(60);
    assert!(!world.is_production("v2"), "{}", world.status.message);
    world.oracle = |_, _| (number(0.0), 1.0);
    world.seen.deployments[1].revision = None;
    world.run(60);
    assert!(!world.is_production("v2"), "{}", world.status.message);
    world.seen.deployments[1].revision = Some("1".into());
    world.run_to(Phase::Promoted);
}

/// At 100 %, its hold served, where somebody took the canary's subset away meanwhile.
fn promoted_without_a_subset() -> World {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 100);
    world.seen.rule = Err("DestinationRule aleph: subset canary is missing".into());
    world.run_to(Phase::Promoting);
    world
}

#[test]
fn a_canary_at_full_weight_is_judged_whatever_is_wrong_with_the_rule() {
    let mut world = promoted_without_a_subset();
    world.oracle = |_, _| (number(2.0), 1.0);
    world.run(20);
    assert_eq!(world.path(), [0, 10, 50, 100, 0]);
    let failure = world.status.rollout.unwrap().failure.unwrap();
    assert_eq!(failure.reason, FailureReason::MetricUnhealthy);
}

#[test]
fn a_promotion_that_waits_for_the_rule_says_so_and_goes_on_when_it_is_mended() {
    let mut world = promoted_without_a_subset();
    let rule = World::with_canary(STEPS).seen.rule.map(|rule| RuleSeen {
        canary: Some("v2".into()),
        ..rule
    });
    world.run(600);
    assert_eq!((world.weight(), world.status.phase), (100, Phase::Promoting));
    assert!(holds(&world.status.conditions, ConditionType::Held));
    let told = world.reasons().iter().filter(|one| **one == "Held").count();
    assert_eq!(told, 1, "{:?}", world.reasons());
    world.seen.rule = rule;
    world.run_to(Phase::Promoted);
}

#[test]
fn a_selector_that_is_changed_in_the_middle_starts_the_same_canary_again() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    let selector = r#"{"selector": {"app": "aleph", "tier": "web"}}"#;
    world.spec.as_mut().unwrap().workload = Some(serde_json::from_str(selector).unwrap());
    world.until(|w| w.weight() == 0);
    world.run_to(Phase::Promoted);
    assert_eq!(world.status.promoted_version.as_deref(), Some("v2"));
}

#[test]
fn a_canary_without_traffic_may_be_below_what_it_must_reach_with_some() {
    let yaml = STEPS
        .replace("deviation: 0.5", "min: 1")
        .replace(r#"{version="$(version)"}"#, "");
    let mut world = World::with_canary(&yaml);
    world.oracle = |_, percent| (number(f64::from(percent)), 1.0);
    world.run_to(Phase::Promoted);
}

#[test]
fn a_raise_that_was_written_and_never_confirmed_counts_as_weight() {
    let mut world = World::with_canary(STEPS);
    world.routes_writable = false;
    world.until(|w| w.status.rollout.as_ref().is_some_and(|r| r.intended == 10));
    // The server took it; neither its answer nor the watch came before a person gave up.
    world.set_weight(10);
    world.routes_writable = true;
    world.seen.verb = Some("rollback/1".into());
    world.run_to(Phase::RolledBack);
    let end = world.status.ended.last().unwrap();
    assert_eq!(end.had_weight_until, Some(world.now));
}

#[test]
fn what_another_weight_was_seen_at_ends_no_hold() {
    let yaml = STEPS.replace("settle: 0s", "settle: 8s");
    let mut world = World::with_canary(&yaml);
    world.until(|w| w.weight() == 10);
    world.run(8);
    let raised = world.now;
    world.set_weight(80);
    world.until(|w| w.weight() == 50);
    assert!(
        Span::between(raised, world.now) >= Span::secs(8),
        "{}",
        Span::between(raised, world.now)
    );
}

#[test]
fn a_baseline_is_not_taken_of_what_the_canary_had_by_hand() {
    let yaml = STEPS.replace("settle: 0s", "settle: 40s");
    let waited = |world: &mut World| {
        let since = world.now;
        world.until(|w| w.checks > 0);
        Span::between(since, world.now)
    };
    // At rest.
    let mut world = World::new(&yaml);
    world.set_weight(10);
    world.deploy("v2");
    world.run(60);
    assert_eq!((world.status.rollout.as_ref(), world.checks), (None, 0));
    world.set_weight(0);
    assert!(waited(&mut world) >= Span::secs(40));
    // While it is waited for.
    let mut world = World::new(&yaml);
    world.deploy("v2");
    world.pods("v2", 0);
    world.run(5);
    world.set_weight(10);
    world.calm_down();
    world.pods("v2", 2);
    assert!(waited(&mut world) >= Span::secs(40));
    // While it is being asked.
    let mut world = World::new(&STEPS.replace("settle: 0s", "settle: 40s"));
    world.deploy("v2");
    world.until(|w| w.asked().is_some());
    world.set_weight(10);
    world.calm_down();
    world.until(|w| w.status.phase == Phase::Progressing);
    let since = world.status.rollout.as_ref().unwrap().had_weight_at.unwrap();
    assert!(Span::between(since, world.now) >= Span::secs(40));
}
