//! What this process remembers of each `BirdWatch` besides the cluster's own memory: readings not yet worth a write,
//! the latest check, what was sent. All of it may be lost at any time; it is forgotten when leadership is.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::task::AbortHandle;

use crate::api::BirdWatchStatus;
use crate::api::plan::Target;
use crate::clients::slack::Hold;
use crate::core::decision::Event;
use crate::core::notices;
use crate::core::observation::{Check, CheckId, NoticeAck, ObjectName};

use super::objects::RawBirdWatch;

/// How long the samples of a check wait for a decision that stands.
const SAMPLES_STAY: SignedDuration = SignedDuration::from_secs(30);

/// Everything remembered, by name.
#[derive(Debug, Default)]
pub struct Memory {
    of: Mutex<HashMap<ObjectName, Arc<Entry>>>,
}

/// What is remembered of one `BirdWatch`. Shared with the tasks that work for it.
#[derive(Debug, Default)]
pub struct Entry(Mutex<Remembered>);

/// What is remembered of one `BirdWatch`.
#[derive(Debug, Default)]
pub struct Remembered {
    /// UID of the object it belongs to: a namesake made later starts afresh.
    uid: Option<String>,
    /// A status that is decided and not written.
    pub held: Option<Box<Held>>,
    /// Events whose status is not known to be written.
    untold: Untold,
    /// The status we sent last, with the resource version it got.
    sent: Option<Box<(String, BirdWatchStatus)>>,
    /// When status was last written, or first seen.
    pub last_write: Option<Timestamp>,
    /// The latest finished check.
    pub check: Option<Check>,
    /// The check being asked.
    pub asking: Option<Asking>,
    /// Since when every route of a target is seen at 0.
    zero_since: Option<(Target, Timestamp)>,
    /// Who last wrote the routes, and the resource versions that was found out for.
    pub routes_writer: Option<Identified>,
    /// Who last wrote the rule, and the resource version that was found out for.
    pub rule_writer: Option<Identified>,
    /// Giving back weights was refused, at these resource versions of the routes' objects.
    pub weights_refused: Option<Vec<Option<String>>>,
    /// Giving back the label was refused, at this resource version of the rule.
    pub label_refused: Option<Vec<Option<String>>>,
    /// What became of notices, not yet in a written status.
    pub acks: Vec<NoticeAck>,
    /// Dropped when they all are.
    holds: Vec<Hold>,
    /// Metric and label names that Prometheus knows, for a rollout.
    pub names: KnownNames,
    /// Reconciles that failed or had to look again, in a row.
    pub retries: u32,
    /// Statuses that the server refused, in a row.
    pub refusals: u32,
    /// When the last decision asked for the next look.
    pub wake: Option<Timestamp>,
    /// A written status was looked at.
    looked: bool,
}

/// A status that is decided and not written: bare readings, or one that the server did not take.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The stored status it was decided from.
    pub based_on: BirdWatchStatus,
    /// The decided status.
    pub status: BirdWatchStatus,
    /// It has been acted upon already: traffic was lowered.
    pub acted_upon: bool,
}

/// Events of decisions whose status could not be written, or not for certain.
#[derive(Debug, Default)]
struct Untold {
    /// Of the status that is held: they go out with the next one that is written.
    due: Vec<Event>,
    /// The write that failed last, which may turn out to have been done.
    sent: Option<Box<Sent>>,
}

/// A write of which nobody said whether it was done.
#[derive(Debug)]
struct Sent {
    /// The stored status that it was decided from.
    before: BirdWatchStatus,
    status: BirdWatchStatus,
    /// Its Events, if its decision is made anew.
    events: Vec<Event>,
}

/// A write without an answer that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Landed {
    /// What was stored before it.
    pub before: BirdWatchStatus,
    /// What to tell now.
    pub events: Vec<Event>,
}

/// A check under way.
#[derive(Debug)]
pub struct Asking {
    /// What it is asked for.
    pub id: CheckId,
    /// Ends it.
    pub task: AbortHandle,
}

/// Somebody found out by a live read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Resource versions of the objects as read.
    pub versions: Vec<Option<String>>,
    /// Who.
    pub name: String,
}

/// Names that Prometheus was seen to know, looked up once in a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownNames {
    /// The rollout they were looked up for.
    pub rollout: String,
    /// Metric names, and labels as `metric{label}`.
    pub names: BTreeSet<String>,
}

