//! What an elector writes to its Lease: takes it, renews it, gives it up. All that is written there is written here, but for the
//! asking of `electors`.

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::elector::{Elector, LeaseError};
use super::record::{self, LeaseView, Step};
use super::store::{Failure, News, jittered};
use super::{Leadership, LeaseConfig, Manner, Term};

/// A lease that is ours.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) term: Term,
    /// When we may begin to act: at once, except after a takeover from one who may still be acting.
    pub(super) act_at: Instant,
    /// When to look again whether somebody acts who splits namespaces in another way.
    pub(super) look_at: Instant,
    pub(super) renewed_at: Instant,
    /// Who else asks for it.
    pub(super) asked_for_by: Option<String>,
}

impl Elector {
    /// Tries to take the lease as it was last seen. If the answer is lost the next try finds it to be ours.
    pub(super) async fn take(&mut self) -> Option<Held> {
        let LeaseConfig { identity, timing, .. } = self.config.clone();
        let (now, sent) = (self.clock.now(), self.clock.monotonic());
        let seen = self.seen.as_ref()?;
        let alive = matches!(self.step(), Step::Wait(_));
        let ousted = alive.then(|| seen.view.renew_deadline());
        let (previous, exists) = (seen.lease.clone(), seen.exists);
        let wanted = record::taken(previous, &identity, now, timing);
        match self.store.write(wanted, exists).await {
            Ok(lease) => {
                let term = Term {
                    since: now,
                    absences: record::absences(&lease),
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
                    look_at: sent,
                    renewed_at: sent,
                    asked_for_by: None,
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
    pub(super) async fn renew(&mut self, held: &mut Held) -> Result<(), LeaseError> {
        self.renew_as(held, |lease| lease).await
    }

    /// The same with a change.
    pub(super) async fn renew_as(
        &mut self,
        held: &mut Held,
        change: impl Fn(Lease) -> Lease,
    ) -> Result<(), LeaseError> {
        let deadline = held.term.valid_until;
        let mut exists = true;
        let mut last = Failure::Other("no answer".to_owned());
        loop {
            let sent = self.clock.monotonic();
            let wanted = change(held.lease.clone());
            let wanted = record::renewed_at(wanted, self.clock.now(), self.config.timing);
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
                held.asked_for_by = self.asked_by_another(&lease);
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

    /// Gives the lease up, or renews it once more, as the manner says; returns it as it is then. Failing that, the others wait it
    /// out.
    pub(super) async fn leave(&mut self, mut held: Held) -> Option<Lease> {
        let until = self.clock.monotonic() + self.config.timing.renew_interval();
        loop {
            let last = match self.config.manner {
                Manner::Candidate => record::released(held.lease.clone()),
                Manner::Takeover => {
                    record::renewed_at(held.lease.clone(), self.clock.now(), self.config.timing)
                }
            };
            let failure = match self.store.write(last, true).await {
                Ok(lease) => return Some(lease),
                Err(failure) => failure,
            };
            if let (Failure::Stale, Ok(news)) = (&failure, self.store.read().await)
                && !matches!(self.still_ours(&mut held, news), Ok(true))
            {
                return None;
            }
            let pause = self.pause_after(&failure);
            if pause >= until {
                tracing::warn!(lease = self.lease_name(), %failure, "the lease could not be given up; it runs out");
                return None;
            }
            sleep_until(pause).await;
        }
    }
}
