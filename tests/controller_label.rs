//! Production's label that reaches the server when its promotion was given up: what was judged bad does not stay in production.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch::runtime::lease::Leadership;
use controller_kit::fake_api::{Fault, Request};
use controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, Kit, NS, Operator, RULES, SERVICES, bird_watch, is_status_write,
    is_weight_write, virtual_service,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const BAD: f64 = 3.0;

fn is_label_write(request: &Request) -> bool {
    request.verb == "patch" && request.resource == RULES
}

fn is_rule_read(request: &Request) -> bool {
    request.verb == "get" && request.resource == RULES
}

fn is_rule_watch(request: &Request) -> bool {
    request.verb == "watch" && request.resource == RULES
}

/// From now on nobody is shown a newer rule.
fn hide_rules(kit: &Kit, of: &'static str) {
    let is_it = move |request: &Request| is_rule_watch(request) && request.client == of;
    kit.api
        .inject(Fault::Delay(Duration::from_hours(1)), usize::MAX, is_it);
    kit.api.cut_watches(is_it);
}

async fn at_full_weight(kit: &Kit) {
    kit.bird_watch();
    kit.until("all traffic is on the canary", |kit| {
        kit.status("aleph").rollout.is_some_and(|r| r.confirmed == 100)
    })
    .await;
}

fn is_promoting(kit: &Kit) -> bool {
    kit.phase() == Phase::Promoting && kit.api.requests().iter().filter(|r| is_label_write(r)).count() == 2
}

fn arrive(kit: &Kit, manager: &str, version: &str) {
    kit.api.edit(RULES, (NS, "aleph"), manager, |rule| {
        rule["spec"]["subsets"][0]["labels"]["version"] = json!(version);
    });
}

/// At rest: the promotion was sent and never answered, and the canary was found to be bad meanwhile.
async fn given_up() -> (Kit, Operator) {
    let kit = Kit::new();
    let operator = kit.operator("one");
    at_full_weight(&kit).await;
    kit.api.inject(Fault::Hang, usize::MAX, is_label_write);
    kit.until("the promotion is sent", is_promoting).await;
    kit.prometheus.answers(BAD);
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!((kit.weights(), kit.labels().0.as_str()), ((100, 0), "v1"));
    kit.api.heal();
    sleep(Duration::from_secs(30)).await;
    kit.api.forget_requests();
    (kit, operator)
}

/// The label is done and its answer lost, and nothing shows the rule as it is.
async fn written_unseen(kit: &Kit) {
    at_full_weight(kit).await;
    hide_rules(kit, "one");
    kit.api.inject(Fault::CutAfter, 1, is_label_write);
    kit.api.inject(Fault::Hang, usize::MAX, is_rule_read);
    kit.until("the label is there", |kit| kit.labels().0 == "v2")
        .await;
}

/// So many pods of production can take traffic.
fn available(kit: &Kit, pods: i32) {
    kit.api.edit(DEPLOYMENTS, (NS, "aleph-v1"), "kubelet", |d| {
        d["status"]["availableReplicas"] = json!(pods);
    });
}

fn labels_written(kit: &Kit) -> usize {
    kit.calls()
        .iter()
        .filter(|request| is_label_write(request))
        .count()
}

fn message(kit: &Kit) -> String {
    kit.status("aleph").message
}

#[tokio::test(start_paused = true)]
async fn a_label_that_arrives_after_the_canary_was_found_bad_goes_back_at_once() {
    let (kit, _operator) = given_up().await;
    arrive(&kit, "birdwatch", "v2");
    let arrived = Instant::now();
    kit.until("production is v1 again", |kit| kit.labels().0 == "v1")
        .await;
    assert!(
        arrived.elapsed() < Duration::from_secs(1),
        "{:?}",
        arrived.elapsed()
    );
    let is_told = |r: &Request| is_status_write(r) && r.body.to_string().contains("LateLabel");
    assert!(kit.calls().iter().any(is_told), "{:?}", kit.counted());
    sleep(Duration::from_mins(10)).await;
    assert_eq!((labels_written(&kit), kit.phase()), (1, Phase::RolledBack));
    assert_eq!((kit.weights(), kit.labels().0.as_str()), ((100, 0), "v1"));
}

