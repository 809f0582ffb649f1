//! One service, and the people who release one version after the other on it, good and bad ones as the seed says. They
//! know how a rollout stands by the store, and try again what the API server does not take.

use std::sync::Arc;
use std::time::Duration;

use birdwatch_bed::Bed;
use birdwatch_bed::clock;
use birdwatch_bed::parts::apps::{self, App};
use birdwatch_bed::parts::workload::Change;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::history::{Nature, Plan, What};
use crate::ledger::{Ledger, Now};
use crate::support::dice::Dice;
use crate::window::{DEVIATION, QUERY};

/// Where all services live.
pub(crate) const NAMESPACE: &str = "soak";
/// Share of a bad version's requests that fail.
const ERRORS: f64 = 0.5;
/// How long the pods of a version may take.
const PATIENCE: &str = "60s";

/// A service and its releases.
pub(crate) struct Shop {
    pub(crate) app: App,
    client: Client,
    ledger: Arc<Ledger>,
    plan: Plan,
    now: watch::Receiver<Now>,
    last: u32,
}

/// What is released next.
#[derive(Clone, Copy, Debug)]
enum Story {
    Good,
    BadFromTheStart,
    /// At this step, which is not the last.
    FallsSickAt(i64),
    NeverReady,
    /// Another one is deployed once its rollout has begun.
    Superseded,
}

impl Shop {
    /// Makes the service with production v1, and its `BirdWatch`.
    pub(crate) async fn open(bed: &Bed, ledger: &Arc<Ledger>, name: &str, plan: &Plan) -> Self {
        let shop = Self {
            app: App::new(name, NAMESPACE),
            client: bed.client().expect("a client"),
            ledger: Arc::clone(ledger),
            plan: plan.clone(),
            now: ledger.standing(name),
            last: 1,
        };
        let mut manifests = shop.app.mesh("v1", "none");
        manifests.push(shop.app.deployment("v1", 1, &[]));
        manifests.push(shop.bird_watch());
        apps::apply(&shop.client, &manifests)
            .await
            .expect("the service is made");
        shop
    }

    fn bird_watch(&self) -> Value {
        let hold = self.plan.hold.as_secs();
        let steps: Vec<_> = self
            .plan
            .steps
            .iter()
            .map(|w| json!({"weight": w, "hold": hold}))
            .collect();
        json!({
            "apiVersion": "otomato.link/v1alpha1",
            "kind": "BirdWatch",
            "metadata": {"name": self.app.name, "namespace": NAMESPACE},
            "spec": {
                "service": self.app.name,
                "metrics": [{"name": "errors", "query": QUERY, "deviation": DEVIATION}],
                "steps": steps,
                "checkInterval": "1s",
                "progressDeadline": PATIENCE,
                // Slack takes one message a second in a channel.
                "notify": {"channel": self.app.name},
            },
        })
    }

    /// Waits until the operator knows of the service, so that what is deployed next is new to it.
    pub(crate) async fn is_seen(&mut self) {
        self.until(Now::is_at_rest).await;
    }

    /// Releases one version after the other until `end`, and waits for the last one.
    pub(crate) async fn sell(mut self, mut dice: Dice, end: Instant) {
        loop {
            self.until(Now::is_at_rest).await;
            self.tidy().await;
            let pause = Duration::from_millis(500 + dice.below(6000));
            if Instant::now() + pause >= end {
                return;
            }
            sleep(pause).await;
            let story = self.draw(&mut dice);
            self.tell(story).await;
        }
    }

    fn draw(&self, dice: &mut Dice) -> Story {
        let early = self.plan.steps.split_last().map_or(&[][..], |(_, early)| early);
        match dice.below(20) {
            0..=8 => Story::Good,
            9..=12 => Story::BadFromTheStart,
            13..=16 => {
                let count = u64::try_from(early.len()).unwrap_or(1);
                let at = usize::try_from(dice.below(count)).unwrap_or(0);
                Story::FallsSickAt(early[at])
            }
            17 => Story::NeverReady,
            _ => Story::Superseded,
        }
    }

    async fn tell(&mut self, story: Story) {
        let errors = ERRORS.to_string();
        let (nature, env) = match story {
            Story::Good | Story::Superseded => (Nature::Good, vec![]),
            Story::BadFromTheStart => (Nature::Bad, vec![("ERROR_RATE", errors.as_str())]),
            Story::FallsSickAt(_) => (Nature::Bad, vec![]),
            Story::NeverReady => (Nature::Never, vec![("START", "never")]),
        };
        let mut version = self.deploy(nature, &env).await;
        println!("{} {} {version}: {story:?}", clock::now(), self.app.name);
        match story {
            Story::BadFromTheStart => self.is_sick(&version),
            Story::FallsSickAt(weight) => {
                self.until(|now| now.weight >= weight || now.has_ended(&version))
                    .await;
                let change = Change {
                    error_rate: Some(ERRORS),
                    ..Change::default()
                };
                persist("the canary falls sick", || {
                    self.app.behave(&self.client, &version, change)
                })
                .await;
                self.is_sick(&version);
            }
            Story::Superseded => {
                let begun =
                    |now: &Now| now.status.canary.as_deref() == Some(&version) || now.has_ended(&version);
                self.until(begun).await;
                self.until(|now| now.weight > 0 || now.has_ended(&version)).await;
                version = self.deploy(Nature::Good, &[]).await;
            }
            Story::Good | Story::NeverReady => {}
        }
        self.until(|now| now.has_ended(&version)).await;
        let end = format!("{:?}", self.now.borrow().status.phase);
        println!("{} {} {version}: {end}", clock::now(), self.app.name);
    }

    async fn deploy(&mut self, nature: Nature, env: &[(&str, &str)]) -> String {
        self.last += 1;
        let version = format!("v{}", self.last);
        let what = What::Deployed {
            version: version.clone(),
            nature,
        };
        self.ledger.note(clock::now(), &self.app.name, what);
        let manifests = [self.app.deployment(&version, 1, env)];
        persist("a version is deployed", || apps::apply(&self.client, &manifests)).await;
        version
    }

    fn is_sick(&self, version: &str) {
        let what = What::Sick {
            version: version.to_owned(),
        };
        self.ledger.note(clock::now(), &self.app.name, what);
    }

    /// Removes the Deployments of what is not production.
    async fn tidy(&self) {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let ours = ListParams::default();
        let keep = self.app.deployment_name(&self.now.borrow().production);
        let begin = format!("{}-v", self.app.name);
        persist("what is over is removed", async || {
            for deployment in api.list(&ours).await? {
                let name = deployment.name_any();
                if name.starts_with(&begin) && name != keep {
                    api.delete(&name, &DeleteParams::default()).await?;
                }
            }
            Ok::<_, kube::Error>(())
        })
        .await;
    }

    async fn until(&mut self, holds: impl Fn(&Now) -> bool) {
        // The ledger outlives every shop.
        drop(self.now.wait_for(|now| holds(now)).await);
    }
}

/// Does something again and again until the API server takes it.
async fn persist<T, E: std::fmt::Display>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    const CALL: Duration = Duration::from_secs(10);
    let mut told = false;
    loop {
        match timeout(CALL, attempt()).await {
            Ok(Ok(done)) => return done,
            Ok(Err(error)) if !told => {
                told = true;
                println!("{what}: not yet: {error}");
            }
            _ => {}
        }
        sleep(Duration::from_millis(500)).await;
    }
}
