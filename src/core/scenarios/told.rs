//! What people are told, and what they do by hand: further lives in the small world.

use super::*;
use crate::api::conditions::message;
use crate::core::messages;

fn events<'w>(world: &'w World, reason: &'w str) -> Vec<&'w str> {
    let of_reason = world.events.iter().filter(move |e| e.reason == reason);
    of_reason.map(|e| e.note.as_str()).collect()
}

/// The first step asks for more pods than there are.
fn ten_to_one() -> World {
    let mut world = World::with_canary(&STEPS.replace("weight: 10,", "weight: 40,"));
    world.scale("v1", 10);
    world.scale("v2", 1);
    world
}

#[test]
fn a_first_step_without_pods_for_it_is_told_of() {
    let mut world = ten_to_one();
    world.run(60);
    assert_eq!(world.weight(), 0);
    let told = events(&world, "Held");
    assert!(
        told.len() == 1 && told[0].contains("needs 2 available pods"),
        "{told:?}"
    );
}

#[test]
fn a_reason_to_hold_that_follows_another_is_told_of_too() {
    let mut world = World::with_canary(&format!("{STEPS}maxWeight: 50\n"));
    world.until(|w| !events(w, "Held").is_empty());
    world.pods("v2", 0);
    world.seen.deployments[1].available = 1;
    world.seen.deployments[0].replicas = 10;
    world.seen.verb = Some("promote/1".into());
    world.run(30);
    let told = events(&world, "Held");
    assert!(
        told.len() == 2 && told[0].contains("maxWeight") && told[1].contains("needs 5"),
        "{told:?}"
    );
}

#[test]
fn capacity_is_not_rounded_up_by_the_way_computers_count() {
    let mut world =
        World::with_canary(&STEPS.replace("{weight: 10, hold: 10s}, {weight: 50,", "{weight: 56,"));
    world.scale("v1", 25);
    world.scale("v2", 7);
    world.until(|w| w.weight() == 56);
}

#[test]
fn as_many_replicas_as_a_deployment_may_have_are_counted_and_not_overrun() {
    let mut world = World::with_canary(STEPS);
    world.scale("v1", i32::MAX);
    let mut other = world.seen.deployments[0].clone();
    (other.name, other.uid) = ("aleph-v1-b".into(), "other".into());
    world.seen.deployments.push(other);
    world.run(600);
    assert_eq!(world.path(), [0]);
    let said = &world.status.message;
    assert!(said.contains("needs 214748365 available pods"), "{said}");
}

#[test]
fn a_value_of_the_annotation_that_comes_back_acts_no_more() {
    let mut world = World::with_canary(STEPS);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    world.seen.verb = Some("retry/1".into());
    world.run_to(Phase::Progressing).run_to(Phase::RolledBack);
    world.seen.verb = Some("promote/2".into());
    world.calm_down();
    world.seen.verb = Some("retry/1".into());
    world.run(60);
    assert_eq!(world.status.phase, Phase::RolledBack);
    let answer = world.status.verb.as_ref().unwrap();
    assert!(
        !answer.accepted && answer.message.contains("used before"),
        "{}",
        answer.message
    );
    let refusals = events(&world, "VerbSeen")
        .into_iter()
        .filter(|note| note.contains("used before"));
    assert_eq!(refusals.count(), 1);
    world.seen.verb = Some("retry/3".into());
    world.run_to(Phase::Progressing);
}

#[test]
fn a_former_production_that_is_restarted_is_no_candidate() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    world.seen.deployments[0].revision = Some("2".into());
    world.run(60);
    assert_eq!(world.status.phase, Phase::Promoted);
    assert!(
        world.status.rollout.as_ref().unwrap().ended.is_some(),
        "nothing starts"
    );
    assert!(
        world.status.message.ends_with(
            "v1 (Deployment aleph-v1) was in production before: to release it set spec.canaryVersion: v1"
        ),
        "{}",
        world.status.message
    );
    // Another version of the same Deployment is one.
    world.seen.deployments[0].version = Some("v3".into());
    world.run_to(Phase::Progressing);
}

