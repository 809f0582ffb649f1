//! Order, merging and memory, with a clock of our own.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clients::slack::messages::{Fate, Item, Thread};

fn thread(channel: &str) -> Thread {
    Thread {
        channel: channel.to_owned(),
        parent: None,
        opened_in: None,
    }
}

fn at(channel_id: &str, ts: &str) -> Posted {
    Posted {
        channel_id: channel_id.to_owned(),
        ts: ts.to_owned(),
    }
}

fn post(notice_id: i64, channel: &str, urgent: bool) -> Item {
    Item::Post {
        notice_id,
        thread: thread(channel),
        text: format!("n{notice_id}"),
        urgent,
    }
}

fn show(channel: &str, text: &str) -> Item {
    Item::UpdateParent {
        thread: thread(channel),
        text: text.to_owned(),
        urgent: false,
    }
}

fn delivery(key: &str, items: Vec<Item>) -> Delivery {
    Delivery {
        key: key.to_owned(),
        rollout: "r1".to_owned(),
        items,
    }
}

/// A Slack that takes everything, and writes down what it took.
struct Bench {
    queue: Queue,
    now: Instant,
    ts: u32,
    took: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        Self {
            queue: Queue::default(),
            now: Instant::now(),
            ts: 0,
            took: Vec::new(),
        }
    }

    fn submit(&mut self, key: &str, items: Vec<Item>) -> Vec<Ack> {
        self.queue.submit(delivery(key, items), self.now)
    }

    /// The next call, the clock moved on to it.
    fn job(&mut self) -> Option<Job> {
        loop {
            match self.queue.next(self.now) {
                Next::Send(job) => return Some(job),
                Next::Wait(until) => {
                    assert!(until > self.now);
                    self.now = until;
                }
                Next::Idle => return None,
            }
        }
    }

    fn answer(&mut self, job: &Job) -> Option<Ack> {
        self.ts += 1;
        let posted = match &job.call {
            Call::Post {
                channel,
                thread_ts,
                text,
            } => {
                self.took.push(format!(
                    "{channel}/{} {text}",
                    thread_ts.as_deref().unwrap_or("-")
                ));
                at(channel, &self.ts.to_string())
            }
            Call::Update { message, text } => {
                self.took
                    .push(format!("{}={} {text}", message.channel_id, message.ts));
                message.clone()
            }
        };
        self.queue.finish(job, Ok(posted), self.now)
    }

    fn fail(&mut self, job: &Job, error: SlackError) -> Option<Ack> {
        self.queue.finish(job, Err(error), self.now)
    }

    /// Everything until nothing waits.
    fn drain(&mut self) -> Vec<String> {
        while let Some(job) = self.job() {
            self.answer(&job);
        }
        assert_eq!(self.queue.waiting(), 0);
        std::mem::take(&mut self.took)
    }
}

#[test]
fn the_parent_comes_first_and_notices_reply_to_it_in_their_order() {
    let mut bench = Bench::new();
    bench.submit(
        "a",
        vec![post(1, "c", false), post(2, "c", false), show("c", "state")],
    );
    assert_eq!(bench.drain(), ["c/- state", "c/1 n1", "c/1 n2"]);
}

#[test]
fn without_a_parents_text_the_first_notice_is_the_parent() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    assert_eq!(bench.drain(), ["c/- n1", "c/1 n2"]);
}

#[test]
fn a_parent_known_to_status_is_replied_to_and_updated_by_its_id() {
    let mut bench = Bench::new();
    let known = Thread {
        channel: "c".to_owned(),
        parent: Some(at("C9", "7.7")),
        opened_in: Some("c".to_owned()),
    };
    let items = vec![
        Item::UpdateParent {
            thread: known.clone(),
            text: "state".to_owned(),
            urgent: false,
        },
        Item::Post {
            notice_id: 1,
            thread: known,
            text: "n1".to_owned(),
            urgent: false,
        },
    ];
    bench.submit("a", items);
    assert_eq!(bench.drain(), ["C9/7.7 n1", "C9=7.7 state"]);
}

