//! From metrics to questions: which queries a check asks, of which version, and how long after a change of
//! weight their answers speak of that weight alone.

use crate::api::Span;
use crate::api::plan::{MetricPlan, Plan, TestPlan, ThresholdPlan};
use crate::api::spec::{CompareTo, Settle};
use crate::api::status::Rollout;

use super::observation::{ObjectName, Question, Settings, Side};
use super::preset;
use super::query::{self, QueryError, Template, TemplateError, Values};

/// Why a query of a spec cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A variable that does not exist, or a loose `$(`.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Not `PromQL`, or not a number.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A moment that never moves.
    #[error("the query has a fixed @ time: it would show the same moment at every check; remove it")]
    FixedTime,
    /// A selector of counters that is asked of no version.
    #[error("must name the version it is asked of: use $(version) in it")]
    NoVersion,
}

/// Some values, where it does not matter which.
const ANY: Values<'static> = Values {
    service: "service",
    namespace: "namespace",
    version: "version",
    production: "production",
    canary: "canary",
    window: std::time::Duration::from_mins(1),
};

/// Whether a query can be used: its variables exist, it is `PromQL`, its value is a number and moves.
///
/// # Errors
/// Says what is wrong with it.
pub fn check(text: &str) -> Result<(), QuestionError> {
    let facts = query::analyse(&Template::parse(text)?.expand(&ANY))?;
    if facts.fixed_time {
        Err(QuestionError::FixedTime)
    } else {
        Ok(())
    }
}

/// Whether a selector of counters can be used: its variables exist, `$(version)` is among them, and it is a selector of
/// one metric and nothing else.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_selector(text: &str) -> Result<(), QuestionError> {
    let template = Template::parse(text)?;
    query::selector(&template.expand(&ANY))?;
    if template.uses_version() {
        Ok(())
    } else {
        Err(QuestionError::NoVersion)
    }
}

/// Whether an empty result of the query is no 0, because it measures something rather than counts it.
#[must_use]
pub fn is_a_measure(text: &str) -> bool {
    let template = Template::parse(text).ok();
    template
        .is_some_and(|template| query::analyse(&template.expand(&ANY)).is_ok_and(|facts| facts.is_a_measure))
}

/// Whether the query names the version it is asked of, and so can be asked of production too.
#[must_use]
pub fn uses_version(text: &str) -> bool {
    Template::parse(text).is_ok_and(|t| t.uses_version())
}

/// Why a metric's readings of the two versions cannot be compared, for people: canary and production get different
/// shares of the traffic, and the query grows with it.
#[must_use]
pub fn grows_across_versions(metric: &MetricPlan) -> Option<String> {
    let TestPlan::Threshold(test) = &metric.test else {
        return None;
    };
    let compared = uses_version(&test.query) && test.deviation.is_some() && !test.per_request;
    let grows = || query::analyse(&Template::parse(&test.query).ok()?.expand(&ANY)).ok();
    (compared && grows()?.grows_with_traffic).then(|| {
        format!(
            "metric {}: its query grows with traffic, and canary and production get different shares of it: add per: \
             request, or divide by all requests",
            metric.name
        )
    })
}

/// The questions of one check. Before any weight moved (`baseline`) a query with `$(version)` is asked of
/// production; afterwards of the canary, and of production besides where it is compared with it.
#[must_use]
pub fn of_check(name: &ObjectName, rollout: &Rollout, settings: &Settings, baseline: bool) -> Vec<Question> {
    let mut questions = Vec::new();
    for metric in &rollout.plan.metrics {
        let TestPlan::Threshold(test) = &metric.test else {
            continue;
        };
        let ask = |side| question(name, rollout, settings, (&metric.name, test), side);
        let both = uses_version(&test.query);
        if !(baseline && both) {
            questions.extend(ask(Side::Canary));
        }
        let compared = test.compare_to == CompareTo::Production && rollout.confirmed < 100;
        if both && (baseline || compared) {
            questions.extend(ask(Side::Production));
        }
    }
    questions
}

fn question(
    name: &ObjectName,
    rollout: &Rollout,
    settings: &Settings,
    (metric, test): (&str, &ThresholdPlan),
    side: Side,
) -> Option<Question> {
    let values = values(name, rollout, test.window, side);
    question_of((metric, test), &values, settings, side)
}

/// What a replay of the past asks of production for a metric judged by threshold: `values` are production's. None for a query
/// that cannot be used.
#[must_use]
pub fn of_past(metric: &str, test: &ThresholdPlan, values: &Values<'_>, settings: &Settings) -> Option<Past> {
    let question = question_of((metric, test), values, settings, Side::Production)?;
    let facts = query::analyse(&question.query).ok()?;
    Some(Past {
        grows_with_traffic: facts.grows_with_traffic,
        is_error_share: preset::is_error_share(&test.query),
        of_version: uses_version(&test.query),
        question,
    })
}