#[test]
fn different_texts_are_different_events_and_the_same_text_is_the_same() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Progressing);
    for value in ["resume/1", "resume/2"] {
        world.seen.verb = Some(value.into());
        world.calm_down();
    }
    for _ in 0..2 {
        world.until(|w| w.weight() == 10);
        world.set_weight(60);
        world.calm_down();
    }
    let actions = |reason: &str| {
        let of_reason = world.events.iter().filter(|e| e.reason == reason);
        of_reason.map(|e| e.action.clone()).collect::<Vec<_>>()
    };
    let (verbs, raised) = (actions("VerbSeen"), actions("Interference"));
    assert!(verbs.len() == 2 && verbs[0] != verbs[1], "{verbs:?}");
    assert!(raised.len() == 2 && raised[0] == raised[1], "{raised:?}");
}

#[test]
fn a_reading_beyond_its_bounds_before_any_traffic_starts_nothing() {
    let yaml = STEPS
        .replace("deviation: 0.5", "max: 5")
        .replace(r#"{version="$(version)"}"#, "");
    let mut world = World::with_canary(&yaml);
    world.oracle = |_, _| (number(7.0), 1.0);
    world.run(60);
    assert_eq!(world.status.phase, Phase::Baseline);
    assert!(
        world
            .status
            .message
            .contains("before any traffic has moved it is beyond limit 5"),
        "{}",
        world.status.message
    );
    world.oracle = |_, _| (number(4.0), 1.0);
    world.run_to(Phase::Promoted);
}

#[test]
fn a_pause_in_the_middle_of_a_hold_shows_and_so_does_its_end() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.spec.as_mut().unwrap().paused = Some(true);
    world.run(5);
    assert_eq!(world.status.message, "paused at weight 10 %");
    world.spec.as_mut().unwrap().paused = None;
    world.calm_down();
    assert_eq!(events(&world, "Paused"), ["paused at weight 10 %"]);
    assert_eq!(events(&world, "Resumed"), ["going on at 10 %"]);
    assert!(!holds(&world.status.conditions, ConditionType::Paused));
}

#[test]
fn a_route_put_before_ours_is_no_hand_that_lowers() {
    let mut world = World::with_canary(STEPS);
    world.seen.routes[0].key = "aleph/http[#0]".into();
    world.until(|w| w.weight() == 10);
    let mut first = world.seen.routes[0].clone();
    (first.production, first.canary) = (Some(100), Some(0));
    world.seen.routes[0].key = "aleph/http[#1]".into();
    world.seen.routes.insert(0, first);
    world.run(5);
    assert_eq!(world.status.phase, Phase::Progressing, "{}", world.status.message);
    let second = &mut world.seen.routes[1];
    (second.production, second.canary) = (Some(95), Some(5));
    world.until(|w| w.status.phase == Phase::Frozen);
}

#[test]
fn a_weight_lowered_by_hand_is_the_weight_that_shows() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.set_weight(4);
    world.run_to(Phase::Frozen);
    assert_eq!(world.status.weight, Some(4));
    assert!(
        world.status.message.starts_with("frozen at weight 4 %"),
        "{}",
        world.status.message
    );
    let failure = world.status.rollout.as_ref().unwrap().failure.as_ref();
    assert_eq!(failure.unwrap().reason, FailureReason::WeightLowered);
    world.run(60);
    assert_eq!(world.weight(), 4);
    assert!(!world.effects.iter().any(|e| matches!(e, Effect::Lower { .. })));
}

