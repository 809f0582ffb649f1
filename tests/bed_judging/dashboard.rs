//! The metrics of a rollout, as a real Prometheus has them, and each query of the dashboard for Grafana.

use std::time::Duration;

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::operator;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{A_WHILE, SOON, Service, eventually, on_bed};

/// How long the panels look back here.
const RANGE: Duration = Duration::from_mins(2);

/// Requests per second of one version.
const ANSWERS: &str = r#"sum(rate(istio_requests_total{destination_service_name="$(service)",destination_service_namespace="$(namespace)",destination_version="$(version)"}[5s]))"#;

/// What Prometheus answers to a call of its API.
async fn ask(bed: &Bed, path: &str, arguments: &[(&str, &str)]) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/v1/{path}", bed.prometheus_url());
    let answer = client.get(url).query(arguments).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "success", "{path} {arguments:?}: {answer}");
    answer["data"].clone()
}

/// What a panel shows: the series now, and those of its time.
async fn shown(bed: &Bed, query: &str) -> (usize, usize) {
    let now = Timestamp::from_second(epoch()).unwrap();
    let (start, end) = (now - RANGE, now);
    let range = [
        ("query", query),
        ("start", &start.to_string()),
        ("end", &end.to_string()),
        ("step", "1s"),
    ];
    let series = |data: Value| data["result"].as_array().map_or(0, Vec::len);
    (
        series(ask(bed, "query", &[("query", query)]).await),
        series(ask(bed, "query_range", &range).await),
    )
}

fn epoch() -> i64 {
    let now = birdwatch::runtime::clock::Clock::real().now();
    now.as_second()
}

fn dashboard() -> Value {
    let file = operator::chart().join("files/dashboard.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The queries of all panels, variables not yet filled in.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// The dashboard's variables with their queries, `label_values(SELECTOR, LABEL)`.
fn variables(dashboard: &Value) -> Vec<(String, String, String)> {
    let list = dashboard["templating"]["list"].as_array().unwrap().iter();
    let asked = list.filter(|variable| variable["type"] == "query");
    asked
        .map(|variable| {
            let query = variable["query"].as_str().unwrap();
            let inner = query
                .strip_prefix("label_values(")
                .unwrap()
                .strip_suffix(')')
                .unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let name = variable["name"].as_str().unwrap();
            (name.to_owned(), selector.to_owned(), label.to_owned())
        })
        .collect()
}

/// A rollout at 60 % that is judged by counting and by a query with limits on both sides.
async fn under_way(bed: &'static Bed) -> (Service, BirdWatchStatus) {
    let service = Service::silent(bed, "dashboard").await.with_traffic(30.0);
    let metrics = json!([
        {"preset": "error-rate"},
        {"name": "answers", "query": ANSWERS, "direction": "both", "deviation": 1000},
    ]);
    let steps = json!([{"weight": 30, "hold": "5s"}, {"weight": 60, "hold": "1h"}]);
    service
        .watch_seen(json!({"metrics": metrics, "steps": steps, "checkInterval": "1s"}))
        .await;
    service.deploy("v2", &[]).await;
    let judged = |status: &BirdWatchStatus| {
        let metrics = status.rollout.iter().flat_map(|rollout| &rollout.metrics);
        let of_this_step = metrics.map(|metric| metric.history.iter().filter(|p| p.weight == 60).count());
        status.weight == Some(60) && of_this_step.min().is_some_and(|readings| readings >= 2)
    };
    let status = service.until("judged at 60 %", A_WHILE, judged).await;
    (service, status)
}

#[test]
fn every_query_of_the_dashboard_has_an_answer_while_a_rollout_is_under_way() {
    on_bed(async |bed| {
        let (service, status) = under_way(bed).await;
        let (namespace, name) = (&service.app.namespace, &service.app.name);
        let fill = |query: &str, metric: &str| {
            query
                .replace("$namespace", namespace)
                .replace("$birdwatch", name)
                .replace("$metric", metric)
                .replace("$__rate_interval", "1m")
        };
        let dashboard = dashboard();
        for (variable, selector, label) in variables(&dashboard) {
            let selector = fill(&selector, "");
            let values = ask(bed, &format!("label/{label}/values"), &[("match[]", &selector)]).await;
            let expected = match variable.as_str() {
                "namespace" => vec![namespace.as_str()],
                "birdwatch" => vec![name.as_str()],
                "metric" => vec!["answers", "error-rate"],
                other => panic!("{other}: what should it be?"),
            };
            for value in expected {
                assert!(
                    values.as_array().unwrap().contains(&json!(value)),
                    "{variable}: {values}"
                );
            }
        }
        for query in queries(&dashboard) {
            for metric in ["answers", "error-rate"] {
                let filled = fill(&query, metric);
                assert!(!filled.contains('$'), "{filled}");
                let (now, before) = shown(bed, &filled).await;
                // What is counted has no limit of its own: its evidence has.
                let may_be_empty = metric == "error-rate" && query.contains("birdwatch_rollout_limit{");
                assert!(
                    may_be_empty || (now > 0 && before > 0),
                    "{filled}: {now} now, {before} before"
                );
            }
        }
        // One replica shows it, and what it shows is what status says.
        let weight = format!("birdwatch_rollout_weight_percent{{birdwatch=\"{name}\"}}");
        let data = ask(bed, "query", &[("query", &weight)]).await;
        assert_eq!(data["result"].as_array().unwrap().len(), 1, "{data}");
        assert_eq!(data["result"][0]["value"][1], "60");
        let rollout = status.rollout.unwrap();
        assert_eq!(
            data["result"][0]["metric"]["canary"],
            rollout.canary.version.as_str()
        );
        names_its_rollout(bed, "step_raised", &rollout.id).await;

        service.verb("rollback/1").await;
        service.phase(Phase::RolledBack, SOON).await;
        eventually("the series are gone", SOON, async || {
            let (now, before) = shown(bed, &weight).await;
            (now == 0 && before > 0).then_some(())
        })
        .await;
        names_its_rollout(bed, "rolled_back", &rollout.id).await;
    });
}

/// Waits until Prometheus has the count of a decision with an exemplar that names the rollout.
async fn names_its_rollout(bed: &Bed, decision: &str, rollout: &str) {
    let query = format!("birdwatch_decisions_total{{decision=\"{decision}\"}}");
    let (start, end) = ((epoch() - 600).to_string(), (epoch() + 600).to_string());
    let range = [("query", query.as_str()), ("start", &start), ("end", &end)];
    eventually(&format!("{decision} of {rollout} is counted"), SOON, async || {
        let series = ask(bed, "query_exemplars", &range).await;
        let mut exemplars = series
            .as_array()?
            .iter()
            .flat_map(|one| one["exemplars"].as_array().into_iter().flatten());
        exemplars
            .any(|exemplar| exemplar["labels"]["rollout"] == rollout)
            .then_some(())
    })
    .await;
}
