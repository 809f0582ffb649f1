//! What a check adds to the evidence, and what the evidence then says of the canary.

use jiff::Timestamp;

use crate::api::Span;
use crate::api::evidence::Counted;
use crate::api::plan::{MetricPlan, Plan, SequentialPlan, TestPlan};
use crate::api::status::{MetricStatus, Reading, Rollout, Verdict};

use super::{CONFIRMATIONS, begin, of_metric, read, seen_together, words};
use crate::core::observation::{Check, Side};
use crate::core::sequential::counters::{self, Observed, Unknown, Window};
use crate::core::sequential::design::Design;
use crate::core::sequential::evidence::together;
use crate::core::sequential::policy::{self, budget};
use crate::core::verdict;

/// Where this many requests are due, one of them is there: that there is none has another reason.
const FEW: f64 = 20.0;

/// The reading of a metric that has not been counted yet.
pub(in crate::core) fn pending(at: Timestamp) -> Reading {
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
pub(in crate::core) fn take_in(rollout: &mut Rollout, check: &Check, readings: &mut [(Reading, Verdict)]) {
    let mut confirmations = 0;
    let mut all: Vec<Said> = Vec::new();
    let step = usize::try_from(rollout.step.saturating_sub(1)).unwrap_or(usize::MAX);
    let here = Here {
        component: step / policy::steps_of_component(&rollout.plan),
        weight: rollout.confirmed,
        alone: rollout.confirmed == 100,
        since: rollout.confirmed_at.unwrap_or(rollout.started),
        check,
    };
    for (i, metric) in rollout.plan.metrics.iter().enumerate() {
        let TestPlan::Sequential(test) = &metric.test else {
            continue;
        };
        let status = verdict::entry(&mut rollout.metrics, &metric.name);
        let Some(counted) = &mut status.counted else {
            readings[i] = begin_late(&rollout.plan, metric, status, check);
            // Nothing is known against it, and its share of the budget stays its own.
            all.push(Said::nothing(i, policy::share(&rollout.plan)));
            continue;
        };
        let news = here.count(&metric.name, test, counted);
        if !seen_together(counted.reporter.as_deref()) {
            confirmations = CONFIRMATIONS;
        }
        all.push(Said {
            metric: i,
            share: counted.share,
            log: words::log(counted),
            is_news: news == Ok(true),
        });
        readings[i] = match news {
            Ok(_) => {
                let message = words::metric(&metric.name, test, counted, here.alone);
                let (canary, production) = (counted.evidence.canary, counted.evidence.production);
                let reading = reading(canary.share(), production.share(), message, check.asked_at);
                (reading, Verdict::Good)
            }
            Err(why) => (reading(None, None, why, check.asked_at), Verdict::Unknown),
        };
    }
    judge(rollout, &all, confirmations, readings);
}

/// What one metric has against the canary.
struct Said {
    /// Its place in the plan.
    metric: usize,
    /// Its share of the budget.
    share: f64,
    /// Its log evidence.
    log: f64,
    /// Whether this check told something of it.
    is_news: bool,
}

impl Said {
    const fn nothing(metric: usize, share: f64) -> Self {
        Self {
            metric,
            share,
            log: 0.0,
            is_news: false,
        }
    }

    /// Its part of the evidence of all, as a logarithm.
    fn part(&self) -> f64 {
        self.share.ln() + self.log
    }
}

/// Holds the evidence of all to the limit. What is at it is the doing of the metric that has most against the canary: what is
/// unknown of that one now stays so, whatever is known of the others.
fn judge(rollout: &mut Rollout, all: &[Said], confirmations: u32, readings: &mut [(Reading, Verdict)]) {
    let Some(worst) = all.iter().max_by(|a, b| a.part().total_cmp(&b.part())) else {
        return;
    };
    let shares: Vec<(f64, f64)> = all.iter().map(|one| (one.share, one.log)).collect();
    let log = match together(&shares) {
        Ok(log) => log,
        Err(error) => {
            for one in all {
                let (reading, verdict) = &mut readings[one.metric];
                (reading.message, *verdict) = (error.to_string(), Verdict::Unknown);
            }
            return;
        }
    };
    let limit = -budget(&rollout.plan).ln();
    let news = all.iter().filter(|one| one.is_news);
    // Confirmations wait for the other side of a shared fault to show, and it shows in the metrics that are at the limit.
    let confirms = news.clone().map(|one| one.part().exp()).sum::<f64>().ln() >= limit;
    let tells = news.count() > 0 && (log < limit || confirms);
    let unhealthy = rollout.alarm.note(log, tells, limit, confirmations);
    let (_, verdict) = &mut readings[worst.metric];
    if rollout.alarm.streak > 0 && *verdict != Verdict::Unknown {
        *verdict = if unhealthy {
            Verdict::Unhealthy
        } else {
            Verdict::Bad
        };
    }
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
    /// Which component of the evidence the step has a part in, from 0.
    component: usize,
    /// The canary's, in percent.
    weight: u8,
    /// Production has no traffic.
    alone: bool,
    /// Since when the weight is what it is.
    since: Timestamp,
    check: &'a Check,
}

impl Here<'_> {
    /// Counts what happened since the last check. `Ok(true)`: canary and production could be compared.
    fn count(&self, name: &str, test: &SequentialPlan, counted: &mut Counted) -> Result<bool, String> {
        let Self {
            component,
            alone,
            since,
            check,
            ..
        } = *self;
        let answers = of_metric(check, name);
        let Some((from, at)) = answers.first().map(|answer| (answer.from, answer.at)) else {
            return Ok(false);
        };
        // Nothing counts twice, and nothing that was asked of another weight.
        let Some(window) =
            Window::new(from, at, check.scrape.std()).filter(|_| from >= counted.judged.unwrap_or(since))
        else {
            return Ok(false);
        };
        let mut source = read::Source::of(counted);
        if source.bound.is_none() {
            source.bound = read::common_bound(test, &answers)?;
        }
        let mut series = read::series(test, &answers, &source)?;
        // Counted now, what one version's scrape shows would be compared with nothing, and be lost.
        if counters::is_awaited(&series, &window) {
            return Ok(false);
        }
        if counted.judged.is_none() {
            // What a scrape shows of before the change of weight belongs to neither step.
            for one in &mut series {
                one.samples.retain(|sample| sample.at >= from);
            }
        }
        match counters::observe(&series, read::part(test), &window) {
            Ok(observed) => {
                counted.bound = source.bound;
                add(counted, component, &observed, at)
            }
            Err(unknown) if alone && unknown.iter().all(of_production) => {
                counted.judged = Some(at);
                Ok(false)
            }
            // Istio's series begin with a first request, and a step without any is not passed.
            Err(unknown)
                if read::is_istios(test)
                    && unknown == [Unknown::NoTotal(Side::Canary)]
                    && self.may_be_unasked(counted, at) =>
            {
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

    /// Whether no request of the canary was counted yet, and with production's traffic of before so few were due by now that there may
    /// have been none.
    fn may_be_unasked(&self, counted: &Counted, at: Timestamp) -> bool {
        let was_seen = counted.evidence.canary.requests > 0.0 || counted.step_canary.requests > 0.0;
        let seconds = Span::between(self.since, at).std().as_secs_f64();
        let due = counted.requests_per_second * f64::from(self.weight) / 100.0 * seconds;
        !self.alone && !was_seen && due < FEW
    }
}

fn add(
    counted: &mut Counted,
    component: usize,
    observed: &[Observed],
    at: Timestamp,
) -> Result<bool, String> {
    let all = counters::pooled(observed);
    let strata = if seen_together(counted.reporter.as_deref()) {
        counters::by_target(observed)
    } else {
        vec![all]
    };
    let design = Design::try_from(counted.design.clone()).map_err(|error| error.to_string())?;
    let told = counted
        .evidence
        .add(&design, component, &strata)
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
