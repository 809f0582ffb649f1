//! What people do meanwhile: pauses, verbs, edits, and hands on weights and labels.

use super::*;

#[test]
fn a_pause_longer_than_the_hold_is_followed_by_the_rest_of_the_hold() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.run(4);
    world.spec.as_mut().unwrap().paused = Some(true);
    world.run(100);
    assert_eq!(world.weight(), 10);
    world.spec.as_mut().unwrap().paused = Some(false);
    world.run(5);
    assert_eq!(world.weight(), 10);
    world.run(2);
    assert_eq!(world.weight(), 50);
}

#[test]
fn a_pause_never_keeps_a_bad_canary() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.spec.as_mut().unwrap().paused = Some(true);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
}

#[test]
fn verbs_act_once_also_after_a_restart() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.seen.verb = Some("rollback/a".into());
    world.run_to(Phase::RolledBack);
    world.seen.verb = Some("retry/b".into());
    world.until(|w| w.weight() == 50);
    world.crash(5);
    world.run_to(Phase::Promoted);
    assert_eq!(world.status.attempts, 2);
    assert_eq!(world.status.verb.as_ref().unwrap().value, "retry/b");
}

#[test]
fn promote_goes_to_full_weight_and_holds_there() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.seen.verb = Some("promote/1".into());
    world.calm_down();
    assert_eq!(world.weight(), 100);
    let full = world.now;
    world.run_to(Phase::Promoting);
    assert!(Span::between(full, world.now) >= Span::secs(10));
    world.run_to(Phase::Promoted);
}

#[test]
fn promote_never_sends_traffic_to_pods_that_are_not_there() {
    let mut world = World::with_canary(&format!("{STEPS}minCapacity: 1\n"));
    world.until(|w| w.weight() == 10);
    world.pods("v2", 1);
    world.seen.verb = Some("promote/1".into());
    world.run(60);
    assert!(world.weight() < 100);
    world.pods("v2", 2);
    world.calm_down();
    assert_eq!(world.weight(), 100);
}

#[test]
fn a_bad_or_unknown_verb_is_answered_in_status() {
    for (value, part) in [
        ("promote", "token"),
        ("halt/1", "no verb"),
        ("resume/1", "nothing is frozen"),
    ] {
        let mut world = World::with_canary(STEPS);
        world.until(|w| w.weight() == 10);
        world.seen.verb = Some(value.into());
        world.calm_down();
        let verb = world.status.verb.clone().unwrap();
        assert!(!verb.accepted && verb.message.contains(part), "{verb:?}");
        assert_eq!(world.weight(), 10);
    }
}

#[test]
fn at_max_weight_the_rollout_waits_for_promote() {
    let mut world = World::with_canary(&format!("{STEPS}maxWeight: 30\n"));
    world.run(600);
    assert_eq!(world.path(), [0, 10, 30]);
    assert_eq!(world.reasons().iter().filter(|r| **r == "Held").count(), 1);
    world.seen.verb = Some("promote/1".into());
    world.run_to(Phase::Promoted);
    assert_eq!(world.path(), [0, 10, 30, 100, 0]);
}

#[test]
fn a_weight_raised_by_hand_is_lowered_again_every_time() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    for _ in 0..3 {
        world.set_weight(80);
        world.calm_down();
        assert_eq!(world.weight(), 10);
    }
    assert_eq!(
        world.reasons().iter().filter(|r| **r == "Interference").count(),
        3
    );
    world.run_to(Phase::Promoted);
}

#[test]
fn a_weight_lowered_by_hand_stays_and_ends_the_attempt() {
    for (weight, phase) in [(0, Phase::RolledBack), (20, Phase::Frozen)] {
        let mut world = World::with_canary(STEPS);
        world.until(|w| w.weight() == 50);
        world.set_weight(weight);
        world.run(600);
        assert_eq!((world.weight(), world.status.phase), (weight, phase));
        assert!(
            world.status.message.contains("kubectl-edit"),
            "{}",
            world.status.message
        );
        world.seen.verb = Some("resume/1".into());
        world.run(600);
        assert_eq!(world.weight(), weight, "not even resume raises it again");
    }
}

