//! What the record in the Lease means and what to write into it. Pure: no I/O, no clock.

use super::absence::{self, Absence};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Annotation on the Lease: the spans in which no operator was there.
const ABSENCES: &str = "otomato.link/absences";

/// Annotation on the Lease: the replica that asks its holder for it. People may set it too.
const ASKED_FOR_BY: &str = "otomato.link/asked-for-by";

/// Annotation on the Lease: the former Leases whose terms are counted. Each is counted once: what it says of its last term, by
/// its holder's clock, must not excuse an absence that came later.
const COUNTED: &str = "otomato.link/counted";

/// Annotation on the Lease: whether its holder acts. Those who split namespaces in another way look at it.
const ACTS: &str = "otomato.link/acts";

/// `leaseDurationSeconds` of a lease that was given up: its holder has stopped, nobody needs to wait.
const RELEASED_SECONDS: i32 = 1;

/// The times of leader election, all derived from one duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
}

impl Timing {
    /// The longest lease that settings allow.
    pub const LONGEST: Duration = Duration::from_mins(10);

    /// Times for a lease of `duration`, which should be 2 s or more.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self { duration }
    }

    /// How long a candidate waits after the last change it saw.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.duration
    }

    /// How often the holder renews.
    #[must_use]
    pub fn renew_interval(self) -> Duration {
        self.duration / 3
    }

    /// How long after a renewal was sent the holder stops if no other one succeeds.
    #[must_use]
    pub fn renew_deadline(self) -> Duration {
        renew_deadline(self.duration)
    }

    /// How long one request may take.
    #[must_use]
    pub fn call_timeout(self) -> Duration {
        self.duration / 6
    }

    /// The shortest pause after a failed request; the longest is twice that.
    #[must_use]
    pub fn retry(self) -> Duration {
        self.duration / 15
    }

    /// How long each replica that comes before another has for itself, where a lease is free.
    #[must_use]
    pub fn turn(self) -> Duration {
        self.duration / 30
    }

    /// The duration as the record states it: whole seconds, rounded up so that nobody waits less than we need.
    fn record_seconds(self) -> i32 {
        let seconds = self.duration.as_secs() + u64::from(self.duration.subsec_nanos() > 0);
        i32::try_from(seconds).unwrap_or(i32::MAX)
    }
}

/// The renew deadline of a holder whose lease lasts `duration`.
fn renew_deadline(duration: Duration) -> Duration {
    duration * 2 / 3
}

/// What a candidate needs to know of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Who holds it; None when the record names nobody.
    pub holder: Option<String>,
    /// Its last holder gave it up. A record whose holder was merely blanked by hand does not count as given up:
    /// that holder may still be acting and is waited for.
    pub is_released: bool,
    /// How long others wait after the record last changed.
    pub duration: Duration,
}

impl LeaseView {
    /// Reads a lease. Its holder is waited for at least as long as `ours`, the duration of our own settings: a
    /// record whose duration is missing or was shortened by hand does not stop its holder. One that says more than any
    /// replica can be set to was edited, and would be waited for in vain.
    #[must_use]
    pub fn of(lease: &Lease, ours: Duration) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let is_released = holder.is_none() && spec.acquire_time.is_none() && seconds == RELEASED_SECONDS;
        let stated = Duration::from_secs(seconds.try_into().unwrap_or_default());
        let duration = stated.min(Timing::LONGEST).max(ours);
        Self {
            holder,
            is_released,
            duration,
        }
    }

    /// The view of a lease that is missing. Somebody may have taken it after it was last seen (`last`), or before we
    /// came, and still act although it was deleted: a whole duration is waited out. So does the very first operator
    /// of a cluster, once.
    pub(super) fn of_missing(last: Option<&Self>, ours: Duration) -> Self {
        Self {
            holder: None,
            is_released: false,
            duration: last.map_or(ours, |last| last.duration),
        }
    }

    /// How long the holder of this record may go on acting after the record was last written.
    pub(super) fn renew_deadline(&self) -> Duration {
        renew_deadline(self.duration)
    }
}

/// What a process should do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody holds it any more: take it.
    Acquire,
    /// It is ours.
    Renew,
    /// Another one holds it for this much longer, unless it changes.
    Wait(Duration),
}

