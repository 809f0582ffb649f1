//! What is learned from production before any weight moves, and fixes the test of a metric.

use jiff::Timestamp;

use crate::api::Span;
use crate::api::evidence::{Counted, Counts, Evidence};
use crate::api::plan::{MetricPlan, Plan, SequentialPlan, TestPlan};
use crate::api::status::{Baseline, BaselineSource, MetricStatus};

use super::{of_metric, read, words};
use crate::core::observation::{Check, SampleAnswer};
use crate::core::sequential::counters::{self, Window};
use crate::core::sequential::design::Design;
use crate::core::sequential::dispersion::dispersion;
use crate::core::sequential::policy::{self, budget};

/// How long production is counted before the rollout, to learn how clumpy its errors are.
pub(super) const HISTORY: Span = Span::secs(600);

/// What is told apart in that time.
const MINUTE: Span = Span::secs(60);

/// Learns from production, before any traffic moves, what the test of a metric needs to know, and fixes the test.
///
/// # Errors
/// Why production cannot be counted.
pub(in crate::core) fn begin(
    plan: &Plan,
    metric: &MetricPlan,
    status: &mut MetricStatus,
    check: &Check,
) -> Result<(), String> {
    let TestPlan::Sequential(test) = &metric.test else {
        return Ok(());
    };
    let answers = of_metric(check, &metric.name);
    let source = read::source(test, &answers)?;
    let series = read::series(test, &answers, &source)?;
    let judged = answers
        .first()
        .map(|answer| answer.at)
        .ok_or("nothing was asked")?;
    often_enough(&series, check.scrape)?;
    let minutes = minutes(&series, read::part(test), judged, check.scrape)?;
    let all = minutes
        .iter()
        .flatten()
        .fold(Counts::default(), |all, one| all.plus(*one));
    let phi = clumps(test, &answers, &source, judged, check.scrape)?;
    let design = design(plan, test, phi.unwrap_or(1.0))?;
    #[expect(clippy::cast_precision_loss, reason = "ten minutes")]
    let seconds = minutes.len() as f64 * MINUTE.as_secs_f64();
    status.counted = Some(Counted {
        reporter: source.reporter,
        bound: source.bound,
        design: design.into(),
        share: policy::share(plan),
        evidence: Evidence::default(),
        judged: None,
        step_canary: Counts::default(),
        step_production: Counts::default(),
        requests_per_second: all.requests / seconds,
    });
    status.baseline = Some(Baseline {
        value: all.share().unwrap_or(0.0),
        spread: 0.0,
        samples: 1,
        source: BaselineSource::Measured,
        at: check.asked_at,
    });
    status.last = None;
    Ok(())
}

/// phi of production's pods, whoever else counts their requests: callers that fare differently make no clumps, and a gateway
/// of its own shows none. None where nobody knows: one pod, no bad requests, or none that report for themselves.
fn clumps(
    test: &SequentialPlan,
    answers: &[&SampleAnswer],
    source: &read::Source,
    judged: Timestamp,
    scrape: Span,
) -> Result<Option<f64>, String> {
    let series = read::series(test, answers, &read::of_pods(test, source))?;
    let Ok(minutes) = minutes(&series, read::part(test), judged, scrape) else {
        return Ok(None);
    };
    let found = dispersion(&minutes).map_err(|error| error.to_string())?;
    Ok(found.map(|found| found.phi))
}

