//! Several `VirtualService`s, of which not all take their weight, and routes that go while traffic is on the canary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::time::Duration;

use birdwatch::api::status::{Phase, Verdict};
use birdwatch::clients::prometheus::Outcome;
use controller_kit::fake_api::{Fault, Request};
use controller_kit::{
    BIRD_WATCHES, Kit, NS, Operator, RULES, SERVICES, bird_watch, is_weight_write, virtual_service,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const BAD: f64 = 3.0;

fn is_gateway(request: &Request) -> bool {
    is_weight_write(request) && request.name.as_deref() == Some("gateway")
}

fn gateway() -> Value {
    another("gateway")
}

/// A further `VirtualService` for the same host.
fn another(name: &str) -> Value {
    let mut service = virtual_service("aleph");
    service["metadata"]["name"] = json!(name);
    service
}

fn canary_weight(kit: &Kit, object: &str) -> i64 {
    let object = kit.api.get(SERVICES, (NS, object)).unwrap();
    object["spec"]["http"][0]["route"][1]["weight"].as_i64().unwrap()
}

/// The first raise has reached `aleph`; `gateway` does not take it.
async fn half_raised() -> (Kit, Operator) {
    let kit = Kit::new();
    kit.api.put(SERVICES, gateway());
    kit.api.inject(Fault::Status(403), usize::MAX, is_gateway);
    let both = json!({"virtualServices": ["aleph", "gateway"]});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &both));
    let operator = kit.operator("one");
    kit.until("half of it", |kit| kit.weights() == (50, 50)).await;
    (kit, operator)
}

#[tokio::test(start_paused = true)]
async fn of_several_those_named_move_and_people_are_warned_of_the_other() {
    let kit = Kit::new();
    kit.api.put(SERVICES, gateway());
    kit.api.put(SERVICES, another("public"));
    let both = json!({"virtualServices": ["aleph", "gateway"]});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &both));
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    let weights = || ["aleph", "gateway", "public"].map(|name| canary_weight(&kit, name));
    assert_eq!(weights(), [50, 50, 0]);
    let warned = |kit: &Kit| {
        let warnings = kit.status("aleph").warnings;
        let said = "VirtualService \"public\" sends to aleph.shop.svc.cluster.local too and does not move: name it in \
                    spec.virtualServices";
        warnings.iter().any(|warning| warning == said)
    };
    assert!(warned(&kit), "{:?}", kit.status("aleph").warnings);
    kit.api.delete(SERVICES, (NS, "public"));
    kit.until("nobody is warned any more", |kit| !warned(kit)).await;
    kit.until_phase(Phase::Promoted).await;
}

