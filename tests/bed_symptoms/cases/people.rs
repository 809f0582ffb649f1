//! People are not told, and what cannot be deleted.

use birdwatch::api::FINALIZER;
use futures::FutureExt as _;
use serde_json::json;

use super::{Case, Seen, case};
use crate::stage::{SERVICE, SPEC};

pub(crate) fn people() -> Vec<Case> {
    vec![
        refused(
            "Slack does not take notices: Slack refused: invalid_auth (the token is not valid); 2 wait",
            "invalid_auth",
        ),
        refused(
            "Slack refused: missing_scope (the token needs the scope chat:write)",
            "missing_scope",
        ),
        refused(
            "Slack refused: channel_not_found (no such channel, or a private one the app was not invited to)",
            "channel_not_found",
        ),
        refused(
            "Slack refused: not_in_channel (invite the app to the channel, or give it chat:write.public)",
            "not_in_channel",
        ),
        case(
            "notify.channel: \"secret\" is not allowed, notices go to \"deployment\"; the administrator allows it with slackAllowedChannels",
            |stage| {
                async move {
                    stage.watch(SPEC).await;
                    let change = json!({"spec": {"notify": {"channel": "secret"}}});
                    stage.change("BirdWatch", SERVICE, "kubectl-edit", change).await;
                }
                .boxed()
            },
        )
        .seen(Seen::Describe),
    ]
}

/// Where no operator gives the traffic back.
pub(crate) fn stuck() -> Vec<Case> {
    vec![
        case(
            "none, but it is there still, with a deletion timestamp and the finalizer otomato.link/traffic",
            |stage| {
                async move {
                    stage.watch_as(SERVICE, SPEC).await;
                    let change = json!({"metadata": {"finalizers": [FINALIZER]}});
                    stage.change("BirdWatch", SERVICE, "birdwatch", change).await;
                    stage.remove("BirdWatch").await;
                }
                .boxed()
            },
        )
        .seen(Seen::Stays)
        .unwatched(),
    ]
}

fn refused(text: &'static str, code: &'static str) -> Case {
    case(text, move |stage| {
        async move {
            stage.ground.refusals.set(&stage.namespace, code);
            stage.at_25(SPEC).await;
        }
        .boxed()
    })
    .seen(Seen::Describe)
}
