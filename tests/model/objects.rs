//! The objects of the small world, made of JSON as a server would send them: production and canary of one service, with
//! something in each object that is nobody's business but the user's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use birdwatch::api::plan::Target;
use birdwatch::api::status::Candidate;
use birdwatch::api::{BirdWatchSpec, BirdWatchStatus, Span};
use birdwatch::controller::conflict::Age;
use birdwatch::controller::index::Index;
use birdwatch::controller::look::Sight;
use birdwatch::controller::objects::{Deployment, RawBirdWatch};
use birdwatch::core::observation::{Gap, ObjectName, Settings};
use birdwatch::istio::{DestinationRule, VirtualService};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::state::*;

/// The length of a tick. Every span in a configuration is a whole number of them.
pub(crate) const TICK: Span = Span::secs(10);
pub(crate) const DOMAIN: &str = "cluster.local";
const NAMESPACE: &str = "default";
const SERVICE: &str = "shop";

/// It is always now: what is older is older than now, and time passes by making everything older.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_000_000_000).unwrap()
}

/// The instant some ticks ago.
pub(crate) fn ago(ticks: Ticks) -> Timestamp {
    now().checked_sub(TICK.times(u32::from(ticks)).signed()).unwrap()
}

/// Those of the last ticks in which nobody has led, oldest first.
pub(crate) fn gaps(absences: u8) -> Vec<Gap> {
    let is_absent = |ticks: &Ticks| absences >> ticks & 1 == 1;
    let gap = |ticks| Gap {
        from: ago(ticks + 1),
        to: ago(ticks),
    };
    (0..LONG).rev().filter(is_absent).map(gap).collect()
}

/// How many ticks a span has.
pub(crate) fn ticks(span: Span) -> Ticks {
    Ticks::try_from(span.signed().as_secs() / TICK.signed().as_secs()).unwrap()
}

pub(crate) fn named(name: &str) -> ObjectName {
    ObjectName {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
    }
}

