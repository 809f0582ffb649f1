//! The mesh: istiod and one Envoy as the ingress gateway, and what Envoy says it does with traffic.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde_json::{Value, json};

use crate::{
    cluster::Ground,
    part::{Part, Probe},
    process::Spec,
};

/// The namespace of istiod and of the gateway.
pub const NAMESPACE: &str = "istio-system";
/// The gateway that a `VirtualService` names to be reached from outside.
pub const GATEWAY: &str = "istio-system/bed";

const VERSION: &str = "1.31.0";

/// istiod's ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) grpc: u16,
    pub(crate) monitoring: u16,
    pub(crate) introspection: u16,
}

/// istiod without its CA, its webhooks and the filters that only Istio's own Envoy has.
pub(crate) fn istiod(ground: &Ground, ports: Ports, kubeconfig: &Path) -> io::Result<Part> {
    let dir = ground.dir.join("istiod");
    fs::create_dir_all(&dir)?;
    let mesh = dir.join("mesh.yaml");
    let config = json!({
        "enableAutoMtls": false,
        "enableTracing": false,
        "defaultProviders": {},
        "accessLogFile": "",
        "ingressControllerMode": "OFF",
        "enablePrometheusMerge": false,
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    });
    fs::write(&mesh, config.to_string())?;
    let address = |port: u16| format!("127.0.0.1:{port}");
    let mut spec = Spec::new("istiod", ground.tools.program("pilot-discovery"))
        .args([
            "discovery".into(),
            format!("--kubeconfig={}", kubeconfig.display()),
        ])
        .args([
            format!("--meshConfig={}", mesh.display()),
            "--domain=cluster.local".into(),
        ])
        .args([
            format!("--httpAddr={}", address(ports.http)),
            format!("--grpcAddr={}", address(ports.grpc)),
        ])
        .args([format!("--monitoringAddr={}", address(ports.monitoring))])
        .args(["--secureGRPCAddr=", "--httpsAddr=", "--ctrlz_address=127.0.0.1"])
        .args([format!("--ctrlz_port={}", ports.introspection)])
        .env("POD_NAMESPACE", NAMESPACE)
        .env("POD_NAME", "istiod-0")
        .env("PILOT_CERT_PROVIDER", "none")
        .cwd(dir);
    for switch in [
        "ENABLE_CA_SERVER",
        "INJECT_ENABLED",
        "PILOT_ENABLE_METADATA_EXCHANGE", // stock Envoy rejects every cluster with it
        "PILOT_ENABLE_ALPN_FILTER",
        "ENABLE_LEADER_ELECTION",
        "PILOT_ENABLE_GATEWAY_API",
        "PILOT_ENABLE_IP_AUTOALLOCATE",
        "PILOT_ENABLE_ANALYSIS",
    ] {
        spec = spec.env(switch, "false");
    }
    spec = spec
        .env("VALIDATION_WEBHOOK_CONFIG_NAME", "")
        .env("INJECTION_WEBHOOK_CONFIG_NAME", "");
    Ok(Part::new(
        spec,
        &ground.logs(),
        Probe::http(format!("http://{}/ready", address(ports.http))),
    ))
}

/// Envoy, configured by istiod as an ingress gateway.
pub(crate) fn envoy(ground: &Ground, istiod_grpc: u16, admin: u16) -> io::Result<Part> {
    let config = ground.dir.join("envoy.json");
    fs::write(&config, bootstrap(istiod_grpc, admin).to_string())?;
    let spec = Spec::new("envoy", ground.tools.program("envoy"))
        .args(["--config-path".into(), config.into_os_string()])
        // No hot restart: no shared memory that outlives it, no base id to keep unique.
        .args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warn",
        ])
        .cwd(ground.dir);
    Ok(Part::new(
        spec,
        &ground.logs(),
        Probe::http(format!("http://127.0.0.1:{admin}/ready")),
    ))
}

fn bootstrap(istiod_grpc: u16, admin: u16) -> Value {
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "node": {
            "id": "router~127.0.0.1~gw.istio-system~istio-system.svc.cluster.local",
            "cluster": "gw.istio-system",
            "metadata": {
                "NAMESPACE": NAMESPACE, "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": VERSION, "NAME": "gw",
                "SERVICE_ACCOUNT": "gw", "LABELS": {"istio": "ingressgateway"}, "INSTANCE_IPS": "127.0.0.1",
            },
        },
        "admin": {"address": socket(admin)},
        "stats_flush_interval": "1s",
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}],
            },
        },
        "static_resources": {"clusters": [{
            "name": "istiod",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": "istiod",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(istiod_grpc)}}]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
        }]},
    })
}