#[test]
fn ends_and_alarms_go_before_the_steps_of_other_threads_and_keep_the_order_of_their_own() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    bench.submit("b", vec![post(5, "c", false), post(6, "c", true)]);
    assert_eq!(bench.drain(), ["c/- n5", "c/1 n6", "c/- n1", "c/3 n2"]);
}

#[test]
fn a_parent_that_an_alarm_waits_for_goes_before_the_steps_of_other_threads() {
    let mut bench = Bench::new();
    let hurried = |text: &str| Item::UpdateParent {
        thread: thread("c"),
        text: text.to_owned(),
        urgent: true,
    };
    bench.submit("a", vec![post(1, "c", false)]);
    bench.submit("b", vec![hurried("state")]);
    assert_eq!(bench.drain(), ["c/- state", "c/- n1"]);
    // Once it stands, its text waits as others do.
    bench.submit("a", vec![post(2, "c", false)]);
    bench.submit("b", vec![hurried("other state")]);
    assert_eq!(bench.drain(), ["c/2 n2", "c=1 other state"]);
}

#[test]
fn updates_of_parents_are_merged_into_the_latest_and_go_last() {
    let mut bench = Bench::new();
    bench.submit("a", vec![show("c", "0 %")]);
    assert_eq!(bench.drain(), ["c/- 0 %"]);
    bench.submit("a", vec![show("c", "10 %")]);
    bench.submit("b", vec![post(1, "c", false)]);
    bench.submit("a", vec![show("c", "20 %"), show("c", "30 %")]);
    assert_eq!(bench.drain(), ["c/- n1", "c=1 30 %"]);
}

#[test]
fn an_update_that_waited_long_no_longer_gives_way() {
    let mut bench = Bench::new();
    bench.submit("a", vec![show("c", "0 %")]);
    bench.drain();
    bench.submit("a", vec![show("c", "10 %")]);
    bench.now += Duration::from_secs(31);
    bench.submit("b", vec![post(1, "c", false)]);
    assert_eq!(bench.drain(), ["c=1 10 %", "c/- n1"]);
}

#[test]
fn a_text_replaced_while_the_old_one_is_on_its_way_is_sent_too() {
    let mut bench = Bench::new();
    bench.submit("a", vec![show("c", "0 %")]);
    let job = bench.job().unwrap();
    bench.submit("a", vec![show("c", "10 %")]);
    let ack = bench.answer(&job).unwrap();
    assert_eq!(
        ack.what,
        Acked::Parent {
            text: "0 %".to_owned()
        }
    );
    assert_eq!(bench.drain(), ["c/- 0 %", "c=1 10 %"]);
}

#[test]
fn a_notice_submitted_again_is_sent_once() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    assert_eq!(bench.queue.waiting(), 2);
    let job = bench.job().unwrap();
    // while it is on its way
    let both = || vec![post(1, "c", false), post(2, "c", false)];
    assert!(bench.submit("a", both()).is_empty());
    bench.answer(&job);
    // and after it was taken, before status says so: acknowledged again, with the same place
    let again = bench.submit("a", both());
    let fate = Fate::Delivered {
        parent: at("c", "1"),
        opened_in: Some("c".to_owned()),
        ts: "1".to_owned(),
    };
    let expected = Ack {
        key: "a".to_owned(),
        rollout: "r1".to_owned(),
        what: Acked::Notice(1),
        fate,
    };
    assert_eq!(again, [expected]);
    assert_eq!(bench.drain(), ["c/- n1", "c/1 n2"]);
}

#[test]
fn notices_of_another_rollout_are_others() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false)]);
    bench.drain();
    let next = Delivery {
        rollout: "r2".to_owned(),
        ..delivery("a", vec![post(1, "c", false)])
    };
    bench.queue.submit(next, bench.now);
    assert_eq!(bench.drain(), ["c/- n1"]);
}

#[test]
fn a_parents_text_submitted_again_is_acknowledged_and_not_sent() {
    let mut bench = Bench::new();
    bench.submit("a", vec![show("c", "10 %")]);
    bench.drain();
    let again = bench.submit("a", vec![show("c", "10 %")]);
    assert!(
        matches!(
            &again[..],
            [Ack {
                fate: Fate::Delivered { .. },
                ..
            }]
        ),
        "{again:?}"
    );
    assert!(bench.drain().is_empty());
}

