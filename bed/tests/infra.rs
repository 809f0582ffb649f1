//! The bed's parts work together: one bed for all tests of this file, a namespace each.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use birdwatch_bed::Infra;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

static BED: OnceCell<Infra> = OnceCell::const_new();

async fn bed() -> &'static Infra {
    BED.get_or_init(async || Infra::start(None).await.unwrap_or_else(|e| panic!("{e}")))
        .await
}

/// Asks every 20 ms until `ask` gives something, for up to 20 s.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .unwrap_or_else(|_| panic!("never came about: {what}"))
}

async fn namespace(bed: &Infra, name: &str) {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.into());
    Api::all(bed.client().unwrap())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
}

/// An HTTP server that answers every request with `body`.
fn answer_with(address: SocketAddr, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let bound = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A thread each: Envoy may open a connection that it does not use for a while.
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
                let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
            });
        }
    });
    bound
}

fn pod_address(bed: &Infra, last: u8, port: u16) -> SocketAddr {
    let [a, b, c, _] = bed.pod_net().octets();
    SocketAddr::from(([a, b, c, last], port))
}

fn routes(namespace: &str, production: u32, canary: u32, old: SocketAddr, new: SocketAddr) -> String {
    let host = format!("aleph.{namespace}.svc.cluster.local");
    let endpoint =
        |at: SocketAddr, version: &str| json!({"address": at.ip(), "labels": {"version": version}});
    let destination = |subset: &str, weight: u32| json!({"destination": {"host": host, "subset": subset}, "weight": weight});
    let named = json!({"name": "aleph", "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": named, "spec": {
            "hosts": [host], "location": "MESH_INTERNAL", "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": old.port()}],
            "endpoints": [endpoint(old, "v1"), endpoint(new, "v2")],
        }},
        {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": named, "spec": {
            "host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}},
            "subsets": [
                {"name": "production", "labels": {"version": "v1"}},
                {"name": "canary", "labels": {"version": "v2"}},
            ],
        }},
        {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": named, "spec": {
            "hosts": [format!("aleph.{namespace}.example")], "gateways": ["istio-system/bed"],
            "http": [{"name": "main", "route": [destination("production", production), destination("canary", canary)]}],
        }},
    ]})
    .to_string()
}

#[tokio::test]
async fn a_weight_written_to_a_virtual_service_reaches_envoy_and_the_traffic() {
    let bed = bed().await;
    namespace(bed, "weights").await;
    let (old, new) = (pod_address(bed, 201, 9001), pod_address(bed, 202, 9001));
    answer_with(old, "v1");
    answer_with(new, "v2");
    bed.apply(&routes("weights", 90, 10, old, new)).await.unwrap();
    let host = "aleph.weights.svc.cluster.local";
    let weights = |production, canary| async move {
        until("the weights in Envoy", async || {
            let routes = bed.envoy_weights(host).await.unwrap();
            routes
                .into_iter()
                .find(|r| (r.weight("production"), r.weight("canary")) == (production, canary))
        })
        .await
    };
    assert_eq!(weights(90, 10).await.route, "main");
    bed.apply(&routes("weights", 0, 100, old, new)).await.unwrap();
    weights(0, 100).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async || {
        let request = client
            .get(bed.gateway_url())
            .header("host", "aleph.weights.example");
        request
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()
            .filter(|body| body == "v2")
    };
    until("an answer of the new version", get).await;
    for _ in 0..50 {
        assert!(get().await.is_some(), "every request goes to the new version");
    }
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what() {
    let bed = bed().await;
    let mark = bed.audit().mark().unwrap();
    namespace(bed, "audited").await;
    let created = until("the entry", async || {
        let entries = bed.audit().since(mark).unwrap();
        entries
            .into_iter()
            .find(|e| e.resource == "namespaces" && e.verb == "create" && e.name == "audited")
    })
    .await;
    assert_eq!(
        (created.user.as_str(), created.code, created.stage.as_str()),
        ("admin", 201, "ResponseComplete")
    );
    let users: Vec<String> = bed
        .audit()
        .entries()
        .unwrap()
        .into_iter()
        .map(|e| e.user)
        .collect();
    for user in ["bed:istiod", "bed:prometheus", "system:kube-controller-manager"] {
        assert!(users.iter().any(|u| u == user), "{user} is told apart");
    }
}

async fn query(bed: &Infra, promql: &str) -> Vec<Value> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/v1/query", bed.prometheus_url());
    let answer: Value = client
        .post(url)
        .form(&[("query", promql)])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"]["result"].as_array().unwrap().clone()
}

