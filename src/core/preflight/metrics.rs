//! What Prometheus says of the metrics: whether their queries answer, in the unit of their limits, and how much they
//! vary while nothing happens.

use crate::api::plan::{Plan, TestPlan};
use crate::api::spec::Direction;
use crate::core::answers::{Asked, Value, value, worst_of};
use crate::core::baseline::{MAD_TO_SIGMA, median};
use crate::core::number::human;
use crate::core::observation::{Answer, Outcome, Point, Side};
use crate::core::verdict::room;

use super::inventory::{Inventory, MetricFacts};
use super::spec::this;
use super::{Report, codes, threshold};

/// Readings of an hour from which something can be said about them.
const ENOUGH: usize = 20;

/// How many standard deviations a limit should be away from what is usual; fewer where one bad check is not enough.
const FAR: f64 = 3.0;
const FAR_IF_CONFIRMED: f64 = 2.0;

/// One reading in so many beyond the limit is too much.
const ONE_IN: usize = 50;

pub(super) fn metrics(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let Some(all) = report.look("metric queries", &inventory.metrics) else {
        return;
    };
    for metric in &plan.metrics {
        if let Some(facts) = all.iter().find(|facts| facts.answer.metric == metric.name) {
            let object = this(inventory, &format!("metric {}", metric.name));
            let TestPlan::Threshold(plan) = &metric.test else {
                continue;
            };
            let name = &metric.name;
            one(report, &object, Asked { name, plan }, facts);
        }
    }
}

fn one(report: &mut Report, object: &str, metric: Asked<'_>, facts: &MetricFacts) {
    answer(report, object, metric, &facts.answer);
    let noise = format!("noise of metric {}", metric.name);
    let Some(hour) = report.look(&noise, &facts.hour) else {
        return;
    };
    let hour: Vec<f64> = hour.iter().copied().filter(|value| value.is_finite()).collect();
    if hour.len() < ENOUGH {
        return report.unseen(&noise, &format!("only {} readings in the last hour", hour.len()));
    }
    if !unit(report, object, metric, &hour) {
        spread(report, object, metric, &hour);
    }
}

fn answer(report: &mut Report, object: &str, metric: Asked<'_>, answer: &Answer) {
    match &answer.outcome {
        Outcome::Failed(why) => report.error(
            codes::QUERY_FAILED,
            object,
            why,
            "What cannot be asked is unknown: no traffic moves before there is a baseline.",
            "Try the query in Prometheus's own page, with values in the place of the variables.",
        ),
        Outcome::Empty { unknown_names } => empty(report, object, metric, answer, unknown_names),
        Outcome::Series(points) => series(report, object, metric, answer, points),
    }
}

fn empty(
    report: &mut Report,
    object: &str,
    metric: Asked<'_>,
    answer: &Answer,
    unknown: &Result<Vec<String>, String>,
) {
    let what = match unknown {
        Ok(names) if !names.is_empty() => {
            return report.error(
                codes::QUERY_UNKNOWN_NAME,
                object,
                format!("Prometheus knows no series named {}", names.join(", ")),
                "An empty answer of such a query is never taken for a zero: the rollout waits for ever.",
                "Mend the name, or see that something exports it and Prometheus scrapes it.",
            );
        }
        Ok(_) => "the query has no result".to_owned(),
        Err(why) => format!("the query has no result, and its names could not be looked up: {why}"),
    };
    match value(metric, std::slice::from_ref(answer), answer.side, true) {
        // Traffic shows that the zero is one.
        Value::Known { assumed: false, .. } => {}
        Value::Known { .. } if answer.side == Side::Canary => report.hint(
            codes::QUERY_EMPTY,
            object,
            what,
            "It speaks of a version without traffic: the baseline is then an assumed 0.",
            "Use $(version) in the query, so that the baseline is production's own reading.",
        ),
        _ => report.warning(
            codes::QUERY_EMPTY,
            object,
            what,
            "An empty answer counts as 0 only where the version demonstrably served requests; else it is unknown and holds the rollout.",
            "See that production has traffic and that the query's labels select its series.",
        ),
    }
}

fn series(report: &mut Report, object: &str, metric: Asked<'_>, answer: &Answer, points: &[Point]) {
    if points.len() > 1 {
        let first: Vec<_> = points.iter().take(3).map(|point| point.labels.as_str()).collect();
        report.warning(
            codes::QUERY_SEVERAL_SERIES,
            object,
            format!("the query gives {} series: {}{}", points.len(), first.join(" "), if points.len() > 3 { " …" } else { "" }),
            "The worst of them counts at each check, so that one odd series decides; more than 100 are not judged at all.",
            "Aggregate: sum(…), max(…) or avg(…) around the query.",
        );
    }
    if let Some(point) = points.iter().find(|point| !point.value.is_finite()) {
        return report.warning(
            codes::QUERY_NOT_A_NUMBER,
            object,
            format!("the query answers {} {}", point.value, point.labels).trim_end(),
            "Such a reading is unknown: it holds the rollout, and is never a pass.",
            "It is mostly a division by 0: see that what it divides by has traffic.",
        );
    }
    match value(metric, std::slice::from_ref(answer), answer.side, true) {
        Value::Unknown(why) => report.warning(
            codes::QUERY_EMPTY,
            object,
            why,
            "Without a reading there is no baseline, and no traffic moves.",
            "See that production has traffic.",
        ),
        Value::Known { points, .. } => {
            if let Some(worst) = worst_of(metric.plan, &points) {
                bounds(report, object, metric, answer.side, worst.value);
            }
        }
    }
}

