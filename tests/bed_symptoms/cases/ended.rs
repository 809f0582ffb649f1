//! It ended, and why.

use super::still::{take_from_the_second, two_routes_at_25};
use super::{Case, Seen, case};
use crate::prometheus::numbers;
use crate::stage::{Pods, SPEC, Stage, TWO};
use futures::FutureExt as _;
use serde_json::Value;

pub(crate) fn ended() -> Vec<Case> {
    [judged(), lost(), frozen(), others(), late()]
        .into_iter()
        .flatten()
        .collect()
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

/// A canary that was sick, and keeps 25 % of the traffic.
async fn freeze(stage: &Stage) {
    stage.at_25(&format!("{SPEC}ifUnhealthy: freeze\n")).await;
    stage.measures(numbers("0", "1"));
    stage.until("frozen", |status| status["phase"] == "Frozen").await;
}

fn frozen() -> Vec<Case> {
    vec![
        case("the frozen canary has no available pod", |stage| {
            async move {
                freeze(stage).await;
                stage.deploy("v2", (2, 2, 0)).await;
            }
            .boxed()
        })
        .told(),
        case("kubectl-edit lowered the frozen canary from 25 % to 0", |stage| {
            async move {
                freeze(stage).await;
                stage.weigh(0).await;
            }
            .boxed()
        })
        .told(),
        case(
            "…; shop/http[second] could not be moved: look at the weights there",
            |stage| {
                async move {
                    two_routes_at_25(stage, &SPEC.replace("hold: 3s", "hold: 10m")).await;
                    take_from_the_second(stage).await;
                    stage.measures(numbers("0", "1"));
                }
                .boxed()
            },
        )
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

/// Its label arrives when the canary was found bad and has lost its traffic; production has those pods.
async fn promoted_too_late(stage: &Stage, production: Pods) {
    stage.at_25(SPEC).await;
    stage.hold_labels_up().await;
    let is_sent = |status: &Value| status["rollout"]["relabelled"] == true;
    stage.until("the label is sent", is_sent).await;
    stage.measures(numbers("0", "1"));
    stage
        .until("rolled back", |status| status["phase"] == "RolledBack")
        .await;
    stage.deploy("v1", production).await;
    stage.let_label_arrive("v2").await;
}

fn late() -> Vec<Case> {
    vec![
        case(
            "a raise of v2 reached shop/http[#0] after its end: the canary's 25 of 100 go back",
            |stage| {
                async move {
                    stage.at_25(SPEC).await;
                    stage.measures(numbers("0", "1"));
                    stage
                        .until("rolled back", |status| status["phase"] == "RolledBack")
                        .await;
                    stage.weigh_as("birdwatch", 25).await;
                }
                .boxed()
            },
        )
        .seen(Seen::Describe)
        .told(),
        case(
            "the promotion of v2 reached subset production after it was given up: back to v1",
            |stage| promoted_too_late(stage, TWO).boxed(),
        )
        .seen(Seen::Describe)
        .told(),
        case(
            "the promotion of v2 reached subset production after it was given up, and v1 has no available pod: back to it when it has \
             one",
            |stage| promoted_too_late(stage, (2, 2, 0)).boxed(),
        )
        .told(),
    ]
}
