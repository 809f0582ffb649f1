//! Is the checker worth anything? A history of two releases, one good and one bad, in which nothing is wrong, and every
//! way to spoil it.

mod eyes;
mod mesh;
mod notices;

use std::collections::BTreeMap;
use std::ops::Range;

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::{HoldClock, Phase};
use birdwatch::core::plan;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::broken;
use crate::history::{Event, Fault, History, Kind, Nature, Part, Plan, Rss, Says, What};

const SHOP: &str = "shop";

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn weights(canary: i64) -> What {
    What::Weights {
        production: 100 - canary,
        canary,
    }
}

fn labels(production: &str, canary: &str) -> What {
    What::Labels {
        production: production.into(),
        canary: canary.into(),
    }
}

fn deployed(version: &str, nature: Nature) -> What {
    What::Deployed {
        version: version.into(),
        nature,
    }
}

fn reading(version: &str, asked: i64, says: Says) -> What {
    What::Reading {
        version: version.into(),
        asked: at(asked),
        says,
    }
}

fn status(phase: Phase, ended: &[(&str, &str)]) -> What {
    let end = |(version, outcome): &(&str, &str)| {
        let candidate = json!({"version": version, "deployment": version, "uid": "u"});
        json!({"id": format!("{version}-{outcome}"), "canary": candidate, "outcome": outcome, "at": "2026-11-21T00:00:00Z"})
    };
    let ended: Vec<Value> = ended.iter().map(end).collect();
    let status = json!({"phase": phase.as_str(), "ended": ended});
    let status: BirdWatchStatus = serde_json::from_value(status).unwrap();
    What::Status(Box::new(status))
}

/// Status means a weight that may not be there yet.
fn means(intended: u8) -> What {
    let spec = json!({"service": SHOP, "metric": "up", "deviation": 1, "increment": 50, "interval": "5s"});
    let plan = plan::resolve(&serde_json::from_value(spec).unwrap()).unwrap();
    let of = |version: &str| json!({"version": version, "deployment": version, "uid": version});
    let rollout = json!({
        "id": "r", "canary": of("v2"), "production": of("v1"), "plan": plan, "started": at(0),
        "clock": HoldClock::default(), "intended": intended,
    });
    let status = json!({"phase": "Progressing", "rollout": rollout});
    What::Status(Box::new(serde_json::from_value(status).unwrap()))
}

fn request(second: i64, version: Option<&str>, status: Option<u16>) -> (i64, What) {
    let what = What::Request {
        asked: at(second),
        version: version.map(Into::into),
        status,
    };
    (second, what)
}

fn answered(second: i64, version: &str) -> (i64, What) {
    request(second, Some(version), Some(200))
}

/// Envoy gives the canary so much; none without a route.
fn envoy(second: i64, canary: Option<u32>) -> (i64, What) {
    let what = What::Envoy {
        asked: at(second),
        weights: canary.map(|canary| (100 - canary, canary)),
    };
    (second, what)
}

/// v2 is promoted by 20, 50 and 100 %, each for ten seconds, v3 is bad from 20 % on and goes back.
fn as_it_should_be() -> Vec<(i64, What)> {
    let told = |text: &str| What::Told(text.into());
    let mut all = vec![
        (0, weights(0)),
        (0, labels("v1", "none")),
        (100, deployed("v2", Nature::Good)),
        (102, labels("v1", "v2")),
        (105, reading("v1", 104, Says::Healthy)),
        (106, weights(20)),
        (116, weights(50)),
        (126, weights(100)),
        (136, labels("v2", "v2")),
        (139, weights(0)),
        (140, status(Phase::Promoted, &[("v2", "Promoted")])),
        (141, told("v2 is production now, instead of v1")),
        (200, deployed("v3", Nature::Bad)),
        (200, What::Sick { version: "v3".into() }),
        (202, labels("v2", "v3")),
        (205, reading("v2", 204, Says::Healthy)),
        (206, weights(20)),
        (215, weights(0)),
        (
            216,
            status(Phase::RolledBack, &[("v2", "Promoted"), ("v3", "RolledBack")]),
        ),
        (217, told("v3 rolled back to v2: errors")),
    ];
    all.extend((107..136).map(|second| (second, reading("v2", second, Says::Healthy))));
    all.extend((210..215).map(|second| (second, reading("v3", second, Says::Unhealthy))));
    let in_envoy = |second: i64| match second {
        107..117 | 207..216 => 20,
        117..127 => 50,
        127..140 => 100,
        _ => 0,
    };
    all.extend((0..300).map(|second| envoy(second, Some(in_envoy(second)))));
    all.extend((1..300).map(|second| answered(second, if second < 127 { "v1" } else { "v2" })));
    all.extend([answered(112, "v2"), answered(122, "v2"), answered(210, "v3")]);
    all
}

