//! The controller on the fake API server, with a paused clock: one service with two versions, a Prometheus that
//! answers what the test says, and operators that can be started, deposed and killed.
#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it is used by tests only"
)]

#[path = "../fake_api/mod.rs"]
pub(crate) mod fake_api;
mod prometheus;
pub(crate) mod slack;

use std::sync::Arc;
use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch::api::{BirdWatchStatus, Span};
use birdwatch::clients::prometheus::Prometheus;
use birdwatch::controller::census::Census;
use birdwatch::controller::context::IstioKinds;
use birdwatch::controller::deliver::{self, Deliver};
use birdwatch::controller::events::Events;
use birdwatch::controller::{Context, Scope, prepare};
use birdwatch::core::observation::Settings;
use birdwatch::istio::{DestinationRule, VirtualService};
use birdwatch::runtime::admin::Health;
use birdwatch::runtime::clock::Clock;
use birdwatch::runtime::lease::{Gate, Leadership, Seats, Term};
use birdwatch::runtime::metrics::Metrics;
use fake_api::{FakeApi, Request};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use prometheus::FakePrometheus;

pub(crate) const NS: &str = "shop";
pub(crate) const BIRD_WATCHES: &str = "otomato.link/birdwatches";
pub(crate) const DEPLOYMENTS: &str = "apps/deployments";
pub(crate) const SERVICES: &str = "networking.istio.io/virtualservices";
pub(crate) const RULES: &str = "networking.istio.io/destinationrules";

/// A metric that asks for the canary by its name.
pub(crate) const METRIC: &str =
    r#"sum(irate(istio_requests_total{destination_service_name="aleph",response_code="500"}[30s]))"#;

/// A cluster and its Prometheus.
pub(crate) struct Kit {
    pub(crate) api: FakeApi,
    pub(crate) clock: Clock,
    pub(crate) prometheus: FakePrometheus,
    pub(crate) settings: Settings,
    /// How long to wait for anything.
    pub(crate) patience: Duration,
}

/// Everything by which an operator tells people.
pub(crate) type Telling = (Deliver, UnboundedReceiver<birdwatch::clients::slack::Heard>);

impl Kit {
    /// A cluster with the service `aleph`: v1 in production, v2 beside it, nothing shifted.
    pub(crate) fn new() -> Self {
        let clock = Clock::paused("2026-03-01T12:00:00Z".parse().unwrap());
        let api = FakeApi::new(clock.clone());
        let kit = Self {
            api,
            clock,
            prometheus: FakePrometheus::default(),
            settings: Settings {
                scrape_interval: Span::secs(1),
                propagation_delay: Span::secs(2),
                query_timeout: Span::secs(5),
                notify: None,
            },
            patience: Duration::from_mins(10),
        };
        kit.service("aleph");
        kit
    }

    /// Puts a service with two versions into the cluster.
    pub(crate) fn service(&self, name: &str) {
        self.api.put(DEPLOYMENTS, deployment(name, "v1", 2));
        self.api.put(DEPLOYMENTS, deployment(name, "v2", 2));
        self.api.put(RULES, rule(name));
        self.api.put(SERVICES, virtual_service(name));
    }

    /// Puts a `BirdWatch` for v2 of `aleph`: half of the traffic, then all of it, five seconds each.
    pub(crate) fn bird_watch(&self) {
        self.api.put(BIRD_WATCHES, bird_watch("aleph", &json!({})));
    }

    pub(crate) fn status(&self, name: &str) -> BirdWatchStatus {
        let object = self.api.get(BIRD_WATCHES, (NS, name)).unwrap();
        serde_json::from_value(object["status"].clone()).unwrap_or_default()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.status("aleph").phase
    }

    /// Production's and the canary's weight on the first route.
    pub(crate) fn weights(&self) -> (i64, i64) {
        let object = self.api.get(SERVICES, (NS, "aleph")).unwrap();
        let weight = |i: usize| {
            object["spec"]["http"][0]["route"][i]["weight"]
                .as_i64()
                .unwrap_or(-1)
        };
        (weight(0), weight(1))
    }

