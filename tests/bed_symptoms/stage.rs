//! One case's own service, what people do to it, and what they see of it.

use std::time::Duration;

use birdwatch::api::FINALIZER;
use birdwatch_bed::clock;
use birdwatch_bed::parts::apps::{self, App};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cases::{Case, Seen};
use crate::ground::Ground;
use crate::prometheus::{Says, numbers};
use crate::rows::is_shown;
use crate::support::watched::Watched;

/// Name of the service, as in the docs.
pub(crate) const SERVICE: &str = "shop";
/// What may take as long as a rollout of two steps.
const LIMIT: Duration = Duration::from_secs(150);
pub(crate) const LOOK: Duration = Duration::from_millis(200);
/// The same by a program.
const PROGRAM: Duration = Duration::from_secs(2);

/// A metric that is bad above 0.05, and two steps.
pub(crate) const SPEC: &str = "
steps: [{weight: 25, hold: 3s}, {weight: 100, hold: 3s}]
metrics:
  - name: errors
    query: errors{namespace=\"$(namespace)\",version=\"$(version)\"}
    max: 0.05
";

/// A Deployment's pods: wanted, updated, available.
pub(crate) type Pods = (i32, i32, i32);
/// All that are wanted.
pub(crate) const TWO: Pods = (2, 2, 2);

/// One case's world.
pub(crate) struct Stage {
    pub(crate) ground: &'static Ground,
    pub(crate) namespace: String,
    app: App,
    pub(crate) client: Client,
    seen: Watched<Value>,
}

impl Stage {
    /// A namespace with production v1, its routes, and a Prometheus that finds both versions well; no `BirdWatch`.
    pub(crate) async fn set(ground: &'static Ground) -> Self {
        Self::set_in(ground, ground.fresh_namespace()).await
    }

    /// The same where no operator looks.
    pub(crate) async fn set_unwatched(ground: &'static Ground) -> Self {
        Self::set_in(ground, ground.fresh_unwatched()).await
    }

    async fn set_in(ground: &'static Ground, namespace: String) -> Self {
        let client = ground.infra.client().unwrap();
        let app = App::new(SERVICE, &namespace);
        ground.manners.set(&namespace, numbers("0", "0"));
        let manifests = [
            apps::namespace(&namespace),
            app.destination_rule("v1", "none"),
            app.virtual_service(100, 0),
        ];
        apps::apply(&client, &manifests).await.unwrap();
        let birds = dynamic(&client, &namespace, "BirdWatch");
        let stage = Self {
            ground,
            seen: Watched::new(birds, SERVICE, |bird| bird.data["status"].clone()),
            namespace,
            app,
            client,
        };
        stage.deploy("v1", TWO).await;
        stage
    }

    /// Prometheus answers so from now on.
    pub(crate) fn measures(&self, says: Says) {
        self.ground.manners.set(&self.namespace, says);
    }

    /// Creates the `BirdWatch` with this spec, and waits until the operator has looked.
    pub(crate) async fn watch(&self, spec: &str) {
        self.watch_as(SERVICE, spec).await;
        self.until("seen", |status| {
            status["known"].is_array() || status["message"].is_string()
        })
        .await;
    }

    /// Creates one of any name.
    pub(crate) async fn watch_as(&self, name: &str, spec: &str) {
        let mut spec: Value = serde_saphyr::from_str(spec).unwrap();
        spec["service"] = json!(SERVICE);
        // One of its own: Slack takes one message a second of each.
        spec["notify"] = json!({"channel": self.namespace});
        let manifest = json!({
            "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        apps::apply(&self.client, &[manifest]).await.unwrap();
    }

    /// A release of v2 that has come to 25 %.
    pub(crate) async fn at_25(&self, spec: &str) {
        self.watch(spec).await;
        self.deploy("v2", TWO).await;
        self.until("at 25 %", |status| status["weight"] == 25).await;
    }

    /// A release of v2 that is production now.
    pub(crate) async fn promoted(&self) {
        self.watch(SPEC).await;
        self.deploy("v2", TWO).await;
        self.until("promoted", |status| status["phase"] == "Promoted")
            .await;
    }

    /// A Deployment with these pods, as its controller shows them.
    pub(crate) async fn deploy(&self, version: &str, pods: Pods) {
        self.deploy_revision("2", version, pods).await;
    }

    /// The same in that revision.
    pub(crate) async fn deploy_revision(
        &self,
        revision: &str,
        version: &str,
        (wanted, updated, available): Pods,
    ) {
        self.apply_deployment(revision, version, wanted).await;
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = self.app.deployment_name(version);
        let generation = api.get(&name).await.unwrap().metadata.generation;
        let status = json!({"status": {
            "observedGeneration": generation, "replicas": wanted, "updatedReplicas": updated,
            "readyReplicas": available, "availableReplicas": available,
        }});
        let patch = Patch::Merge(status);
        api.patch_status(&name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// A Deployment that its controller has not looked at.
    pub(crate) async fn deploy_unobserved(&self, version: &str) {
        self.apply_deployment("2", version, 2).await;
    }

    async fn apply_deployment(&self, revision: &str, version: &str, wanted: i32) {
        let mut manifest = self.app.deployment(version, u32::try_from(wanted).unwrap(), &[]);
        manifest["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": revision});
        apps::apply(&self.client, &[manifest]).await.unwrap();
    }

    /// Merges a change into an object of the service, as this field manager.
    pub(crate) async fn change(&self, kind: &str, name: &str, manager: &str, change: Value) {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let api = dynamic(&self.client, &self.namespace, kind);
        api.patch(name, &params, &Patch::Merge(change)).await.unwrap();
    }

    /// Gives the canary this weight of 100, as a person with kubectl does.
    pub(crate) async fn weigh(&self, canary: u32) {
        self.weigh_as("kubectl-edit", canary).await;
    }

    /// The same as another.
    pub(crate) async fn weigh_as(&self, manager: &str, canary: u32) {
        let routes = self.app.virtual_service(100 - canary, canary)["spec"]["http"].clone();
        let change = json!({"spec": {"http": routes}});
        self.change("VirtualService", SERVICE, manager, change).await;
    }

    /// Gives the two subsets these versions, as Argo CD does.
    pub(crate) async fn label(&self, production: &str, canary: &str) {
        self.label_as("argocd-controller", production, canary).await;
    }

    /// The same as another.
    pub(crate) async fn label_as(&self, manager: &str, production: &str, canary: &str) {
        self.label_with(manager, (production, canary), json!({})).await;
    }

    /// The same with another change besides.
    pub(crate) async fn label_with(
        &self,
        manager: &str,
        (production, canary): (&str, &str),
        mut change: Value,
    ) {
        let subsets = self.app.destination_rule(production, canary)["spec"]["subsets"].clone();
        change["spec"] = json!({"subsets": subsets});
        self.change("DestinationRule", SERVICE, manager, change).await;
    }

    /// Waits until an object is older than what is made from now on, as ages are told, in seconds.
    pub(crate) async fn aged(&self, kind: &str, name: &str) {
        let made = dynamic(&self.client, &self.namespace, kind)
            .get(name)
            .await
            .unwrap();
        let made = made.metadata.creation_timestamp.unwrap().0.as_second();
        while clock::now().as_second() <= made {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A second, younger rule with the same subsets.
    pub(crate) async fn rule_beside(&self, name: &str) {
        self.aged("DestinationRule", SERVICE).await;
        let mut manifest = self.app.destination_rule("v1", "none");
        manifest["metadata"]["name"] = json!(name);
        apps::apply(&self.client, &[manifest]).await.unwrap();
    }

    /// Takes an object of the service away.
    pub(crate) async fn remove(&self, kind: &str) {
        let api = dynamic(&self.client, &self.namespace, kind);
        api.delete(SERVICE, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until status is, or was, as it should be.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let held = async {
            while !self.seen.all().iter().any(|(_, status)| holds(status)) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(LIMIT, held).await.is_err() {
            let last = self.seen.last().unwrap_or_default();
            panic!(
                "{}: never {what}:\n{last:#}\n{}",
                self.namespace,
                self.ground.log()
            );
        }
    }

    /// Waits until people are shown the text of a case where it belongs.
    ///
    /// # Errors
    /// What they see instead.
    pub(crate) async fn shows(&self, case: &Case) -> Result<(), String> {
        let shown = async {
            loop {
                let said = self.said(case).await;
                if is_shown(case.text, &said) {
                    return;
                }
                let pause = if matches!(case.seen, Seen::Describe) {
                    PROGRAM
                } else {
                    LOOK
                };
                tokio::time::sleep(pause).await;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, shown).await.is_ok();
        if !in_time {
            let get = self.kubectl(&["get", "birdwatch", SERVICE, "-o", "wide"]).await;
            return Err(format!(
                "not shown; {get}\n{:#}\n{:?}",
                self.seen.last().unwrap_or_default(),
                self.told()
            ));
        }
        if !case.is_told {
            return Ok(());
        }
        let told = async {
            while !self.told().iter().any(|text| is_shown(case.text, text)) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, told).await;
        in_time.map_err(|_| format!("shown and not told: {:#?}", self.told()))
    }

    /// What is to be read now where the case looks. kubectl is asked when status has it.
    async fn said(&self, case: &Case) -> String {
        let texts = self.seen.all().into_iter().map(|(_, status)| status);
        let mut texts = texts
            .filter(|status| !status.is_null())
            .map(|status| self.general(&status.to_string()));
        match case.seen {
            Seen::Once => texts
                .find(|text| is_shown(&case.text.replace('"', "\\\""), text))
                .map_or_else(String::new, |text| text.replace("\\\"", "\"")),
            Seen::Get => {
                self.when_said(case, &["get", "birdwatch", SERVICE, "-o", "wide"])
                    .await
            }
            Seen::Describe => self.described().await,
            Seen::Stays => {
                let described = self.described().await;
                let stays = ["Deletion Timestamp:", FINALIZER]
                    .iter()
                    .all(|part| described.contains(part));
                if stays { case.text.to_owned() } else { described }
            }
            Seen::Nothing => {
                let shown = ["get", "birdwatch", SERVICE, "--no-headers"];
                let line = self.kubectl(&shown).await;
                // Name, service and age are all there is.
                if line.split_whitespace().count() == 3 {
                    case.text.to_owned()
                } else {
                    line
                }
            }
        }
    }

    /// What `kubectl describe` prints.
    pub(crate) async fn described(&self) -> String {
        self.kubectl(&["describe", "birdwatch", SERVICE]).await
    }

    /// The last status.
    pub(crate) fn status(&self) -> Value {
        self.seen.last().unwrap_or_default()
    }

    async fn when_said(&self, case: &Case, args: &[&str]) -> String {
        let status = self.seen.last().unwrap_or_default();
        let columns = ["message", "reading"].map(|name| status[name].as_str().unwrap_or_default());
        if columns
            .iter()
            .any(|text| is_shown(case.text, &self.general(text)))
        {
            return self.kubectl(args).await;
        }
        String::new()
    }

    async fn kubectl(&self, args: &[&str]) -> String {
        let args = args.iter().copied().chain(["--namespace", &self.namespace]);
        let said = self.ground.infra.kubectl(args).await;
        self.general(&said.unwrap_or_else(|error| error.to_string()))
    }

    /// What Slack has of this service.
    fn told(&self) -> Vec<String> {
        let messages = self.ground.slack.messages();
        let name = format!("*{}/{SERVICE}*", self.namespace);
        let parents: Vec<_> = messages
            .iter()
            .filter(|m| m.text.contains(&name))
            .map(|m| m.ts.clone())
            .collect();
        let is_ours = |ts: &Option<String>| ts.as_ref().is_some_and(|ts| parents.contains(ts));
        let ours = messages
            .iter()
            .filter(|m| parents.contains(&m.ts) || is_ours(&m.thread_ts));
        ours.map(|m| self.general(&m.text)).collect()
    }

    /// The docs' namespace is called as their service.
    pub(crate) fn general(&self, text: &str) -> String {
        text.replace(&self.namespace, SERVICE)
    }
}

pub(crate) fn dynamic(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = match kind {
        "BirdWatch" => ("otomato.link", "v1alpha1"),
        "Deployment" => ("apps", "v1"),
        _ => ("networking.istio.io", "v1"),
    };
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "BirdWatch" {
        "birdwatches".clone_into(&mut resource.plural);
    }
    Api::namespaced_with(client.clone(), namespace, &resource)
}