/// Istio takes a subset of the oldest rule that has it, whatever is written into the others.
#[tokio::test(start_paused = true)]
async fn beside_an_older_rule_with_one_of_our_subsets_nothing_is_raised() {
    let kit = Kit::new();
    let beside = |created: &str, subset: &str| {
        let mut other = kit.api.get(RULES, (NS, "aleph")).unwrap();
        other["metadata"] = json!({"name": "former", "namespace": NS, "creationTimestamp": created});
        other["spec"]["subsets"] = json!([{"name": subset, "labels": {"version": "v1"}}]);
        other
    };
    let (older, younger) = ("2020-01-01T00:00:00Z", "2036-01-01T00:00:00Z");
    kit.api.put(RULES, beside(older, "canary"));
    kit.bird_watch();
    let _operator = kit.operator("one");
    let said = "DestinationRule former is older, for the same host, and has subset canary too";
    kit.until("it is said", |kit| kit.status("aleph").message.contains(said))
        .await;
    sleep(Duration::from_mins(2)).await;
    assert_eq!(kit.weights(), (100, 0));
    // One with subsets of its own is nobody's business.
    kit.api.put(RULES, beside(older, "tests"));
    kit.until_weight(50).await;
    // A younger one neither.
    kit.api.put(RULES, beside(younger, "canary"));
    kit.until_phase(Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_with_a_part_of_its_first_weight_is_judged() {
    let (kit, _operator) = half_raised().await;
    // What is refused is tried again more and more seldom; checks are not.
    sleep(Duration::from_mins(10)).await;
    kit.prometheus.answers(BAD);
    let bad = Instant::now();
    kit.until_phase(Phase::RolledBack).await;
    assert!(bad.elapsed() < Duration::from_secs(8), "{:?}", bad.elapsed());
    let status = kit.status("aleph");
    assert_eq!(
        (canary_weight(&kit, "aleph"), canary_weight(&kit, "gateway")),
        (0, 0)
    );
    assert!(status.message.contains("metric is 3"), "{}", status.message);
}

/// A part of a first raise was taken back while a check of it was under way, which is bad; and people let it go on.
async fn goes_on_after_a_check_of_what_is_taken_back(mend: impl FnOnce(&Kit)) -> (Kit, Operator) {
    let (kit, operator) = half_raised().await;
    kit.prometheus.takes(Duration::from_secs(3));
    kit.prometheus.answers(BAD);
    let asked = kit.prometheus.asked();
    while kit.prometheus.asked() == asked {
        sleep(Duration::from_millis(100)).await;
    }
    pause(&kit, true);
    kit.until("taken back", |kit| kit.weights() == (100, 0)).await;
    sleep(Duration::from_secs(10)).await;
    kit.prometheus.takes(Duration::ZERO);
    kit.prometheus.answers(0.0);
    mend(&kit);
    pause(&kit, false);
    (kit, operator)
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_of_a_first_raise_that_was_taken_back_does_not_judge_the_next() {
    let (kit, _operator) = goes_on_after_a_check_of_what_is_taken_back(|_| {}).await;
    sleep(Duration::from_secs(30)).await;
    let said = kit.status("aleph").message;
    assert_eq!(
        (kit.phase(), kit.weights()),
        (Phase::Progressing, (50, 50)),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn nor_does_it_judge_one_that_all_take() {
    let (kit, _operator) = goes_on_after_a_check_of_what_is_taken_back(|kit| kit.api.heal()).await;
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.status("aleph").attempts, 1);
}

fn pause(kit: &Kit, paused: bool) {
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["spec"]["paused"] = json!(paused);
    });
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_first_raise_follows_and_the_step_is_held_from_then_on() {
    let (kit, _operator) = half_raised().await;
    sleep(Duration::from_mins(5)).await;
    let status = kit.status("aleph");
    let rollout = status.rollout.unwrap();
    assert_eq!(
        (rollout.confirmed, rollout.step, canary_weight(&kit, "gateway")),
        (0, 1, 0)
    );
    kit.api.heal();
    kit.until("confirmed", |kit| kit.status("aleph").weight == Some(50))
        .await;
    assert_eq!(kit.status("aleph").rollout.unwrap().step, 1);
    assert_eq!(canary_weight(&kit, "gateway"), 50);
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(
        (canary_weight(&kit, "aleph"), canary_weight(&kit, "gateway")),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_person_who_takes_back_a_part_of_a_first_raise_is_heeded() {
    let (kit, _operator) = half_raised().await;
    sleep(Duration::from_secs(10)).await;
    kit.api.edit(SERVICES, (NS, "aleph"), "kubectl-edit", |vs| {
        vs["spec"]["http"][0]["route"][0]["weight"] = json!(100);
        vs["spec"]["http"][0]["route"][1]["weight"] = json!(0);
    });
    kit.api.heal();
    kit.until_phase(Phase::RolledBack).await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(
        (canary_weight(&kit, "aleph"), canary_weight(&kit, "gateway")),
        (0, 0)
    );
    assert!(
        kit.status("aleph").message.contains("kubectl-edit"),
        "{}",
        kit.status("aleph").message
    );
}

#[tokio::test(start_paused = true)]
async fn one_virtual_service_that_hangs_keeps_no_other_from_being_lowered() {
    let kit = Kit::new();
    kit.api.put(SERVICES, gateway());
    let both = json!({"virtualServices": ["gateway", "aleph"]});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &both));
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.api.inject(Fault::Hang, usize::MAX, is_gateway);
    kit.prometheus.answers(BAD);
    let asked = kit.prometheus.asked();
    kit.until("the bad answer", |kit| kit.prometheus.asked() > asked)
        .await;
    let begun = tokio::time::Instant::now();
    kit.until("lowered", |kit| kit.weights() == (100, 0)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

async fn at_half(kit: &Kit) -> Operator {
    kit.bird_watch();
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    operator
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_names_another_host_keeps_no_bad_canary_in_traffic() {
    let kit = Kit::new();
    let _operator = at_half(&kit).await;
    kit.api.edit(RULES, (NS, "aleph"), "kubectl-edit", |rule| {
        rule["spec"]["host"] = json!("beth");
    });
    kit.until("it is told", |kit| {
        kit.status("aleph")
            .message
            .contains("was aleph.shop.svc.cluster.local")
    })
    .await;
    assert_eq!(kit.weights(), (50, 50));
    kit.prometheus.answers(BAD);
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(kit.weights(), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_made_anew_with_weight_for_a_bad_canary_is_lowered() {
    let kit = Kit::new();
    let _operator = at_half(&kit).await;
    let stored = kit.api.get(SERVICES, (NS, "aleph")).unwrap();
    kit.api.delete(SERVICES, (NS, "aleph"));
    kit.prometheus.answers(BAD);
    kit.until_phase(Phase::RollingBack).await;
    sleep(Duration::from_mins(1)).await;
    let status = kit.status("aleph");
    assert_eq!(status.phase, Phase::RollingBack);
    assert!(
        status.message.contains("waits for VirtualService aleph"),
        "{}",
        status.message
    );
    let mut again = virtual_service("aleph");
    again["spec"] = stored["spec"].clone();
    kit.api.put(SERVICES, again);
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(kit.weights(), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_does_not_wait_for_a_route_that_is_gone() {
    let kit = Kit::new();
    let _operator = at_half(&kit).await;
    kit.api.delete(SERVICES, (NS, "aleph"));
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
}

/// At 50 % on two, one of which goes.
async fn one_of_two_gone(more: &Value) -> (Kit, Operator) {
    let kit = Kit::new();
    kit.api.put(SERVICES, gateway());
    let mut spec = json!({"virtualServices": ["aleph", "gateway"]});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &spec));
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.api.delete(SERVICES, (NS, "gateway"));
    (kit, operator)
}

#[tokio::test(start_paused = true)]
async fn a_rollback_does_not_wait_for_a_route_that_the_spec_names_no_longer() {
    let (kit, _operator) = one_of_two_gone(&json!({})).await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["spec"]["virtualServices"] = json!(["aleph"]);
    });
    kit.until("the attempt is over", |kit| {
        kit.status("aleph")
            .ended
            .last()
            .is_some_and(|end| end.canary.version == "v2")
    })
    .await;
    assert_eq!(kit.weights(), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_for_a_rollback_waits_for_no_route_that_is_gone() {
    let (kit, _operator) = one_of_two_gone(&json!({})).await;
    kit.prometheus.answers(BAD);
    kit.until("it waits", |kit| {
        kit.status("aleph")
            .message
            .contains("waits for VirtualService gateway")
    })
    .await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": "rollback/1"});
    });
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(kit.weights(), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_first_raise_is_not_written_while_what_is_there_is_unknown() {
    let (kit, _operator) = half_raised().await;
    kit.prometheus.fails(Outcome::Empty);
    kit.until("it is told", |kit| {
        kit.status("aleph")
            .rollout
            .is_some_and(|r| r.verdict == Some(Verdict::Unknown))
    })
    .await;
    kit.api.heal();
    sleep(Duration::from_mins(5)).await;
    assert_eq!(
        (canary_weight(&kit, "aleph"), canary_weight(&kit, "gateway")),
        (50, 0),
        "neither more nor less"
    );
    kit.prometheus.answers(0.0);
    kit.until("the rest follows", |kit| canary_weight(kit, "gateway") == 50)
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_we_take_back_ourselves_is_nobodys_interference() {
    let (kit, _operator) = half_raised().await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["spec"]["paused"] = json!(true);
    });
    kit.until("it is taken back", |kit| canary_weight(kit, "aleph") == 0)
        .await;
    sleep(Duration::from_mins(1)).await;
    let written = kit.calls();
    let blames = |r: &&Request| r.body.to_string().contains("WeightRaised");
    assert!(!written.iter().any(|request| blames(&request)));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_written_in_full_now_is_the_same() {
    let kit = Kit::new();
    let _operator = at_half(&kit).await;
    let kept = kit.status("aleph").rollout.unwrap().kept.host;
    let written = kit.api.get(RULES, (NS, "aleph")).unwrap()["spec"]["host"].clone();
    assert_eq!(
        json!(kept),
        written,
        "as it is written: another cluster domain resolves it anew"
    );
    kit.api.edit(RULES, (NS, "aleph"), "kubectl-edit", |rule| {
        rule["spec"]["host"] = json!("aleph.shop.svc.cluster.local");
    });
    kit.until_phase(Phase::Promoted).await;
}