fn history(events: Vec<(i64, What)>) -> History {
    let plan = Plan {
        steps: vec![20, 50, 100],
        hold: SignedDuration::from_secs(10),
    };
    let event = |(second, what)| Event {
        at: at(second),
        service: SHOP.into(),
        what,
    };
    let mut events: Vec<_> = events.into_iter().map(event).collect();
    events.sort_by_key(|event| event.at);
    History {
        plans: BTreeMap::from([(SHOP.into(), plan)]),
        events,
        writes: 1,
        ..History::default()
    }
}

/// What is found where the events differ in this.
fn found(spoil: impl FnOnce(&mut Vec<(i64, What)>)) -> String {
    let mut events = as_it_should_be();
    spoil(&mut events);
    broken(&history(events)).join("\n")
}

/// The same, and the parts were disturbed as well.
fn found_with(fault: Fault, spoil: impl FnOnce(&mut Vec<(i64, What)>)) -> String {
    let mut events = as_it_should_be();
    spoil(&mut events);
    let mut history = history(events);
    history.faults.push(fault);
    broken(&history).join("\n")
}

fn fault(part: Part, from: i64, to: i64) -> Fault {
    Fault {
        part,
        kind: Kind::Killed,
        from: at(from),
        to: at(to),
    }
}

/// Changes what happened at a time.
fn replace(events: &mut [(i64, What)], second: i64, is: fn(&What) -> bool, by: (i64, What)) {
    let found = events.iter_mut().find(|(at, what)| *at == second && is(what));
    *found.expect("such an event") = by;
}

fn is_weights(what: &What) -> bool {
    matches!(what, What::Weights { .. })
}

fn is_labels(what: &What) -> bool {
    matches!(what, What::Labels { .. })
}

fn is_reading(what: &What) -> bool {
    matches!(what, What::Reading { .. })
}

#[track_caller]
fn assert_says(found: &str, words: &str) {
    assert!(found.contains(words), "{words:?} is not in {found:?}");
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(found(|_| ()), "");
}

#[test]
fn weights_that_are_not_100_are_found_in_the_store_and_in_envoy() {
    let what = What::Weights {
        production: 70,
        canary: 20,
    };
    assert_says(
        &found(|e| replace(e, 106, is_weights, (106, what))),
        "the weights 70 and 20 are not 100",
    );
    assert_says(
        &found(|e| {
            let (asked, weights) = (at(108), Some((70, 20)));
            e.push((108, What::Envoy { asked, weights }));
        }),
        "Envoy's weights are 70 and 20",
    );
}

#[test]
fn steps_that_are_skipped_repeated_or_unknown_are_found() {
    assert_says(&found(|e| e.retain(|(at, _)| *at != 116)), "from 20 to 100");
    assert_says(&found(|e| e.push((118, weights(20)))), "from 50 to 20");
    assert_says(
        &found(|e| replace(e, 106, is_weights, (106, weights(30)))),
        "from 0 to 30",
    );
}

#[test]
fn a_hold_that_is_cut_short_is_found() {
    assert_says(
        &found(|e| replace(e, 116, is_weights, (112, weights(50)))),
        "20 % was held for",
    );
    let early = found(|e| replace(e, 136, is_labels, (130, labels("v2", "v2"))));
    assert_says(&early, "v2 became production after");
}

#[test]
fn a_promotion_that_was_not_earned_is_found() {
    let early = found(|e| replace(e, 136, is_labels, (120, labels("v2", "v2"))));
    assert_says(&early, "of v2 at 50 %");
    let other = found(|e| replace(e, 136, is_labels, (136, labels("v9", "v2"))));
    assert_says(&other, "v9 became production");
    assert_says(
        &found(|e| e.push((120, labels("v1", "v9")))),
        "the canary became v9 at 50 %",
    );
}

