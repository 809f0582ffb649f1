//! What is seen of a rollout from outside: the weights in the order they were written, and who answered meanwhile.

use std::time::Duration;

use birdwatch::api::BirdWatchStatus;
use birdwatch_bed::Bed;
use birdwatch_bed::parts::apps::{self, App};
use birdwatch_bed::parts::traffic::{self, Sample};
use birdwatch_bed::parts::workload::Change;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::watched::Watched;
use crate::support::{A_WHILE, Service, canary_weight, eventually};

/// Over this time a share is measured; every step of these tests is held longer.
pub(crate) const WINDOW: Duration = Duration::from_secs(3);

/// Every state of a `VirtualService`, from when the story began.
pub(crate) struct Story(Watched<Value>);

impl Story {
    /// Every spec that differs from the one before it, oldest first.
    pub(crate) fn specs(&self) -> Vec<Value> {
        self.0.all().into_iter().map(|(_, spec)| spec).collect()
    }

    /// The canary's weights on the first route of ours, each once in a row.
    pub(crate) fn weights(&self) -> Vec<i64> {
        let mut weights: Vec<i64> = self.specs().iter().map(canary_weight).collect();
        weights.dedup();
        weights
    }

    /// Waits until these weights were written, in this order, and no others.
    pub(crate) async fn is(&self, expected: &[i64]) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while self.weights() != expected {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        if waited.await.is_err() {
            assert_eq!(self.weights(), expected);
        }
    }

    /// Share of a version among those who asked while the canary last had this weight, at its end.
    pub(crate) fn share_at(&self, weight: i64, version: &str, samples: &[Sample]) -> f64 {
        let specs = self.0.all();
        let last = specs.iter().rposition(|(_, spec)| canary_weight(spec) == weight);
        let after = last.and_then(|last| specs.get(last + 1));
        let (end, _) = after.unwrap_or_else(|| panic!("{weight} was not written, or is the last"));
        let begin = end.checked_sub(WINDOW).unwrap();
        let asked: Vec<_> = samples
            .iter()
            .filter(|sample| (begin..*end).contains(&sample.time))
            .cloned()
            .collect();
        traffic::share(&asked, version).unwrap_or_else(|| panic!("nobody was answered at {weight}"))
    }
}

impl Service {
    /// A service without load, in a namespace of another name, with this version in production.
    pub(crate) async fn silent_in(bed: &'static Bed, namespace: &str, name: &str, version: &str) -> Self {
        let service = Self {
            bed,
            app: App::new(name, namespace),
            client: bed.client().unwrap(),
            traffic: None,
        };
        service.apply(&[apps::namespace(namespace)]).await;
        service.apply(&service.app.mesh(version, "none")).await;
        service.deploy(version, &[]).await;
        service.available(version).await;
        service
    }

    /// Watches the service's `VirtualService` from now on.
    pub(crate) async fn story(&self) -> Story {
        self.story_of(&self.app.name).await
    }

    /// Watches a `VirtualService` from now on.
    pub(crate) async fn story_of(&self, name: &str) -> Story {
        let api = self.dynamic("networking.istio.io/v1", "VirtualService");
        let story = Story(Watched::new(api, name, |object: &DynamicObject| {
            object.data["spec"].clone()
        }));
        eventually("the VirtualService is seen", A_WHILE, async || {
            (!story.specs().is_empty()).then_some(())
        })
        .await;
        story
    }

    /// Applies a `BirdWatch` and waits until the operator knows of it and production is served.
    pub(crate) async fn release(&self, spec: Value) {
        self.only("v1").await;
        self.watch_seen(spec).await;
    }

    /// Waits until the operator has seen the spec as it is now.
    pub(crate) async fn spec_is_seen(&self) {
        let generation = self.birdwatches().get(&self.app.name).await.unwrap();
        let generation = generation.metadata.generation;
        self.until("seen", A_WHILE, |status| status.observed_generation == generation)
            .await;
    }

