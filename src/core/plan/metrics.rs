//! The metrics of a plan: the small form, the full one and none at all, which meet here and nowhere else.

use std::collections::BTreeSet;

use crate::api::Span;
use crate::api::plan::{MetricPlan, TestPlan};
use crate::api::spec::{BirdWatchSpec, IfUnknown, Metric, Preset, TestKind};

use super::counters::{counters, sequential};
use super::names::is_metric_name;
use super::problems::Problems;
use super::threshold::{has_fields, has_limit, threshold};
use crate::core::{preset, questions};

const DEFAULT_DEVIATION: f64 = 10.0;
const DEFAULT_UNKNOWN_FOR: Span = Span::secs(300);
/// The most bytes of all queries and selectors together: a status repeats them, and what the API server stores is 1.5 MB at most.
const LONGEST_TOGETHER: usize = 100_000;

pub(super) fn metrics(spec: &BirdWatchSpec, problems: &mut Problems) -> Vec<MetricPlan> {
    if spec.metric.is_none() {
        let stray = [
            ("deviation", spec.deviation.is_some()),
            ("deviationPercent", spec.deviation_percent.is_some()),
        ];
        for (field, _) in stray.iter().filter(|(_, there)| *there) {
            problems.add(
                field,
                "belongs to the small form: write the query as metric, or use the metric's own field in metrics",
            );
        }
    }
    match (&spec.metric, &spec.metrics) {
        (Some(query), listed) => {
            problems.require(
                listed.is_none(),
                "metrics",
                "not together with metric: use one of the two forms",
            );
            vec![metric(spec, "", &small_form(spec, query), problems)]
        }
        (None, Some(list)) => listed_metrics(spec, list, problems),
        (None, None) => vec![metric(spec, "", &no_form(), problems)],
    }
}

fn listed_metrics(spec: &BirdWatchSpec, list: &[Metric], problems: &mut Problems) -> Vec<MetricPlan> {
    problems.require(
        (1..=20).contains(&list.len()),
        "metrics",
        "must have 1 to 20 metrics",
    );
    let texts = |m: &Metric| {
        let all = [&m.query, &m.traffic, &m.total, &m.bad, &m.good];
        all.into_iter().flatten().map(String::len).sum::<usize>()
    };
    problems.require(
        list.iter().map(texts).sum::<usize>() <= LONGEST_TOGETHER,
        "metrics",
        "have queries and selectors of more than 100,000 bytes together: shorten them with recording rules",
    );
    let mut names = BTreeSet::new();
    let mut plans = Vec::with_capacity(list.len());
    for (i, entry) in list.iter().enumerate() {
        let at = format!("metrics[{i}].");
        let plan = metric(spec, &at, entry, problems);
        let name = format!("{at}name");
        problems.require(
            is_metric_name(&plan.name),
            &name,
            "must be a short name of letters, digits, '-', '_', '.' and spaces",
        );
        problems.require(
            names.insert(plan.name.clone()),
            &name,
            "is there twice: names are unique, those of presets included",
        );
        plans.push(plan);
    }
    plans
}

/// The small form as one entry of the full form: here, and nowhere else, the two meet.
fn small_form(spec: &BirdWatchSpec, query: &str) -> Metric {
    let neither = spec.deviation.is_none() && spec.deviation_percent.is_none();
    Metric {
        name: Some("metric".to_owned()),
        query: Some(query.to_owned()),
        deviation: spec.deviation.or(neither.then_some(DEFAULT_DEVIATION)),
        deviation_percent: spec.deviation_percent,
        ..Metric::default()
    }
}

/// Nothing said at all.
fn no_form() -> Metric {
    Metric {
        preset: Some(Preset::ErrorRate),
        ..Metric::default()
    }
}

fn metric(spec: &BirdWatchSpec, at: &str, entry: &Metric, problems: &mut Problems) -> MetricPlan {
    kind(spec, at, entry, problems);
    problems.require(
        entry.unknown_for.is_none() || entry.if_unknown == Some(IfUnknown::Unhealthy),
        &format!("{at}unknownFor"),
        "means nothing without ifUnknown: unhealthy",
    );
    let name = entry.name.as_deref().or(entry.preset.map(Preset::as_str));
    MetricPlan {
        name: name.unwrap_or_default().to_owned(),
        test: test(spec, at, entry, problems),
        if_unknown: entry.if_unknown.unwrap_or_default(),
        unknown_for: problems
            .span(&format!("{at}unknownFor"), entry.unknown_for)
            .unwrap_or(DEFAULT_UNKNOWN_FOR),
    }
}

