//! A metric judged by threshold: one query, and the limits its value is held against.

use crate::api::Span;
use crate::api::plan::{Deviation, TestPlan, ThresholdPlan};
use crate::api::spec::{CompareTo, Failures, Metric};

use super::problems::Problems;
use crate::core::questions;

const DEFAULT_WINDOW: Span = Span::secs(60);

/// The test of `entry`, whose value is that of `query`.
pub(super) fn threshold(at: &str, entry: &Metric, query: String, problems: &mut Problems) -> TestPlan {
    queries(at, entry, &query, problems);
    limits(at, entry, problems);
    let samples = problems.count(&format!("{at}samples"), entry.samples.unwrap_or(1), 100);
    let Failures { count, of } = entry.failures.unwrap_or(Failures { count: 1, of: 1 });
    let of = problems.count(&format!("{at}failures.of"), of, 100);
    let failures = problems.count(&format!("{at}failures.count"), count, of);
    TestPlan::Threshold(ThresholdPlan {
        query,
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
        window: problems
            .span(&format!("{at}window"), entry.window)
            .unwrap_or(DEFAULT_WINDOW),
    })
}

/// Whether a limit is given.
pub(super) const fn has_limit(entry: &Metric) -> bool {
    entry.deviation.is_some()
        || entry.deviation_percent.is_some()
        || entry.min.is_some()
        || entry.max.is_some()
}

/// Whether anything is given that only a threshold knows.
pub(super) const fn has_fields(entry: &Metric) -> bool {
    has_limit(entry)
        || entry.min_absolute.is_some()
        || entry.direction.is_some()
        || entry.compare_to.is_some()
        || entry.samples.is_some()
        || entry.failures.is_some()
        || entry.per.is_some()
        || entry.traffic.is_some()
        || entry.window.is_some()
}

fn queries(at: &str, entry: &Metric, query: &str, problems: &mut Problems) {
    let query_field = if at.is_empty() {
        "metric".to_owned()
    } else {
        format!("{at}query")
    };
    problems.query(&query_field, query);
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
        entry.compare_to != Some(CompareTo::Production) || questions::uses_version(query),
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
