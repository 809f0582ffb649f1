//! It waits before the first step.

use futures::FutureExt as _;

use super::{Case, Seen, case, released};
use crate::prometheus::{always, numbers, vector};
use crate::stage::{SPEC, Stage, TWO};

pub(crate) fn before() -> Vec<Case> {
    vec![
        case(
            "waiting for the canary: Deployment shop-v2 has 1 of 3 pods updated and 0 available",
            |stage| {
                async move {
                    stage.watch(SPEC).await;
                    stage.deploy("v2", (3, 1, 0)).await;
                }
                .boxed()
            },
        ),
        case(
            "waiting for the canary: Deployment shop-v2 has 0 replicas: scale it up",
            |stage| {
                async move {
                    stage.watch(SPEC).await;
                    stage.deploy("v2", (0, 0, 0)).await;
                }
                .boxed()
            },
        ),
        nothing_named(
            "no traffic moves before there is a baseline: errors: no series named istio_request_total",
            "istio_request_total",
        ),
        nothing_named(
            "…: the query has no result, and its names could not be looked up: …",
            "unlooked",
        ),
        released(
            "…: the baseline is 0 and a percentage of 0 is no limit: give minAbsolute beside deviationPercent, or deviation",
            SPEC.replace("max: 0.05", "deviationPercent: 20"),
        ),
        case("…: production itself is beyond limit 0.05", |stage| {
            async move {
                stage.measures(numbers("0.2", "0.2"));
                canary(stage, SPEC).await;
            }
            .boxed()
        }),
        case("…: the version had no requests to divide by", |stage| {
            async move {
                // Errors are known, but no requests.
                stage.measures(std::sync::Arc::new(|query| {
                    vector(if query.contains("istio_requests_total") {
                        &[]
                    } else {
                        &["1"]
                    })
                }));
                canary(stage, &SPEC.replace("max: 0.05", "per: request\n    max: 0.05")).await;
            }
            .boxed()
        }),
        released("the mesh is learning of the canary's subset", SPEC.to_owned()).seen(Seen::Once),
    ]
}

async fn canary(stage: &Stage, spec: &str) {
    stage.watch(spec).await;
    stage.deploy("v2", TWO).await;
}

fn nothing_named(text: &'static str, metric: &'static str) -> Case {
    case(text, move |stage| {
        async move {
            stage.measures(always(vector(&[])));
            canary(stage, &SPEC.replace("query: errors", &format!("query: {metric}"))).await;
        }
        .boxed()
    })
}