impl Memory {
    /// The entry of an object, a new one where there is none or where it belongs to an older namesake.
    pub fn entry(&self, object: &RawBirdWatch) -> Arc<Entry> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = of.entry(object.name()).or_default();
        if entry.lock().uid != object.metadata.uid {
            *entry = Arc::default();
            entry.lock().uid.clone_from(&object.metadata.uid);
        }
        Arc::clone(entry)
    }

    /// The entry of that name, if something is remembered.
    pub fn get(&self, name: &ObjectName) -> Option<Arc<Entry>> {
        self.of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// Forgets one object and ends what works for it.
    pub fn forget(&self, name: &ObjectName) {
        let gone = self
            .of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        if let Some(entry) = gone {
            entry.lock().stop_asking();
        }
    }

    /// Forgets everything of these namespaces and ends what is under way there.
    pub fn forget_all(&self, of: impl Fn(&str) -> bool) {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, entry) in all.extract_if(|name, _| of(&name.namespace)) {
            entry.lock().stop_asking();
        }
    }
}

impl Entry {
    /// Locks it; never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// The status as stored: what we sent, where this is the version it got (a server that drops a field it does
    /// not know must not make us write it again and again), else what the object says.
    pub fn stored(&mut self, object: &RawBirdWatch, read: BirdWatchStatus) -> BirdWatchStatus {
        match self.sent.as_deref() {
            Some((version, status)) if object.metadata.resource_version.as_ref() == Some(version) => {
                status.clone()
            }
            _ => {
                self.sent = None;
                read
            }
        }
    }

    /// The status to decide from: what is held, as long as `stored` is what it was decided from. A judged failure
    /// that was acted upon is put onto whatever status is found.
    pub fn effective(&mut self, stored: &BirdWatchStatus) -> BirdWatchStatus {
        match self.held.take() {
            Some(held) if held.based_on == *stored => {
                let status = held.status.clone();
                self.held = Some(held);
                status
            }
            Some(held) if held.acted_upon => {
                let status = put_onto(&held, stored);
                self.held = (status != *stored).then(|| {
                    Box::new(Held {
                        based_on: stored.clone(),
                        status: status.clone(),
                        acted_upon: true,
                    })
                });
                status
            }
            Some(held) => {
                if held.status != *stored {
                    // It is decided anew, and told then.
                    self.untold.due.clear();
                }
                stored.clone()
            }
            None => stored.clone(),
        }
    }

    /// Takes note that `status`, decided from `before`, could not be written, or that nobody knows. `stays`: it is held as decided.
    pub fn not_written(
        &mut self,
        before: BirdWatchStatus,
        status: BirdWatchStatus,
        mut events: Vec<Event>,
        stays: bool,
    ) {
        if stays {
            self.untold.due.append(&mut events);
        }
        self.untold.sent = Some(Box::new(Sent {
            before,
            status,
            events,
        }));
    }

    /// The write without an answer that brought `stored`, if one did.
    pub fn found_written(&mut self, stored: &BirdWatchStatus) -> Option<Landed> {
        let sent = self.untold.sent.take().filter(|sent| sent.status == *stored)?;
        let Sent { before, events, .. } = *sent;
        let events = self.told_with(events);
        Some(Landed { before, events })
    }

    /// The Events that go out with a status that is written: those that were due before it, and its own.
    pub fn told_with(&mut self, mut events: Vec<Event>) -> Vec<Event> {
        let mut all = std::mem::take(&mut self.untold).due;
        all.append(&mut events);
        all
    }

    /// The latest finished check. It stays until there is a newer one: a status that has not heard it may be found at any
    /// time. One that was asked by a clock that was ahead proves nothing, now or later. Nor does one with samples stay for
    /// long, whatever keeps its status from being written: others need the room, and the next one asks for all of it again.
    pub fn latest_check(&mut self, now: Timestamp) -> Option<Check> {
        let is_over =
            |check: &Check| !check.samples.is_empty() && now.duration_since(check.asked_at) > SAMPLES_STAY;
        self.check.take_if(|check| check.asked_at > now || is_over(check));
        self.check.clone()
    }

    /// Whether what was last looked at is what we wrote last ourselves, since we lead.
    #[must_use]
    pub const fn wrote_it(&self) -> bool {
        self.sent.is_some()
    }

