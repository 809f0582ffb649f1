//! Leader election against a fake API server, on paused time: who leads, from when, and never two at once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail too"
)]

mod fake_api;

use birdwatch::runtime::clock::Clock;
use birdwatch::runtime::lease::{
    Absence, Electors, Gate, Leadership, LeaseConfig, LeaseError, Manner, Shards, Term, Timing,
};
use birdwatch::runtime::metrics::Metrics;
use fake_api::{FakeApi, Fault, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const LEASES: &str = "coordination.k8s.io/leases";
const LEASE: (&str, &str) = ("birdwatch-system", "birdwatch");
/// A namespace: there is one shard.
const ANYWHERE: &str = "shop";
const DURATION: Duration = Duration::from_secs(15);
/// Longest time from the end of a lease to the next leader: a round of conflict, read and jittered retry.
const SLACK: Duration = Duration::from_secs(4);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn base() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn server() -> FakeApi {
    FakeApi::new(Clock::paused(base()))
}

fn lease(api: &FakeApi) -> Value {
    api.get(LEASES, LEASE).expect("the lease")
}

/// The absences after the one before the first of all.
fn since_the_first(term: &Term) -> &[Absence] {
    let (first, later) = term
        .absences
        .split_first()
        .expect("nobody was there before the first");
    assert_eq!(first.from, Timestamp::UNIX_EPOCH);
    later
}

/// When an operator was last there before this term.
fn last_seen(term: &Term) -> Timestamp {
    term.absences.last().expect("an absence").from
}

fn holder(api: &FakeApi) -> Option<String> {
    api.get(LEASES, LEASE)?["spec"]["holderIdentity"]
        .as_str()
        .map(ToOwned::to_owned)
}

fn time(api: &FakeApi, field: &str) -> Timestamp {
    lease(api)["spec"][field].as_str().unwrap().parse().unwrap()
}

/// One process that stands for the lease; dropped, it is killed.
struct Replica {
    leadership: watch::Receiver<Leadership>,
    gate: Gate,
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<(), LeaseError>>,
}

impl Replica {
    fn start(api: &FakeApi, name: &str) -> Self {
        Self::start_as(api, name, Manner::Candidate, api.clock())
    }

    /// The first one there ever was: it waits for a holder that it cannot know of, and leads.
    async fn first(api: &FakeApi, name: &str) -> Self {
        let mut replica = Self::start(api, name);
        let took = replica.leads_within(DURATION + SLACK).await;
        assert!(took >= DURATION, "{took:?}");
        replica
    }

    fn start_as(api: &FakeApi, name: &str, manner: Manner, clock: Clock) -> Self {
        let config = LeaseConfig {
            namespace: LEASE.0.into(),
            name: LEASE.1.into(),
            shards: Shards::ONE,
            identity: name.into(),
            timing: Timing::new(DURATION),
            manner,
        };
        let (electors, seats) = Electors::new(&api.client(name), &config, &clock, &Metrics::new());
        electors.ready().cancel();
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(electors.run(stop.clone())));
        Self {
            leadership: seats.of(ANYWHERE).leadership(),
            gate: Gate::new(seats, clock),
            stop,
            task,
        }
    }

    /// Waits until it leads; how long that took.
    async fn leads_within(&mut self, limit: Duration) -> Duration {
        let begun = Instant::now();
        let leading = self.leadership.wait_for(|l| l.term().is_some());
        timeout(limit, leading)
            .await
            .unwrap_or_else(|_| panic!("not leading after {limit:?}"))
            .unwrap();
        assert!(self.gate.is_open(ANYWHERE));
        begun.elapsed()
    }

    fn term(&self) -> Term {
        self.leadership.borrow().term().expect("a term").clone()
    }

    /// Waits for the error by which it lost leadership; how long that took.
    async fn lost_within(self, limit: Duration) -> (LeaseError, Duration) {
        let begun = Instant::now();
        let ended = timeout(limit, self.task)
            .await
            .unwrap_or_else(|_| panic!("not lost after {limit:?}"));
        assert!(
            !self.gate.is_open(ANYWHERE),
            "the gate is shut when the elector ends"
        );
        (ended.unwrap().unwrap_err(), begun.elapsed())
    }
}

