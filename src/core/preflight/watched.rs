//! The findings that the operator has for free: from what it watches already, and nothing asked besides.

use std::collections::BTreeMap;

use crate::api::plan::Plan;
use crate::core::observation::{DeploymentSeen, ObjectName, Observation};

use super::inventory::{
    DeploymentFacts, Inventory, Listed, RouteFacts, RuleFacts, SubsetFacts, VirtualServiceFacts,
};
use super::{Finding, Report, Severity, judge};

const UNSEEN: &str = "the operator does not watch it";

/// Errors and warnings, the gravest first. What is said elsewhere in status is left out: objects that are missing or
/// cannot be read, and pods that come and go.
#[must_use]
pub fn watched(seen: &Observation, plan: &Plan) -> Vec<Finding> {
    let mut inventory = Inventory::new(seen.name.clone(), seen.spec.clone(), UNSEEN);
    inventory.scrape_interval = seen.settings.scrape_interval;
    inventory.propagation_delay = seen.settings.propagation_delay;
    let subset = |version: &Option<String>| match version {
        Some(version) => SubsetFacts::Version(version.clone()),
        None => SubsetFacts::Unlabelled,
    };
    inventory.rule = match &seen.rule {
        Ok(rule) => Ok(Some(RuleFacts {
            production: subset(&rule.production),
            canary: subset(&rule.canary),
            ..RuleFacts::default()
        })),
        Err(why) => Err(why.clone()),
    };
    inventory.virtual_services = Listed {
        found: services(seen),
        whole: Err(UNSEEN.to_owned()),
    };
    inventory.deployments = Listed {
        found: seen.deployments.iter().cloned().map(deployment).collect(),
        whole: Ok(()),
    };
    let mut report = Report::default();
    judge(&mut report, &inventory, plan);
    let mut findings = report.findings;
    findings.retain(|finding| finding.severity <= Severity::Warning);
    findings
}

/// Our routes by their `VirtualService`: the key of a route is `aleph/http[main]`.
fn services(seen: &Observation) -> Vec<VirtualServiceFacts> {
    let mut routes: BTreeMap<&str, Vec<RouteFacts>> = BTreeMap::new();
    for route in &seen.routes {
        let (service, label) = route.key.split_once('/').unwrap_or((&route.key, ""));
        routes.entry(service).or_default().push(RouteFacts {
            label: label.to_owned(),
            is_http: label.starts_with("http"),
            canary: route.canary_share(),
            total: route.total,
            ..RouteFacts::default()
        });
    }
    let service = |(name, routes): (&str, _)| VirtualServiceFacts {
        name: ObjectName {
            namespace: seen.name.namespace.clone(),
            name: name.to_owned(),
        },
        routes,
        ..VirtualServiceFacts::default()
    };
    routes.into_iter().map(service).collect()
}

fn deployment(seen: DeploymentSeen) -> DeploymentFacts {
    DeploymentFacts {
        seen,
        ..DeploymentFacts::default()
    }
}
