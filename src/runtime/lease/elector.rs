//! One shard's lease: when to take it, to lead, and to give it up. What it writes is in `writes`.

use super::board::{Board, Post};
use super::record::{self, Step};
use super::seat::{LAST_WORD, Work};
use super::seen::Seen;
use super::store::{Failure, News, Store, jittered};
use super::writes::Held;
use super::{Leadership, LeaseConfig, Manner, Shard};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use k8s_openapi::api::coordination::v1::Lease;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
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

/// Holds the lease of a shard for this process.
#[derive(Debug)]
pub(super) struct Elector {
    pub(super) store: Store,
    pub(super) config: LeaseConfig,
    shard: Shard,
    board: Board,
    work: Work,
    pub(super) clock: Clock,
    metrics: Metrics,
    pub(super) leadership: watch::Sender<Leadership>,
    /// The lease as last seen.
    pub(super) seen: Option<Seen>,
    /// Until when another holder that was seen may act.
    pub(super) rival_until: Option<Instant>,
    /// What was last complained of, so that an outage is told once.
    pub(super) complaint: String,
}

/// Why a lease was given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The process ends.
    Stop,
    /// Another replica asked for it.
    AskedFor,
}

impl Elector {
    pub(super) fn new(
        (store, config): (Store, LeaseConfig),
        (shard, board): (Shard, Board),
        work: Work,
        (clock, metrics): (Clock, Metrics),
        leadership: watch::Sender<Leadership>,
    ) -> Self {
        Self {
            store,
            config,
            shard,
            board,
            work,
            clock,
            metrics,
            leadership,
            seen: None,
            rival_until: None,
            complaint: String::new(),
        }
    }

