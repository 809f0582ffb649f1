//! What these tests share: rollouts that wait at a step to be disturbed, and what is seen of them from outside.

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::{FailureReason, Phase};
use birdwatch_bed::Bed;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::support::watched::Watched;
use crate::support::{A_WHILE, SOON, Service, canary_weight, eventually, held};

/// A step of 20 % that ends only when it is disturbed.
pub(crate) fn held_at_20() -> Value {
    held(&[(20, "1h")])
}

/// Nobody needs to hear of this rollout: it leaves Slack's rate to those who look there.
pub(crate) fn quiet(mut spec: Value) -> Value {
    spec["notify"] = json!({"level": "off"});
    spec
}

/// A service whose v2 has 20 % and is healthy so far.
pub(crate) async fn at_20(bed: &'static Bed, name: &str, spec: Value) -> Service {
    let service = Service::silent(bed, name).await.with_traffic(10.0);
    service.watch_seen(spec).await;
    service.deploy("v2", &[]).await;
    service.weight(20).await;
    service
}

impl Service {
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
        let weight = |object: &DynamicObject| canary_weight(&object.data["spec"]);
        Record(Watched::new(api, &self.app.name, weight))
    }
}

/// Weights of the canary as they followed each other.
pub(crate) struct Record(Watched<i64>);

impl Record {
    /// Waits until a weight was seen that satisfies; returns all so far.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&[i64]) -> bool) -> Vec<i64> {
        eventually(what, SOON, async || {
            let weights: Vec<_> = self.0.all().into_iter().map(|(_, weight)| weight).collect();
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

/// Whether a condition holds, and its message.
pub(crate) fn condition<'a>(status: &'a BirdWatchStatus, kind: &str, reason: &str) -> Option<&'a str> {
    let mut all = status.conditions.iter();
    let found = all.find(|c| c.kind == kind && c.status == "True" && c.reason == reason)?;
    Some(&found.message)
}
