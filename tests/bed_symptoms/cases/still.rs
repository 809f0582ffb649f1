//! It stands still.

use futures::FutureExt as _;
use serde_json::{Value, json};

use super::{Case, Seen, case, released};
use crate::prometheus::{Answer, always, numbers};
use crate::stage::{SERVICE, SPEC, Stage, TWO};

pub(crate) fn still() -> Vec<Case> {
    [held(), asked(), unfit(), stuck(), rerouted()]
        .into_iter()
        .flatten()
        .collect()
}

fn held() -> Vec<Case> {
    let looks_back = SPEC.replace("query: errors{", "query: sum(increase(errors{");
    let looks_back = looks_back.replace("\"$(version)\"}", "\"$(version)\"}[40s]))");
    let forgiving = SPEC.replace("max: 0.05", "max: 0.05\n    failures: {count: 60, of: 60}");
    vec![
        released(
            "holding 10 % for 45s (45s instead of 5s: until then the queries still see traffic from before the change of weight)",
            looks_back,
        ),
        blind("holding 10 % for 2m; nothing is known, the hold stands still"),
        case(
            "writing status: refused: …; nothing is raised, and it is tried again",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 1m")).await;
                    stage.refuse_status().await;
                    stage.measures(always(Answer::Body(500, String::new())));
                }
                .boxed()
            },
        )
        .seen(Seen::Describe),
        blind("the weight stays at 10 % and the hold stands still, because nothing is known: …")
            .seen(Seen::Describe)
            .told(),
        case(
            "holding 10 % for 2m; a metric is beyond its limit",
            move |stage| {
                let spec = forgiving.clone();
                async move {
                    stage.at_25(&spec.replace("hold: 3s", "hold: 1m")).await;
                    stage.measures(numbers("0", "1"));
                }
                .boxed()
            },
        ),
        case(
            "weight 50 % needs 5 available pods of v2 and there are 2: scale Deployment shop-v2 up, or lower minCapacity",
            |stage| {
                async move {
                    stage.deploy("v1", (10, 10, 10)).await;
                    stage.at_25(&SPEC.replace("weight: 100", "weight: 50")).await;
                }
                .boxed()
            },
        ),
    ]
}

fn blind(text: &'static str) -> Case {
    case(text, |stage| {
        async move {
            stage.at_25(SPEC).await;
            stage.measures(always(Answer::Body(500, String::new())));
        }
        .boxed()
    })
}

fn asked() -> Vec<Case> {
    vec![
        released(
            "at maxWeight, 50 %: to go to 100 % annotate otomato.link/verb=promote/<token>",
            format!("{SPEC}maxWeight: 50\n"),
        ),
        case(
            "the spec cannot be used, the running plan stays in force: …",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 10m")).await;
                    // The language of a query is not the schema's to judge.
                    let metrics = json!([{"name": "errors", "query": "sum((", "max": 1}]);
                    let change = json!({"spec": {"metrics": metrics}});
                    stage.change("BirdWatch", SERVICE, "kubectl-edit", change).await;
                }
                .boxed()
            },
        )
        .seen(Seen::Describe)
        .told(),
        case("paused at weight 25 %", |stage| {
            async move {
                stage.at_25(SPEC).await;
                let change = json!({"spec": {"paused": true}});
                stage.change("BirdWatch", SERVICE, "kubectl-edit", change).await;
            }
            .boxed()
        }),
    ]
}

/// Objects that cannot do what a rollout asks of them.
fn unfit() -> Vec<Case> {
    vec![
        case(
            "production and canary hold 1 of shop/http[#0] together, of which 25 % would be all: give production 100 and the canary 0 there",
            |stage| {
                async move {
                    let to = |subset: &str, weight: u8| {
                        json!({"destination": {"host": SERVICE, "subset": subset}, "weight": weight})
                    };
                    let change = json!({"spec": {"http": [{"route": [to("production", 1), to("canary", 0)]}]}});
                    stage.change("VirtualService", SERVICE, "kubectl-edit", change).await;
                    stage.watch(SPEC).await;
                    stage.deploy("v2", TWO).await;
                }
                .boxed()
            },
        )
        .told(),
        case(
            "subset production of DestinationRule shop asks for track=stable besides the version, which the pods of Deployment shop-v2 \
             lack: make them agree",
            |stage| {
                async move {
                    let subset = |name: &str, labels: Value| json!({"name": name, "labels": labels});
                    let subsets = json!([
                        subset("production", json!({"version": "v1", "track": "stable"})),
                        subset("canary", json!({"version": "v1"})),
                    ]);
                    let change = json!({"spec": {"subsets": subsets}});
                    stage.change("DestinationRule", SERVICE, "kubectl-edit", change).await;
                    stage.watch(SPEC).await;
                    stage.deploy("v2", TWO).await;
                }
                .boxed()
            },
        )
        .told(),
        case(
            "DestinationRule shop is older, for the same host, and has subset production too: Istio takes that one; remove it there, or \
             name that rule in spec.destinationRule",
            |stage| {
                async move {
                    stage.rule_beside("shop-new").await;
                    stage.watch(&format!("{SPEC}destinationRule: shop-new\n")).await;
                    stage.deploy("v2", TWO).await;
                }
                .boxed()
            },
        ),
    ]
}

