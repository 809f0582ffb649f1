//! The baseline: what was read before any weight moved.

use jiff::Timestamp;

use crate::api::plan::{TestPlan, ThresholdPlan};
use crate::api::spec::{CompareTo, Direction};
use crate::api::status::{Baseline, BaselineSource, MetricStatus, Reading, Rollout};

use super::answers::{Asked, Value, value, worst_of};
use super::counting;
use super::observation::{Check, Side};
use super::verdict::{Limits, bounds_text, entry, has_baselines, no_number, room};

/// Makes the median absolute deviation of normal noise its standard deviation.
pub(super) const MAD_TO_SIGMA: f64 = 1.4826;

/// Why there is no baseline yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lack {
    /// In words that stay the same while the reason does.
    pub(super) why: String,
    /// What was read, where it is a number.
    pub(super) value: Option<f64>,
}

impl From<String> for Lack {
    fn from(why: String) -> Self {
        Self { why, value: None }
    }
}

/// Takes a check made before any weight moved into the baselines. `Ok(true)`: every metric has its baseline.
///
/// # Errors
/// Why the rollout cannot start on what was read: the first metric that says nothing, or is beyond its bounds.
pub(super) fn record(rollout: &mut Rollout, check: &Check) -> Result<bool, Lack> {
    rollout.last_check = Some(check.asked_at);
    let mut problem = None;
    for plan in &rollout.plan.metrics {
        let status = entry(&mut rollout.metrics, &plan.name);
        if status.baseline.is_some() {
            continue;
        }
        let sampled = match &plan.test {
            TestPlan::Threshold(test) => {
                let asked = Asked {
                    name: &plan.name,
                    plan: test,
                };
                sample(asked, status, check)
            }
            TestPlan::Sequential(_) => {
                counting::begin(&rollout.plan, plan, status, check).map_err(Lack::from)
            }
        };
        if let Err(Lack { why, value }) = sampled {
            status.last = Some(Reading {
                value,
                compared_with: None,
                upper: None,
                lower: None,
                message: why.clone(),
                at: check.asked_at,
            });
            problem = problem.or_else(|| {
                let why = format!("{}: {why}", plan.name);
                Some(Lack { why, value })
            });
        }
    }
    match problem {
        Some(problem) => Err(problem),
        None => Ok(has_baselines(rollout)),
    }
}

fn sample(asked: Asked<'_>, status: &mut MetricStatus, check: &Check) -> Result<(), Lack> {
    let plan = asked.plan;
    let side = check
        .answers
        .iter()
        .find(|a| a.metric == asked.name)
        .map_or(Side::Canary, |a| a.side);
    let (value, source) = match value(asked, &check.answers, side, true) {
        Value::Known { points, assumed } => {
            let worst = worst_of(plan, &points).ok_or_else(|| {
                no_number(&points).unwrap_or_else(|| "the query answered nothing".to_owned())
            })?;
            (
                worst.value,
                if assumed {
                    BaselineSource::AssumedZero
                } else {
                    BaselineSource::Measured
                },
            )
        }
        Value::Unknown(why) => return Err(why.into()),
    };
    if source == BaselineSource::AssumedZero {
        makes_a_limit(plan, side)?;
    }
    // A canary without traffic may well be below what it must reach with some.
    let bounds = Limits {
        lower: plan.min.filter(|_| side == Side::Production),
        upper: plan.max,
    };
    if source == BaselineSource::Measured && bounds.excess(value) > 0.0 {
        let bounds = bounds_text(bounds);
        let why = match side {
            Side::Production => format!("production itself is beyond {bounds}"),
            Side::Canary => format!("before any traffic has moved it is beyond {bounds}"),
        };
        return Err(Lack {
            why,
            value: Some(value),
        });
    }
    status.samples.push(value);
    if status.samples.len() >= plan.samples as usize {
        let baseline = baseline(&status.samples, source, check.asked_at);
        if plan.compare_to != CompareTo::Production
            && plan.deviation.is_some()
            && room(plan, baseline.value).is_none()
        {
            status.samples.clear();
            return Err(
                "the baseline is 0 and a percentage of 0 is no limit: give minAbsolute beside \
                        deviationPercent, or deviation"
                    .to_owned()
                    .into(),
            );
        }
        status.baseline = Some(baseline);
        status.last = None;
        status.samples.clear();
    }
    Ok(())
}

/// An assumed 0 is no baseline where it makes a lower limit that no share, rate or duration can be below.
fn makes_a_limit(plan: &ThresholdPlan, side: Side) -> Result<(), Lack> {
    if plan.deviation.is_none() || plan.direction == Direction::Increase || plan.min.is_some() {
        return Ok(());
    }
    let remedy = match side {
        Side::Canary => "use $(version) in the query, so that production gives the baseline, or give min",
        Side::Production => "send production some requests, or give min",
    };
    let why = format!(
        "the query has no result before there is traffic, and with direction decrease or both nearly everything \
         would be good beside an assumed 0: {remedy}"
    );
    Err(why.into())
}

fn baseline(samples: &[f64], source: BaselineSource, at: Timestamp) -> Baseline {
    let value = median(samples.to_vec());
    let spread = MAD_TO_SIGMA * median(samples.iter().map(|x| (x - value).abs()).collect());
    Baseline {
        value,
        // JSON has no infinity.
        spread: spread.min(f64::MAX),
        samples: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        source,
        at,
    }
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
