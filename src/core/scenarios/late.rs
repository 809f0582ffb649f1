//! Writes that reach the server when nobody waits for them any more.

use super::*;
use crate::api::conditions::holds_for;

/// A rollout whose first raise was sent and not answered, and which a person then took back.
fn taken_back() -> World {
    let mut world = World::with_canary(STEPS);
    world.routes_writable = false;
    world.until(|world| world.status.rollout.as_ref().is_some_and(|r| r.raised));
    world.seen.verb = Some("rollback/1".to_owned());
    world.run_to(Phase::RolledBack);
    world.routes_writable = true;
    world
}

#[test]
fn a_raise_that_arrives_after_the_end_of_its_attempt_is_lowered_again() {
    let mut world = taken_back();
    world.set_weight(10);
    world.seen.routes_writer = Some(OURSELVES.to_owned());
    world.calm_down();
    assert_eq!((world.weight(), world.status.phase), (0, Phase::RolledBack));
    assert!(world.reasons().contains(&"Interference"), "{:?}", world.reasons());
    world.run(10);
    let late = holds_for(&world.status.conditions, ConditionType::Interference, "LateRaise");
    assert!(!late, "it is over");
}

#[test]
fn a_weight_that_a_person_sets_after_the_end_of_an_attempt_stays() {
    let mut world = taken_back();
    world.set_weight(10);
    world.run(60);
    assert_eq!(
        world.weight(),
        10,
        "the writer is asked for, and is somebody else"
    );
    world.set_weight(20);
    world.seen.routes_writer = Some(OURSELVES.to_owned());
    world.run(60);
    assert_eq!(world.weight(), 20, "no raise of ours was to 20 %");
}
