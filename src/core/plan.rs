//! From spec to plan: every default, range and cross-field rule in one place, whatever the schema let through.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::plan::{Deviation, MetricPlan, Plan, StepPlan, Target};
use crate::api::spec::{BirdWatchSpec, CompareTo, Failures, Metric, Step, Subsets};
use crate::api::{Span, spec};

use super::questions as query;

const SHORTEST: Span = Span::secs(1);
const LONGEST: Span = Span::secs(720 * 3600);
const DEFAULT_DEVIATION: f64 = 10.0;
const DEFAULT_INCREMENT: i32 = 1;
const DEFAULT_INTERVAL: Span = Span::secs(5);
const DEFAULT_HOLD: Span = Span::secs(60);
const DEFAULT_WINDOW: Span = Span::secs(60);
const DEFAULT_UNKNOWN_FOR: Span = Span::secs(300);
const DEFAULT_DEADLINE: Span = Span::secs(600);
const DEFAULT_MIN_CAPACITY: f64 = 0.5;
const LONGEST_QUERY: usize = 10_000;

/// What is wrong with one field of a spec, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct PlanError {
    /// Path of the field below `spec`.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Fills every default and checks every rule.
///
/// # Errors
/// Every rule that the spec breaks, not only the first.
pub fn resolve(spec: &BirdWatchSpec) -> Result<Plan, Vec<PlanError>> {
    let mut problems = Problems::default();
    let plan = Plan {
        target: target(spec, &mut problems),
        canary_version: problems.one_spelling(
            "canaryVersion",
            "canary_version",
            spec.canary_version.clone(),
            spec.canary_version_alias.clone(),
        ),
        metrics: metrics(spec, &mut problems),
        steps: steps(spec, &mut problems),
        max_weight: max_weight(spec, &mut problems),
        check_interval: problems.span("checkInterval", spec.check_interval),
        settle: settle(spec, &mut problems),
        min_capacity: min_capacity(spec, &mut problems),
        progress_deadline: problems
            .span("progressDeadline", spec.progress_deadline)
            .unwrap_or(DEFAULT_DEADLINE),
        if_unhealthy: problems
            .one_spelling(
                "ifUnhealthy",
                "if_unhealthy",
                spec.if_unhealthy,
                spec.if_unhealthy_alias,
            )
            .unwrap_or_default(),
        channel: spec.notify.as_ref().and_then(|n| n.channel.clone()),
        level: spec.notify.as_ref().and_then(|n| n.level),
        prometheus: spec.prometheus.clone(),
    };
    if let Some(version) = &plan.canary_version {
        problems.require(
            is_label_value(version),
            "canaryVersion",
            "must be a label value: at most 63 letters, digits, '-', '_' or '.'",
        );
    }
    if problems.0.is_empty() {
        Ok(plan)
    } else {
        Err(problems.0)
    }
}

fn target(spec: &BirdWatchSpec, problems: &mut Problems) -> Target {
    problems.require(
        is_dns_label(&spec.service),
        "service",
        "must be a DNS label: at most 63 lower-case letters, digits or '-', beginning with a letter",
    );
    let workload = spec.workload.clone().unwrap_or_default();
    let Subsets { production, canary } = spec.subsets.clone().unwrap_or_default();
    let target = Target {
        service: spec.service.clone(),
        selector: workload
            .selector
            .unwrap_or_else(|| BTreeMap::from([("app".to_owned(), spec.service.clone())])),
        version_label: workload.version_label.unwrap_or_else(|| "version".to_owned()),
        production_subset: production.unwrap_or_else(|| "production".to_owned()),
        canary_subset: canary.unwrap_or_else(|| "canary".to_owned()),
        virtual_services: spec
            .virtual_services
            .clone()
            .unwrap_or_else(|| vec![spec.service.clone()]),
        destination_rule: spec
            .destination_rule
            .clone()
            .unwrap_or_else(|| spec.service.clone()),
    };
    problems.require(
        !target.selector.is_empty(),
        "workload.selector",
        "must name at least one label",
    );
    problems.require(
        !target.version_label.is_empty(),
        "workload.versionLabel",
        "must not be empty",
    );
    problems.require(
        target.production_subset != target.canary_subset,
        "subsets",
        "production and canary must be two different subsets",
    );
    let names: BTreeSet<_> = target.virtual_services.iter().collect();
    problems.require(
        !names.is_empty(),
        "virtualServices",
        "must name at least one VirtualService, or be left out",
    );
    problems.require(
        names.len() == target.virtual_services.len(),
        "virtualServices",
        "names one twice",
    );
    target
}

fn steps(spec: &BirdWatchSpec, problems: &mut Problems) -> Vec<StepPlan> {
    let mut steps = match &spec.steps {
        Some(list) => {
            problems.require(
                spec.increment.is_none(),
                "increment",
                "belongs to the small form: leave it out where steps are listed",
            );
            problems.require(
                spec.interval.is_none(),
                "interval",
                "belongs to the small form: use steps[].hold",
            );
            listed_steps(list, problems)
        }
        None => even_steps(spec, problems),
    };
    if let Some(last) = steps.last().copied().filter(|s| s.weight < 100) {
        steps.push(StepPlan { weight: 100, ..last });
    }
    match spec.max_weight.and_then(|w| u8::try_from(w).ok()) {
        Some(limit) if limit < 100 => up_to(&steps, limit),
        _ => steps,
    }
}