    /// Production's and the canary's version labels.
    pub(crate) fn labels(&self) -> (String, String) {
        let object = self.api.get(RULES, (NS, "aleph")).unwrap();
        let label = |i: usize| {
            object["spec"]["subsets"][i]["labels"]["version"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (label(0), label(1))
    }

    /// Waits until `holds`, and fails with the status when it takes too long.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = self.api.until(|_| holds(self));
        if tokio::time::timeout(self.patience, waiting).await.is_err() {
            let objects: Vec<_> = self
                .api
                .all(BIRD_WATCHES)
                .into_iter()
                .map(|o| o["status"].clone())
                .collect();
            panic!(
                "never: {what}; {}",
                serde_json::to_string_pretty(&objects).unwrap()
            );
        }
    }

    pub(crate) async fn until_phase(&self, phase: Phase) {
        self.until(phase.as_str(), |kit| kit.phase() == phase).await;
    }

    /// Waits until the deleted `BirdWatch` is gone, a minute at most.
    pub(crate) async fn until_gone(&self) {
        let gone = self
            .api
            .until(|api| api.get(BIRD_WATCHES, (NS, "aleph")).is_none());
        tokio::time::timeout(Duration::from_mins(1), gone)
            .await
            .expect("it goes");
    }

    /// Waits until the canary's weight is confirmed.
    pub(crate) async fn until_weight(&self, percent: i32) {
        self.until("the weight", |kit| kit.status("aleph").weight == Some(percent))
            .await;
    }

    /// Everything but watches, lists and Events.
    pub(crate) fn calls(&self) -> Vec<Request> {
        let quiet = |r: &Request| matches!(r.verb, "watch" | "list") || r.resource.ends_with("/events");
        self.api.requests().into_iter().filter(|r| !quiet(r)).collect()
    }

    /// Calls by verb and resource, as `patch networking.istio.io/virtualservices`.
    pub(crate) fn counted(&self) -> std::collections::BTreeMap<String, usize> {
        let mut counted = std::collections::BTreeMap::new();
        for call in self.calls() {
            let subresource = if call.subresource.is_empty() {
                ""
            } else {
                "/status"
            };
            *counted
                .entry(format!("{} {}{subresource}", call.verb, call.resource))
                .or_default() += 1;
        }
        counted
    }

    /// The canary's weights that were written to `VirtualService`s, in order, as `client`'s or anybody's.
    pub(crate) fn raised_to(&self) -> Vec<i64> {
        self.weights_written(|_| true)
    }

    /// The same of one `VirtualService`.
    pub(crate) fn raised_to_of(&self, name: &str) -> Vec<i64> {
        self.weights_written(|patch| patch.name.as_deref() == Some(name))
    }

    fn weights_written(&self, which: impl Fn(&Request) -> bool) -> Vec<i64> {
        let calls = self.calls().into_iter();
        let patches = calls.filter(|r| r.verb == "patch" && r.resource == SERVICES && which(r));
        patches.filter_map(|patch| canary_weight(&patch.body)).collect()
    }

    /// Calls of one operator that write, Events aside.
    pub(crate) fn writes_of(&self, client: &str) -> usize {
        self.calls()
            .iter()
            .filter(|r| r.client == client && r.verb != "get")
            .count()
    }

    /// An operator that leads and tells nobody.
    pub(crate) fn operator(&self, name: &str) -> Operator {
        let metrics = Metrics::new();
        let acks = tokio::sync::mpsc::unbounded_channel().1;
        self.operator_telling(name, |_| (Deliver::nobody(metrics), acks), false)
    }

    /// An operator that gives everything back.
    pub(crate) fn drain(&self, name: &str) -> Operator {
        let acks = tokio::sync::mpsc::unbounded_channel().1;
        self.operator_telling(name, |_| (Deliver::nobody(Metrics::new()), acks), true)
    }

    pub(crate) fn operator_telling(
        &self,
        name: &str,
        telling: impl FnOnce(&Gate) -> Telling,
        draining: bool,
    ) -> Operator {
        let (leadership, receiver) = watch::channel(self.leading());
        let prometheus = Arc::new(self.prometheus.clone());
        self.start(
            name,
            telling,
            draining,
            prometheus,
            (leadership, Seats::one(receiver)),
        )
    }

    /// An operator that tells people and acts where an elector says so.
    pub(crate) fn operator_elected(
        &self,
        name: &str,
        telling: impl FnOnce(&Gate) -> Telling,
        seats: Seats,
    ) -> Operator {
        let nobody = watch::channel(Leadership::Standby).0;
        let prometheus = Arc::new(self.prometheus.clone());
        self.start(name, telling, false, prometheus, (nobody, seats))
    }

    /// An operator that asks another Prometheus than the kit's.
    pub(crate) fn operator_asking(&self, name: &str, prometheus: Arc<dyn Prometheus>) -> Operator {
        let acks = tokio::sync::mpsc::unbounded_channel().1;
        self.operator_with(name, |_| (Deliver::nobody(Metrics::new()), acks), prometheus)
    }

    /// An operator that tells people and asks another Prometheus than the kit's.
    pub(crate) fn operator_with(
        &self,
        name: &str,
        telling: impl FnOnce(&Gate) -> Telling,
        prometheus: Arc<dyn Prometheus>,
    ) -> Operator {
        let (leadership, receiver) = watch::channel(self.leading());
        self.start(
            name,
            telling,
            false,
            prometheus,
            (leadership, Seats::one(receiver)),
        )
    }

    fn start(
        &self,
        name: &str,
        telling: impl FnOnce(&Gate) -> Telling,
        draining: bool,
        prometheus: Arc<dyn Prometheus>,
        (leadership, seats): (watch::Sender<Leadership>, Seats),
    ) -> Operator {
        let client = self.api.client(name);
        let (events, publishing) = Events::new(client.clone(), name.to_owned());
        let (metrics, gate) = (Metrics::new(), Gate::new(seats.clone(), self.clock.clone()));
        let (deliver, acks) = telling(&gate);
        let context = Context {
            client,
            clock: self.clock.clone(),
            gate,
            settings: self.settings,
            call_deadline: Duration::from_secs(4),
            cluster_domain: "cluster.local".into(),
            draining,
            metrics: metrics.clone(),
            prometheus,
            deliver,
            events,
            census: Census::new(metrics.clone()),
        };
        let istio = IstioKinds {
            services: VirtualService::api_resource("v1"),
            rules: DestinationRule::api_resource("v1"),
        };
        let prepared = prepare(context, None, istio);
        let scope = Arc::clone(&prepared.scope);
        let stop = CancellationToken::new();
        let (stopping, health) = (stop.clone(), Health::new(self.clock.clone()));
        let tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(publishing)),
            AbortOnDropHandle::new(tokio::spawn(deliver::acknowledge(
                acks,
                Arc::new([Arc::clone(&scope)]),
            ))),
            AbortOnDropHandle::new(tokio::spawn(async move {
                prepared.run(&seats, &health, 16, stopping).await.unwrap();
            })),
        ];
        Operator {
            scope,
            metrics,
            leadership,
            stop,
            tasks,
        }
    }

    pub(crate) fn leading(&self) -> Leadership {
        let far = self.clock.monotonic() + Duration::from_secs(1_000_000);
        Leadership::Leading(Term::new(self.clock.now(), far))
    }
}