#[tokio::test(start_paused = true)]
async fn the_same_label_set_by_a_person_stays() {
    let (kit, _operator) = given_up().await;
    arrive(&kit, "kubectl-edit", "v2");
    sleep(Duration::from_mins(10)).await;
    assert_eq!((labels_written(&kit), kit.labels().0.as_str()), (0, "v2"));
}

#[tokio::test(start_paused = true)]
async fn a_late_label_stays_while_there_is_nothing_to_go_back_to() {
    let (kit, _operator) = given_up().await;
    available(&kit, 0);
    arrive(&kit, "birdwatch", "v2");
    kit.until("it is told", |kit| message(kit).contains("has no available pod"))
        .await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!((labels_written(&kit), kit.labels().0.as_str()), (0, "v2"));
    available(&kit, 1);
    kit.until("production is v1 again", |kit| kit.labels().0 == "v1")
        .await;
}

/// Nobody is told that v1 is back before it is.
#[tokio::test(start_paused = true)]
async fn an_attempt_does_not_end_while_it_is_unknown_whether_its_label_was_written() {
    let kit = Kit::new();
    let _operator = kit.operator("one");
    written_unseen(&kit).await;
    kit.prometheus.answers(BAD);
    kit.until("no traffic on the canary", |kit| kit.weights() == (100, 0))
        .await;
    sleep(Duration::from_mins(1)).await;
    assert_eq!((kit.phase(), kit.labels().0.as_str()), (Phase::RollingBack, "v2"));
    kit.api.heal();
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!((kit.weights(), kit.labels().0.as_str()), ((100, 0), "v1"));
}

/// Whoever led wrote the label and came no further; whoever leads next is shown the rule of before, and a sick canary.
#[tokio::test(start_paused = true)]
async fn one_whose_watch_is_late_turns_back_the_label_that_another_wrote() {
    let kit = Kit::new();
    let standby = kit.operator("late");
    standby.leadership.send_replace(Leadership::Standby);
    let first = kit.operator("one");
    at_full_weight(&kit).await;
    hide_rules(&kit, "late");
    let notes_it = |request: &Request| {
        is_status_write(request) && request.body.to_string().contains("productionLabelAt")
    };
    kit.api.inject(Fault::Hang, 1, notes_it);
    kit.until("the label is there", |kit| kit.labels().0 == "v2")
        .await;
    drop(first);
    kit.prometheus.answers(BAD);
    // The last good answer is too old to go on with.
    sleep(Duration::from_mins(1)).await;
    standby.leadership.send_replace(kit.leading());
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!((kit.weights(), kit.labels().0.as_str()), ((100, 0), "v1"));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_turns_back_the_label_that_was_written_and_not_known() {
    let kit = Kit::new();
    let _operator = kit.operator("one");
    written_unseen(&kit).await;
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until("no traffic on the canary", |kit| kit.weights() == (100, 0))
        .await;
    kit.api.heal();
    kit.until_gone().await;
    assert_eq!(kit.labels(), ("v1".into(), "v0".into()));
}

/// The next attempt begins before the label of the one before arrives: it goes back, and the attempt goes on.
#[tokio::test(start_paused = true)]
async fn a_label_of_the_attempt_before_does_not_end_the_next_one() {
    let (kit, _operator) = given_up().await;
    let mut next = controller_kit::deployment("aleph", "v3", 1);
    next["status"]["availableReplicas"] = json!(0);
    kit.api.put(DEPLOYMENTS, next);
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["spec"]["canaryVersion"] = json!("v3");
    });
    kit.until_phase(Phase::Pending).await;
    arrive(&kit, "birdwatch", "v2");
    kit.until("production is v1 again", |kit| kit.labels().0 == "v1")
        .await;
    kit.prometheus.answers(0.0);
    kit.api.edit(DEPLOYMENTS, (NS, "aleph-v3"), "kubelet", |d| {
        d["status"]["availableReplicas"] = json!(1);
    });
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.labels().0, "v3");
}

