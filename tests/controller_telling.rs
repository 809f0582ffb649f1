//! People are told of everything, in order, and nothing waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::sync::Arc;
use std::time::Duration;

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::spec::Level;
use birdwatch::api::status::{NoticeKind, Phase};
use birdwatch::clients::slack::{Permission, sender};
use birdwatch::controller::channels::Channels;
use birdwatch::controller::deliver::Deliver;
use birdwatch::core::observation::ObjectName;
use birdwatch::runtime::metrics::Metrics;
use controller_kit::slack::{FakeSlack, through};
use controller_kit::{BIRD_WATCHES, DEPLOYMENTS, Kit, NS, Operator, bird_watch, deployment, is_status_write};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

fn kit() -> Kit {
    notifying(&json!({}))
}

/// A `BirdWatch` that says this of notices.
fn notifying(notify: &Value) -> Kit {
    let mut kit = Kit::new();
    kit.settings.notify = Some(Level::Steps);
    let bird_watch = bird_watch("aleph", &json!({"notify": notify}));
    kit.api.put(BIRD_WATCHES, bird_watch);
    kit
}

fn is_warned_of_channel(kit: &Kit) -> bool {
    let warnings = kit.status("aleph").warnings;
    warnings.iter().any(|warning| warning.contains("notify.channel"))
}

fn telling(kit: &Kit, slack: &FakeSlack, name: &str) -> Operator {
    allowing(kit, slack, name, &[])
}

/// An operator that lets a `BirdWatch` choose one of these channels.
fn allowing(kit: &Kit, slack: &FakeSlack, name: &str, channels: &[&str]) -> Operator {
    let channels: Vec<_> = channels.iter().map(|&channel| channel.to_owned()).collect();
    let channels = Channels::new("deployment", &channels);
    kit.operator_telling(name, |gate| through(slack, gate, channels), false)
}

fn in_order(posted: &[(Option<String>, String)], words: &[&str]) {
    let mut texts = posted.iter().map(|(_, text)| text);
    for word in words {
        assert!(
            texts.any(|text| text.contains(word)),
            "{word} is not in its place in {posted:#?}"
        );
    }
}