/// Judges a lease that was seen to change at `observed_at`, by this process's monotonic clock alone.
#[must_use]
pub fn evaluate(lease: &LeaseView, me: &str, now: Instant, observed_at: Instant) -> Step {
    if lease.holder.as_deref() == Some(me) {
        return Step::Renew;
    }
    let silent = now.saturating_duration_since(observed_at);
    match lease.duration.checked_sub(silent) {
        Some(left) if !left.is_zero() && !lease.is_released => Step::Wait(left),
        _ => Step::Acquire,
    }
}

/// The absences that a lease remembers, oldest first. What cannot be read, or ends before it begins (edited by
/// hand), is left out.
pub(super) fn absences(lease: &Lease) -> Vec<Absence> {
    let text = lease.metadata.annotations.as_ref().and_then(|a| a.get(ABSENCES));
    let read = |span: &str| {
        let (from, to) = span.split_once('/')?;
        Some(Absence {
            from: from.parse().ok()?,
            to: to.parse().ok()?,
        })
    };
    let is_span = |span: &Absence| span.from < span.to;
    text.map(|text| text.split(',').filter_map(read).filter(is_span).collect())
        .unwrap_or_default()
}

/// When, by this lease, nobody acted, the time after its last renewal included. One that remembers nothing, or was renewed by a
/// clock that is more than `skew` ahead of `now`, proves nothing.
pub(super) fn absent(lease: &Lease, now: Timestamp, skew: Duration) -> Vec<Absence> {
    let remembers = |all: &BTreeMap<String, String>| all.contains_key(ABSENCES);
    let annotations = lease.metadata.annotations.as_ref();
    let latest = now.saturating_add(skew).unwrap_or(now);
    let until = acted_until(lease).filter(|until| *until <= latest && annotations.is_some_and(remembers));
    until.map_or_else(
        || vec![Absence::ALWAYS],
        |until| absence::with(absences(lease), until.min(now), Timestamp::MAX),
    )
}

/// What was counted last of those who split namespaces in another way.
pub(super) fn counted(lease: &Lease) -> Option<&str> {
    lease
        .metadata
        .annotations
        .as_ref()?
        .get(COUNTED)
        .map(String::as_str)
}

/// The lease without the absences in which somebody acted by one of these lists, which are called `what`.
pub(super) fn narrowed(mut lease: Lease, by: &[Vec<Absence>], what: &str) -> Lease {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(COUNTED.to_owned(), what.to_owned());
    let narrow = |known: Vec<Absence>, other: &Vec<Absence>| absence::by_both(&known, other);
    let known = by.iter().fold(absences(&lease), narrow);
    with_absences(lease, &known)
}

/// Who asks the holder for the lease.
pub(super) fn asked_for_by(lease: &Lease) -> Option<String> {
    let text = lease.metadata.annotations.as_ref()?.get(ASKED_FOR_BY)?;
    Some(text.clone()).filter(|text| !text.is_empty())
}

/// The lease as `me` asks its holder for it. Nothing else of it changes.
pub(super) fn asked_for(mut lease: Lease, me: &str) -> Lease {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(ASKED_FOR_BY.to_owned(), me.to_owned());
    lease
}

/// Whether its holder acts, or is about to. One that does not say is of a release that looks at no other: it acts.
pub(super) fn acts(lease: &Lease) -> bool {
    let annotations = lease.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(ACTS))
        .is_none_or(|text| text != "false")
}

/// The lease as its holder says that it waits for others.
pub(super) fn waiting(lease: Lease) -> Lease {
    saying(lease, false)
}

/// The lease as its holder says, at `now`, that it acts after it had waited: there was no operator until now.
pub(super) fn acting(lease: Lease, now: Timestamp) -> Lease {
    let since = acquired(&lease).unwrap_or(now);
    let known = absence::with(absences(&lease), since, now);
    saying(with_absences(lease, &known), true)
}

fn saying(mut lease: Lease, acts: bool) -> Lease {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(ACTS.to_owned(), acts.to_string());
    lease
}

fn with_absences(mut lease: Lease, known: &[Absence]) -> Lease {
    let spans: Vec<_> = known
        .iter()
        .map(|span| format!("{}/{}", span.from, span.to))
        .collect();
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(ABSENCES.to_owned(), spans.join(","));
    lease
}

