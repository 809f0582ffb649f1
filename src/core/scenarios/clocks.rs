//! Clocks that disagree: a leader whose clock is behind the last one's, or is set back under it.

use super::super::observation::*;
use super::super::world::{STEPS, World, number};
use super::sick_above;
use crate::api::Span;
use crate::api::status::Phase;

/// Checked each second.
fn checked_often(yaml: &str) -> World {
    World::with_canary(&format!("{yaml}checkInterval: 1s\n"))
}

#[test]
fn a_leader_whose_clock_is_behind_sends_a_sick_canary_back() {
    for behind in [3600, 5] {
        let mut world = checked_often(STEPS);
        world.until(|w| w.weight() == 10);
        world.run(6);
        world.crash(-behind);
        sick_above(0)(&mut world);
        world.run(2);
        assert_eq!(world.status.phase, Phase::RolledBack, "{}", world.status.message);
    }
}

#[test]
fn a_hold_is_served_once_whatever_the_clock_of_the_next_leader_says() {
    for behind in [3600, 5, 1] {
        let mut world = checked_often(STEPS);
        let from = world.until(|w| w.weight() == 10).true_time();
        world.run(6);
        world.crash(-behind);
        let held = Span::between(from, world.until(|w| w.weight() == 50).true_time());
        assert!(
            held >= Span::secs(10) && held <= Span::secs(12),
            "{held} with a clock {behind} s behind"
        );
        world.run_to(Phase::Promoted);
    }
}

#[test]
fn a_healthy_check_of_a_clock_that_was_ahead_proves_nothing() {
    let mut world = World::with_canary(&STEPS.replace("100, hold: 10s", "100, hold: 10m"));
    world.until(|w| w.weight() == 100);
    world.seen.deployments[1].revision = None;
    world.run_to(Phase::Promoting);
    world.crash(-500);
    world.oracle = |_, _| (number(f64::NAN), 1.0);
    world.run(100);
    world.seen.deployments[1].revision = Some("1".into());
    world.run(60);
    assert!(!world.is_production("v2"), "{}", world.status.message);
    world.oracle = |_, _| (number(0.0), 1.0);
    world.run_to(Phase::Promoted);
}

#[test]
fn a_clock_that_is_set_back_loses_no_check_and_counts_none_twice() {
    let yaml = STEPS.replace("deviation: 0.5", "deviation: 0.5, failures: {count: 2, of: 2}");
    for back in [3600, 1] {
        let mut world = checked_often(&yaml);
        world.until(|w| w.weight() == 10);
        world.run(3);
        sick_above(0)(&mut world);
        world.until(|w| w.asked().is_some());
        world.set_back(back);
        world.oracle = |q, _| (number(if q.side == Side::Canary { 2.0 } else { 0.0 }), 1.0);
        world.until(|w| w.status.current.as_deref() == Some("2"));
        for _ in 0..3 {
            world.calm_down();
        }
        assert_eq!(world.status.phase, Phase::Progressing, "one bad check of two");
        world.run(2);
        assert_eq!(world.status.phase, Phase::RolledBack, "{}", world.status.message);
    }
}

#[test]
fn nor_the_one_whose_answer_comes_before_anybody_has_looked() {
    let yaml = STEPS.replace("deviation: 0.5", "deviation: 0.5, failures: {count: 2, of: 2}");
    let mut world = checked_often(&yaml);
    world.until(|w| w.weight() == 10);
    world.run(3);
    sick_above(0)(&mut world);
    world.until(|w| w.asked().is_some());
    world.set_back(1);
    world.now = world.now.checked_add(Span::millis(100).signed()).unwrap();
    world.calm_down();
    let window = &world.status.rollout.as_ref().unwrap().metrics[0].window;
    assert!(window.ends_with('b'), "{window}");
}

#[test]
fn an_absence_that_is_still_to_come_gives_no_time_held() {
    let mut world = checked_often(STEPS);
    let from = world.until(|w| w.weight() == 10).true_time();
    let ahead = |seconds: u32| world.now.checked_add(Span::secs(seconds).signed()).unwrap();
    world.seen.gaps = vec![Gap {
        from: ahead(1800),
        to: ahead(1810),
    }];
    let held = Span::between(from, world.until(|w| w.weight() == 50).true_time());
    assert!(held >= Span::secs(10), "{held}");
}

#[test]
fn a_retry_under_a_clock_that_is_behind_does_not_wait_for_the_old_one() {
    let mut world = World::with_canary(STEPS);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    world.crash(-3600);
    world.oracle = |_, _| (number(0.0), 1.0);
    world.seen.verb = Some("retry/1".into());
    world.run(30);
    assert_eq!(world.status.phase, Phase::Progressing, "{}", world.status.message);
}
