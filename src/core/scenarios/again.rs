//! Objects that are deleted and made again under their names, and objects of another service.

use super::*;
use crate::api::conditions::holds_for;
use crate::core::candidates::REMEMBERED;

/// A query that is asked of no version, as of the first users.
const OF_ALL: &str = r"
service: aleph
metrics: [{name: errors, query: 'sum(rate(errors[1m]))', deviation: 0.5}]
steps: [{weight: 10, hold: 10s}, {weight: 50, hold: 10s}, {weight: 100, hold: 10s}]
settle: 40s
";

fn made_again(world: &mut World, index: usize) {
    let seconds = world.now.as_second() - at(0).as_second();
    let deployment = &mut world.seen.deployments[index];
    deployment.uid = format!("{}-again", deployment.uid);
    deployment.created = Some(at(seconds));
}

/// How long it takes until something is asked.
fn waited(world: &mut World) -> Span {
    let (since, checks) = (world.now, world.checks);
    world.until(|w| w.checks > checks);
    Span::between(since, world.now)
}

#[test]
fn a_former_production_that_is_made_again_is_no_candidate_but_by_its_name() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted).run(60);
    made_again(&mut world, 0);
    world.run(60);
    assert_eq!((world.status.phase, world.status.attempts), (Phase::Promoted, 1));
    let by_name =
        "v1 (Deployment aleph-v1) was in production before: to release it set spec.canaryVersion: v1";
    assert!(world.status.message.contains(by_name), "{}", world.status.message);
    // Also where it was gone for a while.
    let again = world.seen.deployments.remove(0);
    world.run(60);
    world.seen.deployments.push(again);
    made_again(&mut world, 1);
    world.run(60);
    assert_eq!(world.status.attempts, 1);
    world.spec.as_mut().unwrap().canary_version = Some("v1".into());
    world.run_to(Phase::Promoted).until(|w| w.is_production("v1"));
}

#[test]
fn however_often_slots_change_their_versions_no_more_of_them_is_known_than_is_remembered() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    for round in 3..80 {
        let slot = &mut world.seen.deployments[round % 2];
        slot.version = Some(format!("v{round}"));
        slot.revision = Some(round.to_string());
        world.until(|w| w.status.promoted_version == Some(format!("v{round}")));
    }
    world.run(60);
    let known = world.status.known.as_ref().unwrap();
    assert!(
        known.len() <= REMEMBERED + world.seen.deployments.len(),
        "{}",
        known.len()
    );
    assert!(known.iter().any(|known| known.version == "v79"));
}

#[test]
fn a_former_production_whose_deployment_is_there_is_known_however_many_came_after_it() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    for round in 3..REMEMBERED + 10 {
        let version = format!("v{round}");
        world.deploy(&version);
        world.until(|w| w.status.promoted_version.as_ref() == Some(&version));
        // Of the versions between nothing is left.
        world
            .seen
            .deployments
            .retain(|d| d.version.as_deref() == Some("v1") || d.version.as_ref() == Some(&version));
    }
    let attempts = world.status.attempts;
    world.run(600);
    assert_eq!(world.status.attempts, attempts, "{}", world.status.message);
}

#[test]
fn however_many_deployments_production_has_they_are_known_once() {
    let mut world = World::new(STEPS);
    for number in 0..=REMEMBERED {
        let mut other = deployment("v1", -1000);
        (other.name, other.uid) = (format!("aleph-{number}"), format!("uid-{number}"));
        world.seen.deployments.push(other);
    }
    world.pass();
    let before = world.status.clone();
    world.pass();
    assert_eq!(world.status, before);
}

#[test]
fn production_that_is_no_deployment_any_more_is_not_waited_for() {
    let mut world = World::new(STEPS);
    world.seen.deployments.clear();
    world.deploy("v2");
    sick_above(10)(&mut world);
    world.run_to(Phase::RolledBack);
    assert_eq!(world.weight(), 0);
}

#[test]
fn a_version_that_was_rolled_back_stays_so_where_the_selector_is_edited() {
    let mut world = World::with_canary(STEPS);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    let spec = world.spec.as_mut().unwrap();
    spec.canary_version = Some("v2".into());
    let selector = r#"{"selector": {"app": "aleph", "tier": "web"}}"#;
    spec.workload = Some(serde_json::from_str(selector).unwrap());
    world.run(60);
    assert_eq!(
        (world.status.phase, world.status.attempts),
        (Phase::RolledBack, 1),
        "{}",
        world.status.message
    );
    world.seen.verb = Some("retry/1".into());
    world.oracle = |_, _| (number(0.0), 1.0);
    world.run_to(Phase::Promoted);
}

