//! Judging: from answers to readings, from readings to verdicts (threshold mode of the analysis, section 1).
//! Good, bad or unknown; unknown is never either of the others.

use crate::api::Span;
use crate::api::plan::{MetricPlan, TestPlan, ThresholdPlan};
use crate::api::spec::{CompareTo, Direction, IfUnknown};
use crate::api::status::{MetricStatus, Reading, Rollout, Verdict};

use super::answers::{Asked, NOTHING_MEASURED, Value, answer_of, value, worst_of};
use super::counting;
use super::history;
use super::line::{LONGEST, fit};
use super::number::human;
use super::observation::{Answer, Check, Outcome, Point, Side};
use super::questions;

/// Samples from which the baseline's own spread widens the limit.
const SPREAD_FROM: u32 = 3;

/// The bounds a reading must stay within; absent where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    pub(super) lower: Option<f64>,
    pub(super) upper: Option<f64>,
}

impl Limits {
    /// Those that stand whatever was read.
    const fn of(plan: &ThresholdPlan) -> Self {
        Self {
            lower: plan.min,
            upper: plan.max,
        }
    }

    fn at_most(&mut self, bound: f64) {
        self.upper = Some(self.upper.map_or(bound, |u| u.min(bound)));
    }

    fn at_least(&mut self, bound: f64) {
        self.lower = Some(self.lower.map_or(bound, |l| l.max(bound)));
    }

    /// How far beyond its nearest bound a value is; negative inside.
    pub(super) fn excess(&self, value: f64) -> f64 {
        let over = self.upper.map_or(f64::NEG_INFINITY, |u| value - u);
        let under = self.lower.map_or(f64::NEG_INFINITY, |l| l - value);
        over.max(under)
    }
}

/// Takes a check of the present step into the metrics. Returns its verdict.
pub(super) fn take_in(rollout: &mut Rollout, check: &Check) -> Verdict {
    let is_early = is_early(rollout, check);
    let mut readings = Vec::with_capacity(rollout.plan.metrics.len());
    for plan in &rollout.plan.metrics {
        let status = entry(&mut rollout.metrics, &plan.name);
        let previous = status.last.as_ref().and_then(|r| r.value);
        let alone = rollout.confirmed == 100;
        readings.push(match &plan.test {
            TestPlan::Threshold(test) => {
                let asked = Asked {
                    name: &plan.name,
                    plan: test,
                };
                judge(asked, status, previous, (alone, is_early), check)
            }
            TestPlan::Sequential(_) => (counting::pending(check.asked_at), Verdict::Unknown),
        });
    }
    counting::take_in(rollout, check, &mut readings);
    let mut all = Verdict::Good;
    for (plan, reading) in rollout.plan.metrics.iter().zip(readings) {
        let status = entry(&mut rollout.metrics, &plan.name);
        all = worse(all, settle(plan, status, reading));
    }
    rollout.last_check = Some(check.asked_at);
    rollout.verdict = Some(all);
    history::note(rollout);
    all
}

/// Whether every metric has its baseline.
pub(super) fn has_baselines(rollout: &Rollout) -> bool {
    let has = |name: &str| {
        rollout
            .metrics
            .iter()
            .any(|m| m.name == name && m.baseline.is_some())
    };
    rollout.plan.metrics.iter().all(|plan| has(&plan.name))
}

const fn worse(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::Unhealthy, _) | (_, Verdict::Unhealthy) => Verdict::Unhealthy,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::Bad, _) | (_, Verdict::Bad) => Verdict::Bad,
        _ => Verdict::Good,
    }
}

pub(super) fn entry<'a>(metrics: &'a mut Vec<MetricStatus>, name: &str) -> &'a mut MetricStatus {
    let at = metrics.iter().position(|m| m.name == name).unwrap_or_else(|| {
        metrics.push(MetricStatus {
            name: name.to_owned(),
            ..MetricStatus::default()
        });
        metrics.len() - 1
    });
    &mut metrics[at]
}