/// The Gateway object that makes Envoy listen on loopback, and there only: for HTTP, and for TCP as soon as a route of
/// a `VirtualService` matches that port.
pub(crate) fn gateway(http: u16, tcp: u16) -> Value {
    let server = |port: u16, name: &str, protocol: &str| {
        json!({
            "port": {"number": port, "name": name, "protocol": protocol},
            "bind": "127.0.0.1",
            "hosts": ["*"],
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "bed", "namespace": NAMESPACE},
        "spec": {
            "selector": {"istio": "ingressgateway"},
            "servers": [server(http, "http", "HTTP"), server(tcp, "tcp", "TCP")],
        },
    })
}

/// What one of Envoy's routes does with requests for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteWeights {
    /// Envoy's virtual host, such as `aleph.example:80`.
    pub virtual_host: String,
    /// The route's name, from the `VirtualService`; empty where that gives none.
    pub route: String,
    /// Subset to weight, as Envoy has it. Istio leaves out a destination of weight 0; a route with one destination
    /// gives it 100.
    pub weights: BTreeMap<String, u32>,
}

impl RouteWeights {
    /// The weight of a subset; 0 when Envoy does not know it.
    #[must_use]
    pub fn weight(&self, subset: &str) -> u32 {
        self.weights.get(subset).copied().unwrap_or(0)
    }
}

/// Reads the routes to `host` (a FQDN) from Envoy's `config_dump`.
#[must_use]
pub fn routes_to(host: &str, dump: &Value) -> Vec<RouteWeights> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for section in list(dump, "configs") {
        for config in list(&section, "dynamic_route_configs").iter().chain([&section]) {
            for virtual_host in list(&config["route_config"], "virtual_hosts") {
                for route in list(&virtual_host, "routes") {
                    let weights = weights(&route["route"], host);
                    if !weights.is_empty() {
                        let (virtual_host, route) = (text(&virtual_host["name"]), text(&route["name"]));
                        found.push(RouteWeights {
                            virtual_host,
                            route,
                            weights,
                        });
                    }
                }
            }
        }
    }
    found
}

/// Subset to weight, of the clusters (`outbound|port|subset|host`) that lead to `host`.
fn weights(action: &Value, host: &str) -> BTreeMap<String, u32> {
    let subset = |cluster: &Value| {
        let mut parts = cluster.as_str().unwrap_or_default().splitn(4, '|').skip(2);
        let (subset, to) = (parts.next()?, parts.next()?);
        (to == host).then(|| subset.to_owned())
    };
    let several = action["weighted_clusters"]["clusters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|cluster| {
            Some((
                subset(&cluster["name"])?,
                u32::try_from(cluster["weight"].as_u64().unwrap_or(0)).unwrap_or(u32::MAX),
            ))
        });
    let single = subset(&action["cluster"]).map(|subset| (subset, 100));
    several.chain(single).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_for_the_host_asked_about_and_no_other() {
        let dump = json!({"configs": [{"dynamic_route_configs": [{"route_config": {"virtual_hosts": [{
            "name": "aleph.example:80",
            "routes": [
                {"name": "main", "route": {"weighted_clusters": {"clusters": [
                    {"name": "outbound|80|production|aleph.default.svc.cluster.local", "weight": 90},
                    {"name": "outbound|80|canary|aleph.default.svc.cluster.local", "weight": 10},
                    {"name": "outbound|80||other.default.svc.cluster.local", "weight": 5},
                ]}}},
                {"route": {"cluster": "outbound|80|canary|aleph.default.svc.cluster.local"}},
                {"route": {"cluster": "outbound|80|canary|beth.default.svc.cluster.local"}},
            ],
        }]}}]}]});
        let found = routes_to("aleph.default.svc.cluster.local", &dump);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].route, "main");
        assert_eq!(
            (found[0].weight("production"), found[0].weight("canary")),
            (90, 10)
        );
        assert_eq!(
            (found[1].weight("production"), found[1].weight("canary")),
            (0, 100)
        );
    }
}
