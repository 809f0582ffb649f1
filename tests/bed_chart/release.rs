//! The release of the chart, installed and uninstalled by the tests of this binary: one at a time.

use std::collections::BTreeSet;

use birdwatch::api::BirdWatch;
use birdwatch_bed::Bed;
use birdwatch_bed::audit::Entry;
use birdwatch_bed::operator::{self, NAME};
use birdwatch_bed::parts::apps;
use futures::FutureExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::{SOON, Service, alone_on_bed, eventually, install};

/// A lease that is over soon: a drain waits for two thirds of it.
pub(crate) const SHORT_LEASE: [&str; 2] = ["--set-string", "leaseDuration=3s"];

/// Runs a test alone on a bed where nothing is installed, and leaves it so, whatever becomes of the test.
pub(crate) fn on_bare_bed<F: Future<Output = ()>>(test: impl FnOnce(&'static Bed) -> F) {
    install(None);
    alone_on_bed(async |bed| {
        let watch = birdwatch_bed::clock::Stopwatch::start();
        let outcome = std::panic::AssertUnwindSafe(test(bed)).catch_unwind().await;
        println!("TOOK {:?}", watch.elapsed());
        remove(bed).await;
        println!("REMOVED {:?}", watch.elapsed());
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Removes whatever a test has left: the release, its Lease, and every `BirdWatch` that nobody would drain.
async fn remove(bed: &Bed) {
    // It is not there where the test has uninstalled it.
    drop(
        bed.helm([
            "uninstall",
            NAME,
            "--namespace",
            NAME,
            "--no-hooks",
            "--ignore-not-found",
            "--wait",
        ])
        .await,
    );
    let client = bed.client().unwrap();
    let all: Api<BirdWatch> = Api::all(client.clone());
    for object in all.list(&ListParams::default()).await.into_iter().flatten() {
        let (Some(name), Some(namespace)) = (object.metadata.name, object.metadata.namespace) else {
            continue;
        };
        let args = [
            "patch",
            "birdwatch",
            &name,
            "--namespace",
            &namespace,
            "--type=merge",
            "--patch",
        ];
        let none = r#"{"metadata": {"finalizers": null}}"#;
        drop(bed.kubectl(args.into_iter().chain([none])).await);
        drop(
            Api::<BirdWatch>::namespaced(client.clone(), &namespace)
                .delete(&name, &DeleteParams::default())
                .await,
        );
    }
    no_pods(&client).await;
    let leases: Api<Lease> = Api::namespaced(client, NAME);
    drop(leases.delete(NAME, &DeleteParams::default()).await);
}

/// `helm uninstall`, hooks included, until all of the release is gone.
pub(crate) async fn uninstall(bed: &Bed) -> Result<String, String> {
    let args = ["uninstall", NAME, "--namespace", NAME, "--wait", "--timeout=3m"];
    bed.helm(args).await.map_err(|error| error.to_string())
}

/// `helm install` with the chart's defaults and these values, as YAML; returns when the operator is available.
pub(crate) async fn helm_install(bed: &Bed, values: &str) -> Result<String, String> {
    let file = bed.dir().join("values.yaml");
    std::fs::write(&file, values).unwrap();
    let (chart, file) = (operator::chart(), file.to_string_lossy().into_owned());
    let chart = chart.to_string_lossy();
    let args = [
        "install",
        NAME,
        &chart,
        "--namespace",
        NAME,
        "--create-namespace",
        "--values",
        &file,
    ];
    bed.helm(args.into_iter().chain(["--wait", "--timeout=90s"]))
        .await
        .map_err(|error| error.to_string())
}

/// Makes a namespace.
pub(crate) async fn namespace(client: &Client, name: &str) {
    apps::apply(client, &[apps::namespace(name)]).await.unwrap();
}

/// Deletes a namespace and waits until it is gone.
pub(crate) async fn delete_namespace(client: &Client, name: &str) {
    let api: Api<Namespace> = Api::all(client.clone());
    api.delete(name, &DeleteParams::default()).await.unwrap();
    eventually(&format!("namespace {name} is gone"), SOON, async || {
        api.get_opt(name).await.ok()?.is_none().then_some(())
    })
    .await;
}

/// Waits until no pod of the release is left.
pub(crate) async fn no_pods(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAME);
    eventually("no pod is left", SOON, async || {
        pods.list(&ListParams::default())
            .await
            .ok()?
            .items
            .is_empty()
            .then_some(())
    })
    .await;
}

/// What the operator's account asked for since a mark and before its rights were taken away, resources only: what it
/// may discover, everybody may.
pub(crate) fn asked(bed: &Bed, mark: u64) -> Vec<Entry> {
    let user = format!("system:serviceaccount:{NAME}:{NAME}");
    let mut entries = bed.audit().since(mark).unwrap();
    let taken = entries
        .iter()
        .filter(|e| e.verb == "delete" && e.resource.ends_with("rolebindings"));
    if let Some(end) = taken.map(|e| e.time).min() {
        entries.retain(|entry| entry.time < end);
    }
    entries.retain(|entry| entry.user == user && !entry.resource.is_empty());
    entries
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
    service.until("seen", SOON, |status| status.known.is_some()).await;
}
