//! What the record in the Lease means and what to write into it. Pure: no I/O, no clock.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::time::Duration;
use tokio::time::Instant;

/// Annotation on the Lease: the spans in which no operator was there.
const ABSENCES: &str = "otomato.link/absences";

/// How many absences the lease remembers; beyond it the two that lie closest together become one.
const MAX_ABSENCES: usize = 32;

/// `leaseDurationSeconds` of a lease that was given up: its holder has stopped, nobody needs to wait.
const RELEASED_SECONDS: i32 = 1;

/// The times of leader election, all derived from one duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
}

impl Timing {
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
    /// Its last holder gave it up. A record whose holder was merely blanked by hand is none of these: the holder
    /// may still be acting and is waited for.
    pub is_released: bool,
    /// How long others wait after the record last changed.
    pub duration: Duration,
}

impl LeaseView {
    /// Reads a lease. Its holder is waited for at least as long as `ours`, the duration of our own settings: a
    /// record whose duration is missing or was shortened by hand does not stop its holder.
    #[must_use]
    pub fn of(lease: &Lease, ours: Duration) -> Self {
        let spec = lease.spec.as_ref();
        let holder = spec
            .and_then(|s| s.holder_identity.clone())
            .filter(|holder| !holder.is_empty());
        let seconds = spec.and_then(|s| s.lease_duration_seconds).unwrap_or_default();
        let is_released = holder.is_none() && seconds == RELEASED_SECONDS;
        let duration = Duration::from_secs(seconds.try_into().unwrap_or_default()).max(ours);
        Self {
            holder,
            is_released,
            duration,
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

/// A span in which no operator is known to have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The last renewal before it.
    pub from: Timestamp,
    /// When the lease was taken again.
    pub to: Timestamp,
}

/// The absences that a lease remembers, oldest first. What cannot be read (edited by hand) is left out.
pub(super) fn absences(lease: &Lease) -> Vec<Absence> {
    let text = lease.metadata.annotations.as_ref().and_then(|a| a.get(ABSENCES));
    let read = |span: &str| {
        let (from, to) = span.split_once('/')?;
        Some(Absence {
            from: from.parse().ok()?,
            to: to.parse().ok()?,
        })
    };
    text.map(|text| text.split(',').filter_map(read).collect())
        .unwrap_or_default()
}

/// Adds the span before a term. A holder that never renewed does not end the span before it. Too many spans: the
/// pair with the least time between them becomes one, so that a little held time is lost, never an absence.
fn with_absence(mut known: Vec<Absence>, from: Timestamp, to: Timestamp) -> Vec<Absence> {
    match known.last_mut() {
        Some(last) if from <= last.to => last.to = last.to.max(to),
        _ if from < to => known.push(Absence { from, to }),
        _ => {}
    }
    while known.len() > MAX_ABSENCES {
        let between = |i: &usize| known[i + 1].from.duration_since(known[*i].to);
        let Some(i) = (0..known.len() - 1).min_by_key(between) else {
            break;
        };
        let next = known.remove(i + 1);
        known[i].to = known[i].to.max(next.to);
    }
    known
}

/// When the lease was last renewed, by its holder's wall clock.
pub(super) fn renewed(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

/// The lease as `me` writes it on taking it at `now`. What else `previous` holds is kept, the resourceVersion too:
/// that makes the write a compare-and-swap.
pub(super) fn taken(previous: Lease, me: &str, now: Timestamp, timing: Timing) -> Lease {
    let mut known = absences(&previous);
    if let Some(last) = renewed(&previous) {
        known = with_absence(known, last, now);
    }
    let mut lease = previous;
    if !known.is_empty() {
        let spans: Vec<_> = known
            .iter()
            .map(|span| format!("{}/{}", span.from, span.to))
            .collect();
        lease
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(ABSENCES.to_owned(), spans.join(","));
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

/// The lease as its holder gives it up. The last renewal stays, so that the next holder knows since when nobody acts.
pub(super) fn released(mut lease: Lease) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
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
