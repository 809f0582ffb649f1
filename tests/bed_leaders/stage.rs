//! A namespace with a service, a Prometheus to which everything is well, and replicas that lead one after the other.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use birdwatch::api::BirdWatch;
use birdwatch::api::status::Phase;
use birdwatch_bed::clock;
use birdwatch_bed::parts::apps::{self, App};
use birdwatch_bed::parts::prometheus::{Prometheus, Question};
use futures::FutureExt as _;
use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::book::{Book, Record, Sent, Term, terms, trespasses};
use crate::ground::Ground;
use crate::replica::{Replica, Ward};
use crate::support::bare::{deployed, dynamic, mesh, release_lease, whole};
use crate::support::canary_weight;
use crate::support::watched::Watched;

/// Name of the service.
pub(crate) const SERVICE: &str = "aleph";
/// How often a condition is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// Nothing more comes after so long without a write: there is nothing to wait for.
const SILENCE: Duration = Duration::from_secs(1);
/// How long anything may take, on a machine that is busy with others.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A `VirtualService` as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    pub(crate) canary: i64,
    pub(crate) version: String,
}

/// One world.
pub(crate) struct Stage {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) book: Arc<Book>,
    pub(crate) records: Watched<Record>,
    pub(crate) weights: Watched<Weights>,
    bird_watch: Watched<Value>,
    app: App,
    _prometheus: Prometheus,
}

impl Stage {
    /// Sets it, with so many replicas, one of which leads.
    pub(crate) async fn set(ground: &'static Ground, replicas: usize) -> Self {
        let (namespace, client) = (ground.fresh_name(), ground.client().await);
        let app = App::new(SERVICE, &namespace);
        let manifests = [
            apps::namespace(&namespace),
            app.destination_rule("v1", "none"),
            app.virtual_service(100, 0),
        ];
        apps::apply(&client, &manifests).await.unwrap();
        release_lease(&client, &namespace, "birdwatch").await;
        deployed(&client, &app, "v1").await;
        let prometheus = Prometheus::start(|asked| std::future::ready(well(&asked)).boxed()).await;
        let prometheus = prometheus.unwrap();
        let (book, url) = (Arc::new(Book::default()), prometheus.url());
        let starting = (1..=replicas).map(async |number| {
            let name = format!("replica-{number}");
            let ward = Ward {
                home: &namespace,
                watched: &namespace,
                shards: 1,
            };
            Replica::start(ground, ward, &name, &url, &book).await
        });
        let stage = Self {
            replicas: join_all(starting).await,
            records: Watched::new(
                Api::namespaced(client.clone(), &namespace),
                "birdwatch",
                Record::of,
            ),
            weights: Watched::new(mesh(&client, &namespace, "VirtualService"), SERVICE, weights),
            bird_watch: Watched::new(
                dynamic(&client, &namespace, "otomato.link", "v1alpha1", "BirdWatch"),
                SERVICE,
                whole,
            ),
            namespace,
            client,
            book,
            app,
            _prometheus: prometheus,
        };
        stage.until("a leader", || stage.leads()).await;
        stage.follow_all().await;
        stage
    }

    /// Releases v2 through three steps, and returns when the canary has the first weight.
    pub(crate) async fn release(&self) {
        self.announce(SERVICE, &["20", "50", "100"]).await;
        self.until("the BirdWatch is seen", || self.status()["known"].is_array())
            .await;
        deployed(&self.client, &self.app, "v2").await;
    }

    /// Applies a `BirdWatch`.
    pub(crate) async fn announce(&self, service: &str, steps: &[&str]) {
        let manifest = manifest(&self.namespace, service, steps);
        apps::apply(&self.client, &[manifest]).await.unwrap();
    }

