//! Promise 10: notices never delay a rollout and are not lost (behaviours c and k).

use birdwatch::api::status::{FailureReason, NoticeKind, Phase};
use birdwatch::api::{BirdWatch, BirdWatchStatus};
use birdwatch_bed::Bed;
use birdwatch_bed::parts::slack::{Call, Manner, Message, Mode};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::kit::{at_20, condition, held_at_20};
use crate::support::{A_WHILE, SOON, Service, alone_after, eventually};

/// Slack as it should be, whatever becomes of the test.
struct Mended(&'static Bed);

impl Drop for Mended {
    fn drop(&mut self) {
        self.0.slack.set_mode(Mode::default());
    }
}

fn all_is_told(status: &BirdWatchStatus) -> bool {
    status.notices.pending.is_empty()
}

#[test]
fn c_while_slack_is_silent_a_rollback_does_not_wait_for_it_and_is_told_afterwards() {
    let prepare = async |bed| at_20(bed, "c-slack", held_at_20()).await;
    alone_after(prepare, async |bed, service| {
        let _mended = Mended(bed);
        let weights = service.record();
        service.until("told so far", A_WHILE, all_is_told).await;

        bed.slack.set_mode(Mode::of(Manner::Silence));
        service.falls_sick().await;
        let status = service.is_rolled_back(FailureReason::MetricUnhealthy).await;
        weights.is_up_and_down_at_once().await;
        let waiting: Vec<_> = status.notices.pending.iter().map(|notice| notice.kind).collect();
        assert!(
            waiting.ends_with(&[NoticeKind::Unhealthy, NoticeKind::RolledBack]),
            "{waiting:?}"
        );
        let refuses = |status: &_| condition(status, "NotifyFailing", "SlackRefuses").is_some();
        service.until("told that Slack fails", SOON, refuses).await;
        assert_eq!(service.times_told("rolled back"), 0);

        bed.slack.set_mode(Mode::default());
        let all_well = |status: &BirdWatchStatus| all_is_told(status) && !refuses(status);
        service.until("told", A_WHILE, all_well).await;
        assert_eq!(service.times_told("v2 unhealthy at weight 20 %"), 1);
        assert_eq!(service.times_told("v2 rolled back to v1"), 1);
    });
}

#[test]
fn k_after_429_and_500_every_notice_is_told_once_in_order_in_one_thread() {
    let prepare = async |bed| {
        let service = Service::silent(bed, "k").await;
        service.watch_seen(judged_by_nothing()).await;
        service
    };
    alone_after(prepare, async |bed, service| {
        let _mended = Mended(bed);
        everybody_is_told(&service).await;
        bed.slack.set_mode(Mode {
            retry_after: 2,
            ..Mode::of(Manner::TooMany)
        });
        service.deploy("v2", &[]).await;
        // Slack keeps the rollout from nothing; it is paused so that it is not over before Slack is mended.
        service.weight(20).await;
        service.edit(json!({"paused": true})).await;
        service.is_answered("ratelimited").await;
        bed.slack.set_mode(Mode::of(Manner::Broken));
        service.is_answered("500").await;
        assert_eq!(service.told(), Vec::<String>::new());
        bed.slack.set_mode(Mode::default());
        eventually("the parent is posted", A_WHILE, async || {
            service.parents().into_iter().next()
        })
        .await;
        service.edit(json!({"paused": false})).await;
        service.phase(Phase::Promoted, A_WHILE).await;
        let status = service.until("told", A_WHILE, all_is_told).await;
        assert_eq!(status.notices.lost, 0);
        let parent = eventually("the parent shows the end", SOON, async || {
            service
                .parents()
                .into_iter()
                .find(|parent| parent.text.contains("*Promoted*"))
        })
        .await;

        assert_eq!(service.parents().len(), 1, "one thread");
        assert!(parent.text.contains("100 %"), "{}", parent.text);
        assert!(!parent.updates.is_empty() && parent.posted_text != parent.text);
        let replies: Vec<_> = replies_to(bed, &parent);
        let expected = [
            "releasing v2 instead of v1",
            "weight 20 %",
            "weight 50 %",
            "weight 100 %",
            "v2 is production now",
        ];
        assert_eq!(replies.len(), expected.len(), "{replies:#?}");
        for (reply, begin) in replies.iter().zip(expected) {
            assert!(
                reply.starts_with(begin),
                "{begin:?} is not where it belongs: {replies:#?}"
            );
        }
        retry_after_is_kept(&bed.slack.calls());
    });
}

#[test]
fn c_with_a_wrong_token_every_notice_waits_and_is_told_once_in_order_when_it_is_mended() {
    let prepare = async |bed| {
        let service = Service::silent(bed, "c-token").await.with_traffic(10.0);
        service.watch_seen(held_at_20()).await;
        service
    };
    alone_after(prepare, async |bed, service| {
        let _mended = Mended(bed);
        everybody_is_told(&service).await;
        bed.slack.set_mode(Mode {
            error: "invalid_auth".to_owned(),
            ..Mode::of(Manner::NotOk)
        });
        service.deploy("v2", &[]).await;
        service.weight(20).await;
        service.falls_sick().await;
        service.is_rolled_back(FailureReason::MetricUnhealthy).await;
        let all_wait = |status: &BirdWatchStatus| {
            let waits = |kind| status.notices.pending.iter().any(|notice| notice.kind == kind);
            let why = condition(status, "NotifyFailing", "SlackRefuses");
            TOLD.iter().all(|(kind, _)| waits(*kind)) && why.is_some_and(|why| why.contains("invalid_auth"))
        };
        let status = service.until("everything waits", SOON, all_wait).await;
        assert_eq!(status.notices.lost, 0);
        assert_eq!(service.told(), Vec::<String>::new());

        bed.slack.set_mode(Mode::default());
        let all_well = |status: &BirdWatchStatus| {
            all_is_told(status) && condition(status, "NotifyFailing", "SlackRefuses").is_none()
        };
        let status = service.until("told", A_WHILE, all_well).await;
        assert_eq!(status.notices.lost, 0);
        let parents = service.parents();
        assert_eq!(parents.len(), 1, "one thread: {parents:#?}");
        let replies = replies_to(bed, &parents[0]);
        let among_ours = |reply: &&String| TOLD.iter().any(|(_, words)| reply.contains(words));
        let told: Vec<_> = replies.iter().filter(among_ours).collect();
        let in_order = told
            .iter()
            .zip(TOLD)
            .all(|(reply, (_, words))| reply.contains(words));
        assert!(in_order && told.len() == TOLD.len(), "{replies:#?}");
    });
}

/// What people are told of a rollout that fails at its first step.
const TOLD: [(NoticeKind, &str); 4] = [
    (NoticeKind::Started, "releasing v2 instead of v1"),
    (NoticeKind::Step, "weight 20 %"),
    (NoticeKind::Unhealthy, "v2 unhealthy at weight 20 %"),
    (NoticeKind::RolledBack, "v2 rolled back to v1"),
];

/// Waits until no other service has anything to say, so that the calls to come are this one's.
async fn everybody_is_told(service: &Service) {
    let api: Api<DynamicObject> =
        Api::all_with(service.client.clone(), &ApiResource::erase::<BirdWatch>(&()));
    eventually("nothing waits for Slack", A_WHILE, async || {
        let all = api.list(&ListParams::default()).await.ok()?;
        let silent = |object: &DynamicObject| object.data["status"]["notices"]["pending"].is_null();
        // A parent message that is still to be updated would be before others in a Slack that takes nothing.
        (all.iter().all(silent) && nothing_is_queued(service).await).then_some(())
    })
    .await;
}

/// Whether the operator says of itself that Slack has taken everything.
async fn nothing_is_queued(service: &Service) -> bool {
    let url = format!("{}/api/v1/query", service.bed.prometheus_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let question = [("query", "max(birdwatch_notices_waiting)")];
    let answer = client.get(url).query(&question).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["data"]["result"][0]["value"][1] == "0"
}

/// Steps that are judged by a number that never changes: this is about Slack alone.
fn judged_by_nothing() -> Value {
    json!({
        "metrics": [{"name": "nothing", "query": "vector(0)", "max": 1}],
        "steps": [{"weight": 20, "hold": "2s"}, {"weight": 50, "hold": "2s"}],
        "checkInterval": "5s",
    })
}

fn replies_to(bed: &Bed, parent: &Message) -> Vec<String> {
    let all = bed.slack.messages().into_iter();
    let replies = all.filter(|message| message.thread_ts.as_ref() == Some(&parent.ts));
    replies.map(|message| message.text).collect()
}

/// After a 429 that asked for two seconds the next call came no sooner.
fn retry_after_is_kept(calls: &[Call]) {
    let waits: Vec<_> = calls
        .windows(2)
        .filter(|pair| pair[0].outcome == "ratelimited")
        .map(|pair| pair[1].at.duration_since(pair[0].at).as_secs_f64())
        .collect();
    assert!(
        !waits.is_empty() && waits.iter().all(|wait| *wait > 1.9),
        "{waits:?}"
    );
}

impl Service {
    /// The messages that speak of this service and stand in no thread.
    fn parents(&self) -> Vec<Message> {
        let name = format!("*{}/{}*", self.app.namespace, self.app.name);
        let all = self.bed.slack.messages().into_iter();
        all.filter(|message| message.thread_ts.is_none() && message.text.contains(&name))
            .collect()
    }

    /// Waits until calls that speak of this service were answered so, twice.
    async fn is_answered(&self, outcome: &str) {
        let name = format!("*{}/{}*", self.app.namespace, self.app.name);
        eventually(&format!("calls answered {outcome}"), A_WHILE, async || {
            let calls = self.bed.slack.calls();
            let ours = |call: &&Call| {
                call.body["text"]
                    .as_str()
                    .is_some_and(|text| text.contains(&name))
            };
            let answered = calls.iter().filter(ours).filter(|call| call.outcome == outcome);
            (answered.count() >= 2).then_some(())
        })
        .await;
    }
}