/// Counts the reading: M bad checks of the last N that said something make the metric unhealthy.
fn settle(
    plan: &MetricPlan,
    status: &mut MetricStatus,
    (mut reading, verdict): (Reading, Verdict),
) -> Verdict {
    let at = reading.at;
    let verdict = match verdict {
        Verdict::Unknown => {
            let since = *status.unknown_since.get_or_insert(at);
            let too_long = Span::between(since, at) >= plan.unknown_for;
            if plan.if_unknown == IfUnknown::Unhealthy && too_long {
                Verdict::Unhealthy
            } else {
                Verdict::Unknown
            }
        }
        known => {
            status.unknown_since = None;
            status.window.push(if known == Verdict::Good { 'g' } else { 'b' });
            let (failures, of) = match &plan.test {
                TestPlan::Threshold(test) => (test.failures, test.of),
                TestPlan::Sequential(_) => (1, 1),
            };
            let excess = status.window.len().saturating_sub(of as usize);
            status.window.drain(..excess);
            // Evidence says itself when it is enough.
            let counts = matches!(plan.test, TestPlan::Threshold(_));
            let bad = status.window.chars().filter(|c| *c == 'b').count();
            if known == Verdict::Unhealthy || (known == Verdict::Bad && counts && bad >= failures as usize) {
                Verdict::Unhealthy
            } else {
                known
            }
        }
    };
    reading.message = fit(&reading.message, LONGEST).into_owned();
    status.last = Some(reading);
    status.verdict = Some(verdict);
    verdict
}

fn judge(
    asked: Asked<'_>,
    status: &mut MetricStatus,
    previous: Option<f64>,
    (alone, is_early): (bool, bool),
    check: &Check,
) -> (Reading, Verdict) {
    let (plan, answers, at) = (asked.plan, &check.answers, check.asked_at);
    let unknown = |message: String| {
        let reading = Reading {
            value: None,
            compared_with: None,
            upper: None,
            lower: None,
            message,
            at,
        };
        (reading, Verdict::Unknown)
    };
    let points = match value(asked, answers, Side::Canary, false) {
        Value::Known { points, .. } => points,
        Value::Unknown(why) => return unknown(why),
    };
    let judged_by = compared_with(asked, status, answers, alone)
        .and_then(|compared| Ok((compared, limits(plan, status, compared, previous)?)));
    // What is beyond `min` or `max` is bad, whatever is known of the rest.
    let (compared, limits, lack) = match judged_by {
        Ok((compared, limits)) => (compared, limits, None),
        Err(why) => (None, Limits::of(plan), Some(why)),
    };
    let finite = points.iter().filter(|p| p.value.is_finite());
    let worst = finite.max_by(|a, b| limits.excess(a.value).total_cmp(&limits.excess(b.value)));
    let lack = lack.or_else(|| no_number(&points));
    let (worst, verdict) = match (worst, lack) {
        (Some(point), _) if limits.excess(point.value) > 0.0 => {
            // Series begin with a first request, and have a rate after a second scrape.
            let is_absent = is_early && is_empty(asked, answers);
            if is_absent && limits.upper.is_none_or(|upper| point.value <= upper) {
                return unknown(NOTHING_MEASURED.to_owned());
            }
            (point, Verdict::Bad)
        }
        (_, Some(why)) => return unknown(why),
        (Some(point), None) => (point, Verdict::Good),
        (None, None) => return unknown("the query answered nothing".to_owned()),
    };
    let reading = Reading {
        value: Some(worst.value),
        compared_with: compared,
        // JSON has no infinity.
        upper: limits.upper.filter(|upper| upper.is_finite()),
        lower: limits.lower.filter(|lower| lower.is_finite()),
        message: describe(asked, worst, compared, limits),
        at,
    };
    (reading, verdict)
}

/// Whether a query without a result may have been asked too soon after a change of weight.
fn is_early(rollout: &Rollout, check: &Check) -> bool {
    let mut answers = check.answers.iter();
    let changed = rollout
        .confirmed_at
        .filter(|_| answers.any(|answer| matches!(answer.outcome, Outcome::Empty { .. })));
    changed
        .is_some_and(|at| Span::between(at, check.asked_at) < questions::settle(&rollout.plan, check.scrape))
}

fn is_empty(asked: Asked<'_>, answers: &[Answer]) -> bool {
    answer_of(asked, answers, Side::Canary)
        .is_some_and(|answer| matches!(answer.outcome, Outcome::Empty { .. }))
}

