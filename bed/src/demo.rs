//! `bed demo`: one service under load on the whole bed, a good release that is promoted and a bad one that is rolled
//! back, shown as it happens.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::clock::Stopwatch;
use crate::parts::apps::{self, App, AppError};
use crate::parts::http;
use crate::parts::traffic::{Traffic, TrafficError};
use crate::{Bed, Options, bed, infra};

const NAMESPACE: &str = "demo";
const SERVICE: &str = "shop";
const REQUESTS_PER_SECOND: f64 = 60.0;
/// How long either release may take.
const PATIENCE: Duration = Duration::from_mins(3);
/// How far back the measured share of traffic looks.
const SHARE_OVER: Duration = Duration::from_secs(3);

const QUERY: &str = "sum(rate(istio_requests_total{destination_service_name=\"$(service)\",\
                     destination_service_namespace=\"$(namespace)\",destination_version=\"$(version)\",\
                     response_code=~\"5..\"}[5s]))";

/// Why the demo did not show what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bed itself.
    #[error(transparent)]
    Bed(#[from] bed::Error),
    /// A part of it.
    #[error(transparent)]
    Infra(#[from] infra::Error),
    /// The service could not be set up.
    #[error(transparent)]
    App(#[from] AppError),
    /// The load could not be started.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The API server's answer.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The operator or Prometheus did not see the service.
    #[error("after {PATIENCE:?} the operator has no status on the service, or Prometheus no request of it")]
    NotSeen,
    /// A release ended otherwise.
    #[error("{version} should have been {expected} within {PATIENCE:?}, and is {phase}: {message}")]
    Otherwise {
        /// The version released.
        version: String,
        /// The end it should have had.
        expected: &'static str,
        /// The phase it is in.
        phase: String,
        /// What status says.
        message: String,
    },
}

/// Shows it all; fails when either release does not end as it should.
///
/// # Errors
/// What went wrong, the bed taken down all the same.
pub async fn demo() -> Result<(), Error> {
    let took = Stopwatch::start();
    let bed = Bed::start(Options {
        operator: true,
        ..Options::default()
    })
    .await?;
    println!(
        "\nThe bed is up after {} s: API server, istiod, Envoy, Prometheus, and the operator from its chart.",
        took.elapsed().as_secs()
    );
    let shown = show(&bed).await;
    bed.stop().await;
    let ends = shown?;
    println!("\n{}", ends.join("\n"));
    println!(
        "Both releases ended as they should, {} s after the start.",
        took.elapsed().as_secs()
    );
    Ok(())
}

async fn show(bed: &Bed) -> Result<Vec<String>, Error> {
    let client = bed.client()?;
    let app = App::new(SERVICE, NAMESPACE);
    let mut manifests = vec![apps::namespace(NAMESPACE), app.deployment("v1", 2, &[])];
    manifests.extend(app.mesh("v1", "none"));
    manifests.push(birdwatch());
    apps::apply(&client, &manifests).await?;
    let traffic = Traffic::start(&bed.gateway_url(), &app.host(), REQUESTS_PER_SECOND)?;
    println!("Service {SERVICE} runs v1 and gets {REQUESTS_PER_SECOND} requests a second.");

    let mut stage = Stage {
        bed,
        client,
        app,
        traffic,
        told: BTreeSet::new(),
    };
    stage.wait_until_seen().await?;
    let good = stage.release("v2", &[], "Promoted").await?;
    let bad = stage
        .release("v3", &[("ERROR_RATE", "0.2")], "RolledBack")
        .await?;
    stage.tell_slack(true).await;
    stage.traffic.stop().await;
    Ok(vec![good, bad])
}

fn birdwatch() -> Value {
    json!({
        "apiVersion": "otomato.link/v1alpha1",
        "kind": "BirdWatch",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {
            "service": SERVICE,
            "metrics": [{"name": "errors", "query": QUERY, "deviation": 0.5}],
            "steps": [{"weight": 10, "hold": "6s"}, {"weight": 40, "hold": "6s"}, {"weight": 100, "hold": "6s"}],
            "checkInterval": "1s",
        },
    })
}

/// What the demo plays on.
struct Stage<'a> {
    bed: &'a Bed,
    client: Client,
    app: App,
    traffic: Traffic,
    /// Slack messages shown already.
    told: BTreeSet<String>,
}

impl Stage<'_> {
    async fn status(&self) -> Result<Value, Error> {
        let kind = GroupVersionKind::gvk("otomato.link", "v1alpha1", "BirdWatch");
        let resource = ApiResource::from_gvk_with_plural(&kind, "birdwatches");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        Ok(api.get(SERVICE).await?.data["status"].clone())
    }

    /// The operator takes what is there for production, what comes later is a release; and Prometheus has seen traffic.
    async fn wait_until_seen(&self) -> Result<(), Error> {
        let took = Stopwatch::start();
        let seen =
            async || Ok::<_, Error>(!self.status().await?["known"].is_null() && self.is_measured().await);
        while !seen().await? {
            if took.elapsed() > PATIENCE {
                return Err(Error::NotSeen);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn is_measured(&self) -> bool {
        let url = format!(
            "{}/api/v1/query?query=istio_requests_total",
            self.bed.prometheus_url()
        );
        let Ok(http) = http::client(Duration::from_secs(5)) else {
            return false;
        };
        let Ok(answer) = http.get(url).send().await else {
            return false;
        };
        let body: Value = answer.json().await.unwrap_or_default();
        body["data"]["result"]
            .as_array()
            .is_some_and(|series| !series.is_empty())
    }

    /// Deploys a version and shows its rollout, a line a second, until it ends.
    async fn release(
        &mut self,
        version: &str,
        env: &[(&str, &str)],
        expected: &'static str,
    ) -> Result<String, Error> {
        let faults = if env.is_empty() {
            "healthy"
        } else {
            "one in five answers is an error"
        };
        println!("\n$ kubectl apply -f {SERVICE}-{version}.yaml        # {faults}");
        println!(
            "{:>4}  {:<12}{:>9}{:>9}{:>10}{:>9}{:>10}",
            "time", "phase", "intended", "Envoy", "measured", "reading", "baseline"
        );
        apps::apply(&self.client, &[self.app.deployment(version, 1, env)]).await?;
        let took = Stopwatch::start();
        loop {
            let status = self.status().await?;
            let of_this = status["canary"] == version;
            if of_this {
                self.line(version, took.elapsed(), &status).await?;
            }
            self.tell_slack(false).await;
            let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
            if of_this && text("phase") == expected {
                return Ok(format!(
                    "{version}: {expected} after {} s; {}",
                    took.elapsed().as_secs(),
                    text("message")
                ));
            }
            let ended = of_this && ["Promoted", "RolledBack", "Frozen"].contains(&text("phase").as_str());
            if ended || took.elapsed() > PATIENCE {
                let (phase, message) = (text("phase"), text("message"));
                return Err(Error::Otherwise {
                    version: version.to_owned(),
                    expected,
                    phase,
                    message,
                });
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn line(&self, version: &str, time: Duration, status: &Value) -> Result<(), Error> {
        let routes = self.bed.envoy_weights(&self.app.host()).await?;
        let envoy = routes.first().map_or(0, |route| route.weight("canary"));
        let share = self.traffic.share(version, SHARE_OVER).unwrap_or(0.0) * 100.0;
        let text = |key: &str| status[key].as_str().unwrap_or("-").to_owned();
        println!(
            "{:>3}s  {:<12}{:>7} %{:>7} %{:>8.0} %{:>9}{:>10}",
            time.as_secs(),
            text("phase"),
            status["rollout"]["intended"].as_i64().unwrap_or(0),
            envoy,
            share,
            text("current"),
            text("baseline"),
        );
        Ok(())
    }

    /// Shows what Slack was told since the last time; at the end waits for the rest.
    async fn tell_slack(&mut self, to_the_end: bool) {
        let took = Stopwatch::start();
        loop {
            for message in self.bed.slack.messages() {
                if self.told.insert(format!("{} {}", message.ts, message.text)) {
                    let sort = if message.thread_ts.is_some() {
                        "reply"
                    } else {
                        "parent"
                    };
                    println!(
                        "      Slack #{} ({sort}): {}",
                        message.channel_name,
                        message.text.replace('\n', "  |  ")
                    );
                }
            }
            let ended = || {
                self.bed
                    .slack
                    .messages()
                    .iter()
                    .any(|m| m.text.contains("rolled back"))
            };
            if !to_the_end || ended() || took.elapsed() > Duration::from_secs(20) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