    /// Waits for the lease, then leads until `stop`, until another replica asks for it (then it waits again), or until leadership
    /// is lost. Failures of the API server are waited out while standing by. On `stop` it gives the lease up as [`Manner`]
    /// says.
    ///
    /// # Errors
    /// [`LeaseError`] when leadership was lost. `Standby` is published before this returns.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), LeaseError> {
        let (sender, mut news) = watch::channel(News::Unread);
        let _follower = AbortOnDropHandle::new(tokio::spawn(self.store.clone().follow(sender)));
        loop {
            let mut held = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                held = self.stand_by(&mut news) => held,
            };
            let end = self.lead(&mut held, &mut news, &stop).await;
            // At the end of the process it was waited for already, while reconciles could still note it.
            if end.is_ok() && self.work.may_tell() {
                let limit = self.config.timing.call_timeout();
                self.work.told(limit.min(LAST_WORD)).await;
            }
            self.publish(Leadership::Standby);
            let end = end?;
            self.give_up(held).await;
            if end == End::Stop {
                return Ok(());
            }
            self.work.tell_again();
        }
    }

    /// Gives the lease up once nobody is at work any more. Where one who was ousted may still act it runs out instead: whoever
    /// takes it then waits for that one.
    async fn give_up(&mut self, held: Held) {
        let work = self.work.clone();
        let _nobody_at_work = work.ended().await;
        let is_ours_alone = self.clock.monotonic() >= held.act_at || self.config.manner == Manner::Takeover;
        if is_ours_alone && let Some(lease) = self.leave(held).await {
            self.see(News::Found(Box::new(lease)));
        }
    }

    /// Waits until the lease is ours.
    async fn stand_by(&mut self, news: &mut watch::Receiver<News>) -> Held {
        let (mut posts, board) = (self.board.posts(), self.board.clone());
        loop {
            let now = self.clock.monotonic();
            posts.mark_unchanged();
            let until = match self.step() {
                _ if self.seen.is_none() => now + self.config.timing.duration(),
                Step::Wait(left) if self.config.manner == Manner::Candidate => now + left,
                Step::Wait(_) | Step::Acquire | Step::Renew => {
                    let _taking = board.taking().await;
                    match self.others_turn().filter(|until| *until > now) {
                        Some(until) => until,
                        None => match self.take().await {
                            Some(held) => return held,
                            None => self.clock.monotonic() + jittered(self.config.timing.retry()),
                        },
                    }
                }
            };
            tokio::select! {
                Ok(()) = news.changed() => {
                    let latest = news.borrow_and_update().clone();
                    self.see(latest);
                }
                Ok(()) = posts.changed() => {}
                () = board.settled.cancelled(), if !board.settled.is_cancelled() => {}
                // Where the follower is gone the lease is still tried when it is due.
                () = sleep_until(until) => self.note_seen(),
            }
        }
    }

    /// Until when others come before us where the lease is free: those whose turn it is, and all, as long as we could not act.
    fn others_turn(&self) -> Option<Instant> {
        let identity = &self.config.identity;
        let seen = self.seen.as_ref()?;
        let is_free = matches!(self.step(), Step::Acquire) && self.config.manner == Manner::Candidate;
        let before = self.config.timing.turn() * self.board.turn(self.shard, identity);
        let unsettled = if self.board.settled.is_cancelled() {
            Duration::ZERO
        } else {
            self.config.timing.renew_interval()
        };
        is_free.then(|| seen.free_since() + before + unsettled)
    }

    /// Renews until the lease is to be given up, or is lost.
    async fn lead(
        &mut self,
        held: &mut Held,
        news: &mut watch::Receiver<News>,
        stop: &CancellationToken,
    ) -> Result<End, LeaseError> {
        self.note_held(held);
        loop {
            let acting = self.leadership.borrow().term().is_some();
            if acting && held.asked_for_by.is_some() && self.config.manner == Manner::Candidate {
                let (lease, by) = (self.lease_name(), held.asked_for_by.as_deref());
                tracing::info!(lease, by, "another replica asked for this lease: it is given up");
                return Ok(End::AskedFor);
            }
            let due = held.renewed_at + self.config.timing.renew_interval();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(End::Stop),
                () = sleep_until(held.act_at.max(held.look_at)), if !acting => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Ok(End::Stop),
                        may_act = self.may_act(held) => if may_act? {
                            self.publish(Leadership::Leading(held.term.clone()));
                        } else {
                            held.look_at = self.clock.monotonic() + jittered(self.config.timing.retry());
                        },
                    }
                    continue;
                }
                () = sleep_until(due) => {}
                Ok(()) = news.changed() => {
                    if let News::Found(lease) = &*news.borrow_and_update()
                        && record::same_term(lease, &held.lease)
                    {
                        held.asked_for_by = self.asked_by_another(lease);
                        continue;
                    }
                    // Missing or another's: news may be old, so the renewal, a compare-and-swap, settles it.
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(End::Stop),
                renewed = self.renew(held) => renewed?,
            }
        }
    }

    /// Whether nobody acts who splits namespaces in another way. We say that we act before we look; where another one does,
    /// too, we say that we wait.
    async fn may_act(&mut self, held: &mut Held) -> Result<bool, LeaseError> {
        if !record::acts(&held.lease) {
            if self.another_acts().await {
                return Ok(false);
            }
            let now = self.clock.now();
            self.renew_as(held, |lease| record::acting(lease, now)).await?;
        }
        if self.another_acts().await {
            self.renew_as(held, record::waiting).await?;
            return Ok(false);
        }
        self.count_former_terms(held).await?;
        Ok(true)
    }

    /// Takes out of the absences the time in which those acted who split namespaces in another way.
    async fn count_former_terms(&mut self, held: &mut Held) -> Result<(), LeaseError> {
        let LeaseConfig {
            name, shards, timing, ..
        } = &self.config;
        // Where a holder was silent for a whole lease, no clock that is this little ahead hides it for longer than that.
        let now = (self.clock.now(), timing.duration());
        let (what, others) = {
            let others = self.board.others();
            let absences = others.absences(name, (*shards, self.shard), now);
            (others.fingerprint(), absences)
        };
        if !others.is_empty() && record::counted(&held.lease) != Some(what.as_str()) {
            self.renew_as(held, |lease| record::narrowed(lease, &others, &what))
                .await?;
        }
        held.term.absences = record::absences(&held.lease);
        Ok(())
    }

    /// Whether somebody acts, or may act, who splits namespaces in another way.
    async fn another_acts(&mut self) -> bool {
        let (duration, now) = (self.config.timing.duration(), self.clock.monotonic());
        let leases = match self.store.of_other_splits(&self.config).await {
            Ok(leases) => leases,
            Err(failure) => {
                self.complain(&failure);
                return true;
            }
        };
        let found = {
            let mut others = self.board.others();
            others.see(leases, duration, now);
            others.acting(duration, now).map(str::to_owned)
        };
        if let Some(other) = &found {
            let (lease, waiting) = (self.lease_name(), format!("for {other}"));
            if self.complaint != waiting {
                tracing::info!(
                    lease,
                    other,
                    "waiting: a replica with another number of shards acts"
                );
                self.complaint = waiting;
            }
        }
        found.is_some()
    }

    /// Who else asks for the lease.
    pub(super) fn asked_by_another(&self, lease: &Lease) -> Option<String> {
        record::asked_for_by(lease).filter(|by| *by != self.config.identity)
    }

    /// Notes what was seen.
    pub(super) fn see(&mut self, news: News) {
        let (ours, now) = (self.config.timing.duration(), self.clock.monotonic());
        self.seen = Seen::after(self.seen.take(), news, ours, now);
        if let Some(seen) = &self.seen {
            self.rival_until = if seen.view.is_released {
                None
            } else {
                seen.rival_until(&self.config.identity).or(self.rival_until)
            };
        }
        self.note_seen();
    }

    fn note_seen(&self) {
        if let Some(seen) = &self.seen {
            let post = seen.post(&self.config.identity, self.clock.monotonic());
            self.board.note(self.shard, post);
        }
    }

    fn note_held(&self, held: &Held) {
        let post = Post {
            holder: Some(self.config.identity.clone()),
            since: record::acquired(&held.lease),
            asked_for_by: held.asked_for_by.clone(),
        };
        self.board.note(self.shard, post);
    }

    /// What the lease as last seen asks of us, were we to take it only when it is free.
    pub(super) fn step(&self) -> Step {
        let wait = Step::Wait(self.config.timing.duration());
        let seen = self.seen.as_ref();
        seen.map_or(wait, |seen| {
            seen.step(&self.config.identity, self.clock.monotonic())
        })
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
            self.metrics
                .leadership(leading, &self.lease_name(), &self.config.identity);
        }
    }

    /// Logs a failed request, once while it stays the same. Losing a race is not worth a warning.
    pub(super) fn complain(&mut self, failure: &Failure) {
        let (lease, error) = (self.lease_name(), failure.to_string());
        match failure {
            Failure::Stale => tracing::debug!(lease, error, "the lease was not written; looking again"),
            Failure::Other(_) if self.complaint == error => {}
            Failure::Other(_) => {
                tracing::warn!(lease, error, "a request about the lease failed; trying again");
                self.complaint = error;
            }
        }
    }

    pub(super) fn lease_name(&self) -> String {
        format!("{}/{}", self.config.namespace, self.store.name)
    }
}
