//! Whose requests are counted: those to `spec.service`, which has to be where the traffic goes.

use crate::api::plan::{Counters, MetricPlan, Plan, TestPlan};

use super::inventory::Inventory;
use super::{Report, codes};

pub(super) fn counted(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let (service, namespace) = (&plan.target.service, &inventory.name.namespace);
    // What a rule lacks is said elsewhere.
    let rule = inventory.rule.as_ref().ok().and_then(Option::as_ref);
    let Some(host) = rule.and_then(|rule| rule.host.as_deref()) else {
        return;
    };
    let (short, its_namespace) = match host
        .split_once(".svc.")
        .and_then(|(short, _)| short.split_once('.'))
    {
        Some((short, namespace)) => (short, namespace),
        None => (host, namespace.as_str()),
    };
    if (short, its_namespace) == (service, namespace) {
        return;
    }
    let asks = |metric: &&MetricPlan| {
        let names = |text: &str| text.contains("$(service)") || text.contains("$(namespace)");
        match &metric.test {
            TestPlan::Threshold(test) => names(&test.query),
            TestPlan::Sequential(test) => match &test.counters {
                Counters::Errors {} | Counters::Slow { .. } => true,
                Counters::Good { total, good: part } | Counters::Bad { total, bad: part } => {
                    names(total) || names(part)
                }
            },
        }
    };
    let Some(metric) = plan.metrics.iter().find(asks) else {
        return;
    };
    let remedy = if its_namespace == namespace {
        format!(
            "Set spec.service: {short}, and name what is called otherwise: virtualServices, destinationRule, workload.selector."
        )
    } else {
        "Release it from the namespace of that host, or ask by queries or counters of your own that name it."
            .to_owned()
    };
    report.warning(
        codes::HOST_OTHER,
        &format!("DestinationRule {}, spec.host", plan.target.destination_rule),
        format!(
            "traffic goes to {host}, and metric {} asks for requests to {service} in namespace {namespace}",
            metric.name
        ),
        "Istio counts requests under the host that they are sent to: the metric sees none of these, and no traffic moves.",
        remedy,
    );
}
