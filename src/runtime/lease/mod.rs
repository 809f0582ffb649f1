//! Leadership by a Lease: which replica acts, until when, and when nobody did. Decides nothing about rollouts.
//!
//! Namespaces are split into shards (`shard`), by default one, each with a Lease of its own. `record` is pure (who may take a lease and
//! when), as is what follows from all of them (`board`: whose turn a free one is; `split`: who waits while the number of shards
//! changes; `absence`: when nobody was there). `store` is the object on the API server, `elector` decides when to write it (`writes`), `electors` has one for
//! each shard, and the rest of the process sees a `seat` of each. A candidate judges the others only by its own monotonic clock since the record last changed, and
//! a leader stops itself at two thirds of the duration that the others wait out, so two replicas never lead at
//! the same time however much their wall clocks differ.

mod absence;
mod board;
mod elector;
mod electors;
mod record;
mod seat;
mod seen;
mod shard;
mod split;
mod store;
mod writes;

pub use absence::Absence;
pub use elector::LeaseError;
pub use electors::Electors;
pub use record::{LeaseView, Step, Timing, evaluate};
pub use seat::{AtWork, Gate, Idle, Seat, Seats, Telling};
pub use shard::{Shard, Shards};

use jiff::Timestamp;
use tokio::time::Instant;

/// Which leases to hold, as whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease, or what the names of all begin with. They are created when they are missing.
    pub name: String,
    /// How many leases there are.
    pub shards: Shards,
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
    /// Every span without an operator that the lease remembers, oldest first, the one before this term included.
    /// Kept in the lease itself, so that a leader that dies at once does not hide the span before it.
    pub absences: Vec<Absence>,
    /// Until when this process may write, by its own monotonic clock, unless the lease is renewed.
    valid_until: Instant,
}

impl Term {
    /// A term that nothing renews: it may write until `valid_until`. For those who lead without a lease (tests).
    #[must_use]
    pub fn new(since: Timestamp, valid_until: Instant) -> Self {
        Self {
            since,
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
