//! What very many `BirdWatches` at rest cost the program itself, with all the objects that belong to them: kilobytes of
//! memory each, one look each at the start, and no write once they have a status. The API server is a small one in here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "controller_kit/mod.rs"]
mod controller_kit;
#[path = "support/process.rs"]
mod process;

use std::fs::File;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use birdwatch::clients::http::install_crypto_provider;
use birdwatch::clients::size::PAGE;
use birdwatch::runtime::clock::Clock;
use controller_kit::fake_api::FakeApi;
use controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, RULES, SERVICES, bird_watch, deployment, rule, virtual_service,
};
use process::{of_the_image, taken};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How many there are, unless the environment says otherwise: `make prove-many` has ten thousand.
const MANY: usize = 600;
/// The most memory for each, with its other four objects.
const EACH: usize = 20 << 10;
/// What the program has without any, itself included, and what is on its way at the start.
const BESIDES: usize = 64 << 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// Nothing has happened for so long: nothing does any more.
const QUIET: Duration = Duration::from_secs(2);

fn many() -> usize {
    std::env::var("BIRDWATCHES").map_or(MANY, |number| number.parse().unwrap())
}

/// An object as it is after a while in a cluster: with labels of a chart, and the copy that `kubectl apply` keeps of it.
fn lived_in(mut object: Value) -> Value {
    let applied = object.to_string();
    object["metadata"]["labels"] = json!({
        "app.kubernetes.io/name": object["metadata"]["name"], "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": "services-1.2.3", "team": "checkout",
    });
    object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!(applied);
    object
}

/// A Deployment with what pods have.
fn pods(service: &str, version: &str) -> Value {
    let mut made = deployment(service, version, 2);
    let env: Vec<_> = (0..25)
        .map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value-{i}-of-{service}")}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/{name}:{version}"), "env": env,
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}],
        })
    };
    made["spec"]["template"]["spec"] = json!({
        "containers": [container(service), container("sidecar")],
        "volumes": [{"name": "config", "configMap": {"name": service}}],
    });
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "MinimumReplicasAvailable",
        "message": "Deployment has minimum availability.", "lastUpdateTime": "2026-01-01T00:00:00Z"})
    };
    made["status"]["conditions"] = json!([condition("Available"), condition("Progressing")]);
    lived_in(made)
}

/// An API server by a connection.
struct Cluster {
    api: FakeApi,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// With so many services at rest, each with a version in production and another beside it.
    async fn with(services: usize) -> Self {
        let api = FakeApi::new(Clock::real());
        for name in (0..services).map(|number| format!("many-{number}")) {
            api.put(DEPLOYMENTS, pods(&name, "v1"));
            api.put(DEPLOYMENTS, pods(&name, "v2"));
            api.put(RULES, lived_in(rule(&name)));
            api.put(SERVICES, lived_in(virtual_service(&name)));
            let watch = bird_watch(&name, &json!({"canaryVersion": null}));
            api.put(BIRD_WATCHES, lived_in(watch));
        }
        let served = |name: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": name, "verbs": []});
        let istio = json!({
            "kind": "APIResourceList", "groupVersion": "networking.istio.io/v1",
            "resources": [served("virtualservices"), served("destinationrules")],
        });
        let router = Router::new()
            .route("/apis/networking.istio.io/v1", get(async move || Json(istio)))
            .fallback_service(api.router("operator"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let kubeconfig = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crowd-{services}.json"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { api, kubeconfig }
    }

    /// The program as the image starts it. Nobody holds the lease.
    fn start(&self) -> Program {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "birdwatch", "namespace": "default"},
            "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
        });
        self.api.put("coordination.k8s.io/leases", lease);
        let free = || {
            StdListener::bind(("127.0.0.1", 0))
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let (admin, log) = (free(), self.kubeconfig.with_extension("log"));
        let out = File::create(&log).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_birdwatch"))
            .args(["run", "--admin-address=127.0.0.1", "--lease-namespace=default"])
            .arg(format!("--admin-port={admin}"))
            .envs(of_the_image())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PROMETHEUS_URL", format!("http://127.0.0.1:{}", free()))
            .env_remove("SLACK_API_TOKEN")
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn();
        Program {
            process: process.unwrap(),
            begun: Instant::now(),
            metrics: format!("http://127.0.0.1:{admin}/metrics"),
            log,
        }
    }