/// Refuses series that are scraped more seldom than the operator is told: their differences would all be gaps.
fn often_enough(series: &[counters::Series], scrape: Span) -> Result<(), String> {
    let Some(every) = counters::spacing(series).filter(|every| *every > scrape.std() * 3 / 2) else {
        return Ok(());
    };
    let every = Span::millis(i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
    Err(format!(
        "production is scraped every {every}, and the operator is told of {scrape}: let scrapeInterval (a value of the chart) be {every}"
    ))
}

fn design(plan: &Plan, test: &SequentialPlan, phi: f64) -> Result<Design, String> {
    // At 100 % there is nothing to compare with: a component of its own would only take weight from the others.
    let components = policy::compared(plan).div_ceil(policy::steps_of_component(plan));
    Design::new(test.tolerance, budget(plan), phi, components.max(1))
        .and_then(|design| design.at_least(test.at_least))
        .map_err(|error| error.to_string())
}

/// What each of production's targets did in each of the last minutes that can be counted.
fn minutes(
    series: &[counters::Series],
    part: counters::Part,
    judged: Timestamp,
    scrape: Span,
) -> Result<Vec<Vec<Counts>>, String> {
    let (mut minutes, mut why) = (Vec::new(), None);
    let mut end = judged;
    while Span::between(end, judged) < HISTORY {
        let start = end.saturating_sub(MINUTE.signed()).unwrap_or(end);
        let Some(window) = Window::new(start, end, scrape.std()) else {
            break;
        };
        match counters::production(series, part, &window) {
            Ok(targets) => minutes.push(targets),
            Err(unknown) => {
                why = Some(words::unknown(&unknown));
                break;
            }
        }
        end = start;
    }
    match why {
        Some(why) if minutes.is_empty() => Err(why),
        _ => Ok(minutes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::observation::{CheckId, SampleSeries, Side};

    const SCRAPE: i64 = 15;

    fn at(scrapes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + SCRAPE * scrapes).unwrap()
    }

    /// Requests of one pod: so many good and bad ones in each scrape of ten minutes and a little.
    fn pod(reporter: &str, pod: &str, good: f64, bad: f64) -> Vec<SampleSeries> {
        let series = |code: &str, per_scrape: f64| {
            let labels = [("reporter", reporter), ("pod", pod), ("response_code", code)];
            let value = |n: i64| (at(n), f64::from(i32::try_from(n + 60).unwrap()) * per_scrape);
            SampleSeries {
                labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
                samples: (-50..=0).map(value).collect(),
            }
        };
        vec![series("200", good), series("500", bad)]
    }

    fn begun(series: &[Vec<SampleSeries>]) -> Counted {
        let spec = serde_json::from_value(serde_json::json!({"service": "shop"})).unwrap();
        let plan = crate::core::plan::resolve(&spec).unwrap();
        let metric = plan.metrics[0].clone();
        let check = Check {
            id: CheckId {
                rollout: String::new(),
                step: 0,
                plan: Plan::default(),
            },
            asked_at: at(1),
            answers: Vec::new(),
            samples: vec![SampleAnswer {
                metric: metric.name.clone(),
                side: Side::Production,
                counted: None,
                from: at(-40),
                at: at(0),
                unknown_names: Ok(Vec::new()),
                outcome: Ok(series.concat().into()),
            }],
            scrape: Span::secs(15),
        };
        let mut status = MetricStatus::default();
        begin(&plan, &metric, &mut status, &check).unwrap();
        status.counted.unwrap()
    }

    #[test]
    fn clumps_are_those_of_productions_pods_whoever_else_counts_their_requests() {
        // Of the callers one fails twenty times as often as the other; the pods are as good as each other.
        let callers = || {
            vec![
                pod("source", "web", 999.0, 1.0),
                pod("source", "cron", 980.0, 20.0),
            ]
        };
        let pods = |bad: [f64; 2]| {
            [("a", bad[0]), ("b", bad[1])].map(|(name, bad)| pod("destination", name, 990.0, bad))
        };
        let even = begun(&[callers(), pods([10.0, 11.0]).into()].concat());
        assert_eq!(even.reporter.as_deref(), Some("source"));
        assert!(even.design.dispersion < 1.2, "{even:?}");
        let clumped = begun(&[callers(), pods([1.0, 20.0]).into()].concat());
        assert!(clumped.design.dispersion > 5.0, "{clumped:?}");
        // Nobody knows: pods that do not report for themselves.
        let unknown = begun(&callers());
        assert!((unknown.design.dispersion - 1.0).abs() < 1e-12, "{unknown:?}");
    }
}
