//! Judging: from answers to readings, from readings to verdicts (threshold mode of the analysis, section 1).
//! Good, bad or unknown; unknown is never either of the others.

use jiff::Timestamp;

use crate::api::Span;
use crate::api::plan::MetricPlan;
use crate::api::spec::{CompareTo, Direction, IfUnknown};
use crate::api::status::{Baseline, BaselineSource, MetricStatus, Reading, Rollout, Verdict};

use super::number::human;
use super::observation::{Answer, Check, Outcome, Point, Side};

/// Makes the median absolute deviation of normal noise its standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Samples from which the baseline's own spread widens the limit.
const SPREAD_FROM: u32 = 3;
/// Series beyond which a query's answer says nothing.
const MOST_SERIES: usize = 100;

/// The bounds a reading must stay within; absent where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Limits {
    lower: Option<f64>,
    upper: Option<f64>,
}

impl Limits {
    fn at_most(&mut self, bound: f64) {
        self.upper = Some(self.upper.map_or(bound, |u| u.min(bound)));
    }

    fn at_least(&mut self, bound: f64) {
        self.lower = Some(self.lower.map_or(bound, |l| l.max(bound)));
    }

    /// How far beyond its nearest bound a value is; negative inside.
    fn excess(&self, value: f64) -> f64 {
        let over = self.upper.map_or(f64::NEG_INFINITY, |u| value - u);
        let under = self.lower.map_or(f64::NEG_INFINITY, |l| l - value);
        over.max(under)
    }
}

/// What a metric's answers come to.
enum Value {
    Known { points: Vec<Point>, assumed: bool },
    Unknown(String),
}

/// Takes a check of the present step into the metrics. Returns its verdict.
pub(super) fn take_in(rollout: &mut Rollout, check: &Check) -> Verdict {
    let mut all = Verdict::Good;
    for plan in &rollout.plan.metrics {
        let status = entry(&mut rollout.metrics, &plan.name);
        let previous = status.last.as_ref().and_then(|r| r.value);
        let reading = judge(plan, status, previous, &check.answers, check.asked_at);
        let verdict = settle(plan, status, reading);
        all = worse(all, verdict);
    }
    rollout.last_check = Some(check.asked_at);
    rollout.verdict = Some(all);
    all
}

const fn worse(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::Unhealthy, _) | (_, Verdict::Unhealthy) => Verdict::Unhealthy,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::Bad, _) | (_, Verdict::Bad) => Verdict::Bad,
        _ => Verdict::Good,
    }
}

fn entry<'a>(metrics: &'a mut Vec<MetricStatus>, name: &str) -> &'a mut MetricStatus {
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
fn settle(plan: &MetricPlan, status: &mut MetricStatus, (reading, verdict): (Reading, Verdict)) -> Verdict {
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
            let excess = status.window.len().saturating_sub(plan.of as usize);
            status.window.drain(..excess);
            let bad = status.window.chars().filter(|c| *c == 'b').count();
            if known == Verdict::Bad && bad >= plan.failures as usize {
                Verdict::Unhealthy
            } else {
                known
            }
        }
    };
    status.last = Some(reading);
    status.verdict = Some(verdict);
    verdict
}

fn judge(
    plan: &MetricPlan,
    status: &MetricStatus,
    previous: Option<f64>,
    answers: &[Answer],
    at: Timestamp,
) -> (Reading, Verdict) {
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
    let points = match value(plan, answers, Side::Canary, false) {
        Value::Known { points, .. } => points,
        Value::Unknown(why) => return unknown(why),
    };
    let compared = match compared_with(plan, status, answers) {
        Ok(compared) => compared,
        Err(why) => return unknown(why),
    };
    let limits = match limits(plan, status, compared, previous) {
        Ok(limits) => limits,
        Err(why) => return unknown(why),
    };
    let finite = points.iter().filter(|p| p.value.is_finite());
    let worst = finite.max_by(|a, b| limits.excess(a.value).total_cmp(&limits.excess(b.value)));
    let strange = points.iter().find(|p| !p.value.is_finite());
    let (worst, verdict) = match (worst, strange) {
        (Some(point), _) if limits.excess(point.value) > 0.0 => (point, Verdict::Bad),
        (_, Some(point)) => {
            return unknown(format!("the query answered {}{}", point.value, of_series(point)));
        }
        (Some(point), None) => (point, Verdict::Good),
        (None, None) => return unknown("the query answered nothing".to_owned()),
    };
    let reading = Reading {
        value: Some(worst.value),
        compared_with: compared,
        upper: limits.upper,
        lower: limits.lower,
        message: describe(plan, worst, compared, limits),
        at,
    };
    (reading, verdict)
}

