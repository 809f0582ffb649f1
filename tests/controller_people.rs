//! What people do meanwhile: delete, edit, drain, take the wheel, or ask for the same thing twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::time::Duration;

use birdwatch::api::status::{FailureReason, Phase};
use birdwatch::controller::drain::remaining;
use controller_kit::fake_api::{Fault, Request};
use controller_kit::{BIRD_WATCHES, Kit, NS, Operator, RULES, SERVICES, bird_watch, is_weight_write};
use serde_json::{Value, json};

async fn at_half() -> (Kit, Operator) {
    let kit = Kit::new();
    kit.bird_watch();
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    (kit, operator)
}

fn set_weights(kit: &Kit, production: i64, canary: i64) {
    kit.api.edit(SERVICES, (NS, "aleph"), "kubectl-edit", |vs| {
        vs["spec"]["http"][0]["route"][0]["weight"] = json!(production);
        vs["spec"]["http"][0]["route"][1]["weight"] = json!(canary);
    });
}

fn finalizers(kit: &Kit) -> Vec<Value> {
    let object = kit.api.get(BIRD_WATCHES, (NS, "aleph")).unwrap();
    object["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// A rollout that holds 50 %, and the `VirtualService` from before it: without weights all the traffic is production's.
async fn at_half_from_no_weights() -> (Kit, Operator, Value) {
    let kit = Kit::new();
    let mut service = controller_kit::virtual_service("aleph");
    for i in 0..2 {
        service["spec"]["http"][0]["route"][i]
            .as_object_mut()
            .unwrap()
            .remove("weight");
    }
    kit.api.put(SERVICES, service.clone());
    kit.bird_watch();
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    (kit, operator, service)
}

/// A patch that gives a route back without its weights.
fn takes_weights_away(request: &Request) -> bool {
    let removes = |op: &Value| op["op"] == "remove";
    is_weight_write(request) && request.body.as_array().is_some_and(|ops| ops.iter().any(removes))
}

#[tokio::test(start_paused = true)]
async fn a_bird_watch_deleted_on_its_way_gives_everything_back_before_it_goes() {
    let (kit, _operator, service) = at_half_from_no_weights().await;
    assert_eq!(finalizers(&kit).len(), 1);
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    let found = kit.api.get(SERVICES, (NS, "aleph")).unwrap();
    assert_eq!(found["spec"], service["spec"], "as it was, keys included");
    assert_eq!(kit.labels(), ("v1".into(), "v0".into()));
}

#[tokio::test(start_paused = true)]
async fn a_bird_watch_whose_objects_are_gone_goes_too() {
    let (kit, _operator) = at_half().await;
    kit.api.delete(SERVICES, (NS, "aleph"));
    kit.api.delete(RULES, (NS, "aleph"));
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_label_that_may_not_be_given_back_keeps_neither_the_weights_nor_the_deletion() {
    let (kit, _operator, service) = at_half_from_no_weights().await;
    kit.api.inject(Fault::Status(403), usize::MAX, |r| {
        r.verb == "patch" && r.resource == RULES
    });
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    let found = kit.api.get(SERVICES, (NS, "aleph")).unwrap();
    assert_eq!(found["spec"], service["spec"], "as it was, keys included");
    assert_eq!(kit.labels().1, "v2", "nobody may change it");
}

#[tokio::test(start_paused = true)]
async fn weights_that_may_not_be_given_back_keep_neither_the_label_nor_the_deletion() {
    let (kit, _operator, _) = at_half_from_no_weights().await;
    kit.api.inject(Fault::Status(403), usize::MAX, takes_weights_away);
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    assert_eq!(kit.labels(), ("v1".into(), "v0".into()));
    assert_eq!(kit.weights(), (100, 0), "with weights that it did not have");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_may_not_give_weights_back_gives_the_label_back() {
    let (kit, operator, _) = at_half_from_no_weights().await;
    drop(operator);
    kit.api.inject(Fault::Status(403), usize::MAX, takes_weights_away);
    let drain = kit.drain("drain");
    kit.until("acting", |_| drain.scope.is_acting()).await;
    kit.until("nothing is left", |_| remaining(&drain.scope).is_empty())
        .await;
    assert_eq!(kit.labels(), ("v1".into(), "v0".into()));
    assert_eq!((kit.weights(), finalizers(&kit).len()), ((100, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn weights_that_one_object_refuses_are_given_back_to_the_others() {
    let kit = Kit::new();
    let without_weights = |name: &str| {
        let mut service = controller_kit::virtual_service("aleph");
        service["metadata"]["name"] = json!(name);
        for i in 0..2 {
            let entry = service["spec"]["http"][0]["route"][i].as_object_mut();
            entry.unwrap().remove("weight");
        }
        service
    };
    kit.api.put(SERVICES, without_weights("aleph"));
    kit.api.put(SERVICES, without_weights("gateway"));
    kit.api.put(
        BIRD_WATCHES,
        bird_watch("aleph", &json!({"virtualServices": ["aleph", "gateway"]})),
    );
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.api.inject(Fault::Status(403), usize::MAX, |r| {
        takes_weights_away(r) && r.name.as_deref() == Some("aleph")
    });
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    let found = kit.api.get(SERVICES, (NS, "gateway")).unwrap();
    assert_eq!(found["spec"], without_weights("gateway")["spec"]);
    assert_eq!(kit.labels(), ("v1".into(), "v0".into()));
    kit.until("people can read what stays", |kit| {
        let events = kit.api.all("events.k8s.io/events");
        events.iter().any(|event| {
            let note = event["note"].as_str().unwrap_or_default();
            event["reason"] == "WriteRefused" && note.contains("aleph") && note.contains("stay changed")
        })
    })
    .await;
}

/// Between our look and our write somebody takes all traffic off the canary: lowering to what is allowed would raise it.
#[tokio::test(start_paused = true)]
async fn a_lowering_never_writes_over_a_hand_that_lowered_further() {
    let (kit, _operator) = at_half().await;
    kit.api.forget_requests();
    kit.api
        .inject(Fault::Delay(Duration::from_secs(1)), 1, is_weight_write);
    set_weights(&kit, 10, 90);
    while !kit.calls().iter().any(is_weight_write) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    set_weights(&kit, 100, 0);
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(kit.weights(), (100, 0));
    let after = kit.api.get(SERVICES, (NS, "aleph")).unwrap();
    let manager = after["metadata"]["managedFields"].to_string();
    assert!(kit.status("aleph").message.contains("kubectl-edit"), "{manager}");
}

#[tokio::test(start_paused = true)]
async fn weights_raised_by_hand_are_lowered_every_time() {
    let (kit, _operator) = at_half().await;
    for _ in 0..3 {
        set_weights(&kit, 10, 90);
        kit.until("lowered", |kit| kit.weights() == (50, 50)).await;
    }
    kit.until_phase(Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn weights_lowered_by_hand_stay_and_the_hand_is_named() {
    let (kit, _operator) = at_half().await;
    set_weights(&kit, 100, 0);
    kit.until_phase(Phase::RolledBack).await;
    assert!(
        kit.status("aleph").message.contains("kubectl-edit"),
        "{}",
        kit.status("aleph").message
    );
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(kit.weights(), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn nonsense_in_the_spec_does_not_leave_a_sick_canary_unjudged() {
    let (kit, _operator) = at_half().await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "forced", |bw| {
        bw["spec"] = json!({"service": [], "steps": "up"});
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    kit.prometheus.answers(3.0);
    kit.until_phase(Phase::RolledBack).await;
    let failure = kit.status("aleph").rollout.unwrap().failure.unwrap();
    assert_eq!(
        (failure.reason, kit.weights()),
        (FailureReason::MetricUnhealthy, (100, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_for_the_same_objects_the_older_acts_and_the_other_follows_when_it_is_gone() {
    let kit = Kit::new();
    kit.bird_watch();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut younger = bird_watch("aleph", &json!({}));
    younger["metadata"]["name"] = json!("younger");
    kit.api.put(BIRD_WATCHES, younger);
    let _operator = kit.operator("one");
    kit.until("said", |kit| {
        kit.status("younger")
            .conditions
            .iter()
            .any(|c| c.kind == "Conflict")
    })
    .await;
    kit.until_weight(50).await;
    assert!(
        kit.status("younger").message.contains("aleph"),
        "{}",
        kit.status("younger").message
    );
    assert!(kit.status("younger").rollout.is_none());
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until("the younger one starts", |kit| {
        kit.status("younger").rollout.is_some()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_services_in_one_virtual_service_roll_out_side_by_side() {
    let kit = Kit::new();
    kit.service("beth");
    let mut both = controller_kit::virtual_service("aleph");
    let other = controller_kit::virtual_service("beth")["spec"]["http"][0].clone();
    both["spec"]["http"].as_array_mut().unwrap().push(other);
    kit.api.put(SERVICES, both);
    kit.api.delete(SERVICES, (NS, "beth"));
    kit.bird_watch();
    kit.api.put(
        BIRD_WATCHES,
        bird_watch("beth", &json!({"virtualServices": ["aleph"], "increment": 25})),
    );
    let _operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    kit.until("beth too", |kit| kit.status("beth").phase == Phase::Promoted)
        .await;
    let found = kit.api.get(SERVICES, (NS, "aleph")).unwrap();
    for route in 0..2 {
        assert_eq!(
            found["spec"]["http"][route]["route"][1]["weight"], 0,
            "route {route}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_all_traffic_back_and_starts_nothing() {
    let (kit, operator) = at_half().await;
    drop(operator);
    kit.service("beth");
    kit.api.put(BIRD_WATCHES, bird_watch("beth", &json!({})));
    let drain = kit.drain("drain");
    kit.until("acting", |_| drain.scope.is_acting()).await;
    kit.until("nothing is left", |_| remaining(&drain.scope).is_empty())
        .await;
    assert_eq!((kit.weights(), finalizers(&kit).len()), ((100, 0), 0));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(kit.status("beth").rollout.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_may_not_write_says_what_is_left() {
    let (kit, operator) = at_half().await;
    drop(operator);
    kit.api.inject(Fault::Status(403), usize::MAX, is_weight_write);
    let drain = kit.drain("drain");
    kit.until("acting", |_| drain.scope.is_acting()).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let left = remaining(&drain.scope);
    assert!(
        left.len() == 1 && left[0].starts_with("shop/aleph: RollingBack at 50 %"),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_verb_acts_once() {
    let (kit, _operator) = at_half().await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": "rollback/1"});
    });
    kit.until_phase(Phase::RolledBack).await;
    let verb = kit.status("aleph").verb.unwrap();
    assert_eq!((verb.value.as_str(), verb.accepted), ("rollback/1", true));
    assert_eq!(kit.weights(), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_virtual_service_that_comes_later_is_waited_for() {
    let kit = Kit::new();
    kit.api.delete(SERVICES, (NS, "aleph"));
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until("named", |kit| {
        kit.status("aleph").message.contains("VirtualService \"aleph\"")
    })
    .await;
    kit.api.put(SERVICES, controller_kit::virtual_service("aleph"));
    kit.until_phase(Phase::Promoted).await;
}
