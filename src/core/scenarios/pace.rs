//! When checks are asked: an interval after one another, whatever becomes of the weights meanwhile.

use jiff::SignedDuration;

use super::super::world::{STEPS, World, number, spec};
use crate::api::Span;
use crate::api::status::Phase;

/// Any value above 1 is bad; six checks to a step.
const MINUTES: &str = "service: aleph\n\
     metrics: [{name: errors, query: errors, max: 1}]\n\
     steps: [{weight: 10, hold: 1m}, {weight: 50, hold: 1m}, {weight: 100, hold: 1m}]\n\
     settle: 0s\n\
     checkInterval: 10s\n";

/// The raise from `before` to `percent` is announced, and for seven seconds no route takes it.
fn raised_slowly(before: i64, percent: u8) -> World {
    let mut world = World::with_canary(MINUTES);
    world.until(|world| world.weight() == before);
    world.routes_writable = false;
    let intended = |world: &World| world.status.rollout.as_ref().map(|rollout| rollout.intended);
    world.until(|world| intended(world) == Some(percent));
    world.run(7);
    world.routes_writable = true;
    world
}

#[test]
fn checks_keep_their_pace_over_a_raise() {
    let mut world = raised_slowly(10, 50);
    world.oracle = |_, _| (number(2.0), 1.0);
    world.run(4);
    assert_eq!(
        (world.path().as_slice(), world.status.phase),
        ([0, 10, 50, 0].as_slice(), Phase::RolledBack)
    );
}

#[test]
fn of_the_first_traffic_nothing_is_asked_before_there_was_time_for_any() {
    let mut world = raised_slowly(0, 10);
    let before = world.checks;
    world.run(9);
    assert_eq!((world.weight(), world.checks), (10, before));
    world.run(2);
    assert_eq!(world.checks, before + 1);
}

#[test]
fn a_check_that_is_due_just_before_the_end_of_a_hold_waits_for_it() {
    let mut world = World::with_canary(MINUTES);
    world.until(|world| world.weight() == 10);
    let before = world.checks;
    world.until(|world| world.weight() == 50);
    assert_eq!(world.checks, before + 6);
    let before = world.checks;
    world.until(|world| world.weight() == 100);
    // Each raise comes a tenth of a second after a check, and the next hold ends so much after one.
    assert_eq!(world.checks, before + 6);
}

#[test]
fn another_plan_is_asked_for_at_once() {
    let mut world = World::with_canary(MINUTES);
    world.until(|world| world.weight() == 10);
    world.run(3);
    assert!(world.asked().is_none());
    world.spec = Ok(spec(&MINUTES.replace("max: 1", "max: 3")));
    world.calm_down();
    assert!(world.asked().is_some());
}

#[test]
fn a_check_from_before_a_time_without_an_operator_ends_no_hold_after_it() {
    let yaml = STEPS.replace("weight: 10, hold: 10s", "weight: 10, hold: 70s") + "checkInterval: 60s\n";
    let mut world = World::with_canary(&yaml);
    world.until(|w| w.weight() == 10);
    let begun = world.checks;
    world.until(|w| w.checks == begun + 2);
    assert!(
        world.asked().is_some(),
        "the check at the end of the hold is under way"
    );
    world.crash(2);
    let asked = world.checks;
    world.until(|w| w.weight() > 10);
    assert!(world.checks > asked, "nobody has asked since");
}

#[test]
fn a_check_from_before_a_weight_of_another_hand_ends_no_hold_after_it() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.until(|w| w.held() >= Span::secs(10) && w.asked().is_some());
    let asked = world.checks;
    world.now += SignedDuration::from_millis(50);
    world.set_weight(90);
    world.until(|w| w.weight() == 50);
    assert!(world.checks > asked, "what was asked before was not of this");
}

#[test]
fn a_step_does_not_end_while_another_hand_has_raised_it() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.routes_writable = false;
    world.set_weight(90);
    world.run(60);
    assert_eq!(world.status.rollout.as_ref().unwrap().intended, 10);
    let asked = world.checks;
    world.now += SignedDuration::from_millis(50);
    world.routes_writable = true;
    world.until(|w| w.weight() == 50);
    assert!(world.checks > asked);
}
