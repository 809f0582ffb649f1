//! The task under a paused clock, against a Slack that does as it is told.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::clients::slack::messages::{Acked, Item, Thread};

/// Takes everything, after the answers it was told to give first.
#[derive(Default)]
struct FakeSlack {
    answers: Mutex<VecDeque<SlackError>>,
    slowness: Duration,
    took: Mutex<Vec<(Instant, String)>>,
}

impl FakeSlack {
    async fn answer(&self, what: String) -> Result<(), SlackError> {
        sleep(self.slowness).await;
        if let Some(error) = self.answers.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.took.lock().unwrap().push((Instant::now(), what));
        Ok(())
    }

    fn took(&self) -> Vec<String> {
        self.took
            .lock()
            .unwrap()
            .iter()
            .map(|(_, what)| what.clone())
            .collect()
    }
}

impl Slack for FakeSlack {
    fn post<'a>(
        &'a self,
        channel: &'a str,
        text: &'a str,
        thread_ts: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Posted, SlackError>> {
        Box::pin(async move {
            self.answer(format!("{}:{text}", thread_ts.unwrap_or("-")))
                .await?;
            let ts = self.took.lock().unwrap().len().to_string();
            Ok(Posted {
                channel_id: format!("C-{channel}"),
                ts,
            })
        })
    }

    fn update<'a>(&'a self, message: &'a Posted, text: &'a str) -> BoxFuture<'a, Result<(), SlackError>> {
        Box::pin(self.answer(format!("{}={text}", message.ts)))
    }
}

struct Bench {
    slack: Arc<FakeSlack>,
    handle: SlackHandle,
    acks: mpsc::UnboundedReceiver<Heard>,
    task: JoinHandle<()>,
}

fn bench(slack: FakeSlack) -> Bench {
    let slack = Arc::new(slack);
    let permit: Permit = Box::new(|key| match key.split('/').next() {
        Some("others") => Permission::Denied,
        _ => Permission::Granted(Box::new(())),
    });
    bench_with(slack, permit)
}

fn bench_with(slack: Arc<FakeSlack>, permit: Permit) -> Bench {
    let (tell, acks) = mpsc::unbounded_channel();
    let (handle, task) = sender(Arc::clone(&slack) as Arc<dyn Slack>, permit, tell);
    Bench {
        slack,
        handle,
        acks,
        task: tokio::spawn(task),
    }
}

impl Bench {
    fn submit(&self, ids: impl IntoIterator<Item = i64>) {
        let thread = Thread {
            channel: "c".to_owned(),
            parent: None,
            opened_in: None,
        };
        let item = |id: i64| Item::Post {
            notice_id: id,
            thread: thread.clone(),
            text: format!("n{id}"),
            urgent: false,
        };
        let items = ids.into_iter().map(item).collect();
        self.handle.submit(Delivery {
            key: "ns/a".to_owned(),
            rollout: "r".to_owned(),
            items,
        });
    }

    async fn ack(&mut self) -> Ack {
        timeout(Duration::from_mins(10), self.acks.recv())
            .await
            .expect("an ack within the time")
            .unwrap()
            .ack
    }

    async fn delivered(&mut self, id: i64) {
        let ack = self.ack().await;
        assert_eq!(ack.what, Acked::Notice(id));
        assert!(matches!(ack.fate, Fate::Delivered { .. }), "{ack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_fast_then_broken_then_well_gives_every_notice_once_in_order_in_one_thread() {
    let answers = [
        SlackError::RateLimited {
            after: Duration::from_secs(30),
        },
        SlackError::Transient("status 500".to_owned()),
    ];
    let mut bench = bench(FakeSlack {
        answers: Mutex::new(answers.into()),
        ..FakeSlack::default()
    });
    let begun = Instant::now();
    bench.submit(1..=3);
    assert!(matches!(bench.ack().await.fate, Fate::Retrying { after, .. } if after.as_secs() == 30));
    bench.submit(1..=4);
    assert!(matches!(bench.ack().await.fate, Fate::Retrying { .. }));
    assert!(begun.elapsed() >= Duration::from_secs(30));
    for id in 1..=4 {
        bench.delivered(id).await;
    }
    assert_eq!(bench.slack.took(), ["-:n1", "1:n2", "1:n3", "1:n4"]);
    assert_eq!(bench.handle.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_taken_in_while_a_call_is_on_its_way() {
    let mut bench = bench(FakeSlack {
        slowness: Duration::from_secs(8),
        ..FakeSlack::default()
    });
    bench.submit([1]);
    sleep(Duration::from_secs(1)).await;
    bench.submit([1, 2, 3]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.handle.waiting(), 3);
    for id in 1..=3 {
        bench.delivered(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_a_channel_is_kept() {
    let mut bench = bench(FakeSlack::default());
    bench.submit(1..=10);
    for id in 1..=10 {
        bench.delivered(id).await;
    }
    let took = bench.slack.took.lock().unwrap();
    for pair in took.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!(
            gap >= Duration::from_secs(1) && gap < Duration::from_secs(2),
            "{gap:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_sender_wakes_for_nothing_and_ends_with_its_handles() {
    let bench = bench(FakeSlack::default());
    sleep(Duration::from_hours(1)).await;
    let second = bench.handle.clone();
    drop(bench.handle);
    sleep(Duration::from_secs(1)).await;
    assert!(!bench.task.is_finished());
    drop(second);
    timeout(Duration::from_secs(1), bench.task)
        .await
        .expect("it ends")
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_on_its_way_is_heard_to_its_end_and_nothing_else_is_begun() {
    let mut bench = bench(FakeSlack {
        slowness: Duration::from_secs(5),
        ..FakeSlack::default()
    });
    bench.submit(1..=3);
    sleep(Duration::from_secs(1)).await;
    let Bench { handle, .. } = bench;
    drop(handle);
    timeout(Duration::from_secs(10), &mut bench.task)
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(bench.slack.took(), ["-:n1"]);
    assert_eq!(bench.acks.recv().await.unwrap().ack.what, Acked::Notice(1));
    assert!(bench.acks.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn nobody_listening_to_acks_stops_nothing() {
    let mut bench = bench(FakeSlack::default());
    bench.acks.close();
    bench.submit(1..=2);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.slack.took(), ["-:n1", "1:n2"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_others_to_tell_is_dropped_and_holds_nothing_up() {
    let mut bench = bench(FakeSlack::default());
    let delivery = Delivery {
        key: "others/a".to_owned(),
        rollout: "r".to_owned(),
        items: vec![Item::Post {
            notice_id: 9,
            thread: Thread {
                channel: "c".to_owned(),
                parent: None,
                opened_in: None,
            },
            text: "n9".to_owned(),
            urgent: true,
        }],
    };
    bench.handle.submit(delivery);
    bench.submit([1]);
    bench.delivered(1).await;
    assert_eq!(
        (bench.slack.took(), bench.handle.waiting()),
        (vec!["-:n1".to_owned()], 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_told_for_a_moment_is_told_afterwards() {
    let from = Instant::now() + Duration::from_secs(10);
    let permit: Permit = Box::new(move |_| {
        if Instant::now() < from {
            Permission::Later
        } else {
            Permission::Granted(Box::new(()))
        }
    });
    let bench = bench_with(Arc::default(), permit);
    bench.submit([1]);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(bench.slack.took(), ["-:n1"]);
}