    /// Everybody who asked so far.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.traffic.as_ref().unwrap().samples()
    }

    /// Waits until everybody is answered well by this version alone.
    pub(crate) async fn only(&self, version: &str) {
        let what = format!("{}: all are answered by {version}", self.app.namespace);
        eventually(&what, A_WHILE, async || {
            let recent = self.recent();
            let well = |s: &Sample| s.status == Some(200) && s.version.as_deref() == Some(version);
            (recent.len() >= 10 && recent.iter().all(well)).then_some(())
        })
        .await;
    }

    /// Waits until this share of the traffic is answered by a version.
    pub(crate) async fn share_is(&self, version: &str, shares: std::ops::Range<f64>) {
        let what = format!("{}: {version} answers {shares:?} of all", self.app.namespace);
        eventually(&what, A_WHILE, async || {
            let share = traffic::share(&self.recent(), version)?;
            shares.contains(&share).then_some(())
        })
        .await;
    }

    fn recent(&self) -> Vec<Sample> {
        let since = Instant::now().checked_sub(WINDOW);
        self.traffic.as_ref().unwrap().since(since.unwrap())
    }

    /// How many of those who asked since `from` were answered by a version.
    pub(crate) fn answers_of(&self, version: &str, from: Instant) -> usize {
        let samples = self.traffic.as_ref().unwrap().since(from);
        let by = |s: &&Sample| s.version.as_deref() == Some(version);
        samples.iter().filter(by).count()
    }

    /// Nobody who asked since `from` was left without an answer of a pod.
    pub(crate) fn nobody_was_turned_away(&self, from: Instant) {
        let samples = self.traffic.as_ref().unwrap().since(from);
        let turned_away: Vec<_> = samples
            .iter()
            .filter(|s| s.version.is_none() && s.status.is_some())
            .collect();
        assert!(!samples.is_empty() && turned_away.is_empty(), "{turned_away:?}");
    }

    /// How a query reads now; none where its answer is empty.
    pub(crate) async fn reading(&self, query: &str) -> Option<f64> {
        let url = format!("{}/api/v1/query", self.bed.prometheus_url());
        let asked = reqwest::Client::new().post(url).form(&[("query", query)]);
        let answer: Value = asked.send().await.ok()?.json().await.ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Makes the canary answer well again, and waits until a query no longer sees that it ever did not.
    pub(crate) async fn heal(&self, version: &str, query: &str, below: f64) {
        let well = Change {
            error_rate: Some(0.0),
            latency_ms: Some(0),
        };
        self.app.behave(&self.client, version, well).await.unwrap();
        let query = format!("max_over_time(({query})[8s:1s])");
        eventually(&format!("{query} is below {below}"), A_WHILE, async || {
            let reading = self.reading(&query).await.unwrap_or(0.0);
            (reading < below).then_some(())
        })
        .await;
    }

    /// Waits until the canary's confirmed weight is this, or more.
    pub(crate) async fn reaches(&self, percent: i32) -> BirdWatchStatus {
        self.until(&format!("at {percent} %"), A_WHILE, |s| s.weight >= Some(percent))
            .await
    }

    /// What Slack was told about an unhealthy canary, once all is told.
    pub(crate) async fn told_unhealthy(&self) -> Vec<String> {
        self.until("all is told", A_WHILE, |status| status.notices.pending.is_empty())
            .await;
        let told = self.told();
        told.into_iter()
            .filter(|text| text.contains("unhealthy at weight"))
            .collect()
    }
}

/// What the API server says to manifests it refuses.
pub(crate) async fn refusal(service: &Service, spec: Value) -> String {
    let manifest = json!({
        "apiVersion": "otomato.link/v1alpha1",
        "kind": "BirdWatch",
        "metadata": {"name": service.app.name, "namespace": service.app.namespace},
        "spec": spec,
    });
    match apps::apply(&service.client, &[manifest]).await {
        Ok(()) => panic!("the API server takes it"),
        Err(apps::AppError::Api { source, .. }) => source.to_string(),
        Err(other) => panic!("{other}"),
    }
}