/// Looks at every gate each 20 ms and keeps what it saw.
struct Monitor {
    seen: Arc<Mutex<Seen>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    gates: Vec<(String, Gate)>,
    leaders: Vec<String>,
    together: Option<Vec<String>>,
}

impl Seen {
    fn look(&mut self) {
        let open = self.gates.iter().filter(|(_, gate)| gate.is_open(ANYWHERE));
        let open: Vec<_> = open.map(|(name, _)| name.clone()).collect();
        for name in &open {
            if self.leaders.last() != Some(name) {
                self.leaders.push(name.clone());
            }
        }
        if open.len() > 1 {
            self.together.get_or_insert(open);
        }
    }
}

impl Monitor {
    fn start() -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                kept.lock().unwrap().look();
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self {
            seen,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Watches the gate of `replica`, in place of an earlier one of that name.
    fn watch(&self, name: &str, replica: &Replica) {
        let mut seen = self.seen.lock().unwrap();
        seen.gates.retain(|(known, _)| known != name);
        seen.gates.push((name.into(), replica.gate.clone()));
    }

    /// Who led until now, in order; fails when two ever led together.
    async fn leaders(&self) -> Vec<String> {
        sleep(Duration::from_millis(40)).await;
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.together, None, "two led at the same time");
        seen.leaders.clone()
    }
}

