//! Takes the lease, renews it and gives it up: all that is written to the Lease is written here.

use super::record::{self, LeaseView, Step, evaluate};
use super::store::{Failure, News, Store, jittered};
use super::{Leadership, LeaseConfig, Manner, Term};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Why leadership was lost. Either way nothing may be written any more and the process should end: what it holds in
/// memory was decided by a leader that is none any longer. It comes back as a standby that waits for the API server
/// as long as it takes, so an outage costs one restart.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another one holds the lease.
    #[error("leadership lost: the lease {lease} was taken by {holder}")]
    Taken {
        /// `namespace/name` of the lease.
        lease: String,
        /// Its holder now.
        holder: String,
    },
    /// No renewal succeeded in time.
    #[error("leadership lost: the lease {lease} could not be renewed within {within:?}: {last}")]
    Expired {
        /// `namespace/name` of the lease.
        lease: String,
        /// The renew deadline.
        within: Duration,
        /// What the last attempt failed with.
        last: String,
    },
}

/// Holds the lease for this process. Run it beside everything else; when it ends in an error, end the process.
#[derive(Debug)]
pub struct Elector {
    store: Store,
    config: LeaseConfig,
    clock: Clock,
    metrics: Metrics,
    leadership: watch::Sender<Leadership>,
    /// The lease as last seen; kept when it is deleted, for what it remembers.
    seen: Option<Seen>,
    /// Until when another holder that was seen may act.
    rival_until: Option<Instant>,
    /// The last error that was logged, so that an outage is told once.
    complaint: String,
}

#[derive(Debug)]
struct Seen {
    lease: Lease,
    view: LeaseView,
    /// False once it was deleted: then it is created, not replaced.
    exists: bool,
    /// When the record was first seen as it is, or first missed.
    changed_at: Instant,
}

/// A lease that is ours.
struct Held {
    lease: Lease,
    term: Term,
    /// When we may begin to act: at once, except after a takeover from one who may still be acting.
    act_at: Instant,
    renewed_at: Instant,
}

impl Elector {
    /// An elector for `config`, and the channel on which it publishes who leads (at first nobody: `Standby`).
    #[must_use]
    pub fn new(
        client: Client,
        config: LeaseConfig,
        clock: Clock,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Leadership>) {
        let store = Store::new(client, &config);
        let (leadership, receiver) = watch::channel(Leadership::Standby);
        (
            Self {
                store,
                config,
                clock,
                metrics,
                leadership,
                seen: None,
                rival_until: None,
                complaint: String::new(),
            },
            receiver,
        )
    }

    /// Waits for the lease, then leads until `stop` or until leadership is lost. Failures of the API server are
    /// waited out while standing by. On `stop` it gives the lease up as [`Manner`] says.
    ///
    /// # Errors
    /// [`LeaseError`] when leadership was lost. `Standby` is published before this returns.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), LeaseError> {
        let (sender, mut news) = watch::channel(News::Unread);
        let _follower = AbortOnDropHandle::new(tokio::spawn(self.store.clone().follow(sender)));