/// What the metric's readings are compared with now; none where only `min` and `max` count.
fn compared_with(
    asked: Asked<'_>,
    status: &mut MetricStatus,
    answers: &[Answer],
    alone: bool,
) -> Result<Option<f64>, String> {
    let plan = asked.plan;
    let recorded = status.baseline.as_ref().map(|b| b.value);
    if plan.deviation.is_none() {
        return Ok(recorded);
    }
    if plan.compare_to == CompareTo::Production && !alone {
        status.production = match value(asked, answers, Side::Production, false) {
            Value::Known { points, .. } => Some(
                worst_of(plan, &points)
                    .ok_or("production's reading is not a number")?
                    .value,
            ),
            Value::Unknown(why) => return Err(format!("production, asked at the same moment: {why}")),
        };
        return Ok(status.production);
    }
    // With all traffic on the canary production measures nothing: what it last was still counts.
    let last = status
        .production
        .filter(|_| plan.compare_to == CompareTo::Production);
    match last.or(recorded) {
        Some(value) => Ok(Some(value)),
        None => Err(
            "there is no baseline: the metric came in after traffic had moved; \
                     roll back and retry, or give it min or max alone"
                .to_owned(),
        ),
    }
}

fn limits(
    plan: &ThresholdPlan,
    status: &MetricStatus,
    compared: Option<f64>,
    previous: Option<f64>,
) -> Result<Limits, String> {
    let mut limits = Limits::of(plan);
    if let (Some(_), Some(compared)) = (plan.deviation, compared) {
        let spread = match plan.compare_to {
            CompareTo::Production => 0.0,
            _ => status
                .baseline
                .as_ref()
                .filter(|b| b.samples >= SPREAD_FROM)
                .map_or(0.0, |b| 3.0 * b.spread),
        };
        around(&mut limits, plan, compared, spread)?;
        if let (CompareTo::Previous, Some(previous)) = (plan.compare_to, previous) {
            // A previous reading of 0 gives no percentage to go by; the baseline still does.
            let _ = around(&mut limits, plan, previous, 0.0);
        }
    }
    Ok(limits)
}

fn around(limits: &mut Limits, plan: &ThresholdPlan, centre: f64, spread: f64) -> Result<(), String> {
    let Some(room) = room(plan, centre) else {
        return Err(format!(
            "a percentage of {} is no limit: give minAbsolute beside deviationPercent, or deviation",
            human(centre)
        ));
    };
    let room = room.max(spread);
    if plan.direction != Direction::Decrease {
        limits.at_most(centre + room);
    }
    if plan.direction != Direction::Increase {
        limits.at_least(centre - room);
    }
    Ok(())
}

/// How far from `centre` a reading may be; `None` for a percentage of 0 without an absolute bound.
pub(super) fn room(plan: &ThresholdPlan, centre: f64) -> Option<f64> {
    let deviation = plan.deviation?;
    if !deviation.percent {
        return Some(deviation.amount);
    }
    let part = deviation.amount * centre.abs() / 100.0;
    match deviation.min_absolute {
        Some(least) => Some(part.max(least)),
        None => (centre != 0.0).then_some(part),
    }
}

/// The first that is NaN or infinite, in words.
pub(super) fn no_number(points: &[Point]) -> Option<String> {
    let point = points.iter().find(|point| !point.value.is_finite())?;
    Some(format!("the query answered {}{}", point.value, of_series(point)))
}

fn of_series(point: &Point) -> String {
    if point.labels.is_empty() {
        String::new()
    } else {
        format!(" for {}", point.labels)
    }
}

pub(super) fn bounds_text(limits: Limits) -> String {
    match (limits.lower, limits.upper) {
        (Some(lower), Some(upper)) => format!("limits {} to {}", human(lower), human(upper)),
        (Some(lower), None) => format!("limit {}", human(lower)),
        (None, Some(upper)) => format!("limit {}", human(upper)),
        (None, None) => "no limit".to_owned(),
    }
}

fn describe(Asked { name, plan }: Asked<'_>, worst: &Point, compared: Option<f64>, limits: Limits) -> String {
    let compared = match (compared, plan.compare_to) {
        (Some(value), CompareTo::Production) if plan.deviation.is_some() => {
            format!(", production {}", human(value))
        }
        (Some(value), _) => format!(", baseline {}", human(value)),
        (None, _) => String::new(),
    };
    format!(
        "{name} is {}{}{compared}, {}",
        human(worst.value),
        of_series(worst),
        bounds_text(limits)
    )
}
