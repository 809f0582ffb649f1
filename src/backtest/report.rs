//! What a backtest found: as data for JSON, of which text and page are made.

use serde::Serialize;

use crate::simulate::report::{StepReport, TrafficReport};

use super::history::History;
use super::noise::Noise;
use super::policy::Policy;
use super::summary::Cell;
use super::trial::Canary;

/// Everything found, and what it was found in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The service.
    pub service: String,
    /// The version whose past was replayed.
    pub production: String,
    /// Where the random numbers began: the same seed and the same past give the same report but for `cost`.
    pub seed: u64,
    /// Rollouts replayed for each policy and fault.
    pub starts: u32,
    /// Who played the canary: `share` or `pod`.
    pub canary: &'static str,
    /// Where the past begins, RFC 3339.
    pub from: String,
    /// Where it ends.
    pub until: String,
    /// Seconds between two scrapes.
    pub scrape_seconds: f64,
    /// Production's traffic; null where no metric counts requests.
    pub traffic: Option<TrafficReport>,
    /// The noise of each metric of the file.
    pub metrics: Vec<Noise>,
    /// What became of each policy: the file's, the default, and the best that was found.
    pub policies: Vec<PolicyReport>,
    /// What to write instead; null where nothing better was found or looked for.
    pub suggestion: Option<Suggestion>,
    /// What to know before believing the numbers.
    pub notes: Vec<String>,
    /// What it took.
    pub cost: Cost,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// `file`, `default` or `best`.
    pub name: &'static str,
    /// The steps in order.
    pub steps: Vec<StepReport>,
    /// How long all steps are held together, seconds.
    pub length_seconds: f64,
    /// The metrics it judges by.
    pub metrics: Vec<String>,
    /// How far the first metric with a deviation may deviate, in its own unit or percent; null without any.
    pub deviation: Option<f64>,
    /// The share of healthy versions that may be rolled back, 0 to 1: its `falseAlarm`, or without any 0.01.
    pub false_alarm: f64,
    /// A healthy version.
    pub healthy: Cell,
    /// Versions with a part of their good requests turned bad, from the smallest fault to the largest.
    pub faults: Vec<Cell>,
}

/// What to write instead.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    /// How far the first metric with a deviation should be allowed to deviate; null without any.
    pub deviation: Option<f64>,
    /// How long to hold each step, seconds.
    pub hold_seconds: f64,
    /// The first step's weight, percent.
    pub first_weight: u8,
    /// All steps.
    pub steps: Vec<StepReport>,
    /// Why, in a sentence.
    pub why: String,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Queries that were answered.
    pub queries: u64,
    /// Queries that had to be asked again.
    pub retries: u64,
    /// The most queries under way at the same time.
    pub at_once: u64,
    /// Bytes of the answers.
    pub bytes: u64,
    /// Samples in them.
    pub samples: u64,
    /// Samples that no counter can have, left out.
    pub odd_samples: u64,
    /// Seconds to fetch them.
    pub fetch_seconds: f64,
    /// Seconds to replay the rollouts.
    pub replay_seconds: f64,
    /// Rollouts replayed, those of the search among them.
    pub rollouts: u64,
    /// The most memory that the process held, bytes (`VmHWM`); 0 where the system does not say.
    pub peak_memory_bytes: u64,
}

impl PolicyReport {
    /// A policy with what became of it.
    #[must_use]
    pub fn new(policy: &Policy, healthy: Cell, faults: Vec<Cell>) -> Self {
        Self {
            name: policy.name,
            steps: steps(policy),
            length_seconds: policy.length().as_secs_f64(),
            metrics: policy.plan.metrics.iter().map(|m| m.name.clone()).collect(),
            deviation: policy.deviation().map(|(amount, _)| amount),
            false_alarm: policy.budget(),
            healthy,
            faults,
        }
    }
}

/// The steps as JSON has them.
#[must_use]
pub fn steps(policy: &Policy) -> Vec<StepReport> {
    let step = |step: &crate::api::plan::StepPlan| StepReport {
        weight: f64::from(step.weight),
        hold_seconds: step.hold.as_secs_f64(),
    };
    policy.plan.steps.iter().map(step).collect()
}

/// Production's traffic; none where nothing was counted.
#[must_use]
pub fn traffic(history: &History) -> Option<TrafficReport> {
    let total = history.requests()?.total();
    Some(TrafficReport {
        requests_per_second: total.requests / history.seconds().max(1.0),
        production_bad: total.share()?,
    })
}

/// The word for who played the canary.
#[must_use]
pub const fn player(canary: Canary) -> &'static str {
    match canary {
        Canary::Share => "share",
        Canary::Pod => "pod",
    }
}

impl PolicyReport {
    /// Whether it certainly rolls more healthy versions back than it may: what it rolls back then says little of a version.
    #[must_use]
    pub fn cries_wolf(&self) -> bool {
        self.healthy.rolled_back_share.low > self.false_alarm
    }

    /// Bad requests that canaries answered, over all faults; none where nobody counted.
    fn errors(&self) -> Option<f64> {
        self.faults.iter().map(|cell| cell.errors_mean).sum()
    }

    /// How many faulty versions were rolled back, and after how long on average.
    fn found(&self) -> (f64, f64) {
        let found: u32 = self.faults.iter().map(|cell| cell.rolled_back).sum();
        let times = self.faults.iter().flat_map(|cell| &cell.times);
        (f64::from(found), times.sum::<f64>() / f64::from(found.max(1)))
    }

    /// Whether it does clearly better than `before`: it alone keeps to its budget, or it has no more false alarms and people meet a
    /// tenth fewer errors; where nobody counted those, a tenth more faults are found, or as many a tenth sooner.
    fn gains_on(&self, before: &Self) -> bool {
        const CLEARLY: f64 = 0.1;
        if before.cries_wolf() {
            return self.healthy.rolled_back < before.healthy.rolled_back;
        }
        if self.healthy.rolled_back > before.healthy.rolled_back {
            return false;
        }
        if let (Some(after), Some(before)) = (self.errors(), before.errors()) {
            return after < before * (1.0 - CLEARLY);
        }
        let ((after, soon), (found, late)) = (self.found(), before.found());
        after > found * (1.0 + CLEARLY) || (after >= found && soon < late * (1.0 - CLEARLY))
    }
}

impl Suggestion {
    /// What the best policy does otherwise than the file's; none where that gains nothing.
    #[must_use]
    pub fn new(file: &Policy, best: &Policy, results: &[PolicyReport]) -> Option<Self> {
        if file.plan.steps == best.plan.steps && file.deviation() == best.deviation() {
            return None;
        }
        let first = best.plan.steps.first()?;
        let of = |name: &str| results.iter().find(|policy| policy.name == name);
        let (before, after) = of("file")
            .zip(of("best"))
            .filter(|(file, best)| best.gains_on(file))?;
        let met = if let (Some(after), Some(before)) = (after.errors(), before.errors()) {
            format!(
                "; people who would have met an error, over all faults: {after:.0} instead of {before:.0}"
            )
        } else {
            let (found, of) = (after.found().0, before.found().0);
            format!("; faulty versions rolled back: {found:.0} instead of {of:.0}")
        };
        let why = format!(
            "healthy versions rolled back: {} of {} instead of {} of {}{met}",
            after.healthy.rolled_back, after.healthy.runs, before.healthy.rolled_back, before.healthy.runs,
        );
        Some(Self {
            deviation: best.deviation().map(|(amount, _)| amount),
            hold_seconds: first.hold.as_secs_f64(),
            first_weight: first.weight,
            steps: steps(best),
            why,
        })
    }
}
