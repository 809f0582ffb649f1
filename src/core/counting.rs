//! Sequential metrics in the life of a rollout: what is counted between two checks, and what the evidence says of it.
//! The mathematics is `sequential`'s; asking is the shell's.

mod ask;
pub mod past;
mod read;
mod sight;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::Span;
use crate::api::evidence::{Alarm, Counted, Counts, Evidence};
use crate::api::plan::{MetricPlan, Plan, SequentialPlan, TestPlan};
use crate::api::spec::Advance;
use crate::api::status::{Baseline, BaselineSource, MetricStatus, Reading, Rollout, Verdict};

use super::observation::{Check, SampleAnswer, Side};
use super::sequential::counters::{self, Observed, Unknown, Window};
use super::sequential::counts::Stratum;
use super::sequential::design::Design;
use super::sequential::dispersion::dispersion;
use super::sequential::evidence::together;
use super::sequential::expected::expected;
use super::sequential::policy::{self, budget, metrics};

pub(super) use ask::samples_of_check;
pub(super) use sight::{Learnt, foresee, learn, tell_sight};
pub(crate) use words::{log, share};

/// Checks at the limit that must follow the first where canary and production are scraped at different instants, so that
/// a fault of both shows on one side first.
const CONFIRMATIONS: u32 = 2;

/// How long production is counted before the rollout, to learn how clumpy its errors are.
const HISTORY: Span = Span::secs(600);

/// What is told apart in that time.
const MINUTE: Span = Span::secs(60);

/// Whether the evidence gathered under one plan counts under another: what is counted, by what test and of which server is
/// the same. What is declared as a fault is no part of the test.
pub(super) fn goes_on(before: &Plan, after: &Plan) -> bool {
    let tests = |plan: &Plan| {
        let test = |(metric, test): (&MetricPlan, &SequentialPlan)| {
            let test = SequentialPlan {
                fault: 0.0,
                ..test.clone()
            };
            (metric.name.clone(), test)
        };
        // Their order says nothing.
        (
            metrics(plan).map(test).collect::<BTreeMap<_, _>>(),
            plan.prometheus.clone(),
        )
    };
    tests(before) == tests(after)
}

