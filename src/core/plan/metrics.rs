//! The metrics of a plan: the small form and the full one, which meet here and nowhere else.

use std::collections::BTreeSet;

use crate::api::Span;
use crate::api::plan::{Deviation, MetricPlan};
use crate::api::spec::{BirdWatchSpec, CompareTo, Failures, IfUnknown, Metric};

use super::names::is_metric_name;
use super::problems::Problems;
use crate::core::questions;

const DEFAULT_DEVIATION: f64 = 10.0;
const DEFAULT_WINDOW: Span = Span::secs(60);
const DEFAULT_UNKNOWN_FOR: Span = Span::secs(300);

pub(super) fn metrics(spec: &BirdWatchSpec, problems: &mut Problems) -> Vec<MetricPlan> {
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
            listed_metrics(spec, list, problems)
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

fn listed_metrics(spec: &BirdWatchSpec, list: &[Metric], problems: &mut Problems) -> Vec<MetricPlan> {
    problems.require(
        (1..=20).contains(&list.len()),
        "metrics",
        "must have 1 to 20 metrics",
    );
    let mut names = BTreeSet::new();
    let mut plans = Vec::with_capacity(list.len());
    for (i, entry) in list.iter().enumerate() {
        let counted = entry.traffic.is_some() || workload_label(spec) == "version";
        problems.require(
            entry.per.is_none() || counted,
            &format!("metrics[{i}].traffic"),
            "is missing: Istio counts requests by the label version only, so say how to count them",
        );
        problems.require(
            entry.per.is_none() || questions::uses_version(&entry.query),
            &format!("metrics[{i}].per"),
            "needs $(version) in the query: it is divided by the requests of the version it is asked of",
        );
        let field = format!("metrics[{i}].");
        problems.require(
            is_metric_name(&entry.name),
            &format!("{field}name"),
            "must be a short name of letters, digits, '-', '_', '.' and spaces",
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

fn workload_label(spec: &BirdWatchSpec) -> &str {
    spec.workload
        .as_ref()
        .and_then(|w| w.version_label.as_deref())
        .unwrap_or("version")
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
    queries(at, entry, problems);
    limits(at, entry, problems);
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
        compare_to: entry.compare_to.unwrap_or_default(),
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

fn queries(at: &str, entry: &Metric, problems: &mut Problems) {
    let query_field = if at.is_empty() {
        "metric".to_owned()
    } else {
        format!("{at}query")
    };
    problems.query(&query_field, &entry.query);
    if let Some(traffic) = &entry.traffic {
        let field = format!("{at}traffic");
        problems.query(&field, traffic);
        problems.require(
            ["$(version)", "$(canary)"]
                .iter()
                .any(|one| traffic.contains(one)),
            &field,
            "must count the requests of one version: use $(version) in it",
        );
    }
    problems.require(
        entry.compare_to != Some(CompareTo::Production) || questions::uses_version(&entry.query),
        &format!("{at}compareTo"),
        "production needs $(version) in the query, so that it can be asked of both versions",
    );
}

fn limits(at: &str, entry: &Metric, problems: &mut Problems) {
    let compares = matches!(
        entry.compare_to,
        Some(CompareTo::Previous | CompareTo::Production)
    );
    problems.require(
        !compares || entry.deviation.is_some() || entry.deviation_percent.is_some(),
        &format!("{at}compareTo"),
        "needs deviation or deviationPercent: there is nothing to compare by",
    );
    problems.require(
        entry.unknown_for.is_none() || entry.if_unknown == Some(IfUnknown::Unhealthy),
        &format!("{at}unknownFor"),
        "means nothing without ifUnknown: unhealthy",
    );
    problems.require(
        entry
            .deviation_percent
            .is_none_or(|percent| percent <= 1_000_000.0),
        &format!("{at}deviationPercent"),
        "must be at most 1,000,000",
    );
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
