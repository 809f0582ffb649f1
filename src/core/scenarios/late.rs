//! Writes that reach the server when nobody waits for them any more; and weights at rest, which are the user's otherwise.

use jiff::SignedDuration;

use super::*;
use crate::api::conditions::holds_for;

const FIRST: i64 = 10;

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

/// A weight that nobody but us wrote, as the object says.
fn ours(world: &mut World, weight: i64) {
    world.set_weight(weight);
    world.seen.routes_writer = Some(OURSELVES.to_owned());
}

/// Nothing is done to the weights for a minute, and nothing is said of a late raise.
fn stays(world: &mut World, weight: i64, why: &str) {
    world.run(60);
    assert_eq!(world.weight(), weight, "{why}");
    assert!(!world.effects.contains(&Effect::TakeBack), "{why}");
    let late = holds_for(&world.status.conditions, ConditionType::Interference, "LateRaise");
    assert!(!late, "{why}");
}

#[test]
fn a_raise_that_arrives_after_the_end_of_its_attempt_is_lowered_again() {
    for weight in [FIRST, 100] {
        let mut world = taken_back();
        ours(&mut world, weight);
        world.calm_down();
        assert_eq!((world.weight(), world.status.phase), (0, Phase::RolledBack));
        assert!(world.effects.contains(&Effect::TakeBack));
        assert!(world.reasons().contains(&"Interference"), "{:?}", world.reasons());
        world.run(10);
        let late = holds_for(&world.status.conditions, ConditionType::Interference, "LateRaise");
        assert!(!late, "it is over");
    }
}

#[test]
fn who_wrote_it_is_asked_before_it_is_taken_for_ours() {
    let mut world = taken_back();
    world.set_weight(FIRST);
    world.pass();
    assert_eq!(world.effects.last(), Some(&Effect::ReadRoutes));
    assert_eq!(world.weight(), FIRST);
}

#[test]
fn a_weight_that_a_person_sets_after_the_end_of_an_attempt_stays() {
    let mut world = taken_back();
    world.set_weight(FIRST);
    stays(&mut world, FIRST, "the writer is asked for, and is somebody else");
}

#[test]
fn a_weight_that_no_raise_of_the_attempt_was_to_is_not_its_raise() {
    let mut world = taken_back();
    ours(&mut world, 37);
    stays(&mut world, 37, "no raise of ours was to 37 %");

    let mut world = taken_back();
    world.add_route("aleph/http[1]");
    ours(&mut world, FIRST);
    let other = &mut world.seen.routes[1];
    (other.production, other.canary) = (Some(63), Some(37));
    stays(&mut world, FIRST, "a raise brings every route to the same weight");
}

#[test]
fn a_later_raise_that_arrives_after_the_end_of_its_attempt_is_lowered_again_too() {
    let mut world = World::with_canary(STEPS);
    world.until(|world| world.weight() == FIRST);
    world.seen.verb = Some("rollback/1".to_owned());
    world.run_to(Phase::RolledBack);
    // Somebody else had lowered it already, so that nothing refused what was on its way.
    ours(&mut world, 50);
    world.calm_down();
    assert_eq!((world.weight(), world.status.phase), (0, Phase::RolledBack));
}

#[test]
fn after_an_attempt_that_announced_no_raise_weights_are_the_users() {
    let mut world = World::with_canary(STEPS);
    world.until(|world| world.status.rollout.is_some());
    world.seen.verb = Some("rollback/1".to_owned());
    world.run_to(Phase::RolledBack);
    assert!(!world.status.rollout.as_ref().unwrap().raised);
    ours(&mut world, FIRST);
    stays(&mut world, FIRST, "nothing was sent");
}

#[test]
fn the_weights_of_other_objects_are_no_late_raise() {
    let edits: [fn(&mut World); 3] = [
        |world| world.spec = Ok(spec(&STEPS.replace("service: aleph", "service: beth"))),
        |world| world.spec = Ok(spec(&format!("{STEPS}subsets: {{production: p, canary: c}}\n"))),
        |world| world.spec = Err("metrics: no such field".to_owned()),
    ];
    for edit in edits {
        let mut world = taken_back();
        edit(&mut world);
        ours(&mut world, FIRST);
        stays(&mut world, FIRST, "the spec speaks of other routes");
    }
}

#[test]
fn the_raise_of_an_older_bird_watch_on_the_same_objects_is_no_late_one_of_the_younger() {
    let mut world = taken_back();
    world.seen.conflict = Some("beth".to_owned());
    ours(&mut world, FIRST);
    stays(&mut world, FIRST, "the older one acts");
}

/// Another operator takes over whose watch still shows weight 0; passes until it reads the routes, which are as they were.
fn taken_over_late(world: &mut World, verb: Option<&str>) {
    let routes = world.seen.routes.clone();
    world.crash(1);
    world.set_weight(0);
    world.seen.verb = verb.map(str::to_owned);
    let read = |world: &World| world.effects.iter().filter(|e| **e == Effect::ReadRoutes).count();
    let before = read(world);
    let reads = (0..5).any(|_| {
        world.pass();
        read(world) > before
    });
    assert!(reads, "{:?}: {:?}", world.status.phase, world.effects);
    world.seen.routes = routes;
}

#[test]
fn no_rollback_ends_on_a_weight_that_a_late_watch_shows() {
    let mut world = World::with_canary(STEPS);
    world.until(|world| world.weight() == 50);
    taken_over_late(&mut world, Some("rollback/1"));
    assert_eq!(world.status.phase, Phase::RollingBack);
    world.run_to(Phase::RolledBack);
    assert_eq!(world.weight(), 0);
}

#[test]
fn no_promotion_ends_on_a_weight_that_a_late_watch_shows() {
    let mut world = World::with_canary(STEPS);
    world.until(|world| {
        let rollout = world.status.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.production_label_at.is_some())
    });
    assert_eq!(world.weight(), 100);
    taken_over_late(&mut world, None);
    assert_eq!(world.status.phase, Phase::Promoting);
    world.run_to(Phase::Promoted);
    assert_eq!(world.weight(), 0);
}

#[test]
fn what_cannot_be_lowered_is_not_noted_anew_at_every_look() {
    let looks = |world: &mut World| {
        world.routes_writable = false;
        world.pass();
        let before = world.status.clone();
        for _ in 0..9 {
            world.now += SignedDuration::from_millis(100);
            world.seen.routes_writer = Some(OURSELVES.to_owned());
            world.pass();
            assert_eq!(world.status, before, "no status is written");
        }
    };
    // A late raise.
    let mut world = taken_back();
    ours(&mut world, FIRST);
    looks(&mut world);
    let had = |world: &World| world.status.ended[0].had_weight_until;
    let before = had(&world);
    world.now += SignedDuration::from_secs(1);
    world.pass();
    assert!(had(&world) > before, "it is noted once a scrape");
    // A hand's weight before the first step.
    let mut world = World::with_canary(STEPS);
    world.pods("v2", 0);
    world.run(5);
    world.set_weight(10);
    looks(&mut world);
    // And in one.
    let mut world = World::with_canary(STEPS);
    world.until(|world| world.weight() == FIRST);
    world.run(2);
    world.set_weight(90);
    looks(&mut world);
}
