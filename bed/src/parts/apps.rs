//! The manifests of a service on the bed: a Deployment a version, and what leads traffic to them; and how tests and
//! the demo apply them and speak to their pods. No opinion about releases: weights are whatever the caller says.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{http, kubelet::WORKLOAD_REPOSITORY, workload::Change};
use crate::mesh::GATEWAY;

/// Who applies these manifests, as managedFields shows it.
pub const FIELD_MANAGER: &str = "bed-user";

/// Port on which the workloads of an [`App`] listen unless it says otherwise.
pub const PORT: u16 = 9001;

/// A service of the bed, and how its objects are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Name of the service and of its `VirtualService`, `DestinationRule` and `ServiceEntry`; label `app` of its pods.
    pub name: String,
    /// Where all of it lives.
    pub namespace: String,
    /// containerPort of its pods.
    pub port: u16,
}

/// Why something could not be applied or a pod not be told.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The API server refuses.
    #[error("{what}: {source}")]
    Api {
        /// The object.
        what: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// A manifest without apiVersion, kind or name.
    #[error("this is no manifest: {0}")]
    Manifest(Value),
    /// A pod does not take its new behaviour.
    #[error("pod {pod} cannot be told how to behave: {source}")]
    Behaviour {
        /// Name of the pod.
        pod: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// No pod of that version has an address.
    #[error("no pod of {app} {version} is there to be told")]
    NoPod {
        /// Label `app`.
        app: String,
        /// Label `version`.
        version: String,
    },
}

impl App {
    /// A service that listens on [`PORT`].
    #[must_use]
    pub fn new(name: &str, namespace: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            port: PORT,
        }
    }

    /// The service's host: in the mesh, in the Host header at the gateway, and in every destination.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    /// Name of the Deployment of a version.
    #[must_use]
    pub fn deployment_name(&self, version: &str) -> String {
        format!("{}-{version}", self.name)
    }

    /// The Deployment of a version; `env` is the workload's (`ERROR_RATE`, `LATENCY_MS`, `START`).
    #[must_use]
    pub fn deployment(&self, version: &str, replicas: u32, env: &[(&str, &str)]) -> Value {
        let labels = json!({"app": self.name, "version": version});
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let name = self.deployment_name(version);
        self.object(
            "apps/v1",
            "Deployment",
            &name,
            &json!({
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "terminationGracePeriodSeconds": 5,
                        "containers": [{
                            "name": "app",
                            "image": format!("{WORKLOAD_REPOSITORY}:{version}"),
                            "ports": [{"name": "http", "containerPort": self.port}],
                            "env": env,
                        }],
                    },
                },
            }),
        )
    }

    /// Makes the pods known to the mesh: endpoints on loopback are refused, so there is no Service.
    #[must_use]
    pub fn service_entry(&self) -> Value {
        self.object(
            "networking.istio.io/v1",
            "ServiceEntry",
            &self.name,
            &json!({
                "hosts": [self.host()],
                "location": "MESH_INTERNAL",
                "resolution": "STATIC",
                "workloadSelector": {"labels": {"app": self.name}},
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": self.port}],
            }),
        )
    }

    /// The subsets `production` and `canary`, told apart by label `version`.
    #[must_use]
    pub fn destination_rule(&self, production: &str, canary: &str) -> Value {
        self.object(
            "networking.istio.io/v1",
            "DestinationRule",
            &self.name,
            &json!({
                "host": self.host(),
                "trafficPolicy": {"tls": {"mode": "DISABLE"}},
                "subsets": [
                    {"name": "production", "labels": {"version": production}},
                    {"name": "canary", "labels": {"version": canary}},
                ],
            }),
        )
    }

    /// One route through the bed's gateway, with these weights.
    #[must_use]
    pub fn virtual_service(&self, production: u32, canary: u32) -> Value {
        let to = |subset: &str, weight: u32| json!({"destination": {"host": self.host(), "subset": subset}, "weight": weight});
        self.object(
            "networking.istio.io/v1",
            "VirtualService",
            &self.name,
            &json!({
                "hosts": [self.host()],
                "gateways": [GATEWAY],
                "http": [{"route": [to("production", production), to("canary", canary)]}],
            }),
        )
    }

    /// All that leads traffic to the service, every request to production.
    #[must_use]
    pub fn mesh(&self, production: &str, canary: &str) -> Vec<Value> {
        vec![
            self.service_entry(),
            self.destination_rule(production, canary),
            self.virtual_service(100, 0),
        ]
    }

    fn object(&self, api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        })
    }

    /// The pods of a version.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn pods(&self, client: &Client, version: &str) -> Result<Vec<Pod>, AppError> {
        let api: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let selector = format!("app={},version={version}", self.name);
        let listed = api.list(&ListParams::default().labels(&selector)).await;
        let what = || format!("the pods of {} {version}", self.name);
        listed
            .map(|list| list.items)
            .map_err(|source| AppError::Api { what: what(), source })
    }

    /// Changes how all pods of a version behave while they run. A pod that starts later behaves as its env says.
    ///
    /// # Errors
    /// When there is no such pod or one of them does not take it.
    pub async fn behave(&self, client: &Client, version: &str, change: Change) -> Result<(), AppError> {
        let pods = self.pods(client, version).await?;
        let mut told = 0;
        for pod in pods {
            let Some(ip) = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()) else {
                continue;
            };
            let url = format!("http://{ip}:{}/behaviour", self.port);
            let failed = |source| AppError::Behaviour {
                pod: pod.name_any(),
                source,
            };
            let http = http::client(Duration::from_secs(5)).map_err(failed)?;
            let answer = http.post(url).json(&change).send().await.map_err(failed)?;
            answer.error_for_status().map_err(failed)?;
            told += 1;
        }
        if told > 0 {
            return Ok(());
        }
        Err(AppError::NoPod {
            app: self.name.clone(),
            version: version.to_owned(),
        })
    }
}

/// A Namespace.
#[must_use]
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A policy of the API server, and its binding, by which it refuses, with this message, every update of a resource
/// (`group/resource`, a subresource after another slash) in a namespace. It takes the server a moment to hear of it.
#[must_use]
pub fn refusing_updates(namespace: &str, resource: &str, message: &str) -> [Value; 2] {
    let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
    let group_version = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": group_version, "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [group], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": [resource],
            }]},
            "validations": [{
                "expression": format!("object.metadata.namespace != '{namespace}'"),
                "message": message,
            }],
        },
    });
    let binding = json!({
        "apiVersion": group_version, "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    });
    [policy, binding]
}

/// Applies manifests in their order, server-side, as [`FIELD_MANAGER`], without force.
///
/// # Errors
/// At the first that is no manifest or that the API server refuses.
pub async fn apply(client: &Client, manifests: &[Value]) -> Result<(), AppError> {
    for manifest in manifests {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let (Some(api_version), Some(kind), Some(name)) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"))
        else {
            return Err(AppError::Manifest(manifest.clone()));
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let applied = api
            .patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(manifest))
            .await;
        applied.map_err(|source| AppError::Api {
            what: format!("{kind} {name}"),
            source,
        })?;
    }
    Ok(())
}
