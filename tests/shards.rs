//! Several shards among several replicas, against a fake API server on paused time: each has one owner, they are divided
//! evenly, and nothing moves twice.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail too")]

mod fake_api;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::api::Span;
use birdwatch::api::status::HoldClock;
use birdwatch::core::observation::Gap;
use birdwatch::runtime::clock::Clock;
use birdwatch::runtime::lease::{Absence, Electors, Gate, LeaseConfig, LeaseError, Manner, Shards, Timing};
use birdwatch::runtime::metrics::Metrics;
use fake_api::FakeApi;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const LEASES: &str = "coordination.k8s.io/leases";
const HOME: &str = "birdwatch-system";
const SIX: u16 = 6;
const DURATION: Duration = Duration::from_secs(15);
/// What may be added to a lease: a round of conflict, read and jittered retry.
const SLACK: Duration = Duration::from_secs(4);

/// A process that stands for all leases; dropped, it is killed.
struct Replica {
    gate: Gate,
    metrics: Metrics,
    ready: CancellationToken,
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<(), LeaseError>>,
}

impl Replica {
    fn start(world: &World, name: &str, shards: u16) -> Self {
        let replica = Self::start_unready(world, name, shards, world.api.clock());
        replica.ready.cancel();
        replica
    }

    /// One whose watches have shown nothing yet.
    fn start_unready(world: &World, name: &str, shards: u16, clock: Clock) -> Self {
        let config = LeaseConfig {
            namespace: HOME.into(),
            name: "birdwatch".into(),
            shards: Shards::new(shards).unwrap(),
            identity: name.into(),
            timing: Timing::new(DURATION),
            manner: Manner::Candidate,
        };
        let metrics = Metrics::new();
        let (electors, seats) = Electors::new(&world.api.client(name), &config, &clock, &metrics);
        let ready = electors.ready();
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(electors.run(stop.clone())));
        let gate = Gate::new(seats, clock);
        let mut seen = world.seen.lock().unwrap();
        seen.gates.insert(name.to_owned(), gate.clone());
        Self {
            gate,
            metrics,
            ready,
            stop,
            task,
        }
    }
}

/// Who acts where, looked at each 10 ms.
struct World {
    api: FakeApi,
    seen: Arc<Mutex<Seen>>,
    _monitor: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    gates: BTreeMap<String, Gate>,
    /// For each namespace, a string of those who acted there, in their order.
    owners: BTreeMap<String, Vec<String>>,
    together: Vec<String>,
    /// Since when nobody acts in a namespace where somebody did.
    idle: BTreeMap<String, Instant>,
    /// The longest time for which nobody did.
    longest_gap: Duration,
}

impl Seen {
    fn look(&mut self, namespaces: &[String]) {
        for namespace in namespaces {
            let open = self.gates.iter().filter(|(_, gate)| gate.is_open(namespace));
            let open: Vec<_> = open.map(|(name, _)| name.clone()).collect();
            if open.len() > 1 {
                self.together.push(format!("{namespace}: {open:?}"));
            }
            let owners = self.owners.entry(namespace.clone()).or_default();
            if open.is_empty() && !owners.is_empty() {
                let since = *self.idle.entry(namespace.clone()).or_insert_with(Instant::now);
                self.longest_gap = self.longest_gap.max(since.elapsed());
            } else {
                self.idle.remove(namespace);
            }
            if let [one] = open.as_slice()
                && owners.last() != Some(one)
            {
                owners.push(one.clone());
            }
        }
    }
}

/// A namespace of each of the six shards.
fn namespaces() -> Vec<String> {
    let shards = Shards::new(SIX).unwrap();
    let of = |index| {
        let mut names = (0..).map(|number| format!("team-{number}"));
        names.find(|name| shards.of(name).index() == index).unwrap()
    };
    (0..usize::from(SIX)).map(of).collect()
}

