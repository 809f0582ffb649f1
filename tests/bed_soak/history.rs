//! What happened, with times: all that the checker knows. Plain data.

use std::collections::{BTreeMap, BTreeSet};

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::Outcome;
use jiff::{SignedDuration, Timestamp};

/// A soak, as seen from outside the operator.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// What each service's releases are to be like, by the service's name.
    pub(crate) plans: BTreeMap<String, Plan>,
    /// In the order of time.
    pub(crate) events: Vec<Event>,
    pub(crate) faults: Vec<Fault>,
    /// Of the operator's processes.
    pub(crate) memory: Vec<Rss>,
    /// Whether it was long enough that chance left out nothing that a proof needs.
    pub(crate) is_long: bool,
    /// What the operator wrote to that is none of its business, by the audit log.
    pub(crate) trespasses: Vec<String>,
    /// Writes by the operator in the audit log.
    pub(crate) writes: usize,
}

/// How a service's versions are released.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The canary's weights, rising, the last is 100.
    pub(crate) steps: Vec<i64>,
    pub(crate) hold: SignedDuration,
}

/// Something that happened to a service.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) service: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The store holds a new revision of the `VirtualService`.
    Weights { production: i64, canary: i64 },
    /// The store holds a new revision of the `DestinationRule`.
    Labels { production: String, canary: String },
    /// The store holds a new revision of the `BirdWatch`.
    Status(Box<BirdWatchStatus>),
    /// The harness deployed a version.
    Deployed { version: String, nature: Nature },
    /// From now on many of a version's answers are errors.
    Sick { version: String },
    /// Prometheus, or its absence, answered the question how a version does.
    Reading {
        version: String,
        asked: Timestamp,
        says: Says,
    },
    /// What Envoy really does, between the question and now; none where it has no route to the service.
    Envoy {
        asked: Timestamp,
        weights: Option<(u32, u32)>,
    },
    /// A request of the load that is over: the version that answered, if one did, and the HTTP status, if there is one.
    Request {
        asked: Timestamp,
        version: Option<String>,
        status: Option<u16>,
    },
    /// Slack took a message into the service's thread.
    Told(String),
}

/// What a version is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Good,
    /// It falls sick, at once or on its way, but before it has everything.
    Bad,
    /// Its pods are never ready.
    Never,
}

/// What an answer of Prometheus means for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Healthy,
    Unhealthy,
    /// No series, which is an assumed 0 for a baseline and nothing else: the metric has one as soon as there are
    /// requests.
    Empty,
    /// An error, no answer, no number.
    Nothing,
}

/// A part of the bed that can be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    ApiServer,
    Prometheus,
    Slack,
    Istiod,
    Gateway,
    Operator,
}

/// How it is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Stopped,
    Slowed,
    Killed,
}

/// One disturbance, until the part was ready again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) part: Part,
    pub(crate) kind: Kind,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rss {
    pub(crate) pid: u32,
    pub(crate) at: Timestamp,
    pub(crate) kib: u64,
}

impl History {
    /// What happened to one service.
    pub(crate) fn of<'a>(&'a self, service: &str) -> Vec<&'a Event> {
        self.events
            .iter()
            .filter(|event| event.service == service)
            .collect()
    }

    /// Whether one of these parts was disturbed in a span of time.
    pub(crate) fn disturbed(&self, parts: &[Part], from: Timestamp, to: Timestamp) -> bool {
        let within = |fault: &&Fault| parts.contains(&fault.part) && fault.from <= to && fault.to >= from;
        self.faults.iter().any(|fault| within(&fault))
    }
}

/// How a rollout ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) version: String,
    pub(crate) outcome: Outcome,
    /// When status first said so.
    pub(crate) seen: Timestamp,
}

/// How the rollouts of a service ended, in that order, by all that status said of it at any time.
pub(crate) fn ended(events: &[&Event]) -> Vec<End> {
    let mut known = BTreeSet::new();
    let mut ends = Vec::new();
    for event in events {
        let What::Status(status) = &event.what else {
            continue;
        };
        for end in &status.ended {
            if known.insert(&end.id) {
                ends.push(End {
                    version: end.canary.version.clone(),
                    outcome: end.outcome,
                    seen: event.at,
                });
            }
        }
    }
    ends
}
