//! Weights at rest are the user's; a first raise of ours that reaches the server after the end of its attempt is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch::runtime::lease::Leadership;
use controller_kit::fake_api::{Fault, Request};
use controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, Kit, NS, Operator, SERVICES, bird_watch, is_status_write, is_weight_write,
    virtual_service,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const OURS: &str = "birdwatch";

fn set_weights(kit: &Kit, object: &str, manager: &str, canary: i64) {
    kit.api.edit(SERVICES, (NS, object), manager, |vs| {
        vs["spec"]["http"][0]["route"][0]["weight"] = json!(100 - canary);
        vs["spec"]["http"][0]["route"][1]["weight"] = json!(canary);
    });
}

fn canary_weight(kit: &Kit, object: &str) -> Value {
    kit.api.get(SERVICES, (NS, object)).unwrap()["spec"]["http"][0]["route"][1]["weight"].clone()
}

/// At rest after an attempt whose first raise, to 50 %, was sent and never answered: it may still be on its way.
async fn taken_back(kit: Kit, more: &Value) -> (Kit, Operator) {
    kit.api.inject(Fault::Hang, usize::MAX, is_weight_write);
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", more));
    let operator = kit.operator("one");
    kit.until("announced", |kit| {
        kit.status("aleph").rollout.is_some_and(|r| r.intended == 50)
    })
    .await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": "rollback/1"});
    });
    kit.until_phase(Phase::RolledBack).await;
    kit.api.heal();
    sleep(Duration::from_secs(30)).await;
    kit.api.forget_requests();
    (kit, operator)
}

fn written(kit: &Kit) -> usize {
    kit.calls()
        .iter()
        .filter(|request| is_weight_write(request))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_first_raise_that_arrives_after_the_end_of_its_attempt_is_lowered_at_once() {
    let (kit, _operator) = taken_back(Kit::new(), &json!({})).await;
    set_weights(&kit, "aleph", OURS, 50);
    let arrived = Instant::now();
    kit.until("lowered", |kit| kit.weights() == (100, 0)).await;
    assert!(
        arrived.elapsed() < Duration::from_secs(1),
        "{:?}",
        arrived.elapsed()
    );
    sleep(Duration::from_mins(1)).await;
    assert_eq!((written(&kit), kit.phase()), (1, Phase::RolledBack));
}

#[tokio::test(start_paused = true)]
async fn the_same_weight_set_by_a_person_at_rest_stays() {
    let (kit, _operator) = taken_back(Kit::new(), &json!({})).await;
    set_weights(&kit, "aleph", "kubectl-edit", 50);
    sleep(Duration::from_mins(10)).await;
    assert_eq!((kit.weights(), written(&kit)), ((50, 50), 0));
}

/// Then we own the list that the person's weights are in.
#[tokio::test(start_paused = true)]
async fn the_same_weight_set_by_a_person_stays_though_we_write_the_same_list_for_another_service() {
    let (kit, _operator) = taken_back(Kit::new(), &json!({})).await;
    set_weights(&kit, "aleph", "kubectl-edit", 50);
    sleep(Duration::from_mins(1)).await;
    kit.api.edit(SERVICES, (NS, "aleph"), OURS, |vs| {
        let of_beth = json!({"name": "beth", "route": [{"destination": {"host": "beth"}}]});
        vs["spec"]["http"].as_array_mut().unwrap().push(of_beth);
    });
    sleep(Duration::from_mins(10)).await;
    assert_eq!((kit.weights(), written(&kit)), ((50, 50), 0));
}

/// Between our look and our write a person takes the weights over: what was looked at is no longer there.
#[tokio::test(start_paused = true)]
async fn a_hand_that_comes_before_a_late_raise_is_taken_back_has_its_way() {
    let (kit, _operator) = taken_back(Kit::new(), &json!({})).await;
    kit.api
        .inject(Fault::Delay(Duration::from_secs(1)), 1, is_weight_write);
    set_weights(&kit, "aleph", OURS, 50);
    while written(&kit) == 0 {
        sleep(Duration::from_millis(50)).await;
    }
    set_weights(&kit, "aleph", "kubectl-edit", 40);
    sleep(Duration::from_mins(10)).await;
    assert_eq!((kit.weights(), written(&kit)), ((60, 40), 1));
}

/// Whoever wrote another object, or another list of the same, did not write the weight.
#[tokio::test(start_paused = true)]
async fn who_wrote_something_else_is_not_taken_for_the_writer_of_a_late_raise() {
    let kit = Kit::new();
    let mut gateway = virtual_service("aleph");
    gateway["metadata"]["name"] = json!("gateway");
    kit.api.put(SERVICES, gateway);
    let both = json!({"virtualServices": ["aleph", "gateway"]});
    let (kit, _operator) = taken_back(kit, &both).await;
    for object in ["aleph", "gateway"] {
        kit.api.edit(SERVICES, (NS, object), "kubectl-edit", |vs| {
            vs["spec"]["tcp"] = json!([{"route": [{"destination": {"host": "elsewhere"}}]}]);
        });
    }
    kit.api.edit(SERVICES, (NS, "gateway"), "kubectl-edit", |vs| {
        vs["spec"]["http"][0]["timeout"] = json!("3s");
    });
    set_weights(&kit, "aleph", OURS, 50);
    kit.until("lowered", |kit| kit.weights() == (100, 0)).await;
    sleep(Duration::from_mins(1)).await;
    set_weights(&kit, "gateway", "kubectl-edit", 50);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(canary_weight(&kit, "gateway"), 50);
}

/// A raise that is sent again needs no write of status, which would tell that another has ended the attempt meanwhile; and the
/// watch of whoever leads next may be late.
#[tokio::test(start_paused = true)]
async fn one_whose_watch_is_late_does_not_raise_again_what_another_has_taken_back() {
    let kit = Kit::new();
    let standby = kit.operator("late");
    standby.leadership.send_replace(Leadership::Standby);
    kit.bird_watch();
    kit.api.inject(Fault::Status(500), usize::MAX, is_weight_write);
    let first = kit.operator("one");
    kit.until("announced", |kit| {
        kit.status("aleph").rollout.is_some_and(|r| r.intended == 50)
    })
    .await;
    drop(first);
    let is_its_watch = |r: &Request| r.client == "late" && r.verb == "watch" && r.resource == BIRD_WATCHES;
    kit.api
        .inject(Fault::Delay(Duration::from_hours(1)), usize::MAX, is_its_watch);
    kit.api.cut_watches(is_its_watch);
    sleep(Duration::from_secs(30)).await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": "rollback/1"});
    });
    let second = kit.operator("two");
    kit.until_phase(Phase::RolledBack).await;
    drop(second);
    kit.api.heal();
    kit.api.forget_requests();
    standby.leadership.send_replace(kit.leading());
    sleep(Duration::from_secs(30)).await;
    assert_eq!((kit.raised_to(), kit.weights()), (vec![], (100, 0)));
    let reads = kit.calls().iter().filter(|r| r.verb == "get").count();
    assert!(reads > 0, "it had nothing to raise: {:?}", kit.counted());
}

