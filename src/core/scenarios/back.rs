//! Giving back: rollback, deletion, drain, and routes that are not there or not to be had.

use super::*;

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
fn a_deletion_gives_people_time_to_be_told_of_an_end_after_which_there_was_no_operator() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 50);
    world.seen.deleting = true;
    world.run_to(Phase::RolledBack);
    let (from, to) = (world.now, world.now + jiff::SignedDuration::from_secs(60));
    world.now = to;
    world.seen.gaps.push(Gap { from, to });
    world.until(|w| !w.seen.finalizer);
    let waited = world.now.duration_since(to).as_secs();
    assert!((14..=16).contains(&waited), "{waited} s");
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
        let decision = crate::core::decide::decide(&world.status, &world.seen, world.now);
        world.status = decision.next;
        if decision.effects.contains(&Effect::ReadRoutes) {
            world.seen.routes_writer = Some(OURSELVES.to_owned());
        }
        if decision.effects.contains(&Effect::IdentifyRuleWriter) {
            world.seen.rule_writer = Some(OURSELVES.to_owned());
        }
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
fn a_route_that_came_in_and_is_lowered_by_a_person_is_not_raised_again() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.add_route("gateway/http[0]");
    world.until(|w| w.status.weight == Some(50));
    let joined = world.seen.routes.last_mut().unwrap();
    (joined.production, joined.canary) = (Some(100), Some(0));
    world.seen.routes_writer = Some("kubectl-edit".to_owned());
    world.run(120);
    assert_eq!(world.status.phase, Phase::Frozen, "{}", world.status.message);
    assert!(world.seen.routes.last().unwrap().is_at(0));
}

#[test]
fn a_route_that_came_in_and_goes_again_holds_nothing_up() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.add_route("gateway/http[0]");
    world.until(|w| w.status.weight == Some(50));
    world.seen.routes.pop();
    world.run_to(Phase::Promoted);
    // At a rollback it is named, for its weights are out of our hands.
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    world.add_route("gateway/http[0]");
    world.until(|w| w.status.weight == Some(50));
    world.seen.routes.pop();
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    let ended = &world.status.ended.last().unwrap().reason;
    assert!(ended.contains("gateway/http[0] could not be moved"), "{ended}");
}

#[test]
fn beside_an_older_rule_that_came_later_no_label_is_written_and_a_bad_canary_goes_back() {
    for is_bad in [false, true] {
        let mut world = World::with_canary(STEPS);
        world.until(|w| w.weight() == 100);
        world.seen.rule_outdone = Some("DestinationRule former is older".into());
        if is_bad {
            sick_above(0)(&mut world);
            world.run_to(Phase::RolledBack);
            continue;
        }
        world.run(300);
        assert_eq!(world.status.phase, Phase::Promoting, "{}", world.status.message);
        assert!(!world.is_production("v2"));
        world.seen.rule_outdone = None;
        world.run_to(Phase::Promoted);
    }
}

#[test]
fn a_weight_below_100_that_would_give_the_canary_everything_is_refused() {
    let mut world = World::with_canary(STEPS);
    let route = &mut world.seen.routes[0];
    (route.production, route.canary, route.total) = (Some(1), Some(0), 1);
    world.run(120);
    assert!(world.seen.routes[0].is_at(0));
    assert!(
        world.status.message.contains("would be all"),
        "{}",
        world.status.message
    );
}

/// Of a small total a step is more than it says, and the canary needs pods for that.
#[test]
fn pods_are_needed_for_what_the_routes_can_express() {
    let mut world = World::with_canary(STEPS);
    let route = &mut world.seen.routes[0];
    (route.production, route.canary, route.total) = (Some(2), Some(0), 2);
    world.seen.deployments[0].replicas = 12;
    world.run(120);
    assert!(world.seen.routes[0].is_at(0));
    assert!(
        world
            .status
            .message
            .starts_with("weight 10 % needs 3 available pods"),
        "{}",
        world.status.message
    );
}

#[test]
fn a_subset_that_asks_for_more_than_the_canarys_pods_have_gets_no_traffic_and_is_not_relabelled() {
    let lacks = |production: bool| Lacks {
        production: production.then(|| "track=stable".to_owned()),
        canary: (!production).then(|| "track=canary".to_owned()),
    };
    for production in [true, false] {
        let mut world = World::with_canary(STEPS);
        world.seen.deployments[1].lacks = lacks(production);
        world.run(120);
        assert!(world.seen.routes[0].is_at(0));
        assert!(
            world.status.message.contains("besides the version"),
            "{}",
            world.status.message
        );
        world.seen.deployments[1].lacks = Lacks::default();
        world.run_to(Phase::Promoted);
    }
    // Asked for later.
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 100);
    world.seen.deployments[1].lacks = lacks(true);
    world.run(300);
    assert_eq!(world.status.phase, Phase::Promoting);
    assert!(!world.is_production("v2"));
    world.seen.deployments[1].lacks = Lacks::default();
    world.run_to(Phase::Promoted);
}

#[test]
fn a_rollback_of_which_one_route_took_its_part_is_gone_on_with_by_the_next_operator() {
    let mut world = World::with_canary(STEPS);
    world.add_route("gateway/http[0]");
    world.until(|w| w.weight() == 10);
    world.run(3);
    world.set_weight(0);
    world.crash(10);
    world.seen.routes_writer = Some(OURSELVES.to_owned());
    world.run(1);
    assert!(
        world.seen.routes.iter().all(|route| route.is_at(0)),
        "{:?}",
        world.seen.routes
    );
    world.run_to(Phase::RolledBack);
    let failure = world.status.rollout.unwrap().failure.unwrap();
    assert_eq!(failure.reason, FailureReason::WeightLowered);
}

#[test]
fn a_finalizer_that_is_taken_off_while_there_is_traffic_is_put_on_again() {
    for freeze in ["", "ifUnhealthy: freeze\n"] {
        let mut world = World::with_canary(&format!("{STEPS}{freeze}"));
        world.until(|w| w.weight() == 10);
        if !freeze.is_empty() {
            sick_above(0)(&mut world);
            world.run_to(Phase::Frozen);
        }
        world.seen.finalizer = false;
        world.calm_down();
        assert!(world.seen.finalizer, "{:?}", world.status.phase);
    }
}

#[test]
fn production_that_is_given_another_version_is_there_while_its_former_pods_are() {
    let mut world = World::with_canary(STEPS);
    world.until(|w| w.weight() == 10);
    let production = &mut world.seen.deployments[0];
    production.version = Some("v0".into());
    (production.current, production.updated, production.available) = (3, 1, 2);
    sick_above(0)(&mut world);
    world.run_to(Phase::RolledBack);
    assert_eq!(world.path(), [0, 10, 0]);
}

#[test]
fn a_rollback_that_is_gone_on_with_waits_for_production_as_it_did() {
    let mut world = World::with_canary(STEPS);
    world.add_route("gateway/http[0]");
    world.until(|w| w.weight() == 10);
    world.set_weight(0);
    world.pods("v1", 0);
    world.crash(10);
    world.seen.routes_writer = Some(OURSELVES.to_owned());
    world.run(60);
    assert_eq!(
        (world.status.phase, world.seen.routes[1].canary_share()),
        (Phase::RollingBack, 10)
    );
    world.pods("v1", 2);
    world.run_to(Phase::RolledBack);
}