fn even_steps(spec: &BirdWatchSpec, problems: &mut Problems) -> Vec<StepPlan> {
    let increment = spec.increment.unwrap_or(DEFAULT_INCREMENT);
    let hold = problems
        .span("interval", spec.interval)
        .unwrap_or(DEFAULT_INTERVAL);
    problems.require(
        (1..=100).contains(&increment),
        "increment",
        "must be 1 to 100 percent",
    );
    let stride = usize::try_from(increment.clamp(1, 100)).unwrap_or(1);
    (stride..=100)
        .step_by(stride)
        .filter_map(|weight| u8::try_from(weight).ok())
        .map(|weight| StepPlan { weight, hold })
        .collect()
}

fn listed_steps(list: &[Step], problems: &mut Problems) -> Vec<StepPlan> {
    problems.require(
        !list.is_empty(),
        "steps",
        "must have at least one step, or be left out",
    );
    let mut before = 0;
    let mut steps = Vec::with_capacity(list.len());
    for (i, step) in list.iter().enumerate() {
        let field = format!("steps[{i}].weight");
        problems.require(
            (1..=100).contains(&step.weight),
            &field,
            "must be 1 to 100 percent",
        );
        problems.require(
            step.weight > before,
            &field,
            "must be above the step before: weights rise strictly",
        );
        before = step.weight;
        let hold = problems
            .span(&format!("steps[{i}].hold"), step.hold)
            .unwrap_or(DEFAULT_HOLD);
        if let Ok(weight) = u8::try_from(step.weight) {
            steps.push(StepPlan { weight, hold });
        }
    }
    steps
}

fn up_to(steps: &[StepPlan], limit: u8) -> Vec<StepPlan> {
    let mut kept: Vec<_> = steps.iter().copied().take_while(|s| s.weight <= limit).collect();
    if kept.last().is_none_or(|s| s.weight < limit)
        && let Some(next) = steps.get(kept.len())
    {
        kept.push(StepPlan {
            weight: limit,
            hold: next.hold,
        });
    }
    kept
}

fn max_weight(spec: &BirdWatchSpec, problems: &mut Problems) -> Option<u8> {
    let weight = spec.max_weight?;
    problems.require(
        (1..=100).contains(&weight),
        "maxWeight",
        "must be 1 to 100 percent",
    );
    u8::try_from(weight).ok().filter(|w| *w < 100)
}

fn settle(spec: &BirdWatchSpec, problems: &mut Problems) -> spec::Settle {
    let settle = spec.settle.unwrap_or_default();
    if let spec::Settle::Fixed(span) = settle {
        problems.require(span <= LONGEST, "settle", "must be auto, or 0s to 720h");
    }
    settle
}

fn min_capacity(spec: &BirdWatchSpec, problems: &mut Problems) -> f64 {
    let part = spec.min_capacity.unwrap_or(DEFAULT_MIN_CAPACITY);
    problems.require((0.0..=1.0).contains(&part), "minCapacity", "must be 0 to 1");
    part
}

fn metrics(spec: &BirdWatchSpec, problems: &mut Problems) -> Vec<MetricPlan> {
    match (&spec.metric, &spec.metrics) {
        (Some(query), listed) => {
            problems.require(
                listed.is_none(),
                "metrics",
                "not together with metric: use one of the two forms",
            );
            vec![metric("", &small_form(spec, query), problems)]
        }
        (None, Some(list)) => {
            let stray = [
                ("deviation", spec.deviation.is_some()),
                ("deviationPercent", spec.deviation_percent.is_some()),
            ];
            for (field, _) in stray.iter().filter(|(_, there)| *there) {
                problems.add(
                    field,
                    "belongs to the small form: use the metric's own field in metrics",
                );
            }
            listed_metrics(list, problems)
        }
        (None, None) => {
            problems.add(
                "metric",
                "is missing: give a PromQL query here, or a list in metrics",
            );
            Vec::new()
        }
    }
}

fn listed_metrics(list: &[Metric], problems: &mut Problems) -> Vec<MetricPlan> {
    problems.require(!list.is_empty(), "metrics", "must have at least one metric");
    let mut names = BTreeSet::new();
    let mut plans = Vec::with_capacity(list.len());
    for (i, entry) in list.iter().enumerate() {
        let field = format!("metrics[{i}].");
        problems.require(
            !entry.name.is_empty() && entry.name.len() <= 63,
            &format!("{field}name"),
            "must have 1 to 63 characters",
        );
        problems.require(
            names.insert(&entry.name),
            &format!("{field}name"),
            "is there twice: names are unique",
        );
        let limited = entry.deviation.is_some()
            || entry.deviation_percent.is_some()
            || entry.min.is_some()
            || entry.max.is_some();
        problems.require(
            limited,
            &format!("{field}deviation"),
            "is missing: give deviation, deviationPercent, min or max",
        );
        plans.push(metric(&field, entry, problems));
    }
    plans
}