/// A question to the past, and what its answers mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// The question.
    pub question: Question,
    /// Twice the traffic is twice the value.
    pub grows_with_traffic: bool,
    /// The value is a share of bad requests, 0 to 1.
    pub is_error_share: bool,
    /// The query is asked of one version.
    pub of_version: bool,
}

fn question_of(
    (metric, test): (&str, &ThresholdPlan),
    values: &Values<'_>,
    settings: &Settings,
    side: Side,
) -> Option<Question> {
    let query = Template::parse(&test.query).ok()?.expand(values);
    let facts = query::analyse(&query).ok()?;
    let range = facts
        .longest_range(settings.scrape_interval.std())
        .max(settings.scrape_interval.std() * 4);
    let traffic = match &test.traffic {
        Some(own) => Template::parse(own).ok()?.expand(values),
        None => istio_traffic(values, range.as_secs().max(1)),
    };
    Some(Question {
        metric: metric.to_owned(),
        side,
        query,
        traffic,
        per_request: test.per_request,
        hides_absence: facts.hides_absence,
        unnamed: facts.unnamed_selector,
        names: facts.metrics,
    })
}

pub(super) fn values<'a>(name: &'a ObjectName, rollout: &'a Rollout, window: Span, side: Side) -> Values<'a> {
    let version = match side {
        Side::Production => &rollout.production.version,
        Side::Canary => &rollout.canary.version,
    };
    Values {
        service: &rollout.plan.target.service,
        namespace: &name.namespace,
        version,
        production: &rollout.production.version,
        canary: &rollout.canary.version,
        window: window.std(),
    }
}

/// Requests per second by Istio's own counter.
fn istio_traffic(values: &Values<'_>, seconds: u64) -> String {
    Template::parse(&preset::traffic(&format!("{seconds}s")))
        .map(|template| template.expand(values))
        .unwrap_or_default()
}

/// Sets how long the present weight is held: as its step says, and at least until the queries see it alone.
pub(super) fn set_hold(rollout: &mut Rollout, settings: &Settings) {
    let steps = &rollout.plan.steps;
    let step = steps
        .iter()
        .find(|s| s.weight >= rollout.confirmed)
        .or(steps.last());
    let asked = step.map_or(Span::ZERO, |s| s.hold);
    let settle = settle(&rollout.plan, settings.scrape_interval);
    rollout.hold = Some(asked.max(settle));
    rollout.hold_reason = (settle > asked).then(|| {
        format!("{settle} instead of {asked}: until then the queries still see traffic from before the change of weight")
    });
}

impl Plan {
    /// How many steps have begun at a weight in percent.
    #[must_use]
    pub fn steps_begun(&self, weight: u8) -> u32 {
        let begun = self.steps.iter().filter(|step| step.weight <= weight).count();
        u32::try_from(begun).unwrap_or(u32::MAX)
    }
}

/// Whether one of the limits is recorded by a query that is asked of no version, and so of every one.
#[must_use]
pub fn sees_every_version(plan: &Plan) -> bool {
    let mut tests = plan.metrics.iter().map(|metric| &metric.test);
    tests.any(|test| matches!(test, TestPlan::Threshold(test) if !uses_version(&test.query)))
}

/// How long after a change of weight a check may first pass: the longest range of any query and one scrape.
#[must_use]
pub fn settle(plan: &Plan, scrape: Span) -> Span {
    match plan.settle {
        Settle::Fixed(span) => span,
        Settle::Auto => longest_range(plan, scrape).plus(scrape),
    }
}

fn longest_range(plan: &Plan, scrape: Span) -> Span {
    let ranges = plan.metrics.iter().filter_map(|metric| {
        let TestPlan::Threshold(threshold) = &metric.test else {
            return None;
        };
        let values = Values {
            window: threshold.window.std(),
            ..ANY
        };
        let text = Template::parse(&threshold.query).ok()?.expand(&values);
        Some(query::analyse(&text).ok()?.longest_range(scrape.std()))
    });
    ranges.max().map_or(Span::ZERO, |range| {
        Span::millis(i64::try_from(range.as_millis()).unwrap_or(i64::MAX))
    })
}

/// Time between two checks: as the plan says, else the present hold (before the first step, its hold), within 1 s and
/// 10 s.
#[must_use]
pub fn interval(rollout: &Rollout) -> Span {
    let plan = &rollout.plan;
    let first = || plan.steps.first().map(|step| step.hold);
    interval_of(plan, rollout.hold.or_else(first).unwrap_or_default())
}

/// The same while a weight is held so long.
pub(super) fn interval_of(plan: &Plan, hold: Span) -> Span {
    plan.check_interval
        .unwrap_or_else(|| hold.clamp(Span::secs(1), Span::secs(10)))
}
