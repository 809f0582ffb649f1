//! Leadership by a Lease: which replica acts, until when, and when nobody did. Decides nothing about rollouts.
//!
//! `record` is pure (who may take the lease and when), `store` is the object on the API server, `elector`
//! decides when to write it. A candidate judges the others only by its own monotonic clock since the record last changed, and
//! a leader stops itself at two thirds of the duration that the others wait out, so two replicas never lead at
//! the same time however much their wall clocks differ.

mod elector;
mod record;
mod store;

pub use elector::{Elector, LeaseError};
pub use record::{Absence, LeaseView, Step, Timing, evaluate};

use crate::runtime::clock::Clock;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// Which lease to hold, as whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease. It is created when it is missing.
    pub name: String,
    /// Who we are in `holderIdentity`. A process that starts under the identity of the holder takes over at
    /// once (a container restarted in its pod), so replicas need different ones.
    pub identity: String,
    /// How long the others wait after the last renewal they saw; every other time is derived from it.
    pub timing: Timing,
    /// How the lease is come by and what becomes of it at the end.
    pub manner: Manner,
}

/// How a process comes by the lease and leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Take the lease when it is free and release it on exit: `birdwatch run`.
    Candidate,
    /// Take the lease from whoever holds it, act once that holder's renew deadline is over, and on exit leave it
    /// to run out, so that no replica starts again what was just undone: `birdwatch drain`.
    Takeover,
}

/// Whether this process acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another replica acts, or none yet: keep caches warm, write nothing.
    Standby,
    /// This process acts.
    Leading(Term),
}

/// One unbroken leadership of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// When this process took the lease.
    pub since: Timestamp,
    /// The `renewTime` found in the lease when it was taken: up to here an operator was certainly there. None
    /// when there was no lease.
    pub previous_renewal: Option<Timestamp>,
    /// Every span without an operator that the lease remembers, oldest first, the one before this term included.
    /// Kept in the lease itself, so that a leader that dies at once does not hide the span before it.
    pub absences: Vec<Absence>,
    /// Until when this process may write, by its own monotonic clock, unless the lease is renewed.
    valid_until: Instant,
}

impl Term {
    /// A term that nothing renews: it may write until `valid_until`. For those who lead without a lease (tests).
    #[must_use]
    pub fn new(since: Timestamp, previous_renewal: Option<Timestamp>, valid_until: Instant) -> Self {
        Self {
            since,
            previous_renewal,
            absences: Vec::new(),
            valid_until,
        }
    }
}

impl Leadership {
    /// Whether a write may be started at `now`. Each renewal moves the limit without waking the watchers of the
    /// channel, so borrow the value afresh for each write. The limit leaves a third of the lease's duration for
    /// the write itself: a write's own timeout must not be longer.
    #[must_use]
    pub fn is_leading_at(&self, now: Instant) -> bool {
        matches!(self, Self::Leading(term) if now < term.valid_until)
    }

    /// The term, when leading.
    #[must_use]
    pub fn term(&self) -> Option<&Term> {
        match self {
            Self::Standby => None,
            Self::Leading(term) => Some(term),
        }
    }
}

/// Asked before each write: does this process still lead? Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Gate {
    leadership: watch::Receiver<Leadership>,
    clock: Clock,
}

impl Gate {
    /// A gate that follows an elector's channel.
    #[must_use]
    pub fn new(leadership: watch::Receiver<Leadership>, clock: Clock) -> Self {
        Self { leadership, clock }
    }

    /// A gate that stays as `leadership` says, without an elector (tests).
    #[must_use]
    pub fn fixed(leadership: Leadership, clock: Clock) -> Self {
        Self {
            leadership: watch::channel(leadership).1,
            clock,
        }
    }

    /// Whether a write may be started now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.leadership.borrow().is_leading_at(self.clock.monotonic())
    }

    /// The present term, if this process leads at this moment.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        let leadership = self.leadership.borrow();
        leadership
            .term()
            .filter(|_| leadership.is_leading_at(self.clock.monotonic()))
            .cloned()
    }
}