/// Frozen at 50 %, whatever becomes of it.
async fn frozen() -> (Kit, Operator) {
    let kit = Kit::new();
    kit.api.put(
        BIRD_WATCHES,
        bird_watch("aleph", &json!({"ifUnhealthy": "freeze"})),
    );
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.prometheus.answers(BAD);
    kit.until_phase(Phase::Frozen).await;
    (kit, operator)
}

/// Giving the canary's label back makes us the only ones who wrote the list that production's label is in.
#[tokio::test(start_paused = true)]
async fn a_label_that_a_person_has_set_stays_where_no_promotion_was_sent() {
    let (kit, _operator) = frozen().await;
    arrive(&kit, "kubectl-edit", "v2");
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    assert_eq!(
        (kit.weights(), kit.labels()),
        ((100, 0), ("v2".into(), "v0".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_label_goes_back_though_another_object_is_gone() {
    let kit = Kit::new();
    let mut mesh = virtual_service("aleph");
    mesh["metadata"]["name"] = json!("mesh");
    kit.api.put(SERVICES, mesh);
    let both = json!({"virtualServices": ["aleph", "mesh"]});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &both));
    let _operator = kit.operator("one");
    kit.until("all traffic is on the canary", |kit| {
        kit.status("aleph").rollout.is_some_and(|r| r.confirmed == 100)
    })
    .await;
    kit.api.inject(Fault::Hang, usize::MAX, is_label_write);
    kit.until("the promotion is sent", is_promoting).await;
    kit.api.delete(SERVICES, (NS, "mesh"));
    kit.prometheus.answers(BAD);
    kit.until("it waits", |kit| {
        message(kit).contains("waits for VirtualService mesh")
    })
    .await;
    kit.api.heal();
    sleep(Duration::from_secs(30)).await;
    arrive(&kit, "birdwatch", "v2");
    kit.until("production is v1 again", |kit| kit.labels().0 == "v1")
        .await;
    assert_eq!(kit.phase(), Phase::RollingBack);
}

#[tokio::test(start_paused = true)]
async fn a_late_label_goes_back_though_a_route_cannot_be_lowered() {
    let kit = Kit::new();
    let _operator = kit.operator("one");
    at_full_weight(&kit).await;
    kit.api.inject(Fault::Hang, usize::MAX, is_label_write);
    kit.until("the promotion is sent", is_promoting).await;
    kit.api.inject(Fault::Status(403), usize::MAX, is_weight_write);
    kit.prometheus.answers(BAD);
    kit.until_phase(Phase::RollingBack).await;
    kit.api.heal();
    kit.api.inject(Fault::Status(403), usize::MAX, is_weight_write);
    arrive(&kit, "birdwatch", "v2");
    kit.until("production is v1 again", |kit| kit.labels().0 == "v1")
        .await;
    assert_eq!((kit.phase(), kit.weights()), (Phase::RollingBack, (0, 100)));
}

#[tokio::test(start_paused = true)]
async fn at_rest_a_late_label_goes_back_though_another_object_is_gone() {
    let (kit, _operator) = given_up().await;
    kit.api.delete(SERVICES, (NS, "aleph"));
    kit.until("it is told", |kit| {
        message(kit).contains("there is no VirtualService")
    })
    .await;
    arrive(&kit, "birdwatch", "v2");
    kit.until("production is v1 again", |kit| kit.labels().0 == "v1")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_for_a_rollback_waits_for_no_pods_to_take_a_label_back_to() {
    let kit = Kit::new();
    let _operator = kit.operator("one");
    written_unseen(&kit).await;
    kit.prometheus.answers(BAD);
    kit.until("no traffic on the canary", |kit| kit.weights() == (100, 0))
        .await;
    available(&kit, 0);
    kit.api.heal();
    kit.until("it waits", |kit| message(kit).contains("has no available pod"))
        .await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(kit.phase(), Phase::RollingBack);
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": "rollback/1"});
    });
    kit.until_phase(Phase::RolledBack).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_whose_label_came_late_starts_again_when_it_is_mended() {
    let (kit, _operator) = given_up().await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["spec"].as_object_mut().unwrap().remove("canaryVersion");
    });
    arrive(&kit, "birdwatch", "v2");
    kit.until("production is v1 again", |kit| kit.labels().0 == "v1")
        .await;
    kit.prometheus.answers(0.0);
    kit.api.edit(DEPLOYMENTS, (NS, "aleph-v2"), "kubectl", |d| {
        d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
    });
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.labels().0, "v2");
}

