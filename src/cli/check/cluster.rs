//! Objects and rights from a cluster, by kube's ordinary configuration. Every call has a deadline; nothing is written
//! (a `SubjectAccessReview` is a question).

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::timeout;

use crate::api::plan::Target;
use crate::clients::api_server;
use crate::clients::size::PAGE;
use crate::controller::find_istio;
use crate::controller::objects::RawBirdWatch;
use crate::core::observation::ObjectName;
use crate::core::preflight::inventory::{Right, Seen};
use crate::istio::raw;

use super::CheckError;
use super::objects::{Kind, Objects};
use super::rights::{NEEDED, Needed};
use super::settings::Account;

/// The longest that one call may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A cluster that can be asked.
pub(super) struct Cluster {
    client: Client,
    namespace: String,
}

/// What a call of a cluster failed with, for people.
type Failed<T> = Result<T, String>;

impl Cluster {
    /// Connects to the cluster of kube's configuration.
    pub(super) async fn connect(namespace: Option<&str>) -> Result<Self, CheckError> {
        let config = Config::infer()
            .await
            .map_err(|error| CheckError::Cluster(error.to_string()))?;
        let own = config.default_namespace.clone();
        let client = api_server::connect(config).map_err(|error| CheckError::Cluster(error.to_string()))?;
        Ok(Self::new(client, namespace.map_or(own, str::to_owned)))
    }

    /// A cluster by its client; `namespace` is that of what has none.
    pub(super) const fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// The namespace of what has none.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The `BirdWatch` of that name.
    pub(super) async fn bird_watch(&self, name: &ObjectName) -> Result<RawBirdWatch, CheckError> {
        let api: Api<RawBirdWatch> = Api::namespaced(self.client.clone(), &name.namespace);
        match call(api.get_opt(&name.name)).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(CheckError::NotThere(name.clone())),
            Err(why) => Err(CheckError::Cluster(why)),
        }
    }

    /// Everything that concerns a target in a namespace.
    pub(super) async fn objects(&self, namespace: &str, target: &Target) -> Objects {
        let mut objects = Objects::none("");
        let pods: Vec<String> = target
            .selector
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let core = |version, kind, plural| resource("", version, kind, plural);
        let (services, rules) = self.istio().await;
        let (bird_watches, deployments, served, labels, running, routes, subsets) = tokio::join!(
            self.list(
                resource("otomato.link", "v1alpha1", "BirdWatch", "birdwatches"),
                Some(namespace),
                None
            ),
            self.list(
                resource("apps", "v1", "Deployment", "deployments"),
                Some(namespace),
                None
            ),
            self.list(core("v1", "Service", "services"), Some(namespace), None),
            self.namespace_object(namespace),
            self.list(core("v1", "Pod", "pods"), Some(namespace), Some(pods.join(","))),
            self.everywhere(services, namespace),
            self.in_namespace(rules, namespace),
        );
        for (kind, listed) in [
            (Kind::BirdWatch, bird_watches),
            (Kind::Deployment, deployments),
            (Kind::Service, served),
            (Kind::Namespace, labels),
            (Kind::Pod, running),
            (Kind::VirtualService, routes),
            (Kind::DestinationRule, subsets),
        ] {
            match listed {
                Ok(listed) => listed.into_iter().for_each(|object| objects.put(kind, object)),
                Err(why) => objects.incomplete(kind, why),
            }
        }
        objects
    }

    /// Istio's kinds as they are served, or why nobody knows.
    async fn istio(&self) -> (Failed<ApiResource>, Failed<ApiResource>) {
        match find_istio(&self.client).await {
            Ok(Some(kinds)) => (Ok(kinds.services), Ok(kinds.rules)),
            Ok(None) => {
                let why = format!(
                    "the cluster does not serve Istio's kinds in {}",
                    raw::VERSIONS.join(" or ")
                );
                (Err(why.clone()), Err(why))
            }
            Err(fault) => (Err(fault.to_string()), Err(fault.to_string())),
        }
    }

    /// `VirtualService`s of the whole cluster where that is allowed: any of them may send to the host.
    async fn everywhere(&self, kind: Failed<ApiResource>, namespace: &str) -> Failed<Vec<Value>> {
        let kind = kind?;
        match self.list(kind.clone(), None, None).await {
            Ok(all) => Ok(all),
            Err(_) => self.list(kind, Some(namespace), None).await,
        }
    }

    async fn in_namespace(&self, kind: Failed<ApiResource>, namespace: &str) -> Failed<Vec<Value>> {
        self.list(kind?, Some(namespace), None).await
    }

    async fn namespace_object(&self, namespace: &str) -> Failed<Vec<Value>> {
        let kind = resource("", "v1", "Namespace", "namespaces");
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        let found = call(api.get_opt(namespace)).await?;
        found.into_iter().map(|object| json(&object)).collect()
    }

    async fn list(
        &self,
        kind: ApiResource,
        namespace: Option<&str>,
        labels: Option<String>,
    ) -> Failed<Vec<Value>> {
        let client = self.client.clone();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &kind),
            None => Api::all_with(client, &kind),
        };
        let mut params = ListParams {
            label_selector: labels,
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut found = Vec::new();
        loop {
            let page = call(api.list(&params)).await?;
            for object in &page.items {
                found.push(json(object)?);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// What `operator` may do in a namespace, of all that it needs there.
    pub(super) async fn rights(&self, namespace: &str, operator: &Account) -> Seen<Vec<Right>> {
        let asked = NEEDED
            .iter()
            .flat_map(|needed| needed.verbs.iter().map(move |verb| (needed, *verb)));
        let asked = asked.map(|(needed, verb)| self.may(namespace, operator, needed, verb));
        join_all(asked).await.into_iter().collect()
    }

    async fn may(&self, namespace: &str, operator: &Account, needed: &Needed, verb: &str) -> Seen<Right> {
        let Account {
            namespace: home,
            name,
        } = operator;
        let user = format!("system:serviceaccount:{home}:{name}");
        let (resource, subresource) = match needed.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (needed.resource, None),
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.clone()),
                // As the API server sees a service account.
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{home}"),
                    "system:authenticated".to_owned(),
                ]),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(needed.group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource,
                    namespace: Some(namespace.to_owned()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = call(api.create(&params, &review)).await?;
        Ok(Right {
            user,
            verb: verb.to_owned(),
            resource: format!("{}.{}", needed.resource, needed.group),
            allowed: answer.status.is_some_and(|status| status.allowed),
        })
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The object as JSON. A list does not say the types of its items; nobody asks them here.
fn json(object: &DynamicObject) -> Failed<Value> {
    serde_json::to_value(object).map_err(|error| error.to_string())
}

async fn call<T>(call: impl Future<Output = kube::Result<T>>) -> Failed<T> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the API server did not answer within {DEADLINE:?}")),
    }
}
