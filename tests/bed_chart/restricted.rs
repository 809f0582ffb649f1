//! Pod Security `restricted`, as the API server's own admission plugin enforces it.

use birdwatch_bed::operator::NAME;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::release::{Release, beside};

/// A pod of a template, which the server judges and does not keep.
async fn judged(release: &Release, template: &PodTemplateSpec) -> Result<(), String> {
    let mut pod = json!({"metadata": {"generateName": "judged-"}, "spec": template.spec});
    pod["metadata"]["labels"] = json!(template.metadata.as_ref().and_then(|meta| meta.labels.clone()));
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(release.client.clone(), release.namespace);
    pods.create(&dry, &pod)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The same with one thing changed in the pod's spec.
fn changed(template: &PodTemplateSpec, change: fn(&mut Value)) -> PodTemplateSpec {
    let mut value = serde_json::to_value(template).unwrap();
    change(&mut value["spec"]);
    serde_json::from_value(value).unwrap()
}

/// What is done to the pod's spec, and a word of the refusal.
type Change = (fn(&mut Value), &'static str);

fn container(spec: &mut Value) -> &mut Value {
    &mut spec["containers"][0]["securityContext"]
}

const CHANGES: [Change; 7] = [
    (|spec| *container(spec) = json!({}), "allowPrivilegeEscalation"),
    (
        |spec| container(spec)["capabilities"] = json!({}),
        "unrestricted capabilities",
    ),
    (|spec| container(spec)["runAsUser"] = json!(0), "runAsUser=0"),
    (
        // Beside allowPrivilegeEscalation: false the server's own validation would refuse it, and Pod Security not be asked.
        |spec| {
            container(spec)["privileged"] = json!(true);
            container(spec)["allowPrivilegeEscalation"] = Value::Null;
        },
        "securityContext.privileged=true",
    ),
    (|spec| spec["hostNetwork"] = json!(true), "host namespaces"),
    (
        |spec| spec["volumes"] = json!([{"name": "x", "hostPath": {"path": "/"}}]),
        "hostPath",
    ),
    (
        |spec| container(spec)["seccompProfile"] = json!({"type": "Unconfined"}),
        "seccompProfile",
    ),
];

#[test]
fn n_its_pods_are_let_into_a_restricted_namespace_and_a_changed_one_is_not() {
    beside("n-restricted-operator", async |release| {
        let labels = json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }}});
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(release.client.clone());
        let params = PatchParams::default();
        namespaces
            .patch(release.namespace, &params, &Patch::Merge(labels))
            .await
            .unwrap();
        // Installed, and available: what the ReplicaSet asked for was let in.
        release.install_for(&["n-restricted"]).await;
        let deployments: Api<Deployment> = Api::namespaced(release.client.clone(), release.namespace);
        let template = deployments.get(NAME).await.unwrap().spec.unwrap().template;
        judged(release, &template).await.unwrap();

        for (change, named) in CHANGES {
            let refusal = judged(release, &changed(&template, change))
                .await
                .expect_err(named);
            assert!(refusal.contains(named), "{named}: {refusal}");
        }

        let drain = release.helm(&["get", "hooks", NAME]).await.unwrap();
        let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(&drain).unwrap();
        let job = documents
            .into_iter()
            .flatten()
            .find(|object| object["kind"] == "Job")
            .unwrap();
        let job: Job = serde_json::from_value(job).unwrap();
        judged(release, &job.spec.unwrap().template).await.unwrap();
    });
}