/// When the present holder took it.
pub(super) fn acquired(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.acquire_time.as_ref().map(|time| time.0)
}

/// When the lease was last renewed, by its holder's wall clock.
pub(super) fn renewed(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

/// Until when its holders acted, as far as it says: one that waits for others has not acted since it took it.
fn acted_until(lease: &Lease) -> Option<Timestamp> {
    let since = acquired(lease).filter(|_| !acts(lease));
    since.or_else(|| renewed(lease))
}

/// The lease as `me` writes it on taking it at `now`. What else `previous` holds is kept, the resourceVersion too:
/// that makes the write a compare-and-swap. Of a lease that was never there nobody knows whether an operator was, ever.
pub(super) fn taken(previous: Lease, me: &str, now: Timestamp, timing: Timing) -> Lease {
    let last = acted_until(&previous).unwrap_or(Timestamp::UNIX_EPOCH);
    let known = absence::with(absences(&previous), last, now);
    let mut lease = saying(with_absences(previous, &known), true);
    if let Some(annotations) = &mut lease.metadata.annotations {
        annotations.remove(ASKED_FOR_BY);
    }
    let spec = lease.spec.get_or_insert_default();
    spec.acquire_time = Some(MicroTime(now));
    spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    spec.holder_identity = Some(me.to_owned());
    renewed_at(lease, now, timing)
}

/// The lease as its holder renews it.
pub(super) fn renewed_at(mut lease: Lease, now: Timestamp, timing: Timing) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(timing.record_seconds());
    lease
}

/// The lease as its holder gives it up. The last renewal at which it acted stays, so that the next holder knows since when
/// nobody does.
pub(super) fn released(mut lease: Lease) -> Lease {
    let last = acted_until(&lease);
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = last.map(MicroTime);
    spec.holder_identity = None;
    spec.acquire_time = None;
    spec.lease_duration_seconds = Some(RELEASED_SECONDS);
    lease
}

