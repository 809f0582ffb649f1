//! What an earlier release left on the API server, taken up by the whole operator of today: statuses as fixtures, each with
//! the objects that it speaks of. The same statuses are gone through by the core alone in `scenarios/upgrade.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use birdwatch::api::FINALIZER;
use birdwatch::api::status::Phase;
use birdwatch::clients::prometheus::{Failure, Outcome, Prometheus, Question};
use birdwatch::core::observation::{SampleSeries, SampleSet};
use birdwatch::runtime::clock::Clock;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::controller_kit::fake_api::FakeApi;
use crate::controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, FakePrometheus, Kit, NS, RULES, SERVICES, deployment, rule, virtual_service,
};
use crate::fixtures;

/// Every fixture of every release, with its name.
fn statuses() -> Vec<(String, Value)> {
    let files = |folder: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let releases = files(&fixtures()).into_iter().filter(|path| path.is_dir());
    let all = releases.flat_map(|release| files(&release));
    let of_status = all.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.display().to_string(), serde_json::from_str(&text).unwrap())
    };
    of_status.map(read).collect()
}

/// All is well: what is asked for is 0, and of a hundred requests a second none fails.
struct Healthy(FakePrometheus);

impl Prometheus for Healthy {
    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        at: Option<Timestamp>,
        deadline: Duration,
    ) -> BoxFuture<'a, Vec<Outcome>> {
        self.0.ask_all(questions, at, deadline)
    }

    fn samples_all<'a>(
        &'a self,
        questions: &'a [(Question, Timestamp)],
        _deadline: Duration,
    ) -> BoxFuture<'a, Vec<Result<SampleSet, Failure>>> {
        let found = questions.iter().map(|(_, at)| Ok(vec![requests(*at)].into()));
        Box::pin(std::future::ready(found.collect()))
    }

    fn label_names<'a>(
        &'a self,
        server: (Option<&'a str>, &'a str),
        metric: &'a str,
        now: Timestamp,
        lookback: Duration,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<BTreeSet<String>, Failure>> {
        self.0.label_names(server, metric, now, lookback, deadline)
    }
}

/// A pod's good requests of the last minute and a little, scraped each second.
fn requests(at: Timestamp) -> SampleSeries {
    let labels = [
        ("reporter", "destination"),
        ("pod", "a"),
        ("response_code", "200"),
    ];
    let sample = |seconds: i32| {
        let ago = SignedDuration::from_secs(i64::from(seconds));
        let scraped = at.checked_sub(ago).unwrap();
        let since = i32::try_from(scraped.as_second() % 1_000_000).unwrap();
        (scraped, f64::from(since) * 100.0)
    };
    SampleSeries {
        labels: labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        samples: (0..70).rev().map(sample).collect(),
    }
}

/// The Deployment of a version, as the fixtures name it.
fn version(version: &str, created: &Value) -> Value {
    let mut object = deployment("aleph", version, 2);
    object["metadata"]["uid"] = json!(format!("uid-{version}"));
    object["metadata"]["creationTimestamp"] = created.clone();
    object
}

/// A server with what a fixture speaks of, ten seconds after the earlier operator was last there.
fn left(fixture: &Value) -> Kit {
    let now: Timestamp = serde_json::from_value(fixture["now"].clone()).unwrap();
    let clock = Clock::paused(now.checked_add(SignedDuration::from_secs(10)).unwrap());
    let api = FakeApi::new(clock.clone());
    for found in fixture["deployments"].as_array().unwrap() {
        api.put(
            DEPLOYMENTS,
            version(found["version"].as_str().unwrap(), &found["created"]),
        );
    }
    let mut rule = rule("aleph");
    for (place, subset) in ["production", "canary"].iter().enumerate() {
        let labels = match &fixture["labels"][subset] {
            Value::Null => json!({}),
            label => json!({"version": label}),
        };
        rule["spec"]["subsets"][place]["labels"] = labels;
    }
    api.put(RULES, rule);
    let mut service = virtual_service("aleph");
    // As `kept` has it: a name, not a place.
    service["spec"]["http"][0]["name"] = json!("0");
    let canary = fixture["weight"].as_i64().unwrap();
    for (place, weight) in [100 - canary, canary].into_iter().enumerate() {
        service["spec"]["http"][0]["route"][place]["weight"] = json!(weight);
    }
    api.put(SERVICES, service);
    let spec: Value = serde_saphyr::from_str(fixture["spec"].as_str().unwrap()).unwrap();
    let mut object = json!({
        "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
        "metadata": {"name": "aleph", "namespace": NS}, "spec": spec, "status": fixture["status"],
    });
    if fixture["finalizer"] == true {
        object["metadata"]["finalizers"] = json!([FINALIZER]);
    }
    api.put(BIRD_WATCHES, object);
    Kit {
        api,
        clock,
        ..Kit::new()
    }
}

fn deploy(kit: &Kit, name: &str) {
    kit.api.put(DEPLOYMENTS, version(name, &json!(kit.clock.now())));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_release_left_on_the_server_is_finished_and_the_next_version_is_released() {
    let all = statuses();
    assert_eq!(
        all.len() % (2 * Phase::ALL.len()),
        0,
        "two of each phase, for each release"
    );
    for (what, fixture) in &all {
        let kit = left(fixture);
        let before = kit.status("aleph");
        let _operator = kit.operator_asking("today", Arc::new(Healthy(kit.prometheus.clone())));
        match before.phase {
            Phase::Idle => deploy(&kit, "v2"),
            Phase::Frozen => {
                kit.api
                    .edit(BIRD_WATCHES, (NS, "aleph"), "person", |object: &mut Value| {
                        object["metadata"]["annotations"] = json!({"otomato.link/verb": "resume/upgrade"});
                    });
            }
            _ => {}
        }
        let end = match before.phase {
            Phase::RollingBack | Phase::RolledBack => Phase::RolledBack,
            _ => Phase::Promoted,
        };
        kit.until(&format!("{what} ends"), |kit| kit.phase() == end).await;
        let ended = kit.status("aleph").rollout.unwrap();
        assert!(
            before.rollout.is_none_or(|rollout| rollout.id == ended.id),
            "{what}"
        );
        assert_eq!(
            (ended.canary.version.as_str(), kit.weights()),
            ("v2", (100, 0)),
            "{what}"
        );
        let production = if end == Phase::Promoted { "v2" } else { "v1" };
        assert_eq!(kit.labels().0, production, "{what}");
        if before.phase == Phase::Progressing {
            assert_eq!(
                kit.raised_to(),
                [50, 100, 0],
                "{what}: it goes on from where it was"
            );
        }
        deploy(&kit, "v3");
        kit.until(&format!("{what}: v3 is released"), |kit| {
            kit.phase() == Phase::Promoted && kit.labels().0 == "v3"
        })
        .await;
    }
}