async fn until_told(kit: &Kit) {
    kit.until("everything is told", |kit| {
        let status = kit.status("aleph");
        status.phase == Phase::Promoted && status.notices.pending.is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_told_in_one_thread_whose_parent_shows_the_present_state() {
    let (kit, slack) = (kit(), FakeSlack::default());
    let _operator = telling(&kit, &slack, "one");
    until_told(&kit).await;
    let posted = slack.0.lock().unwrap().posted.clone();
    assert_eq!(posted[0].0, None, "the parent");
    assert!(
        posted[1..]
            .iter()
            .all(|(thread, _)| thread.as_deref() == Some("1.0")),
        "{posted:#?}"
    );
    in_order(
        &posted[1..],
        &[
            "releasing v2 instead of v1",
            "weight 50 %",
            "weight 100 %",
            "v2 is production now",
        ],
    );
    assert_eq!(posted.len(), 5, "{posted:#?}");
    kit.until("the parent shows the end", |_| {
        slack
            .0
            .lock()
            .unwrap()
            .updated
            .last()
            .is_some_and(|t| t.contains("Promoted"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slack_that_does_not_answer_delays_nothing() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().delay = Duration::from_secs(100_000);
    let _operator = telling(&kit, &slack, "one");
    let begun = Instant::now();
    kit.until_phase(Phase::Promoted).await;
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert_eq!(kit.status("aleph").notices.pending.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_slack_that_fails_for_a_while_is_told_everything_once_and_the_status_says_so_meanwhile() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().failures = 5;
    let _operator = telling(&kit, &slack, "one");
    kit.until("said", |kit| {
        kit.status("aleph")
            .conditions
            .iter()
            .any(|c| c.kind == "NotifyFailing")
    })
    .await;
    until_told(&kit).await;
    assert_eq!(slack.0.lock().unwrap().posted.len(), 5);
    kit.until("over", |kit| {
        !kit.status("aleph")
            .conditions
            .iter()
            .any(|c| c.kind == "NotifyFailing")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_headline_that_slack_edits_no_more_fails_no_longer() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().updates_fail = true;
    let _operator = telling(&kit, &slack, "one");
    until_told(&kit).await;
    let is_failing = |kit: &Kit| {
        let conditions = kit.status("aleph").conditions;
        conditions.iter().any(|c| c.kind == "NotifyFailing")
    };
    kit.until("the edit fails", is_failing).await;
    {
        let mut state = slack.0.lock().unwrap();
        (state.updates_fail, state.updates_refused) = (false, true);
    }
    kit.until("it is given up", |kit| !is_failing(kit)).await;
}

/// A status of a rollout that has told nobody yet, with this to tell.
fn untold(kind: NoticeKind) -> BirdWatchStatus {
    let notice = json!({"id": 0, "rollout": "r1", "kind": kind, "text": "", "at": "2026-01-01T00:00:00Z"});
    let notices = json!({"next": 1, "pending": [notice], "threads": [{"rollout": "r1"}]});
    serde_json::from_value(json!({"notices": notices})).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_headline_that_an_alarm_waits_for_goes_before_the_steps_of_others() {
    let slack = FakeSlack::default();
    slack.0.lock().unwrap().delay = Duration::from_secs(1);
    let everybody = Box::new(|_: &str| Permission::Granted(Box::new(())));
    let (handle, sending) = sender(Arc::new(slack.clone()), everybody, unbounded_channel().0);
    let deliver = Deliver::through(handle, Channels::new("deployment", &[]), Metrics::new());
    // The first is on its way when the others come.
    for (name, kind) in [
        ("first", NoticeKind::Step),
        ("second", NoticeKind::Step),
        ("third", NoticeKind::Unhealthy),
    ] {
        let name = ObjectName {
            namespace: NS.into(),
            name: name.into(),
        };
        deliver.pending(&name, &untold(kind));
    }
    tokio::spawn(sending);
    tokio::time::sleep(Duration::from_mins(1)).await;
    in_order(&slack.0.lock().unwrap().posted, &["first", "third", "second"]);
}

#[tokio::test(start_paused = true)]
async fn with_a_wrong_token_every_notice_waits_and_is_told_once_it_is_mended() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().denied = Some("invalid_auth");
    let _operator = telling(&kit, &slack, "one");
    kit.until_phase(Phase::Promoted).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    let status = kit.status("aleph");
    assert_eq!((status.notices.pending.len(), status.notices.lost), (4, 0));
    let failing = status.conditions.iter().find(|c| c.kind == "NotifyFailing");
    let message = &failing.expect("it is said").message;
    assert!(
        message.contains("invalid_auth") && message.ends_with("4 wait"),
        "{message}"
    );

    slack.0.lock().unwrap().denied = None;
    let mended = Instant::now();
    until_told(&kit).await;
    assert!(
        mended.elapsed() < Duration::from_secs(70),
        "{:?}",
        mended.elapsed()
    );
    let posted = slack.0.lock().unwrap().posted.clone();
    in_order(
        &posted[1..],
        &["releasing v2", "weight 50 %", "weight 100 %", "v2 is production"],
    );
    assert_eq!(posted.len(), 5, "{posted:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_operator_did_not_deliver_the_next_does_in_the_same_thread() {
    let (kit, slack) = (kit(), FakeSlack::default());
    let first = telling(&kit, &slack, "one");
    kit.until_weight(50).await;
    kit.until("the thread is known", |kit| {
        kit.status("aleph")
            .notices
            .threads
            .iter()
            .any(|t| !t.ts.is_empty())
    })
    .await;
    drop(first);
    let _second = telling(&kit, &slack, "two");
    until_told(&kit).await;
    let state = slack.0.lock().unwrap();
    assert_eq!(
        state.posted.iter().filter(|(thread, _)| thread.is_none()).count(),
        1,
        "{:#?}",
        state.posted
    );
    assert!(
        (5..=6).contains(&state.posted.len()),
        "one duplicate at most: {:#?}",
        state.posted
    );
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_be_noted_one_message_is_told_and_no_more_so_that_a_crash_repeats_one() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().failures = usize::MAX;
    let first = telling(&kit, &slack, "one");
    kit.until_phase(Phase::Promoted).await;
    kit.api.inject(
        controller_kit::fake_api::Fault::Status(500),
        usize::MAX,
        is_status_write,
    );
    slack.0.lock().unwrap().failures = 0;
    kit.until("something is told", |_| {
        !slack.0.lock().unwrap().posted.is_empty()
    })
    .await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(slack.0.lock().unwrap().posted.len(), 1);
    drop(first);
    kit.api.heal();
    let _second = telling(&kit, &slack, "two");
    until_told(&kit).await;
    let posted = slack.0.lock().unwrap().posted.clone();
    assert_eq!(posted.len(), 6, "five and one duplicate: {posted:#?}");
}

#[tokio::test(start_paused = true)]
async fn two_rollouts_that_both_have_something_to_tell_take_turns_so_that_a_crash_repeats_one() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().delay = Duration::from_mins(2);
    let _operator = telling(&kit, &slack, "one");
    kit.until_phase(Phase::Promoted).await;
    kit.api.put(DEPLOYMENTS, deployment("aleph", "v3", 2));
    let next = bird_watch("aleph", &json!({"canaryVersion": "v3"}));
    kit.api
        .edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |object: &mut Value| {
            object["spec"] = next["spec"].clone();
        });
    kit.until("both have something to tell", |kit| {
        let pending = kit.status("aleph").notices.pending;
        let last = pending.last().map(|notice| notice.rollout.clone());
        pending.first().map(|notice| notice.rollout.clone()) != last
    })
    .await;
    kit.api.inject(
        controller_kit::fake_api::Fault::Status(500),
        usize::MAX,
        is_status_write,
    );
    let told = || slack.0.lock().unwrap().posted.len();
    let before = told();
    slack.0.lock().unwrap().delay = Duration::ZERO;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(told(), before + 1, "{:#?}", slack.0.lock().unwrap().posted);
    kit.api.heal();
    until_told(&kit).await;
}

#[tokio::test(start_paused = true)]
async fn every_transition_is_an_event_of_its_own() {
    let kit = kit();
    let _operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    let told = |kit: &Kit| -> Vec<(String, String)> {
        let text =
            |event: &serde_json::Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let events = kit.api.all("events.k8s.io/events");
        events
            .iter()
            .map(|event| (text(event, "reason"), text(event, "action")))
            .collect()
    };
    kit.until("four events", |kit| told(kit).len() >= 4).await;
    for (reason, action) in [
        ("RolloutStarted", "StartRollout"),
        ("WeightConfirmed", "SetWeightTo50"),
        ("WeightConfirmed", "SetWeightTo100"),
        ("Promoted", "Promote"),
    ] {
        // The rollout's id follows, so that two rollouts are told apart.
        let same = |(its_reason, its_action): &&(String, String)| {
            its_reason == reason && its_action.starts_with(&format!("{action}-"))
        };
        let told = told(&kit);
        assert_eq!(told.iter().filter(same).count(), 1, "{reason} {action}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_takes_no_events_delays_nothing() {
    let kit = kit();
    kit.api
        .inject(controller_kit::fake_api::Fault::Hang, usize::MAX, |r| {
            r.resource.ends_with("/events")
        });
    let _operator = kit.operator("one");
    let begun = Instant::now();
    kit.until_phase(Phase::Promoted).await;
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert!(kit.calls().iter().any(is_status_write));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_asked_for_and_allowed_is_told() {
    for allowed in ["*", "payments", "#payments"] {
        let (kit, slack) = (notifying(&json!({"channel": "#payments"})), FakeSlack::default());
        let _operator = allowing(&kit, &slack, "one", &[allowed]);
        until_told(&kit).await;
        let told = slack.0.lock().unwrap().channels.clone();
        assert_eq!(told[0], "#payments", "allowed: {allowed}");
        // The rest goes to the thread, wherever Slack says that it is.
        assert!(told[1..].iter().all(|channel| channel == "C1"), "{told:?}");
        assert!(!is_warned_of_channel(&kit));
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_not_allowed_is_passed_over_for_the_default_and_status_says_so() {
    let (kit, slack) = (notifying(&json!({"channel": "secret"})), FakeSlack::default());
    let _operator = allowing(&kit, &slack, "one", &["payments"]);
    until_told(&kit).await;
    assert_eq!(slack.0.lock().unwrap().channels[0], "deployment");
    let expected = "notify.channel: \"secret\" is not allowed, notices go to \"deployment\"; the administrator allows \
                    it with slackAllowedChannels";
    assert_eq!(kit.status("aleph").warnings, [expected]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_more_than_the_administrator_lets_them() {
    let (mut kit, slack) = (notifying(&json!({"level": "steps"})), FakeSlack::default());
    kit.settings.notify = Some(Level::Ends);
    let _operator = telling(&kit, &slack, "one");
    until_told(&kit).await;
    let posted = slack.0.lock().unwrap().posted.clone();
    in_order(&posted[1..], &["releasing v2", "v2 is production"]);
    assert_eq!(posted.len(), 3, "{posted:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_of_an_earlier_rollout_goes_to_the_channel_that_rollout_asked_for() {
    let (kit, slack) = (notifying(&json!({"channel": "payments"})), FakeSlack::default());
    slack.0.lock().unwrap().denied = Some("invalid_auth");
    let _operator = allowing(&kit, &slack, "one", &["*"]);
    kit.until_phase(Phase::Promoted).await;
    kit.api.put(DEPLOYMENTS, deployment("aleph", "v3", 2));
    let next = bird_watch(
        "aleph",
        &json!({"canaryVersion": "v3", "notify": {"channel": "ops"}}),
    );
    kit.api
        .edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |object: &mut Value| {
            object["spec"] = next["spec"].clone();
        });
    kit.until("the next is promoted", |kit| {
        let status = kit.status("aleph");
        status.phase == Phase::Promoted && status.promoted_version.as_deref() == Some("v3")
    })
    .await;
    slack.0.lock().unwrap().denied = None;
    until_told(&kit).await;
    let told = slack.0.lock().unwrap().parents();
    for (asked, rollout) in [("payments", "v1 → v2"), ("ops", "v2 → v3")] {
        let of_it = |(_, text): &&(String, String)| text.contains(rollout);
        let channels: Vec<_> = told
            .iter()
            .filter(of_it)
            .map(|(channel, _)| channel.as_str())
            .collect();
        assert_eq!(channels, [asked], "{told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_channel_that_is_gone_is_told_in_the_one_that_people_name_afterwards() {
    let (kit, slack) = (notifying(&json!({"channel": "payments"})), FakeSlack::default());
    let _operator = allowing(&kit, &slack, "one", &["*"]);
    kit.until("the thread is known", |kit| {
        let threads = kit.status("aleph").notices.threads;
        threads.iter().any(|thread| !thread.ts.is_empty())
    })
    .await;
    assert_eq!(
        kit.status("aleph").notices.threads[0].opened_in.as_deref(),
        Some("payments")
    );
    slack.0.lock().unwrap().gone = Some("C1");
    kit.until_phase(Phase::Promoted).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(!kit.status("aleph").notices.pending.is_empty());

    slack.0.lock().unwrap().channel_id = Some("C2");
    kit.api
        .edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |object: &mut Value| {
            object["spec"]["notify"]["channel"] = "ops".into();
        });
    until_told(&kit).await;
    let thread = kit.status("aleph").notices.threads[0].clone();
    assert_eq!(
        (thread.opened_in.as_deref(), thread.channel.as_str()),
        (Some("ops"), "C2")
    );
    let state = slack.0.lock().unwrap();
    let (channel, text) = state.parents().pop().unwrap();
    assert!(
        channel == "ops" && text.contains("*Promoted*"),
        "{channel}: {text}"
    );
    in_order(&state.posted, &["weight 100 %", "v2 is production now"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_though_the_object_goes_while_its_last_status_is_answered() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().denied = Some("invalid_auth");
    let late = controller_kit::fake_api::Fault::Late(Duration::from_secs(1));
    kit.api.inject(late, 1, |request| {
        is_status_write(request) && request.body["status"]["phase"] == "Promoted"
    });
    let _operator = telling(&kit, &slack, "one");
    kit.until_phase(Phase::Promoted).await;
    kit.api
        .edit(BIRD_WATCHES, (NS, "aleph"), "kubectl", |object: &mut Value| {
            object["metadata"]["finalizers"] = json!([]);
        });
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    slack.0.lock().unwrap().denied = None;
    tokio::time::sleep(Duration::from_mins(2)).await;
    let posted = slack.0.lock().unwrap().posted.clone();
    in_order(
        &posted,
        &["releasing v2", "weight 50 %", "weight 100 %", "v2 is production"],
    );
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_a_dead_operator_left_behind_is_brought_up_to_date_once() {
    let (kit, slack) = (kit(), FakeSlack::default());
    slack.0.lock().unwrap().updates_fail = true;
    let first = telling(&kit, &slack, "one");
    until_told(&kit).await;
    drop(first);
    slack.0.lock().unwrap().updates_fail = false;
    let updated = || slack.0.lock().unwrap().updated.clone();
    let shows_the_end = |kit: &Kit| {
        kit.status("aleph").notices.threads[0]
            .shown
            .contains("*Promoted*")
    };
    assert_eq!(updated(), Vec::<String>::new());

    let second = telling(&kit, &slack, "two");
    kit.until("the parent shows the end", shows_the_end).await;
    assert!(
        updated().len() == 1 && updated()[0].contains("*Promoted*"),
        "{:#?}",
        updated()
    );
    drop(second);

    kit.api.forget_requests();
    let _third = telling(&kit, &slack, "three");
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(updated().len(), 1, "{:#?}", updated());
    assert_eq!(kit.writes_of("three"), 0);
}

fn counts_lost(operator: &Operator, count: i64) -> bool {
    let line = format!("birdwatch_notices_total{{result=\"lost\"}} {count}");
    operator
        .metrics
        .text()
        .unwrap()
        .lines()
        .any(|found| found == line)
}

#[tokio::test(start_paused = true)]
async fn every_notice_that_gave_way_or_was_refused_is_counted_as_lost() {
    let (mut kit, slack) = (Kit::new(), FakeSlack::default());
    kit.settings.notify = Some(Level::Steps);
    let steps = json!({"increment": 4, "interval": "1s"});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &steps));
    slack.0.lock().unwrap().denied = Some("invalid_auth");
    let operator = telling(&kit, &slack, "one");
    kit.until_phase(Phase::Promoted).await;
    // A start and 25 steps, of which 20 wait.
    assert_eq!(kit.status("aleph").notices.lost, 6);
    assert!(counts_lost(&operator, 6), "{}", operator.metrics.text().unwrap());

    {
        let mut state = slack.0.lock().unwrap();
        (state.denied, state.refused) = (None, Some("weight 40 %"));
    }
    until_told(&kit).await;
    assert_eq!(kit.status("aleph").notices.lost, 7);
    assert!(counts_lost(&operator, 7), "{}", operator.metrics.text().unwrap());
}