#[test]
fn delivered_acks_name_the_parent_and_the_message() {
    let mut bench = Bench::new();
    bench.submit("a", vec![show("c", "state"), post(1, "c", false)]);
    let parent = bench.job().unwrap();
    let ack = bench.answer(&parent).unwrap();
    assert_eq!((ack.key.as_str(), ack.rollout.as_str()), ("a", "r1"));
    assert_eq!(
        ack.fate,
        Fate::Delivered {
            parent: at("c", "1"),
            opened_in: Some("c".to_owned()),
            ts: "1".to_owned()
        }
    );
    let reply = bench.job().unwrap();
    let ack = bench.answer(&reply).unwrap();
    assert_eq!(ack.what, Acked::Notice(1));
    assert_eq!(
        ack.fate,
        Fate::Delivered {
            parent: at("c", "1"),
            opened_in: Some("c".to_owned()),
            ts: "2".to_owned()
        }
    );
}

#[test]
fn a_refused_notice_is_reported_and_the_next_goes_on() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    let job = bench.job().unwrap();
    let ack = bench
        .fail(
            &job,
            SlackError::Refused {
                code: "msg_too_long".to_owned(),
            },
        )
        .unwrap();
    assert!(matches!(&ack.fate, Fate::Refused { code, .. } if code == "msg_too_long"));
    assert_eq!(bench.drain(), ["c/- n2"]);
}

#[test]
fn what_somebody_must_mend_is_waited_for_and_nothing_is_lost_or_out_of_order() {
    for code in ["invalid_auth", "channel_not_found", "not_in_channel", "new_to_us"] {
        let mut bench = Bench::new();
        bench.submit(
            "a",
            vec![show("c", "state"), post(1, "c", false), post(2, "c", true)],
        );
        let begun = bench.now;
        while bench.now < begun + Duration::from_mins(10) {
            let job = bench.job().unwrap();
            let denied = SlackError::Denied {
                code: code.to_owned(),
            };
            let fate = bench.fail(&job, denied).unwrap().fate;
            let Fate::Retrying { after, why } = fate else {
                panic!("{fate:?}")
            };
            assert!(why.contains(code), "{why}");
            let (soonest, latest) = (Duration::from_secs(5), Duration::from_mins(1));
            assert!((soonest..=latest).contains(&after), "{after:?}");
        }
        assert_eq!(bench.drain(), ["c/- state", "c/1 n1", "c/1 n2"]);
    }
}

#[test]
fn tries_are_further_and_further_apart_and_only_in_the_thread_that_fails() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    bench.submit("b", vec![post(7, "d", false)]);
    let mut waits = Vec::new();
    let mut job = bench.job().unwrap();
    for _ in 0..9 {
        let ack = bench
            .fail(&job, SlackError::Transient("no connection".to_owned()))
            .unwrap();
        let Fate::Retrying { after, why } = ack.fate else {
            panic!("{:?}", ack.fate)
        };
        assert_eq!(why, "no connection");
        waits.push(after);
        job = bench.job().unwrap();
        if job.call
            == (Call::Post {
                channel: "d".into(),
                thread_ts: None,
                text: "n7".into(),
            })
        {
            bench.answer(&job);
            job = bench.job().unwrap();
        }
    }
    assert_eq!(bench.took, ["d/- n7"]);
    for (tries, wait) in (0_u32..).zip(&waits) {
        let base = Duration::from_secs(1_u64 << tries.min(6)).min(Duration::from_mins(1));
        assert!(*wait >= base && *wait <= base * 2, "try {tries}: {wait:?}");
    }
    bench.answer(&job);
    assert_eq!(bench.drain(), ["d/- n7", "c/- n1", "c/2 n2"]);
}

