//! What a replica has seen of a lease, and when by its own monotonic clock. No I/O; time is passed in.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::board::Post;
use super::record::{self, LeaseView, Step, evaluate};
use super::store::News;

/// The lease as last seen; kept when it is deleted, for what it remembers.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) lease: Lease,
    pub(super) view: LeaseView,
    /// False once it was deleted: then it is created, not replaced.
    pub(super) exists: bool,
    /// When the record was first seen as it is, or first missed.
    changed_at: Instant,
}

impl Seen {
    /// What is known after such news. Only a changed record counts as a sign of life of its holder. `ours` is the duration of
    /// our own settings.
    pub(super) fn after(before: Option<Self>, news: News, ours: Duration, now: Instant) -> Option<Self> {
        match (news, before) {
            (News::Unread, before) => before,
            (News::Missing, Some(seen)) if !seen.exists => Some(seen),
            (News::Missing, before) => {
                let view = LeaseView::of_missing(before.as_ref().map(|seen| &seen.view), ours);
                let lease = before.map(|seen| seen.lease).unwrap_or_default();
                Some(Self {
                    lease,
                    view,
                    exists: false,
                    changed_at: now,
                })
            }
            (News::Found(lease), before) => {
                let unchanged = before.filter(|seen| seen.exists && seen.lease.spec == lease.spec);
                let changed_at = unchanged.map_or(now, |seen| seen.changed_at);
                Some(Self {
                    view: LeaseView::of(&lease, ours),
                    lease: *lease,
                    exists: true,
                    changed_at,
                })
            }
        }
    }

    /// What it asks of `me`, were we to take it only when it is free.
    pub(super) fn step(&self, me: &str, now: Instant) -> Step {
        evaluate(&self.view, me, now, self.changed_at)
    }

    /// Until when a holder other than `me` may act; none where the record names no such holder.
    pub(super) fn rival_until(&self, me: &str) -> Option<Instant> {
        let rival = self.exists && self.view.holder.as_deref().is_some_and(|holder| holder != me);
        rival.then(|| self.changed_at + self.view.renew_deadline())
    }

    /// Since when it is free, where it is.
    pub(super) fn free_since(&self) -> Instant {
        if self.view.is_released {
            self.changed_at
        } else {
            self.changed_at + self.view.duration
        }
    }

    /// What the other shards' electors are to know of it.
    pub(super) fn post(&self, me: &str, now: Instant) -> Post {
        let is_free = matches!(self.step(me, now), Step::Acquire);
        Post {
            holder: self.view.holder.clone().filter(|_| self.exists && !is_free),
            since: record::acquired(&self.lease),
            asked_for_by: record::asked_for_by(&self.lease),
        }
    }
}
