//! Lives of rollouts in the small world: one test a behaviour.

use super::decide::worth_writing;
use super::decision::Effect;
use super::observation::*;
use super::world::{STEPS, World, at, deployment, number, spec};
use crate::api::Span;
use crate::api::conditions::{ConditionType, holds};
use crate::api::status::{FailureReason, Notice, Outcome as End, Phase};

fn sick_above(percent: u8) -> impl Fn(&mut World) {
    move |world| {
        world.oracle = match percent {
            10 => |q, weight| {
                (
                    number(if q.side == Side::Canary && weight > 10 {
                        2.0
                    } else {
                        0.0
                    }),
                    1.0,
                )
            },
            _ => |q, weight| {
                (
                    number(if q.side == Side::Canary && weight > 0 {
                        2.0
                    } else {
                        0.0
                    }),
                    1.0,
                )
            },
        };
    }
}

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
fn a_healthy_canary_is_promoted_step_by_step() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    assert_eq!(world.path(), [0, 10, 50, 100, 0]);
    assert_eq!(
        world.seen.rule,
        Ok(RuleSeen {
            production: Some("v2".into()),
            canary: Some("v2".into())
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
fn the_production_label_is_written_only_after_a_whole_hold_at_100_and_while_production_has_nothing() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 100);
    let full = world.now;
    world.until(|w| {
        w.effects.iter().any(|e| {
            matches!(
                e,
                Effect::Label {
                    subset: Side::Production,
                    ..
                }
            )
        })
    });
    assert!(Span::between(full, world.now) >= Span::secs(10));
    assert_eq!(
        world.weight(),
        100,
        "the label stands before the weights go to 100/0"
    );
    let label = world.now;
    world.until(|w| w.weight() == 0);
    assert!(
        Span::between(label, world.now) >= Span::secs(2),
        "the mesh needs its delay"
    );
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
fn without_production_pods_a_judged_rollback_waits_and_an_asked_one_does_not() {
    let mut world = World::with_canary(STEPS);
    sick_above(10)(&mut world);
    world.until(|w| w.weight() == 50);
    world.pods("v1", 0);
    world.run(60);
    assert_eq!((world.weight(), world.status.phase), (50, Phase::RollingBack));
    assert_eq!(
        world
            .reasons()
            .iter()
            .filter(|r| **r == "ProductionUnavailable")
            .count(),
        1
    );
    let mut asked = World::with_canary(STEPS);
    asked.until(|w| w.weight() == 50);
    asked.pods("v1", 0);
    asked.seen.verb = Some("rollback/1".into());
    asked.calm_down();
    assert_eq!(asked.weight(), 0);
    world.pods("v1", 1);
    world.calm_down();
    assert_eq!((world.weight(), world.status.phase), (0, Phase::RolledBack));
}

#[test]
fn a_rollback_is_tried_until_the_routes_take_it() {
    let mut world = World::with_canary(STEPS);
    sick_above(10)(&mut world);
    world.until(|w| w.weight() == 50);
    world.routes_writable = false;
    world.run(30);
    assert_eq!((world.weight(), world.status.phase), (50, Phase::RollingBack));
    world.routes_writable = true;
    world.calm_down();
    assert_eq!(world.status.phase, Phase::RolledBack);
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
fn deletion_gives_traffic_weights_and_label_back() {
    let mut world = World::with_canary(STEPS);
    world.seen.routes[0].canary = None;
    world.until(|w| w.weight() == 50);
    assert!(world.seen.finalizer);
    world.seen.deleting = true;
    world.until(|w| !w.seen.finalizer);
    assert_eq!(
        (world.seen.routes[0].production, world.seen.routes[0].canary),
        (Some(100), None)
    );
    assert_eq!(world.seen.rule.as_ref().unwrap().canary, None);
}

#[test]
fn deletion_keeps_what_people_changed_meanwhile() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    world.seen.deleting = true;
    world.until(|w| w.weight() == 0);
    world.seen.rule.as_mut().unwrap().canary = Some("mine".into());
    world.until(|w| !w.seen.finalizer);
    assert_eq!(world.seen.rule.as_ref().unwrap().canary.as_deref(), Some("mine"));
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
fn drain_gives_everything_back_and_starts_nothing() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    world.seen.draining = true;
    world.until(|w| !w.seen.finalizer);
    world.run(600);
    assert_eq!((world.weight(), world.status.attempts), (0, 1));
    assert_eq!(world.seen.rule.as_ref().unwrap().canary, None);
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
fn notices_are_recorded_with_the_transition_and_leave_when_delivered() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    let ids: Vec<i64> = world.status.notices.pending.iter().map(|n| n.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    let rollout = world.status.rollout.as_ref().unwrap().id.clone();
    let delivered = |rollout: &str, id: &i64| NoticeAck::Delivered {
        rollout: rollout.to_owned(),
        id: *id,
    };
    world.seen.acks = ids.iter().map(|id| delivered("v2-of-a-namesake", id)).collect();
    world.pass();
    assert_eq!(world.status.notices.pending.len(), ids.len());
    world.seen.acks = ids.iter().map(|id| delivered(&rollout, id)).collect();
    world.pass();
    assert!(world.status.notices.pending.is_empty());
}

#[test]
fn bare_readings_are_written_at_most_every_thirty_seconds() {
    let yaml = STEPS.replace("hold: 10s", "hold: 5m");
    let mut world = World::with_canary(&yaml);
    world.until(|w| w.weight() == 10);
    let written = world.status.clone();
    world.run(15);
    assert_ne!(world.status, written);
    assert!(!worth_writing(&written, &world.status, at(0), at(29)));
    assert!(worth_writing(&written, &world.status, at(0), at(30)));
}

#[test]
fn a_route_that_is_ours_no_longer_holds_the_rollout_and_is_named_at_its_end() {
    let mut world = World::with_canary(STEPS);
    let second = RouteSeen {
        key: "gateway/http[0]".into(),
        ..world.seen.routes[0].clone()
    };
    world.seen.routes.push(second);
    world.until(|w| w.weight() == 10);
    world.seen.routes.pop();
    world.run(60);
    assert_eq!(world.weight(), 10);
    assert!(
        world.status.message.contains("gateway/http[0]"),
        "{}",
        world.status.message
    );
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    assert!(
        world
            .status
            .message
            .contains("gateway/http[0] could not be moved"),
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
fn routes_left_alone_and_what_bypasses_a_rollout_are_named_in_status_while_they_are_there() {
    let mut world = World::new(STEPS);
    world.seen.other_routes = vec!["route testers has only subset canary".into()];
    world.seen.warnings = vec!["VirtualService \"mesh\" does not move".into()];
    world.run(60);
    assert_eq!(world.status.warnings.len(), 2);
    assert!(
        world.status.warnings[0].contains("testers"),
        "{:?}",
        world.status.warnings
    );
    world.seen.other_routes.clear();
    world.seen.warnings.clear();
    world.run(60);
    assert!(world.status.warnings.is_empty());
}

#[test]
fn what_the_api_server_refuses_to_restore_holds_neither_the_deletion_nor_the_rest() {
    for (weights, label) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new(STEPS);
        // Without weights, which the rollout writes.
        (world.seen.routes[0].production, world.seen.routes[0].canary) = (None, None);
        world.deploy("v2");
        world.until(|w| w.weight() == 50);
        world.seen.restore_refused = RestoreRefused { weights, label };
        world.seen.deleting = true;
        world.until(|w| !w.seen.finalizer);
        let route = &world.seen.routes[0];
        let expected = if weights {
            (Some(100), Some(0))
        } else {
            (None, None)
        };
        assert_eq!((route.production, route.canary), expected, "{weights} {label}");
        let expected = label.then(|| "v2".to_owned());
        assert_eq!(world.seen.rule.unwrap().canary, expected, "{weights} {label}");
    }
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
fn once_productions_label_is_written_nothing_but_the_end_of_the_promotion_counts() {
    for what in ["rollback", "delete", "drain", "pods"] {
        let mut world = World::with_canary(STEPS);
        let written = |e: &Effect| {
            matches!(
                e,
                Effect::Label {
                    subset: Side::Production,
                    ..
                }
            )
        };
        while !world.effects.iter().any(written) {
            world.now = world.now.checked_add(Span::millis(100).signed()).unwrap();
            world.pass();
        }
        match what {
            "rollback" => world.seen.verb = Some("rollback/1".into()),
            "delete" => world.seen.deleting = true,
            "drain" => world.seen.draining = true,
            _ => world.pods("v2", 0),
        }
        world.run_to(Phase::Promoted);
        assert_eq!(world.status.promoted_version.as_deref(), Some("v2"), "{what}");
    }
}

#[test]
fn a_deletion_does_not_wait_for_production_as_a_judged_rollback_does() {
    let mut world = World::with_canary(STEPS);
    sick_above(10)(&mut world);
    world.until(|w| w.weight() == 50);
    world.pods("v1", 0);
    world.run_to(Phase::RollingBack).run(10);
    assert_eq!(world.weight(), 50);
    world.seen.deleting = true;
    world.until(|w| !w.seen.finalizer);
    assert_eq!(
        (world.weight(), world.seen.rule.as_ref().unwrap().canary.clone()),
        (0, None)
    );
}

#[test]
fn a_deletion_gives_people_time_to_be_told_and_then_goes_on() {
    for heard in [true, false] {
        let mut world = World::with_canary(STEPS);
        world.until(|w| w.weight() == 50);
        world.seen.deleting = true;
        world.run_to(Phase::RolledBack);
        let given_back = world.now;
        assert!(world.seen.finalizer && world.weight() == 0);
        if heard {
            world.status.notices.pending.clear();
            for thread in &mut world.status.notices.threads {
                thread.shown = "*RolledBack* the BirdWatch is being deleted".into();
            }
        }
        world.until(|w| !w.seen.finalizer);
        let waited = world.now.duration_since(given_back).as_secs();
        assert_eq!(waited >= 14, !heard, "{waited} s");
        assert!(waited <= 16, "{waited} s");
    }
}

#[test]
fn a_deletion_ends_where_the_routes_are_gone() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.seen.deleting = true;
    let route = world.seen.routes.pop().unwrap();
    let kept = RouteSeen {
        key: "elsewhere".into(),
        production: Some(100),
        canary: Some(0),
        ..route
    };
    for _ in 0..10 {
        world.now = world.now.checked_add(Span::secs(5).signed()).unwrap();
        world.seen.routes.clear();
        let decision = super::decide::decide(&world.status, &world.seen, world.now);
        world.status = decision.next;
        if decision
            .effects
            .iter()
            .any(|e| matches!(e, Effect::RestoreLabel { .. }))
        {
            world.seen.rule.as_mut().unwrap().canary = None;
        }
        if decision.effects.contains(&Effect::RemoveFinalizer) {
            return;
        }
    }
    panic!("the finalizer stays: {} {kept:?}", world.status.message);
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
fn a_version_given_up_for_another_starts_again_when_the_spec_asks_for_it_again() {
    let mut world = World::with_canary(&format!("{STEPS}canaryVersion: v2\n"));
    world.until(|w| w.weight() == 50);
    world.spec.as_mut().unwrap().canary_version = Some("v3".into());
    world.until(|w| w.weight() == 0).run(10);
    world.spec.as_mut().unwrap().canary_version = Some("v2".into());
    world.run_to(Phase::Promoted);
    assert_eq!(world.status.promoted_version.as_deref(), Some("v2"));
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

#[test]
fn a_verb_while_the_version_asked_for_is_not_there_is_refused() {
    let mut world = World::new(&format!("{STEPS}canaryVersion: v9\n"));
    world.seen.verb = Some("promote/1".into());
    world.run(1);
    assert!(!world.status.verb.as_ref().unwrap().accepted);
}

#[test]
fn a_route_added_at_full_weight_is_given_its_delay_before_the_label() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 100);
    world.add_route("gateway/http[0]");
    world.run(60);
    assert_eq!(world.status.phase, Phase::Promoting);
    assert!(
        world.status.message.contains("gateway/http[0]"),
        "{}",
        world.status.message
    );

    let last = world.seen.routes.last_mut().unwrap();
    (last.production, last.canary) = (Some(0), Some(100));
    world.calm_down();
    let shifted = world.now;
    assert!(
        !world.is_production("v2"),
        "the mesh has not learned of the route"
    );
    world.until(|w| w.is_production("v2"));
    assert!(Span::between(shifted, world.now) >= Span::secs(2));
}

#[test]
fn a_refused_notice_is_told_of_until_one_is_taken() {
    let failing = |w: &World| holds(&w.status.conditions, ConditionType::NotifyFailing);
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    let refused = |n: &Notice| NoticeAck::Refused {
        rollout: n.rollout.clone(),
        id: n.id,
        reason: "msg_too_long".into(),
    };
    world.seen.acks = world.status.notices.pending.iter().map(refused).collect();
    world.calm_down();
    world.run(60);
    assert!(failing(&world), "{:?}", world.status.conditions);
    world.seen.acks = vec![NoticeAck::Delivered {
        rollout: world.status.rollout.as_ref().unwrap().id.clone(),
        id: 99,
    }];
    world.calm_down();
    assert!(!failing(&world));
}

#[test]
fn production_out_of_bounds_is_written_once_and_its_values_are_bare_readings() {
    let yaml = STEPS.replace("deviation: 0.5", "max: 5");
    let mut world = World::with_canary(&yaml);
    world.oracle = |_, _| (number(7.25), 1.0);
    world.until(|w| w.status.message.contains("beyond limit 5"));
    let written = world.status.clone();
    world.oracle = |_, _| (number(8.5), 1.0);
    world.until(|w| w.status.current.as_deref() == Some("8.5"));
    assert!(!worth_writing(&written, &world.status, at(0), at(29)));
    let told: Vec<_> = world.events.iter().filter(|e| e.reason == "Blind").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].note.ends_with("it is at 7.25"), "{}", told[0].note);
}

mod clocks;
mod counting;
mod evidence;
mod judging;
mod passed_over;
mod pauses;
mod told;