#[test]
fn a_post_that_may_have_been_taken_is_tried_again_late_and_later_whatever_fails_in_between() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", true)]);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        let job = bench.job().unwrap();
        let fate = bench.fail(&job, SlackError::Transient("no connection".to_owned()));
        assert!(matches!(fate.unwrap().fate, Fate::Retrying { .. }));
        let job = bench.job().unwrap();
        let fate = bench.fail(&job, SlackError::Unanswered("status 502".to_owned()));
        let Fate::Retrying { after, why } = fate.unwrap().fate else {
            panic!("it is tried again")
        };
        assert_eq!(after, Duration::from_secs(seconds));
        assert_eq!(why, "status 502 (Slack may have taken it all the same)");
    }
    let job = bench.job().unwrap();
    bench.answer(&job);
    let begun = bench.now;
    let job = bench.job().unwrap();
    bench.fail(&job, SlackError::Unanswered("status 502".to_owned()));
    assert_eq!(bench.drain(), ["c/- n1", "c/1 n2"]);
    assert!(
        bench.now < begun + Duration::from_secs(20),
        "the next has its own"
    );
}

#[test]
fn what_was_doubtful_of_a_notice_that_is_given_up_says_nothing_of_the_next() {
    for is_refused in [true, false] {
        let mut bench = Bench::new();
        bench.submit("a", vec![post(1, "c", false), post(2, "c", true)]);
        for _ in 0..4 {
            let job = bench.job().unwrap();
            bench.fail(&job, SlackError::Unanswered("status 502".to_owned()));
        }
        if is_refused {
            let job = bench.job().unwrap();
            bench.fail(
                &job,
                SlackError::Refused {
                    code: "no_text".to_owned(),
                },
            );
        } else {
            bench.submit("a", vec![post(2, "c", true)]);
        }
        let job = bench.job().unwrap();
        let fate = bench.fail(&job, SlackError::Unanswered("status 502".to_owned()));
        let shortest = Duration::from_secs(10);
        assert!(matches!(fate.unwrap().fate, Fate::Retrying { after, .. } if after == shortest));
    }
}

#[test]
fn an_edit_that_may_have_been_taken_repeats_nothing_and_is_tried_again_soon() {
    let mut bench = Bench::new();
    bench.submit("a", vec![show("c", "one")]);
    bench.drain();
    bench.submit("a", vec![show("c", "two")]);
    let job = bench.job().unwrap();
    let fate = bench.fail(&job, SlackError::Unanswered("status 502".to_owned()));
    let soon = Duration::from_secs(2);
    assert!(matches!(fate.unwrap().fate, Fate::Retrying { after, .. } if after <= soon));
}

#[test]
fn retry_after_silences_every_thread_of_the_token() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false)]);
    bench.submit("b", vec![post(2, "d", true)]);
    let begun = bench.now;
    let job = bench.job().unwrap();
    let ack = bench
        .fail(
            &job,
            SlackError::RateLimited {
                after: Duration::from_secs(30),
            },
        )
        .unwrap();
    assert!(matches!(ack.fate, Fate::Retrying { after, .. } if after == Duration::from_secs(30)));
    let next = bench.job().unwrap();
    assert_eq!(bench.now, begun + Duration::from_secs(30));
    bench.answer(&next);
    assert_eq!(bench.drain().len(), 2);
}

#[test]
fn one_channel_gets_about_one_message_a_second_and_others_do_not_wait_for_it() {
    let mut bench = Bench::new();
    bench.submit("a", (1..=5).map(|id| post(id, "c", false)).collect());
    bench.submit("b", vec![post(9, "d", false)]);
    let begun = bench.now;
    let mut times = HashMap::<String, Vec<Duration>>::new();
    while let Some(job) = bench.job() {
        let (channel, _) = job.call.target();
        times
            .entry(channel.to_owned())
            .or_default()
            .push(bench.now - begun);
        bench.answer(&job);
    }
    assert_eq!(times["d"], [Duration::ZERO]);
    assert_eq!(times["c"].len(), 5);
    for pair in times["c"].windows(2) {
        let gap = pair[1].saturating_sub(pair[0]);
        assert!(
            gap >= Duration::from_secs(1) && gap <= Duration::from_millis(1_500),
            "{gap:?}"
        );
    }
}