/// A running operator; dropped, it is killed where it stands.
pub(crate) struct Operator {
    pub(crate) scope: Arc<Scope>,
    pub(crate) metrics: Metrics,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) stop: CancellationToken,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Operator {
    /// Stops it in order.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let controller = self.tasks.pop().unwrap();
        tokio::time::timeout(Duration::from_secs(30), controller)
            .await
            .expect("it stops")
            .unwrap();
    }
}

/// A ready Deployment of `replicas` pods.
pub(crate) fn deployment(service: &str, version: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("{service}-{version}"), "namespace": NS, "generation": 1,
            "annotations": {"deployment.kubernetes.io/revision": "1"}},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": service, "version": version}}}},
        "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
            "availableReplicas": replicas, "readyReplicas": replicas},
    })
}

pub(crate) fn rule(service: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": service, "namespace": NS},
        "spec": {"host": service, "subsets": [
            {"name": "production", "labels": {"version": "v1"}},
            {"name": "canary", "labels": {"version": "v0"}},
        ]},
    })
}

pub(crate) fn virtual_service(service: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": service, "namespace": NS},
        "spec": {"hosts": [service], "http": [{"name": "primary", "route": [
            {"destination": {"host": service, "subset": "production"}, "weight": 100},
            {"destination": {"host": service, "subset": "canary"}, "weight": 0},
        ]}]},
    })
}

/// A `BirdWatch` for v2, with further fields of the spec.
pub(crate) fn bird_watch(service: &str, more: &Value) -> Value {
    let mut spec = json!({
        "service": service, "canaryVersion": "v2", "metric": METRIC, "deviation": 0.5,
        "increment": 50, "interval": "5s",
    });
    json_patch::merge(&mut spec, more);
    json!({
        "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
        "metadata": {"name": service, "namespace": NS}, "spec": spec,
    })
}

/// What a JSON Patch sets the canary's weight to.
fn canary_weight(patch: &Value) -> Option<i64> {
    let sets = |op: &&Value| op["op"] == "add" && op["path"] == "/spec/http/0/route/1/weight";
    patch.as_array()?.iter().rev().find(sets)?["value"].as_i64()
}

/// Status writes of `BirdWatch`es.
pub(crate) fn is_status_write(request: &Request) -> bool {
    request.verb == "update" && request.resource == BIRD_WATCHES
}

/// Patches of `VirtualService`s.
pub(crate) fn is_weight_write(request: &Request) -> bool {
    request.verb == "patch" && request.resource == SERVICES
}
