//! A namespace with one service that is released as it should be, and the operator that watches it, through a proxy that
//! knows what it asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use birdwatch::api::BirdWatch;
use birdwatch_bed::clock::{self, Stopwatch};
use birdwatch_bed::parts::apps::{self, App};
use birdwatch_bed::parts::prometheus::{Prometheus, Question};
use birdwatch_bed::parts::proxy::{Call, Fate, Judge, Proxy, Verb};
use birdwatch_bed::process::{Process, Spec, log_tail};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::ground::Ground;
use crate::support::bare::{deployed, dynamic, mesh, release_lease, whole, write_kubeconfig};
use crate::support::canary_weight;
use crate::support::program;
use crate::support::watched::Watched;

/// Name of the service, and of its `BirdWatch`.
pub(crate) const SERVICE: &str = "aleph";
/// How long anything may take, on a machine that is busy with others.
const LONG: Duration = Duration::from_mins(4);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(200);
const SECOND: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);
/// An operator that asks nothing for so long has nothing to do: its slowest check comes more often.
const SILENCE: Duration = Duration::from_secs(6);

/// The way through the proxy is free.
struct Free;

impl Judge for Free {
    fn judge<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Fate> {
        std::future::ready(Fate::Forward).boxed()
    }
}

/// The service that is well, and its operator.
pub(crate) struct Neighbour {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    app: App,
    weights: Watched<i64>,
    bird_watch: Watched<Value>,
    proxy: Proxy,
    operator: Process,
    file: std::path::PathBuf,
    prometheus: Prometheus,
}

impl Neighbour {
    /// Moves in. Its `BirdWatch` is the oldest of all.
    pub(crate) async fn new(ground: &'static Ground) -> Self {
        let (namespace, client) = (ground.fresh_name(), ground.client().await);
        let app = App::new(SERVICE, &namespace);
        let step = |weight: i64| json!({"weight": weight, "hold": "5s"});
        let bird_watch = json!({
            "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
            "metadata": {"name": SERVICE, "namespace": namespace},
            "spec": {
                "service": SERVICE, "steps": [step(50), step(100)], "checkInterval": "5s", "settle": "0s",
                "metrics": [{"name": "errors", "query": "errors{version=\"$(version)\"}", "deviation": 0.5}],
            },
        });
        let manifests = [
            apps::namespace(&namespace),
            app.destination_rule("v1", "none"),
            app.virtual_service(100, 0),
            bird_watch,
        ];
        apps::apply(&client, &manifests).await.unwrap();
        release_lease(&client, &namespace, "birdwatch").await;
        deployed(&client, &app, "v1").await;
        let prometheus = Prometheus::start(|asked| std::future::ready(well(&asked)).boxed()).await;
        let prometheus = prometheus.unwrap();
        let proxy = Proxy::start(ground.client().await, Arc::new(Free)).await.unwrap();
        let file = ground.file(&namespace);
        let neighbour = Self {
            operator: operator(&namespace, &proxy, &prometheus, &file),
            weights: Watched::new(mesh(&client, &namespace, "VirtualService"), SERVICE, |object| {
                canary_weight(&object.data["spec"])
            }),
            bird_watch: Watched::new(
                dynamic(&client, &namespace, "otomato.link", "v1alpha1", "BirdWatch"),
                SERVICE,
                whole,
            ),
            namespace,
            client,
            app,
            proxy,
            file,
            prometheus,
        };
        neighbour
            .until("the operator has looked", || {
                neighbour.status()["known"].is_array()
            })
            .await;
        // Ages are told in whole seconds, and of two of the same age the one with the smaller UID acts.
        let made = neighbour.bird_watch.all()[0].0;
        neighbour
            .until("the next second", || clock::now().duration_since(made) > SECOND)
            .await;
        neighbour
    }

    /// Ends the operator in order, and starts it again.
    pub(crate) async fn restart(&mut self, grace: Duration) {
        self.operator.stop(grace).await;
        self.operator = operator(&self.namespace, &self.proxy, &self.prometheus, &self.file);
    }

    /// Releases v2.
    pub(crate) async fn deploy(&self) {
        deployed(&self.client, &self.app, "v2").await;
    }

    pub(crate) fn status(&self) -> Value {
        self.bird_watch.last().unwrap_or_default()["status"].clone()
    }

    /// Every weight of the canary so far.
    pub(crate) fn path(&self) -> Vec<i64> {
        self.weights.all().into_iter().map(|(_, weight)| weight).collect()
    }

    pub(crate) fn bird_watches(&self) -> Api<BirdWatch> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until `holds`; the process must be there all the time.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let waiting = Stopwatch::start();
        while !holds() {
            let ended = self.operator.exited();
            let late = waiting.elapsed() > LONG;
            assert!(
                ended.is_none() && !late,
                "never: {what} (operator: {ended:?})\n{}\n{:?}\n{}",
                self.status(),
                self.calls(),
                log_tail(&self.file.with_extension("log"), 30)
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the operator asks nothing any more but for its lease: none of its objects keeps it busy.
    pub(crate) async fn silent(&self) {
        let asked = || {
            let calls = self.proxy.calls();
            let matters = |call: &&Call| call.resource != "leases" && call.verb != Verb::Watch;
            calls.iter().filter(matters).count()
        };
        let (mut last, mut since) = (asked(), Stopwatch::start());
        self.until("the operator has nothing to do", || {
            let now = asked();
            if now != last {
                (last, since) = (now, Stopwatch::start());
            }
            since.elapsed() > SILENCE
        })
        .await;
    }

    /// How often it asked for what.
    fn calls(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for call in self.proxy.calls() {
            *calls.entry(call.kind()).or_default() += 1;
        }
        calls
    }

    /// How often the operator wrote a status of each object.
    pub(crate) fn status_writes(&self) -> BTreeMap<String, usize> {
        let mut writes = BTreeMap::new();
        for call in self.proxy.calls() {
            if call.kind() == "update birdwatches/status" {
                *writes.entry(call.name).or_default() += 1;
            }
        }
        writes
    }

    /// The most memory that the operator's process ever had, in MB.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.operator.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes / 1024
    }
}

fn operator(namespace: &str, proxy: &Proxy, prometheus: &Prometheus, file: &std::path::Path) -> Process {
    let kubeconfig = file.with_extension("kubeconfig");
    write_kubeconfig(&kubeconfig, &proxy.url());
    let spec = Spec::new(namespace, program())
        .args(["run", "--admin-address=127.0.0.1", "--admin-port=0"])
        .args(["--scrape-interval=100ms", "--propagation-delay=100ms"])
        .args(["--lease-duration=2m", "--identity=operator"])
        .args([
            format!("--namespaces={namespace}"),
            format!("--lease-namespace={namespace}"),
            format!("--prometheus-url={}", prometheus.url()),
        ])
        .env("KUBECONFIG", kubeconfig.to_string_lossy())
        .env("RUST_LOG", "info")
        .log(file.with_extension("log"));
    spec.spawn().unwrap()
}

fn well(question: &Question) -> (StatusCode, String) {
    let data = if question.path == "labels" {
        json!(["__name__", "version"])
    } else {
        json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, "0"]}]})
    };
    let body = json!({"status": "success", "data": data});
    (StatusCode::OK, body.to_string())
}