    /// Sets the verb annotation.
    pub(crate) async fn verb(&self, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"otomato.link/verb": value}}}));
        let api: Api<BirdWatch> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(SERVICE, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) fn status(&self) -> Value {
        self.bird_watch.last().unwrap_or_default()["status"].clone()
    }

    pub(crate) async fn confirmed(&self, percent: i64) {
        self.until(&format!("{percent} % is confirmed"), || {
            self.status()["weight"] == percent
        })
        .await;
    }

    pub(crate) async fn phase(&self, phase: Phase) {
        self.until(phase.as_str(), || self.status()["phase"] == phase.as_str())
            .await;
    }

    /// Waits until `holds`, and fails with what is known when it takes too long.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = clock::now();
        while !holds() {
            if clock::now().duration_since(begun) > LONG.try_into().unwrap() {
                let logs: Vec<_> = self.replicas.iter().map(Replica::log).collect();
                let (name, status) = (&self.namespace, self.status());
                panic!(
                    "{name}: not within {LONG:?}: {what}\n{status}\n{:?}\n{}",
                    self.records.last(),
                    logs.join("\n--\n")
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Every term so far.
    pub(crate) fn terms(&self) -> Vec<Term> {
        terms(&self.book.all(), &self.seen())
    }

    fn leads(&self) -> bool {
        !self.terms().is_empty()
    }

    /// The replica whose term is the last.
    fn holder(&self) -> &Replica {
        let name = self.terms().pop().expect("a leader").replica;
        self.replica(&name)
    }

    /// The holder of the lease, once it knows: one that is stopped before goes on as a standby.
    pub(crate) async fn leader(&self) -> &Replica {
        self.until("the holder of the lease acts", || self.holder().acts())
            .await;
        self.holder()
    }

    pub(crate) fn replica(&self, name: &str) -> &Replica {
        self.replicas
            .iter()
            .find(|replica| replica.name == name)
            .expect("a replica")
    }

    /// One that does not lead.
    pub(crate) fn standby(&self) -> &Replica {
        let leader = self.holder();
        let mut others = self.replicas.iter().filter(|other| other.name != leader.name);
        others.next().expect("a standby")
    }

    /// Waits for the first term of another replica since then.
    pub(crate) async fn successor(&self, old: &Replica, since: Timestamp) -> Term {
        let found = || {
            let mut terms = self.terms().into_iter();
            terms.find(|term| term.from >= since && term.replica != old.name)
        };
        self.until("another leader", || found().is_some()).await;
        found().unwrap()
    }

    /// Waits for any term that began since then.
    pub(crate) async fn term_since(&self, since: Timestamp) -> Term {
        let found = || self.terms().into_iter().find(|term| term.from >= since);
        self.until("a new term", || found().is_some()).await;
        found().unwrap()
    }

    /// Waits until a replica has written something since then.
    pub(crate) async fn writes(&self, replica: &str, since: Timestamp) -> Sent {
        self.until("a write", || !self.book.writes(replica, since).is_empty())
            .await;
        self.book.writes(replica, since).remove(0)
    }

    /// Waits until every replica follows the lease in its present life.
    pub(crate) async fn follow_all(&self) {
        for replica in &self.replicas {
            self.until("all replicas watch the lease", || {
                let all = self.book.all();
                let own = all.iter().filter(|sent| sent.replica == replica.name);
                let watched = own.filter(|sent| sent.kind == "watch leases").count();
                watched > replica.ends()
            })
            .await;
        }
    }

    /// Waits until nobody has written anything for a while.
    pub(crate) async fn settled(&self) {
        let last = || {
            let all = self.book.all();
            all.iter().rev().find(|sent| sent.writes).map(|sent| sent.at)
        };
        let silent = |at| clock::now().duration_since(at) > SILENCE.try_into().unwrap();
        self.until("nothing is left to do", || last().is_none_or(silent))
            .await;
    }

    fn seen(&self) -> Vec<Record> {
        self.records.all().into_iter().map(|(_, record)| record).collect()
    }

    /// Every weight of the canary so far, each once in a row.
    pub(crate) fn path(&self) -> Vec<i64> {
        let mut path: Vec<_> = self
            .weights
            .all()
            .into_iter()
            .map(|(_, seen)| seen.canary)
            .collect();
        path.dedup();
        path
    }

    /// Nobody wrote in the term of another, or on a lease that was too old.
    pub(crate) fn check(&self, what: &str) {
        let found = trespasses(&self.book.all(), &self.seen());
        assert!(found.is_empty(), "{what}: {}", found.join("\n"));
    }
}

/// A `BirdWatch` of such steps, held for three seconds each.
pub(crate) fn manifest(namespace: &str, service: &str, steps: &[&str]) -> Value {
    let step = |weight: &&str| json!({"weight": weight.parse::<i64>().unwrap(), "hold": "3s"});
    let spec = json!({
        "service": service,
        "metrics": [{"name": "errors", "query": "errors{version=\"$(version)\"}", "deviation": 0.5}],
        "steps": steps.iter().map(step).collect::<Vec<_>>(),
        "checkInterval": "1s",
        "settle": "0s",
    });
    json!({
        "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
        "metadata": {"name": service, "namespace": namespace}, "spec": spec,
    })
}

fn weights(object: &DynamicObject) -> Weights {
    Weights {
        canary: canary_weight(&object.data["spec"]),
        version: object.metadata.resource_version.clone().unwrap_or_default(),
    }
}

pub(crate) fn well(question: &Question) -> (StatusCode, String) {
    let data = if question.path == "labels" {
        json!(["__name__", "version"])
    } else {
        json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, "0"]}]})
    };
    let body = json!({"status": "success", "data": data});
    (StatusCode::OK, body.to_string())
}
