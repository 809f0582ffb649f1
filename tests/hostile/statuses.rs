//! Stored statuses that no operator wrote: read or named as unreadable, and decided upon without harm.

use std::path::{Path, PathBuf};

use birdwatch::api::conditions::Condition;
use birdwatch::api::plan::MetricPlan;
use birdwatch::api::rollout::Verdict;
use birdwatch::api::status::Phase;
use birdwatch::api::{BirdWatchSpec, BirdWatchStatus, Span};
use birdwatch::controller::objects::RawBirdWatch;
use birdwatch::core::decide::decide;
use birdwatch::core::decision::{Decision, Effect};
use birdwatch::core::observation::{
    DeploymentSeen, ObjectName, Observation, RouteSeen, RuleSeen, Settings, Side,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::checks;
use crate::corpus::{self, Trying};
use crate::{inputs, is_fit_to_show, mutator, seed};

/// What a status may grow by when it is decided upon: what is told, and what is learned of the cluster. A version or a name of
/// any length besides is written in several places.
const GROWTH: usize = 20_000;
const PLACES: usize = 4;
/// How many decisions follow one another.
const DECISIONS: usize = 6;

/// Statuses of every released version in every phase, each with the cluster about it.
fn stored() -> Vec<Value> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let releases: Vec<_> = entries(&fixtures)
        .into_iter()
        .filter(|path| path.is_dir())
        .collect();
    let read = |path: &PathBuf| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut stored = Vec::new();
    for release in releases {
        let files = entries(&release).into_iter();
        let statuses: Vec<Value> = files
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .map(|path| read(&path))
            .collect();
        assert!(!statuses.is_empty(), "{} has no status", release.display());
        stored.extend(statuses);
    }
    stored
}

#[test]
fn no_stored_status_makes_harm() {
    let (mut mutator, stored, mut seen) = (mutator("statuses"), stored(), Tally::default());
    let by_chance = (0..inputs()).map(|_| {
        let mut stored = mutator.one_of(&stored).clone();
        // Some as they were stored: those are judged by all of their metrics.
        if !*mutator.one_of(&[true, false, false, false]) {
            stored["status"] = mutator.json(&stored["status"]);
        }
        stored["found"] = (0..DECISIONS)
            .map(|_| json!(format!("{:?}", mutator.one_of(&checks::ALL))))
            .collect();
        stored
    });
    for stored in corpus::kept("statuses").into_iter().chain(by_chance) {
        let _trying = Trying {
            kind: "statuses",
            input: &stored,
        };
        let object = json!({"metadata": {"name": "shop", "namespace": "shop"}, "status": stored["status"]});
        let raw: RawBirdWatch = serde_json::from_value(object).unwrap();
        match raw.read_status() {
            Err(why) => {
                is_fit_to_show(&why.to_string(), 1000);
                seen.unreadable += 1;
            }
            Ok(status) => {
                decided(&raw, status, &stored, &mut seen);
                seen.read += 1;
            }
        }
    }
    println!("proved: statuses (seed {}): {seen:?}", seed());
    assert!(seen.unreadable > 0 && seen.read > 0);
    assert!(
        seen.raised > 0 && seen.blind > 0 && seen.bad > 0 && seen.taken_back > 0,
        "{seen:?}"
    );
}

/// What was seen, so that nothing is proved of nothing.
#[derive(Debug, Default)]
struct Tally {
    /// Named as unreadable.
    unreadable: u64,
    /// Decided upon.
    read: u64,
    /// Raises with a good check in hand.
    raised: u64,
    /// Decisions with a check in hand of which a metric is not answered.
    blind: u64,
    /// Decisions with a bad check in hand.
    bad: u64,
    /// Those of them that ended it at once.
    taken_back: u64,
}

/// A few decisions one after another, each with what was found meanwhile.
fn decided(raw: &RawBirdWatch, mut status: BirdWatchStatus, stored: &Value, tally: &mut Tally) {
    let mut now: Timestamp = stored["now"].as_str().unwrap().parse().unwrap();
    let mut seen = observation(stored, &status);
    let size = raw.status.text().len();
    for found in stored["found"].as_array().unwrap() {
        let decision = decide(&status, &seen, now);
        is_harmless(&status, &decision, now);
        is_judged(&status, &seen, &decision, tally);
        let written = raw.with_status(&decision.next).unwrap();
        let written = written.status.text();
        assert!(
            written.len() <= PLACES * size + GROWTH,
            "from {size} to {} bytes",
            written.len()
        );
        let Decision {
            next, effects, check, ..
        } = decision;
        status = next;
        for effect in &effects {
            carry_out(&mut seen, effect);
        }
        let found = checks::named(found.as_str().unwrap());
        seen.check = check.and_then(|request| checks::answered(request, found, now));
        now = now.saturating_add(SignedDuration::from_secs(20)).unwrap();
    }
}

/// The weights and the label that a decision brings about.
fn carry_out(seen: &mut Observation, effect: &Effect) {
    let route = &mut seen.routes[0];
    let canary = match effect {
        Effect::Lower { percent } => route.canary.unwrap_or(0).min(i64::from(*percent)),
        Effect::Raise { percent } => i64::from(*percent),
        Effect::TakeBack => 0,
        Effect::Label { subset, version } => {
            let rule = seen.rule.as_mut().unwrap();
            match subset {
                Side::Production => rule.production = Some(version.clone()),
                Side::Canary => rule.canary = Some(version.clone()),
            }
            return;
        }
        _ => return,
    };
    (route.production, route.canary) = (Some(route.total - canary), Some(canary));
}

