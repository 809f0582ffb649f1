//! A small search for a better policy within bounds: a coarse grid, tried on few starts first and on more the fewer are left.
//! It follows from its seed, and never takes a policy that rolls back more healthy versions than the budget allows.

use crate::api::Span;
use crate::api::plan::StepPlan;
use crate::simulate::Share;

use super::history::History;
use super::policy::Policy;
use super::trial::{Canary, End, Millis as _, Outcome, Trial, longest, starts};

/// Faults that a policy is judged by.
const FAULTS: [f64; 2] = [0.01, 0.05];
/// Starts of the first round; three times as many in each that follows.
const FIRST_STARTS: u32 = 4;
/// One policy of so many is kept after each round.
const KEEP: usize = 3;
/// Starts of the last round at most.
const LAST_STARTS: u32 = 40;
/// As many are left when the last round has chosen.
const FINALISTS: usize = 3;
/// How long people live with a fault that was not found, in seconds of the whole traffic.
const UNFOUND: f64 = 3600.0;

/// Within which a policy is looked for, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Of the first metric with a deviation, in its own unit or percent; the others move in proportion. None: half to twice
    /// of what the file says.
    pub deviation: Option<(f64, f64)>,
    /// How long each step is held.
    pub hold: (Span, Span),
    /// The first step's weight, percent.
    pub first_weight: (u8, u8),
    /// How many steps, the one of 100 % among them.
    pub steps: (u8, u8),
}

/// A rollout of one policy.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The rollout.
    pub trial: Trial,
}

/// Replays jobs, in whatever order, and gives their outcomes in the order of the jobs; the text says what for.
pub type Run<'a> = &'a dyn Fn(&str, &[Job<'_>]) -> Vec<Outcome>;

/// What every rollout of a search has in common.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// Starts to try the finalists on.
    pub starts: u32,
    /// Where random numbers begin; another than that of the rollouts which then measure what was found ([`search_seed`]).
    pub seed: u64,
    /// Who plays the canary.
    pub canary: Canary,
}

/// The seed of a search whose result is measured with `seed`: what was best on some dice is not measured with the same.
#[must_use]
pub const fn search_seed(seed: u64) -> u64 {
    // The golden ratio's digits, as good as any.
    seed ^ 0x9e37_79b9_7f4a_7c15
}

/// How a policy did.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score {
    /// Healthy versions that were rolled back or ended, and all of them.
    alarms: (u32, u32),
    /// Most healthy versions never come to an end.
    stands: bool,
    /// Mean time for which a faulty version had all traffic or as much of it, seconds.
    exposure: f64,
    /// How long the rollout takes, seconds.
    length: f64,
}

/// The best policy within the bounds, the file's own among them; none where every one is over the budget.
#[must_use]
pub fn best(file: &Policy, history: &History, bounds: &Bounds, tries: Tries, run: Run<'_>) -> Option<Policy> {
    let mut left = candidates(file, bounds);
    let room = history
        .until
        .duration_since(history.from)
        .as_millis_i64()
        .saturating_div(2);
    left.retain(|policy| longest(policy, history) < room);
    let mut count = FIRST_STARTS.min(tries.starts);
    while left.len() > FINALISTS {
        let scored = scored(&left, history, tries, count, run);
        let most = (left.len() / KEEP).max(FINALISTS);
        let chosen = chosen(scored, file.budget(), most);
        left = chosen.into_iter().filter_map(|i| left.get(i).cloned()).collect();
        count = (count * 3).min(LAST_STARTS).min(tries.starts);
    }
    let scored = scored(&left, history, tries, LAST_STARTS.min(tries.starts), run);
    let within = |score: &Score| f64::from(score.alarms.0) <= file.budget() * f64::from(score.alarms.1);
    let allowed = scored.into_iter().filter(|(score, _)| within(score)).collect();
    let index = chosen(allowed, file.budget(), 1).into_iter().next()?;
    left.into_iter().nth(index)
}

