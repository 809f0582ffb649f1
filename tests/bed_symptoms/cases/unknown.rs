//! Nothing is known, and why.

use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::json;

use super::{Case, case};
use crate::prometheus::{Answer, Says, always, numbers, success, vector};
use crate::stage::{SERVICE, SPEC, Stage, TWO};

pub(crate) fn unknown() -> Vec<Case> {
    [servers(), answers(), results()].into_iter().flatten().collect()
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
        answered("Prometheus answered 422", body(422, refusal)),
        answered("Prometheus warned: …", body(200, &warned.to_string())),
        answered(
            "Prometheus's answer is larger than 24 MiB, the most that is read",
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
