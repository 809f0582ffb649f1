//! Which calls count, and what each is called: by its kind and by how many of the kind came before it, so that a call
//! keeps its name when others overtake it.

use std::collections::BTreeMap;
use std::fmt;

use birdwatch_bed::parts::proxy::{Call, Verb};
use serde_json::Value;

/// The kind of a call that writes the status of a `BirdWatch`.
pub(crate) const STATUS: &str = "update birdwatches/status";

/// One call of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// What kind of call, as in `patch virtualservices`.
    pub(crate) kind: String,
    /// The first of its kind is 1.
    pub(crate) nth: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.kind, self.nth)
    }
}

impl Place {
    /// Whether the call may change something.
    pub(crate) fn writes(&self) -> bool {
        !["get ", "list ", "discover "]
            .iter()
            .any(|verb| self.kind.starts_with(verb))
    }

    /// Whether it writes the status of a `BirdWatch`.
    pub(crate) fn is_status(&self) -> bool {
        self.kind == STATUS
    }

    /// Whether it tells of a rollout and changes nothing in it.
    pub(crate) fn is_event(&self) -> bool {
        self.kind.ends_with(" events")
    }
}

/// Names the calls of one run.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    seen: BTreeMap<String, usize>,
    /// `acquireTime` of the lease as last written.
    term: Value,
}

impl Counter {
    /// The name of a call. None for those that are left out: opening a watch asks for nothing that could be lost (watches
    /// have disturbances of their own), and renewals of the lease come by the clock and not by the rollout.
    pub(crate) fn place(&mut self, call: &Call) -> Option<Place> {
        if call.verb == Verb::Watch {
            return None;
        }
        let mut kind = call.kind();
        if call.resource == "leases" && call.verb.writes() {
            let record = &call.json()["spec"];
            let released = record["holderIdentity"].as_str().is_none_or(str::is_empty);
            if !released && record["acquireTime"] == self.term {
                return None;
            }
            self.term = record["acquireTime"].clone();
            kind = format!("{} lease", if released { "release" } else { "acquire" });
        }
        let nth = self.seen.entry(kind.clone()).or_default();
        *nth += 1;
        Some(Place { kind, nth: *nth })
    }
}
