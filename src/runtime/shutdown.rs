//! The end of the process: signals, and the order in which its parts stop.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// What the signals asked for so far.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT: stop in order.
    pub stop: CancellationToken,
    /// Cancelled by the second: stop at once.
    pub abort: CancellationToken,
}

impl Signals {
    /// Listens for SIGTERM and SIGINT from now on, in the background.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub fn listen() -> io::Result<Self> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signals = Self::default();
        let Self { stop, abort } = signals.clone();
        tokio::spawn(async move {
            let name = either(&mut term, &mut int).await;
            tracing::info!(signal = name, "stopping in order");
            stop.cancel();
            let name = either(&mut term, &mut int).await;
            tracing::warn!(signal = name, "stopping at once");
            abort.cancel();
        });
        Ok(signals)
    }
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

/// Why the process did not stop in order. What was still to come (giving the lease up, for one) is not done: it
/// would not be safe while an earlier part still runs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShutdownError {
    /// A part was still running at the deadline.
    #[error("{part} did not stop within {within:?}")]
    Late {
        /// The part.
        part: &'static str,
        /// The time that all parts had together.
        within: Duration,
    },
    /// A second signal came.
    #[error("stopped at once by a second signal, while waiting for {part}")]
    Aborted {
        /// The part that was waited for.
        part: &'static str,
    },
}

type Ended<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The parts of the process in the order in which they stop. A part is told to stop when the one before has ended.
#[derive(Default)]
pub struct Sequence<'a> {
    parts: Vec<(&'static str, CancellationToken, Ended<'a>)>,
}

impl<'a> Sequence<'a> {
    /// No parts yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the part to stop next: told so by `stop`, and gone when `ended` ends.
    #[must_use]
    pub fn then(
        mut self,
        part: &'static str,
        stop: CancellationToken,
        ended: impl Future<Output = ()> + Send + 'a,
    ) -> Self {
        self.parts.push((part, stop, Box::pin(ended)));
        self
    }

    /// Stops all parts, in order, within `limit` for all of them together, unless `abort` comes first.
    ///
    /// # Errors
    /// [`ShutdownError`]; then the process should exit without waiting for anything more.
    pub async fn run(self, limit: Duration, abort: &CancellationToken) -> Result<(), ShutdownError> {
        let deadline = Instant::now() + limit;
        for (part, stop, ended) in self.parts {
            stop.cancel();
            tracing::debug!(part, "stopping");
            tokio::select! {
                biased;
                () = abort.cancelled() => return Err(ShutdownError::Aborted { part }),
                done = timeout_at(deadline, ended) => {
                    done.map_err(|_| ShutdownError::Late { part, within: limit })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::time::sleep;

    type Log = Arc<Mutex<Vec<String>>>;

    /// A part that takes `millis` to stop once it is told to, and notes both.
    fn part(
        log: &Log,
        name: &'static str,
        millis: u64,
    ) -> (CancellationToken, impl Future<Output = ()> + use<>) {
        let (stop, log) = (CancellationToken::new(), log.clone());
        let told = stop.clone();
        let task = tokio::spawn(async move {
            told.cancelled().await;
            log.lock().unwrap().push(format!("{name} told"));
            sleep(Duration::from_millis(millis)).await;
            log.lock().unwrap().push(format!("{name} ended"));
        });
        (stop, async move { task.await.unwrap() })
    }

    fn sequence(log: &Log, parts: &[(&'static str, u64)]) -> Sequence<'static> {
        parts.iter().fold(Sequence::new(), |sequence, &(name, millis)| {
            let (stop, ended) = part(log, name, millis);
            sequence.then(name, stop, ended)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_is_told_only_when_the_one_before_has_ended() {
        let log = Log::default();
        let parts = sequence(&log, &[("reconciles", 300), ("lease", 100), ("admin", 0)]);
        parts
            .run(Duration::from_secs(1), &CancellationToken::new())
            .await
            .unwrap();
        let expected = [
            "reconciles told",
            "reconciles ended",
            "lease told",
            "lease ended",
            "admin told",
            "admin ended",
        ];
        assert_eq!(*log.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_named_and_the_lease_is_not_given_up_behind_its_back() {
        let log = Log::default();
        let parts = sequence(&log, &[("reconciles", 60_000), ("lease", 100)]);
        let limit = Duration::from_secs(1);
        let error = parts.run(limit, &CancellationToken::new()).await.unwrap_err();
        assert_eq!(
            error,
            ShutdownError::Late {
                part: "reconciles",
                within: limit
            }
        );
        assert_eq!(*log.lock().unwrap(), ["reconciles told"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_the_waiting() {
        let (log, abort) = (Log::default(), CancellationToken::new());
        let parts = sequence(&log, &[("reconciles", 5_000), ("lease", 100)]);
        let signal = abort.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(10)).await;
            signal.cancel();
        });
        let begun = Instant::now();
        let error = parts.run(Duration::from_secs(30), &abort).await.unwrap_err();
        assert_eq!(error, ShutdownError::Aborted { part: "reconciles" });
        assert_eq!(begun.elapsed(), Duration::from_millis(10));
    }

    #[tokio::test]
    async fn the_first_signal_asks_for_order_and_the_second_for_haste() {
        let signals = Signals::listen().unwrap();
        let me = std::process::id().to_string();
        let send = |name: &str| {
            assert!(
                std::process::Command::new("kill")
                    .args([name, &me])
                    .status()
                    .unwrap()
                    .success()
            );
        };
        send("-TERM");
        timeout_at(Instant::now() + Duration::from_secs(10), signals.stop.cancelled())
            .await
            .unwrap();
        assert!(!signals.abort.is_cancelled());
        send("-INT");
        timeout_at(
            Instant::now() + Duration::from_secs(10),
            signals.abort.cancelled(),
        )
        .await
        .unwrap();
    }
}
