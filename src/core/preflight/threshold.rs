//! What a preflight reads of a metric's limits: in one place, for the shape of the plan is not its business.

use std::time::Duration;

use crate::api::plan::{Deviation, MetricPlan, ThresholdPlan};
use crate::api::spec::Direction;
use crate::core::query;
use crate::core::query::{Template, Values};
use crate::core::questions;

pub(super) fn deviation(metric: &ThresholdPlan) -> Option<Deviation> {
    metric.deviation
}

pub(super) fn max(metric: &ThresholdPlan) -> Option<f64> {
    metric.max
}

pub(super) fn min(metric: &ThresholdPlan) -> Option<f64> {
    metric.min
}

/// Bad checks that it takes.
pub(super) fn failures(metric: &ThresholdPlan) -> u32 {
    metric.failures
}

/// Which way is worse.
pub(super) fn direction(metric: &ThresholdPlan) -> Direction {
    metric.direction
}

/// Its readings are events per second, which nothing divides.
pub(super) fn is_rate(metric: &ThresholdPlan) -> bool {
    let facts = Template::parse(&metric.query)
        .ok()
        .and_then(|t| query::analyse(&t.expand(&values(metric))).ok());
    !metric.per_request && facts.is_some_and(|facts| facts.grows_with_traffic)
}

/// Whether its readings of the two versions cannot be compared, for they get different shares of the traffic.
pub(super) fn grows(metric: &MetricPlan) -> bool {
    questions::grows_across_versions(metric).is_some()
}

/// The longest time its query looks back, with samples every `scrape`.
pub(super) fn range(metric: &ThresholdPlan, scrape: Duration) -> Option<Duration> {
    let query = Template::parse(&metric.query).ok()?.expand(&values(metric));
    Some(query::analyse(&query).ok()?.longest_range(scrape))
}

/// A name in its query that is a recording rule's, by Prometheus' naming: the first with a colon.
pub(super) fn recorded(metric: &ThresholdPlan) -> Option<String> {
    let query = Template::parse(&metric.query).ok()?.expand(&values(metric));
    let names = query::analyse(&query).ok()?.metrics.into_keys();
    names.into_iter().find(|name| name.contains(':'))
}

fn values(metric: &ThresholdPlan) -> Values<'static> {
    Values {
        service: "service",
        namespace: "namespace",
        version: "version",
        production: "production",
        canary: "canary",
        window: metric.window.std(),
    }
}