/// The small form as one entry of the full form: here, and nowhere else, the two meet.
fn small_form(spec: &BirdWatchSpec, query: &str) -> Metric {
    let neither = spec.deviation.is_none() && spec.deviation_percent.is_none();
    Metric {
        name: "metric".to_owned(),
        query: query.to_owned(),
        deviation: spec.deviation.or(neither.then_some(DEFAULT_DEVIATION)),
        deviation_percent: spec.deviation_percent,
        ..Metric::default()
    }
}

fn metric(at: &str, entry: &Metric, problems: &mut Problems) -> MetricPlan {
    let query_field = if at.is_empty() {
        "metric".to_owned()
    } else {
        format!("{at}query")
    };
    problems.query(&query_field, &entry.query);
    if let Some(traffic) = &entry.traffic {
        problems.query(&format!("{at}traffic"), traffic);
    }
    for (field, value) in [
        ("deviation", entry.deviation),
        ("deviationPercent", entry.deviation_percent),
        ("minAbsolute", entry.min_absolute),
    ] {
        let fine = value.is_none_or(|v| v.is_finite() && v >= 0.0);
        problems.require(fine, &format!("{at}{field}"), "must be a number, 0 or more");
    }
    problems.require(
        entry.deviation.is_none() || entry.deviation_percent.is_none(),
        &format!("{at}deviationPercent"),
        "not together with deviation: use one of the two",
    );
    problems.require(
        entry.min_absolute.is_none() || entry.deviation_percent.is_some(),
        &format!("{at}minAbsolute"),
        "goes with deviationPercent only",
    );
    if let (Some(min), Some(max)) = (entry.min, entry.max) {
        problems.require(min <= max, &format!("{at}min"), "must not be above max");
    }
    let compare_to = entry.compare_to.unwrap_or_default();
    problems.require(
        compare_to != CompareTo::Production || query::uses_version(&entry.query),
        &format!("{at}compareTo"),
        "production needs $(version) in the query, so that it can be asked of both versions",
    );
    let samples = problems.count(&format!("{at}samples"), entry.samples.unwrap_or(1), 100);
    let Failures { count, of } = entry.failures.unwrap_or(Failures { count: 1, of: 1 });
    let of = problems.count(&format!("{at}failures.of"), of, 100);
    let failures = problems.count(&format!("{at}failures.count"), count, of);
    MetricPlan {
        name: entry.name.clone(),
        query: entry.query.clone(),
        direction: entry.direction.unwrap_or_default(),
        deviation: deviation(entry),
        min: entry.min,
        max: entry.max,
        compare_to,
        samples,
        failures,
        of,
        per_request: entry.per.is_some(),
        traffic: entry.traffic.clone(),
        if_unknown: entry.if_unknown.unwrap_or_default(),
        unknown_for: problems
            .span(&format!("{at}unknownFor"), entry.unknown_for)
            .unwrap_or(DEFAULT_UNKNOWN_FOR),
        window: problems
            .span(&format!("{at}window"), entry.window)
            .unwrap_or(DEFAULT_WINDOW),
    }
}

fn deviation(entry: &Metric) -> Option<Deviation> {
    let (amount, percent) = match (entry.deviation, entry.deviation_percent) {
        (Some(amount), _) => (amount, false),
        (None, Some(amount)) => (amount, true),
        (None, None) => return None,
    };
    Some(Deviation {
        amount,
        percent,
        min_absolute: entry.min_absolute,
    })
}

#[derive(Default)]
struct Problems(Vec<PlanError>);

impl Problems {
    fn add(&mut self, field: &str, problem: impl Into<String>) {
        self.0.push(PlanError {
            field: field.to_owned(),
            problem: problem.into(),
        });
    }

    fn require(&mut self, fine: bool, field: &str, problem: &str) {
        if !fine {
            self.add(field, problem);
        }
    }

    fn one_spelling<T>(&mut self, field: &str, alias: &str, value: Option<T>, old: Option<T>) -> Option<T> {
        if value.is_some() && old.is_some() {
            self.add(
                field,
                format!("not together with {alias}, its old spelling: use one of the two"),
            );
        }
        value.or(old)
    }

    fn span(&mut self, field: &str, span: Option<Span>) -> Option<Span> {
        let fine = span.is_none_or(|s| (SHORTEST..=LONGEST).contains(&s));
        self.require(fine, field, "must be 1s to 720h");
        span
    }

    fn count(&mut self, field: &str, value: i32, most: u32) -> u32 {
        match u32::try_from(value) {
            Ok(count) if (1..=most.max(1)).contains(&count) => count,
            _ => {
                self.add(field, format!("must be 1 to {most}"));
                1
            }
        }
    }

    fn query(&mut self, field: &str, text: &str) {
        if text.chars().count() > LONGEST_QUERY {
            self.add(field, "is longer than 10,000 characters");
        } else if let Err(error) = query::check(text) {
            self.add(field, error.to_string());
        }
    }
}

fn is_dns_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(fits)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
}

fn is_label_value(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=63).contains(&text.len())
        && text.chars().all(fits)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}
