//! What these tests share: rollouts that wait at a step to be disturbed, and what is seen of them from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::{FailureReason, Phase};
use birdwatch_bed::Bed;
use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{SOON, Service, eventually, steps};

/// How long a whole rollout may take.
pub(crate) const A_WHILE: Duration = Duration::from_mins(3);

/// A step of 20 % that ends only when it is disturbed.
pub(crate) fn held_at_20() -> Value {
    let mut spec = steps(&[20]);
    spec["steps"][0]["hold"] = json!("1h");
    spec
}

/// Nobody needs to hear of this rollout: it leaves Slack's rate to those who look there.
pub(crate) fn quiet(mut spec: Value) -> Value {
    spec["notify"] = json!({"level": "off"});
    spec
}

/// A service whose v2 has 20 % and is healthy so far.
pub(crate) async fn at_20(bed: &'static Bed, name: &str, spec: Value) -> Service {
    let service = Service::silent(bed, name).await.with_traffic(10.0);
    service.release(spec).await;
    service.deploy("v2", &[]).await;
    service.weight(20).await;
    service
}

impl Service {
    /// Applies a `BirdWatch` and waits until it is seen, so that what is deployed next is new.
    pub(crate) async fn release(&self, mut spec: Value) {
        spec["service"] = json!(self.app.name);
        self.watch_with(spec).await;
        self.until("seen", SOON, |status| status.known.is_some()).await;
    }

    /// Every request fails on the canary from now on.
    pub(crate) async fn falls_sick(&self) {
        self.behave("v2", 1.0).await;
    }

    /// Waits until the rollout has failed for this reason and all traffic is production's, in the mesh too.
    pub(crate) async fn is_rolled_back(&self, reason: FailureReason) -> BirdWatchStatus {
        let status = self.phase(Phase::RolledBack, A_WHILE).await;
        let failure = status
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.failure.as_ref());
        assert_eq!(failure.map(|f| f.reason), Some(reason), "{}", status.message);
        assert_eq!(self.weights().await, (100, 0));
        self.mesh_has(0).await;
        status
    }

    /// Waits until Envoy gives the canary this much.
    pub(crate) async fn mesh_has(&self, percent: u32) {
        eventually(&format!("Envoy gives the canary {percent} %"), SOON, async || {
            let routes = self.bed.envoy_weights(&self.app.host()).await.ok()?;
            let as_wanted = routes.iter().all(|route| route.weight("canary") == percent);
            (as_wanted && !routes.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until a message of the service's thread says this.
    pub(crate) async fn hears(&self, words: &str) -> String {
        eventually(&format!("Slack says {words:?}"), A_WHILE, async || {
            self.told().into_iter().find(|text| text.contains(words))
        })
        .await
    }

    /// How many messages of the service's thread say this.
    pub(crate) fn times_told(&self, words: &str) -> usize {
        self.told().iter().filter(|text| text.contains(words)).count()
    }

    /// Waits for a warning Event of this reason; returns its note.
    pub(crate) async fn warned(&self, reason: &str) -> String {
        let api = self.dynamic("events.k8s.io/v1", "Event");
        eventually(&format!("a warning {reason}"), SOON, async || {
            let events = api.list(&kube::api::ListParams::default()).await.ok()?;
            let event = events.items.into_iter().find(|event| {
                let is = |field: &str, value: &str| event.data[field] == value;
                is("reason", reason) && is("type", "Warning")
            })?;
            event.data["note"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Everything the canary's weight is in the `VirtualService`, from now on.
    pub(crate) fn record(&self) -> Record {
        let api = self.dynamic("networking.istio.io/v1", "VirtualService");
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.app.name));
        let weights: Arc<Mutex<Vec<i64>>> = Arc::default();
        let kept = Arc::clone(&weights);
        let task = tokio::spawn(async move {
            let mut seen = watcher(api, config).default_backoff().applied_objects().boxed();
            while let Some(object) = seen.next().await {
                let Ok(object) = object else { continue };
                let weight = canary_weight(&object);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.last() != Some(&weight) {
                    kept.push(weight);
                }
            }
        });
        Record { weights, task }
    }
}

/// Weights of the canary as they followed each other.
pub(crate) struct Record {
    weights: Arc<Mutex<Vec<i64>>>,
    task: JoinHandle<()>,
}

impl Record {
    fn kept(&self) -> MutexGuard<'_, Vec<i64>> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a weight was seen that satisfies; returns all so far.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&[i64]) -> bool) -> Vec<i64> {
        eventually(what, SOON, async || {
            let weights = self.kept().clone();
            holds(&weights).then_some(weights)
        })
        .await
    }

    /// Waits until the canary is back at 0 after it had weight; its way there must be up, and then down in one write.
    pub(crate) async fn is_up_and_down_at_once(&self) {
        let is_down = |w: &[i64]| w.iter().any(|w| *w > 0) && w.last() == Some(&0);
        let weights = self.until("the canary is at 0 again", is_down).await;
        let up = &weights[..weights.len() - 1];
        assert!(up.is_sorted(), "lowered in one write: {weights:?}");
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn canary_weight(service: &DynamicObject) -> i64 {
    let routes = service.data["spec"]["http"].as_array().into_iter().flatten();
    let mut destinations = routes.flat_map(|route| route["route"].as_array().into_iter().flatten());
    let canary = destinations.find(|d| d["destination"]["subset"] == "canary");
    canary.and_then(|d| d["weight"].as_i64()).unwrap_or(0)
}

/// Whether a condition holds, and its message.
pub(crate) fn condition<'a>(status: &'a BirdWatchStatus, kind: &str, reason: &str) -> Option<&'a str> {
    let mut all = status.conditions.iter();
    let found = all.find(|c| c.kind == kind && c.status == "True" && c.reason == reason)?;
    Some(&found.message)
}
