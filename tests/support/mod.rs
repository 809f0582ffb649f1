//! One bed for all tests of a binary, and a service to release on it.
#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]

use std::future::Future;
use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch::api::{BirdWatch, BirdWatchStatus};
use birdwatch_bed::parts::apps::{self, App};
use birdwatch_bed::parts::operator_image;
use birdwatch_bed::parts::traffic::Traffic;
use birdwatch_bed::parts::workload::Change;
use birdwatch_bed::{Bed, Options, operator};
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock};

pub mod bare;
pub mod dice;
mod rollouts;
pub mod watched;

#[allow(unused_imports, reason = "each test binary uses its part of it")]
pub use rollouts::*;

/// What all tests of a binary run on.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    birdwatch::clients::http::install_crypto_provider();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
});
static BED: OnceCell<Bed> = OnceCell::const_new();
/// Held for reading by tests that only use the bed, for writing by those that break parts of it.
static PEACE: RwLock<()> = RwLock::const_new(());

/// How helm installs the operator on the bed of this binary: with these further arguments, or not at all.
static OPERATOR: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();

/// How long anything may take that should happen soon.
pub const SOON: Duration = Duration::from_mins(1);

/// Says, before any test of the binary takes the bed, how its operator is installed: with further arguments for helm,
/// or not at all.
pub fn install(arguments: Option<&'static [&'static str]>) {
    OPERATOR.get_or_init(|| arguments);
}

/// The operator's program: the one the environment names, or the one that cargo built together with this test.
pub fn program() -> PathBuf {
    let given = std::env::var_os(operator_image::PROGRAM_ENV);
    given.map_or_else(|| env!("CARGO_BIN_EXE_birdwatch").into(), PathBuf::from)
}

async fn bed() -> &'static Bed {
    BED.get_or_init(|| async {
        let options = Options {
            operator_binary: Some(program()),
            ..Options::default()
        };
        let bed = Bed::start(options)
            .await
            .unwrap_or_else(|error| panic!("the bed did not start: {error}"));
        if let Some(arguments) = OPERATOR.get_or_init(|| Some(&[])) {
            bed.install_operator(arguments)
                .await
                .unwrap_or_else(|error| panic!("the operator is not installed: {error}"));
        }
        bed
    })
    .await
}