#[tokio::test]
async fn prometheus_scrapes_pods_keeps_their_labels_and_records_the_old_name() {
    let bed = bed().await;
    namespace(bed, "scraped").await;
    let metrics =
        "istio_request_duration_milliseconds_sum{destination_version=\"v2\",namespace=\"its-own\"} 1500\n";
    let address = answer_with(pod_address(bed, 203, 0), metrics);
    let pods: Api<Pod> = Api::namespaced(bed.client().unwrap(), "scraped");
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "aleph-0", "annotations": {"prometheus.io/port": address.port().to_string()}},
        "spec": {"containers": [{"name": "main", "image": "none"}], "automountServiceAccountToken": false},
    }))
    .unwrap();
    until("the namespace's service account", async || {
        pods.create(&PostParams::default(), &pod).await.ok()
    })
    .await;
    let status = json!({"status": {
        "phase": "Running", "podIP": address.ip(), "podIPs": [{"ip": address.ip()}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    let merge = kube::api::Patch::Merge(status);
    pods.patch_status("aleph-0", &kube::api::PatchParams::default(), &merge)
        .await
        .unwrap();
    let series = until("the recorded series", async || {
        query(bed, "istio_request_duration_seconds_sum{pod=\"aleph-0\"}")
            .await
            .pop()
    })
    .await;
    assert_eq!(series["value"][1], "1.5");
    assert_eq!(series["metric"]["destination_version"], "v2");
    assert_eq!(
        series["metric"]["namespace"], "its-own",
        "what a workload says about itself stands"
    );
    let up = query(bed, "up{pod=\"aleph-0\"}").await;
    assert_eq!(up[0]["metric"]["namespace"], "scraped");
}

#[tokio::test]
async fn deployments_become_pods_and_namespaces_can_go() {
    let bed = bed().await;
    namespace(bed, "deployed").await;
    let client = bed.client().unwrap();
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "aleph"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "aleph"}}, "template": {
            "metadata": {"labels": {"app": "aleph"}},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        }},
    }))
    .unwrap();
    Api::namespaced(client.clone(), "deployed")
        .create(&PostParams::default(), &deployment)
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "deployed");
    until("two pods", async || {
        (pods.list(&ListParams::default()).await.unwrap().items.len() == 2).then_some(())
    })
    .await;
    bed.kubectl(["delete", "namespace", "deployed", "--wait=false"])
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    until("the namespace's end", async || {
        namespaces
            .get_opt("deployed")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn kubectl_and_helm_find_the_bed() {
    let bed = bed().await;
    let version = bed.kubectl(["version", "-o", "json"]).await.unwrap();
    let version: Value = serde_json::from_str(&version).unwrap();
    assert_eq!(version["serverVersion"]["minor"], "36");
    assert_eq!(bed.helm(["list", "--short"]).await.unwrap(), "");
    let refused = bed.kubectl(["get", "nonsense"]).await.unwrap_err().to_string();
    assert!(refused.contains("nonsense"), "{refused}");
}

#[tokio::test]
async fn a_part_stopped_and_started_again_has_its_port_and_its_data() {
    let bed = Infra::start(None).await.unwrap_or_else(|e| panic!("{e}"));
    namespace(&bed, "remembered").await;
    let url = bed.api_url();
    bed.apiserver.stop().await;
    assert!(bed.apiserver.pid().is_none());
    let namespaces: Api<Namespace> = Api::all(bed.client().unwrap());
    assert!(namespaces.get("remembered").await.is_err(), "nobody answers");
    bed.apiserver.start().await.unwrap();
    assert_eq!(bed.api_url(), url);
    namespaces.get("remembered").await.unwrap();

    until("a sample", async || {
        query(&bed, "prometheus_build_info").await.pop()
    })
    .await;
    bed.prometheus.stop().await;
    bed.prometheus.start().await.unwrap();
    assert!(
        !query(&bed, "last_over_time(prometheus_build_info[5m])")
            .await
            .is_empty(),
        "its data is kept"
    );
    assert!(
        bed.prometheus.wipe_data().is_err(),
        "not under a running Prometheus"
    );
    bed.prometheus.stop().await;
    bed.prometheus.wipe_data().unwrap();
    bed.prometheus.start().await.unwrap();
    assert!(
        query(&bed, "count_over_time(prometheus_build_info[5m]) > 5")
            .await
            .is_empty(),
        "its data is gone"
    );
    bed.stop().await;
}

#[tokio::test]
async fn a_weight_written_while_istiod_is_paused_reaches_envoy_when_it_goes_on() {
    let bed = Infra::start(None).await.unwrap_or_else(|e| panic!("{e}"));
    namespace(&bed, "paused").await;
    let (old, new) = (pod_address(&bed, 201, 9001), pod_address(&bed, 202, 9001));
    let canary = async || {
        let routes = bed.envoy_weights("aleph.paused.svc.cluster.local").await.unwrap();
        routes.first().map(|route| route.weight("canary"))
    };
    bed.apply(&routes("paused", 90, 10, old, new)).await.unwrap();
    until("the first weight", async || {
        canary().await.filter(|weight| *weight == 10)
    })
    .await;
    bed.istiod.pause().unwrap();
    bed.apply(&routes("paused", 80, 20, old, new)).await.unwrap();
    // Ten times what istiod needs otherwise.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(canary().await, Some(10));
    bed.istiod.resume().unwrap();
    until("the second weight", async || {
        canary().await.filter(|weight| *weight == 20)
    })
    .await;
    bed.stop().await;
}