/// From now on nobody is shown a newer Deployment, though one has another image.
fn edit_unseen(kit: &Kit) {
    let is_it = |r: &Request| r.verb == "watch" && r.resource == DEPLOYMENTS;
    kit.api.inject(Fault::Silent, usize::MAX, is_it);
    kit.api.cut_watches(is_it);
    kit.api.edit(DEPLOYMENTS, (NS, "aleph-v2"), "kubectl", |d| {
        d["metadata"]["generation"] = json!(2);
        d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("2");
        d["status"]["observedGeneration"] = json!(2);
    });
}

#[tokio::test(start_paused = true)]
async fn pods_that_were_changed_unseen_are_not_promoted() {
    let kit = Kit::new();
    let _operator = kit.operator("one");
    at_full_weight(&kit).await;
    kit.api.forget_requests();
    edit_unseen(&kit);
    sleep(Duration::from_mins(2)).await;
    assert_eq!((kit.phase(), labels_written(&kit)), (Phase::Promoting, 0));
    kit.api.heal();
    kit.until("the attempt is over", |kit| kit.weights() == (100, 0))
        .await;
    assert_eq!((kit.labels().0.as_str(), labels_written(&kit)), ("v1", 0));
}

/// After production's label, and before the canary's traffic goes to it.
async fn at_the_label(kit: &Kit) {
    at_full_weight(kit).await;
    kit.until("the label is known", |kit| {
        let rollout = kit.status("aleph").rollout;
        rollout.is_some_and(|rollout| rollout.production_label_at.is_some())
    })
    .await;
    assert_eq!(kit.weights(), (0, 100));
}

fn rename_subset(kit: &Kit, place: usize, name: &str) {
    kit.api.edit(RULES, (NS, "aleph"), "argocd", |rule| {
        rule["spec"]["subsets"][place]["name"] = json!(name);
    });
}

#[tokio::test(start_paused = true)]
async fn traffic_does_not_go_to_a_subset_that_is_gone() {
    let kit = Kit::new();
    let _operator = kit.operator("one");
    at_the_label(&kit).await;
    rename_subset(&kit, 0, "stable");
    sleep(Duration::from_mins(2)).await;
    assert_eq!((kit.phase(), kit.weights()), (Phase::Promoting, (0, 100)));
    let said = message(&kit);
    assert!(said.contains("production") && said.contains("aleph"), "{said}");
    let is_told = |kit: &Kit| {
        let conditions = kit.status("aleph").conditions;
        conditions
            .iter()
            .any(|one| one.reason == "ObjectsMissing" && one.message == said)
    };
    assert!(is_told(&kit));
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": "rollback/1"});
    });
    kit.until("the verb is answered", |kit| {
        kit.status("aleph")
            .verb
            .is_some_and(|verb| verb.message.contains(&said))
    })
    .await;
    rename_subset(&kit, 0, "production");
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.weights(), (100, 0));
    assert!(!is_told(&kit));
}

#[tokio::test(start_paused = true)]
async fn a_promotion_is_finished_though_the_subset_that_it_leaves_is_gone() {
    let kit = Kit::new();
    let _operator = kit.operator("one");
    at_the_label(&kit).await;
    rename_subset(&kit, 1, "other");
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["metadata"]["annotations"] = json!({"otomato.link/verb": "rollback/1"});
    });
    kit.until_phase(Phase::Promoted).await;
    let said = kit.status("aleph").verb.unwrap().message;
    assert!(said.ends_with("the promotion is finished first"), "{said}");
    assert_eq!(kit.weights(), (100, 0));
}
