//! Takes down what happens, from many hands.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use birdwatch::api::BirdWatchStatus;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::history::{Event, Fault, History, Plan, Rss, What};

/// A history that is being written.
pub(crate) struct Ledger {
    history: Mutex<History>,
    now: BTreeMap<String, watch::Sender<Now>>,
}

/// How a service stands, by the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    pub(crate) status: BirdWatchStatus,
    pub(crate) weight: i64,
    pub(crate) production: String,
}

impl Ledger {
    /// For services with these plans.
    pub(crate) fn new(plans: BTreeMap<String, Plan>, is_long: bool) -> Self {
        let now = plans
            .keys()
            .map(|name| (name.clone(), watch::Sender::default()))
            .collect();
        let history = History {
            plans,
            is_long,
            ..History::default()
        };
        Self {
            history: Mutex::new(history),
            now,
        }
    }

    /// Something happened to a service; of other services nothing is kept.
    pub(crate) fn note(&self, at: Timestamp, service: &str, what: What) {
        let Some(now) = self.now.get(service) else { return };
        match &what {
            What::Status(status) => now.send_modify(|now| now.status = status.as_ref().clone()),
            What::Weights { canary, .. } => now.send_modify(|now| now.weight = *canary),
            What::Labels { production, .. } => now.send_modify(|now| now.production.clone_from(production)),
            _ => {}
        }
        let event = Event {
            at,
            service: service.to_owned(),
            what,
        };
        self.history().events.push(event);
    }

    pub(crate) fn disturbed(&self, fault: Fault) {
        self.history().faults.push(fault);
    }

    pub(crate) fn measured(&self, rss: Rss) {
        self.history().memory.push(rss);
    }

    pub(crate) fn wrote(&self, writes: usize, trespasses: Vec<String>) {
        let mut history = self.history();
        history.writes += writes;
        history.trespasses.extend(trespasses);
    }

    /// How a service stands, now and from now on.
    pub(crate) fn standing(&self, service: &str) -> watch::Receiver<Now> {
        self.now[service].subscribe()
    }

    /// Everything, in the order of time; disturbances by their beginning.
    pub(crate) fn close(&self) -> History {
        let mut history = self.history().clone();
        history.faults.sort_by_key(|fault| fault.from);
        history.events.sort_by_key(|event| event.at);
        history
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    /// Whether a version's rollout is over.
    pub(crate) fn has_ended(&self, version: &str) -> bool {
        self.status.ended.iter().any(|end| end.canary.version == version)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.status.known.is_some() && !self.status.phase.is_active() && self.weight == 0
    }
}