/// Learns from production, before any traffic moves, what the test of a metric needs to know, and fixes the test.
///
/// # Errors
/// Why production cannot be counted.
pub(super) fn begin(
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
    let minutes = minutes(&series, read::part(test), judged, check.scrape)?;
    let all = minutes
        .iter()
        .flatten()
        .fold(Counts::default(), |all, one| all.plus(*one));
    let phi = dispersion(&minutes).map_err(|error| error.to_string())?;
    let design = design(plan, test, phi.map_or(1.0, |found| found.phi))?;
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

fn design(plan: &Plan, test: &SequentialPlan, phi: f64) -> Result<Design, String> {
    // At 100 % there is nothing to compare with: a component of its own would only take weight from the others.
    let compared = plan.steps.iter().filter(|step| step.weight < 100).count();
    Design::new(test.tolerance, budget(plan), phi, compared.max(1))
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

/// A weight was confirmed: what happens from now on is counted for the new step, and the time of the change not at all.
pub(super) fn new_step(rollout: &mut Rollout) {
    for counted in rollout.metrics.iter_mut().filter_map(|m| m.counted.as_mut()) {
        counted.judged = None;
        (counted.step_canary, counted.step_production) = (Counts::default(), Counts::default());
    }
}

/// A person lets an unhealthy canary go on: the evidence against it is theirs to overrule, and gathers anew.
pub(super) fn forget(rollout: &mut Rollout) {
    rollout.alarm = Alarm::default();
    for counted in rollout.metrics.iter_mut().filter_map(|m| m.counted.as_mut()) {
        counted.evidence = Evidence::default();
    }
    new_step(rollout);
}

/// What is counted lies ahead of a clock that was set back: it would be counted again, and so the evidence gathers anew.
pub(super) fn set_back(rollout: &mut Rollout, now: Timestamp) {
    let mut counted = rollout.metrics.iter().filter_map(|m| m.counted.as_ref());
    if counted.any(|counted| counted.judged.is_some_and(|judged| judged > now)) {
        forget(rollout);
        for counted in rollout.metrics.iter_mut().filter_map(|m| m.counted.as_mut()) {
            counted.judged = Some(now);
        }
    }
}

/// Whether requests to both versions were counted since the last change of weight, so that a check says something of this
/// step. At 100 % production has none.
pub(super) fn has_looked(rollout: &Rollout) -> bool {
    let alone = rollout.confirmed == 100;
    let mut counted = rollout.metrics.iter().filter_map(|m| m.counted.as_ref());
    counted.all(|counted| counted.judged.is_some() && (alone || is_compared(counted)))
}

/// Whether both versions had requests in this step.
pub(super) fn is_compared(counted: &Counted) -> bool {
    counted.step_canary.requests > 0.0 && counted.step_production.requests > 0.0
}

/// The reading of a metric that has not been counted yet.
pub(super) fn pending(at: Timestamp) -> Reading {
    reading(None, None, "nothing was counted".to_owned(), at)
}

fn reading(value: Option<f64>, compared_with: Option<f64>, message: String, at: Timestamp) -> Reading {
    Reading {
        value,
        compared_with,
        upper: None,
        lower: None,
        message,
        at,
    }
}

/// Takes the samples of a check into the evidence, and writes what they say into `readings`, one for each metric of the
/// plan in its order.
pub(super) fn take_in(rollout: &mut Rollout, check: &Check, readings: &mut [(Reading, Verdict)]) {
    let (mut told, mut confirmations) = (false, 0);
    let mut evidence: Vec<Weight> = Vec::new();
    let here = Here {
        step: usize::try_from(rollout.step.saturating_sub(1)).unwrap_or(usize::MAX),
        alone: rollout.confirmed == 100,
        check,
    };
    for (i, metric) in rollout.plan.metrics.iter().enumerate() {
        let TestPlan::Sequential(test) = &metric.test else {
            continue;
        };
        let status = super::verdict::entry(&mut rollout.metrics, &metric.name);
        let Some(counted) = &mut status.counted else {
            readings[i] = begin_late(&rollout.plan, metric, status, check);
            // Nothing is known against it, and its share of the budget stays its own.
            evidence.push(Weight {
                share: policy::share(&rollout.plan),
                ..Weight::default()
            });
            continue;
        };
        let news = here.count(&metric.name, test, counted);
        told |= news == Ok(true);
        readings[i] = match news {
            Ok(_) => {
                let message = words::metric(&metric.name, test, counted, here.alone);
                let (canary, production) = (counted.evidence.canary, counted.evidence.production);
                let reading = reading(canary.share(), production.share(), message, check.asked_at);
                (reading, Verdict::Good)
            }
            Err(why) => (reading(None, None, why, check.asked_at), Verdict::Unknown),
        };
        if !seen_together(counted.reporter.as_deref()) {
            confirmations = CONFIRMATIONS;
        }
        evidence.push(Weight {
            metric: i,
            share: counted.share,
            log: words::log(counted),
            is_known: readings[i].1 != Verdict::Unknown,
        });
    }
    let shares: Vec<(f64, f64)> = evidence.iter().map(|one| (one.share, one.log)).collect();
    // Without a metric that counts there is nothing to share a budget.
    let Ok(log) = together(&shares) else { return };
    let limit = -budget(&rollout.plan).ln();
    let unhealthy = rollout.alarm.note(log, told, limit, confirmations);
    // What is unknown now stays so, whatever was known before.
    let known = evidence.iter().filter(|one| one.is_known);
    let worst = known.max_by(|a, b| (a.share.ln() + a.log).total_cmp(&(b.share.ln() + b.log)));
    if let Some(worst) = worst.filter(|_| rollout.alarm.streak > 0) {
        readings[worst.metric].1 = if unhealthy {
            Verdict::Unhealthy
        } else {
            Verdict::Bad
        };
    }
}

/// What one metric has against the canary.
#[derive(Default)]
struct Weight {
    /// Its place in the plan.
    metric: usize,
    /// Its share of the budget.
    share: f64,
    /// Its log evidence.
    log: f64,
    /// Whether this check said something of it.
    is_known: bool,
}

/// A test that a person changed while traffic is on the canary: it begins here, and nothing before is evidence.
fn begin_late(
    plan: &Plan,
    metric: &MetricPlan,
    status: &mut MetricStatus,
    check: &Check,
) -> (Reading, Verdict) {
    let begun = begin(plan, metric, status, check);
    if let (Some(counted), Some(answer)) = (&mut status.counted, of_metric(check, &metric.name).first()) {
        counted.judged = Some(answer.at);
    }
    let message = begun.map_or_else(|why| why, |()| "counting begins".to_owned());
    (reading(None, None, message, check.asked_at), Verdict::Unknown)
}

/// Where in the rollout a check was made.
struct Here<'a> {
    /// The step's place among the steps, from 0.
    step: usize,
    /// Production has no traffic.
    alone: bool,
    check: &'a Check,
}

impl Here<'_> {
    /// Counts what happened since the last check. `Ok(true)`: canary and production could be compared.
    fn count(&self, name: &str, test: &SequentialPlan, counted: &mut Counted) -> Result<bool, String> {
        let Self { step, alone, check } = *self;
        let answers = of_metric(check, name);
        let Some((from, at)) = answers.first().map(|answer| (answer.from, answer.at)) else {
            return Ok(false);
        };
        // Nothing counts twice.
        let Some(window) = Window::new(from, at, check.scrape.std())
            .filter(|_| counted.judged.is_none_or(|judged| from >= judged))
        else {
            return Ok(false);
        };
        let mut source = read::Source::of(counted);
        if source.bound.is_none() {
            source.bound = read::common_bound(test, &answers)?;
        }
        let mut series = read::series(test, &answers, &source)?;
        if counted.judged.is_none() {
            // What a scrape shows of before the change of weight belongs to neither step.
            for one in &mut series {
                one.samples.retain(|sample| sample.at >= from);
            }
        }
        match counters::observe(&series, read::part(test), &window) {
            Ok(observed) => {
                counted.bound = source.bound;
                add(counted, step, &observed, at)
            }
            Err(unknown) if alone && unknown.iter().all(of_production) => {
                counted.judged = Some(at);
                Ok(false)
            }
            Err(unknown) => {
                // What cannot be known any more is left out, and counting goes on from here.
                if unknown.iter().any(|why| matches!(why, Unknown::NoHistory(_))) {
                    counted.judged = Some(at);
                }
                if unknown.contains(&Unknown::NoGood(Side::Canary)) {
                    counted.bound = None;
                }
                Err(words::unknown(&unknown))
            }
        }
    }
}

