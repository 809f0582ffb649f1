//! Which version starts, which does not, and what becomes of one whose pods do not come or go.

use super::*;

#[test]
fn first_sight_of_a_service_changes_nothing() {
    let mut world = World::new(STEPS);
    world.run(100);
    assert_eq!((world.status.phase, world.path()), (Phase::Idle, vec![0]));
    assert!(world.effects.is_empty() && world.checks == 0);
    assert!(
        !world.next(),
        "an idle BirdWatch asks for nothing, not even for time"
    );
}

#[test]
fn a_canary_that_never_becomes_available_fails_by_its_deadline() {
    let mut world = World::with_canary(&format!("{STEPS}progressDeadline: 60s\n"));
    world.pods("v2", 1);
    world.run(59);
    assert_eq!(world.status.phase, Phase::Pending);
    world.run(2);
    assert_eq!((world.status.phase, world.path()), (Phase::RolledBack, vec![0]));
    assert!(
        world.status.message.contains("1 available"),
        "{}",
        world.status.message
    );
}

#[test]
fn a_canary_whose_pods_vanish_goes_back_without_waiting_for_a_metric_under_either_policy() {
    for policy in ["rollback", "freeze"] {
        let mut world = World::with_canary(&format!("{STEPS}ifUnhealthy: {policy}\n"));
        world.until(|w| w.weight() == 50);
        world.oracle = |_, _| (Outcome::Failed("down".into()), 0.0);
        world.pods("v2", 0);
        world.calm_down();
        assert_eq!(
            (world.status.phase, world.weight()),
            (Phase::RolledBack, 0),
            "{policy}"
        );
    }
}

#[test]
fn the_same_bad_version_starts_again_only_when_asked_or_changed() {
    let mut world = World::with_canary(STEPS);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack).run(600);
    assert_eq!(
        (world.status.phase, world.status.attempts),
        (Phase::RolledBack, 1)
    );
    world.oracle = |_, _| (number(0.0), 1.0);
    world.seen.verb = Some("retry/1".into());
    world.run_to(Phase::Promoted);
    assert_eq!(world.status.attempts, 2);
    let mut world = World::with_canary(STEPS);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    world.oracle = |_, _| (number(0.0), 1.0);
    world.seen.deployments[1].revision = Some("2".into());
    world.run_to(Phase::Promoted);
}

#[test]
fn a_newer_version_supersedes_and_starts_from_the_first_step() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    world.deploy("v3");
    world.run_to(Phase::Promoted);
    assert_eq!(world.path(), [0, 10, 50, 0, 10, 50, 100, 0]);
    assert_eq!(world.status.promoted_version.as_deref(), Some("v3"));
    world.run(600);
    assert_eq!(
        world.status.attempts, 2,
        "the version given up is not tried again by itself"
    );
}

#[test]
fn a_deployment_that_changes_under_the_rollout_starts_again_from_zero() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    world.seen.deployments[1].revision = Some("2".into());
    world.run_to(Phase::Promoted);
    assert_eq!(world.path(), [0, 10, 50, 0, 10, 50, 100, 0]);
    assert_eq!(world.status.rollout.unwrap().canary.revision, "2");
}

#[test]
fn scaling_does_not_disturb_a_rollout() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    let canary = &mut world.seen.deployments[1];
    (canary.replicas, canary.current, canary.updated, canary.available) = (5, 5, 5, 5);
    world.run_to(Phase::Promoted);
    assert_eq!(world.status.attempts, 1);
}

#[test]
fn after_a_promotion_the_old_deployment_is_no_candidate() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted).run(600);
    world.deploy("v3");
    world.run_to(Phase::Progressing).run_to(Phase::Promoted).run(600);
    assert_eq!(world.status.attempts, 2);
    let ends: Vec<_> = world
        .status
        .ended
        .iter()
        .map(|e| (e.canary.version.as_str(), e.outcome))
        .collect();
    assert_eq!(ends, [("v2", End::Promoted), ("v3", End::Promoted)]);
}

#[test]
fn a_version_that_was_there_before_is_named_and_starts_when_it_is_asked_for() {
    let mut world = World::new(STEPS);
    world.status.known = None;
    world.deploy("v2");
    world.run(60);
    assert_eq!(world.status.phase, Phase::Idle);
    assert!(
        world.status.message.contains("set spec.canaryVersion: v2"),
        "{}",
        world.status.message
    );
    world.spec = Ok(spec(&format!("{STEPS}canaryVersion: v2\n")));
    world.run_to(Phase::Promoted);
}

#[test]
fn a_version_asked_for_that_is_not_there_is_waited_for() {
    let mut world = World::new(&format!("{STEPS}canaryVersion: v9\n"));
    world.run(3600);
    assert_eq!(world.status.phase, Phase::Pending);
    assert!(
        world.status.message.contains("version=v9"),
        "{}",
        world.status.message
    );
    world.deploy("v9");
    world.run_to(Phase::Promoted);
}

#[test]
fn nothing_starts_while_the_canary_has_weight() {
    let mut world = World::with_canary(STEPS);
    world.set_weight(5);
    let mut world2 = World::new(STEPS);
    world2.set_weight(5);
    world2.deploy("v2");
    world2.run(60);
    assert_eq!(
        (world2.status.phase, world2.weight()),
        (Phase::Idle, 5),
        "at rest weights are the user's"
    );
    assert!(
        world2.status.message.contains("set it to 0"),
        "{}",
        world2.status.message
    );
}

#[test]
fn a_younger_birdwatch_on_the_same_objects_does_not_act() {
    let mut world = World::with_canary(STEPS);
    world.seen.conflict = Some("older".into());
    world.run(60);
    assert_eq!(world.status.phase, Phase::Idle);
    assert!(holds(&world.status.conditions, ConditionType::Conflict));
    world.seen.conflict = None;
    world.until(|w| w.weight() == 50);
    world.seen.conflict = Some("older".into());
    world.run_to(Phase::RolledBack);
}

#[test]
fn a_production_that_was_restarted_is_no_candidate_once_it_is_replaced() {
    let mut world = World::new(STEPS);
    world.seen.deployments[0].revision = Some("2".into());
    world.run(10);
    world.deploy("v2");
    world.until(|w| w.weight() == 50);
    world.seen.deployments[0].revision = Some("3".into());
    world.run_to(Phase::Promoted).run(600);
    assert_eq!((world.status.attempts, world.status.phase), (1, Phase::Promoted));
}

#[test]
fn a_version_given_up_for_another_starts_again_when_the_spec_asks_for_it_again() {
    let mut world = World::with_canary(&format!("{STEPS}canaryVersion: v2\n"));
    world.until(|w| w.weight() == 50);
    world.spec.as_mut().unwrap().canary_version = Some("v3".into());
    world.until(|w| w.weight() == 0).run(10);
    world.spec.as_mut().unwrap().canary_version = Some("v2".into());
    world.run_to(Phase::Promoted);
    assert_eq!(world.status.promoted_version.as_deref(), Some("v2"));
}
