//! What goes wrong around a rollout, and that it does not matter: conflicts, lost answers, late watches, restarts,
//! two leaders, a slow Prometheus, objects that make no sense.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::api::status::{FailureReason, Phase, Verdict};
use birdwatch::clients::prometheus::{Failure, Outcome};
use birdwatch::core::observation::ObjectName;
use birdwatch::runtime::lease::{Leadership, Term};
use controller_kit::fake_api::{Fault, Request, Spoil, Spoiled, line};
use controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, Kit, NS, RULES, SERVICES, bird_watch, is_status_write, is_weight_write,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// A rollout that holds 50 %.
async fn at_half() -> (Kit, controller_kit::Operator) {
    let kit = Kit::new();
    kit.bird_watch();
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    (kit, operator)
}

fn reason(kit: &Kit) -> Option<FailureReason> {
    Some(kit.status("aleph").rollout?.failure?.reason)
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_conflicts_does_not_keep_traffic_on_a_sick_canary() {
    let (kit, _operator) = at_half().await;
    kit.api.inject(Fault::Status(409), 40, is_weight_write);
    kit.prometheus.answers(3.0);
    kit.until("judged", |kit| kit.status("aleph").phase == Phase::RollingBack)
        .await;
    let judged = Instant::now();
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    assert!(
        judged.elapsed() < Duration::from_secs(15),
        "{:?}",
        judged.elapsed()
    );
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(reason(&kit), Some(FailureReason::MetricUnhealthy));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_answers_nothing_for_a_while_is_asked_again_within_seconds() {
    let (kit, _operator) = at_half().await;
    kit.api.inject(Fault::Hang, 3, is_weight_write);
    kit.prometheus.answers(3.0);
    let begun = Instant::now();
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn traffic_goes_back_though_no_status_can_be_written_and_the_judgement_is_not_lost() {
    let (kit, _operator) = at_half().await;
    kit.api.inject(Fault::Status(500), usize::MAX, is_status_write);
    kit.prometheus.answers(3.0);
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    kit.prometheus.answers(0.0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(kit.phase(), Phase::Progressing, "nothing could be written");
    kit.api.heal();
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(reason(&kit), Some(FailureReason::MetricUnhealthy));
    assert!(
        !kit.raised_to().contains(&100),
        "it went on: {:?}",
        kit.raised_to()
    );
}

#[tokio::test(start_paused = true)]
async fn a_conflict_on_the_status_of_a_rollback_loses_nothing() {
    let (kit, _operator) = at_half().await;
    kit.api.inject(Fault::Status(409), 3, is_status_write);
    kit.prometheus.answers(3.0);
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(
        (kit.weights(), reason(&kit)),
        ((100, 0), Some(FailureReason::MetricUnhealthy))
    );
    kit.until("told", |kit| told(kit, "RolledBack") == 1).await;
    assert_eq!(told(&kit, "CanaryUnhealthy"), 1);
}

/// How often an Event with that reason was published.
fn told(kit: &Kit, reason: &str) -> usize {
    let events = kit.api.all("events.k8s.io/events");
    let of_reason = events.iter().filter(|event| event["reason"] == reason);
    let times = |event: &Value| event["series"]["count"].as_u64().unwrap_or(1);
    usize::try_from(of_reason.map(times).sum::<u64>()).unwrap()
}

/// What an untroubled life tells by Events, and how often.
fn told_of(kit: &Kit, reasons: &[&str]) -> Vec<usize> {
    reasons.iter().map(|reason| told(kit, reason)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_rollback_tells_is_told_once_however_its_status_is_written() {
    let troubles = [
        (Fault::Status(409), 2),
        (Fault::Status(500), 3),
        (Fault::Cut, 2),
        (Fault::CutAfter, 1),
        (Fault::CutAfter, 3),
        (Fault::Hang, 2),
    ];
    for (trouble, times) in troubles {
        let (kit, _operator) = at_half().await;
        kit.api.inject(trouble, times, is_status_write);
        kit.prometheus.answers(3.0);
        kit.until_phase(Phase::RolledBack).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let reasons = [
            "RolloutStarted",
            "WeightConfirmed",
            "CanaryUnhealthy",
            "RolledBack",
        ];
        assert_eq!(told_of(&kit, &reasons), [1, 1, 1, 1], "{trouble:?} {times} times");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_promotion_tells_is_told_once_though_no_write_of_status_is_answered() {
    for trouble in [Fault::CutAfter, Fault::Cut, Fault::Status(409)] {
        let kit = Kit::new();
        kit.bird_watch();
        let times = if matches!(trouble, Fault::CutAfter) {
            usize::MAX
        } else {
            3
        };
        kit.api.inject(trouble, times, is_status_write);
        let _operator = kit.operator("one");
        kit.until_phase(Phase::Promoted).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let reasons = ["RolloutStarted", "WeightConfirmed", "Promoted"];
        assert_eq!(told_of(&kit, &reasons), [1, 2, 1], "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_on_the_status_of_a_raise_raises_nothing_before_it_is_written() {
    let (kit, _operator) = at_half().await;
    kit.api.inject(Fault::Status(409), 5, is_status_write);
    kit.until_weight(100).await;
    let calls = kit.calls();
    let raise = calls.iter().rposition(is_weight_write).unwrap();
    let committed = calls[..raise]
        .iter()
        .rev()
        .find(|call| is_status_write(call))
        .unwrap();
    assert_eq!(committed.body["status"]["rollout"]["intended"], 100);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_are_found_out_by_reading() {
    let kit = Kit::new();
    kit.bird_watch();
    kit.api.inject(Fault::CutAfter, 2, is_weight_write);
    kit.api.inject(Fault::CutAfter, 2, is_status_write);
    let _operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    let mut raised = kit.raised_to();
    raised.dedup();
    assert_eq!(raised, [50, 100, 0]);
}

#[tokio::test(start_paused = true)]
async fn late_watches_make_nothing_be_written_twice_or_read() {
    let kit = Kit::new();
    kit.bird_watch();
    kit.api
        .inject(Fault::Delay(Duration::from_mins(2)), usize::MAX, |r| {
            r.verb == "watch" && [SERVICES, BIRD_WATCHES, RULES].contains(&r.resource.as_str())
        });
    let _operator = kit.operator("one");
    let begun = Instant::now();
    kit.until_phase(Phase::Promoted).await;
    assert!(
        begun.elapsed() < Duration::from_secs(100),
        "the watches were not late: {:?}",
        begun.elapsed()
    );
    assert_eq!(kit.raised_to(), [50, 100, 0]);
    let calls = kit.calls();
    let reads: Vec<&str> = calls
        .iter()
        .filter(|call| call.verb == "get")
        .map(|call| call.resource.as_str())
        .collect();
    assert_eq!(
        reads,
        [SERVICES, DEPLOYMENTS, SERVICES],
        "before production's label, and before the end: {:?}",
        kit.counted()
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_killed_at_any_moment_is_followed_by_one_that_reaches_the_same_end() {
    for half_seconds in 0..60 {
        let kit = Kit::new();
        kit.bird_watch();
        // Long enough to be killed while a write is under way.
        kit.api
            .inject(Fault::Delay(Duration::from_millis(300)), usize::MAX, |r| {
                r.verb == "patch" || r.verb == "update"
            });
        let first = kit.operator("first");
        tokio::time::sleep(Duration::from_millis(half_seconds * 500 + 90)).await;
        drop(first);
        let _second = kit.operator("second");
        kit.until_phase(Phase::Promoted).await;
        let mut raised = kit.raised_to();
        raised.dedup();
        assert_eq!(raised, [50, 100, 0], "killed after {half_seconds} half seconds");
        assert_eq!(kit.weights(), (100, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_was_deposed_writes_nothing() {
    let (kit, first) = at_half().await;
    first.leadership.send_replace(Leadership::Standby);
    kit.api.forget_requests();
    let _second = kit.operator("two");
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.writes_of("one"), 0);
    assert!(kit.writes_of("two") > 0);
}

#[tokio::test(start_paused = true)]
async fn one_whose_lease_ran_out_unnoticed_writes_nothing() {
    let (kit, first) = at_half().await;
    let until = kit.clock.monotonic() + Duration::from_secs(1);
    let term = Term::new(kit.clock.now(), until);
    first.leadership.send_replace(Leadership::Leading(term));
    tokio::time::sleep(Duration::from_secs(2)).await;
    kit.api.forget_requests();
    kit.prometheus.answers(3.0);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((kit.writes_of("one"), kit.weights()), (0, (50, 50)));
    let _second = kit.operator("two");
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(kit.writes_of("one"), 0);
}

#[tokio::test(start_paused = true)]
async fn one_whose_renewal_came_late_goes_on_though_nobody_says_so() {
    let (kit, first) = at_half().await;
    let since = first.leadership.borrow().term().unwrap().since;
    let renewed_until = |until| {
        first.leadership.send_if_modified(|leadership| {
            *leadership = Leadership::Leading(Term::new(since, until));
            false
        });
    };
    renewed_until(kit.clock.monotonic());
    kit.api.forget_requests();
    // Every check that was due or under way comes to nothing.
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!((kit.writes_of("one"), kit.weights()), (0, (50, 50)));
    kit.prometheus.answers(3.0);
    renewed_until(kit.clock.monotonic() + Duration::from_hours(1));
    kit.until_phase(Phase::RolledBack).await;
}

#[tokio::test(start_paused = true)]
async fn one_deposed_between_the_intent_and_the_raise_does_not_raise() {
    let (kit, first) = at_half().await;
    kit.api.inject(Fault::Delay(Duration::from_secs(2)), 1, |r| {
        is_status_write(r) && r.body["status"]["rollout"]["intended"] == 100
    });
    kit.api.forget_requests();
    while !kit.calls().iter().any(is_status_write) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    first.leadership.send_replace(Leadership::Standby);
    kit.until("the intent is written", |kit| {
        kit.status("aleph").rollout.unwrap().intended == 100
    })
    .await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((kit.raised_to(), kit.weights()), (vec![], (50, 50)));
}

#[tokio::test(start_paused = true)]
async fn what_a_lowering_was_for_is_not_forgotten_while_status_cannot_be_written() {
    let (kit, _operator) = at_half().await;
    let pods = |available: i32| {
        kit.api.edit(DEPLOYMENTS, (NS, "aleph-v2"), "kubelet", |d| {
            d["status"]["availableReplicas"] = json!(available);
        });
    };
    kit.api.inject(Fault::Status(500), usize::MAX, is_status_write);
    pods(0);
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    pods(2);
    tokio::time::sleep(Duration::from_secs(30)).await;
    kit.api.heal();
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(reason(&kit), Some(FailureReason::CanaryUnavailable));
}

#[tokio::test(start_paused = true)]
async fn a_standby_goes_on_as_soon_as_it_leads() {
    let kit = Kit::new();
    kit.bird_watch();
    let operator = kit.operator("one");
    operator.leadership.send_replace(Leadership::Standby);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let before = kit.status("aleph");
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(kit.status("aleph"), before);
    operator.leadership.send_replace(kit.leading());
    kit.until_phase(Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn one_deposed_and_back_before_anybody_looked_remembers_nothing_of_the_former_term() {
    let (kit, operator) = at_half().await;
    let name = ObjectName {
        namespace: NS.into(),
        name: "aleph".into(),
    };
    let before = operator.scope.memory.get(&name).unwrap();
    operator.leadership.send_replace(Leadership::Standby);
    operator.leadership.send_replace(kit.leading());
    kit.until_phase(Phase::Promoted).await;
    let now = operator.scope.memory.get(&name).unwrap();
    assert!(!Arc::ptr_eq(&before, &now));
}

#[tokio::test(start_paused = true)]
async fn objects_that_make_no_sense_harm_no_other() {
    let kit = Kit::new();
    let meta = |name: &str| json!({"name": name, "namespace": NS});
    for spec in [
        json!("text"),
        json!(null),
        json!({"service": 5}),
        json!({"service": "beth", "increment": "x"}),
    ] {
        let name = format!("broken-{}", spec.to_string().len());
        kit.api.put(
            BIRD_WATCHES,
            json!({"metadata": meta(&name), "spec": spec, "status": [1]}),
        );
    }
    kit.api.put(
        BIRD_WATCHES,
        json!({"metadata": meta("odd-phase"), "spec": bird_watch("aleph", &json!({}))["spec"],
        "status": {"phase": "Mirroring"}}),
    );
    kit.api.put(
        SERVICES,
        json!({"metadata": meta("beth"), "spec": {"http": {"a": 1}, "tcp": [7]}}),
    );
    kit.api
        .put(SERVICES, json!({"metadata": meta("gimel"), "spec": 9}));
    kit.api.put(
        RULES,
        json!({"metadata": meta("beth"), "spec": {"host": ["x"], "subsets": "y"}}),
    );
    kit.api.put(
        DEPLOYMENTS,
        json!({"metadata": meta("odd"), "spec": {"replicas": "many", "template": 1}, "status": 3}),
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    kit.api.put(
        BIRD_WATCHES,
        bird_watch("gimel", &json!({"destinationRule": "nowhere"})),
    );
    kit.api
        .put(BIRD_WATCHES, bird_watch("beth", &json!({"canaryVersion": null})));
    kit.service("daleth");
    kit.api.put(BIRD_WATCHES, bird_watch("daleth", &json!({})));
    let _operator = kit.operator("one");
    kit.until("daleth is promoted", |kit| {
        kit.status("daleth").phase == Phase::Promoted
    })
    .await;
    let message = kit.status("gimel").message;
    assert!(message.contains("DestinationRule \"nowhere\""), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_is_slow_for_one_delays_no_other() {
    let kit = Kit::new();
    kit.service("beth");
    kit.prometheus.takes(Duration::from_hours(1));
    kit.prometheus.is_slow_for("beth");
    let slow = r#"sum(rate(errors{service="beth"}[10s]))"#;
    kit.api
        .put(BIRD_WATCHES, bird_watch("beth", &json!({"metric": slow})));
    kit.bird_watch();
    let _operator = kit.operator("one");
    let begun = Instant::now();
    kit.until_phase(Phase::Promoted).await;
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert_eq!(kit.status("beth").phase, Phase::Baseline);
}

/// A `BirdWatch` that asks for three bad checks of five, each second, and holds for long.
fn judged_by_several_checks(kit: &Kit) {
    let metrics = json!([{
        "name": "errors", "query": "sum(rate(errors[10s]))", "deviation": 0.5, "failures": {"count": 3, "of": 5},
    }]);
    let more = json!({"metric": null, "deviation": null, "metrics": metrics, "checkInterval": "1s", "interval": "1h"});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &more));
}

/// As the API server does where the stored spec breaks a rule of the schema.
#[tokio::test(start_paused = true)]
async fn a_canary_is_judged_and_people_are_told_while_the_server_refuses_every_status() {
    let kit = Kit::new();
    judged_by_several_checks(&kit);
    let operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.api.inject(Fault::Status(422), usize::MAX, is_status_write);
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "forced", |bw| {
        bw["spec"]["steps"] = json!("up");
    });
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(kit.weights(), (50, 50));
    // Status cannot say it: an Event does, not at every look, and the metric of what is refused.
    let refused = told(&kit, "WriteRefused");
    assert!((1..=10).contains(&refused), "{refused}");
    let metrics = operator.metrics.text().unwrap();
    let prefix = "birdwatch_reconciles_total{result=\"refused\"} ";
    let counted = metrics.lines().find_map(|line| line.strip_prefix(prefix));
    assert_ne!(counted.unwrap_or("0"), "0", "{metrics}");

    kit.prometheus.answers(3.0);
    let sick = Instant::now();
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    assert!(sick.elapsed() < Duration::from_secs(10), "{:?}", sick.elapsed());
    kit.until("told", |kit| told(kit, "RolledBack") == 1).await;
    assert_eq!((told(&kit, "CanaryUnhealthy"), told(&kit, "SpecInvalid")), (1, 1));
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!((told(&kit, "RolledBack"), kit.weights()), (1, (100, 0)));
    assert_eq!(kit.status("aleph").phase, Phase::Progressing, "as last taken");

    kit.api.heal();
    kit.until_phase(Phase::RolledBack).await;
    assert_eq!(reason(&kit), Some(FailureReason::MetricUnhealthy));
}

/// A server in trouble, told of by itself or only by its silence.
fn troubles() -> [Fault; 2] {
    [Fault::Status(500), Fault::Hang]
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_judged_by_several_checks_while_every_status_fails() {
    for trouble in troubles() {
        let kit = Kit::new();
        judged_by_several_checks(&kit);
        let _operator = kit.operator("one");
        kit.until_weight(50).await;
        kit.api.inject(trouble, usize::MAX, is_status_write);
        kit.prometheus.answers(3.0);
        kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
        assert_eq!(kit.phase(), Phase::Progressing, "nothing could be written");
        kit.api.heal();
        kit.until_phase(Phase::RolledBack).await;
        assert_eq!(reason(&kit), Some(FailureReason::MetricUnhealthy));
        kit.until("told", |kit| told(kit, "RolledBack") == 1).await;
        assert_eq!(told(&kit, "CanaryUnhealthy"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nothing_is_known_is_not_held_though_no_status_can_say_so() {
    for trouble in troubles() {
        let kit = Kit::new();
        kit.api
            .put(BIRD_WATCHES, bird_watch("aleph", &json!({"interval": "1m"})));
        let _operator = kit.operator("one");
        kit.until_weight(50).await;
        kit.api.inject(trouble, usize::MAX, is_status_write);
        kit.prometheus
            .fails(Outcome::Failed(Failure::Refused("no route".into())));
        tokio::time::sleep(Duration::from_mins(5)).await;
        kit.api.heal();
        kit.prometheus.answers(0.0);
        let sees_again = Instant::now();
        kit.until_weight(100).await;
        let held = sees_again.elapsed();
        assert!(held > Duration::from_secs(50), "{held:?} of a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_status_is_refused_can_be_deleted_in_the_middle() {
    let (kit, _operator) = at_half().await;
    kit.api.inject(Fault::Status(422), usize::MAX, is_status_write);
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    assert_eq!((kit.weights(), kit.labels().1), ((100, 0), "v0".into()));
}

#[tokio::test(start_paused = true)]
async fn a_blind_operator_holds_and_goes_on_by_itself() {
    let (kit, _operator) = at_half().await;
    kit.prometheus
        .fails(Outcome::Failed(Failure::Refused("no route".into())));
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!((kit.weights(), kit.phase()), ((50, 50), Phase::Progressing));
    kit.prometheus.answers(0.0);
    kit.until_phase(Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_has_its_names_looked_up_once_in_a_rollout() {
    let kit = Kit::new();
    kit.prometheus.fails(Outcome::Empty);
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(kit.prometheus.asked() > 10, "{}", kit.prometheus.asked());
    assert_eq!(kit.prometheus.looked_up(), 1);
    assert_eq!(
        kit.weights(),
        (50, 50),
        "nothing beyond the first step without traffic"
    );
}

#[tokio::test(start_paused = true)]
async fn broken_watches_are_taken_up_again_and_nothing_is_missed() {
    let (kit, _operator) = at_half().await;
    kit.api.compact();
    kit.api.cut_watches(|_| true);
    kit.api.edit(SERVICES, (NS, "aleph"), "kubectl", |vs| {
        vs["spec"]["http"][0]["route"][0]["weight"] = json!(20);
        vs["spec"]["http"][0]["route"][1]["weight"] = json!(80);
    });
    kit.until("lowered again", |kit| kit.weights().1 <= 50).await;
    kit.until_phase(Phase::Promoted).await;
}

/// As where a connection dies and nobody is told.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_is_begun_anew_within_a_minute() {
    let (kit, _operator) = at_half().await;
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |bw| {
        bw["spec"]["paused"] = json!(true);
    });
    let is_of_deployments = |r: &Request| r.verb == "watch" && r.resource == DEPLOYMENTS;
    kit.api.inject(Fault::Silent, 1, is_of_deployments);
    kit.api.cut_watches(is_of_deployments);
    let silent = Instant::now();
    kit.api.edit(DEPLOYMENTS, (NS, "aleph-v2"), "kubelet", |d| {
        d["status"]["availableReplicas"] = json!(0);
    });
    kit.until_phase(Phase::RolledBack).await;
    assert!(
        silent.elapsed() < Duration::from_mins(1),
        "{:?}",
        silent.elapsed()
    );
    assert_eq!(kit.weights(), (100, 0));
}

/// Says of the next object of every watch that it has no name.
#[derive(Default)]
struct Nameless(Mutex<BTreeSet<String>>);

impl Spoil for Nameless {
    fn answer(&self, _: &Request, _: &[u8]) -> Option<Spoiled> {
        None
    }

    fn lines(&self, request: &Request, lines: &str) -> Option<(Vec<u8>, bool)> {
        let is_first = self.0.lock().unwrap().insert(request.resource.clone());
        let mut event: Value = serde_json::from_str(lines.lines().next()?).ok()?;
        let metadata = event["object"]["metadata"].as_object_mut()?;
        metadata.remove("name").filter(|_| is_first)?;
        Some((line(&event).into_bytes(), false))
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_without_a_name_ends_no_watch() {
    let (kit, _operator) = at_half().await;
    let nameless = Arc::new(Nameless::default());
    kit.api.spoil(Arc::clone(&nameless) as _);
    kit.until_phase(Phase::Promoted).await;
    let spoiled = nameless.0.lock().unwrap().clone();
    assert!(
        spoiled.contains(BIRD_WATCHES) && spoiled.contains(SERVICES),
        "{spoiled:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn stopped_in_order_a_reconcile_under_way_is_finished() {
    let (kit, operator) = at_half().await;
    kit.api
        .inject(Fault::Delay(Duration::from_secs(2)), 1, is_weight_write);
    kit.api.forget_requests();
    kit.prometheus.answers(3.0);
    while !kit.calls().iter().any(is_weight_write) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    operator.stop().await;
    assert_eq!((kit.weights(), kit.phase()), ((100, 0), Phase::RollingBack));
}

/// While paused a canary is found well, and then nothing is known of it: the status that says so meets a conflict, and the
/// next check is asked already.
#[tokio::test(start_paused = true)]
async fn an_answer_whose_status_met_a_conflict_is_not_forgotten_for_the_one_before_it() {
    let kit = Kit::new();
    // Each answer comes when the next check is due.
    kit.prometheus.takes(Duration::from_secs(5));
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    let pause = |paused: bool| {
        kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", move |bw| {
            bw["spec"]["paused"] = json!(paused);
        });
    };
    let verdict = |kit: &Kit| kit.status("aleph").rollout.unwrap().verdict;
    tokio::time::sleep(Duration::from_secs(6)).await;
    pause(true);
    kit.prometheus
        .fails(Outcome::Failed(Failure::Refused("no route".into())));
    kit.until("found well", |kit| verdict(kit) == Some(Verdict::Good))
        .await;
    kit.api.inject(Fault::Status(409), 1, |request| {
        let verdict = &request.body["status"]["rollout"]["verdict"];
        is_status_write(request) && *verdict == "Unknown"
    });
    tokio::time::sleep(Duration::from_secs(6)).await;
    pause(false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(kit.weights(), (50, 50), "raised on {:?}", verdict(&kit));
    assert_eq!(verdict(&kit), Some(Verdict::Unknown));
}
