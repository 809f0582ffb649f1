//! Stands in the proxy, counts what passes, and strikes once.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch_bed::clock;
use birdwatch_bed::parts::proxy::{Call, Fate, Judge, Verb};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::calls::{Counter, Place, STATUS};
use crate::fault::{AWAY, Fault, Injection, LATE, STALE, Spot};
use crate::hold::Move;
use crate::operator::Killer;

/// What passed so far.
#[derive(Debug, Default)]
struct Passed {
    counter: Counter,
    places: Vec<(Timestamp, Place)>,
    phases: Vec<Phase>,
    moves: Vec<Move>,
    struck: bool,
    /// When the call that is kept back reaches the server.
    lands_at: Option<Instant>,
    /// The lie was acted upon.
    lied: bool,
    away_until: Option<Instant>,
    /// The lists and watches that were old or late already.
    stale: BTreeSet<(Verb, String)>,
}

/// Counts, and strikes.
pub(crate) struct Meddler {
    injection: Option<Injection>,
    passed: Mutex<Passed>,
    killer: OnceLock<Killer>,
    phases: watch::Sender<usize>,
}

impl Meddler {
    pub(crate) fn new(injection: Option<Injection>) -> Self {
        Self {
            injection,
            passed: Mutex::default(),
            killer: OnceLock::new(),
            phases: watch::channel(0).0,
        }
    }

    /// Whom to kill.
    pub(crate) fn aim(&self, killer: Killer) {
        drop(self.killer.set(killer));
    }

    /// Every call that counts, in its order.
    pub(crate) fn places(&self) -> Vec<Place> {
        let passed = self.passed.lock().unwrap();
        passed.places.iter().map(|(_, place)| place.clone()).collect()
    }