fn add(counted: &mut Counted, step: usize, observed: &[Observed], at: Timestamp) -> Result<bool, String> {
    let all = counters::pooled(observed);
    let strata = if seen_together(counted.reporter.as_deref()) {
        counters::by_target(observed)
    } else {
        vec![all]
    };
    let design = Design::try_from(counted.design.clone()).map_err(|error| error.to_string())?;
    let told = counted
        .evidence
        .add(&design, step, &strata)
        .map_err(|error| error.to_string())?;
    counted.step_canary = counted.step_canary.plus(all.canary);
    counted.step_production = counted.step_production.plus(all.production);
    counted.judged = Some(at);
    Ok(told)
}

const fn of_production(why: &Unknown) -> bool {
    matches!(
        why,
        Unknown::NoTotal(Side::Production)
            | Unknown::NoGood(Side::Production)
            | Unknown::NoHistory(Side::Production)
    )
}

/// Whether one exporter sees both versions, so that a fault of both shows on both at once.
fn seen_together(reporter: Option<&str>) -> bool {
    matches!(reporter, Some("source" | "waypoint"))
}

fn of_metric<'a>(check: &'a Check, name: &str) -> Vec<&'a SampleAnswer> {
    check
        .samples
        .iter()
        .filter(|answer| answer.metric == name)
        .collect()
}

/// With `advance: evidence`: what a step still lacks to have shown a fault of the declared size; none where it lacks nothing.
pub(super) fn lacks(rollout: &Rollout) -> Option<String> {
    if rollout.plan.advance != Advance::Evidence || matches!(rollout.confirmed, 0 | 100) {
        return None;
    }
    let lacking = metrics(&rollout.plan).filter_map(|(metric, test)| {
        let status = rollout.metrics.iter().find(|m| m.name == metric.name)?;
        let counted = status.counted.as_ref()?;
        let needed = policy::of(&rollout.plan, test).needed();
        let step = Stratum {
            canary: counted.step_canary,
            production: counted.step_production,
        };
        let fault = Stratum {
            canary: Counts {
                bad: step.canary.requests * test.fault,
                ..step.canary
            },
            ..step
        };
        let design = &counted.design;
        let gathered = expected(&fault, design.tolerance, design.at_least, design.dispersion);
        (gathered < needed).then(|| words::lacking(&metric.name, test, step, gathered / needed))
    });
    lacking.into_iter().next()
}