    /// Ends the check under way, if any.
    pub fn stop_asking(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.task.abort();
        }
    }

    /// Since when the canary is seen at 0 on every route of `target`; `zero` says whether it is now.
    pub fn zero_since(&mut self, target: &Target, zero: bool, now: Timestamp) -> Option<Timestamp> {
        let since = self
            .zero_since
            .take()
            .filter(|(of, since)| zero && of == target && *since <= now);
        self.zero_since = zero.then(|| since.unwrap_or_else(|| (target.clone(), now)));
        self.zero_since.as_ref().map(|(_, since)| *since)
    }

    /// A check was decided upon: its samples, which are many, are kept no longer.
    pub fn drop_samples(&mut self, decided: Option<&Check>) {
        let is_it = |check: &mut Check| {
            let decided = decided.is_some_and(|decided| decided.asked_at == check.asked_at);
            decided && !check.samples.is_empty()
        };
        self.check.take_if(is_it);
    }

    /// Takes note of a written status.
    pub fn written(&mut self, version: Option<String>, status: BirdWatchStatus, now: Timestamp) {
        self.held = None;
        self.refusals = 0;
        self.sent = version.map(|version| Box::new((version, status)));
        self.last_write = Some(now);
    }

    /// Whether this is the first look at a written status; the next is not.
    pub fn is_first_look(&mut self) -> bool {
        !std::mem::replace(&mut self.looked, true)
    }

    /// Takes note of what became of a notice; `hold` is dropped when that is in a written status, or need not be.
    pub fn hear(&mut self, acks: Vec<NoticeAck>, hold: Option<Hold>) {
        self.acks.extend(acks);
        self.holds.extend(hold.filter(|_| !self.acks.is_empty()));
    }

    /// The first `count` acknowledgements are in a status that is written, or need not be; later ones stay.
    pub fn acknowledged(&mut self, count: usize) {
        self.acks.drain(..count.min(self.acks.len()));
        if self.acks.is_empty() {
            self.holds.clear();
        }
    }
}

