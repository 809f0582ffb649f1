//! What the Service says: the protocol of its ports, and which pods it finds.

use crate::api::plan::Plan;

use super::inventory::{DeploymentFacts, Inventory, Port, ServiceFacts};
use super::{Report, Severity, codes};

/// Protocols whose requests a proxy can tell apart.
const HTTP: [&str; 6] = [
    "http",
    "http2",
    "grpc",
    "grpc-web",
    "kubernetes.io/h2c",
    "kubernetes.io/ws",
];

/// Other protocols that Istio knows by name.
const OTHERS: [&str; 9] = [
    "https",
    "tcp",
    "tls",
    "mongo",
    "mysql",
    "redis",
    "udp",
    "kubernetes.io/wss",
    "hbone",
];

/// What a port says of its protocol.
enum Says {
    Http,
    Other(String),
    Nothing,
}

pub(super) fn ports(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let Some(service) = report.look("the Service of the host", &inventory.service) else {
        return;
    };
    let Some(service) = service else {
        return report.error(
            codes::HOST_WITHOUT_SERVICE,
            &format!("DestinationRule {}, spec.host", plan.target.destination_rule),
            "there is no Service of that name",
            "Istio knows pods by their Service: without one the subsets are empty, and requests are answered with 503.",
            "Create the Service, or mend spec.host.",
        );
    };
    finds(report, inventory, service, &plan.target.version_label);
    let mut routes = inventory.virtual_services.found.iter().flat_map(|s| &s.routes);
    if !routes.any(|route| route.is_http) {
        return;
    }
    let ports = || service.ports.iter().filter(|port| !port.is_udp);
    let some_http = ports().any(|port| matches!(says(port), Says::Http));
    for port in ports() {
        let object = format!("Service {}, port {}", service.name, port.number);
        match says(port) {
            Says::Nothing => {
                let named = if port.name.is_empty() { "it has no name and no appProtocol".to_owned() } else { format!("it is named {} and has no appProtocol", port.name) };
                // Beside a port of http it is mostly one for metrics or the like, which no route of ours is about.
                let severity = if some_http { Severity::Hint } else { Severity::Warning };
                report.say(
                    severity,
                    codes::PORT_PROTOCOL,
                    &object,
                    format!("{named}: nothing says which protocol it speaks"),
                    "Istio then guesses from the first bytes; what it takes for TCP passes the http routes by, and is not counted \
                     as requests.",
                    "Name it http, http-…, grpc-… or the like, or set appProtocol.",
                );
            }
            Says::Other(protocol) if !some_http => report.warning(
                codes::PORT_PROTOCOL,
                &object,
                format!("it says {protocol}, and our routes are http routes"),
                "Http routes apply to ports of http, http2 and grpc only: this port's traffic never moves.",
                "If it speaks http, say so in its name or appProtocol; else put the weights into a tcp or tls route.",
            ),
            Says::Http | Says::Other(_) => {}
        }
    }
}

/// Which pods it finds, and whether it has an address; `key` is the label that tells versions apart.
fn finds(report: &mut Report, inventory: &Inventory, service: &ServiceFacts, key: &str) {
    if let Some(version) = service.selector.get(key) {
        report.error(
            codes::SELECTOR_VERSION,
            &format!("Service {}, spec.selector", service.name),
            format!("it selects pods with {key}={version} only"),
            "The other subset has no endpoints behind this Service: its share of the traffic is answered with 503.",
            format!("Take {key} out of the Service's selector."),
        );
    }
    if service.is_headless {
        report.warning(
            codes::HEADLESS,
            &format!("Service {}, spec.clusterIP", service.name),
            "it is headless",
            "Callers in the mesh go to the pod they dial, of whatever version, and past the weights; only those behind a gateway \
             follow them.",
            "Give it an address, or let callers use another Service for the same pods.",
        );
    }
    unselected(report, inventory, service, key);
}

/// A Deployment whose pods the Service does not find.
fn unselected(report: &mut Report, inventory: &Inventory, service: &ServiceFacts, version: &str) {
    let lacked = |deployment: &DeploymentFacts| {
        let labels = &deployment.pod_labels;
        let mut asked = service.selector.iter().filter(|(key, _)| *key != version);
        let (key, value) = asked.find(|(key, value)| labels.get(*key) != Some(*value))?;
        Some(format!(
            "it asks for {key}={value}, which the pods of Deployment {} lack",
            deployment.seen.name
        ))
    };
    if let Some(what) = inventory.deployments.found.iter().find_map(lacked) {
        report.error(
            codes::SELECTOR_LABELS,
            &format!("Service {}, spec.selector", service.name),
            what,
            "No subset behind this Service finds them: their share of the traffic is answered with 503.",
            "Give the pods that label, or take it out of the selector.",
        );
    }
}

fn says(port: &Port) -> Says {
    let known = |word: &str| {
        if HTTP.contains(&word) {
            Says::Http
        } else if OTHERS.contains(&word) {
            Says::Other(word.to_owned())
        } else {
            Says::Nothing
        }
    };
    if let Some(protocol) = &port.app_protocol {
        return known(&protocol.to_lowercase());
    }
    let name = port.name.to_lowercase();
    // grpc-web is the one protocol with a dash.
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return Says::Http;
    }
    known(name.split('-').next().unwrap_or_default())
}