/// Whoever led took all traffic off a sick canary and came no further; whoever leads next is shown the weight of before.
#[tokio::test(start_paused = true)]
async fn one_whose_watch_is_late_does_not_promote_what_another_has_taken_back() {
    let kit = Kit::new();
    let standby = kit.operator("late");
    standby.leadership.send_replace(Leadership::Standby);
    kit.bird_watch();
    let first = kit.operator("one");
    kit.until_weight(100).await;
    kit.until("confirmed", |kit| {
        kit.status("aleph").rollout.is_some_and(|r| r.confirmed == 100)
    })
    .await;
    let is_its_watch = |r: &Request| r.client == "late" && r.verb == "watch" && r.resource == SERVICES;
    kit.api
        .inject(Fault::Delay(Duration::from_hours(1)), usize::MAX, is_its_watch);
    kit.api.cut_watches(is_its_watch);
    kit.api.inject(Fault::Hang, usize::MAX, is_status_write);
    kit.prometheus.answers(3.0);
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    drop(first);
    kit.api.heal();
    kit.prometheus.answers(0.0);
    standby.leadership.send_replace(kit.leading());
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(kit.labels().0, "v1");
    assert_eq!(kit.weights(), (100, 0));
}

/// Whoever led had all traffic on the canary, whose pods are gone now; whoever leads next is shown the routes of before.
#[tokio::test(start_paused = true)]
async fn one_whose_watch_is_late_does_not_end_an_attempt_whose_canary_has_weight() {
    let kit = Kit::new();
    let standby = kit.operator("late");
    standby.leadership.send_replace(Leadership::Standby);
    let is_its_watch = |r: &Request| r.client == "late" && r.verb == "watch" && r.resource == SERVICES;
    kit.api
        .inject(Fault::Delay(Duration::from_hours(1)), usize::MAX, is_its_watch);
    kit.api.cut_watches(is_its_watch);
    kit.bird_watch();
    let first = kit.operator("one");
    kit.until("confirmed", |kit| {
        kit.status("aleph").rollout.is_some_and(|r| r.confirmed == 100)
    })
    .await;
    drop(first);
    kit.api.edit(DEPLOYMENTS, (NS, "aleph-v2"), "kubelet", |d| {
        d["status"]["availableReplicas"] = json!(0);
    });
    standby.leadership.send_replace(kit.leading());
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(kit.weights(), (100, 0));
}