        let held = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            held = self.stand_by(&mut news) => held,
        };
        let result = self.lead(held, &mut news, &stop).await;
        self.publish(Leadership::Standby);
        result
    }

    /// Waits until the lease is ours.
    async fn stand_by(&mut self, news: &mut watch::Receiver<News>) -> Held {
        loop {
            let pause = match self.step() {
                _ if self.seen.is_none() => self.config.timing.duration(),
                Step::Wait(left) if self.config.manner == Manner::Candidate => left,
                Step::Wait(_) | Step::Acquire | Step::Renew => match self.take().await {
                    Some(held) => return held,
                    None => jittered(self.config.timing.retry()),
                },
            };
            let until = self.clock.monotonic() + pause;
            match timeout_at(until, news.changed()).await {
                Ok(Ok(())) => {
                    let latest = news.borrow_and_update().clone();
                    self.see(latest);
                }
                // The follower is gone; the lease is still tried when it is due.
                Ok(Err(_)) => sleep_until(until).await,
                Err(_) => {}
            }
        }
    }

    /// Renews until told to stop or until the lease is lost.
    async fn lead(
        &mut self,
        mut held: Held,
        news: &mut watch::Receiver<News>,
        stop: &CancellationToken,
    ) -> Result<(), LeaseError> {
        loop {
            let acting = self.leadership.borrow().term().is_some();
            let due = held.renewed_at + self.config.timing.renew_interval();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(held.act_at), if !acting => {
                    self.publish(Leadership::Leading(held.term.clone()));
                    continue;
                }
                () = sleep_until(due) => {}
                Ok(()) = news.changed() => {
                    if matches!(&*news.borrow_and_update(), News::Found(l) if record::same_term(l, &held.lease)) {
                        continue;
                    }
                    // Missing or another's: news may be old, so the renewal, a compare-and-swap, settles it.
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                renewed = self.renew(&mut held) => renewed?,
            }
        }
        self.publish(Leadership::Standby);
        self.leave(held).await;
        Ok(())
    }

    /// Notes what was seen. Only a changed record counts as a sign of life of its holder.
    fn see(&mut self, news: News) {
        let (ours, now) = (self.config.timing.duration(), self.clock.monotonic());
        let before = self.seen.take();
        self.seen = match (news, before) {
            (News::Unread, before) => before,
            (News::Missing, Some(seen)) if !seen.exists => Some(seen),
            (News::Missing, before) => {
                let view = LeaseView::of_missing(before.as_ref().map(|seen| &seen.view), ours);
                let lease = before.map(|seen| seen.lease).unwrap_or_default();
                Some(Seen {
                    lease,
                    view,
                    exists: false,
                    changed_at: now,
                })
            }
            (News::Found(lease), before) => {
                let unchanged = before.filter(|seen| seen.exists && seen.lease.spec == lease.spec);
                let changed_at = unchanged.map_or(now, |seen| seen.changed_at);
                let view = LeaseView::of(&lease, ours);
                if view.is_released {
                    self.rival_until = None;
                } else if view
                    .holder
                    .as_ref()
                    .is_some_and(|holder| *holder != self.config.identity)
                {
                    self.rival_until = Some(changed_at + view.renew_deadline());
                }
                Some(Seen {
                    view,
                    lease: *lease,
                    exists: true,
                    changed_at,
                })
            }
        };
    }

    /// What the lease as last seen asks of us, were we to take it only when it is free.
    fn step(&self) -> Step {
        let Some(seen) = &self.seen else {
            return Step::Wait(self.config.timing.duration());
        };
        evaluate(
            &seen.view,
            &self.config.identity,
            self.clock.monotonic(),
            seen.changed_at,
        )
    }

    /// Tries to take the lease as it was last seen. If the answer is lost the next try finds it to be ours.
    async fn take(&mut self) -> Option<Held> {
        let LeaseConfig { identity, timing, .. } = self.config.clone();
        let (now, sent) = (self.clock.now(), self.clock.monotonic());
        let seen = self.seen.as_ref()?;
        let alive = matches!(self.step(), Step::Wait(_));
        let ousted = alive.then(|| seen.view.renew_deadline());
        let (previous, exists) = (seen.lease.clone(), seen.exists);
        let last_renewal = record::renewed(&previous);

        let wanted = record::taken(previous, &identity, now, timing);
        match self.store.write(wanted, exists).await {
            Ok(lease) => {
                let absences = record::absences(&lease);
                let before = absences
                    .last()
                    .filter(|span| span.to == now)
                    .map(|span| span.from);
                let term = Term {
                    since: now,
                    previous_renewal: before.or(last_renewal).map(|last| last.min(now)),
                    absences,
                    valid_until: sent + timing.renew_deadline(),
                };
                // Where the record named us without our doing (a hand, a lost answer), nobody waited for the other one.
                let act_at = ousted.map_or(
                    self.rival_until.map_or(sent, |until| until.max(sent)),
                    |deadline| self.clock.monotonic() + deadline,
                );
                Some(Held {
                    lease,
                    term,
                    act_at,
                    renewed_at: sent,
                })
            }
            Err(failure) => {
                self.complain(&failure);
                if let (Failure::Stale, Ok(news)) = (failure, self.store.read().await) {
                    self.see(news);
                }
                None
            }
        }
    }

    /// Renews the lease, again and again until the deadline.
    async fn renew(&mut self, held: &mut Held) -> Result<(), LeaseError> {
        let deadline = held.term.valid_until;
        let mut exists = true;
        let mut last = Failure::Other("no answer".to_owned());
        loop {
            let sent = self.clock.monotonic();
            let wanted = record::renewed_at(held.lease.clone(), self.clock.now(), self.config.timing);
            match timeout_at(deadline, self.store.write(wanted, exists)).await {
                Ok(Ok(lease)) => {
                    held.lease = lease;
                    self.renewed(held, sent);
                    return Ok(());
                }
                Ok(Err(failure)) => {
                    self.complain(&failure);
                    if let (Failure::Stale, Ok(Ok(news))) =
                        (&failure, timeout_at(deadline, self.store.read()).await)
                    {
                        exists = self.still_ours(held, news)?;
                    }
                    last = failure;
                }
                Err(_) => {}
            }
            let pause = self.pause_after(&last);
            sleep_until(pause.min(deadline)).await;
            if pause >= deadline {
                let (lease, within) = (self.lease_name(), self.config.timing.renew_deadline());
                return Err(LeaseError::Expired {
                    lease,
                    within,
                    last: last.to_string(),
                });
            }
        }
    }

    /// Looks at the lease as read after a conflict: whether it exists, or whose it is now.
    fn still_ours(&self, held: &mut Held, news: News) -> Result<bool, LeaseError> {
        match news {
            News::Found(lease) if record::same_term(&lease, &held.lease) => {
                held.lease = *lease;
                Ok(true)
            }
            News::Found(lease) => {
                let view = LeaseView::of(&lease, self.config.timing.duration());
                let holder = view.holder.unwrap_or_else(|| "nobody".to_owned());
                Err(LeaseError::Taken {
                    lease: self.lease_name(),
                    holder,
                })
            }
            News::Missing | News::Unread => Ok(false),
        }
    }

    /// Counts a renewal from when it was sent: others saw it later than that.
    fn renewed(&mut self, held: &mut Held, sent: Instant) {
        held.renewed_at = sent;
        held.term.valid_until = sent + self.config.timing.renew_deadline();
        self.complaint.clear();
        self.leadership.send_if_modified(|leadership| {
            if let Leadership::Leading(term) = leadership {
                term.valid_until = held.term.valid_until;
            }
            false
        });
    }

    /// When to try again after a failure: soon when we only had to read the lease again.
    fn pause_after(&self, failure: &Failure) -> Instant {
        let retry = self.config.timing.retry();
        self.clock.monotonic()
            + jittered(if matches!(failure, Failure::Stale) {
                retry / 10
            } else {
                retry
            })
    }

    /// Gives the lease up, or renews it once more, as the manner says. Failing that, the others wait it out.
    async fn leave(&mut self, mut held: Held) {
        let until = self.clock.monotonic() + self.config.timing.renew_interval();
        loop {
            let last = match self.config.manner {
                Manner::Candidate => record::released(held.lease.clone()),
                Manner::Takeover => {
                    record::renewed_at(held.lease.clone(), self.clock.now(), self.config.timing)
                }
            };
            let Err(failure) = self.store.write(last, true).await else {
                return;
            };
            if let (Failure::Stale, Ok(news)) = (&failure, self.store.read().await)
                && !matches!(self.still_ours(&mut held, news), Ok(true))
            {
                return;
            }
            let pause = self.pause_after(&failure);
            if pause >= until {
                tracing::warn!(lease = self.lease_name(), %failure, "the lease could not be given up; it runs out");
                return;
            }
            sleep_until(pause).await;
        }
    }

    /// Publishes who leads, when that changes.
    fn publish(&self, next: Leadership) {
        let changed = self.leadership.send_if_modified(|now| {
            let changed = now.term().is_some() != next.term().is_some();
            if changed {
                *now = next;
            }
            changed
        });
        if changed {
            let leading = self.leadership.borrow().term().is_some();
            self.metrics.leadership(leading, &self.config.identity);
        }
    }

    /// Logs a failed request, once while it stays the same. Losing a race is not worth a warning.
    fn complain(&mut self, failure: &Failure) {
        let (lease, error) = (self.lease_name(), failure.to_string());
        match failure {
            Failure::Stale => tracing::debug!(lease, error, "the lease was not written; looking again"),
            Failure::Other(_) if self.complaint == error => {}
            Failure::Other(_) => {
                tracing::warn!(lease, error, "writing the lease failed; trying again");
                self.complaint = error;
            }
        }
    }

    fn lease_name(&self) -> String {
        format!("{}/{}", self.config.namespace, self.config.name)
    }
}
