//! Pauses, and what a spec that cannot be read says of them.

use super::super::world::{STEPS, World, spec};
use crate::api::conditions::{ConditionType, holds};
use crate::api::status::Phase;

fn paused_at_10() -> World {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.spec.as_mut().unwrap().paused = Some(true);
    world.run(5);
    world
}

fn unreadable() -> Result<crate::api::BirdWatchSpec, String> {
    Err("spec.steps: unreadable".into())
}

#[test]
fn a_pause_does_not_end_because_the_spec_cannot_be_read() {
    let mut world = paused_at_10();
    world.spec = unreadable();
    world.run(100);
    assert_eq!(world.weight(), 10);
    assert!(holds(&world.status.conditions, ConditionType::Paused));
    world.crash(60);
    world.run(100);
    assert_eq!(world.weight(), 10);
    world.spec = Ok(spec(STEPS));
    world.run_to(Phase::Promoted);
}

#[test]
fn a_pause_counts_even_where_the_rest_of_the_spec_cannot_be_read() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.spec = unreadable();
    world.raw_paused = Some(true);
    world.run(100);
    assert_eq!(world.weight(), 10);
    world.raw_paused = Some(false);
    world.run_to(Phase::Promoted);
}

#[test]
fn a_pause_before_the_first_step_or_in_a_freeze_outlasts_the_spec_too() {
    let mut world = World::with_canary(STEPS);
    world.seen.deployments[0].replicas = 100;
    world.run_to(Phase::Progressing);
    world.spec.as_mut().unwrap().paused = Some(true);
    world.calm_down();
    world.spec = unreadable();
    world.seen.deployments[0].replicas = 2;
    world.run(100);
    assert_eq!(world.weight(), 0, "{}", world.status.message);

    let mut world = World::with_canary(&format!("{STEPS}ifUnhealthy: freeze\n"));
    super::sick_above(0)(&mut world);
    world.run_to(Phase::Frozen);
    world.spec.as_mut().unwrap().paused = Some(true);
    world.calm_down();
    world.spec = unreadable();
    world.oracle = |_, _| (super::number(0.0), 1.0);
    world.seen.verb = Some("resume/1".into());
    world.run(100);
    assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 10));
}