    /// Every phase that status was told, each once in a row.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.passed.lock().unwrap().phases.clone()
    }

    /// Every write of weights and labels that was sent, in its order.
    pub(crate) fn moves(&self) -> Vec<Move> {
        self.passed.lock().unwrap().moves.clone()
    }

    /// Whether the fault befell.
    pub(crate) fn has_struck(&self) -> bool {
        self.passed.lock().unwrap().struck
    }

    /// When the call that was kept back reaches the server.
    pub(crate) fn lands_at(&self) -> Option<Instant> {
        self.passed.lock().unwrap().lands_at
    }

    /// Since when no call came that counts.
    pub(crate) fn silent_for(&self) -> Duration {
        let passed = self.passed.lock().unwrap();
        let last = passed
            .places
            .last()
            .map(|(at, _)| clock::now().duration_since(*at));
        last.and_then(|since| since.try_into().ok()).unwrap_or_default()
    }

    /// Whether the lease was taken since.
    pub(crate) fn leads_since(&self, since: Timestamp) -> bool {
        let passed = self.passed.lock().unwrap();
        let taken = passed
            .places
            .iter()
            .rfind(|(_, place)| place.kind == "acquire lease");
        taken.is_some_and(|(at, _)| *at >= since)
    }

    /// Where a fault for watches is injected: returns when its time has come, and marks it as done.
    pub(crate) async fn time_for_watches(&self) -> Option<Fault> {
        let Injection { fault, spot } = self.injection.clone()?;
        let Spot::Phase(number) = spot else { return None };
        fault.disturbance()?;
        let mut phases = self.phases.subscribe();
        phases.wait_for(|seen| *seen >= number).await.ok()?;
        let mut passed = self.passed.lock().unwrap();
        passed.struck = true;
        if fault == Fault::Away {
            passed.away_until = Some(Instant::now() + AWAY);
        }
        Some(fault)
    }

    /// What becomes of a call, and whether the operator dies now.
    fn decide(&self, call: &Call) -> (Fate, bool) {
        let mut passed = self.passed.lock().unwrap();
        if passed.away_until.is_some_and(|until| Instant::now() < until) {
            return (Fate::Cut, false);
        }
        let place = passed.counter.place(call);
        if let Some(place) = &place {
            passed.places.push((clock::now(), place.clone()));
        }
        passed.moves.extend(Move::of(call));
        let (fate, dies) = self.strike(&mut passed, call, place.as_ref());
        let reaches = !matches!(fate, Fate::Cut | Fate::Refuse(_) | Fate::Pretend);
        if reaches && call.kind() == STATUS {
            let phase = serde_json::from_value(call.json()["status"]["phase"].clone()).unwrap();
            if passed.phases.last() != Some(&phase) {
                passed.phases.push(phase);
                self.phases.send_replace(passed.phases.len());
            }
        }
        (fate, dies)
    }

    fn strike(&self, passed: &mut Passed, call: &Call, place: Option<&Place>) -> (Fate, bool) {
        let go = (Fate::Forward, false);
        let Some(Injection { fault, spot }) = &self.injection else {
            return go;
        };
        if passed.struck {
            return self.afterwards(passed, *fault, call, place);
        }
        let Some(place) = place else { return go };
        let due = match spot {
            Spot::Call(wanted) => wanted == place,
            Spot::Phase(number) => {
                let matters = *fault == Fault::StaleStart || place.writes() && !place.is_event();
                fault.disturbance().is_none() && matters && passed.phases.len() >= *number
            }
            Spot::Announcement(percent) => announces(call, *percent),
        };
        if !due {
            return go;
        }
        passed.struck = true;
        let killer = self.killer.get().unwrap().clone();
        match fault {
            Fault::KillBefore | Fault::StaleStart => (Fate::Cut, true),
            Fault::KillAfter => (Fate::CutAfter(killer.kill().boxed()), false),
            Fault::CutBefore => (Fate::Cut, false),
            Fault::CutAfter => (Fate::CutAfter(std::future::ready(()).boxed()), false),
            Fault::LateAnswer => (Fate::LateAnswer(LATE), false),
            Fault::LateCall => {
                passed.lands_at = Some(Instant::now() + LATE);
                (Fate::LateCall(LATE), false)
            }
            Fault::Lie => (Fate::Pretend, false),
            other => (other.refusal().map_or(Fate::Forward, Fate::Refuse), false),
        }
    }

    /// What follows from a fault that has befallen.
    fn afterwards(
        &self,
        passed: &mut Passed,
        fault: Fault,
        call: &Call,
        place: Option<&Place>,
    ) -> (Fate, bool) {
        let is_raise = |place: &Place| place.kind == "patch virtualservices";
        let stale = matches!(fault, Fault::StaleList | Fault::StaleStart);
        let first = || (call.verb, call.resource.clone());
        match call.verb {
            Verb::List if stale && passed.stale.insert(first()) => (Fate::OldAnswer, false),
            // Only those that follow such a list.
            Verb::Watch
                if stale
                    && passed.stale.contains(&(Verb::List, call.resource.clone()))
                    && passed.stale.insert(first()) =>
            {
                (Fate::LateCall(STALE), false)
            }
            _ if fault == Fault::Lie && !passed.lied && place.is_some_and(is_raise) => {
                passed.lied = true;
                let killer = self.killer.get().unwrap().clone();
                (Fate::CutAfter(killer.kill().boxed()), false)
            }
            _ => (Fate::Forward, false),
        }
    }
}

/// Whether a call stores that the canary is to have this weight, which it has not yet.
fn announces(call: &Call, percent: u64) -> bool {
    call.kind() == STATUS && {
        let rollout = &call.json()["status"]["rollout"];
        rollout["intended"] == percent && rollout["confirmed"].as_u64() < Some(percent)
    }
}

impl Judge for Meddler {
    fn judge<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Fate> {
        let (fate, dies) = self.decide(call);
        async move {
            if dies {
                self.killer.get().unwrap().clone().kill().await;
            }
            fate
        }
        .boxed()
    }
}