/// Those that are not proven to be over the budget come first; among them less exposure, then less time.
fn chosen(mut scored: Vec<(Score, usize)>, budget: f64, most: usize) -> Vec<usize> {
    let over = |score: &Score| {
        let (alarms, all) = score.alarms;
        if Share::of(alarms, all).low > budget {
            alarms
        } else {
            0
        }
    };
    scored.sort_by(|(a, i), (b, j)| {
        let by_alarms = over(a).cmp(&over(b));
        let by_exposure = a.stands.cmp(&b.stands).then(a.exposure.total_cmp(&b.exposure));
        by_alarms
            .then(by_exposure)
            .then(a.length.total_cmp(&b.length))
            .then(i.cmp(j))
    });
    scored.into_iter().take(most).map(|(_, index)| index).collect()
}

fn scored(
    policies: &[Policy],
    history: &History,
    tries: Tries,
    count: u32,
    run: Run<'_>,
) -> Vec<(Score, usize)> {
    let Tries { seed, canary, .. } = tries;
    let lengths: Vec<i64> = policies.iter().map(|policy| longest(policy, history)).collect();
    let starts = starts(history, lengths.iter().copied().max().unwrap_or(0), count, seed);
    let mut jobs = Vec::new();
    for (policy, length) in policies.iter().zip(lengths) {
        for fault in std::iter::once(0.0).chain(FAULTS) {
            for (number, start) in (0_u32..).zip(&starts) {
                let trial = Trial {
                    number,
                    start: *start,
                    fault,
                    canary,
                    length,
                    seed,
                };
                jobs.push(Job { policy, trial });
            }
        }
    }
    let text = format!("searching among {} policies", policies.len());
    let outcomes = run(&text, &jobs);
    let each = starts.len() * (1 + FAULTS.len());
    outcomes
        .chunks(each.max(1))
        .zip(policies)
        .enumerate()
        .map(|(index, (outcomes, policy))| {
            let (healthy, ill) = outcomes.split_at(starts.len().min(outcomes.len()));
            (score(policy, history, healthy, ill), index)
        })
        .collect()
}

fn score(policy: &Policy, history: &History, healthy: &[Outcome], ill: &[Outcome]) -> Score {
    // What does not begin says nothing of a policy.
    let healthy: Vec<&Outcome> = healthy.iter().filter(|o| o.began).collect();
    let ill: Vec<&Outcome> = ill.iter().filter(|o| o.began).collect();
    let of = |end: End| healthy.iter().filter(|o| o.end == end).count();
    let alarms = of(End::Caught) + of(End::Blind);
    let rate = history.requests().map_or(0.0, |counters| {
        counters.total().requests / history.seconds().max(1.0)
    });
    let exposed = |outcome: &Outcome| {
        let until = if rate > 0.0 {
            outcome.requests / rate
        } else {
            outcome.seconds
        };
        match outcome.end {
            End::Caught | End::Blind => until,
            End::Passed | End::GaveUp => until + UNFOUND,
        }
    };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Score {
        alarms: (count(alarms), count(healthy.len())),
        stands: 2 * of(End::GaveUp) > healthy.len(),
        exposure: ill.iter().copied().map(exposed).sum::<f64>() / f64::from(count(ill.len()).max(1)),
        length: policy.length().as_secs_f64(),
    }
}

/// The file's own policy, and the grid.
fn candidates(file: &Policy, bounds: &Bounds) -> Vec<Policy> {
    let factors = match (file.deviation(), bounds.deviation) {
        (Some(_), None) => vec![0.5, 1.0, 2.0],
        (Some((amount, _)), Some((low, high))) if amount > 0.0 => {
            spread(low, high).map(|deviation| deviation / amount).to_vec()
        }
        (None, _) | (Some(_), Some(_)) => vec![1.0],
    };
    let between = |(low, high): (u8, u8)| {
        let mut found: Vec<u8> = spread(f64::from(low), f64::from(high)).map(whole).to_vec();
        found.dedup();
        found
    };
    let mut holds: Vec<Span> = spread(bounds.hold.0.as_secs_f64(), bounds.hold.1.as_secs_f64())
        .map(seconds)
        .to_vec();
    holds.dedup();
    let mut all = vec![Policy {
        name: "best",
        ..file.clone()
    }];
    for factor in factors {
        for hold in &holds {
            for first in between(bounds.first_weight) {
                for count in between(bounds.steps) {
                    let steps = steps(first, count, *hold, file.plan.max_weight);
                    all.extend(file.with("best", &steps, factor));
                }
            }
        }
    }
    all.dedup_by(|a, b| a.plan == b.plan);
    all
}