    /// What was asked of the API server but lists, watches, and about the lease.
    fn calls(&self) -> Vec<String> {
        let requests = self.api.requests().into_iter();
        let calls = requests
            .filter(|r| !matches!(r.verb, "list" | "watch") && r.resource != "coordination.k8s.io/leases");
        calls.map(|r| format!("{} {}", r.verb, r.resource)).collect()
    }

    /// Whether every list was asked for in pages.
    fn lists_in_pages(&self) -> bool {
        let mut lists = self.api.requests().into_iter().filter(|r| r.verb == "list");
        lists.all(|r| r.query.get("limit") == Some(&PAGE.to_string()))
    }
}

/// The program while it runs; dropped, it is killed.
struct Program {
    process: Child,
    begun: Instant,
    metrics: String,
    log: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Program {
    /// The sum of a metric's series.
    async fn count(&self, metric: &str) -> Option<usize> {
        let text = reqwest::get(&self.metrics).await.ok()?.text().await.ok()?;
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(metric))
                .then(|| value.parse::<usize>())?
                .ok()
        });
        Some(values.sum())
    }

    /// Waits until it leads, has looked at so many, and does nothing any more. Returns how often it looked, and how long
    /// it took to look at all.
    async fn settles(&self, many: usize) -> (usize, Duration) {
        let (mut looks, mut since, mut took) = (0, Instant::now(), None);
        while looks < many || took.is_none() || since.elapsed() < QUIET {
            assert!(
                self.begun.elapsed() < PATIENCE,
                "{looks} looks; {}",
                self.log.display()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (Some(leads), Some(now)) = (
                self.count("birdwatch_leader").await,
                self.count("birdwatch_reconciles_total").await,
            ) else {
                continue;
            };
            if now != looks {
                (looks, since) = (now, Instant::now());
            }
            if leads == 1 && looks >= many {
                took.get_or_insert(self.begun.elapsed());
            }
        }
        (looks, took.unwrap_or_default())
    }
}

/// What a cluster with so many costs a program that is started when each has its status.
struct Rest {
    /// Without the program itself.
    memory: usize,
    /// The most, with it.
    peak: usize,
    looks: usize,
    took: Duration,
}

async fn rest(services: usize) -> Rest {
    let cluster = Cluster::with(services).await;
    let first = cluster.start();
    let (_, took) = first.settles(services).await;
    let written = first.count("birdwatch_api_writes_total").await;
    assert_eq!(written, Some(services), "each gets its status, once");
    println!(
        "{services} for the first time: each has its status after {:.1} s",
        took.as_secs_f64()
    );
    drop(first);

    cluster.api.forget_requests();
    let again = cluster.start();
    let (looks, took) = again.settles(services).await;
    assert_eq!(cluster.calls(), Vec::<String>::new(), "nothing is to be written");
    assert_eq!(looks, services, "one look each");
    assert!(cluster.lists_in_pages());
    let [memory, peak] = ["RssAnon", "VmHWM"].map(|what| taken(&again.process.id().to_string(), what));
    Rest {
        memory,
        peak,
        looks,
        took,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_very_many_costs_kilobytes_and_one_look_at_the_start() {
    install_crypto_provider();
    let (few, many) = (many() / 4, many());
    let (of_few, of_many) = (rest(few).await, rest(many).await);
    let each = of_many.memory.saturating_sub(of_few.memory) / (many - few);
    println!(
        "proved: {many} BirdWatches at rest: {each} bytes each, {} MiB in all, with the program {} MiB at most; {} looks, the last {:.1} s after the start",
        of_many.memory >> 20,
        of_many.peak >> 20,
        of_many.looks,
        of_many.took.as_secs_f64()
    );
    assert!(
        each <= EACH,
        "{each} bytes each: {} of {many} and {} of {few}",
        of_many.memory,
        of_few.memory
    );
    let peak = of_many.peak;
    assert!(peak < BESIDES + many * EACH, "{peak} bytes at most");
}