/// Whether both leases belong to the same term of the same holder. The identity alone would not tell a restarted
/// process, or another one started under the same name, from ourselves.
pub(super) fn same_term(a: &Lease, b: &Lease) -> bool {
    let term = |lease: &Lease| {
        let LeaseSpec {
            holder_identity,
            acquire_time,
            ..
        } = lease.spec.clone()?;
        Some((holder_identity, acquire_time))
    };
    term(a) == term(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const OURS: Duration = Duration::from_secs(15);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn lease(holder: Option<&str>, seconds: Option<i32>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(ToOwned::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        };
        Lease {
            spec: Some(spec),
            ..Lease::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_take_a_lease_and_when() {
        let seen = Instant::now();
        let wait = |seconds| Step::Wait(Duration::from_secs(seconds));
        // holder, leaseDurationSeconds, seconds since the record was seen to change, what to do
        let cases = [
            (Some("me"), Some(15), 0, Step::Renew),
            (Some("me"), Some(15), 100, Step::Renew),
            (Some("other"), Some(15), 0, wait(15)),
            (Some("other"), Some(15), 14, wait(1)),
            (Some("other"), Some(15), 15, Step::Acquire),
            (Some("other"), Some(15), 1000, Step::Acquire),
            // A holder of other settings is waited for as long as it asks.
            (Some("other"), Some(60), 15, wait(45)),
            // A duration that is missing, senseless or shorter than ours is ours.
            (Some("other"), None, 1, wait(14)),
            (Some("other"), Some(0), 1, wait(14)),
            (Some("other"), Some(-5), 1, wait(14)),
            (Some("other"), Some(1), 1, wait(14)),
            // Given up.
            (None, Some(1), 0, Step::Acquire),
            (Some(""), Some(1), 0, Step::Acquire),
            // Blanked by hand: its holder may still act.
            (None, Some(15), 3, wait(12)),
            (Some(""), None, 3, wait(12)),
            (None, Some(15), 15, Step::Acquire),
        ];
        for (holder, duration, since, expected) in cases {
            let view = LeaseView::of(&lease(holder, duration), OURS);
            let step = evaluate(&view, "me", seen + Duration::from_secs(since), seen);
            assert_eq!(step, expected, "{holder:?} {duration:?} after {since} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_observation_from_the_future_of_now_is_waited_out_in_full() {
        let now = Instant::now();
        let view = LeaseView::of(&lease(Some("other"), Some(15)), OURS);
        assert_eq!(
            evaluate(&view, "me", now, now + Duration::from_secs(3)),
            Step::Wait(OURS)
        );
    }

    #[test]
    fn a_holder_stops_before_anybody_may_take_its_lease() {
        for millis in [2000, 2500, 15_000, 600_000] {
            let timing = Timing::new(Duration::from_millis(millis));
            let stated = Duration::from_secs(u64::try_from(timing.record_seconds()).unwrap());
            assert!(stated >= timing.duration());
            assert!(timing.renew_deadline() < timing.duration());
            assert!(timing.renew_interval() + 2 * timing.call_timeout() <= timing.renew_deadline());
            assert!(renew_deadline(stated) >= timing.renew_deadline());
        }
    }

    #[test]
    fn taking_keeps_what_else_the_lease_holds_and_counts_the_transition() {
        let mut found = lease(Some("old"), Some(15));
        found.metadata.resource_version = Some("7".into());
        found.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
        found.spec.as_mut().unwrap().renew_time = Some(MicroTime(at(0)));
        found.spec.as_mut().unwrap().lease_transitions = Some(4);
        let taken = taken(
            found.clone(),
            "me",
            at(20),
            Timing::new(Duration::from_millis(2500)),
        );
        assert_eq!(taken.metadata.resource_version, found.metadata.resource_version);
        assert_eq!(taken.metadata.labels, found.metadata.labels);
        let spec = taken.spec.as_ref().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(
            (spec.lease_duration_seconds, spec.lease_transitions),
            (Some(3), Some(5))
        );
        assert_eq!(
            (&spec.acquire_time, &spec.renew_time),
            (&Some(MicroTime(at(20))), &Some(MicroTime(at(20))))
        );
        assert_eq!(
            absences(&taken),
            [Absence {
                from: at(0),
                to: at(20)
            }]
        );
    }

    #[test]
    fn releasing_keeps_the_last_renewal_and_frees_the_lease_for_everyone() {
        let timing = Timing::new(OURS);
        let held = renewed_at(taken(Lease::default(), "me", at(0), timing), at(5), timing);
        let released = released(held);
        assert_eq!(renewed(&released), Some(at(5)));
        assert!(LeaseView::of(&released, OURS).is_released);
    }

    /// Before the first operator there was none.
    fn before_all(to: Timestamp) -> Absence {
        Absence {
            from: Timestamp::UNIX_EPOCH,
            to,
        }
    }

    #[test]
    fn a_lease_says_whether_its_holder_acts_and_until_when_nobody_did() {
        let timing = Timing::new(OURS);
        let held = taken(Lease::default(), "me", at(0), timing);
        assert!(acts(&held) && acts(&Lease::default()));
        let waits = renewed_at(waiting(held), at(5), timing);
        assert!(!acts(&waits));
        let acting = acting(waits, at(60));
        assert!(acts(&acting));
        assert_eq!(absences(&acting), [before_all(at(60))]);
        let next = taken(
            released(renewed_at(acting, at(70), timing)),
            "other",
            at(71),
            timing,
        );
        assert_eq!(absences(&next).len(), 2);
    }

    #[test]
    fn a_wish_is_kept_until_the_lease_is_taken() {
        let timing = Timing::new(OURS);
        let held = taken(Lease::default(), "me", at(0), timing);
        assert_eq!(asked_for_by(&held), None);
        let asked = renewed_at(asked_for(held, "other"), at(5), timing);
        let released = released(asked);
        assert_eq!(asked_for_by(&released).as_deref(), Some("other"));
        assert_eq!(asked_for_by(&taken(released, "other", at(6), timing)), None);
    }

    #[test]
    fn a_leader_that_dies_before_its_first_renewal_does_not_end_the_absence_before_it() {
        let timing = Timing::new(OURS);
        let first = renewed_at(taken(Lease::default(), "a", at(0), timing), at(10), timing);
        let second = taken(first, "b", at(30), timing);
        let third = taken(second, "c", at(50), timing);
        let second_span = Absence {
            from: at(10),
            to: at(50),
        };
        assert_eq!(absences(&third), [before_all(at(0)), second_span]);
        let fourth = taken(renewed_at(third, at(55), timing), "d", at(70), timing);
        let spans = [
            before_all(at(0)),
            second_span,
            Absence {
                from: at(55),
                to: at(70),
            },
        ];
        assert_eq!(absences(&fourth), spans);
    }

    #[test]
    fn too_many_absences_become_fewer_and_none_is_forgotten() {
        let mut lease = Lease::default();
        let timing = Timing::new(OURS);
        let mut all = Vec::new();
        for n in 0..100_i64 {
            // Terms of very different lengths, each followed by a minute without an operator.
            let (start, end) = (n * 10_000, n * 10_000 + 100 * (n % 7 + 1));
            if n > 0 {
                all.push(Absence {
                    from: renewed(&lease).unwrap(),
                    to: at(start),
                });
            }
            lease = renewed_at(taken(lease, "me", at(start), timing), at(end), timing);
        }
        let kept = absences(&lease);
        assert_eq!(kept.len(), absence::MOST);
        assert!(kept.is_sorted_by(|a, b| a.to < b.from));
        for span in &all {
            assert!(
                kept.iter().any(|k| k.from <= span.from && span.to <= k.to),
                "{span:?} is forgotten"
            );
        }
    }

    #[test]
    fn absences_written_by_hand_are_read_as_far_as_they_make_sense() {
        let mut lease = Lease::default();
        let text = format!("x,{}/{},/,{}", at(1), at(2), at(3));
        lease.metadata.annotations = Some([(ABSENCES.to_owned(), text)].into());
        assert_eq!(
            absences(&lease),
            [Absence {
                from: at(1),
                to: at(2)
            }]
        );
    }

    #[test]
    fn one_that_waited_did_not_act_however_it_ended() {
        let timing = Timing::new(OURS);
        let acted = renewed_at(taken(Lease::default(), "a", at(0), timing), at(10), timing);
        let waited = renewed_at(
            waiting(taken(released(acted), "b", at(12), timing)),
            at(60),
            timing,
        );
        let nobody = Absence {
            from: at(10),
            to: at(70),
        };
        for ended in [waited.clone(), released(waited)] {
            assert_eq!(absent(&ended, at(70), OURS)[1].from, at(10));
            assert_eq!(absences(&taken(ended, "c", at(70), timing))[1..], [nobody]);
        }
    }

    #[test]
    fn an_absence_that_ends_before_it_begins_is_none() {
        let mut lease = taken(Lease::default(), "a", at(0), Timing::new(OURS));
        let annotations = lease.metadata.annotations.get_or_insert_default();
        let spans = "2030-01-01T00:00:00Z/2026-01-01T00:00:00Z,2026-01-01T00:00:00Z/2026-01-01T00:01:00Z";
        annotations.insert(ABSENCES.to_owned(), spans.to_owned());
        assert_eq!(absences(&lease).len(), 1);
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_is_believed_until_now_and_one_far_ahead_not_at_all() {
        let timing = Timing::new(OURS);
        let lease = renewed_at(taken(Lease::default(), "a", at(0), timing), at(100), timing);
        let nobody_since = |now| absent(&lease, at(now), OURS).last().map(|last| last.from);
        for (now, since) in [
            (120, at(100)),
            (98, at(98)),
            (85, at(85)),
            (84, Absence::ALWAYS.from),
        ] {
            assert_eq!(nobody_since(now), Some(since), "{now}");
        }
    }

    #[test]
    fn a_lease_that_remembers_nothing_takes_no_absence_away() {
        let timing = Timing::new(OURS);
        let mut other = renewed_at(taken(Lease::default(), "a", at(0), timing), at(50), timing);
        let ours = taken(Lease::default(), "me", at(60), timing);
        let after =
            |other: &Lease| absences(&narrowed(ours.clone(), &[absent(other, at(60), OURS)], "other"));
        let since = Absence {
            from: at(50),
            to: at(60),
        };
        assert_eq!(after(&other), [before_all(at(0)), since]);
        other.metadata.annotations = None;
        assert_eq!(after(&other), [before_all(at(60))]);
    }
}