/// Runs a test beside others.
pub fn on_bed<F: Future<Output = ()>>(test: impl FnOnce(&'static Bed) -> F) {
    RUNTIME.block_on(async {
        let bed = bed().await;
        let _peace = PEACE.read().await;
        test(bed).await;
    });
}

/// Runs a test that stops or breaks parts of the bed: no other runs meanwhile. It mends what it broke.
pub fn alone_on_bed<F: Future<Output = ()>>(test: impl FnOnce(&'static Bed) -> F) {
    RUNTIME.block_on(async {
        let bed = bed().await;
        let _alone = PEACE.write().await;
        test(bed).await;
    });
}

/// The same, after what it needs is prepared beside others.
pub fn alone_after<T, P: Future<Output = T>, F: Future<Output = ()>>(
    prepare: impl FnOnce(&'static Bed) -> P,
    test: impl FnOnce(&'static Bed, T) -> F,
) {
    RUNTIME.block_on(async {
        let bed = bed().await;
        let prepared = {
            let _peace = PEACE.read().await;
            prepare(bed).await
        };
        let _alone = PEACE.write().await;
        test(bed, prepared).await;
    });
}

/// A service with production v1 behind the mesh, its own namespace, and load.
pub struct Service {
    pub bed: &'static Bed,
    pub app: App,
    pub client: Client,
    pub traffic: Option<Traffic>,
}

impl Service {
    /// Makes the service in a namespace of that name, with one pod of v1 and 20 requests a second.
    pub async fn new(bed: &'static Bed, name: &str) -> Self {
        Self::silent(bed, name).await.with_traffic(20.0)
    }

    /// The same without any load.
    pub async fn silent(bed: &'static Bed, name: &str) -> Self {
        Self::named(bed, name, name).await
    }

    /// The same with a name that is not the namespace's.
    pub async fn named(bed: &'static Bed, namespace: &str, name: &str) -> Self {
        let client = bed.client().unwrap();
        let service = Self {
            bed,
            app: App::new(name, namespace),
            client,
            traffic: None,
        };
        let mut manifests = vec![apps::namespace(namespace)];
        manifests.extend(service.app.mesh("v1", "none"));
        manifests.push(service.app.deployment("v1", 1, &[]));
        service.apply(&manifests).await;
        service.available("v1").await;
        service
    }

    /// Starts a steady load.
    pub fn with_traffic(mut self, per_second: f64) -> Self {
        self.traffic = Some(Traffic::start(&self.bed.gateway_url(), &self.app.host(), per_second).unwrap());
        self
    }

    /// Applies manifests, as a user of the cluster does.
    pub async fn apply(&self, manifests: &[Value]) {
        apps::apply(&self.client, manifests).await.unwrap();
    }

    /// Applies a `BirdWatch` of the service's name, whose spec is this YAML; `service` is filled in.
    pub async fn watch(&self, spec: &str) {
        let mut spec: Value = serde_saphyr::from_str(spec).unwrap();
        spec["service"] = json!(self.app.name);
        self.watch_with(spec).await;
    }

    /// Applies a `BirdWatch` with this spec.
    pub async fn watch_with(&self, spec: Value) {
        self.apply(&[json!({
            "apiVersion": "otomato.link/v1alpha1",
            "kind": "BirdWatch",
            "metadata": {"name": self.app.name, "namespace": self.app.namespace},
            "spec": spec,
        })])
        .await;
    }

    /// Deploys a version with one pod and waits for nothing.
    pub async fn deploy(&self, version: &str, env: &[(&str, &str)]) {
        self.apply(&[self.app.deployment(version, 1, env)]).await;
    }

    /// Waits until a version's Deployment has all its pods available.
    pub async fn available(&self, version: &str) {
        let name = self.app.deployment_name(version);
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.client.clone(), &self.app.namespace);
        eventually(&format!("{name} is available"), SOON, async || {
            let deployment = api.get(&name).await.ok()?;
            let wanted = deployment.spec.as_ref()?.replicas.unwrap_or(1);
            (deployment.status?.available_replicas.unwrap_or(0) >= wanted).then_some(())
        })
        .await;
    }

    /// Changes how the pods of a version behave.
    pub async fn behave(&self, version: &str, error_rate: f64) {
        let change = Change {
            error_rate: Some(error_rate),
            ..Change::default()
        };
        self.app.behave(&self.client, version, change).await.unwrap();
    }

    /// Scales a version's Deployment.
    pub async fn scale(&self, version: &str, replicas: u32) {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.client.clone(), &self.app.namespace);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch(
            &self.app.deployment_name(version),
            &PatchParams::default(),
            &patch,
        )
        .await
        .unwrap();
    }

    pub fn birdwatches(&self) -> Api<BirdWatch> {
        Api::namespaced(self.client.clone(), &self.app.namespace)
    }

    /// Any object of the namespace as JSON.
    pub async fn object(&self, api_version: &str, kind: &str, name: &str) -> Value {
        serde_json::to_value(self.dynamic(api_version, kind).get(name).await.unwrap()).unwrap()
    }

    /// An API for any kind.
    pub fn dynamic(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.app.namespace, &resource)
    }

    /// The status of the service's `BirdWatch`; empty where there is none.
    pub async fn status(&self) -> BirdWatchStatus {
        let found = self.birdwatches().get_opt(&self.app.name).await.unwrap();
        found.and_then(|b| b.status).unwrap_or_default()
    }

    /// Waits until status is as it should be; on failure shows what it was.
    pub async fn until(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&BirdWatchStatus) -> bool,
    ) -> BirdWatchStatus {
        let waited = tokio::time::timeout(within, async {
            loop {
                let status = self.status().await;
                if holds(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        if let Ok(status) = waited.await {
            return status;
        }
        let status = serde_json::to_string_pretty(&self.status().await).unwrap();
        panic!(
            "{}: not {what} within {within:?}\n{status}\n{}",
            self.app.namespace,
            self.operator_log()
        );
    }

    /// Waits for a phase.
    pub async fn phase(&self, phase: Phase, within: Duration) -> BirdWatchStatus {
        self.until(phase.as_str(), within, |status| status.phase == phase)
            .await
    }

    /// Waits until the canary's confirmed weight is at least `percent`.
    pub async fn weight(&self, percent: i32) -> BirdWatchStatus {
        self.until(&format!("at {percent} %"), SOON, |status| {
            status.weight.unwrap_or(0) >= percent
        })
        .await
    }

    /// The weights (production, canary) of the first http route of a `VirtualService`.
    pub async fn weights_of(&self, virtual_service: &str) -> (i64, i64) {
        let object = self
            .object("networking.istio.io/v1", "VirtualService", virtual_service)
            .await;
        let of = |subset: &str| {
            let routes = object["spec"]["http"].as_array().into_iter().flatten();
            let mut destinations = routes.flat_map(|route| route["route"].as_array().into_iter().flatten());
            let found = destinations.find(|d| d["destination"]["subset"] == subset);
            found.and_then(|d| d["weight"].as_i64()).unwrap_or(0)
        };
        (of("production"), of("canary"))
    }

    /// The weights (production, canary) of the service's own `VirtualService`.
    pub async fn weights(&self) -> (i64, i64) {
        self.weights_of(&self.app.name).await
    }

    /// The version labels (production, canary) of the service's `DestinationRule`.
    pub async fn labels(&self) -> (Option<String>, Option<String>) {
        let object = self
            .object("networking.istio.io/v1", "DestinationRule", &self.app.name)
            .await;
        let of = |name: &str| {
            let subset = object["spec"]["subsets"]
                .as_array()?
                .iter()
                .find(|s| s["name"] == name)?;
            subset["labels"]["version"].as_str().map(str::to_owned)
        };
        (of("production"), of("canary"))
    }

    /// Sets the verb annotation.
    pub async fn verb(&self, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"otomato.link/verb": value}}}));
        self.birdwatches()
            .patch(&self.app.name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Merges a change into the `BirdWatch`'s spec.
    pub async fn edit(&self, change: Value) {
        let patch = Patch::Merge(json!({"spec": change}));
        self.birdwatches()
            .patch(&self.app.name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Texts of the Slack messages that speak of this service: the parents and the replies in their threads.
    pub fn told(&self) -> Vec<String> {
        let messages = self.bed.slack.messages();
        let name = format!("*{}/{}*", self.app.namespace, self.app.name);
        let parents: Vec<_> = messages
            .iter()
            .filter(|m| m.text.contains(&name))
            .map(|m| m.ts.clone())
            .collect();
        messages
            .into_iter()
            .filter(|m| {
                parents.contains(&m.ts) || m.thread_ts.as_ref().is_some_and(|ts| parents.contains(ts))
            })
            .map(|m| m.text)
            .collect()
    }

    /// What the operator's pods logged about this namespace, the latest lines.
    pub fn operator_log(&self) -> String {
        let files = |dir: std::path::PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut lines = Vec::new();
        for pod in files(self.bed.dir().join("logs/pods").join(operator::NAME)) {
            for log in files(pod.path()) {
                let text = std::fs::read_to_string(log.path()).unwrap_or_default();
                let ours = text.lines().filter(|line| line.contains(&self.app.namespace));
                lines.extend(ours.map(str::to_owned));
            }
        }
        lines.split_off(lines.len().saturating_sub(40)).join("\n")
    }
}

/// Waits until something is there.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(within, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("not within {within:?}: {what}"))
}