pub(crate) fn version(number: usize) -> String {
    format!("v{}", number + 1)
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// The routes at their start, with a route that is not ours and fields that nobody knows.
pub(crate) fn route() -> VirtualService {
    let to = |subset: &str| json!({"host": SERVICE, "subset": subset});
    let spec = json!({
        "hosts": [SERVICE], "gateways": ["mesh"],
        "http": [
            {"name": "testers", "match": [{"headers": {"x-tester": {"exact": "yes"}}}],
                "route": [{"destination": to("canary"), "weight": 100}]},
            {"name": "primary", "timeout": "3s", "x-unknown": {"deep": [1, 2, 3]}, "route": [
                {"destination": to("production"), "weight": 100, "headers": {"response": {"add": {"a": "b"}}}},
                {"destination": to("canary"), "weight": 0},
            ]},
        ],
    });
    Arc::unwrap_or_clone(object(json!({"metadata": metadata(SERVICE), "spec": spec})))
}

/// The two weights of our route, production first.
pub(crate) fn weights(route: &VirtualService) -> (i64, i64) {
    let at = |index: usize| {
        route.spec["http"][1]["route"][index]["weight"]
            .as_i64()
            .unwrap_or(-1)
    };
    (at(0), at(1))
}

/// The same with the canary's weight set by hand.
pub(crate) fn set_weight(route: &VirtualService, canary: i64) -> VirtualService {
    let mut route = route.clone();
    let (production, before) = weights(&route);
    let side = &mut route.spec["http"][1]["route"];
    side[0]["weight"] = json!(production + before - canary);
    side[1]["weight"] = json!(canary);
    route
}

/// The rule at its start.
pub(crate) fn rule() -> DestinationRule {
    let spec = json!({
        "host": SERVICE, "trafficPolicy": {"x-unknown": true},
        "subsets": [
            {"name": "production", "labels": {"version": "v1", "tier": "front"}},
            {"name": "canary", "labels": {"tier": "front"}, "trafficPolicy": {"x": 1}},
        ],
    });
    Arc::unwrap_or_clone(object(json!({"metadata": metadata(SERVICE), "spec": spec})))
}

/// The version labels of the two subsets.
pub(crate) fn labels(rule: &DestinationRule) -> (Option<&str>, Option<&str>) {
    let at = |index: usize| rule.spec["subsets"][index]["labels"]["version"].as_str();
    (at(0), at(1))
}

/// A route and a rule without what is ours in them: that never changes.
pub(crate) fn not_ours(route: &VirtualService, rule: &DestinationRule) -> (Value, Value) {
    let (mut route, mut rule) = (route.spec.clone(), rule.spec.clone());
    for index in 0..2 {
        route["http"][1]["route"][index]
            .as_object_mut()
            .unwrap()
            .remove("weight");
        let labels = &mut rule["subsets"][index]["labels"];
        labels.as_object_mut().unwrap().remove("version");
    }
    (route, rule)
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": NAMESPACE, "resourceVersion": "1"})
}

/// The name of a `BirdWatch` by its place: the first is the oldest.
pub(crate) fn bird_name(place: usize) -> ObjectName {
    named(["aleph", "beth"][place])
}

/// A `BirdWatch` as an operator sees it.
pub(crate) fn bird(
    place: usize,
    bird: Bird,
    spec: &BirdWatchSpec,
    verb: &str,
    status: &Value,
) -> RawBirdWatch {
    let mut metadata = metadata(&bird_name(place).name);
    metadata["uid"] = json!(format!("uid-{place}"));
    metadata["generation"] = json!(bird.form + 1);
    metadata["creationTimestamp"] = json!(format!("2001-09-0{}T00:00:00Z", place + 1));
    if !verb.is_empty() {
        metadata["annotations"] = json!({birdwatch::api::VERB_ANNOTATION: verb});
    }
    if bird.finalizer {
        metadata["finalizers"] = json!([birdwatch::api::FINALIZER]);
    }
    if bird.deleting {
        metadata["deletionTimestamp"] = json!("2001-09-09T00:00:00Z");
    }
    Arc::unwrap_or_clone(object(
        json!({"metadata": metadata, "spec": serde_json::to_value(spec).unwrap(), "status": status}),
    ))
}

/// The Deployment of a version.
pub(crate) fn deployment(number: usize, pods: Pods) -> Deployment {
    let version = version(number);
    let mut metadata = metadata(&format!("{SERVICE}-{version}"));
    metadata["uid"] = json!(format!("uid-{version}"));
    metadata["generation"] = json!(pods.revision);
    metadata["creationTimestamp"] = json!(format!("2001-09-08T00:00:0{number}Z"));
    metadata["annotations"] = json!({"deployment.kubernetes.io/revision": pods.revision.to_string()});
    let labels = json!({"app": SERVICE, "version": version, "tier": "front"});
    Arc::unwrap_or_clone(object(json!({
        "metadata": metadata,
        "spec": {"replicas": 2, "template": {"metadata": {"labels": labels}}},
        "status": {"observedGeneration": pods.revision, "replicas": 2, "updatedReplicas": 2,
            "availableReplicas": pods.available},
    })))
}

/// Whether these pods are those of a version and revision.
pub(crate) fn has_pods_of(pods: &AllPods, canary: &Candidate) -> bool {
    let is_it = |number: usize, pods: Pods| {
        version(number) == canary.version && pods.revision.to_string() == canary.revision
    };
    (0..VERSIONS).any(|number| pods[number].is_some_and(|pods| is_it(number, pods)))
}

/// What one operator sees, as `look` looks at it.
pub(crate) struct View {
    birds: BTreeMap<ObjectName, Arc<RawBirdWatch>>,
    deployments: BTreeMap<ObjectName, Arc<Deployment>>,
    route: Arc<VirtualService>,
    rule: Arc<DestinationRule>,
    index: Mutex<Index>,
    gaps: Vec<Gap>,
    settings: Settings,
}

impl View {
    pub(crate) fn new(
        birds: Vec<Arc<RawBirdWatch>>,
        target: &Target,
        deployments: Vec<Arc<Deployment>>,
        route: Arc<VirtualService>,
        rule: Arc<DestinationRule>,
        gaps: Vec<Gap>,
        settings: Settings,
    ) -> Self {
        let mut index = Index::new(DOMAIN);
        let service = named(SERVICE);
        index.virtual_service(&service, Some(&route));
        index.destination_rule(&service, Some(&rule));
        let deployments: BTreeMap<_, _> = deployments
            .into_iter()
            .map(|deployment| (named(deployment.metadata.name.as_deref().unwrap()), deployment))
            .collect();
        for (name, deployment) in &deployments {
            index.deployment(name, Some(deployment));
        }
        let birds: BTreeMap<_, _> = birds.into_iter().map(|bird| (bird.name(), bird)).collect();
        for (name, bird) in &birds {
            index.bird_watch(name, Some(Age::of(bird)), &[target]);
        }
        let index = Mutex::new(index);
        Self {
            birds,
            deployments,
            route,
            rule,
            index,
            gaps,
            settings,
        }
    }
}

impl Sight for View {
    fn bird_watch(&self, name: &ObjectName) -> Option<Arc<RawBirdWatch>> {
        self.birds.get(name).cloned()
    }

    fn deployment(&self, name: &ObjectName) -> Option<Arc<Deployment>> {
        self.deployments.get(name).cloned()
    }

    fn virtual_service(&self, _: &ObjectName) -> Option<Arc<VirtualService>> {
        Some(Arc::clone(&self.route))
    }

    fn destination_rule(&self, _: &ObjectName) -> Option<Arc<DestinationRule>> {
        Some(Arc::clone(&self.rule))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap()
    }

    fn gaps(&self, _: &str) -> Vec<Gap> {
        self.gaps.clone()
    }

    fn settings(&self) -> Settings {
        self.settings
    }

    fn cluster_domain(&self) -> &str {
        DOMAIN
    }

    fn draining(&self) -> bool {
        false
    }

    fn warning(&self, _: &BirdWatchSpec) -> Option<String> {
        None
    }
}

/// The JSON of a status, where another `BirdWatch` has to read it.
pub(crate) fn status_json(status: &BirdWatchStatus) -> Value {
    serde_json::to_value(status).unwrap()
}
