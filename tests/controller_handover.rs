//! Whoever hands a shard over, or ends in order, has noted what people were being told: the next one does not tell it again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::time::Duration;

use birdwatch::api::spec::Level;
use birdwatch::api::status::Phase;
use birdwatch::controller::channels::Channels;
use birdwatch::runtime::lease::{Electors, LeaseConfig, LeaseError, Manner, Shards, Timing};
use birdwatch::runtime::metrics::Metrics;
use controller_kit::slack::{FakeSlack, through};
use controller_kit::{Kit, Operator};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const LEASES: &str = "coordination.k8s.io/leases";
const LEASE: (&str, &str) = ("birdwatch-system", "birdwatch");

/// Messages of a rollout, the parent included.
const MESSAGES: usize = 5;

/// An operator with a lease.
struct Replica {
    operator: Operator,
    stop: CancellationToken,
    lease: AbortOnDropHandle<Result<(), LeaseError>>,
}

impl Replica {
    fn start(kit: &Kit, slack: &FakeSlack, name: &str) -> Self {
        let config = LeaseConfig {
            namespace: LEASE.0.into(),
            name: LEASE.1.into(),
            shards: Shards::ONE,
            identity: name.into(),
            timing: Timing::new(Duration::from_secs(15)),
            manner: Manner::Candidate,
        };
        let (electors, seats) = Electors::new(&kit.api.client(name), &config, &kit.clock, &Metrics::new());
        electors.ready().cancel();
        let stop = CancellationToken::new();
        let lease = AbortOnDropHandle::new(tokio::spawn(electors.run(stop.clone())));
        let channels = Channels::new("deployment", &[]);
        let operator = kit.operator_elected(name, |gate| through(slack, gate, channels), seats);
        Self {
            operator,
            stop,
            lease,
        }
    }

    /// Ends it as a signal does.
    async fn stop(self) {
        self.operator.stop().await;
        self.stop.cancel();
        self.lease.await.unwrap().unwrap();
    }
}

/// Two replicas, the first of which has begun to post the message of this number.
async fn posting(delay: Duration, number: usize) -> (Kit, FakeSlack, Replica, Replica) {
    let (mut kit, slack) = (Kit::new(), FakeSlack::default());
    kit.settings.notify = Some(Level::Steps);
    slack.0.lock().unwrap().delay = delay;
    kit.bird_watch();
    let one = Replica::start(&kit, &slack, "one");
    kit.until("the first leads", |kit| holder(kit) == "one").await;
    let two = Replica::start(&kit, &slack, "two");
    let begun = || slack.0.lock().unwrap().begun;
    while begun() < number {
        sleep(Duration::from_millis(10)).await;
    }
    (kit, slack, one, two)
}

fn holder(kit: &Kit) -> String {
    let lease = kit.api.get(LEASES, LEASE).unwrap_or_default();
    lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn ask_for(kit: &Kit, name: &str) {
    kit.api.edit(LEASES, LEASE, "kubectl", |lease| {
        lease["metadata"]["annotations"]["otomato.link/asked-for-by"] = json!(name);
    });
}

async fn all_is_told_once(kit: &Kit, slack: &FakeSlack) {
    kit.until("everything is told", |kit| {
        let status = kit.status("aleph");
        status.phase == Phase::Promoted && status.notices.pending.is_empty()
    })
    .await;
    let state = slack.0.lock().unwrap();
    assert_eq!(state.posted.len(), MESSAGES, "{:#?}", state.posted);
    assert_eq!(state.parents().len(), 1, "{:#?}", state.posted);
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_while_a_message_is_under_way_tells_it_once() {
    for number in 1..=MESSAGES {
        let (kit, slack, _one, _two) = posting(Duration::from_millis(400), number).await;
        ask_for(&kit, "two");
        kit.until("it is handed over", |kit| holder(kit) == "two").await;
        all_is_told_once(&kit, &slack).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_while_a_message_is_under_way_tells_it_once() {
    for number in 1..=MESSAGES {
        let (kit, slack, one, _two) = posting(Duration::from_millis(400), number).await;
        one.stop().await;
        kit.until("another leads", |kit| holder(kit) == "two").await;
        all_is_told_once(&kit, &slack).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slack_that_does_not_answer_holds_up_neither_a_hand_over_nor_an_end_for_long() {
    for ends in [false, true] {
        let (kit, _slack, one, _two) = posting(Duration::from_secs(100_000), 1).await;
        let begun = Instant::now();
        let stopping = async {
            if ends {
                one.stop().await;
            } else {
                ask_for(&kit, "two");
                std::future::pending::<()>().await;
            }
        };
        let handed_over = kit.until("it is handed over", |kit| holder(kit) == "two");
        let limit = Duration::from_secs(3);
        let (_, handed_over) = tokio::join!(timeout(limit, stopping), timeout(limit, handed_over));
        assert!(
            handed_over.is_ok() && begun.elapsed() <= limit,
            "{:?}",
            begun.elapsed()
        );
    }
}
