//! How much each metric moves by itself: a deviation within its noise cries wolf, one far beyond it sees nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::plan::{MetricPlan, SequentialPlan, TestPlan, ThresholdPlan};
use crate::core::sequential::counts::Counts;
use crate::core::sequential::dispersion::dispersion;

use super::history::{CounterHistory, History, QueryHistory, Target};

/// Makes the median absolute deviation of normal noise its standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// A picture has no more points than this.
const MOST_POINTS: usize = 480;
/// What production's pods are compared by, milliseconds.
const MINUTE: i64 = 60_000;
/// More minutes than this say no more about how clumpy errors are.
const MOST_MINUTES: i64 = 2880;

/// The noise of one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Noise {
    /// The metric.
    pub metric: String,
    /// `threshold` or `sequential`.
    pub test: &'static str,
    /// How many readings there are: answers of the query, or minutes that were counted.
    pub readings: usize,
    /// The median reading, in the unit of the query; of a counted metric the bad share of a minute, 0 to 1.
    pub median: f64,
    /// 1.4826 times the median absolute deviation from it: for normal noise, its standard deviation.
    pub spread: f64,
    /// The reading that 99 of 100 stay within of the median, as a distance.
    pub far: f64,
    /// How far a reading may be from the median, in the unit of the query; null where only fixed limits count.
    pub allowed: Option<f64>,
    /// `allowed` in spreads: below 3 it cries wolf. Null without either.
    pub allowed_in_spreads: Option<f64>,
    /// The part of all readings that are further from the median than allowed, 0 to 1.
    pub beyond: Option<f64>,
    /// How much clumpier than independent failures bad requests are in production's pods, 1 or more; null for a query, and
    /// where the pods do not report for themselves.
    pub dispersion: Option<f64>,
    /// Time since the beginning in hours and the median reading about then.
    pub over_time: Vec<(f64, f64)>,
}

/// The noise of every metric of a plan whose past is known.
#[must_use]
pub fn noise(metrics: &[MetricPlan], history: &History) -> Vec<Noise> {
    let of = |metric: &MetricPlan| match &metric.test {
        TestPlan::Threshold(test) => of_query(&metric.name, test, history.query_of(test)?, history),
        TestPlan::Sequential(test) => {
            of_counters(&metric.name, test, history.counters_of(&test.counters)?, history)
        }
    };
    metrics.iter().filter_map(of).collect()
}

fn of_query(name: &str, test: &ThresholdPlan, query: &QueryHistory, history: &History) -> Option<Noise> {
    // The worst series is judged; which that is follows from the direction, and for noise the largest will do.
    let series = query.series.iter().max_by_key(|points| points.at.len())?;
    let points: Vec<(i64, f64)> = series
        .at
        .iter()
        .copied()
        .zip(series.value.iter().copied())
        .filter(|(_, value)| value.is_finite())
        .collect();
    let allowed = |median: f64| {
        test.deviation.map(|deviation| {
            let amount = if deviation.percent {
                deviation.amount / 100.0 * median.abs()
            } else {
                deviation.amount
            };
            amount.max(deviation.min_absolute.unwrap_or(0.0))
        })
    };
    Some(summed_up(name, "threshold", &points, allowed, None, history))
}

fn of_counters(
    name: &str,
    _: &SequentialPlan,
    counters: &CounterHistory,
    history: &History,
) -> Option<Noise> {
    let counted = minutes(&counters.targets, history);
    let points: Vec<(i64, f64)> = counted
        .iter()
        .filter_map(|(at, pods)| {
            let all = pods.iter().fold(Counts::default(), |all, one| all.plus(*one));
            Some((*at, all.share()?))
        })
        .collect();
    if points.is_empty() {
        return None;
    }
    let pods = minutes(counters.own(), history);
    let last = usize::try_from(MOST_MINUTES).unwrap_or(usize::MAX);
    let skipped = pods.len().saturating_sub(last);
    let recent: Vec<Vec<Counts>> = pods.into_iter().skip(skipped).map(|(_, pods)| pods).collect();
    let phi = dispersion(&recent).ok().flatten().map(|found| found.phi);
    Some(summed_up(name, "sequential", &points, |_| None, phi, history))
}

/// What each target counted in each minute (or scrape, where those are longer) that has any request.
fn minutes(targets: &BTreeMap<String, Target>, history: &History) -> Vec<(i64, Vec<Counts>)> {
    let scrape = i64::try_from(history.scrape.std().as_millis()).unwrap_or(MINUTE);
    let width = MINUTE.max(scrape);
    let mut all: BTreeMap<i64, Vec<Counts>> = BTreeMap::new();
    for (pod, target) in targets.values().enumerate() {
        for (i, at) in target.at.iter().enumerate() {
            let pods = all.entry(at.div_euclid(width) * width).or_default();
            if pods.len() <= pod {
                pods.resize(pod + 1, Counts::default());
            }
            if let (Some(sum), Some(requests), Some(bad)) =
                (pods.get_mut(pod), target.requests.get(i), target.bad.get(i))
            {
                sum.requests += requests;
                sum.bad += bad;
            }
        }
    }
    all.into_iter().collect()
}

fn summed_up(
    metric: &str,
    test: &'static str,
    points: &[(i64, f64)],
    allowed: impl Fn(f64) -> Option<f64>,
    dispersion: Option<f64>,
    history: &History,
) -> Noise {
    let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    let median = quantile(values.clone(), 0.5);
    let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    let spread = MAD_TO_SIGMA * quantile(distances.clone(), 0.5);
    let allowed = allowed(median);
    let beyond = allowed.map(|allowed| {
        let beyond = distances.iter().filter(|distance| **distance > allowed).count();
        part(beyond, distances.len())
    });
    Noise {
        metric: metric.to_owned(),
        test,
        readings: values.len(),
        median,
        spread,
        far: quantile(distances, 0.99),
        allowed,
        allowed_in_spreads: allowed.filter(|_| spread > 0.0).map(|allowed| allowed / spread),
        beyond,
        dispersion,
        over_time: over_time(points, history),
    }
}

/// Medians of as many stretches as a picture has room for.
fn over_time(points: &[(i64, f64)], history: &History) -> Vec<(f64, f64)> {
    let from = history.from.as_millisecond();
    let size = points.len().div_ceil(MOST_POINTS).max(1);
    let hours = |millis: i64| {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some weeks")]
        let millis = (millis - from) as f64;
        millis / 3_600_000.0
    };
    points
        .chunks(size)
        .filter_map(|chunk| {
            let (at, _) = chunk.get(chunk.len() / 2)?;
            let values = chunk.iter().map(|(_, value)| *value).collect();
            Some((hours(*at), quantile(values, 0.5)))
        })
        .collect()
}

fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index below the number of values"
    )]
    let index = (values.len() as f64 * part) as usize;
    let index = index.min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of readings")]
fn part(count: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}
