//! Rollouts on every core, and a line that says how far it is.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::clock::Clock;
use crate::simulate::{Cell, Outcome, Setup, SetupError};

/// Rollouts that are drawn from one beginning. The result depends on it, never on the number of threads.
const CHUNK: u32 = 50;

/// Rollouts of every canary, summed up; the same for the same seed.
///
/// # Errors
/// A share that is none.
pub(super) fn simulate(setup: &Setup, shares: &[f64], runs: u32, seed: u64) -> Result<Vec<Cell>, SetupError> {
    let chunks = u64::from(runs.div_ceil(CHUNK));
    let jobs: Vec<(f64, u64)> = shares
        .iter()
        .flat_map(|share| (0..chunks).map(|c| (*share, c)))
        .collect();
    let next = AtomicU64::new(0);
    let done = std::thread::scope(|scope| {
        let (results, receive) = mpsc::channel();
        for _ in 0..std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(jobs.len())
        {
            let (results, jobs, next) = (results.clone(), &jobs, &next);
            scope.spawn(move || {
                while let Some((index, (share, chunk))) = take(jobs, next) {
                    let before = u32::try_from(chunk).unwrap_or(u32::MAX).saturating_mul(CHUNK);
                    let found = setup.rollouts(share, CHUNK.min(runs - before), seed, chunk);
                    if results.send((index, found)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut progress = Progress::new(jobs.len());
        let mut done: Vec<Option<Result<Vec<Outcome>, SetupError>>> = vec![None; jobs.len()];
        for (index, found) in receive {
            if let Some(place) = done.get_mut(index) {
                *place = Some(found);
            }
            progress.step();
        }
        progress.end();
        done
    });
    let mut outcomes = done.into_iter().flatten();
    shares
        .iter()
        .map(|share| {
            let mut all = Vec::new();
            for found in outcomes
                .by_ref()
                .take(usize::try_from(chunks).unwrap_or(usize::MAX))
            {
                all.extend(found?);
            }
            Cell::new(setup, *share, &all)
        })
        .collect()
}

fn take<T: Copy>(jobs: &[T], next: &AtomicU64) -> Option<(usize, T)> {
    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
    Some((index, *jobs.get(index)?))
}

/// A line on standard error, for whoever waits: after three seconds, then every second on a terminal (in place) and
/// every ten elsewhere.
struct Progress {
    all: usize,
    done: usize,
    clock: Clock,
    start: Instant,
    next: Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        let clock = Clock::real();
        let start = clock.monotonic();
        Self {
            all,
            done: 0,
            clock,
            start,
            next: start + Duration::from_secs(3),
            terminal: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    fn step(&mut self) {
        self.done += 1;
        let now = self.clock.monotonic();
        if now < self.next || self.done == self.all {
            return;
        }
        self.shown = true;
        self.next = now + Duration::from_secs(if self.terminal { 1 } else { 10 });
        let line = line(self.done, self.all, now.duration_since(self.start));
        let (before, after) = if self.terminal { ("\r", "") } else { ("", "\n") };
        // Who cannot be told is not told.
        let _ = write!(std::io::stderr(), "{before}{line}{after}");
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.shown && self.terminal {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}

fn line(done: usize, all: usize, since: Duration) -> String {
    let left = all.saturating_sub(done);
    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs")]
    let seconds = since.as_secs_f64() * left as f64 / done.max(1) as f64;
    let percent = done * 100 / all.max(1);
    format!("simulating: {percent:>3} %, about {seconds:.0} s left  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_from_what_it_took() {
        assert_eq!(
            line(25, 100, Duration::from_secs(10)).trim_end(),
            "simulating:  25 %, about 30 s left"
        );
        assert!(line(0, 0, Duration::ZERO).contains("0 s left"));
    }
}