#[test]
fn a_parent_that_somebody_deleted_is_replaced_by_the_next_notice_and_never_brought_back() {
    let mut bench = Bench::new();
    let known = Thread {
        channel: "c".to_owned(),
        parent: Some(at("C9", "7.7")),
        opened_in: Some("c".to_owned()),
    };
    let item = |id| Item::Post {
        notice_id: id,
        thread: known.clone(),
        text: format!("n{id}"),
        urgent: false,
    };
    bench.submit("a", vec![item(1)]);
    let job = bench.job().unwrap();
    assert_eq!(
        bench.fail(
            &job,
            SlackError::Refused {
                code: "thread_not_found".to_owned()
            }
        ),
        None
    );
    let job = bench.job().unwrap();
    let ack = bench.answer(&job).unwrap();
    assert_eq!(
        ack.fate,
        Fate::Delivered {
            parent: at("c", "1"),
            opened_in: Some("c".to_owned()),
            ts: "1".to_owned()
        }
    );
    // status still names the old parent
    bench.submit("a", vec![item(2)]);
    assert_eq!(bench.drain(), ["c/- n1", "c/1 n2"]);
}

fn known_to_status() -> Thread {
    Thread {
        channel: "c".to_owned(),
        parent: Some(at("C9", "7.7")),
        opened_in: Some("c".to_owned()),
    }
}

fn of_known(notice_id: i64) -> Item {
    Item::Post {
        notice_id,
        thread: known_to_status(),
        text: format!("n{notice_id}"),
        urgent: false,
    }
}

fn shows_known(text: &str) -> Item {
    Item::UpdateParent {
        thread: known_to_status(),
        text: text.to_owned(),
        urgent: false,
    }
}

#[test]
fn a_reply_that_slack_posts_by_itself_is_told_and_what_follows_gets_a_new_parent() {
    let mut bench = Bench::new();
    bench.submit("a", vec![of_known(1)]);
    let job = bench.job().unwrap();
    let ack = bench.fail(&job, SlackError::Orphaned(at("C9", "8.8"))).unwrap();
    let told = Fate::Delivered {
        parent: at("C9", "7.7"),
        opened_in: Some("c".to_owned()),
        ts: "8.8".to_owned(),
    };
    assert_eq!((&ack.what, &ack.fate), (&Acked::Notice(1), &told));
    // Status still names the old parent, and does not know yet that the first was told.
    let again = bench.submit("a", vec![of_known(1), of_known(2), shows_known("state")]);
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(bench.drain(), ["c/- state", "c/1 n2"]);
}

#[test]
fn a_parent_that_cannot_be_edited_because_it_is_deleted_is_gone_for_what_follows() {
    let mut bench = Bench::new();
    bench.submit("a", vec![shows_known("one")]);
    let job = bench.job().unwrap();
    let code = "message_not_found".to_owned();
    let ack = bench.fail(&job, SlackError::Refused { code }).unwrap();
    assert!(matches!(ack.fate, Fate::Refused { .. }));
    assert_eq!(bench.drain(), Vec::<String>::new(), "nobody asked for a new one");
    bench.submit("a", vec![shows_known("two"), of_known(1)]);
    assert_eq!(bench.drain(), ["c/- two", "c/1 n1"]);
}

/// The item in a thread whose people now name this channel.
fn named(item: Item, channel: &str) -> Item {
    match item {
        Item::Post {
            notice_id,
            thread,
            text,
            urgent,
        } => Item::Post {
            notice_id,
            thread: Thread {
                channel: channel.to_owned(),
                ..thread
            },
            text,
            urgent,
        },
        other @ Item::UpdateParent { .. } => other,
    }
}

fn denied(code: &str) -> SlackError {
    SlackError::Denied {
        code: code.to_owned(),
    }
}