fn stuck() -> Vec<Case> {
    vec![
        case(
            "production and canary hold 0 of a route together: give them weight there",
            |stage| {
                async move {
                    let to = |subset: &str| json!({"destination": {"host": SERVICE, "subset": subset}, "weight": 0});
                    let other = json!({"destination": {"host": "other"}, "weight": 100});
                    let change = json!({"spec": {"http": [{"route": [to("production"), to("canary"), other]}]}});
                    stage.change("VirtualService", SERVICE, "kubectl-edit", change).await;
                    stage.watch(SPEC).await;
                    stage.deploy("v2", TWO).await;
                }
                .boxed()
            },
        ),
        case(
            "v1 has no available pod: traffic stays at weight 25 % until one is back; …",
            |stage| {
                async move {
                    stage.at_25(SPEC).await;
                    stage.deploy("v1", (2, 2, 0)).await;
                    stage.measures(numbers("0", "1"));
                }
                .boxed()
            },
        )
        .told(),
    ]
}

fn rerouted() -> Vec<Case> {
    vec![
        case(
            "going back to v1 waits for VirtualService shop, which is not there and may come back with weight for v2; the verb \
             rollback does not wait",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("25, hold: 3s", "25, hold: 10s")).await;
                    stage.remove("VirtualService").await;
                    stage.measures(numbers("0", "1"));
                }
                .boxed()
            },
        )
        .told(),
        case(
            "host of DestinationRule shop is … now, and was … when this rollout began: set it back",
            |stage| {
                async move {
                    stage.at_25(SPEC).await;
                    let change = json!({"spec": {"host": "other"}});
                    stage.change("DestinationRule", SERVICE, "kubectl-edit", change).await;
                }
                .boxed()
            },
        )
        .told(),
        case(
            "shop/http[second] no longer holds production and canary once each, or has another name now: mend it, or roll back by hand and use the verb rollback",
            |stage| {
                async move {
                    two_routes_at_25(stage, &SPEC.replace("25, hold: 3s", "25, hold: 10s")).await;
                    take_from_the_second(stage).await;
                }
                .boxed()
            },
        )
        .told(),
        case(
            "shop/http[second] gives production something at 100 %: set it to 0/100",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("100, hold: 3s", "100, hold: 10s")).await;
                    stage.until("at 100 %", |status| status["weight"] == 100).await;
                    let mut first = both("first", 100);
                    first.as_object_mut().unwrap().remove("name");
                    route(stage, json!([first, both("second", 0)])).await;
                }
                .boxed()
            },
        )
        .told(),
    ]
}

/// A release that moves two routes, and has come to 25 %.
pub(super) async fn two_routes_at_25(stage: &Stage, spec: &str) {
    route(stage, json!([both("first", 0), both("second", 0)])).await;
    stage.at_25(spec).await;
}

/// The second of them goes to production alone.
pub(super) async fn take_from_the_second(stage: &Stage) {
    let mut second = both("second", 0);
    second["route"].as_array_mut().unwrap().truncate(1);
    route(stage, json!([both("first", 25), second])).await;
}

/// A route that gives the canary so much of 100.
fn both(name: &str, canary: u32) -> Value {
    let to = |subset: &str, weight: u32| json!({"destination": {"host": SERVICE, "subset": subset}, "weight": weight});
    json!({"name": name, "route": [to("production", 100 - canary), to("canary", canary)]})
}

async fn route(stage: &Stage, http: Value) {
    let change = json!({"spec": {"http": http}});
    stage
        .change("VirtualService", SERVICE, "kubectl-edit", change)
        .await;
}
