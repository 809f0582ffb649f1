//! Many replayed rollouts of one canary in a few numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::simulate::{Quantiles, Share};

use super::trial::{End, Outcome};

/// What became of a canary of one fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The part of the canary's good requests that was turned bad, 0 to 1; 0 for a healthy version.
    pub fault: f64,
    /// How many of the rollouts that were replayed began.
    pub runs: u32,
    /// How many of them were still waiting, for requests or for evidence, when the history or the patience with them ended:
    /// neither rolled back nor passed.
    pub gave_up: u32,
    /// How many besides never began: the canary got no traffic. Nothing below speaks of them.
    pub never_began: u32,
    /// How many were rolled back (or frozen) because a metric found them unhealthy.
    pub rolled_back: u32,
    /// The same as a share of the runs, with its 95 % interval.
    pub rolled_back_share: Share,
    /// How many were ended because nothing was known of them.
    pub ended_blind: u32,
    /// Seconds from the canary's first traffic to the check that rolled it back, over the rollouts that were; null without any.
    pub seconds: Option<Quantiles>,
    /// How many were rolled back at each step.
    pub rolled_back_at_step: Vec<u32>,
    /// How many were rolled back by each metric.
    pub rolled_back_by: BTreeMap<String, u32>,
    /// Bad requests that the canary answered until it was rolled back or promoted: people who met an error.
    /// Null where nobody counts requests.
    pub errors: Option<Quantiles>,
    /// The mean of the same.
    pub errors_mean: Option<f64>,
    /// For how long nothing was known in a rollout, seconds.
    pub blind_seconds: Quantiles,
    /// The mean of the same.
    pub blind_seconds_mean: f64,
    /// The part of all rollouts' time in which nothing was known, 0 to 1.
    pub blind_part: f64,
    /// What the operator divided the evidence by, having learnt from ten minutes of production how clumpy its errors may be: the
    /// median; null where nothing is counted.
    pub dispersion: Option<f64>,
    /// What the operator said when it rolled back the first time; null where it never did.
    pub example: Option<String>,
    /// What the operator said where a rollout never began; null where each did.
    pub why_not: Option<String>,
    /// Every time of a rollback, seconds, rising.
    #[serde(skip)]
    pub times: Vec<f64>,
}

impl Cell {
    /// Sums up rollouts of a canary of this fault (0 to 1) under a policy of so many steps.
    #[must_use]
    pub fn new(fault: f64, steps: usize, outcomes: &[Outcome]) -> Self {
        // What never began says nothing of the policy.
        let begun: Vec<&Outcome> = outcomes.iter().filter(|o| o.began).collect();
        let of = |end: End| begun.iter().filter(move |o| o.end == end);
        let mut at_step = vec![0_u32; steps];
        let mut by = BTreeMap::new();
        for caught in of(End::Caught) {
            if let Some(count) = at_step.get_mut(caught.step) {
                *count += 1;
            }
            if let Some(metric) = &caught.metric {
                *by.entry(metric.clone()).or_default() += 1;
            }
        }
        let times = rising(of(End::Caught).map(|o| o.seconds));
        let errors = rising(begun.iter().filter_map(|o| o.errors));
        let blind = rising(begun.iter().map(|o| o.blind));
        let (runs, rolled_back) = (count(begun.len()), count(times.len()));
        let length: f64 = begun.iter().map(|o| o.seconds.max(o.blind)).sum();
        Self {
            fault,
            runs,
            gave_up: count(of(End::GaveUp).count()),
            never_began: count(outcomes.len() - begun.len()),
            rolled_back,
            rolled_back_share: Share::of(rolled_back, runs),
            ended_blind: count(of(End::Blind).count()),
            seconds: Quantiles::of(&times),
            rolled_back_at_step: at_step,
            rolled_back_by: by,
            errors: Quantiles::of(&errors),
            errors_mean: (!errors.is_empty()).then(|| mean(&errors)),
            blind_seconds: quantiles(&blind),
            blind_seconds_mean: mean(&blind),
            blind_part: if length > 0.0 {
                (blind.iter().sum::<f64>() / length).min(1.0)
            } else {
                0.0
            },
            dispersion: Quantiles::of(&rising(begun.iter().filter_map(|o| o.dispersion))).map(|q| q.median),
            example: of(End::Caught).next().map(|o| o.message.clone()),
            why_not: outcomes.iter().find(|o| !o.began).map(|o| o.message.clone()),
            times,
        }
    }

    /// The share of all rollouts that were rolled back until each time at which one was; it begins at 0 and ends at `end`
    /// seconds.
    #[must_use]
    pub fn rolled_back_until(&self, end: f64) -> Vec<(f64, f64)> {
        let runs = f64::from(self.runs.max(1));
        let mut points = vec![(0.0, 0.0)];
        let mut done = 0.0;
        for (i, time) in self.times.iter().enumerate() {
            done += 1.0;
            if self.times.get(i + 1).is_none_or(|next| next > time) {
                points.push((*time, done / runs));
            }
        }
        points.push((end, done / runs));
        points
    }
}

fn rising(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn quantiles(rising: &[f64]) -> Quantiles {
    Quantiles::of(rising).unwrap_or(Quantiles {
        median: 0.0,
        p90: 0.0,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / f64::from(count(values.len()).max(1))
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