#[test]
fn a_thread_whose_channel_is_gone_begins_anew_where_people_name_another() {
    for code in ["channel_not_found", "is_archived"] {
        let mut bench = Bench::new();
        bench.submit("a", vec![of_known(1), of_known(2)]);
        let job = bench.job().unwrap();
        let fate = bench.fail(&job, denied(code)).unwrap().fate;
        assert!(matches!(fate, Fate::Retrying { .. }), "{fate:?}");
        bench.submit("a", vec![named(of_known(1), "#c"), of_known(2)]);
        let job = bench.job().unwrap();
        let fate = bench.fail(&job, denied(code));
        assert!(fate.is_some(), "that is the same channel");

        bench.submit("a", vec![named(of_known(1), "d"), named(of_known(2), "d")]);
        let job = bench.job().unwrap();
        assert_eq!(bench.fail(&job, denied(code)), None);
        let job = bench.job().unwrap();
        let fate = bench.answer(&job).unwrap().fate;
        let told = Fate::Delivered {
            parent: at("d", "1"),
            opened_in: Some("d".to_owned()),
            ts: "1".to_owned(),
        };
        assert_eq!(fate, told);
        assert_eq!(bench.drain(), ["d/- n1", "d/1 n2"]);
    }
}

#[test]
fn a_thread_goes_on_where_it_is_while_its_channel_is_there_or_may_be_mended() {
    let mut bench = Bench::new();
    bench.submit("a", vec![named(of_known(1), "d")]);
    let job = bench.job().unwrap();
    assert!(bench.fail(&job, denied("invalid_auth")).is_some());
    assert_eq!(bench.drain(), ["C9/7.7 n1"]);
}

#[test]
fn what_waits_is_counted() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), show("c", "x"), show("c", "y")]);
    assert_eq!(bench.queue.waiting(), 2);
    bench.drain();
}

#[test]
fn idle_threads_are_forgotten_and_waiting_ones_never() {
    let mut bench = Bench::new();
    bench.submit("waits", vec![post(1, "elsewhere", false)]);
    let job = bench.job().unwrap();
    bench.fail(
        &job,
        SlackError::RateLimited {
            after: Duration::ZERO,
        },
    );
    for i in 0..IDLE_THREADS * 3 {
        bench.submit(&format!("k{i}"), vec![post(1, &format!("c{i}"), true)]);
        let job = bench.job().unwrap();
        bench.answer(&job);
    }
    assert!(bench.queue.threads.len() <= IDLE_THREADS * 2 + 1);
    assert_eq!(bench.queue.waiting(), 1);
    let last = IDLE_THREADS * 3 - 1;
    assert!(
        bench
            .queue
            .threads
            .contains_key(&(format!("k{last}"), "r1".to_owned()))
    );
}

/// One thing that happens to the queue.
#[derive(Debug, Clone)]
enum Event {
    /// The next notice of a thread; urgent or not.
    Notice(usize, bool),
    /// Everything a thread's status still holds is submitted again.
    Again(usize),
    Show(usize),
    /// The next call ends so.
    Well,
    Broken,
    TooFast,
    Later,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_usize, any::<bool>()).prop_map(|(thread, urgent)| Event::Notice(thread, urgent)),
        (0..4_usize).prop_map(Event::Again),
        (0..4_usize).prop_map(Event::Show),
        Just(Event::Well),
        Just(Event::Broken),
        Just(Event::TooFast),
        Just(Event::Later),
    ]
}

/// A Slack in which everything is written down: channel, text and time of each message taken.
#[derive(Default)]
struct World {
    notices: [Vec<(i64, bool)>; 4],
    shown: [Option<String>; 4],
    sent: Vec<(String, String, Instant)>,
}

impl World {
    fn run(events: &[Event]) -> Self {
        let (mut world, mut bench) = (Self::default(), Bench::new());
        for (n, event) in events.iter().enumerate() {
            world.step(n, event, &mut bench);
        }
        while let Some(job) = bench.job() {
            world.take(&job, &mut bench);
        }
        world
    }

    fn step(&mut self, n: usize, event: &Event, bench: &mut Bench) {
        match event {
            Event::Notice(thread, urgent) => {
                let id = i64::try_from(self.notices[*thread].len()).unwrap();
                self.notices[*thread].push((id, *urgent));
                self.submit(*thread, bench);
            }
            Event::Again(thread) => self.submit(*thread, bench),
            Event::Show(thread) => {
                let text = format!("show {n}");
                let mut items = self.waiting(*thread);
                items.push(show(&channel(*thread), &text));
                bench.submit(&format!("k{thread}"), items);
                self.shown[*thread] = Some(text);
            }
            Event::Later => bench.now += Duration::from_secs(3),
            Event::Well | Event::Broken | Event::TooFast => {
                let Some(job) = bench.job() else { return };
                match event {
                    Event::Broken => drop(bench.fail(&job, SlackError::Transient("broken".into()))),
                    Event::TooFast => {
                        let after = Duration::from_secs(5);
                        bench.fail(&job, SlackError::RateLimited { after });
                    }
                    _ => self.take(&job, bench),
                }
            }
        }
    }