#[test]
fn an_invalid_spec_in_the_middle_leaves_the_running_plan_in_force() {
    let mut world = World::with_canary(STEPS);
    sick_above(10)(&mut world);
    world.until(|w| w.weight() == 10);
    world.spec = Err("spec.steps: invalid type: string".into());
    world.run_to(Phase::RolledBack);
    assert!(world.path().contains(&50));
    assert_eq!(world.reasons().iter().filter(|r| **r == "SpecInvalid").count(), 1);
}

#[test]
fn new_limits_count_from_the_next_check_and_new_steps_from_the_present_weight() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    let steps = STEPS.replace("weight: 50", "weight: 20").replace(
        "{weight: 20, hold: 10s}",
        "{weight: 20, hold: 10s}, {weight: 60, hold: 5s}",
    );
    world.spec = Ok(spec(&steps));
    world.run_to(Phase::Promoted);
    assert_eq!(world.path(), [0, 10, 20, 60, 100, 0]);
    let mut world = World::with_canary(STEPS);
    world.oracle = |q, weight| {
        (
            number(if q.side == Side::Canary && weight > 0 {
                0.4
            } else {
                0.0
            }),
            1.0,
        )
    };
    world.until(|w| w.weight() == 10);
    world.spec = Ok(spec(&STEPS.replace("deviation: 0.5", "deviation: 0.3")));
    world.run_to(Phase::RolledBack);
}

#[test]
fn git_turning_production_back_is_reported_and_starts_nothing() {
    let mut world = World::with_canary(&format!("{STEPS}canaryVersion: v2\n"));
    world.run_to(Phase::Promoted);
    world.seen.rule = Ok(RuleSeen {
        production: Some("v1".into()),
        canary: Some("v2".into()),
        host: None,
    });
    world.run(600);
    assert_eq!(
        (world.status.attempts, world.path()),
        (1, vec![0, 10, 50, 100, 0])
    );
    assert!(holds(&world.status.conditions, ConditionType::ProductionReverted));
    assert_eq!(
        world
            .reasons()
            .iter()
            .filter(|r| **r == "ProductionReverted")
            .count(),
        1
    );
    assert!(world.events.iter().any(|e| e.note.contains("argocd-controller")));
}

#[test]
fn a_canary_label_changed_by_another_hand_ends_the_attempt() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    world.seen.rule.as_mut().unwrap().canary = Some("v0".into());
    world.run_to(Phase::RolledBack).run(60);
    assert_eq!(world.weight(), 0);
    assert!(
        world.status.message.contains("argocd-controller"),
        "{}",
        world.status.message
    );
}

#[test]
fn weight_that_somebody_gives_the_canary_at_rest_is_reported_and_stays() {
    let mut world = World::new(STEPS);
    (world.seen.routes[0].production, world.seen.routes[0].canary) = (Some(90), Some(10));
    world.run(60);
    assert!(
        world.status.warnings[0].contains("10 of 100"),
        "{:?}",
        world.status.warnings
    );
    assert!(world.effects.is_empty());
}

#[test]
fn a_spec_that_is_mended_does_not_make_old_versions_new() {
    let mut world = World::new(STEPS);
    world.status = crate::api::BirdWatchStatus::default();
    world.spec = Err("spec.steps: unreadable".into());
    world.seen.deployments.clear();
    world.run(10);
    world.spec = Ok(spec(STEPS));
    world.seen.deployments = vec![deployment("v1", -1000), deployment("v0", -2000)];
    world.run(600);
    assert_eq!((world.status.phase, world.status.attempts), (Phase::Idle, 0));
}

#[test]
fn metrics_edited_before_the_first_step_get_their_baseline_before_it() {
    let mut world = World::with_canary(STEPS);
    world.spec.as_mut().unwrap().paused = Some(true);
    world.run_to(Phase::Progressing);
    let mut edited = spec(&STEPS.replace("errors{", "failures{"));
    edited.paused = Some(true);
    world.spec = Ok(edited);
    world.run(10);
    world.spec.as_mut().unwrap().paused = Some(false);
    world.until(|w| w.weight() == 10);
    assert!(
        world.status.rollout.as_ref().unwrap().metrics[0]
            .baseline
            .is_some()
    );
    world.run_to(Phase::Promoted);
}

#[test]
fn a_verb_while_the_version_asked_for_is_not_there_is_refused() {
    let mut world = World::new(&format!("{STEPS}canaryVersion: v9\n"));
    world.seen.verb = Some("promote/1".into());
    world.run(1);
    assert!(!world.status.verb.as_ref().unwrap().accepted);
}