fn by(client: &'static str) -> impl Fn(&Request) -> bool + Send + 'static {
    move |request| request.client == client
}

/// Cuts one client off: its calls get no answer and its watches end.
fn isolate(api: &FakeApi, client: &'static str) {
    api.inject(Fault::Hang, usize::MAX, by(client));
    api.cut_watches(by(client));
}

#[tokio::test(start_paused = true)]
async fn the_first_of_two_leads_and_the_other_stands_by_with_no_request_but_its_watch() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    assert_eq!(a.term().since, time(&api, "acquireTime"));
    assert_eq!(since_the_first(&a.term()), []);
    let b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(5)).await;
    api.forget_requests();
    sleep(secs(100)).await;
    assert_eq!(monitor.leaders().await, ["a"]);
    let requests = api.requests();
    let of = |client: &str, verb: &str| {
        requests
            .iter()
            .filter(|r| r.client == client && r.verb == verb)
            .count()
    };
    assert!(
        (19..=21).contains(&of("a", "update")),
        "a renewal every 5 s: {}",
        of("a", "update")
    );
    assert_eq!(
        requests.iter().filter(|r| r.client == "b").count() - of("b", "watch") - of("b", "get"),
        0
    );
    assert!(
        of("b", "watch") + of("b", "get") <= 8,
        "a watch that is opened again every half minute, and what it begins from"
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewal_wakes_nobody_who_waits_for_a_change_of_leadership() {
    let api = server();
    let mut a = Replica::first(&api, "a").await;
    a.leadership.mark_unchanged();
    let before = time(&api, "renewTime");
    sleep(secs(60)).await;
    assert!(time(&api, "renewTime") > before && a.gate.is_open(ANYWHERE));
    assert!(!a.leadership.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_crashed_leader_is_followed_within_its_lease_and_the_gap_is_known() {
    let api = server();
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    sleep(secs(33)).await;
    drop(a);
    let last = time(&api, "renewTime");
    let took = b.leads_within(DURATION + SLACK).await;
    assert!(took >= secs(10), "{took:?}: never before the lease is over");
    let term = b.term();
    assert_eq!(
        since_the_first(&term),
        [Absence {
            from: last,
            to: term.since
        }]
    );
    assert!(term.since.duration_since(last) >= SignedDuration::try_from(DURATION).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_stopped_releases_and_another_acts_at_once() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(33)).await;
    let last = time(&api, "renewTime");
    a.stop.cancel();
    let took = b.leads_within(secs(2)).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert!(a.task.await.unwrap().is_ok());
    assert_eq!(last_seen(&b.term()), last);
    sleep(secs(60)).await;
    assert_eq!(monitor.leaders().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn another_acts_within_two_seconds_of_a_release_also_after_a_conflict_and_a_broken_watch() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(7)).await;
    api.cut_watches(by("b"));
    api.inject(Fault::Status(409), 1, |r| r.client == "a" && r.verb == "update");
    a.stop.cancel();
    b.leads_within(Duration::from_millis(2200)).await;
    sleep(secs(1)).await;
    assert_eq!(monitor.leaders().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_is_stopped_leaves_the_lease_alone() {
    let api = server();
    let a = Replica::first(&api, "a").await;
    let b = Replica::start(&api, "b");
    sleep(secs(3)).await;
    b.stop.cancel();
    assert!(b.task.await.unwrap().is_ok());
    assert!(a.gate.is_open(ANYWHERE));
    assert_eq!(holder(&api).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_process_restarted_under_its_name_leads_at_once_and_knows_the_gap() {
    let api = server();
    let a = Replica::first(&api, "a").await;
    sleep(secs(12)).await;
    drop(a);
    let last = time(&api, "renewTime");
    sleep(secs(4)).await;
    let mut again = Replica::start(&api, "a");
    again.leads_within(secs(2)).await;
    let term = again.term();
    assert_eq!(
        since_the_first(&term),
        [Absence {
            from: last,
            to: term.since
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_of_one_name_the_older_stops() {
    let api = server();
    let a = Replica::first(&api, "twin").await;
    sleep(secs(7)).await;
    let mut again = Replica::start(&api, "twin");
    again.leads_within(secs(2)).await;
    let (error, _) = a.lost_within(Duration::from_millis(500)).await;
    assert!(matches!(error, LeaseError::Taken { .. }), "{error}");
    sleep(secs(60)).await;
    assert!(again.gate.is_open(ANYWHERE));
}

#[tokio::test(start_paused = true)]
async fn drain_takes_the_lease_from_a_living_leader_and_nobody_takes_it_back() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(8)).await;

    let mut drain = Replica::start_as(&api, "drain-x", Manner::Takeover, api.clock());
    monitor.watch("drain-x", &drain);
    let begun = Instant::now();
    let (error, took) = a.lost_within(secs(1)).await;
    assert!(
        matches!(&error, LeaseError::Taken { holder, .. } if holder == "drain-x"),
        "{error}"
    );
    assert!(took < Duration::from_millis(500), "{took:?}: told by its watch");
    drain.leads_within(secs(11)).await;
    assert!(
        begun.elapsed() >= secs(10),
        "it acts when the renew deadline of the ousted leader is over"
    );

    let mut a = Replica::start(&api, "a");
    monitor.watch("a", &a);
    sleep(secs(120)).await;
    assert_eq!(holder(&api).as_deref(), Some("drain-x"));
    assert_eq!(monitor.leaders().await, ["a", "drain-x"]);

    drain.stop.cancel();
    assert!(drain.task.await.unwrap().is_ok());
    let stopped = Instant::now();
    assert_eq!(holder(&api).as_deref(), Some("drain-x"), "it is left to run out");
    tokio::select! {
        _ = b.leads_within(DURATION + SLACK) => {}
        _ = a.leads_within(DURATION + SLACK) => {}
    }
    assert!(stopped.elapsed() >= DURATION, "{:?}", stopped.elapsed());
    monitor.leaders().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_watch_learns_of_drain_by_its_next_renewal() {
    let (api, monitor) = (server(), Monitor::start());
    api.inject(Fault::Hang, usize::MAX, |r| r.client == "a" && r.verb == "watch");
    let a = Replica::first(&api, "a").await;
    monitor.watch("a", &a);
    sleep(secs(7)).await;
    let mut drain = Replica::start_as(&api, "drain-x", Manner::Takeover, api.clock());
    monitor.watch("drain-x", &drain);
    let (error, took) = a.lost_within(secs(6)).await;
    assert!(matches!(error, LeaseError::Taken { .. }), "{error}");
    assert!(took > secs(1), "{took:?}: not by the watch");
    drain.leads_within(secs(11)).await;
    assert_eq!(monitor.leaders().await, ["a", "drain-x"]);
}

#[tokio::test(start_paused = true)]
async fn drain_does_not_act_while_a_leader_that_is_cut_off_may_still_act() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    monitor.watch("a", &a);
    sleep(Duration::from_millis(5100)).await;
    isolate(&api, "a");
    let mut drain = Replica::start_as(&api, "drain-x", Manner::Takeover, api.clock());
    monitor.watch("drain-x", &drain);
    drain.leads_within(secs(11)).await;
    let (error, _) = a.lost_within(secs(1)).await;
    assert!(matches!(error, LeaseError::Expired { .. }), "{error}");
    assert_eq!(monitor.leaders().await, ["a", "drain-x"]);
}

#[tokio::test(start_paused = true)]
async fn drain_acts_at_once_where_nobody_leads() {
    let api = server();
    let a = Replica::first(&api, "a").await;
    a.stop.cancel();
    a.task.await.unwrap().unwrap();
    let mut drain = Replica::start_as(&api, "drain-x", Manner::Takeover, api.clock());
    assert!(drain.leads_within(secs(1)).await < secs(1));
}

#[tokio::test(start_paused = true)]
async fn wall_clocks_that_differ_by_hours_change_nothing() {
    let (api, monitor) = (server(), Monitor::start());
    let hours = |h| Clock::paused(base() + SignedDuration::from_hours(h));
    let mut ahead = Replica::start_as(&api, "ahead", Manner::Candidate, hours(5));
    ahead.leads_within(DURATION + SLACK).await;
    let mut behind = Replica::start_as(&api, "behind", Manner::Candidate, hours(-5));
    monitor.watch("ahead", &ahead);
    monitor.watch("behind", &behind);
    sleep(secs(120)).await;
    assert_eq!(monitor.leaders().await, ["ahead"]);
    isolate(&api, "ahead");
    behind.leads_within(DURATION + SLACK).await;
    assert_eq!(monitor.leaders().await, ["ahead", "behind"]);
    let term = behind.term();
    assert!(
        since_the_first(&term).is_empty(),
        "none that ends before it begins: {term:?}"
    );
    api.heal();
    let mut third = Replica::start_as(&api, "ahead-again", Manner::Candidate, hours(5));
    monitor.watch("ahead-again", &third);
    sleep(secs(120)).await;
    assert_eq!(monitor.leaders().await, ["ahead", "behind"]);
    drop(behind);
    third.leads_within(DURATION + SLACK).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_from_the_api_server_stops_at_its_renew_deadline_before_the_next_one_acts() {
    for fault in [Fault::Hang, Fault::Cut, Fault::Status(500), Fault::Status(403)] {
        let (api, monitor) = (server(), Monitor::start());
        let a = Replica::first(&api, "a").await;
        let mut b = Replica::start(&api, "b");
        monitor.watch("a", &a);
        monitor.watch("b", &b);
        sleep(Duration::from_millis(20_500)).await;
        let renewed = a.term();
        api.inject(fault, usize::MAX, by("a"));
        api.cut_watches(by("a"));
        let (error, took) = a.lost_within(secs(11)).await;
        assert!(matches!(&error, LeaseError::Expired { .. }), "{error}");
        assert!(took >= secs(4) && took <= secs(10), "{took:?} after {renewed:?}");
        b.leads_within(secs(6) + SLACK).await;
        assert_eq!(monitor.leaders().await, ["a", "b"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_api_server_is_waited_out_by_those_who_stand_by() {
    let api = server();
    api.inject(Fault::Hang, usize::MAX, |_| true);
    let mut a = Replica::start(&api, "a");
    sleep(secs(3600)).await;
    assert!(!a.gate.is_open(ANYWHERE) && !a.task.is_finished());
    api.heal();
    a.leads_within(DURATION + 2 * SLACK).await;
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_costs_no_leadership() {
    for fault in [
        Fault::Status(500),
        Fault::Cut,
        Fault::CutAfter,
        Fault::Hang,
        Fault::Status(409),
    ] {
        let (api, monitor) = (server(), Monitor::start());
        let a = Replica::first(&api, "a").await;
        let b = Replica::start(&api, "b");
        monitor.watch("a", &a);
        monitor.watch("b", &b);
        sleep(secs(7)).await;
        api.inject(fault, usize::MAX, |r| r.client == "a" && r.verb == "update");
        sleep(Duration::from_millis(5500)).await;
        api.heal();
        sleep(secs(120)).await;
        assert_eq!(monitor.leaders().await, ["a"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn conflicts_without_end_are_an_expired_lease() {
    let api = server();
    let a = Replica::first(&api, "a").await;
    api.inject(Fault::Status(409), usize::MAX, |r| r.verb == "update");
    let (error, took) = a.lost_within(secs(11)).await;
    assert!(
        matches!(error, LeaseError::Expired { .. }) && took >= secs(9),
        "{error} after {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_api_server_is_still_fast_enough() {
    let (api, monitor) = (server(), Monitor::start());
    api.inject(Fault::Delay(Duration::from_millis(2400)), usize::MAX, |r| {
        r.verb != "watch"
    });
    let mut a = Replica::start(&api, "a");
    a.leads_within(DURATION + 2 * SLACK).await;
    let b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(300)).await;
    assert_eq!(monitor.leaders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_taking_the_lease_hides_no_gap() {
    let api = server();
    let a = Replica::first(&api, "a").await;
    sleep(secs(12)).await;
    drop(a);
    let last = time(&api, "renewTime");
    api.inject(Fault::CutAfter, 1, |r| r.client == "b" && r.verb == "update");
    let mut b = Replica::start(&api, "b");
    b.leads_within(DURATION + SLACK).await;
    let term = b.term();
    assert_eq!(
        since_the_first(&term),
        [Absence {
            from: last,
            to: term.since
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn edits_by_hand_neither_unseat_the_leader_nor_get_lost() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(7)).await;
    api.edit(LEASES, LEASE, "kubectl", |l| {
        l["metadata"]["labels"] = json!({"team": "x"});
    });
    sleep(secs(30)).await;
    for duration in [json!(1), json!(null), json!(100_000)] {
        api.edit(LEASES, LEASE, "kubectl", |l| {
            l["spec"]["leaseDurationSeconds"] = duration.clone();
        });
        sleep(secs(30)).await;
    }
    assert_eq!(monitor.leaders().await, ["a"]);
    assert_eq!(lease(&api)["metadata"]["labels"]["team"], "x");
    assert_eq!(lease(&api)["spec"]["leaseDurationSeconds"], 15);
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_by_hand_is_made_again_by_its_holder() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(7)).await;
    let acquired = time(&api, "acquireTime");
    api.delete(LEASES, LEASE);
    timeout(secs(2), api.until(|api| holder(api).as_deref() == Some("a")))
        .await
        .unwrap();
    assert_eq!(time(&api, "acquireTime"), acquired, "the same term");
    sleep(secs(60)).await;
    assert_eq!(monitor.leaders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_while_its_holder_is_cut_off_is_free_only_when_the_holder_has_stopped() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(Duration::from_millis(10_100)).await;
    let last = time(&api, "renewTime");
    isolate(&api, "a");
    api.delete(LEASES, LEASE);
    let took = b.leads_within(DURATION + SLACK).await;
    assert!(took > secs(10), "{took:?}");
    assert_eq!(
        last_seen(&b.term()),
        last,
        "remembered although the record is gone"
    );
    assert_eq!(monitor.leaders().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_holder_blanked_by_hand_steps_down_before_another_acts() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(Duration::from_millis(10_100)).await;
    isolate(&api, "a");
    api.edit(LEASES, LEASE, "kubectl", |l| {
        l["spec"]["holderIdentity"] = json!(null);
    });
    b.leads_within(DURATION + SLACK).await;
    assert!(
        a.lost_within(secs(1))
            .await
            .0
            .to_string()
            .contains("could not be renewed")
    );
    assert_eq!(monitor.leaders().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_a_hand_makes_the_holder_acts_once_the_leader_has_stopped() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(Duration::from_millis(10_100)).await;
    isolate(&api, "a");
    api.edit(LEASES, LEASE, "kubectl", |l| {
        l["spec"]["holderIdentity"] = json!("b");
    });
    b.leads_within(DURATION + SLACK).await;
    a.lost_within(secs(1)).await;
    assert_eq!(monitor.leaders().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_duration_that_no_replica_can_have_is_not_waited_for() {
    let api = server();
    let a = Replica::first(&api, "a").await;
    let mut b = Replica::start(&api, "b");
    sleep(secs(7)).await;
    drop(a);
    api.edit(LEASES, LEASE, "kubectl", |l| {
        l["spec"]["leaseDurationSeconds"] = json!(i32::MAX);
    });
    b.leads_within(Timing::LONGEST + SLACK).await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_whose_watch_is_dead_does_not_take_a_lease_that_is_renewed() {
    let (api, monitor) = (server(), Monitor::start());
    let a = Replica::first(&api, "a").await;
    api.inject(Fault::Hang, usize::MAX, |r| r.client == "b" && r.verb == "watch");
    let mut b = Replica::start(&api, "b");
    monitor.watch("a", &a);
    monitor.watch("b", &b);
    sleep(secs(300)).await;
    assert_eq!(monitor.leaders().await, ["a"]);
    drop(a);
    b.leads_within(2 * DURATION + SLACK).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_held_by_one_who_is_long_gone_is_taken_after_one_duration() {
    let api = server();
    let time = "2020-01-01T00:00:00.000000Z";
    api.put(
            LEASES,
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": LEASE.1, "namespace": LEASE.0},
                "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 15, "acquireTime": time, "renewTime": time},
            }),
        );
    let mut a = Replica::start(&api, "a");
    let took = a.leads_within(DURATION + SLACK).await;
    assert!(took >= DURATION);
    assert_eq!(last_seen(&a.term()), time.parse::<Timestamp>().unwrap());
}

/// A small generator of numbers: the same seed tells the same story, up to the jitter of retries.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One stroke of bad luck for the replica `name`.
fn mischief(api: &FakeApi, dice: &mut Dice, name: &'static str, stop: &CancellationToken) {
    match dice.below(10) {
        0 => isolate(api, name),
        1 | 2 => api.heal(),
        3 => api.inject(Fault::CutAfter, 3, by(name)),
        4 => api.inject(Fault::Status(409), 4, move |r| {
            r.client == name && r.verb == "update"
        }),
        5 => api.inject(
            Fault::Delay(Duration::from_millis(dice.below(4000))),
            10,
            by(name),
        ),
        6 => api.cut_watches(by(name)),
        7 => stop.cancel(),
        _ if api.get(LEASES, LEASE).is_none() => {}
        8 => api.delete(LEASES, LEASE),
        _ => {
            let edits = [
                ("holderIdentity", json!(null)),
                ("leaseDurationSeconds", json!(1)),
            ];
            let (field, value) = edits[usize::try_from(dice.below(2)).unwrap()].clone();
            api.edit(LEASES, LEASE, "kubectl", |l| l["spec"][field] = value);
        }
    }
}

/// Ten minutes of bad luck: replicas crash, are cut off and come back, watches break, calls fail, hands meddle.
#[tokio::test(start_paused = true)]
async fn whatever_happens_two_never_lead_and_in_the_end_one_does() {
    let mut changes = 0;
    for seed in 1..=6_u64 {
        let (api, monitor, mut dice) = (server(), Monitor::start(), Dice(seed));
        let names = ["a", "b", "c"];
        let mut replicas = names.map(|name| Replica::start(&api, name));
        for _ in 0..100 {
            for (name, replica) in names.iter().zip(&mut replicas) {
                if replica.task.is_finished() {
                    *replica = Replica::start(&api, name);
                }
                monitor.watch(name, replica);
            }
            sleep(Duration::from_millis(dice.below(12_000))).await;
            let who = usize::try_from(dice.below(3)).unwrap();
            mischief(&api, &mut dice, names[who], &replicas[who].stop);
        }
        api.heal();
        sleep(secs(60)).await;
        assert!(
            replicas.iter().any(|r| r.gate.is_open(ANYWHERE)),
            "nobody leads in the end; seed {seed}"
        );
        changes += monitor.leaders().await.len();
    }
    assert!(changes > 30, "leadership changed hands only {changes} times");
}