fn bounds(report: &mut Report, object: &str, metric: Asked<'_>, side: Side, reading: f64) {
    let why = "Such a baseline is refused: no rollout starts while what runs now is beyond the limit.";
    let remedy = "Mend what runs now, or the limit.";
    if let Some(max) = threshold::max(metric.plan).filter(|max| reading > *max) {
        let what = format!("it reads {} now, above max {}", human(reading), human(max));
        report.error(codes::LIMIT_BROKEN, object, what, why, remedy);
    }
    // A canary without traffic may well be below what it must reach with some.
    let min = threshold::min(metric.plan).filter(|_| side == Side::Production);
    if let Some(min) = min.filter(|min| reading < *min) {
        let what = format!("it reads {} now, below min {}", human(reading), human(min));
        report.error(codes::LIMIT_BROKEN, object, what, why, remedy);
    }
    let percent = threshold::deviation(metric.plan).is_some_and(|deviation| deviation.percent);
    if percent && room(metric.plan, reading).is_none() {
        report.error(
            codes::LIMIT_BROKEN,
            object,
            "it reads 0 now, and a percentage of 0 is no limit",
            "Such a baseline is refused: no rollout starts.",
            "Give minAbsolute beside deviationPercent, or deviation.",
        );
    }
}

/// Whether limits and readings seem to be in different units; says so.
fn unit(report: &mut Report, object: &str, metric: Asked<'_>, hour: &[f64]) -> bool {
    let amount = threshold::deviation(metric.plan)
        .filter(|d| !d.percent)
        .map(|d| d.amount);
    let limits = [("deviation", amount), ("max", threshold::max(metric.plan))];
    let limits = || limits.iter().filter_map(|(name, limit)| Some((*name, (*limit)?)));
    let (low, high) = hour
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
    let middle = median(hour.to_vec());
    let readings = format!("readings of the last hour are {} to {}", human(low), human(high));
    let is_share = low >= 0.0 && high <= 1.0 && hour.iter().any(|value| *value > 0.0 && *value < 1.0);
    if let Some((name, limit)) = limits().find(|(_, limit)| is_share && *limit > 1.0) {
        let what = format!("{readings}, and {name} is {}", human(limit));
        let why = "If the query gives a share from 0 to 1, no reading can ever break this limit.";
        let remedy = format!(
            "Write {} if you mean {} %, or multiply the query by 100.",
            human(limit / 100.0),
            human(limit)
        );
        if threshold::is_rate(metric.plan) {
            report.hint(codes::UNIT, object, what, why, remedy);
        } else {
            report.warning(codes::UNIT, object, what, why, remedy);
        }
        return true;
    }
    let too_small = |(name, limit): &(&str, f64)| match *name {
        "max" => *limit > 0.0 && *limit <= 1.0 && middle > 1.0,
        _ => *limit > 0.0 && *limit < 1.0 && middle > 1.0 && *limit < middle / 100.0,
    };
    if let Some((name, limit)) = limits().find(too_small) {
        report.warning(
            codes::UNIT,
            object,
            format!("{readings}, and {name} is {}", human(limit)),
            "A limit of less than a hundredth of the readings is mostly one in another unit: a share for a query in percent, \
             or seconds for one in milliseconds. Every release would be rolled back.",
            "Write the limit in the unit that the query gives, or use deviationPercent.",
        );
        return true;
    }
    false
}

fn spread(report: &mut Report, object: &str, metric: Asked<'_>, hour: &[f64]) {
    let middle = median(hour.to_vec());
    let Some(room) = room(metric.plan, middle) else {
        return;
    };
    let sigma = MAD_TO_SIGMA * median(hour.iter().map(|value| (value - middle).abs()).collect());
    let beyond = hour
        .iter()
        .filter(|value| match threshold::direction(metric.plan) {
            Direction::Increase => **value > middle + room,
            Direction::Decrease => **value < middle - room,
            Direction::Both => (**value - middle).abs() > room,
        });
    let beyond = beyond.count();
    let confirmed = threshold::failures(metric.plan) > 1;
    let far = if confirmed { FAR_IF_CONFIRMED } else { FAR };
    if room >= far * sigma && beyond * ONE_IN <= hour.len() {
        return;
    }
    report.warning(
        codes::NOISE,
        object,
        format!(
            "readings of the last hour have median {} and vary by {} (1.4826 MAD); the limit allows {}, and {beyond} of {} \
             were beyond it",
            human(middle),
            human(sigma),
            human(room),
            hour.len()
        ),
        "A healthy version reads beyond the limit by chance, and is rolled back for it.",
        format!(
            "Allow at least {}, {}.",
            human(far.max(4.0) * sigma.max(room / far)),
            if confirmed {
                "or make the query's range longer"
            } else {
                "make the query's range longer, or ask for failures: {count: 2, of: 3}"
            }
        ),
    );
}