/// What the metric's readings are compared with now; none where only `min` and `max` count.
fn compared_with(
    plan: &MetricPlan,
    status: &MetricStatus,
    answers: &[Answer],
) -> Result<Option<f64>, String> {
    if plan.deviation.is_none() {
        return Ok(status.baseline.as_ref().map(|b| b.value));
    }
    if plan.compare_to == CompareTo::Production {
        return match value(plan, answers, Side::Production, false) {
            Value::Known { points, .. } => worst_of(plan, &points)
                .map(|p| Some(p.value))
                .ok_or_else(|| "production's reading is not a number".to_owned()),
            Value::Unknown(why) => Err(format!("production, asked at the same moment: {why}")),
        };
    }
    match &status.baseline {
        Some(baseline) => Ok(Some(baseline.value)),
        None => Err(
            "there is no baseline: the metric came in after traffic had moved; \
                     roll back and retry, or give it min or max alone"
                .to_owned(),
        ),
    }
}

fn limits(
    plan: &MetricPlan,
    status: &MetricStatus,
    compared: Option<f64>,
    previous: Option<f64>,
) -> Result<Limits, String> {
    let mut limits = Limits {
        lower: plan.min,
        upper: plan.max,
    };
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

fn around(limits: &mut Limits, plan: &MetricPlan, centre: f64, spread: f64) -> Result<(), String> {
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
fn room(plan: &MetricPlan, centre: f64) -> Option<f64> {
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

/// What an answer says. `before_traffic`: an empty answer of a canary that served nothing counts as an assumed 0.
fn value(plan: &MetricPlan, answers: &[Answer], side: Side, before_traffic: bool) -> Value {
    let Some(answer) = answers.iter().find(|a| a.metric == plan.name && a.side == side) else {
        return Value::Unknown("the query was not asked".to_owned());
    };
    match &answer.outcome {
        Outcome::Failed(why) => Value::Unknown(why.clone()),
        Outcome::Series(points) if points.len() > MOST_SERIES => Value::Unknown(format!(
            "the query answered {} series; at most {MOST_SERIES} are judged",
            points.len()
        )),
        Outcome::Series(points) => per_request(plan, points.clone(), answer),
        Outcome::Empty { unknown_names } => empty(unknown_names, answer, before_traffic),
    }
}

fn per_request(plan: &MetricPlan, mut points: Vec<Point>, answer: &Answer) -> Value {
    if plan.per_request {
        match &answer.traffic {
            Some(Ok(rate)) if *rate > 0.0 && rate.is_finite() => {
                points.iter_mut().for_each(|p| p.value /= rate);
            }
            Some(Err(why)) => return Value::Unknown(format!("the request rate is unknown: {why}")),
            _ => return Value::Unknown("the version had no requests to divide by".to_owned()),
        }
    }
    Value::Known {
        points,
        assumed: false,
    }
}

fn empty(unknown_names: &Result<Vec<String>, String>, answer: &Answer, before_traffic: bool) -> Value {
    let zero = |assumed| Value::Known {
        points: vec![Point {
            labels: String::new(),
            value: 0.0,
        }],
        assumed,
    };
    match unknown_names {
        Err(why) => Value::Unknown(format!(
            "the query has no result, and its names could not be looked up: {why}"
        )),
        Ok(names) if !names.is_empty() => Value::Unknown(format!("no series named {}", names.join(", "))),
        Ok(_) => match &answer.traffic {
            Some(Ok(rate)) if *rate > 0.0 => zero(false),
            _ if before_traffic => zero(true),
            Some(Err(why)) => Value::Unknown(format!(
                "the query has no result, and the traffic is unknown: {why}"
            )),
            _ => Value::Unknown("the query has no result, and the version served no request".to_owned()),
        },
    }
}

fn worst_of<'a>(plan: &MetricPlan, points: &'a [Point]) -> Option<&'a Point> {
    if points.iter().any(|p| !p.value.is_finite()) {
        return None;
    }
    let badness = |value: f64| match plan.direction {
        Direction::Increase => value,
        Direction::Decrease => -value,
        Direction::Both => value.abs(),
    };
    points
        .iter()
        .max_by(|a, b| badness(a.value).total_cmp(&badness(b.value)))
}

/// Takes a check made before any weight moved into the baselines. `Ok(true)`: every metric has its baseline.
///
/// # Errors
/// Why the rollout cannot start on what was read: the first metric that says nothing, or is beyond its bounds.
pub(super) fn record_baseline(rollout: &mut Rollout, check: &Check) -> Result<bool, String> {
    rollout.last_check = Some(check.asked_at);
    let mut problem = None;
    for plan in &rollout.plan.metrics {
        let status = entry(&mut rollout.metrics, &plan.name);
        if status.baseline.is_none()
            && let Err(why) = sample(plan, status, check)
        {
            status.last = Some(Reading {
                value: None,
                compared_with: None,
                upper: None,
                lower: None,
                message: why.clone(),
                at: check.asked_at,
            });
            problem = problem.or_else(|| Some(format!("{}: {why}", plan.name)));
        }
    }
    match problem {
        Some(problem) => Err(problem),
        None => Ok(rollout.plan.metrics.iter().all(|p| {
            rollout
                .metrics
                .iter()
                .any(|m| m.name == p.name && m.baseline.is_some())
        })),
    }
}

fn sample(plan: &MetricPlan, status: &mut MetricStatus, check: &Check) -> Result<(), String> {
    let side = check
        .answers
        .iter()
        .find(|a| a.metric == plan.name)
        .map_or(Side::Canary, |a| a.side);
    let (value, source) = match value(plan, &check.answers, side, true) {
        Value::Known { points, assumed } => {
            let worst = worst_of(plan, &points).ok_or("the query answered what is not a number")?;
            (
                worst.value,
                if assumed {
                    BaselineSource::AssumedZero
                } else {
                    BaselineSource::Measured
                },
            )
        }
        Value::Unknown(why) => return Err(why),
    };
    let bounds = Limits {
        lower: plan.min,
        upper: plan.max,
    };
    if side == Side::Production && bounds.excess(value) > 0.0 {
        return Err(format!(
            "production itself is at {}, beyond {}",
            human(value),
            bounds_text(bounds)
        ));
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
                    .to_owned(),
            );
        }
        status.baseline = Some(baseline);
        status.samples.clear();
    }
    Ok(())
}

