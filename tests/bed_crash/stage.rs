//! One run's own world: a namespace with a service, a Prometheus, a Slack, a proxy and an operator, and what people do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use birdwatch::api::BirdWatch;
use birdwatch::api::status::Phase;
use birdwatch_bed::operator::SLACK_TOKEN;
use birdwatch_bed::parts::apps::{self, App};
use birdwatch_bed::parts::prometheus::{Prometheus, Question};
use birdwatch_bed::parts::proxy::{Judge, Proxy};
use birdwatch_bed::parts::slack::Slack;
use futures::FutureExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::end::End;
use crate::ground::Ground;
use crate::meddler::Meddler;
use crate::operator::{Operator, Surroundings};
use crate::support::bare::{deployed, dynamic, mesh, release_lease, whole};
use crate::support::canary_weight;
use crate::support::watched::Watched;

/// Name of the service.
pub(crate) const SERVICE: &str = "aleph";
/// How often a condition is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// One run's world.
pub(crate) struct Stage {
    pub(crate) namespace: String,
    pub(crate) end: End,
    pub(crate) slack: Slack,
    pub(crate) proxy: Proxy,
    pub(crate) operator: Operator,
    pub(crate) meddler: Arc<Meddler>,
    pub(crate) bird_watch: Watched<Value>,
    pub(crate) service: Watched<Value>,
    pub(crate) rule: Watched<Value>,
    app: App,
    client: Client,
    healed: Arc<AtomicBool>,
    _prometheus: Prometheus,
}

impl Stage {
    /// Sets it, up to the operator's first life.
    pub(crate) async fn set(ground: &'static Ground, end: End, meddler: Meddler) -> Self {
        let (namespace, client) = (ground.fresh_name(), ground.client().await);
        let app = App::new(SERVICE, &namespace);
        let manifests = [
            apps::namespace(&namespace),
            app.destination_rule("v1", "none"),
            app.virtual_service(100, 0),
        ];
        apps::apply(&client, &manifests).await.unwrap();
        let healed = Arc::new(AtomicBool::new(!end.is_sick()));
        let meddler = Arc::new(meddler);
        let judge: Arc<dyn Judge> = Arc::clone(&meddler) as _;
        let proxy = Proxy::start(ground.client().await, judge).await.unwrap();
        let slack = Slack::start(([127, 0, 0, 1], 0).into(), SLACK_TOKEN)
            .await
            .unwrap();
        let prometheus = prometheus(mesh(&client, &namespace, "VirtualService"), &healed).await;
        release_lease(&client, &namespace, "birdwatch").await;
        deployed(&client, &app, "v1").await;
        let mut spec = end.spec();
        spec["service"] = json!(SERVICE);
        let manifest = json!({
            "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
            "metadata": {"name": SERVICE, "namespace": namespace, "annotations": {"team": "birds"}}, "spec": spec,
        });
        apps::apply(&client, &[manifest]).await.unwrap();
        let watched = |api| Watched::new(api, SERVICE, whole);
        let operator = Operator::start(&Surroundings {
            namespace: &namespace,
            api: &proxy.url(),
            prometheus: &prometheus.url(),
            slack: &slack.api_url(),
            file: ground.file(&namespace),
        });
        meddler.aim(operator.killer());
        Self {
            bird_watch: watched(dynamic(
                &client,
                &namespace,
                "otomato.link",
                "v1alpha1",
                "BirdWatch",
            )),
            service: watched(mesh(&client, &namespace, "VirtualService")),
            rule: watched(mesh(&client, &namespace, "DestinationRule")),
            namespace,
            end,
            slack,
            proxy,
            operator,
            meddler,
            app,
            client,
            healed,
            _prometheus: prometheus,
        }
    }

    /// Deploys a version, all of whose pods are there at once.
    pub(crate) async fn deploy(&self, version: &str) {
        deployed(&self.client, &self.app, version).await;
    }

    /// The canary is well from now on.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    /// Sets the verb annotation.
    pub(crate) async fn verb(&self, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"otomato.link/verb": value}}}));
        self.birds()
            .patch(SERVICE, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Deletes the `BirdWatch`.
    pub(crate) async fn delete(&self) {
        self.birds()
            .delete(SERVICE, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Whether the `BirdWatch` is gone.
    pub(crate) async fn is_gone(&self) -> bool {
        self.birds().get_opt(SERVICE).await.unwrap().is_none()
    }

    /// Waits until the operator knows which versions are there already.
    pub(crate) async fn known(&self) {
        self.until(|| self.status()["known"].is_array()).await;
    }

    /// Waits until status says that this canary has this weight.
    pub(crate) async fn confirmed(&self, version: &str, percent: i64) {
        let is_it = |status: &Value| status["canary"] == version && status["weight"] == percent;
        self.until(|| is_it(&self.status())).await;
    }

    /// Waits for a phase.
    pub(crate) async fn phase(&self, phase: Phase) {
        self.until(|| self.status()["phase"] == phase.as_str()).await;
    }

    /// Waits for as long as it takes: runs have a limit of their own.
    pub(crate) async fn until(&self, holds: impl Fn() -> bool) {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The status as last seen; null without one.
    pub(crate) fn status(&self) -> Value {
        self.bird_watch.last().unwrap_or_default()["status"].clone()
    }

    /// Every weight of the canary so far, each once in a row; -1 where both weights are not 100 together.
    pub(crate) fn weights(&self) -> Vec<i64> {
        let of = |object: Value| {
            let route = &object["spec"]["http"][0]["route"];
            let sum: i64 = (0..2).filter_map(|index| route[index]["weight"].as_i64()).sum();
            if sum == 100 {
                canary_weight(&object["spec"])
            } else {
                -1
            }
        };
        let mut all: Vec<_> = self.service.all().into_iter().map(|(_, o)| of(o)).collect();
        all.dedup();
        all
    }

    /// Every pair of labels so far, each once in a row.
    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        let of = |object: Value| {
            let label = |index: usize| {
                let label = &object["spec"]["subsets"][index]["labels"]["version"];
                label.as_str().unwrap_or_default().to_owned()
            };
            (label(0), label(1))
        };
        let mut all: Vec<_> = self.rule.all().into_iter().map(|(_, o)| of(o)).collect();
        all.dedup();
        all
    }

    fn birds(&self) -> Api<BirdWatch> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// A Prometheus for which the canary is sick as long as it has half of the traffic or more, until it is healed.
async fn prometheus(services: Api<DynamicObject>, healed: &Arc<AtomicBool>) -> Prometheus {
    let healed = Arc::clone(healed);
    let answer = move |question: Question| {
        let (services, healed) = (services.clone(), Arc::clone(&healed));
        async move {
            let of_canary = question.of("query").contains("\"v2\"");
            let sick = of_canary && !healed.load(Ordering::SeqCst) && {
                let service = services.get(SERVICE).await.unwrap();
                canary_weight(&service.data["spec"]) >= 50
            };
            let data = if question.path == "labels" {
                json!(["__name__", "version"])
            } else {
                let value = if sick { "1" } else { "0" };
                json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, value]}]})
            };
            let body = json!({"status": "success", "data": data});
            (StatusCode::OK, body.to_string())
        }
        .boxed()
    };
    Prometheus::start(answer).await.unwrap()
}
