//! It ended, and why.

use super::{Case, Seen, case};
use crate::prometheus::numbers;
use crate::stage::{SPEC, TWO};
use futures::FutureExt as _;

pub(crate) fn ended() -> Vec<Case> {
    [judged(), lost(), others()].into_iter().flatten().collect()
}

fn judged() -> Vec<Case> {
    vec![
        case(
            "… unhealthy at weight 25 %: errors is 0.019, baseline 0.004, limit 0.014",
            |stage| {
                async move {
                    stage.measures(numbers("0.004", "0.004"));
                    stage.at_25(&SPEC.replace("max: 0.05", "deviation: 0.01")).await;
                    stage.measures(numbers("0.004", "0.019"));
                }
                .boxed()
            },
        )
        .seen(Seen::Describe)
        .told(),
    ]
}

fn lost() -> Vec<Case> {
    vec![
        case("v2 has no available pod while it takes traffic", |stage| {
            async move {
                stage.at_25(SPEC).await;
                stage.deploy("v2", (2, 2, 0)).await;
            }
            .boxed()
        })
        .told(),
        case(
            "Deployment shop-v2 has 1 of 3 pods updated and 0 available, after 10m",
            |stage| {
                async move {
                    stage.watch(&format!("{SPEC}progressDeadline: 3s\n")).await;
                    stage.deploy("v2", (3, 1, 0)).await;
                }
                .boxed()
            },
        )
        .told(),
        case(
            "Deployment shop-v2 changed: version v2, revision 3 instead of version v2, revision 2",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 10m")).await;
                    stage.deploy_revision("3", "v2", TWO).await;
                }
                .boxed()
            },
        )
        .seen(Seen::Describe)
        .told(),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case(
            "kubectl-edit lowered shop/http[#0] from 25 % to 0 of 100",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 10m")).await;
                    stage.weigh(0).await;
                }
                .boxed()
            },
        )
        .told(),
        case(
            "this operator, before it was restarted, lowered shop/http[#0] from 25 % to 0 of 100",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 10m")).await;
                    // What is left of one that was killed before it could say why.
                    stage.weigh_as("birdwatch", 0).await;
                }
                .boxed()
            },
        )
        .told(),
        case(
            "argocd-controller changed subset canary of DestinationRule shop: its version is v1, not v2",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 10m")).await;
                    stage.label("v1", "v1").await;
                }
                .boxed()
            },
        )
        .seen(Seen::Describe)
        .told(),
        case(
            "argocd-controller set production to v1, after v2 was promoted; nothing is started for it",
            |stage| {
                async move {
                    stage.promoted().await;
                    stage.label("v1", "v2").await;
                }
                .boxed()
            },
        )
        .seen(Seen::Describe)
        .told(),
        case(
            "shop/http[#0] had 60 of 100 for the canary, more than the 25 % of this rollout: lowered again",
            |stage| {
                async move {
                    stage.at_25(&SPEC.replace("hold: 3s", "hold: 10m")).await;
                    stage.weigh(60).await;
                }
                .boxed()
            },
        )
        .seen(Seen::Describe)
        .told(),
    ]
}
