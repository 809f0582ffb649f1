//! A release of the chart on the bed, and what its operator asked for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use birdwatch::api::BirdWatch;
use birdwatch_bed::Bed;
use birdwatch_bed::audit::Entry;
use birdwatch_bed::operator::{self, NAME, SLACK_TOKEN};
use birdwatch_bed::parts::apps;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{SOON, Service, alone_on_bed, eventually, install, on_bed};

/// A drain waits for two thirds of this.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// A release called `birdwatch` in a namespace of its own.
pub(crate) struct Release {
    pub(crate) bed: &'static Bed,
    pub(crate) client: Client,
    pub(crate) namespace: &'static str,
}

/// Tests under way that run beside each other.
static BESIDE: AtomicUsize = AtomicUsize::new(0);

/// Runs a test alone on the bed, with the whole cluster for its release; after those that run beside each other, which
/// it would keep apart.
pub(crate) fn alone<F: Future<Output = ()>>(test: impl FnOnce(&'static Release) -> F) {
    install(None);
    on_bed(async |_| ());
    while BESIDE.load(Ordering::Relaxed) > 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    alone_on_bed(async |bed| {
        run(bed, NAME, test).await;
        forget_all(&bed.client().unwrap()).await;
    });
}

/// Runs a test beside others, each with a release in a namespace of its own that watches some namespaces only.
pub(crate) fn beside<F: Future<Output = ()>>(
    namespace: &'static str,
    test: impl FnOnce(&'static Release) -> F,
) {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            BESIDE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    BESIDE.fetch_add(1, Ordering::Relaxed);
    let _leave = Leave;
    install(None);
    on_bed(async |bed| {
        static CRD: OnceCell<()> = OnceCell::const_new();
        CRD.get_or_init(|| put_crd(bed)).await;
        run(bed, namespace, test).await;
    });
}

/// Nothing of the release stays, whatever becomes of the test.
async fn run<F: Future<Output = ()>>(
    bed: &'static Bed,
    namespace: &'static str,
    test: impl FnOnce(&'static Release) -> F,
) {
    let client = bed.client().unwrap();
    let release: &Release = Box::leak(Box::new(Release {
        bed,
        client,
        namespace,
    }));
    release.make_namespace(namespace).await;
    let outcome = std::panic::AssertUnwindSafe(test(release)).catch_unwind().await;
    release.remove().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// The CRD as a release in namespace `birdwatch` leaves it behind. The releases beside each other do not bring it: only
/// one can own it.
async fn put_crd(bed: &Bed) {
    let mut crd: Value = serde_saphyr::from_str(&birdwatch::cli::crd::yaml()).unwrap();
    crd["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("Helm");
    crd["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!(NAME);
    crd["metadata"]["annotations"]["meta.helm.sh/release-namespace"] = json!(NAME);
    let client = bed.client().unwrap();
    apps::apply(&client, &[crd]).await.unwrap();
    let established = [
        "wait",
        "crd/birdwatches.otomato.link",
        "--for=condition=Established",
        "--timeout=60s",
    ];
    bed.kubectl(established).await.unwrap();
}

impl Release {
    /// The values of a release for these namespaces on this bed, as YAML, without the braces around them.
    pub(crate) fn values_for(&self, namespaces: &[&str]) -> String {
        format!(
            "namespaces: [{}], crds: {{install: {}}}, prometheusUrl: '{}', slackUrl: '{}', scrapeInterval: 1s, \
             propagationDelay: 2s, leaseDuration: {}s",
            namespaces.join(", "),
            self.namespace == NAME,
            self.bed.prometheus_url(),
            self.bed.slack.api_url(),
            LEASE.as_secs(),
        )
    }

    /// `helm install` with the chart's defaults and these values, as YAML; returns when the operator is available.
    pub(crate) async fn install(&self, values: &str) -> Result<String, String> {
        let file = self.bed.dir().join(format!("values-{}.yaml", self.namespace));
        std::fs::write(&file, values).unwrap();
        let (chart, file) = (operator::chart(), file.to_string_lossy().into_owned());
        let chart = chart.to_string_lossy();
        let args = [
            "install",
            NAME,
            &chart,
            "--values",
            &file,
            "--wait",
            "--timeout=90s",
        ];
        self.helm(&args).await
    }

    /// `helm install` for these namespaces, with one replica.
    pub(crate) async fn install_for(&self, namespaces: &[&str]) {
        for name in namespaces {
            self.make_namespace(name).await;
        }
        let values = format!(
            "{{{}, slackToken: {SLACK_TOKEN}, replicas: 1, drain: {{timeoutSeconds: 10}}}}",
            self.values_for(namespaces)
        );
        self.install(&values).await.unwrap();
    }

    /// `helm uninstall`, hooks included, until all of the release is gone.
    pub(crate) async fn uninstall(&self) -> Result<String, String> {
        self.helm(&["uninstall", NAME, "--wait", "--timeout=3m"]).await
    }

    pub(crate) async fn helm(&self, args: &[&str]) -> Result<String, String> {
        let args = args.iter().copied().chain(["--namespace", self.namespace]);
        self.bed.helm(args).await.map_err(|error| error.to_string())
    }

    /// kubectl in the release's namespace.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> String {
        let args = args.iter().copied().chain(["--namespace", self.namespace]);
        self.bed.kubectl(args).await.unwrap()
    }

    /// Waits until no pod of the release is left.
    pub(crate) async fn no_pods(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        eventually("no pod is left", SOON, async || {
            let left = pods.list(&ListParams::default()).await.ok()?;
            left.items.is_empty().then_some(())
        })
        .await;
    }

    /// Makes a namespace, if it is not there.
    pub(crate) async fn make_namespace(&self, name: &str) {
        apps::apply(&self.client, &[apps::namespace(name)]).await.unwrap();
    }

    /// Deletes a namespace and waits until it is gone.
    pub(crate) async fn delete_namespace(&self, name: &str) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(name, &DeleteParams::default()).await.unwrap();
        eventually(&format!("namespace {name} is gone"), SOON, async || {
            api.get_opt(name).await.ok()?.is_none().then_some(())
        })
        .await;
    }

    /// What the operator's account asked for since a mark and before its rights were taken away, resources only: what
    /// it may discover, everybody may.
    pub(crate) fn asked(&self, mark: u64) -> Vec<Entry> {
        let user = format!("system:serviceaccount:{}:{NAME}", self.namespace);
        let mut entries = self.bed.audit().since(mark).unwrap();
        let taken = entries.iter().filter(|e| {
            let ours = e.name.starts_with(NAME) && [self.namespace, ""].contains(&e.namespace.as_str());
            ours && e.verb == "delete" && e.resource.ends_with("rolebindings")
        });
        if let Some(end) = taken.map(|e| e.time).min() {
            entries.retain(|entry| entry.time < end);
        }
        entries.retain(|entry| entry.user == user && !entry.resource.is_empty());
        entries
    }

    /// Removes what a test has left of the release.
    async fn remove(&self) {
        // It is not there where the test has uninstalled it.
        let gone = ["uninstall", NAME, "--no-hooks", "--ignore-not-found", "--wait"];
        drop(self.helm(&gone).await);
        self.no_pods().await;
        let lease = ["delete", "lease", NAME, "--ignore-not-found"];
        drop(self.kubectl(&lease).await);
    }
}

/// Every `BirdWatch`, for the next operator of the whole cluster would take it up.
async fn forget_all(client: &Client) {
    let all: Api<BirdWatch> = Api::all(client.clone());
    for object in all.list(&ListParams::default()).await.into_iter().flatten() {
        let name = object.metadata.name.unwrap();
        let api: Api<BirdWatch> = Api::namespaced(client.clone(), &object.metadata.namespace.unwrap());
        let none = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
        drop(api.patch(&name, &kube::api::PatchParams::default(), &none).await);
        drop(api.delete(&name, &DeleteParams::default()).await);
    }
}

/// Fails where any of these requests was forbidden.
pub(crate) fn assert_none_forbidden(entries: &[Entry]) {
    let refused = entries.iter().filter(|e| e.code == 403);
    let refused: BTreeSet<_> = refused.map(|e| format!("{} {}", e.verb, e.uri)).collect();
    assert!(refused.is_empty(), "forbidden: {refused:#?}");
}

/// A spec of one quick step to 50 %, then 100 %.
pub(crate) fn quick(service: &Service) -> Value {
    let mut spec = crate::support::steps(&[50]);
    spec["service"] = json!(service.app.name);
    spec
}

/// Applies a `BirdWatch`, and waits until an operator has looked at it.
pub(crate) async fn watch(service: &Service, spec: Value) {
    service.watch_with(spec).await;
    service.is_seen().await;
}

/// A rollout that stays at 50 % until it is stopped.
pub(crate) async fn at_half(bed: &'static Bed, name: &str) -> Service {
    let service = Service::new(bed, name).await;
    let mut spec = quick(&service);
    spec["steps"] = json!([{"weight": 50, "hold": "10m"}]);
    watch(&service, spec).await;
    service.deploy("v2", &[]).await;
    service.weight(50).await;
    service
}
