//! From spec to plan: every default, range and cross-field rule in one place, whatever the schema let through.

mod counters;
mod metrics;
pub(crate) mod names;
mod problems;
mod threshold;

use std::collections::{BTreeMap, BTreeSet};

use crate::api::plan::{Plan, StepPlan, Target};
use crate::api::spec::{BirdWatchSpec, Step, Subsets};
use crate::api::{Span, spec};

use metrics::metrics;
use names::{is_channel, is_dns_label, is_dns_subdomain, is_label_key, is_label_value};
use problems::{LONGEST, Problems};

const DEFAULT_INCREMENT: i32 = 1;
const DEFAULT_INTERVAL: Span = Span::secs(5);
const DEFAULT_HOLD: Span = Span::secs(60);
const DEFAULT_DEADLINE: Span = Span::secs(600);
const DEFAULT_MIN_CAPACITY: f64 = 0.5;

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
        advance: spec.advance.unwrap_or_default(),
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
    if let Some(server) = &plan.prometheus {
        problems.require(
            is_dns_label(server),
            "prometheus",
            "must be the name of a server, not its URL",
        );
    }
    if let Some(channel) = &plan.channel {
        problems.require(
            is_channel(channel),
            "notify.channel",
            "must be one word of at most 80 characters",
        );
    }
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
        "must be a DNS label: small letters, digits and '-', beginning and ending with a letter or digit",
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
    check_target(&target, problems);
    target
}

fn check_target(target: &Target, problems: &mut Problems) {
    let selector = &target.selector;
    let fits =
        |(key, value): (&String, &String)| is_label_key(key) && (value.is_empty() || is_label_value(value));
    problems.require(
        (1..=16).contains(&selector.len()),
        "workload.selector",
        "must name 1 to 16 labels",
    );
    problems.require(
        selector.iter().all(fits),
        "workload.selector",
        "must hold keys and values of labels",
    );
    problems.require(
        is_label_key(&target.version_label),
        "workload.versionLabel",
        "must be the key of a label",
    );
    let subsets = [&target.production_subset, &target.canary_subset];
    problems.require(
        subsets.iter().all(|name| is_dns_label(name)),
        "subsets",
        "must be DNS labels",
    );
    problems.require(
        subsets[0] != subsets[1],
        "subsets",
        "production and canary must be two different subsets",
    );
    let services = &target.virtual_services;
    let different: BTreeSet<_> = services.iter().collect();
    problems.require(
        (1..=16).contains(&services.len()),
        "virtualServices",
        "must name 1 to 16, or be left out",
    );
    problems.require(
        different.len() == services.len(),
        "virtualServices",
        "names one twice",
    );
    let fine = services.iter().all(|name| is_dns_subdomain(name));
    problems.require(
        fine,
        "virtualServices",
        "must be names of objects, without a namespace",
    );
    problems.require(
        is_dns_subdomain(&target.destination_rule),
        "destinationRule",
        "must be the name of an object",
    );
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
