//! Several candidates at once: the youngest is released, the others wait until somebody names them.

use super::super::world::{STEPS, World, at};
use super::sick_above;
use crate::api::status::Phase;

/// v2 and v3 are there before anything starts; v3 is the younger.
fn two_candidates() -> World {
    let mut world = World::with_canary(STEPS);
    world.deploy("v3");
    world.seen.deployments[2].created = Some(at(5));
    world
}

const HOW: &str =
    "v2 (Deployment aleph-v2) was there before v3 and passed over: to release it set spec.canaryVersion: v2";

#[test]
fn an_older_candidate_is_not_released_over_the_younger_one_that_was_promoted() {
    let mut world = two_candidates();
    world.run_to(Phase::Promoted);
    world.run(100);
    assert!(world.is_production("v3"));
    assert_eq!(world.status.phase, Phase::Promoted);
    assert_eq!(world.status.rollout.as_ref().unwrap().canary.version, "v3");
    assert_eq!(world.status.message, format!("v3 is in production; {HOW}"));
}

#[test]
fn an_older_candidate_does_not_start_because_the_younger_one_was_rolled_back() {
    let mut world = two_candidates();
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    world.oracle = |_, _| (super::number(0.0), 1.0);
    world.run(100);
    assert_eq!((world.status.phase, world.weight()), (Phase::RolledBack, 0));
    assert_eq!(world.status.rollout.as_ref().unwrap().canary.version, "v3");
    assert!(world.status.message.ends_with(HOW), "{}", world.status.message);
    world.seen.verb = Some("retry/1".into());
    world.run_to(Phase::Progressing);
    assert_eq!(
        world.status.canary.as_deref(),
        Some("v3"),
        "retry means the one that ended"
    );
}

#[test]
fn a_candidate_passed_over_starts_when_it_is_named() {
    let mut world = two_candidates();
    world.run_to(Phase::Promoted);
    world.spec.as_mut().unwrap().canary_version = Some("v2".into());
    world.run_to(Phase::Progressing).run_to(Phase::Promoted);
    assert!(world.is_production("v2"));
}

#[test]
fn a_candidate_is_passed_over_before_its_controller_observed_it_and_starts_once_it_changes() {
    let mut world = two_candidates();
    world.seen.deployments[1].revision = None;
    world.run_to(Phase::Progressing);
    world.seen.deployments[1].revision = Some("1".into());
    world.run_to(Phase::Promoted);
    world.run(100);
    assert!(world.is_production("v3"));
    world.seen.deployments[1].version = Some("v4".into());
    world.run_to(Phase::Progressing).run_to(Phase::Promoted);
    assert!(world.is_production("v4"));
}

#[test]
fn a_younger_candidate_than_the_one_named_is_not_passed_over() {
    let mut world = two_candidates();
    world.spec.as_mut().unwrap().canary_version = Some("v2".into());
    world.run_to(Phase::Promoted);
    world.spec.as_mut().unwrap().canary_version = None;
    world.run_to(Phase::Progressing).run_to(Phase::Promoted);
    assert!(world.is_production("v3"));
}