impl World {
    fn new() -> Self {
        let api = FakeApi::new(Clock::paused("2026-03-01T12:00:00Z".parse().unwrap()));
        let seen = Arc::<Mutex<Seen>>::default();
        let kept = Arc::clone(&seen);
        let monitor = tokio::spawn(async move {
            let namespaces = namespaces();
            loop {
                kept.lock().unwrap().look(&namespaces);
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self {
            api,
            seen,
            _monitor: AbortOnDropHandle::new(monitor),
        }
    }

    /// Who acts in each namespace now; `-` where nobody does.
    fn owners(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.together, Vec::<String>::new(), "two acted at the same time");
        let owner = |namespace: &String| {
            let mut open = seen.gates.iter().filter(|(_, gate)| gate.is_open(namespace));
            open.next().map_or("-".to_owned(), |(name, _)| name.clone())
        };
        namespaces().iter().map(owner).collect()
    }

    /// How many namespaces each acts in, `-` for nobody.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for owner in self.owners() {
            *counts.entry(owner).or_default() += 1;
        }
        counts
    }

    /// Waits until so many are acted for by each of these; how long that took.
    async fn divided(&self, expected: &[(&str, usize)], limit: Duration) -> Duration {
        let expected: BTreeMap<String, usize> = expected
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        let begun = Instant::now();
        while self.counts() != expected {
            assert!(
                begun.elapsed() < limit,
                "not {expected:?} but {:?}",
                self.counts()
            );
            sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    /// How often each namespace has changed hands since `before`.
    fn moved(&self, before: &[String]) -> Vec<usize> {
        let (seen, names) = (self.seen.lock().unwrap(), namespaces());
        let of = |(name, before): (&String, &String)| {
            let owners = &seen.owners[name];
            let since = owners.iter().rposition(|owner| owner == before).unwrap_or(0);
            owners.len() - 1 - since
        };
        names.iter().zip(before).map(of).collect()
    }

    fn kill(&self, name: &str, replica: Replica) {
        self.seen.lock().unwrap().gates.remove(name);
        drop(replica);
    }

    /// Three replicas that hold two each.
    async fn three() -> (Self, [Replica; 3]) {
        let world = Self::new();
        let a = Replica::start(&world, "a", SIX);
        world.divided(&[("a", 6)], DURATION + SLACK).await;
        let b = Replica::start(&world, "b", SIX);
        world.divided(&[("a", 3), ("b", 3)], DURATION + SLACK).await;
        let c = Replica::start(&world, "c", SIX);
        world
            .divided(&[("a", 2), ("b", 2), ("c", 2)], DURATION + SLACK)
            .await;
        (world, [a, b, c])
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn replicas_that_come_one_after_the_other_divide_the_shards_and_each_moves_once_at_most() {
    let world = World::new();
    let a = Replica::start(&world, "a", SIX);
    world.divided(&[("a", 6)], DURATION + SLACK).await;
    let text = a.metrics.text().unwrap();
    assert!(text.contains("birdwatch_leader 6\n") && text.contains("birdwatch_shards 6\n"));

    let before = world.owners();
    let b = Replica::start(&world, "b", SIX);
    world.divided(&[("a", 3), ("b", 3)], secs(10)).await;
    sleep(secs(300)).await;
    assert_eq!(world.moved(&before).iter().sum::<usize>(), 3);
    assert!(a.metrics.text().unwrap().contains("birdwatch_leader 3\n"));

    let before = world.owners();
    let _c = Replica::start(&world, "c", SIX);
    world.divided(&[("a", 2), ("b", 2), ("c", 2)], secs(10)).await;
    sleep(secs(300)).await;
    assert_eq!(world.moved(&before).iter().sum::<usize>(), 2);
    assert!(world.moved(&before).iter().all(|times| *times <= 1));
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_come_at_the_same_time_divide_the_shards_too() {
    let world = World::new();
    let _all = ["a", "b", "c"].map(|name| Replica::start(&world, name, SIX));
    world
        .divided(&[("a", 2), ("b", 2), ("c", 2)], DURATION + secs(30))
        .await;
    let before = world.owners();
    sleep(secs(600)).await;
    assert_eq!(world.moved(&before), [0; 6]);
}

/// What `c` had moves once, and nothing else; how long that took.
async fn left_by_c(world: &World, befall: impl FnOnce(&World), limit: Duration) -> Duration {
    let before = world.owners();
    befall(world);
    let took = world.divided(&[("a", 3), ("b", 3)], limit).await;
    sleep(secs(300)).await;
    let lost: Vec<_> = before.iter().map(|owner| usize::from(owner == "c")).collect();
    assert_eq!(world.moved(&before), lost);
    took
}

#[tokio::test(start_paused = true)]
async fn the_shards_of_a_replica_that_vanishes_are_taken_within_the_lease_and_nothing_else_moves() {
    let (world, [_a, _b, c]) = World::three().await;
    let took = left_by_c(&world, |world| world.kill("c", c), DURATION + secs(1)).await;
    assert!(took >= secs(9), "{took:?}: never before the lease is over");
}

#[tokio::test(start_paused = true)]
async fn the_shards_of_a_replica_that_stops_are_taken_at_once_and_nothing_else_moves() {
    let (world, [_a, _b, c]) = World::three().await;
    let took = left_by_c(&world, |_| c.stop.cancel(), secs(5)).await;
    assert!(took <= secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shard_changes_hands_when_nobody_is_at_work_on_it_any_more() {
    let world = World::new();
    let a = Replica::start(&world, "a", SIX);
    world.divided(&[("a", 6)], DURATION + SLACK).await;
    let names = namespaces();
    let mut at_work: Vec<_> = names.iter().map(|name| a.gate.enter(name).unwrap()).collect();
    let _b = Replica::start(&world, "b", SIX);
    sleep(secs(8)).await;
    assert!(!world.counts().contains_key("b"), "{:?}", world.counts());
    let given_up = names.iter().filter(|name| a.gate.enter(name).is_none()).count();
    assert_eq!(given_up, 1, "no work begins where it is to be given up");
    at_work.clear();
    world.divided(&[("a", 3), ("b", 3)], secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_person_may_move_a_shard() {
    let (world, _all) = World::three().await;
    let before = world.owners();
    let (index, to) = if before[0] == "a" { (0, "b") } else { (0, "a") };
    let lease = format!("birdwatch-{index}-of-6");
    world.api.edit(LEASES, (HOME, &lease), "kubectl", |lease| {
        lease["metadata"]["annotations"]["otomato.link/asked-for-by"] = json!(to);
    });
    let begun = Instant::now();
    while world.owners()[index] != to {
        assert!(begun.elapsed() < secs(5), "{:?}", world.owners());
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_and_vanishes_leaves_the_shard_to_another() {
    let (world, _all) = World::three().await;
    world
        .api
        .edit(LEASES, (HOME, "birdwatch-0-of-6"), "kubectl", |lease| {
            lease["metadata"]["annotations"]["otomato.link/asked-for-by"] = json!("nobody");
        });
    sleep(secs(5)).await;
    assert!(!world.counts().contains_key("-"), "{:?}", world.counts());
    let before = world.owners();
    sleep(secs(300)).await;
    assert_eq!(world.moved(&before), [0; 6]);
}

#[tokio::test(start_paused = true)]
async fn with_another_number_of_shards_nobody_acts_before_the_former_holders_are_gone() {
    let world = World::new();
    let old = Replica::start(&world, "old", 1);
    world.divided(&[("old", 6)], DURATION + SLACK).await;
    let _new = ["a", "b"].map(|name| Replica::start(&world, name, SIX));
    sleep(secs(120)).await;
    assert_eq!(world.counts(), BTreeMap::from([("old".to_owned(), 6)]));
    // One more of the former kind, as while pods are replaced one by one.
    let late = Replica::start(&world, "late", 1);
    sleep(secs(5)).await;
    old.stop.cancel();
    world.divided(&[("late", 6)], secs(5)).await;
    world.seen.lock().unwrap().longest_gap = Duration::ZERO;
    late.stop.cancel();
    world.divided(&[("a", 3), ("b", 3)], secs(20)).await;
    let gap = world.seen.lock().unwrap().longest_gap;
    assert!(gap < secs(5), "nobody acted for {gap:?}");
    sleep(secs(300)).await;
    world.divided(&[("a", 3), ("b", 3)], Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_former_holder_that_vanished_is_waited_for_as_long_as_its_lease_lasts() {
    let world = World::new();
    let old = Replica::start(&world, "old", 1);
    world.divided(&[("old", 6)], DURATION + SLACK).await;
    let _new = Replica::start(&world, "a", SIX);
    sleep(secs(60)).await;
    world.kill("old", old);
    let took = world.divided(&[("a", 6)], DURATION + SLACK).await;
    assert!(took >= secs(9), "{took:?}");
}

/// Where the former holder vanished its Lease stays as it was, for ever.
#[tokio::test(start_paused = true)]
async fn a_former_holder_that_vanished_is_waited_for_once() {
    let world = World::new();
    let old = Replica::start(&world, "old", 1);
    world.divided(&[("old", 6)], DURATION + SLACK).await;
    world.kill("old", old);
    let a = Replica::start(&world, "a", SIX);
    world.divided(&[("a", 6)], DURATION + SLACK).await;
    let _b = Replica::start(&world, "b", SIX);
    world.seen.lock().unwrap().longest_gap = Duration::ZERO;
    world
        .divided(&[("a", 3), ("b", 3)], DURATION + SLACK + SLACK)
        .await;
    let gap = world.seen.lock().unwrap().longest_gap;
    assert!(gap < secs(2), "nobody acted for {gap:?}");
    a.stop.cancel();
    let took = world.divided(&[("b", 6)], secs(5)).await;
    assert!(took <= secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_former_holder_that_a_hand_deletes_frees_nothing() {
    let world = World::new();
    let _old = Replica::start(&world, "old", 1);
    world.divided(&[("old", 6)], DURATION + SLACK).await;
    let _new = Replica::start(&world, "a", SIX);
    sleep(secs(60)).await;
    for _ in 0..20 {
        world.api.delete(LEASES, (HOME, "birdwatch"));
        sleep(Duration::from_millis(3_700)).await;
    }
    assert_eq!(world.counts(), BTreeMap::from([("old".to_owned(), 6)]));
}

/// What a Lease says of times is by whosever clock.
#[tokio::test(start_paused = true)]
async fn clocks_decide_nothing_between_those_with_another_number_of_shards() {
    for hours in [-5, 5] {
        let world = World::new();
        let _old = Replica::start(&world, "old", 1);
        world.divided(&[("old", 6)], DURATION + SLACK).await;
        let clock = Clock::paused(world.api.clock().now() + SignedDuration::from_hours(hours));
        let new = Replica::start_unready(&world, "a", SIX, clock);
        new.ready.cancel();
        sleep(secs(120)).await;
        assert_eq!(
            world.counts(),
            BTreeMap::from([("old".to_owned(), 6)]),
            "{hours} h"
        );
    }
}

/// When a lease was last renewed, as it says.
fn renewed(world: &World, lease: &str) -> Timestamp {
    let lease = world.api.get(LEASES, (HOME, lease)).unwrap();
    lease["spec"]["renewTime"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn time_without_an_operator_goes_from_the_former_holders_last_renewal_until_the_next_one_acts() {
    let world = World::new();
    let old = Replica::start(&world, "old", 1);
    world.divided(&[("old", 6)], DURATION + SLACK).await;
    let former = old.gate.term("shop").unwrap().absences;
    let new = Replica::start(&world, "a", SIX);
    sleep(secs(120)).await;
    old.stop.cancel();
    let stopped = world.api.clock().now();
    world.divided(&[("a", 6)], secs(5)).await;
    let last = renewed(&world, "birdwatch");
    assert!(stopped.duration_since(last) < SignedDuration::from_secs(6));
    for namespace in namespaces() {
        let absences = new.gate.term(&namespace).unwrap().absences;
        let (latest, before) = absences.split_last().unwrap();
        assert_eq!((before, latest.from), (former.as_slice(), last), "{absences:?}");
        assert!(latest.to >= stopped, "{absences:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_keeps_what_was_served_when_the_number_of_shards_changes_and_changes_back() {
    let world = World::new();
    let clock = world.api.clock();
    let old = Replica::start(&world, "old", 1);
    world.divided(&[("old", 6)], DURATION + SLACK).await;
    let began = clock.now();
    let mut former = old;
    // With 3, one of six has two former owners; with 4, each of 4 has two or three.
    for (name, shards) in [("b", SIX), ("c", 1), ("d", 3), ("e", SIX), ("f", 4), ("g", 1)] {
        sleep(secs(600)).await;
        let next = Replica::start(&world, name, shards);
        sleep(secs(60)).await;
        former.stop.cancel();
        world.divided(&[(name, 6)], secs(5)).await;
        former = next;
    }
    for namespace in namespaces() {
        let absences = former.gate.term(&namespace).unwrap().absences;
        let gap = |absence: Absence| Gap {
            from: absence.from,
            to: absence.to,
        };
        let gaps: Vec<_> = absences.into_iter().map(gap).collect();
        let mut hold = HoldClock::started(began);
        hold.skip(&gaps);
        let (served, all) = (hold.served_at(clock.now()), Span::between(began, clock.now()));
        let lost = all.minus(served);
        assert!(
            lost > Span::ZERO && lost < Span::secs(6 * 6),
            "{lost} of {all} lost: {gaps:?}"
        );
    }
}

/// What a former holder's clock says of its last term excuses no absence that comes later.
#[tokio::test(start_paused = true)]
async fn a_former_holder_whose_clock_was_ahead_hides_no_absence() {
    let world = World::new();
    let ahead = Clock::paused("2026-03-01T13:00:00Z".parse().unwrap());
    let old = Replica::start_unready(&world, "old", 1, ahead);
    old.ready.cancel();
    world.divided(&[("old", 6)], DURATION + SLACK).await;
    let first = Replica::start(&world, "a", SIX);
    sleep(secs(600)).await;
    old.stop.cancel();
    world.divided(&[("a", 6)], secs(5)).await;
    sleep(secs(300)).await;
    world.kill("a", first);
    let gone = world.api.clock().now();
    sleep(secs(7200)).await;
    let next = Replica::start(&world, "b", SIX);
    world.divided(&[("b", 6)], DURATION + SLACK).await;
    for namespace in namespaces() {
        let absences = next.gate.term(&namespace).unwrap().absences;
        let is_it = |absence: &Absence| {
            absence.from <= gone && absence.to.duration_since(gone) >= SignedDuration::from_secs(7200)
        };
        assert!(absences.iter().any(is_it), "{absences:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_could_not_act_yet_asks_for_nothing_and_lets_others_go_first() {
    let world = World::new();
    let a = Replica::start(&world, "a", SIX);
    world.divided(&[("a", 6)], DURATION + SLACK).await;
    let unready = Replica::start_unready(&world, "unready", SIX, world.api.clock());
    sleep(secs(120)).await;
    assert_eq!(world.counts(), BTreeMap::from([("a".to_owned(), 6)]));
    let _b = Replica::start(&world, "b", SIX);
    world.divided(&[("a", 3), ("b", 3)], secs(10)).await;
    a.stop.cancel();
    world.divided(&[("b", 6)], secs(5)).await;
    unready.ready.cancel();
    world.divided(&[("b", 3), ("unready", 3)], secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn who_loses_one_lease_gives_the_others_up_in_order() {
    let (world, [_a, _b, c]) = World::three().await;
    let of_c: Vec<_> = (0..6).filter(|index| world.owners()[*index] == "c").collect();
    let lease = format!("birdwatch-{}-of-6", of_c[0]);
    world.api.edit(LEASES, (HOME, &lease), "kubectl", |lease| {
        lease["spec"]["holderIdentity"] = json!("somebody");
    });
    assert!(c.task.await.unwrap().is_err());
    world.seen.lock().unwrap().gates.remove("c");
    let begun = Instant::now();
    while world.owners()[of_c[1]] == "-" {
        assert!(begun.elapsed() < secs(2), "{:?}", world.owners());
        sleep(Duration::from_millis(10)).await;
    }
    world.divided(&[("a", 3), ("b", 3)], DURATION + SLACK).await;
}
