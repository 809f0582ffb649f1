//! Stored statuses that no operator wrote: read or named as unreadable, and decided upon without harm.

use std::path::Path;

use birdwatch::api::status::Phase;
use birdwatch::api::{BirdWatchSpec, BirdWatchStatus, Span};
use birdwatch::controller::objects::RawBirdWatch;
use birdwatch::core::decide::decide;
use birdwatch::core::decision::{Decision, Effect};
use birdwatch::core::observation::{
    DeploymentSeen, ObjectName, Observation, RestoreRefused, RouteSeen, RuleSeen, Settings,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{inputs, is_fit_to_show, mutator};

/// What a status may grow by when it is decided upon: what is told, and what is learned of the cluster. A version or a name of
/// any length besides is written in several places.
const GROWTH: usize = 20_000;
const PLACES: usize = 4;

/// Statuses of released versions in every phase, each with the cluster about it.
fn stored() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/0.1.0");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let read =
        |path: &std::path::PathBuf| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    files.iter().map(read).collect()
}

#[test]
fn no_stored_status_makes_harm() {
    let (mut mutator, stored) = (mutator("statuses"), stored());
    let (mut unreadable, mut read) = (0, 0);
    for _ in 0..inputs() {
        let fixture = mutator.one_of(&stored).clone();
        let object = json!({
            "metadata": {"name": "shop", "namespace": "shop"},
            "status": mutator.json(&fixture["status"]),
        });
        let raw: RawBirdWatch = serde_json::from_value(object).unwrap();
        match raw.read_status() {
            Err(why) => {
                is_fit_to_show(&why.to_string(), 1000);
                unreadable += 1;
            }
            Ok(status) => {
                decided(&raw, status, &fixture);
                read += 1;
            }
        }
    }
    println!("proved: statuses: {unreadable} named as unreadable, {read} decided upon");
    assert!(unreadable > 0 && read > 0);
}

/// A few decisions one after another, with nobody to ask.
fn decided(raw: &RawBirdWatch, mut status: BirdWatchStatus, fixture: &Value) {
    let mut now: Timestamp = fixture["now"].as_str().unwrap().parse().unwrap();
    let seen = observation(fixture, &status);
    let size = raw.status.to_string().len();
    for _ in 0..4 {
        let decision = decide(&status, &seen, now);
        is_harmless(&status, &decision, now);
        let written = raw.with_status(&decision.next).unwrap().status.to_string();
        assert!(
            written.len() <= PLACES * size + GROWTH,
            "from {size} to {} bytes",
            written.len()
        );
        status = decision.next;
        now = now.saturating_add(SignedDuration::from_secs(20)).unwrap();
    }
}

/// Without a single answer nothing is raised but what status says was decided already.
fn is_harmless(before: &BirdWatchStatus, decision: &Decision, now: Timestamp) {
    for effect in &decision.effects {
        match effect {
            Effect::Raise { percent } => {
                let intended = decision.next.rollout.as_ref().map(|rollout| rollout.intended);
                let was = before.rollout.as_ref().map(|rollout| rollout.intended);
                assert_eq!((Some(*percent), intended), (was, was), "{effect:?}");
                assert!(*percent <= 100, "{effect:?}");
                assert!(before.phase != Phase::Frozen, "{effect:?}");
            }
            Effect::Lower { percent } => assert!(*percent <= 100, "{effect:?}"),
            _ => {}
        }
    }
    assert!(
        decision.wake.is_none_or(|at| at >= now),
        "{:?} before {now}",
        decision.wake
    );
    is_shown(&before.message, &decision.next);
    for event in &decision.events {
        is_fit_to_show(&event.note, 2000);
    }
}

fn is_shown(before: &str, status: &BirdWatchStatus) {
    // What somebody stored is shown as it is.
    if !status.message.is_empty() && status.message != before {
        is_fit_to_show(&status.message, 2000);
    }
    for condition in &status.conditions {
        // As much as Kubernetes takes.
        assert!(condition.message.chars().count() <= 32_768, "{}", condition.kind);
    }
}

fn observation(fixture: &Value, status: &BirdWatchStatus) -> Observation {
    let spec: BirdWatchSpec = serde_saphyr::from_str(fixture["spec"].as_str().unwrap()).unwrap();
    let deployments = fixture["deployments"].as_array().unwrap().iter().map(deployment);
    let label = |side: &str| fixture["labels"][side].as_str().map(str::to_owned);
    let canary = status.weight.map_or(0, i64::from).clamp(0, 100);
    Observation {
        name: ObjectName {
            namespace: "shop".to_owned(),
            name: "shop".to_owned(),
        },
        generation: Some(1),
        spec: Ok(spec),
        paused: None,
        deleting: false,
        finalizer: true,
        draining: false,
        verb: None,
        conflict: None,
        deployments: deployments.collect(),
        rule: Ok(RuleSeen {
            production: label("production"),
            canary: label("canary"),
        }),
        routes: vec![RouteSeen {
            key: "shop/http/primary".to_owned(),
            production: Some(100 - canary),
            canary: Some(canary),
            total: 100,
        }],
        route_problems: Vec::new(),
        other_routes: Vec::new(),
        warnings: Vec::new(),
        canary_zero_since: None,
        restore_refused: RestoreRefused::default(),
        routes_writer: None,
        rule_writer: None,
        check: None,
        asking: None,
        gaps: Vec::new(),
        acks: Vec::new(),
        settings: Settings {
            scrape_interval: Span::secs(15),
            propagation_delay: Span::secs(5),
            query_timeout: Span::secs(5),
            notify: None,
        },
    }
}

fn deployment(told: &Value) -> DeploymentSeen {
    let version = told["version"].as_str().unwrap();
    DeploymentSeen {
        name: format!("aleph-{version}"),
        uid: format!("uid-{version}"),
        version: Some(version.to_owned()),
        revision: Some("1".to_owned()),
        created: told["created"].as_str().unwrap().parse().ok(),
        replicas: 2,
        current: 2,
        updated: 2,
        available: 2,
    }
}