/// What is asked is said once, and with what belongs to it.
fn kind(spec: &BirdWatchSpec, at: &str, entry: &Metric, problems: &mut Problems) {
    let said = [
        entry.query.is_some(),
        entry.preset.is_some(),
        entry.total.is_some(),
    ];
    problems.require(
        said.iter().filter(|said| **said).count() == 1,
        &format!("{at}query"),
        "is one of three: write query, or preset, or total with bad or good",
    );
    let of_latency = [entry.quantile.is_some(), entry.slower_than.is_some()];
    let wanted = usize::from(entry.preset == Some(Preset::Latency));
    problems.require(
        of_latency.iter().filter(|said| **said).count() == wanted,
        &format!("{at}slowerThan"),
        "preset: latency needs one of quantile and slowerThan, and nothing else has them",
    );
    problems.require(
        entry
            .quantile
            .is_none_or(|quantile| quantile > 0.0 && quantile < 1.0),
        &format!("{at}quantile"),
        "must be above 0 and below 1",
    );
    problems.require(
        entry.total.is_some() || (entry.bad.is_none() && entry.good.is_none()),
        &format!("{at}total"),
        "is missing: bad and good are parts of it",
    );
    problems.require(
        entry.preset.is_none() || version_label(spec) == "version",
        "workload.versionLabel",
        "must be version for presets, as Istio counts by that label alone: write a query, or total with bad",
    );
}

fn test(spec: &BirdWatchSpec, at: &str, entry: &Metric, problems: &mut Problems) -> TestPlan {
    let counters = counters(entry);
    let kind = entry.test.unwrap_or(match counters {
        Some(_) if !has_fields(entry) => TestKind::Sequential,
        _ => TestKind::Threshold,
    });
    match (kind, counters) {
        (TestKind::Sequential, Some(counters)) => {
            problems.require(
                !has_fields(entry),
                &format!("{at}test"),
                "sequential has tolerance, falseAlarm, atLeast and fault: limits and what goes with them are those of threshold",
            );
            sequential(at, entry, counters, problems)
        }
        (kind, counters) => {
            problems.require(
                kind == TestKind::Threshold,
                &format!("{at}test"),
                "sequential counts requests: use preset: error-rate, preset: latency with slowerThan, or total with bad or good",
            );
            let countable = entry.preset == Some(Preset::ErrorRate) || counters.is_none();
            problems.require(
                countable,
                &format!("{at}test"),
                "threshold judges one value: write query, or preset: latency with quantile",
            );
            of_threshold(spec, at, entry, problems)
        }
    }
}

fn of_threshold(spec: &BirdWatchSpec, at: &str, entry: &Metric, problems: &mut Problems) -> TestPlan {
    let counts = [entry.tolerance, entry.false_alarm, entry.at_least, entry.fault];
    problems.require(
        counts.iter().all(Option::is_none),
        &format!("{at}tolerance"),
        "belongs to test: sequential, as do falseAlarm, atLeast and fault",
    );
    let entry = &preset::with_limits(entry);
    problems.require(
        has_limit(entry),
        &format!("{at}deviation"),
        "is missing: give deviation, deviationPercent, min or max",
    );
    let counted = entry.traffic.is_some() || version_label(spec) == "version";
    problems.require(
        entry.per.is_none() || counted,
        &format!("{at}traffic"),
        "is missing: Istio counts requests by the label version only, so say how to count them",
    );
    let query = entry.query.clone().unwrap_or_else(|| preset::query(entry));
    problems.require(
        entry.per.is_none() || questions::uses_version(&query),
        &format!("{at}per"),
        "needs $(version) in the query: it is divided by the requests of the version it is asked of",
    );
    threshold(at, entry, query, problems)
}

fn version_label(spec: &BirdWatchSpec) -> &str {
    spec.workload
        .as_ref()
        .and_then(|w| w.version_label.as_deref())
        .unwrap_or("version")
}
