//! Many rollouts of one canary in a few numbers.

use serde::Serialize;

use super::rollout::Outcome;
use super::world::{Setup, SetupError};

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A share of runs with Wilson's 95 % interval, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The share itself.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The middle of some values, and what nine of ten stay at or below.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// Half of them are at or below.
    pub median: f64,
    /// 90 % of them are at or below.
    pub p90: f64,
}

/// What became of a canary of one bad share.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Its share of bad requests, 0 to 1.
    pub canary_bad: f64,
    /// Whether the policy tolerates that: then every rollback is a false alarm.
    pub within_tolerance: bool,
    /// How many rollouts were simulated.
    pub runs: u32,
    /// How many of them were rolled back.
    pub rolled_back: u32,
    /// How many were neither rolled back nor at their end when the simulation gave them up: they waited for requests.
    pub given_up: u32,
    /// The same as a share.
    pub rolled_back_share: Share,
    /// Seconds from the first step's start to the check that rolled it back, over the rollouts that were; null without any.
    pub seconds: Option<Quantiles>,
    /// How many were rolled back at each step.
    pub rolled_back_at_step: Vec<u32>,
    /// Bad requests that the canary answered until it was rolled back or its steps ended, over all rollouts.
    pub errors: Quantiles,
    /// The mean of the same.
    pub errors_mean: f64,
    /// What the planner's formula expects in place of the median, seconds; null: not before the steps end.
    pub predicted_seconds: Option<f64>,
    /// Every time of a rollback, seconds, rising.
    #[serde(skip)]
    pub times: Vec<f64>,
}

impl Share {
    /// `count` of `runs`.
    #[must_use]
    pub fn of(count: u32, runs: u32) -> Self {
        if runs == 0 {
            return Self {
                value: 0.0,
                low: 0.0,
                high: 1.0,
            };
        }
        let (n, z2) = (f64::from(runs), Z * Z);
        let p = f64::from(count) / n;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = (z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
        // At the ends the formula is exact but for rounding.
        let low = if count == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if count == runs {
            1.0
        } else {
            (centre + half).min(1.0)
        };
        Self { value: p, low, high }
    }
}

impl Quantiles {
    /// Of values that rise; none without values.
    #[must_use]
    pub fn of(rising: &[f64]) -> Option<Self> {
        Some(Self {
            median: quantile(rising, 0.5)?,
            p90: quantile(rising, 0.9)?,
        })
    }
}

/// The smallest value that at least this part of all values does not exceed.
fn quantile(rising: &[f64], part: f64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "numbers of runs")]
    let rank = (rising.len() as f64 * part - 1e-9).ceil().max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1 to the number of values"
    )]
    let index = rank as usize - 1;
    rising.get(index).copied()
}

impl Cell {
    /// Sums up rollouts of a canary of this bad share; their order does not matter.
    ///
    /// # Errors
    /// A share that is none.
    pub fn new(setup: &Setup, canary_bad: f64, outcomes: &[Outcome]) -> Result<Self, SetupError> {
        let (policy, traffic) = (setup.policy(), setup.traffic());
        let mut times: Vec<f64> = outcomes.iter().filter_map(|o| Some(o.found?.0)).collect();
        times.sort_by(f64::total_cmp);
        let mut errors: Vec<f64> = outcomes.iter().map(|o| o.errors).collect();
        errors.sort_by(f64::total_cmp);
        let mut at_step = vec![0_u32; policy.steps.len()];
        for (_, step) in outcomes.iter().filter_map(|o| o.found) {
            if let Some(count) = at_step.get_mut(step) {
                *count += 1;
            }
        }
        let (runs, rolled_back) = (count(outcomes.len()), count(times.len()));
        let tolerated = policy.tolerated(traffic);
        Ok(Self {
            canary_bad,
            // The edge itself belongs to it, whatever rounding made of it.
            within_tolerance: canary_bad <= tolerated * (1.0 + 1e-9),
            runs,
            rolled_back,
            given_up: count(outcomes.iter().filter(|o| o.given_up).count()),
            rolled_back_share: Share::of(rolled_back, runs),
            seconds: Quantiles::of(&times),
            rolled_back_at_step: at_step,
            errors: Quantiles::of(&errors).unwrap_or(Quantiles {
                median: 0.0,
                p90: 0.0,
            }),
            errors_mean: errors.iter().sum::<f64>() / f64::from(runs.max(1)),
            predicted_seconds: policy
                .time_to_detect(traffic, canary_bad)?
                .map(|time| time.as_secs_f64()),
            times,
        })
    }

    /// The step, from 0, at which most of those that were rolled back were; the earlier one of equals.
    #[must_use]
    pub fn usual_step(&self) -> Option<usize> {
        let steps = self.rolled_back_at_step.iter().copied().enumerate();
        let most = steps.max_by_key(|(step, count)| (*count, std::cmp::Reverse(*step)))?;
        (most.1 > 0).then_some(most.0)
    }

    /// The share of all rollouts, 0 to 1, that were rolled back by the end of each step.
    #[must_use]
    pub fn rolled_back_by_step(&self) -> Vec<f64> {
        let runs = f64::from(self.runs.max(1));
        let mut done = 0.0;
        let add = |count: &u32| {
            done += f64::from(*count);
            done / runs
        };
        self.rolled_back_at_step.iter().map(add).collect()
    }

    /// The share of all rollouts that were rolled back until each time at which one was, for a step chart; it begins at 0 and
    /// ends at `end` seconds.
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

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilsons_interval_agrees_with_tables() {
        // R: prop.test(10, 100, correct = FALSE)$conf.int, and for 0 of 20.
        let tenth = Share::of(10, 100);
        assert!(
            (tenth.low - 0.055_229).abs() < 1e-6 && (tenth.high - 0.174_366).abs() < 1e-6,
            "{tenth:?}"
        );
        let none = Share::of(0, 20);
        assert!(
            none.low.abs() < 1e-12 && (none.high - 0.161_125).abs() < 1e-6,
            "{none:?}"
        );
        assert!((Share::of(20, 20).high - 1.0).abs() < 1e-12);
        assert!((Share::of(0, 0).high - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let found = Quantiles::of(&values).unwrap();
        assert_eq!((found.median, found.p90), (5.0, 9.0));
        let one = Quantiles::of(&[7.0]).unwrap();
        assert_eq!((one.median, one.p90), (7.0, 7.0));
        assert_eq!(Quantiles::of(&[]), None);
    }

    #[test]
    fn the_share_over_time_rises_to_all_that_were_rolled_back() {
        let cell = Cell {
            canary_bad: 0.1,
            within_tolerance: false,
            runs: 4,
            rolled_back: 3,
            given_up: 0,
            rolled_back_share: Share::of(3, 4),
            seconds: None,
            rolled_back_at_step: vec![1, 2, 0],
            errors: Quantiles {
                median: 0.0,
                p90: 0.0,
            },
            errors_mean: 0.0,
            predicted_seconds: None,
            times: vec![15.0, 30.0, 30.0],
        };
        assert_eq!(
            cell.rolled_back_until(60.0),
            [(0.0, 0.0), (15.0, 0.25), (30.0, 0.75), (60.0, 0.75)]
        );
        assert_eq!(cell.usual_step(), Some(1));
        assert_eq!(cell.rolled_back_by_step(), [0.25, 0.75, 0.75]);
    }
}
