//! Replays on every core.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc;

use crate::backtest::history::History;
use crate::backtest::policy::Policy;
use crate::backtest::replay;
use crate::backtest::search::Job;
use crate::backtest::summary::Cell;
use crate::backtest::trial::{Canary, Outcome, Trial, longest, starts};
use crate::cli::progress::Progress;
use crate::cli::simulate::work::take;

/// The outcomes of the jobs in their order; the same whatever the number of threads.
pub(super) fn run(what: &str, history: &History, jobs: &[Job<'_>]) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let indices: Vec<usize> = (0..jobs.len()).collect();
    let indices = &indices;
    let done = std::thread::scope(|scope| {
        let (results, receive) = mpsc::channel();
        for _ in 0..threads.min(jobs.len()) {
            let (results, next) = (results.clone(), &next);
            scope.spawn(move || {
                while let Some((_, index)) = take(indices, next) {
                    let Some(job) = jobs.get(index) else { return };
                    let found = replay(job.policy, history, &job.trial);
                    if results.send((index, found)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut progress = Progress::new(what, jobs.len());
        let mut done: Vec<Option<Outcome>> = vec![None; jobs.len()];
        for (index, found) in receive {
            if let Some(place) = done.get_mut(index) {
                *place = Some(found);
            }
            progress.step();
        }
        progress.end();
        done
    });
    done.into_iter().flatten().collect()
}

/// A policy tried healthy and with every fault, from the same starts.
pub(super) fn try_policy(
    policy: &Policy,
    history: &History,
    faults: &[f64],
    (count, seed, canary): (u32, u64, Canary),
) -> Vec<Cell> {
    let length = longest(policy, history);
    let starts = starts(history, length, count, seed);
    let all: Vec<f64> = std::iter::once(0.0).chain(faults.iter().copied()).collect();
    let mut jobs = Vec::new();
    for fault in &all {
        for (number, start) in (0_u32..).zip(&starts) {
            let trial = Trial {
                number,
                start: *start,
                fault: *fault,
                canary,
                length,
                seed,
            };
            jobs.push(Job { policy, trial });
        }
    }
    let outcomes = run(&format!("replaying {}", policy.name), history, &jobs);
    all.iter()
        .zip(outcomes.chunks(starts.len().max(1)))
        .map(|(fault, outcomes)| Cell::new(*fault, policy.plan.steps.len(), outcomes))
        .collect()
}
