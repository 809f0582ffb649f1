//! The Node object that pods are bound to.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::status::{HOST_IP, seconds};
use crate::clock;

/// Creates the Node or takes it over, and reports it ready with room for everything. The API server finds this
/// kubelet at `port`; a Hostname among the addresses would be tried first, and there is no such name.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn keep(client: &Client, name: &str, port: u16) -> kube::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let params = PatchParams::apply("bed-kubelet").force();
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
    });
    api.patch(name, &params, &Patch::Apply(&node)).await?;
    let now = seconds(clock::now());
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "ToyKubelet", "lastHeartbeatTime": now, "lastTransitionTime": now});
    let room = json!({"cpu": "1000", "memory": "1000Gi", "pods": "254", "ephemeral-storage": "1000Gi"});
    let status = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "capacity": room,
            "allocatable": room,
             "addresses": [{"type": "InternalIP", "address": HOST_IP}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [
                condition("Ready", "True"), condition("MemoryPressure", "False"),
                condition("DiskPressure", "False"), condition("PIDPressure", "False"),
            ],
        },
    });
    api.patch_status(name, &params, &Patch::Apply(&status)).await?;
    Ok(())
}