/// The status found, with the failure that was decided and acted upon and what people are to be told of it, where it is
/// the same rollout's.
fn put_onto(held: &Held, found: &BirdWatchStatus) -> BirdWatchStatus {
    let (decided, mut status) = (&held.status, found.clone());
    if let (Some(theirs), Some(ours)) = (&mut status.rollout, &decided.rollout)
        && theirs.id == ours.id
        && theirs.failure.is_none()
        && ours.failure.is_some()
    {
        theirs.failure.clone_from(&ours.failure);
        theirs.intended = theirs.intended.min(ours.intended);
        status.phase = decided.phase;
        notices::carry_over(&mut status.notices, &decided.notices, held.based_on.notices.next);
    }
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::plan::Plan;
    use crate::api::status::{Notices, Phase};

    fn object(uid: &str, version: &str) -> RawBirdWatch {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n", "uid": uid, "resourceVersion": version},
        }))
        .unwrap()
    }

    fn status(message: &str) -> BirdWatchStatus {
        BirdWatchStatus {
            message: message.into(),
            ..BirdWatchStatus::default()
        }
    }

    fn check_asked(asked_at: Timestamp) -> Check {
        Check {
            id: CheckId {
                rollout: "r1".into(),
                step: 1,
                plan: Plan::default(),
            },
            asked_at,
            answers: Vec::new(),
            samples: Vec::new(),
            scrape: crate::api::Span::ZERO,
        }
    }

    fn rolling(id: &str, phase: Phase, failed: bool) -> BirdWatchStatus {
        let mut rollout = json!({
            "id": id, "canary": {"version": "v2", "deployment": "d", "uid": "u"},
            "production": {"version": "v1", "deployment": "d", "uid": "u"},
            "plan": {"target": {"service": "a", "selector": {}, "versionLabel": "version", "productionSubset": "p",
                "canarySubset": "c", "virtualServices": ["a"], "destinationRule": "a"},
                "metrics": [], "steps": [], "minCapacity": 0.5, "progressDeadline": "10m", "ifUnhealthy": "rollback"},
            "started": "2026-01-01T00:00:00Z", "clock": {"served": "0s"}, "intended": if failed { 0 } else { 10 },
        });
        if failed {
            rollout["failure"] =
                json!({"reason": "MetricUnhealthy", "message": "bad", "at": "2026-01-01T00:00:00Z"});
        }
        serde_json::from_value(json!({"phase": phase.as_str(), "rollout": rollout})).unwrap()
    }

    #[test]
    fn a_namesake_made_later_starts_afresh() {
        let memory = Memory::default();
        memory.entry(&object("one", "1")).lock().retries = 7;
        assert_eq!(memory.entry(&object("one", "2")).lock().retries, 7);
        assert_eq!(memory.entry(&object("two", "3")).lock().retries, 0);
    }

    #[test]
    fn a_weight_is_not_seen_at_zero_since_an_instant_still_to_come() {
        let target: Target =
            serde_json::from_value(json!({"service": "a", "selector": {}, "versionLabel": "version",
            "productionSubset": "p", "canarySubset": "c", "virtualServices": ["a"], "destinationRule": "a"}))
            .unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut remembered = Remembered::default();
        for (now, since) in [(100, 100), (105, 100), (50, 50), (60, 50)] {
            assert_eq!(remembered.zero_since(&target, true, at(now)), Some(at(since)));
        }
    }

    #[test]
    fn what_is_held_counts_only_on_the_status_it_was_decided_from() {
        let mut remembered = Remembered::default();
        let held = Held {
            based_on: status("a"),
            status: status("a with readings"),
            acted_upon: false,
        };
        remembered.held = Some(Box::new(held));
        assert_eq!(remembered.effective(&status("a")), status("a with readings"));
        assert_eq!(remembered.effective(&status("b")), status("b"));
        assert_eq!(
            remembered.effective(&status("a")),
            status("a"),
            "it is forgotten then"
        );
    }

    fn event(reason: &'static str) -> Event {
        Event {
            warning: false,
            reason,
            action: String::new(),
            note: String::new(),
        }
    }

    /// A status that was decided upon `a`, and whose write the server did not take.
    fn holding(remembered: &mut Remembered, acted_upon: bool) {
        remembered.not_written(status("before"), status("b"), vec![event("Decided")], true);
        remembered.held = Some(Box::new(Held {
            based_on: status("a"),
            status: status("b"),
            acted_upon,
        }));
    }

    #[test]
    fn events_of_what_is_held_are_told_with_it_and_not_where_it_is_decided_anew() {
        let told = |acted_upon: bool, found: &str| {
            let mut remembered = Remembered::default();
            holding(&mut remembered, acted_upon);
            let _ = remembered.effective(&status(found));
            let told = remembered.told_with(vec![event("Next")]);
            told.iter().map(|event| event.reason).collect::<Vec<_>>()
        };
        assert_eq!(told(false, "a"), ["Decided", "Next"], "it goes on");
        assert_eq!(told(false, "b"), ["Decided", "Next"], "it was written after all");
        assert_eq!(told(false, "c"), ["Next"], "it is decided anew");
        assert_eq!(told(true, "c"), ["Decided", "Next"], "it was acted upon");
    }

    #[test]
    fn a_rollback_that_was_acted_upon_is_put_onto_whatever_status_is_found() {
        let mut remembered = Remembered::default();
        let with_notices = |mut status: BirdWatchStatus, texts: &[&str]| {
            let numbered = (0_i64..).zip(texts);
            let notice = |(id, text)| json!({"id": id, "rollout": "r1", "kind": "Unhealthy", "text": text, "at": "2026-01-01T00:00:00Z"});
            let pending: Vec<_> = numbered.map(notice).collect();
            status.notices =
                serde_json::from_value(json!({"next": texts.len(), "pending": pending})).unwrap();
            status
        };
        let told = |notices: &Notices| -> Vec<String> {
            let in_order = (0..notices.next).filter_map(|id| notices.pending.iter().find(|n| n.id == id));
            in_order.map(|notice| notice.text.clone()).collect()
        };
        // What was pending before it is known to the status that is found, or was told meanwhile.
        let decided = with_notices(rolling("r1", Phase::RollingBack, true), &["before", "decided"]);
        let held = Held {
            based_on: with_notices(status("old"), &["before"]),
            status: decided.clone(),
            acted_upon: true,
        };
        remembered.held = Some(Box::new(held.clone()));
        let stored = with_notices(rolling("r1", Phase::Progressing, false), &["found"]);
        let found = remembered.effective(&stored);
        assert_eq!(
            remembered.effective(&stored),
            found,
            "as often as it is looked at"
        );
        assert_eq!(
            (found.phase, found.rollout.as_ref().unwrap().intended),
            (Phase::RollingBack, 0)
        );
        assert_eq!(found.rollout.unwrap().failure, decided.rollout.unwrap().failure);
        assert_eq!(told(&found.notices), ["found", "decided"]);

        remembered.held = Some(Box::new(held));
        let other = rolling("r2", Phase::Progressing, false);
        assert_eq!(
            remembered.effective(&other),
            other,
            "another rollout is not judged by it"
        );
    }

    #[test]
    fn a_check_of_a_clock_that_was_ahead_is_forgotten_for_good() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = check_asked(at(10));
        let mut remembered = Remembered {
            check: Some(check.clone()),
            ..Remembered::default()
        };
        assert_eq!(remembered.latest_check(at(12)), Some(check));
        assert_eq!(remembered.latest_check(at(7)), None);
        assert_eq!(remembered.latest_check(at(12)), None);
    }

    #[test]
    fn samples_that_no_decision_stands_for_are_let_go_after_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut check = check_asked(at(10));
        let mut remembered = Remembered {
            check: Some(check.clone()),
            ..Remembered::default()
        };
        assert!(remembered.latest_check(at(1000)).is_some(), "a few readings stay");
        check.samples.push(crate::core::observation::SampleAnswer {
            metric: "m".into(),
            side: crate::core::observation::Side::Canary,
            counted: None,
            from: at(0),
            at: at(10),
            outcome: Err("no connection".into()),
            unknown_names: Ok(Vec::new()),
        });
        remembered.check = Some(check);
        assert!(remembered.latest_check(at(40)).is_some());
        assert!(remembered.latest_check(at(41)).is_none());
        assert_eq!(remembered.check, None);
    }

    #[test]
    fn an_event_goes_out_once_its_status_is_known_to_be_written_and_never_twice() {
        let event = |reason| Event {
            warning: false,
            reason,
            action: String::new(),
            note: String::new(),
        };
        let mut remembered = Remembered::default();
        // Not acted upon: what was not written is decided again, with the same Events.
        remembered.not_written(status("before"), status("a"), vec![event("a")], false);
        assert_eq!(remembered.found_written(&status("before")), None);
        assert_eq!(remembered.found_written(&status("a")), None, "that was long ago");
        remembered.not_written(status("before"), status("a"), vec![event("a")], false);
        let landed = Landed {
            before: status("before"),
            events: vec![event("a")],
        };
        assert_eq!(remembered.found_written(&status("a")), Some(landed));
        assert_eq!(remembered.told_with(vec![event("b")]), [event("b")]);
        // Acted upon: it is not decided again.
        remembered.not_written(status("before"), status("a"), vec![event("a")], true);
        assert_eq!(remembered.found_written(&status("before")), None);
        remembered.not_written(status("before"), status("b"), vec![event("b")], false);
        assert_eq!(remembered.told_with(vec![event("b")]), [event("a"), event("b")]);
        assert_eq!(remembered.told_with(Vec::new()), []);
    }

    #[test]
    fn a_field_that_the_server_dropped_is_not_missed() {
        let mut remembered = Remembered::default();
        let now = Timestamp::UNIX_EPOCH;
        remembered.written(Some("5".into()), status("sent"), now);
        assert_eq!(remembered.stored(&object("u", "5"), status("")), status("sent"));
        assert_eq!(remembered.stored(&object("u", "6"), status("")), status(""));
    }

    #[test]
    fn acknowledgements_that_came_during_a_write_are_kept() {
        let delivered = |id| NoticeAck::Delivered {
            rollout: "r".into(),
            id,
        };
        let (mut remembered, kept) = (Remembered::default(), Arc::new(()));
        let hold = || -> Option<Hold> { Some(Box::new(Arc::clone(&kept))) };
        let count = || Arc::strong_count(&kept) - 1;
        remembered.hear(Vec::new(), hold());
        assert_eq!(count(), 0, "there is nothing to note");
        remembered.hear(vec![delivered(1)], hold());
        remembered.hear(vec![delivered(2)], hold());
        remembered.acknowledged(1);
        assert_eq!(
            (remembered.acks.as_slice(), count()),
            ([delivered(2)].as_slice(), 2)
        );
        remembered.acknowledged(1);
        assert_eq!(count(), 0);
    }

    #[tokio::test]
    async fn what_works_for_a_forgotten_object_ends() {
        let memory = Memory::default();
        let task = tokio::spawn(std::future::pending::<()>());
        let id = CheckId {
            rollout: "r".into(),
            step: 0,
            plan: Plan::default(),
        };
        memory.entry(&object("u", "1")).lock().asking = Some(Asking {
            id,
            task: task.abort_handle(),
        });
        memory.forget(&object("u", "1").name());
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(memory.get(&object("u", "1").name()).is_none());
    }
}