/// The weight that may come after `status`: what it says was decided already, the plan's next step, or all of it where a
/// person asked for that.
fn may_be_raised_to(percent: u8, before: &BirdWatchStatus, next: &BirdWatchStatus) -> bool {
    let Some(rollout) = &next.rollout else {
        return false;
    };
    let was = before.rollout.as_ref().filter(|was| was.id == rollout.id);
    // What is found at the weight that was intended is confirmed by the same decision.
    let from = rollout.confirmed;
    let next_step = rollout
        .plan
        .steps
        .iter()
        .map(|step| step.weight)
        .find(|weight| *weight > from);
    let is_announced = was.is_some_and(|was| was.intended == percent);
    percent <= 100
        && rollout.intended == percent
        && (is_announced || next_step == Some(percent) || rollout.promote_asked && percent == 100)
}

/// Whether status alone says why: it is announced, a check was healthy, every baseline is there for the first raise, or a
/// person asks.
fn needs_no_check(percent: u8, before: &BirdWatchStatus) -> bool {
    let Some(rollout) = &before.rollout else {
        return false;
    };
    let is_recorded = |metric: &MetricPlan| {
        let recorded = rollout.metrics.iter().find(|one| one.name == metric.name);
        recorded.is_some_and(|one| one.baseline.is_some())
    };
    let is_first = rollout.confirmed == 0 && rollout.plan.metrics.iter().all(is_recorded);
    rollout.intended == percent || rollout.verdict == Some(Verdict::Good) || is_first || rollout.promote_asked
}

/// What a check does, good or bad.
fn is_judged(before: &BirdWatchStatus, seen: &Observation, decision: &Decision, tally: &mut Tally) {
    let raise = decision.effects.iter().find_map(|effect| match effect {
        Effect::Raise { percent } => Some(*percent),
        _ => None,
    });
    if let Some(percent) = raise {
        assert!(
            may_be_raised_to(percent, before, &decision.next),
            "{percent} after {before:?}"
        );
    }
    let Some(check) = &seen.check else {
        assert!(
            raise.is_none_or(|percent| needs_no_check(percent, before)),
            "{raise:?} without a check, after {before:?}"
        );
        return;
    };
    tally.raised += u64::from(raise.is_some());
    let Some(rollout) = before.rollout.as_ref() else {
        return;
    };
    if before.phase != Phase::Progressing {
        return;
    }
    if checks::is_blind_for(rollout, check) {
        tally.blind += 1;
        let is_asked_for = raise
            .is_none_or(|percent| needs_no_check(percent, before) && rollout.confirmed == 0)
            || rollout.promote_asked;
        assert!(
            is_asked_for,
            "{raise:?} on a check without an answer, after {before:?}"
        );
    }
    if !checks::is_bad_for(rollout, check, false) {
        return;
    }
    tally.bad += 1;
    assert_eq!(raise, None, "raised on a bad check, after {before:?}");
    let is_shifted = seen.routes[0].canary.is_some_and(|canary| canary > 0);
    if is_shifted && checks::is_bad_for(rollout, check, true) {
        let is_down = decision
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Lower { percent: 0 } | Effect::TakeBack));
        let is_frozen = decision.next.phase == Phase::Frozen;
        assert!(is_down || is_frozen, "{:?}, after {before:?}", decision.effects);
        tally.taken_back += 1;
    }
}

/// Whatever is found: nothing frozen is raised, and what is told is fit to be told.
fn is_harmless(before: &BirdWatchStatus, decision: &Decision, now: Timestamp) {
    for effect in &decision.effects {
        match effect {
            Effect::Raise { percent } => {
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
    is_shown(before, &decision.next);
    for event in &decision.events {
        is_fit_to_show(&event.note, 2000);
    }
}

fn is_shown(before: &BirdWatchStatus, status: &BirdWatchStatus) {
    // What somebody stored is shown as it is.
    if !status.message.is_empty() && status.message != before.message {
        is_fit_to_show(&status.message, 2000);
    }
    for condition in &status.conditions {
        let is_stored = |old: &Condition| old.kind == condition.kind && old.message == condition.message;
        // As much as Kubernetes takes.
        let is_fit = condition.message.chars().count() <= 32_768;
        assert!(
            is_fit || before.conditions.iter().any(is_stored),
            "{}",
            condition.kind
        );
    }
}

fn observation(fixture: &Value, status: &BirdWatchStatus) -> Observation {
    let spec: BirdWatchSpec = serde_saphyr::from_str(fixture["spec"].as_str().unwrap()).unwrap();
    let deployments = fixture["deployments"].as_array().unwrap().iter().map(deployment);
    let label = |side: &str| fixture["labels"][side].as_str().map(str::to_owned);
    let canary = status.weight.map_or(0, i64::from).clamp(0, 100);
    let name = ObjectName {
        namespace: "shop".to_owned(),
        name: "shop".to_owned(),
    };
    let settings = Settings {
        scrape_interval: Span::secs(15),
        propagation_delay: Span::secs(5),
        query_timeout: Span::secs(5),
        notify: None,
    };
    Observation {
        finalizer: true,
        deployments: deployments.collect(),
        rule: Ok(RuleSeen {
            production: label("production"),
            canary: label("canary"),
            host: None,
        }),
        routes: vec![RouteSeen {
            key: "aleph/http[0]".to_owned(),
            production: Some(100 - canary),
            canary: Some(canary),
            total: 100,
        }],
        ..Observation::bare(name, spec, settings)
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
        ..DeploymentSeen::default()
    }
}