#[test]
fn a_rate_compared_across_versions_is_warned_of_and_a_share_is_not() {
    let rate = STEPS
        .replace("'errors{", "'rate(errors{")
        .replace("}',", "}[1m])',");
    let warned = |yaml: &str| {
        let world = World::new(yaml);
        world
            .status
            .warnings
            .iter()
            .any(|w| w.contains("grows with traffic"))
    };
    assert!(warned(&rate));
    assert!(!warned(
        &rate.replace("deviation: 0.5", "deviation: 0.5, per: request")
    ));
    assert!(!warned(&rate.replace(r#"{version="$(version)"}"#, "")));
}

/// Nine checks that answer, and one that does not, again and again.
fn flicker(world: &mut World, times: u32) {
    for _ in 0..times {
        world.oracle = |_, _| (number(0.0), 1.0);
        world.run(90);
        world.oracle = |_, _| (number(f64::NAN), 1.0);
        world.run(10);
    }
}

#[test]
fn a_prometheus_that_misses_one_check_in_ten_is_told_of_once() {
    let long = STEPS.replace("hold: 10s", "hold: 2h");
    let mut world = World::with_canary(&long);
    world.until(|w| w.weight() == 10);
    flicker(&mut world, 8);
    assert_eq!(events(&world, "Blind").len(), 1);
    assert!(holds(&world.status.conditions, ConditionType::Blind));
    world.oracle = |_, _| (number(0.0), 1.0);
    world.run(660);
    assert!(!holds(&world.status.conditions, ConditionType::Blind));
    flicker(&mut world, 2);
    assert_eq!(
        events(&world, "Blind").len(),
        2,
        "after a while of silence it is news"
    );
}

#[test]
fn an_outage_that_stays_is_told_of_though_a_glitch_was_a_moment_before() {
    let mut world = World::with_canary(&STEPS.replace("hold: 10s", "hold: 2h"));
    world.until(|w| w.weight() == 10);
    flicker(&mut world, 1);
    world.oracle = |_, _| (number(0.0), 1.0);
    world.run(60);
    assert_eq!(events(&world, "Blind").len(), 1);
    world.oracle = |_, _| (Outcome::Failed("no connection".into()), 1.0);
    world.run(300);
    assert_eq!(events(&world, "Blind").len(), 1, "it may be another glitch");
    world.run(3300);
    assert_eq!(events(&world, "Blind").len(), 2);
}

#[test]
fn what_a_rollout_waits_for_is_told_of_once_though_checks_come_and_go() {
    let mut world = World::with_canary(&format!("{STEPS}maxWeight: 50\n"));
    world.until(|w| w.weight() == 50);
    flicker(&mut world, 8);
    let told = events(&world, "Held");
    assert!(told.len() == 1 && told[0].contains("maxWeight"), "{told:?}");
    world.scale("v1", 10);
    world.seen.verb = Some("promote/1".into());
    flicker(&mut world, 2);
    let told = events(&world, "Held");
    assert!(told.len() == 2 && told[1].contains("needs 5"), "{told:?}");
}

#[test]
fn a_promotion_without_any_route_of_ours_says_so() {
    let mut world = World::with_canary(STEPS);
    world.seen.settings.propagation_delay = Span::secs(30);
    world.run_to(Phase::Promoting);
    let routes = std::mem::take(&mut world.seen.routes);
    world.run(5);
    assert_eq!(world.status.message, "no route holds both subsets");
    assert_eq!(events(&world, "Held"), ["no route holds both subsets"]);
    world.seen.routes = routes;
    world.run_to(Phase::Promoted);
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
fn a_headline_that_slack_gives_up_fails_no_longer_once_nothing_waits() {
    let failing = |w: &World| holds(&w.status.conditions, ConditionType::NotifyFailing);
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    let rollout = world.status.rollout.as_ref().unwrap().id.clone();
    let retried = NoticeAck::Failing {
        rollout: rollout.clone(),
        reason: "status 502".into(),
    };
    let refused = NoticeAck::ParentRefused {
        rollout: rollout.clone(),
    };
    world.seen.acks = vec![retried, refused.clone()];
    world.calm_down();
    assert!(failing(&world), "notices wait");
    world.status.notices.pending.clear();
    world.seen.acks = vec![refused];
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

#[test]
fn the_headline_of_a_rollout_that_is_over_stays_at_its_end_whatever_is_waited_for_since() {
    for (percent, end) in [(None, "100 %  *Promoted*"), (Some(0), " 0 %  *RolledBack*")] {
        let mut world = World::with_canary(STEPS);
        if let Some(percent) = percent {
            sick_above(percent)(&mut world);
        }
        world.until(|w| w.status.rollout.as_ref().is_some_and(|r| r.ended.is_some()));
        let rollout = world.status.rollout.as_ref().unwrap().id.clone();
        let headline = |world: &World| messages::parent(&world.seen.name, &world.status, &rollout);
        let before = headline(&world);
        assert!(before.contains(end), "{before}");

        world.spec.as_mut().unwrap().canary_version = Some("v3".into());
        world.run_to(Phase::Pending);
        assert_eq!(headline(&world), before);
    }
    // Also where its end is not remembered any more.
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    world.spec.as_mut().unwrap().canary_version = Some("v9".into());
    world.run_to(Phase::Pending);
    world.status.ended.clear();
    let rollout = world.status.rollout.as_ref().unwrap().id.clone();
    let text = messages::parent(&world.seen.name, &world.status, &rollout);
    assert!(text.contains("100 %  *Promoted*"), "{text}");
}

#[test]
fn every_weight_that_a_hand_gives_a_frozen_canary_is_told_of() {
    let mut world = World::with_canary(&STEPS.replace("ifUnhealthy: rollback", "ifUnhealthy: freeze"));
    world.until(|w| w.weight() == 50);
    world.set_weight(20);
    world.run_to(Phase::Frozen);
    let lowered = events(&world, "Interference").len();
    for weight in [80, 60] {
        world.set_weight(weight);
        world.run(30);
        assert_eq!(world.weight(), 20);
    }
    let told = events(&world, "Interference").split_off(lowered);
    assert!(
        told.len() == 2 && told[0].contains("had 80 of 100") && told[1].contains("had 60 of 100"),
        "{told:?}"
    );
}

#[test]
fn who_lowered_a_canary_and_froze_it_by_that_stays_in_sight() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    world.set_weight(20);
    world.run_to(Phase::Frozen).run(600);
    assert!(holds(&world.status.conditions, ConditionType::Interference));
}

#[test]
fn a_verb_of_any_length_is_refused_in_a_few_words() {
    for value in ["promote/".to_owned() + &"1".repeat(300), "\u{7f}".repeat(200_000)] {
        let mut world = World::with_canary(STEPS);
        world.seen.verb = Some(value);
        world.calm_down();
        let answer = world.status.verb.as_ref().unwrap();
        assert_eq!(
            answer.message,
            "the value is too long: at most 100 characters in all"
        );
        assert!(!answer.accepted && answer.value.chars().count() == 100);
    }
}

#[test]
fn however_many_warnings_there_are_status_has_the_first_and_how_many_more() {
    let mut world = World::new(STEPS);
    world.seen.other_routes = (0..500).map(|n| format!("route {n} is left alone")).collect();
    world.calm_down();
    let warnings = &world.status.warnings;
    assert_eq!((warnings.len(), warnings[20].as_str()), (21, "and 480 more"));
    world.seen.other_routes.truncate(20);
    world.calm_down();
    assert_eq!(world.status.warnings.len(), 20);
}

#[test]
fn a_step_after_the_last_one_is_the_last_of_one_more() {
    let mut world = World::with_canary(&format!("{STEPS}maxWeight: 30\n"));
    world.until(|w| w.weight() == 30).run(20);
    assert_eq!(world.status.step.as_deref(), Some("2/2"));
    world.seen.verb = Some("promote/1".into());
    world.until(|w| w.weight() == 100);
    assert_eq!(world.status.step.as_deref(), Some("3/3"));
    let told = events(&world, "WeightConfirmed");
    assert!(told[2].starts_with("weight 100 % (step 3 of 3)"), "{told:?}");
}

#[test]
fn each_version_that_another_hand_makes_production_after_a_promotion_is_told_of() {
    let mut world = World::with_canary(&format!("{STEPS}canaryVersion: v2\n"));
    world.run_to(Phase::Promoted);
    for version in ["v1", "v0", "a  label\u{200b} of any kind"] {
        world.seen.rule.as_mut().unwrap().production = Some(version.into());
        world.run(60);
    }
    let told = events(&world, "ProductionReverted");
    assert!(
        told.len() == 3
            && told[0].contains("set production to v1,")
            && told[1].contains("set production to v0,")
            && told[2].contains("set production to a label of any kind,"),
        "{told:?}"
    );
    let shown = message(&world.status.conditions, ConditionType::ProductionReverted);
    assert_eq!(shown, Some(told[2]));
}
