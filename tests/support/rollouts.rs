//! What a test releases, and what it waits for meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Service, eventually};

/// How long a whole rollout may take, on a machine that is busy with others.
pub const A_WHILE: Duration = Duration::from_mins(4);

/// A metric of 500 answers per second of one version, over five seconds.
pub const ERRORS: &str = r#"sum(rate(istio_requests_total{destination_service_name="$(service)",destination_service_namespace="$(namespace)",destination_version="$(version)",response_code="500"}[5s]))"#;

/// Steps of a few seconds, judged by [`ERRORS`].
pub fn steps(weights: &[u32]) -> Value {
    let steps: Vec<_> = weights.iter().map(|weight| (*weight, "3s")).collect();
    held(&steps)
}

/// Steps with these holds, judged by [`ERRORS`].
pub fn held(steps: &[(u32, &str)]) -> Value {
    let step = |(weight, hold): &(u32, &str)| json!({"weight": weight, "hold": hold});
    json!({
        "metrics": [{"name": "errors", "query": ERRORS, "deviation": 0.5}],
        "steps": steps.iter().map(step).collect::<Vec<_>>(),
        "checkInterval": "1s",
    })
}

/// The canary's weight on the first http route of a `VirtualService`'s spec that holds both subsets; 0 without one.
pub fn canary_weight(spec: &Value) -> i64 {
    let of = |route: &Value, subset: &str| {
        let mut destinations = route["route"].as_array().into_iter().flatten();
        destinations
            .find(|d| d["destination"]["subset"] == subset)
            .map(|d| d["weight"].as_i64().unwrap_or(0))
    };
    let mut routes = spec["http"].as_array().into_iter().flatten();
    routes
        .find_map(|route| of(route, "production").and(of(route, "canary")))
        .unwrap_or(0)
}

impl Service {
    /// Applies a `BirdWatch` with this spec, `service` filled in, and waits until the operator knows of it.
    pub async fn watch_seen(&self, mut spec: Value) {
        spec["service"] = json!(self.app.name);
        self.watch_with(spec).await;
        self.is_seen().await;
    }

    /// Waits until the operator knows of the `BirdWatch`, so that what is deployed next is new to it.
    pub async fn is_seen(&self) {
        self.until("seen", A_WHILE, |status| status.known.is_some()).await;
    }

    /// Waits until a message of the service's thread says this.
    pub async fn hears(&self, words: &str) -> String {
        eventually(&format!("Slack says {words:?}"), A_WHILE, async || {
            self.told().into_iter().find(|text| text.contains(words))
        })
        .await
    }
}
