//! A mesh that does otherwise than the store says, at every weight.

use super::*;
use crate::check::judged;

/// Envoy gives the canary so much from one second to before another.
fn stuck(events: &mut [(i64, What)], from: i64, to: i64, canary: Option<u32>) {
    for event in events.iter_mut().filter(|(at, _)| (from..to).contains(at)) {
        if matches!(event.1, What::Envoy { .. }) {
            *event = envoy(event.0, canary);
        }
    }
}

#[test]
fn a_service_that_is_being_made_may_have_no_route_yet() {
    assert_eq!(found(|e| stuck(e, 0, 90, None)), "");
    assert_says(&found(|e| stuck(e, 1, 90, None)), "Envoy has no route to it");
}

fn found_at(event: (i64, What)) -> String {
    found(|events| events.push(event))
}

#[test]
fn an_envoy_that_is_stuck_is_found_at_every_weight() {
    for (from, to, canary, meant) in [
        (107, 117, 0, 20),
        (117, 127, 20, 50),
        (127, 140, 50, 100),
        (140, 200, 100, 0),
        (207, 216, 0, 20),
        (216, 300, 20, 0),
    ] {
        let words = format!("Envoy gives the canary {canary} %, the store says [Some({meant})]");
        assert_says(&found(|e| stuck(e, from, to, Some(canary))), &words);
        // And so is one that has no route.
        assert_says(&found(|e| stuck(e, from, to, None)), "Envoy has no route to it");
    }
}

#[test]
fn one_look_at_envoy_in_the_middle_of_a_step_suffices() {
    for (second, canary) in [
        (112, 50),
        (112, 0),
        (122, 20),
        (122, 100),
        (132, 50),
        (132, 0),
        (190, 50),
        (211, 0),
    ] {
        assert_says(&found_at(envoy(second, Some(canary))), "Envoy gives the canary");
    }
    assert_says(&found_at(envoy(112, None)), "Envoy has no route to it");
}

#[test]
fn a_change_has_a_moment_to_reach_envoy_and_may_be_seen_there_first() {
    assert_eq!(found_at(envoy(119, Some(20))), "");
    assert_says(&found_at(envoy(120, Some(20))), "Envoy gives the canary 20 %");
    assert_eq!(found_at(envoy(115, Some(50))), "");
    assert_says(&found_at(envoy(114, Some(50))), "Envoy gives the canary 50 %");
    // Not what was there before the last but one.
    assert_says(&found_at(envoy(119, Some(0))), "Envoy gives the canary 0 %");
    // The answer may be older than it is.
    let asked_before = What::Envoy {
        asked: at(119),
        weights: Some((80, 20)),
    };
    assert_eq!(found_at((124, asked_before)), "");
}

#[test]
fn a_version_without_weight_that_answers_is_found() {
    for (second, version) in [
        // Not yet, not any more, and never.
        (104, "v2"),
        (132, "v1"),
        (190, "v1"),
        (220, "v3"),
        (112, "v3"),
        (122, "v9"),
    ] {
        assert_says(
            &found_at(answered(second, version)),
            &format!("{version} answered"),
        );
    }
    for (second, version) in [(105, "v2"), (129, "v1"), (217, "v3")] {
        assert_eq!(found_at(answered(second, version)), "");
    }
    // It waited in Envoy for as long.
    let late = What::Request {
        asked: at(128),
        version: Some("v1".into()),
        status: Some(200),
    };
    assert_eq!(found_at((133, late)), "");
}

#[test]
fn a_request_that_no_pod_answers_is_found_once_one_did() {
    for second in [90, 112, 122, 132, 190] {
        let refused = found_at(request(second, None, Some(503)));
        assert_says(&refused, "Envoy answered 503 itself");
        assert_says(&found_at(request(second, None, None)), "nobody answered");
    }
    assert_eq!(found_at(request(0, None, Some(503))), "");
    assert_eq!(found_at(request(117, None, Some(503))), "");
}

/// What is found where this was disturbed, and Envoy then gave the canary so much.
fn found_after(part: Part, kind: Kind, (from, to): (i64, i64), event: (i64, What)) -> String {
    let (from, to) = (at(from), at(to));
    let fault = Fault { part, kind, from, to };
    found_with(fault, |events| events.push(event))
}

#[test]
fn a_disturbance_excuses_what_was_changed_in_it_for_as_long_as_the_part_takes() {
    use Kind::{Killed, Slowed, Stopped};
    for (part, kind, takes) in [
        (Part::ApiServer, Killed, 60),
        (Part::Istiod, Killed, 30),
        (Part::Gateway, Killed, 10),
        (Part::ApiServer, Slowed, 10),
        (Part::Istiod, Stopped, 10),
        (Part::Gateway, Slowed, 10),
    ] {
        // The change to 50 % comes just before it, in it, and just after it.
        for when in [(119, 120), (113, 118), (110, 112)] {
            let by = when.1 + takes + 3;
            let look = |second| found_after(part, kind, when, envoy(second, Some(20)));
            assert_eq!(look(by), "", "{part:?} {kind:?} {when:?}");
            assert_says(&look(by + 1), "Envoy gives the canary 20 %");
        }
        assert_eq!(found_after(part, kind, (113, 118), answered(131, "v1")), "");
    }
}

#[test]
fn a_disturbance_excuses_nothing_that_was_there_before_it_or_came_after_it() {
    for part in [Part::ApiServer, Part::Istiod, Part::Gateway] {
        let look = |when, event| found_after(part, Kind::Killed, when, event);
        // 20 % came at 106.
        assert_says(
            &look((110, 113), envoy(112, Some(0))),
            "Envoy gives the canary 0 %",
        );
        assert_says(&look((110, 113), answered(112, "v9")), "v9 answered");
        assert_says(&look((150, 151), answered(152, "v1")), "v1 answered");
        assert_says(
            &look((20, 30), envoy(112, Some(50))),
            "Envoy gives the canary 50 %",
        );
    }
    for part in [Part::Prometheus, Part::Slack, Part::Operator] {
        let look = found_after(part, Kind::Killed, (113, 125), envoy(122, Some(20)));
        assert_says(&look, "Envoy gives the canary 20 %");
    }
}

#[test]
fn a_mesh_that_is_away_has_no_routes_and_answers_nobody() {
    let away = |event| found_after(Part::Gateway, Kind::Killed, (110, 112), event);
    for event in [
        envoy(114, None),
        request(114, None, None),
        request(114, None, Some(503)),
    ] {
        assert_eq!(away(event), "");
    }
    assert_says(&away(envoy(132, None)), "Envoy has no route to it");
    assert_says(&away(request(132, None, None)), "nobody answered");
}

#[test]
fn looks_are_counted_where_one_weight_alone_was_possible() {
    let count = |history: &History| judged(history).into_iter().collect::<Vec<_>>();
    let mut history = history(as_it_should_be());
    let all = count(&history);
    let [(0, at_rest), (20, at_20), (50, 5), (100, at_100)] = all[..] else {
        panic!("{all:?}")
    };
    assert!(at_rest > 200 && at_20 == 5 + 4 && at_100 == 8, "{all:?}");
    history.faults.push(fault(Part::Istiod, 105, 107));
    let weights: Vec<_> = count(&history).into_iter().map(|(weight, _)| weight).collect();
    assert_eq!(weights, [0, 20], "only the second release was seen");
}
