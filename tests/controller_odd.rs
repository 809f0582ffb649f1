//! Odd hands on routes and labels in the middle of a rollout, on the fake API server: what is told of them, in the words
//! that docs/operations.md explains, and that it goes on when it is mended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use birdwatch::api::status::Phase;
use controller_kit::{BIRD_WATCHES, DEPLOYMENTS, Kit, NS, RULES, SERVICES, bird_watch};
use serde_json::{Value, json};

/// A route that gives the canary so much of 100.
fn both(name: &str, canary: i64) -> Value {
    let to = |subset: &str, weight: i64| json!({"destination": {"host": "aleph", "subset": subset}, "weight": weight});
    json!({"name": name, "route": [to("production", 100 - canary), to("canary", canary)]})
}

fn route(kit: &Kit, routes: Value) {
    kit.api.edit(SERVICES, (NS, "aleph"), "kubectl-edit", |vs| {
        vs["spec"]["http"] = routes;
    });
}

fn annotate(kit: &Kit, verb: &str) {
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": verb});
    });
}

/// Waits until people read this as the message, or of a condition that holds.
async fn until_said(kit: &Kit, text: &str) {
    kit.until(text, |kit| {
        let status = kit.status("aleph");
        let conditions = status.conditions.iter().filter(|c| c.status == "True");
        status.message.contains(text) || conditions.into_iter().any(|c| c.message.contains(text))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_taken_from_a_rollout_holds_it_until_it_is_mended() {
    let kit = Kit::new();
    route(&kit, json!([both("first", 0), both("second", 0)]));
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    let mut second = both("second", 0);
    second["route"].as_array_mut().unwrap().truncate(1);
    route(&kit, json!([both("first", 50), second]));
    until_said(
        &kit,
        "aleph/http[second] no longer holds production and canary once each, or has another name now: mend it, or roll back by hand and use the verb rollback",
    )
    .await;
    assert_eq!(kit.status("aleph").weight, Some(50));
    route(&kit, json!([both("first", 50), both("second", 50)]));
    kit.until_phase(Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_was_taken_from_a_rollout_is_named_when_its_traffic_goes_back() {
    let kit = Kit::new();
    route(&kit, json!([both("first", 0), both("second", 0)]));
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    let mut second = both("second", 0);
    second["route"].as_array_mut().unwrap().truncate(1);
    route(&kit, json!([both("first", 50), second]));
    kit.prometheus.answers(9.0);
    kit.until_phase(Phase::RolledBack).await;
    until_said(
        &kit,
        "; aleph/http[second] could not be moved: look at the weights there",
    )
    .await;
}

/// A sick canary that keeps half of the traffic.
async fn frozen() -> (Kit, controller_kit::Operator) {
    let kit = Kit::new();
    let freeze = bird_watch("aleph", &json!({"ifUnhealthy": "freeze"}));
    kit.api.put(BIRD_WATCHES, freeze);
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.prometheus.answers(9.0);
    kit.until_phase(Phase::Frozen).await;
    (kit, operator)
}

#[tokio::test(start_paused = true)]
async fn a_frozen_canary_without_pods_or_lowered_by_hand_says_so_at_its_end() {
    let (kit, _operator) = frozen().await;
    kit.api
        .edit(DEPLOYMENTS, (NS, "aleph-v2"), "kubelet", |deployment| {
            deployment["status"]["availableReplicas"] = json!(0);
        });
    until_said(&kit, "the frozen canary has no available pod").await;
    kit.until_phase(Phase::RolledBack).await;

    let (kit, _operator) = frozen().await;
    route(&kit, json!([both("primary", 0)]));
    until_said(&kit, "kubectl-edit lowered the frozen canary from 50 % to 0").await;
    kit.until_phase(Phase::RolledBack).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_comes_in_at_the_end_holds_productions_label_until_it_gives_the_canary_all() {
    let kit = Kit::new();
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(100).await;
    route(&kit, json!([both("primary", 100), both("second", 0)]));
    until_said(
        &kit,
        "aleph/http[second] gives production something at 100 %: set it to 0/100",
    )
    .await;
    assert_eq!((kit.phase(), kit.labels().0.as_str()), (Phase::Promoting, "v1"));
    route(&kit, json!([both("primary", 100), both("second", 100)]));
    kit.until_phase(Phase::Promoted).await;
}

/// A release of v2 whose production label Argo CD turns back before the weights have followed it.
async fn turned_back() -> (Kit, controller_kit::Operator) {
    let kit = Kit::new();
    kit.bird_watch();
    let operator = kit.operator("one");
    kit.until("production's label", |kit| {
        let rollout = kit.status("aleph").rollout;
        rollout.is_some_and(|rollout| rollout.production_label_at.is_some())
    })
    .await;
    kit.api.edit(RULES, (NS, "aleph"), "argocd-controller", |rule| {
        rule["spec"]["subsets"][0]["labels"]["version"] = json!("v1");
    });
    until_said(
        &kit,
        "argocd-controller turned subset production of DestinationRule aleph back during the promotion; resume or rollback",
    )
    .await;
    assert_eq!((kit.phase(), kit.weights()), (Phase::Frozen, (0, 100)));
    (kit, operator)
}

#[tokio::test(start_paused = true)]
async fn a_promotion_whose_label_is_turned_back_freezes_and_names_who_did_it() {
    let (kit, _operator) = turned_back().await;
    annotate(&kit, "resume/1");
    kit.until_phase(Phase::Promoted).await;
    assert_eq!((kit.labels().0.as_str(), kit.weights()), ("v2", (100, 0)));

    let (kit, _operator) = turned_back().await;
    annotate(&kit, "rollback/1");
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!((kit.labels().0.as_str(), kit.weights()), ("v1", (100, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_reaches_a_route_after_the_end_is_named_and_undone() {
    let kit = Kit::new();
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &json!({})));
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.prometheus.answers(9.0);
    kit.until_phase(Phase::RolledBack).await;
    kit.api.edit(SERVICES, (NS, "aleph"), "birdwatch", |vs| {
        vs["spec"]["http"] = json!([both("primary", 50)]);
    });
    kit.until("it is undone", |kit| kit.weights() == (100, 0)).await;
    kit.until("it is told", |kit| {
        let events = kit.api.all("events.k8s.io/events");
        let said = "a raise of v2 reached aleph/http[primary] after its end: the canary's 50 of 100 go back";
        events.iter().any(|event| event["note"] == said)
    })
    .await;
}
