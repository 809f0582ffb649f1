//! The task that speaks to Slack: one call at a time, beside every reconcile, driven by its queue.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

use super::messages::{Ack, Delivery, Fate, Heard, Hold, Permission, Permit};
use super::queue::{Job, Next, Queue};
use super::thread::Call;
use super::{Posted, Slack, SlackError};

/// How long after a call that may not be made yet it is asked about again.
const SOON: Duration = Duration::from_secs(1);

/// Where deliveries are handed in. The sender ends when every clone is dropped; what it had not delivered by then is
/// what status still holds.
#[derive(Debug, Clone)]
pub struct SlackHandle {
    orders: UnboundedSender<Order>,
    waiting: Arc<AtomicUsize>,
}

impl SlackHandle {
    /// Hands in a delivery; never waits. What was handed in before is not sent twice. After the sender has ended,
    /// deliveries are dropped.
    pub fn submit(&self, delivery: Delivery) {
        // The queue itself is bounded by what status may hold of each BirdWatch.
        let _ = self.orders.send(Order::Deliver(delivery));
    }

    /// The `BirdWatch` of this key (`namespace/name`) is gone: what still waits for it is tried for ten minutes more.
    pub fn release(&self, key: String) {
        let _ = self.orders.send(Order::Release(key));
    }

    /// Others tell what is to be told under these keys from now on: what waits for them is dropped.
    pub fn withdraw(&self, of: impl Fn(&str) -> bool + Send + 'static) {
        let _ = self.orders.send(Order::Withdraw(Box::new(of)));
    }

    /// Items handed in that Slack has neither taken nor refused.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// What the task is told.
enum Order {
    Deliver(Delivery),
    Release(String),
    Withdraw(Box<dyn Fn(&str) -> bool + Send>),
}

/// Makes a sender: the handle, and the task to spawn. It makes the calls that `permit` permits, and sends what became of them
/// to `answers`, in the order of what happened.
pub fn sender(
    slack: Arc<dyn Slack>,
    permit: Permit,
    answers: UnboundedSender<Heard>,
) -> (SlackHandle, impl Future<Output = ()> + Send + 'static) {
    let (orders, incoming) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let task = Task {
        slack,
        permit,
        answers,
        waiting: Arc::clone(&waiting),
        queue: Queue::default(),
    };
    (SlackHandle { orders, waiting }, task.run(incoming))
}

type Ended = (Job, Hold, Result<Posted, SlackError>);

type InFlight = Pin<Box<dyn Future<Output = Ended> + Send>>;

struct Task {
    slack: Arc<dyn Slack>,
    permit: Permit,
    answers: UnboundedSender<Heard>,
    waiting: Arc<AtomicUsize>,
    queue: Queue,
}

impl Task {
    async fn run(mut self, mut incoming: UnboundedReceiver<Order>) {
        let mut in_flight: Option<InFlight> = None;
        loop {
            let mut wake = None;
            if in_flight.is_none() {
                match self.queue.next(Instant::now()) {
                    Next::Send(job) => match (self.permit)(job.key()) {
                        Permission::Granted(hold) => {
                            in_flight = Some(send(Arc::clone(&self.slack), job, hold));
                        }
                        Permission::Later => wake = Some(Instant::now() + SOON),
                        Permission::Denied => {
                            self.withdraw(|key| key == job.key());
                            continue;
                        }
                    },
                    Next::Wait(until) => wake = Some(until),
                    Next::Idle => {}
                }
            }
            tokio::select! {
                order = incoming.recv() => match order {
                    Some(Order::Deliver(delivery)) => self.take(delivery),
                    Some(Order::Release(key)) => self.queue.release(&key, Instant::now()),
                    Some(Order::Withdraw(of)) => self.withdraw(of),
                    None => break,
                },
                ended = pending_or(&mut in_flight) => {
                    in_flight = None;
                    self.finish(ended);
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
        // Cut off in the middle, a call may have been heard or not.
        if let Some(last) = in_flight {
            self.finish(last.await);
        }
    }

    fn take(&mut self, delivery: Delivery) {
        for ack in self.queue.submit(delivery, Instant::now()) {
            self.report(ack, None);
        }
        self.waiting.store(self.queue.waiting(), Ordering::Relaxed);
    }

    fn withdraw(&mut self, of: impl Fn(&str) -> bool) {
        self.queue.withdraw(of);
        self.waiting.store(self.queue.waiting(), Ordering::Relaxed);
    }

    fn finish(&mut self, (job, hold, result): Ended) {
        let ack = self.queue.finish(&job, result, Instant::now());
        self.waiting.store(self.queue.waiting(), Ordering::Relaxed);
        if let Some(ack) = ack {
            self.report(ack, Some(hold));
        }
    }

    fn report(&self, ack: Ack, hold: Option<Hold>) {
        let Ack {
            key, rollout, fate, ..
        } = &ack;
        match fate {
            Fate::Delivered { .. } => tracing::debug!(key, rollout, "Slack took a message"),
            Fate::Refused { why, .. } => tracing::warn!(key, rollout, why, "a message is lost"),
            Fate::Retrying { after, why } => {
                tracing::warn!(
                    key,
                    rollout,
                    why,
                    after_ms = after.as_millis(),
                    "Slack: another try follows"
                );
            }
        }
        // Nobody listens any more while the process ends.
        let _ = self.answers.send(Heard { ack, hold });
    }
}

fn send(slack: Arc<dyn Slack>, job: Job, hold: Hold) -> InFlight {
    Box::pin(async move {
        let result = match &job.call {
            Call::Post {
                channel,
                thread_ts,
                text,
            } => slack.post(channel, text, thread_ts.as_deref()).await,
            Call::Update { message, text } => slack.update(message, text).await.map(|()| message.clone()),
        };
        (job, hold, result)
    })
}

async fn pending_or(in_flight: &mut Option<InFlight>) -> Ended {
    match in_flight {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