#[test]
fn a_raise_without_a_healthy_reading_is_found() {
    // None at all, the baseline's included.
    assert_says(&found(|e| e.retain(|(at, _)| *at != 105)), "rose from 0 to 20 %");
    let none = |e: &mut Vec<(i64, What)>| {
        e.retain(|(at, what)| !(matches!(what, What::Reading { .. }) && (107..116).contains(at)));
    };
    assert_says(&found(none), "rose from 20 to 50 %");
    let baseline = |says| found(|e| replace(e, 105, is_reading, (105, reading("v1", 104, says))));
    assert_eq!(baseline(Says::Empty), "");
    assert_says(&baseline(Says::Nothing), "rose from 0 to 20 %");
    // Healthy once, and something else afterwards.
    for says in [Says::Unhealthy, Says::Nothing, Says::Empty] {
        let later = |e: &mut Vec<(i64, What)>| {
            for (at, what) in e.iter_mut().filter(|(at, _)| (112..118).contains(at)) {
                if let What::Reading {
                    says: said, asked, ..
                } = what
                {
                    (*said, *asked) = (says, self::at(*at));
                }
            }
        };
        assert_says(&found(later), "rose from 20 to 50 %");
    }
    // Of another step, or of another version.
    let old = |e: &mut Vec<(i64, What)>| {
        for (_, what) in e.iter_mut().filter(|(at, _)| (107..116).contains(at)) {
            if let What::Reading { asked, .. } = what {
                *asked = at(100);
            }
        }
    };
    assert_says(&found(old), "rose from 20 to 50 %");
    let unjudged = |e: &mut Vec<(i64, What)>| {
        e.retain(|(at, what)| !(matches!(what, What::Reading { .. }) && (125..136).contains(at)));
    };
    assert_says(&found(unjudged), "v2 became production without a healthy reading");
}

#[test]
fn a_raise_is_judged_by_what_was_known_when_it_was_meant_and_that_is_when_the_hold_is_over() {
    let meant_at = |second: i64, healthy: Range<i64>| {
        found(|e| {
            e.push((second, means(50)));
            for (at, what) in e.iter_mut().filter(|(at, _)| (107..117).contains(at)) {
                if is_reading(what) && !healthy.contains(at) {
                    *what = reading("v2", *at, Says::Unhealthy);
                }
            }
        })
    };
    assert_eq!(meant_at(115, 107..117), "");
    // What comes after it comes too late.
    assert_eq!(meant_at(115, 107..115), "");
    assert_says(&meant_at(115, 107..112), "rose from 20 to 50 %");
    assert_says(
        &meant_at(108, 107..117),
        "50 % were meant at 1970-01-01T00:01:48Z already",
    );
}

/// v3 keeps its 20 % so long.
fn late(events: &mut [(i64, What)], until: i64) {
    replace(events, 215, is_weights, (until, weights(0)));
    for (at, what) in events.iter_mut().filter(|(at, _)| (206..=until).contains(at)) {
        if matches!(what, What::Envoy { .. }) && *at > 206 {
            (*at, *what) = envoy(*at, Some(20));
        }
    }
}

#[test]
fn a_bad_canary_that_keeps_its_traffic_is_found_where_all_was_at_hand() {
    assert_says(&found(|e| late(e, 250)), "v3 was bad and had traffic");
    // While Slack or istiod are away it must go all the same.
    for part in [Part::Slack, Part::Istiod] {
        assert_says(
            &found_with(fault(part, 205, 249), |e| late(e, 250)),
            "v3 was bad and had traffic",
        );
    }
    for part in [Part::ApiServer, Part::Prometheus, Part::Operator, Part::Gateway] {
        let excused = found_with(fault(part, 210, 225), |e| late(e, 250));
        assert!(!excused.contains("was bad and had traffic"), "{excused}");
    }
    // And not for ever.
    let afterwards = found_with(fault(Part::Prometheus, 210, 225), |e| late(e, 290));
    assert_says(&afterwards, "v3 was bad and had traffic");
}

#[test]
fn an_end_that_is_not_the_one_that_was_earned_is_found() {
    let ended = |v2: &'static str, v3: &'static str| {
        found(|e| {
            e.retain(|(_, what)| !matches!(what, What::Status(_)));
            e.push((220, status(Phase::RolledBack, &[("v2", v2), ("v3", v3)])));
        })
    };
    assert_says(&ended("Promoted", "Promoted"), "v3 is Bad, and ended [Promoted]");
    assert_says(
        &ended("RolledBack", "RolledBack"),
        "v2 is Good, and ended [RolledBack]",
    );
    // Nobody deployed another one meanwhile.
    assert_says(
        &ended("Promoted", "Superseded"),
        "v3 is Bad, and ended [Superseded]",
    );
    let twice = found(|e| e.push((220, status(Phase::Idle, &[("v3", "Superseded")]))));
    assert_says(&twice, "v3 is Bad, and ended [RolledBack, Superseded]");
    let none = found(|e| e.push((220, deployed("v4", Nature::Good))));
    assert_says(&none, "v4 is Good, and ended []");
    assert_says(
        &found(|e| e.push((220, status(Phase::Progressing, &[])))),
        "still Progressing",
    );
    assert_says(
        &found(|e| e.push((220, weights(20)))),
        "the weights are Some((80, 20)) in the end",
    );
    assert_says(
        &found(|e| e.push((220, labels("v1", "v3")))),
        "production is v1, and v2 was promoted last",
    );
}
