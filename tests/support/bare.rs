//! A service without a mesh and an operator without a pod: objects as their controllers would leave them.

use std::path::Path;

use birdwatch_bed::Infra;
use birdwatch_bed::operator::root;
use birdwatch_bed::parts::apps::{self, App};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

/// etcd and an API server that knows the kinds of Istio and ours.
pub async fn control_plane() -> Infra {
    let infra = Infra::start_api(None)
        .await
        .unwrap_or_else(|error| panic!("the control plane did not start: {error}"));
    let crd = std::fs::read_to_string(root().join("crds/birdwatches.yaml")).unwrap();
    infra.apply(&crd).await.unwrap();
    let established = [
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=30s",
    ];
    infra.kubectl(established).await.unwrap();
    infra
}

/// An object without what every write changes.
pub fn whole(object: &DynamicObject) -> Value {
    let mut object = serde_json::to_value(object).unwrap();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// One of Istio's kinds.
pub fn mesh(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    dynamic(client, namespace, "networking.istio.io", "v1", kind)
}

/// Any kind.
pub fn dynamic(
    client: &Client,
    namespace: &str,
    group: &str,
    version: &str,
    kind: &str,
) -> Api<DynamicObject> {
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "BirdWatch" {
        "birdwatches".clone_into(&mut resource.plural);
    }
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// A lease that was given up: the first process need not wait for anybody.
pub async fn release_lease(client: &Client, namespace: &str, name: &str) {
    let lease = json!({
        "metadata": {"name": name}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
    });
    let lease: Lease = serde_json::from_value(lease).unwrap();
    Api::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &lease)
        .await
        .unwrap();
}

/// A Deployment as its controller leaves it when all is there.
pub async fn deployed(client: &Client, app: &App, version: &str) {
    let mut manifest = app.deployment(version, 1, &[]);
    manifest["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    apps::apply(client, &[manifest]).await.unwrap();
    let status = json!({"status": {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
    }});
    let api: Api<Deployment> = Api::namespaced(client.clone(), &app.namespace);
    api.patch_status(
        &app.deployment_name(version),
        &PatchParams::default(),
        &Patch::Merge(status),
    )
    .await
    .unwrap();
}

/// How an operator finds the API server behind a proxy.
pub fn write_kubeconfig(file: &Path, server: &str) {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "users": [{"name": "operator", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
        "current-context": "proxy",
    });
    std::fs::write(file, config.to_string()).unwrap();
}
