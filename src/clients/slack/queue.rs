//! What waits to be said: threads in order, the urgent ones first, the parent's text merged into the latest, each
//! notice once. Pure: the time is passed in, and nothing is sent here.

use std::collections::HashMap;

use tokio::time::Instant;

use super::messages::{Ack, Acked, Delivery};
use super::pace::Pace;
use super::thread::{Call, Candidate, ThreadState};
use super::{Posted, SlackError};

/// Threads with nothing to send that are remembered, so that a notice submitted again is not sent again.
const IDLE_THREADS: usize = 2_000;

/// A call to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    id: ThreadId,
    what: Acked,
    /// What to send.
    pub call: Call,
}

impl Job {
    /// Whose it is.
    pub(super) fn key(&self) -> &str {
        &self.id.0
    }
}

/// What the sender should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make this call, then report its end to [`Queue::finish`].
    Send(Job),
    /// Nothing may be sent before this moment.
    Wait(Instant),
    /// Nothing is queued.
    Idle,
}

/// `BirdWatch` and rollout.
type ThreadId = (String, String);

/// Everything that waits.
#[derive(Default)]
pub struct Queue {
    threads: HashMap<ThreadId, ThreadState>,
    pace: Pace,
    turns: u64,
}

impl Queue {
    /// Items not yet delivered or refused.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.threads.values().map(ThreadState::waiting).sum()
    }

    /// Takes a delivery. The acks are those of items that were delivered before and came again.
    pub fn submit(&mut self, delivery: Delivery, now: Instant) -> Vec<Ack> {
        let Delivery { key, rollout, items } = delivery;
        let mut again = Vec::new();
        if let Some(thread) = self.threads.get_mut(&(key.clone(), rollout.clone())) {
            thread.keep(&items);
        }
        for item in items {
            self.turns += 1;
            let thread = self.threads.entry((key.clone(), rollout.clone())).or_default();
            if let Some((what, fate)) = thread.take(item, self.turns, now) {
                again.push(Ack {
                    key: key.clone(),
                    rollout: rollout.clone(),
                    what,
                    fate,
                });
            }
        }
        self.forget_idle();
        again
    }

    /// The `BirdWatch` of this key is gone: what still waits for it is tried for a while, and nobody mends it any more.
    pub fn release(&mut self, key: &str, now: Instant) {
        for (_, thread) in self.threads.iter_mut().filter(|((of, _), _)| of == key) {
            thread.release(now);
        }
    }

    /// Forgets the threads of these keys. A call under way is made, and its end is nobody's any more.
    pub fn withdraw(&mut self, of: impl Fn(&str) -> bool) {
        self.threads.retain(|(key, _), _| !of(key));
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        let mut first: Option<(&ThreadId, Candidate)> = None;
        let mut soonest: Option<Instant> = None;
        for (id, thread) in &self.threads {
            let Some(candidate) = thread.next(now) else {
                continue;
            };
            let (channel, method) = candidate.call.target();
            let at = self
                .pace
                .ready_at(channel, method, now)
                .max(thread.not_before().unwrap_or(now));
            if at > now {
                soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
            } else if first
                .as_ref()
                .is_none_or(|(_, best)| candidate.order() < best.order())
            {
                first = Some((id, candidate));
            }
        }
        match (first, soonest) {
            (Some((id, Candidate { what, call, .. })), _) => Next::Send(Job {
                id: id.clone(),
                what,
                call,
            }),
            (None, Some(at)) => Next::Wait(at),
            (None, None) => Next::Idle,
        }
    }

    /// Learns how a call ended. One ack, unless the item goes on at once in another way.
    pub fn finish(&mut self, job: &Job, result: Result<Posted, SlackError>, now: Instant) -> Option<Ack> {
        let (channel, method) = job.call.target();
        self.pace.sent(channel, method, now);
        if let Ok(posted) = &result {
            self.pace.learn(channel, &posted.channel_id);
        }
        if let Err(SlackError::RateLimited { after }) = &result {
            self.pace.silence(now + *after);
        }
        let fate = self
            .threads
            .get_mut(&job.id)?
            .end(&job.what, &job.call, result, now)?;
        let (key, rollout) = job.id.clone();
        Some(Ack {
            key,
            rollout,
            what: job.what.clone(),
            fate,
        })
    }

    /// Memory is bounded: the idle threads touched longest ago are forgotten.
    fn forget_idle(&mut self) {
        if self.threads.len() <= IDLE_THREADS * 2 {
            return;
        }
        let mut idle: Vec<u64> = self
            .threads
            .values()
            .filter_map(ThreadState::idle_since)
            .collect();
        idle.sort_unstable();
        let Some(oldest_kept) = idle
            .len()
            .checked_sub(IDLE_THREADS)
            .and_then(|i| idle.get(i).copied())
        else {
            return;
        };
        self.threads
            .retain(|_, thread| thread.idle_since().is_none_or(|since| since >= oldest_kept));
    }
}

#[cfg(test)]
mod tests;
