//! The checker: everything in a history that breaks a promise. Pure; of the operator's code it knows the types of
//! status, and nothing of the bed.

mod bound;
mod ends;
mod evidence;
mod memory;
mod mesh;
mod notices;
#[cfg(test)]
mod tests;
mod weights;

use jiff::{SignedDuration, Timestamp};

pub(crate) use bound::{Exposure, exposures};
pub(crate) use memory::Growth;
pub(crate) use mesh::{judged, unjudged};

use crate::history::{Event, History, Plan, What};

/// How late something that happened may have been seen on a busy machine.
pub(crate) const SEEN: SignedDuration = SignedDuration::from_millis(1500);

/// A service and its part of the history.
struct Story<'a> {
    history: &'a History,
    plan: &'a Plan,
    events: Vec<&'a Event>,
}

/// All promises that were broken, in words, each with its time.
pub(crate) fn broken(history: &History) -> Vec<String> {
    let mut broken = history.trespasses.clone();
    for (name, plan) in &history.plans {
        let story = Story {
            history,
            plan,
            events: history.of(name),
        };
        let rules = [
            weights::broken,
            evidence::broken,
            bound::broken,
            mesh::broken,
            ends::broken,
            notices::broken,
        ];
        let found = rules.iter().flat_map(|rule| rule(&story));
        broken.extend(found.map(|(at, what)| format!("{at} {name}: {what}")));
    }
    broken.extend(memory::broken(history));
    broken.extend(unseen(history));
    broken
}

/// Somebody who looks on, and what only they can have told.
type Eye = (&'static str, fn(&What) -> bool);

/// A promise that nobody looked after is not kept.
fn unseen(history: &History) -> Vec<String> {
    let eyes: [Eye; 5] = [
        ("the store", |what| matches!(what, What::Status(_))),
        ("Prometheus", |what| matches!(what, What::Reading { .. })),
        ("Envoy", |what| {
            matches!(what, What::Envoy { weights: Some(_), .. })
        }),
        ("the load", |what| {
            matches!(what, What::Request { version: Some(_), .. })
        }),
        ("Slack", |what| matches!(what, What::Told(_))),
    ];
    let mut blind = Vec::new();
    for service in history.plans.keys() {
        let events = history.of(service);
        let closed = eyes
            .iter()
            .filter(|(_, sees)| !events.iter().any(|event| sees(&event.what)));
        blind.extend(closed.map(|(eye, _)| format!("{service}: {eye} told nothing")));
    }
    if history.writes == 0 {
        blind.push("the audit log told nothing".to_owned());
    }
    if history.is_long {
        blind.extend(left_out(history));
    }
    blind
}

/// What chance may leave out of a short soak, and of a long one not: what is then checked of nothing.
fn left_out(history: &History) -> Vec<String> {
    let weights = unjudged(history).into_iter();
    let mut out: Vec<_> = weights
        .map(|weight| format!("no look at Envoy could be judged at {weight} %"))
        .collect();
    if exposures(history).is_empty() {
        out.push("no bad canary had traffic".to_owned());
    }
    if history.faults.is_empty() {
        out.push("nothing was disturbed".to_owned());
    }
    out
}

/// What a rule finds, and when it happened.
type Found = Vec<(Timestamp, String)>;

/// An earlier instant; the earliest of all has none before it.
fn minus(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.saturating_sub(span).unwrap_or(at)
}
