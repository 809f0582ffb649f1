//! What befalls leaders in the middle of a rollout, and that it reaches its end all the same, with one replica writing at
//! a time.

use birdwatch::api::status::Phase;
use birdwatch_bed::clock;
use birdwatch_bed::process::Signal;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::SignedDuration;
use serde_json::json;

use crate::book::LEASE;
use crate::ground::{Ground, on_ground};
use crate::stage::Stage;

/// What is done to the leader, or to the Lease, once the canary has 20 %.
type Disturb = for<'a> fn(&'a Stage) -> BoxFuture<'a, ()>;

/// As many as two busy cores take without a leader that loses its lease to their slowness.
const SIDE_BY_SIDE: usize = 6;
/// The hold of every step, as far as a watch of its weight can tell.
const HOLD: SignedDuration = SignedDuration::from_millis(2500);
const WEIGHTS: [i64; 5] = [0, 20, 50, 100, 0];

/// A rollout through which this is done.
async fn through(ground: &'static Ground, (what, replicas, disturb): (&str, usize, Disturb)) -> String {
    let stage = Stage::set(ground, replicas).await;
    stage.release().await;
    stage.confirmed(20).await;
    disturb(&stage).await;
    stage.phase(Phase::Promoted).await;
    stage
        .until("traffic is production's again", || {
            stage.path().len() >= WEIGHTS.len()
        })
        .await;
    assert_eq!(stage.path(), WEIGHTS, "{what}");
    stage.check(what);
    let leaders: Vec<_> = stage.terms().into_iter().map(|term| term.replica).collect();
    let ends: usize = stage.replicas.iter().map(crate::replica::Replica::ends).sum();
    format!("{what:<52} {replicas:>8} {ends:>6}  {}", leaders.join(" "))
}

#[test]
fn whatever_befalls_leaders_one_writes_at_a_time_and_rollouts_reach_their_end() {
    let all: [(&str, usize, Disturb); 17] = [
        ("stopped beyond the lease, and continued", 2, |s| {
            stopped(s).boxed()
        }),
        ("the same", 3, |s| stopped(s).boxed()),
        ("stopped one after the other", 2, |s| {
            one_after_the_other(s).boxed()
        }),
        ("stopped for less than the lease", 2, |s| blinked(s).boxed()),
        ("killed, and it stays away", 3, |s| killed(s).boxed()),
        ("lease deleted", 2, |s| deleted(s).boxed()),
        ("lease deleted while its holder is stopped", 2, |s| {
            deleted_under_the_stopped(s).boxed()
        }),
        ("holder replaced by nobody who is there", 2, |s| {
            replaced(s, "somebody").boxed()
        }),
        ("holder blanked", 2, |s| replaced(s, "").boxed()),
        ("holder replaced by the standby's name", 3, |s| {
            replaced_by_standby(s).boxed()
        }),
        ("renewed in the year 2100, then 1970, then never", 2, |s| {
            renew_times(s).boxed()
        }),
        ("duration of 60 years, of 1 s, refused ones", 2, |s| {
            durations(s).boxed()
        }),
        ("API server away from the leader", 2, |s| {
            away_from_leader(s).boxed()
        }),
        ("API server away from all, for two leases", 3, |s| {
            away_from_all(s).boxed()
        }),
        ("leader's clock an hour ahead, then an hour behind", 2, |s| {
            leaders_clock(s).boxed()
        }),
        ("clocks an hour apart, and the leader killed", 2, |s| {
            clocks_apart(s).boxed()
        }),
        ("leader's machine suspended beyond the lease", 2, |s| {
            suspended(s).boxed()
        }),
    ];
    let only = std::env::var("ONLY").unwrap_or_default();
    let chosen = all.into_iter().filter(|(what, ..)| what.contains(&only));
    all_through(chosen.collect());
}