    fn submit(&self, thread: usize, bench: &mut Bench) {
        bench.submit(&format!("k{thread}"), self.waiting(thread));
    }

    fn waiting(&self, thread: usize) -> Vec<Item> {
        let item = |(id, urgent): &(i64, bool)| post(*id, &channel(thread), *urgent);
        self.notices[thread].iter().map(item).collect()
    }

    fn take(&mut self, job: &Job, bench: &mut Bench) {
        let (channel, _) = job.call.target();
        let text = match &job.call {
            Call::Post { text, .. } | Call::Update { text, .. } => text.clone(),
        };
        self.sent
            .push((channel.to_owned(), format!("{}:{text}", job.id.0), bench.now));
        bench.answer(job);
    }
}

/// Threads 0 and 1 share a channel, as do 2 and 3.
fn channel(thread: usize) -> String {
    format!("c{}", thread / 2)
}

proptest! {
    #[test]
    fn whatever_happens_each_notice_arrives_once_in_order_and_no_channel_is_flooded(
        events in proptest::collection::vec(event(), 0..60)
    ) {
        let world = World::run(&events);
        for (thread, notices) in world.notices.iter().enumerate() {
            let prefix = format!("k{thread}:n");
            let arrived: Vec<&str> =
                world.sent.iter().filter_map(|(_, text, _)| text.strip_prefix(&prefix)).collect();
            let expected: Vec<String> = notices.iter().map(|(id, _)| id.to_string()).collect();
            prop_assert_eq!(arrived, expected);
            // the parent shows the last text
            let prefix = format!("k{thread}:show");
            let shown = world.sent.iter().rfind(|(_, text, _)| text.starts_with(&prefix));
            let expected = world.shown[thread].as_ref().map(|text| format!("k{thread}:{text}"));
            prop_assert_eq!(shown.map(|(_, text, _)| text.clone()), expected);
        }
        for name in ["c0", "c1"] {
            let times: Vec<Instant> =
                world.sent.iter().filter(|(channel, ..)| channel == name).map(|(.., at)| *at).collect();
            for pair in times.windows(2) {
                prop_assert!(pair[1].duration_since(pair[0]) >= Duration::from_secs(1));
            }
        }
    }
}

#[test]
fn a_notice_that_status_no_longer_holds_is_not_said() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    bench.submit("a", vec![post(2, "c", false), post(3, "c", false)]);
    assert_eq!(bench.drain(), ["c/- n2", "c/1 n3"]);
}

#[test]
fn what_waits_for_a_bird_watch_that_is_gone_is_tried_ten_minutes_and_given_up() {
    let mut bench = Bench::new();
    bench.submit("a", vec![post(1, "c", false), post(2, "c", false)]);
    bench.submit("b", vec![post(1, "d", false)]);
    bench.queue.release("a", bench.now);
    let (gone, mut ended) = (bench.now, None);
    while ended.is_none_or(|at| bench.now < at + Duration::from_mins(5)) {
        let job = bench.job().unwrap();
        let denied = SlackError::Denied {
            code: "token_revoked".to_owned(),
        };
        let ack = bench.fail(&job, denied).unwrap();
        match ack.fate {
            Fate::Refused { why, .. } => {
                assert!(ack.key == "a" && why.contains("token_revoked"), "{why}");
                ended = Some(bench.now);
            }
            _ => assert!(ack.key == "b" || ended.is_none(), "tried after it was given up"),
        }
    }
    assert!(ended.unwrap() >= gone + Duration::from_mins(10));
    assert_eq!(bench.drain(), ["d/- n1"]);
}