#[test]
fn production_whose_deployment_got_the_new_version_keeps_its_canary_until_it_has_pods() {
    for replaced in [false, true] {
        let mut world = World::new(STEPS);
        world.seen.deployments[0].version = Some("v2".into());
        world.seen.deployments[0].revision = Some("2".into());
        if replaced {
            made_again(&mut world, 0);
        }
        sick_above(10)(&mut world);
        world.run_to(Phase::RollingBack).run(60);
        assert_eq!(world.weight(), 50, "nobody serves v1");
        let held = holds_for(
            &world.status.conditions,
            ConditionType::Held,
            "ProductionUnavailable",
        );
        assert!(held, "{}", world.status.message);
        world.deploy("v1");
        world.run_to(Phase::RolledBack);
    }
}

#[test]
fn a_baseline_of_a_query_of_all_versions_waits_until_none_had_weight_for_as_long_as_it_looks_back() {
    // One who has just come knows nothing of what was before.
    let mut world = World::with_canary(OF_ALL);
    assert!(waited(&mut world) >= Span::secs(40));
    // Another version gave way to the one that begins.
    world.until(|w| w.weight() == 10);
    world.deploy("v3");
    world.until(|w| w.weight() == 0);
    let until = world.status.ended[0].had_weight_until.unwrap();
    waited(&mut world);
    assert!(Span::between(until, world.now) >= Span::secs(40));
    // Somebody gave it weight while there was nobody to release.
    let mut world = World::with_canary(OF_ALL);
    world.until(|w| w.weight() == 10);
    world.seen.verb = Some("rollback/1".into());
    world.run_to(Phase::RolledBack).run(600);
    world.set_weight(10);
    world.run(60);
    world.set_weight(0);
    world.calm_down();
    world.seen.verb = Some("retry/1".into());
    assert!(waited(&mut world) >= Span::secs(40));
    // However often leaders change.
    let mut world = World::with_canary(OF_ALL);
    world.run_to(Phase::Baseline);
    let begun = world.status.rollout.as_ref().unwrap().started;
    assert!(
        world.status.message.contains("the baseline waits until"),
        "{}",
        world.status.message
    );
    let asks = |w: &World| w.status.phase == Phase::Baseline && w.status.message == "recording the baseline";
    for _ in 0..2 {
        world.run(15);
        world.crash(1);
    }
    // It says so from the instant it asks, however long Prometheus takes.
    world.until(asks);
    for _ in 0..3 {
        world.run(15);
        world.crash(1);
    }
    world.calm_down();
    assert!(world.checks > 0 && Span::between(begun, world.now) < Span::secs(100));
    // What is asked of production alone does not wait.
    let mut world = World::with_canary(&STEPS.replace("settle: 0s", "settle: 40s"));
    assert!(waited(&mut world) < Span::secs(40));
}

#[test]
fn what_was_deployed_before_the_objects_were_there_is_no_candidate() {
    let mut world = World::new(STEPS);
    let rule = std::mem::replace(
        &mut world.seen.rule,
        Err("DestinationRule aleph is missing".into()),
    );
    world.status = crate::api::BirdWatchStatus::default();
    let deployments = std::mem::take(&mut world.seen.deployments);
    world.run(10);
    world.seen.deployments = deployments;
    world.deploy("v2");
    world.run(10);
    world.seen.rule = rule;
    world.seen.rule.as_mut().unwrap().production = Some("v2".into());
    world.run(60);
    assert_eq!(
        (world.status.phase, world.status.attempts),
        (Phase::Idle, 0),
        "{}",
        world.status.message
    );
    world.deploy("v3");
    world.run_to(Phase::Promoted);
}

#[test]
fn retry_starts_the_version_that_the_spec_names_and_no_other() {
    let mut world = World::with_canary(STEPS);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    world.deploy("v3");
    world.until(|w| w.status.ended.len() == 2);
    world.spec.as_mut().unwrap().canary_version = Some("v2".into());
    world.run(60);
    world.seen.verb = Some("retry/1".into());
    world.oracle = |_, _| (number(0.0), 1.0);
    world.until(|w| w.status.promoted_version.as_deref() == Some("v2"));
    let of_v3 = world.status.ended.iter().find(|end| end.canary.version == "v3");
    assert!(!of_v3.unwrap().retried);
    // Of one that never was released, and of one whose Deployment is not there as it was.
    let refused = |world: &mut World, token: &str, why: &str| {
        world.seen.verb = Some(format!("retry/{token}"));
        world.calm_down();
        let verb = world.status.verb.as_ref().unwrap();
        assert!(!verb.accepted && verb.message.contains(why), "{verb:?}");
    };
    world.spec.as_mut().unwrap().canary_version = Some("v9".into());
    refused(&mut world, "2", "no rollout of v9");
    world.spec.as_mut().unwrap().canary_version = Some("v3".into());
    world
        .seen
        .deployments
        .retain(|d| d.version.as_deref() != Some("v3"));
    refused(&mut world, "3", "Deployment aleph-v3");
}