/// Both ends, and what is between them in proportion.
fn spread(low: f64, high: f64) -> [f64; 3] {
    [low, (low * high).max(0.0).sqrt(), high]
}

fn whole(number: f64) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "brought in range"
    )]
    let whole = number.round().clamp(1.0, 100.0) as u8;
    whole
}

/// A span of whole seconds.
fn seconds(number: f64) -> Span {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most a month; `as` saturates"
    )]
    let whole = number.round() as u32;
    Span::secs(whole)
}

/// Weights that rise in proportion from the first to 100 %, or to the most that is allowed, each once.
pub(super) fn steps(first: u8, count: u8, hold: Span, most: Option<u8>) -> Vec<StepPlan> {
    let most = f64::from(most.unwrap_or(100));
    let first = f64::from(first.max(1)).min(most);
    let last = f64::from(count.saturating_sub(1).max(1));
    let weights = (0..count.max(1)).map(|i| whole(first * (most / first).powf(f64::from(i) / last)));
    let mut steps: Vec<StepPlan> = weights.map(|weight| StepPlan { weight, hold }).collect();
    steps.dedup_by(|a, b| a.weight == b.weight);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_rise_from_the_first_to_all() {
        let of = |first, count| {
            let steps = steps(first, count, Span::secs(60), None);
            steps.iter().map(|step| step.weight).collect::<Vec<_>>()
        };
        assert_eq!(of(1, 3), [1, 10, 100]);
        assert_eq!(of(20, 3), [20, 45, 100]);
        assert_eq!(of(5, 5), [5, 11, 22, 47, 100]);
        assert_eq!(of(100, 8), [100]);
        assert!(of(1, 8).is_sorted_by(|a, b| a < b));
    }

    /// Long first steps cry wolf; every fault is found.
    fn outcome(job: &Job<'_>) -> Outcome {
        let first = job.policy.plan.steps.first();
        let weight = f64::from(first.map_or(0, |step| step.weight));
        let is_long = first.is_some_and(|step| step.hold > Span::secs(60));
        Outcome {
            end: if is_long || job.trial.fault > 0.0 {
                End::Caught
            } else {
                End::Passed
            },
            began: true,
            seconds: if is_long { 1.0 } else { 10.0 * weight },
            step: 0,
            metric: None,
            message: String::new(),
            blind: 0.0,
            errors: None,
            requests: weight,
            peak: 0.0,
            dispersion: None,
            checks: 1,
        }
    }

    #[test]
    fn what_is_over_the_budget_is_not_taken_and_less_exposure_is_better() {
        let score = |exposure, length| Score {
            alarms: (0, 10),
            stands: false,
            exposure,
            length,
        };
        let scored = vec![
            (score(50.0, 10.0), 0),
            (score(20.0, 90.0), 1),
            (score(20.0, 60.0), 2),
        ];
        assert_eq!(chosen(scored, 0.01, 2), [2, 1]);
        let file = super::super::tests::policy(super::super::tests::STEPS);
        let history = super::super::tests::history(4, 1, 1.0, 0.0, "source");
        let bounds = Bounds {
            deviation: None,
            hold: (Span::secs(30), Span::secs(120)),
            first_weight: (1, 20),
            steps: (3, 4),
        };
        let tries = Tries {
            starts: 10,
            seed: 1,
            canary: Canary::Share,
        };
        let run = |_: &str, jobs: &[Job<'_>]| jobs.iter().map(outcome).collect::<Vec<_>>();
        let found = best(&file, &history, &bounds, tries, &run).unwrap();
        assert_eq!(
            found.plan.steps.first().map(|s| (s.weight, s.hold)),
            Some((1, Span::secs(30)))
        );
        let all_alarm = |_: &str, jobs: &[Job<'_>]| {
            let mut outcomes: Vec<Outcome> = jobs.iter().map(outcome).collect();
            for outcome in &mut outcomes {
                outcome.end = End::Caught;
            }
            outcomes
        };
        assert_eq!(best(&file, &history, &bounds, tries, &all_alarm), None);
    }
}
