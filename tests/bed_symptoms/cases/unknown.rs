//! Nothing is known, and why.

use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::json;

use super::{Case, case};
use crate::prometheus::{Answer, Says, always, numbers, success, vector};
use crate::stage::{SERVICE, SPEC, Stage, TWO};

pub(crate) fn unknown() -> Vec<Case> {
    [servers(), answers(), results(), samples(), places()]
        .into_iter()
        .flatten()
        .collect()
}

/// A canary that waits for its baseline, asked of a server of that name.
fn asked_of(text: &'static str, server: &'static str, query: &'static str) -> Case {
    case(text, move |stage| {
        async move {
            let spec = SPEC.replace("errors{namespace=\"$(namespace)\",version=\"$(version)\"}", query);
            stage.watch(&format!("{spec}prometheus: {server}\n")).await;
            stage.deploy("v2", TWO).await;
        }
        .boxed()
    })
}

const ERRORS: &str = "errors{namespace=\"$(namespace)\",version=\"$(version)\"}";

/// A canary that waits for its baseline, because of what Prometheus says.
fn answered(text: &'static str, says: Says) -> Case {
    case(text, move |stage| {
        let says = Arc::clone(&says);
        async move {
            stage.measures(says);
            stage.watch(SPEC).await;
            stage.deploy("v2", TWO).await;
        }
        .boxed()
    })
}

fn servers() -> Vec<Case> {
    vec![
        asked_of("Prometheus cannot be reached: …", "dead", ERRORS),
        asked_of("the connection to Prometheus broke: …", "broken", ERRORS),
        asked_of(
            "the query is not put to this Prometheus server: …",
            "tenants",
            "errors{namespace=\"another\",version=\"$(version)\"}",
        ),
        asked_of("there is no Prometheus server named \"x\"", "x", ERRORS),
        case("20 queries were before this one for all of 5s", |stage| {
            async move {
                // The server takes one at a time, and somebody has it for five seconds again and again.
                let other = Stage::set(stage.ground).await;
                other.measures(always(Answer::Silence));
                other
                    .watch(&format!("{SPEC}prometheus: one\ncheckInterval: 5s\n"))
                    .await;
                other.deploy("v2", TWO).await;
                stage
                    .watch(&format!("{SPEC}prometheus: one\ncheckInterval: 1s\n"))
                    .await;
                stage.deploy("v2", TWO).await;
            }
            .boxed()
        }),
    ]
}

fn answers() -> Vec<Case> {
    let body = |status, text: &str| always(Answer::Body(status, text.to_owned()));
    let refusal = r#"{"status":"error","errorType":"execution","error":"many-to-many matching not allowed"}"#;
    let warned = json!({
        "status": "success", "warnings": ["a store is away"],
        "data": {"resultType": "vector", "result": []},
    });
    vec![
        answered("Prometheus did not answer within 5s", always(Answer::Silence)),
        answered("Prometheus answered 401", body(401, "")),
        answered("Prometheus answered 403", body(403, "")),
        answered("Prometheus answered 422", body(422, refusal)),
        answered("Prometheus answered 400", body(400, refusal)),
        answered("Prometheus warned: …", body(200, &warned.to_string())),
        answered(
            "Prometheus's answer is larger than 1 MiB, the most that is read",
            always(vector(&["0".repeat(9 << 20).leak()])),
        ),
    ]
}

fn results() -> Vec<Case> {
    let histogram = json!({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {"count": "1", "sum": "1"}]}]});
    let no_request: Says = Arc::new(|_| vector(&[]));
    vec![
        answered(
            "the query gives 250 series, more than 100: aggregate them",
            always(vector(&["1"; 250])),
        ),
        answered(
            "the query gives a native histogram, not a number: use histogram_quantile or the like",
            always(success(&histogram)),
        ),
        answered("the query answered NaN", always(vector(&["NaN"]))),
        case(
            "the query has no result, and the version served no request",
            move |stage| {
                let no_request = Arc::clone(&no_request);
                async move {
                    stage.at_25(SPEC).await;
                    stage.measures(no_request);
                }
                .boxed()
            },
        ),
        case(
            "the query has no result, though the version served requests",
            |stage| {
                async move {
                    let quantile =
                        SPEC.replace("query: errors{", "query: histogram_quantile(0.9, errors_bucket{");
                    stage.at_25(&quantile.replace("\"}", "\"})")).await;
                    stage.measures(Arc::new(|query| {
                        let is_asked = query.contains("histogram_quantile");
                        vector(if is_asked { &[] } else { &["1"] })
                    }));
                }
                .boxed()
            },
        ),
        case(
            "there is no baseline: the metric came in after traffic had moved; …",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 10m")).await;
                    stage.measures(numbers("1", "1"));
                    let others = json!({"name": "others", "query": ERRORS, "deviation": 0.1});
                    let errors = json!({"name": "errors", "query": ERRORS, "max": 2});
                    let change = json!({"spec": {"metrics": [errors, others]}});
                    stage.change("BirdWatch", SERVICE, "kubectl-edit", change).await;
                }
                .boxed()
            },
        ),
    ]
}

/// Counters, of which there are samples to read.
const COUNTED: &str = "
steps: [{weight: 25, hold: 3s}, {weight: 100, hold: 3s}]
metrics:
  - name: jobs
    total: jobs_total{namespace=\"$(namespace)\",version=\"$(version)\"}
    good: jobs_good{namespace=\"$(namespace)\",version=\"$(version)\"}
";

fn samples() -> Vec<Case> {
    let many_labels: Vec<String> = (0..500).map(|n| format!(r#""l{n}":"v""#)).collect();
    vec![
        counted(
            "the metrics of one check have more than 400000 samples, the most that are read",
            matrix(450, "", 1000),
        ),
        counted(
            "the series of one check's metrics take more than 40 MiB with their labels, the most that is kept",
            matrix(1000, &many_labels.join(","), 1),
        ),
        counted(
            "Prometheus's answer is larger than 24 MiB, the most that is read",
            matrix(1500, "", 1000),
        ),
    ]
}

/// A canary that waits for its baseline, of counters whose samples are these.
fn counted(text: &'static str, all: String) -> Case {
    let all: Arc<str> = all.into();
    case(text, move |stage| {
        let all = Arc::clone(&all);
        async move {
            stage.measures(Arc::new(move |query| {
                if query.contains('[') {
                    Answer::Body(200, all.to_string())
                } else {
                    vector(&["1"])
                }
            }));
            stage.watch(COUNTED).await;
            stage.deploy("v2", TWO).await;
        }
        .boxed()
    })
}

fn matrix(series: usize, labels: &str, samples: usize) -> String {
    let samples = vec![r#"[1700000000.123,"1"]"#; samples].join(",");
    let one = format!(r#"{{"metric":{{{labels}}},"values":[{samples}]}}"#);
    let all = vec![one; series].join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{all}]}}}}"#)
}

/// There are two places for large answers: three servers that stall want them.
fn places() -> Vec<Case> {
    vec![case(
        "Prometheus sent a large answer too slowly while those of other servers waited to be read",
        |stage| {
            async move {
                for server in ["stalls-too", "stalls-as-well"] {
                    stalled(&Stage::set(stage.ground).await, server).await;
                }
                stalled(stage, "stalls").await;
            }
            .boxed()
        },
    )]
}

async fn stalled(stage: &Stage, server: &str) {
    stage
        .watch(&format!("{COUNTED}prometheus: {server}\ncheckInterval: 10s\n"))
        .await;
    stage.deploy("v2", TWO).await;
}