#[test]
fn a_retry_is_heard_while_its_deployment_is_not_yet_observed_and_while_the_spec_is_bad() {
    for is_bad in [false, true] {
        let mut world = World::with_canary(STEPS);
        sick_above(0)(&mut world);
        world.run_to(Phase::RolledBack);
        world.oracle = |_, _| (number(0.0), 1.0);
        let spec = world.spec.clone();
        let (deployments, rule) = (world.seen.deployments.clone(), world.seen.rule.clone());
        if is_bad {
            world.spec = Err("spec.steps: no".into());
            world.seen.deployments.clear();
            world.seen.rule = Err("the spec names no objects".into());
        } else {
            world.seen.deployments[1].revision = None;
        }
        world.seen.verb = Some("retry/1".into());
        world.run(5);
        assert!(
            world.status.verb.as_ref().unwrap().accepted,
            "{:?}",
            world.status.verb
        );
        (world.spec, world.seen.deployments, world.seen.rule) = (spec, deployments, rule);
        world.run_to(Phase::Promoted);
    }
}

#[test]
fn a_retry_while_the_spec_is_bad_is_of_the_version_it_names_and_of_none_in_production() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    sick_above(0)(&mut world);
    world.deploy("v3");
    world.run_to(Phase::RolledBack);
    world.deploy("v4");
    world.until(|w| w.status.ended.len() == 3);
    let retried = |world: &mut World, token: &str| {
        world.spec.as_mut().unwrap().steps = Some(Vec::new());
        (world.seen.deployments, world.seen.rule) = (Vec::new(), Err("the spec names no objects".into()));
        world.seen.verb = Some(format!("retry/{token}"));
        world.run(5);
        let ended = world.status.ended.iter();
        ended
            .filter(|e| e.retried)
            .map(|e| e.canary.version.clone())
            .collect::<Vec<_>>()
    };
    // What was promoted is in production, unless Git turned it back.
    world.spec.as_mut().unwrap().canary_version = Some("v2".into());
    assert!(retried(&mut world, "1").is_empty());
    world.spec.as_mut().unwrap().canary_version = Some("v3".into());
    assert_eq!(retried(&mut world, "2"), ["v3"]);
}

#[test]
fn a_retry_starts_no_other_version_where_the_deployment_of_the_last_one_is_gone() {
    let mut world = World::with_canary(STEPS);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    world.deploy("v3");
    world.until(|w| w.status.ended.len() == 2);
    world
        .seen
        .deployments
        .retain(|d| d.version.as_deref() != Some("v3"));
    world.seen.verb = Some("retry/1".into());
    world.run(60);
    let verb = world.status.verb.as_ref().unwrap();
    assert!(!verb.accepted && verb.message.contains("v3"), "{verb:?}");
    assert_eq!(world.status.attempts, 2);
}

#[test]
fn a_promotion_of_which_git_turns_both_labels_back_is_not_frozen_first() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.is_production("v2"));
    let rule = world.seen.rule.as_mut().unwrap();
    (rule.production, rule.canary) = (Some("v1".into()), None);
    world.seen.rule_writer = None;
    world.run_to(Phase::RolledBack);
    assert!(!world.reasons().contains(&"Frozen"), "{:?}", world.reasons());
}

#[test]
fn a_frozen_canary_whose_subset_means_other_pods_gives_its_traffic_back() {
    let mut world = World::with_canary(&format!("{STEPS}ifUnhealthy: freeze\n"));
    world.until(|w| w.weight() == 50);
    sick_above(0)(&mut world);
    world.run_to(Phase::Frozen);
    world.seen.rule.as_mut().unwrap().canary = Some("v0".into());
    world.seen.rule_writer = None;
    world.run_to(Phase::RolledBack);
    assert_eq!(world.weight(), 0);
    let why = &world.status.message;
    assert!(why.contains("argocd-controller changed subset"), "{why}");
}

#[test]
fn what_was_promoted_for_one_service_says_nothing_of_another() {
    let mut world = World::with_canary(STEPS);
    world.run_to(Phase::Promoted);
    sick_above(0)(&mut world);
    world.deploy("v3");
    world.run_to(Phase::RolledBack);
    world.spec.as_mut().unwrap().service = "beth".into();
    world.seen.deployments = vec![deployment("v7", -1000)];
    let rule = world.seen.rule.as_mut().unwrap();
    (rule.production, rule.canary) = (Some("v7".into()), None);
    world.run(60);
    assert_eq!(world.status.phase, Phase::Idle, "{}", world.status.message);
    let conditions = &world.status.conditions;
    assert!(!holds(conditions, ConditionType::ProductionReverted));
    assert!(holds(conditions, ConditionType::Ready), "{conditions:?}");
    world.seen.verb = Some("retry/1".into());
    world.calm_down();
    assert!(!world.status.verb.as_ref().unwrap().accepted);
}
