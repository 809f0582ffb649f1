//! It does not start.

use futures::FutureExt as _;
use serde_json::json;

use super::{Case, Seen, case};
use crate::prometheus::numbers;
use crate::stage::{SERVICE, SPEC, Stage, TWO};

pub(crate) fn start() -> Vec<Case> {
    [others(), routes(), subsets(), versions(), again()]
        .into_iter()
        .flatten()
        .collect()
}

fn others() -> Vec<Case> {
    vec![
        case("none, and no phase", |stage| {
            async move {
                stage.watch_as(SERVICE, SPEC).await;
                // The operator has looked at what came later.
                Stage::set(stage.ground).await.watch(SPEC).await;
            }
            .boxed()
        })
        .seen(Seen::Nothing)
        .unwatched(),
        case(
            "BirdWatch other is older and acts on the same objects: delete one of the two",
            |stage| {
                async move {
                    stage.watch_as("other", SPEC).await;
                    // Ages are told in seconds, and a tie is nobody's.
                    stage.aged("BirdWatch", "other").await;
                    stage.watch_as(SERVICE, SPEC).await;
                }
                .boxed()
            },
        ),
    ]
}

fn routes() -> Vec<Case> {
    vec![
        case("there is no VirtualService \"shop\" in namespace shop", |stage| {
            async move {
                stage.remove("VirtualService").await;
                stage.watch(SPEC).await;
            }
            .boxed()
        }),
        case(
            "VirtualService \"shop\" has no route to the subsets \"production\" and \"canary\" of shop.shop.svc.cluster.local",
            |stage| {
                async move {
                    let elsewhere = json!([{"route": [{"destination": {"host": "elsewhere"}}]}]);
                    route_by(stage, elsewhere).await;
                    stage.watch(SPEC).await;
                }
                .boxed()
            },
        ),
        case(
            "VirtualService \"shop\": spec.http[0].route has no destination for subset \"canary\" of …",
            |stage| {
                async move {
                    let production = json!({"host": SERVICE, "subset": "production"});
                    route_by(stage, json!([{"route": [{"destination": production}]}])).await;
                    stage.watch(SPEC).await;
                }
                .boxed()
            },
        ),
    ]
}

fn subsets() -> Vec<Case> {
    vec![
        case(
            "DestinationRule \"shop\" has no subset \"canary\" in spec.subsets",
            |stage| {
                async move {
                    divide_into(
                        stage,
                        json!([{"name": "production", "labels": {"version": "v1"}}]),
                    )
                    .await;
                    stage.watch(SPEC).await;
                }
                .boxed()
            },
        ),
        case(
            "subset production of DestinationRule shop has no label version: set it to the version in production",
            |stage| {
                async move {
                    let canary = json!({"name": "canary", "labels": {"version": "none"}});
                    divide_into(stage, json!([{"name": "production"}, canary])).await;
                    stage.watch(SPEC).await;
                }
                .boxed()
            },
        ),
    ]
}

async fn route_by(stage: &Stage, http: serde_json::Value) {
    let change = json!({"spec": {"http": http}});
    stage
        .change("VirtualService", SERVICE, "kubectl-edit", change)
        .await;
}

async fn divide_into(stage: &Stage, subsets: serde_json::Value) {
    let change = json!({"spec": {"subsets": subsets}});
    stage
        .change("DestinationRule", SERVICE, "kubectl-edit", change)
        .await;
}

fn versions() -> Vec<Case> {
    vec![
        case(
            "v1 is in production; a Deployment with a new version starts a rollout",
            |stage| async move { stage.watch(SPEC).await }.boxed(),
        ),
        case(
            "…; v2 (Deployment shop-v2) was there before this BirdWatch: to release it set spec.canaryVersion: v2",
            |stage| {
                async move {
                    stage.deploy("v2", TWO).await;
                    stage.watch(SPEC).await;
                }
                .boxed()
            },
        ),
        case(
            "…; v2 (Deployment shop-v2) was there before v3 and passed over: to release it set spec.canaryVersion: v2",
            |stage| {
                async move {
                    stage.watch(SPEC).await;
                    // What its controller has not looked at yet is no candidate.
                    stage.deploy_unobserved("v2").await;
                    stage.aged("Deployment", "shop-v2").await;
                    stage.deploy("v3", TWO).await;
                    stage.until("started", |status| status["canary"] == "v3").await;
                    stage.deploy("v2", TWO).await;
                }
                .boxed()
            },
        ),
        case(
            "waiting for a Deployment with pod labels app=shop,version=v2",
            |stage| async move { stage.watch(&format!("{SPEC}canaryVersion: v2\n")).await }.boxed(),
        ),
        case(
            "v2 waits: shop/http[#0] gives the canary 5 of 100 while nothing is released; set it to 0",
            |stage| {
                async move {
                    stage.watch(SPEC).await;
                    stage.weigh(5).await;
                    stage.deploy("v2", TWO).await;
                }
                .boxed()
            },
        ),
    ]
}

fn again() -> Vec<Case> {
    vec![
        case(
            "v2 was rolled back to v1: …; it starts again when it changes, or on otomato.link/verb=retry/<token>",
            |stage| {
                async move {
                    stage.at_25(SPEC).await;
                    stage.measures(numbers("0", "1"));
                }
                .boxed()
            },
        ),
        case(
            "v2 was released before and v1 is in production now; otomato.link/verb=retry/<token> starts it again",
            |stage| {
                async move {
                    stage.promoted().await;
                    stage.label("v1", "v2").await;
                }
                .boxed()
            },
        ),
    ]
}
