//! Whether the pods are in the mesh: without a proxy of their own nobody counts what they answer.

use std::collections::BTreeMap;

use crate::api::plan::Plan;

use super::inventory::{DeploymentFacts, Inventory, PodFacts};
use super::workload::{self, Parts};
use super::{Report, codes};

const WHY: &str = "Its requests are not counted where they arrive: queries of reporter=\"destination\" stay empty, and \
                   an empty answer holds the rollout.";

type Labels = BTreeMap<String, String>;

pub(super) fn sidecars(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let parts @ Parts { canary, .. } = &workload::parts(inventory, plan);
    let deployments = parts.of_production.iter().copied().chain(*canary);
    for deployment in deployments {
        of_deployment(report, inventory, deployment);
    }
}

fn of_deployment(report: &mut Report, inventory: &Inventory, deployment: &DeploymentFacts) {
    let object = format!("Deployment {}", deployment.seen.name);
    let of_version = |pod: &&PodFacts| pod.version == deployment.seen.version;
    let pods: Vec<_> = inventory.pods.found.iter().filter(of_version).collect();
    let without: Vec<_> = pods
        .iter()
        .filter(|pod| !pod.has_proxy)
        .map(|pod| pod.name.as_str())
        .collect();
    let is_ambient =
        is_ambient(&deployment.pod_labels) || inventory.namespace_labels.as_ref().is_ok_and(is_ambient);
    if deployment.has_proxy {
        return;
    }
    if is_ambient {
        return waypoint(report, inventory, deployment);
    }
    if !without.is_empty() {
        return report.warning(
            codes::NO_SIDECAR,
            &object,
            format!("{} of {} pods run without istio-proxy: {}", without.len(), pods.len(), some(&without)),
            WHY,
            "Have Istio inject its proxy (label istio-injection=enabled or istio.io/rev on the namespace), then restart the pods.",
        );
    }
    if !pods.is_empty() {
        return;
    }
    match will_be_injected(deployment, inventory.namespace_labels.as_ref().ok()) {
        Some(Ok(())) => {}
        Some(Err(what)) => report.warning(
            codes::NO_SIDECAR,
            &format!("{object}, pod template"),
            what,
            WHY,
            "Label the namespace istio-injection=enabled (or istio.io/rev), and take sidecar.istio.io/inject: \"false\" away.",
        ),
        None => {
            let why = inventory.namespace_labels.as_ref().err();
            report.unseen(
                "whether the pods get a proxy",
                why.map_or("the namespace's labels are not known", String::as_str),
            );
        }
    }
}

/// In an ambient mesh a waypoint counts requests; ztunnel counts connections alone.
fn waypoint(report: &mut Report, inventory: &Inventory, deployment: &DeploymentFacts) {
    const WAYPOINT: &str = "istio.io/use-waypoint";
    let uses = |labels: &Labels| labels.get(WAYPOINT).is_some_and(|name| name != "none");
    let service = inventory.service.as_ref().ok().and_then(Option::as_ref);
    let (Ok(namespace), Some(service)) = (&inventory.namespace_labels, service) else {
        return report.unseen(
            "whether a waypoint counts the requests",
            "the namespace or the Service is not known",
        );
    };
    if uses(namespace) || uses(&service.labels) || uses(&deployment.pod_labels) {
        return;
    }
    report.warning(
        codes::NO_SIDECAR,
        &format!("Deployment {}", deployment.seen.name),
        format!("its pods are in an ambient mesh, and neither the namespace nor the Service has {WAYPOINT}"),
        "Without a waypoint there are connections and no requests: nobody counts errors, and http routes do not apply.",
        format!("Label the namespace or the Service {WAYPOINT} with the name of a waypoint."),
    );
}

fn some(names: &[&str]) -> String {
    const MOST: usize = 3;
    let more = names.len().saturating_sub(MOST);
    let shown: Vec<_> = names.iter().take(MOST).copied().collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn is_ambient(labels: &Labels) -> bool {
    labels
        .get("istio.io/dataplane-mode")
        .is_some_and(|mode| mode == "ambient")
}

/// As Istio's webhook decides; `None` where that takes the namespace's labels and nobody knows them.
fn will_be_injected(deployment: &DeploymentFacts, namespace: Option<&Labels>) -> Option<Result<(), String>> {
    const INJECT: &str = "sidecar.istio.io/inject";
    const REVISION: &str = "istio.io/rev";
    let own = deployment.pod_labels.get(INJECT);
    let own = own
        .or_else(|| deployment.pod_annotations.get(INJECT))
        .map(String::as_str);
    if deployment.host_network {
        return Some(Err(
            "hostNetwork is true, and Istio injects nothing into such pods".to_owned(),
        ));
    }
    if own == Some("false") {
        return Some(Err(format!("{INJECT} is \"false\"")));
    }
    let namespace = namespace?;
    match namespace.get("istio-injection").map(String::as_str) {
        Some("disabled") => return Some(Err("the namespace has istio-injection=disabled".to_owned())),
        Some("enabled") => return Some(Ok(())),
        _ => {}
    }
    let asks = own == Some("true") || deployment.pod_labels.contains_key(REVISION);
    if namespace.contains_key(REVISION) || asks {
        Some(Ok(()))
    } else {
        Some(Err(
            "neither the namespace nor the pods ask for a proxy".to_owned()
        ))
    }
}