/// Rollouts through each of these, some at a time.
fn all_through(disturbances: Vec<(&'static str, usize, Disturb)>) {
    assert!(
        !disturbances.is_empty(),
        "no disturbance has the name that was asked for"
    );
    on_ground(async |ground| {
        let rows = disturbances.into_iter().map(|one| through(ground, one));
        let rows: Vec<_> = stream::iter(rows).buffered(SIDE_BY_SIDE).collect().await;
        println!(
            "{:<52} {:>8} {:>6}  leaders, one after the other",
            "what", "replicas", "deaths"
        );
        for row in &rows {
            println!("{row}");
        }
        println!("proved: {} disturbances of leaders", rows.len());
    });
}

/// The leader is stopped until another has written, then it goes on and notices: it ends without having written anything.
async fn stopped(stage: &Stage) {
    let (old, since) = (stage.leader().await, clock::now());
    old.signal(Signal::STOP);
    let new = stage.successor(old, since).await;
    stage.writes(&new.replica, since).await;
    let continued = clock::now();
    old.signal(Signal::CONT);
    old.ended_since(continued).await;
    assert_eq!(stage.book.writes(&old.name, continued).len(), 0, "{}", old.log());
    stage.follow_all().await;
}

async fn one_after_the_other(stage: &Stage) {
    stopped(stage).await;
    stopped(stage).await;
}

/// No reason to change leaders.
async fn blinked(stage: &Stage) {
    let (old, terms) = (stage.leader().await, stage.terms());
    old.signal(Signal::STOP);
    tokio::time::sleep(LEASE / 6).await;
    old.signal(Signal::CONT);
    stage.phase(Phase::Promoted).await;
    assert_eq!(stage.terms(), terms);
}

async fn killed(stage: &Stage) {
    let (old, since) = (stage.leader().await, clock::now());
    old.end(Signal::KILL).await;
    stage.successor(old, since).await;
}

/// Its holder makes it again, as the same term.
async fn deleted(stage: &Stage) {
    let terms = stage.terms();
    stage.delete_lease().await;
    stage.phase(Phase::Promoted).await;
    assert_eq!(stage.terms(), terms);
}

async fn deleted_under_the_stopped(stage: &Stage) {
    let (old, since) = (stage.leader().await, clock::now());
    old.signal(Signal::STOP);
    stage.delete_lease().await;
    let new = stage.successor(old, since).await;
    let waited = new.from.duration_since(since);
    assert!(
        waited >= LEASE.try_into().unwrap(),
        "taken after {waited:?} from one who may act"
    );
    stage.writes(&new.replica, since).await;
    let continued = clock::now();
    old.signal(Signal::CONT);
    old.ended_since(continued).await;
    assert_eq!(stage.book.writes(&old.name, continued).len(), 0, "{}", old.log());
}

/// The leader steps down, and whoever takes the lease then has waited for it to run out.
async fn replaced(stage: &Stage, by: &str) {
    let (old, since) = (stage.leader().await, clock::now());
    stage.edit_lease(json!({"holderIdentity": by})).await.unwrap();
    old.ended_since(since).await;
    let new = stage.term_since(since).await;
    let waited = new.from.duration_since(since);
    assert!(waited >= LEASE.try_into().unwrap(), "taken after {waited:?}");
}

async fn replaced_by_standby(stage: &Stage) {
    let (old, by, since) = (stage.leader().await, stage.standby(), clock::now());
    stage
        .edit_lease(json!({"holderIdentity": by.name}))
        .await
        .unwrap();
    old.ended_since(since).await;
    assert_eq!(stage.successor(old, since).await.replica, by.name);
}

/// Whatever it says, only that it changed counts; its holder mends it.
async fn renew_times(stage: &Stage) {
    let terms = stage.terms();
    for time in [
        json!("2100-01-01T00:00:00.000000Z"),
        json!("1970-01-01T00:00:00.000000Z"),
        json!(null),
    ] {
        stage.edit_lease(json!({"renewTime": time})).await.unwrap();
        let sane = || {
            let age = |renewed| clock::now().duration_since(renewed).abs();
            let last = stage.records.last().and_then(|record| record.renewed);
            last.is_some_and(|renewed| age(renewed) < LEASE.try_into().unwrap())
        };
        stage.until("the holder renews what was edited", sane).await;
    }
    assert!(stage.edit_lease(json!({"renewTime": "yesterday"})).await.is_err());
    assert_eq!(stage.terms(), terms);
}

async fn durations(stage: &Stage) {
    let terms = stage.terms();
    for seconds in [2_000_000_000, 1] {
        stage
            .edit_lease(json!({"leaseDurationSeconds": seconds}))
            .await
            .unwrap();
        let ours = Some(i32::try_from(LEASE.as_secs()).unwrap());
        let mended = || stage.records.last().is_some_and(|record| record.seconds == ours);
        stage
            .until("the holder says its own duration again", mended)
            .await;
    }
    for refused in [json!(-5), json!(0), json!("long"), json!(4_000_000_000_u64)] {
        let said = stage
            .edit_lease(json!({"leaseDurationSeconds": refused}))
            .await
            .expect_err("the API server takes no such duration");
        println!("leaseDurationSeconds: {refused} is refused: {said:.120}");
    }
    assert_eq!(stage.terms(), terms);
}

/// A leader that is cut off stops by itself before another begins.
async fn away_from_leader(stage: &Stage) {
    let (old, since) = (stage.leader().await, clock::now());
    old.cut_off(true);
    let ended = old.ended_since(since).await;
    let new = stage.successor(old, since).await;
    assert!(
        ended < new.from,
        "it ended at {ended}, another began at {}",
        new.from
    );
    stage.writes(&new.replica, since).await;
    old.cut_off(false);
}

async fn away_from_all(stage: &Stage) {
    let since = clock::now();
    for replica in &stage.replicas {
        replica.cut_off(true);
    }
    tokio::time::sleep(LEASE * 2).await;
    let back = clock::now();
    for replica in &stage.replicas {
        replica.cut_off(false);
    }
    let new = stage.term_since(since).await;
    assert!(new.from >= back, "{new:?}");
}

/// The time of day says nothing about leadership, and no hold is shorter for it.
async fn leaders_clock(stage: &Stage) {
    let (leader, terms) = (stage.leader().await, stage.terms());
    for (hours, next) in [(1, 50), (-1, 100)] {
        leader.shift.wall(SignedDuration::from_hours(hours));
        let shifted = || {
            let renewed = stage.records.last().and_then(|record| record.renewed);
            let ahead = renewed.map(|renewed| renewed.duration_since(clock::now()).as_secs());
            ahead.is_some_and(|ahead| (ahead - hours * 3600).abs() < 60)
        };
        stage.until("its clock is off", shifted).await;
        stage.confirmed(next).await;
    }
    assert_eq!(stage.terms(), terms);
    let seen = stage.weights.all();
    for pair in seen[1..4].windows(2) {
        let held = pair[1].0.duration_since(pair[0].0);
        assert!(held >= HOLD, "{} % was held for {held:?} only", pair[0].1.canary);
    }
}

async fn clocks_apart(stage: &Stage) {
    let (old, since) = (stage.leader().await, clock::now());
    stage.standby().shift.wall(SignedDuration::from_hours(-1));
    old.end(Signal::KILL).await;
    stage.successor(old, since).await;
    old.shift.wall(SignedDuration::from_hours(1));
    old.come_back();
}

/// As a machine that sleeps: its monotonic clock stands as well, and its time of day is right when it wakes.
async fn suspended(stage: &Stage) {
    let (old, since) = (stage.leader().await, clock::now());
    old.signal(Signal::STOP);
    let new = stage.successor(old, since).await;
    stage.writes(&new.replica, since).await;
    let woken = clock::now();
    old.shift.monotonic(since.duration_since(woken));
    old.signal(Signal::CONT);
    old.ended_since(woken).await;
    let written = stage.book.writes(&old.name, woken);
    println!("after it was suspended it wrote {}", written.len());
    // Its clock tells it nothing: what it writes until it hears of its successor is fenced, and the weights say so.
    stage.book.excuse(&old.name, woken);
}