fn baseline(samples: &[f64], source: BaselineSource, at: Timestamp) -> Baseline {
    let value = median(samples.to_vec());
    let spread = MAD_TO_SIGMA * median(samples.iter().map(|x| (x - value).abs()).collect());
    Baseline {
        value,
        spread,
        samples: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        source,
        at,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn of_series(point: &Point) -> String {
    if point.labels.is_empty() {
        String::new()
    } else {
        format!(" for {}", point.labels)
    }
}

fn bounds_text(limits: Limits) -> String {
    match (limits.lower, limits.upper) {
        (Some(lower), Some(upper)) => format!("limits {} to {}", human(lower), human(upper)),
        (Some(lower), None) => format!("limit {}", human(lower)),
        (None, Some(upper)) => format!("limit {}", human(upper)),
        (None, None) => "no limit".to_owned(),
    }
}

fn describe(plan: &MetricPlan, worst: &Point, compared: Option<f64>, limits: Limits) -> String {
    let compared = match (compared, plan.compare_to) {
        (Some(value), CompareTo::Production) if plan.deviation.is_some() => {
            format!(", production {}", human(value))
        }
        (Some(value), _) => format!(", baseline {}", human(value)),
        (None, _) => String::new(),
    };
    format!(
        "{} is {}{}{compared}, {}",
        plan.name,
        human(worst.value),
        of_series(worst),
        bounds_text(limits)
    )
}
