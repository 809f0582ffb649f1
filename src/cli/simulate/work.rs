//! Rollouts on every core, and a line that says how far it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::cli::progress::Progress;
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
        let mut progress = Progress::new("simulating", jobs.len());
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

pub(in crate::cli) fn take<T: Copy>(jobs: &[T], next: &AtomicU64) -> Option<(usize, T)> {
    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
    Some((index, *jobs.get(index)?))
}
