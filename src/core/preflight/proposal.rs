//! The questions of a baseline, as a rollout would ask them: a preflight asks the very same, of the one Prometheus it knows.

use jiff::Timestamp;

use crate::api::plan::{MetricPlan, Plan, TestPlan};
use crate::api::status::{Candidate, Rollout};
use crate::core::counting;
use crate::core::decision::CheckRequest;
use crate::core::observation::{Check, CheckId, ObjectName, Settings};
use crate::core::preset;
use crate::core::query::{Template, Values};
use crate::core::questions as core_questions;

use super::inventory::{CountedFacts, CountersFacts, Inventory};
use super::workload;

/// Production's version and the canary's, as far as the inventory tells.
#[must_use]
pub fn versions(inventory: &Inventory, plan: &Plan) -> (Option<String>, Option<String>) {
    let parts = workload::parts(inventory, plan);
    let canary = parts
        .canary
        .and_then(|deployment| deployment.seen.version.clone());
    (
        parts.production.map(str::to_owned),
        canary.or_else(|| plan.canary_version.clone()),
    )
}

/// Whether a query of the plan names production's version, or the version it is asked of.
#[must_use]
pub fn needs_production(plan: &Plan) -> bool {
    let names = |query: &str| query.contains("$(version)") || query.contains("$(production)");
    let needs = |metric: &MetricPlan| match &metric.test {
        TestPlan::Threshold(test) => names(&test.query),
        TestPlan::Sequential(_) => true,
    };
    plan.metrics.iter().any(needs)
}

/// Queries of production's traffic over the last minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficQueries {
    /// Requests per second.
    pub rate: String,
    /// Requests per second to every version from within the mesh, gateways left out.
    pub from_mesh: String,
}

/// A metric's own `traffic`, where there is one: it knows what Istio does not count.
pub(super) fn own_traffic(plan: &Plan) -> Option<&str> {
    plan.metrics.iter().find_map(|metric| match &metric.test {
        TestPlan::Threshold(test) => test.traffic.as_deref(),
        TestPlan::Sequential(_) => None,
    })
}

/// What to ask about production's traffic: a metric's own `traffic`, else Istio's counter.
#[must_use]
pub fn traffic_queries(name: &ObjectName, plan: &Plan, production: &str) -> TrafficQueries {
    const OF_SERVICE: &str =
        "destination_service_name=\"$(service)\",destination_service_namespace=\"$(namespace)\"";
    let values = Values {
        service: &plan.target.service,
        namespace: &name.namespace,
        version: production,
        production,
        canary: production,
        window: std::time::Duration::from_mins(5),
    };
    let expand = |text: &str| {
        Template::parse(text)
            .map(|t| t.expand(&values))
            .unwrap_or_default()
    };
    TrafficQueries {
        rate: match own_traffic(plan) {
            Some(own) => expand(own),
            None => expand(&preset::traffic("5m")),
        },
        from_mesh: expand(&format!(
            "sum(rate(istio_requests_total{{reporter=\"source\",{OF_SERVICE},source_workload!~\".*gateway.*\",source_workload!=\"unknown\"}}[5m]))"
        )),
    }
}

/// What a baseline of `plan` would ask at `now`, of these two versions.
#[must_use]
pub fn check(
    name: &ObjectName,
    plan: &Plan,
    (production, canary): (&str, &str),
    settings: &Settings,
    now: Timestamp,
) -> CheckRequest {
    let rollout = rollout(plan, production, canary);
    CheckRequest {
        id: CheckId::of(&rollout),
        server: None,
        deadline: settings.query_timeout,
        questions: core_questions::of_check(name, &rollout, settings, true),
        samples: counting::samples_of_check(name, &rollout, settings, now, true),
        scrape: settings.scrape_interval,
    }
}

/// What the answers say of production's counters.
#[must_use]
pub fn counters(plan: &Plan, check: &Check) -> Vec<CountersFacts> {
    let mut rollout = rollout(plan, "", "");
    let learnt = counting::learn(&mut rollout, check);
    let bound = |metric: &str| {
        let mut of = rollout.metrics.iter().filter(|status| status.name == metric);
        of.next()?.counted.as_ref()?.bound.clone()
    };
    learnt
        .into_iter()
        .map(|(metric, learnt)| CountersFacts {
            bound: bound(&metric),
            metric,
            counted: learnt.map(CountedFacts::from),
        })
        .collect()
}

fn rollout(plan: &Plan, production: &str, canary: &str) -> Rollout {
    let candidate = |version: &str| Candidate {
        version: version.to_owned(),
        ..Candidate::default()
    };
    let (production, canary) = (candidate(production), candidate(canary));
    Rollout::unbegun(
        String::new(),
        plan.clone(),
        production,
        canary,
        Timestamp::UNIX_EPOCH,
    )
}
