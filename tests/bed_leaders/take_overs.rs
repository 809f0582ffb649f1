//! How long it takes until another replica leads, and until it has written something that was asked for meanwhile.

use std::time::Duration;

use birdwatch_bed::clock;
use birdwatch_bed::process::Signal;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::book::LEASE;
use crate::ground::{Ground, on_ground};
use crate::replica::Replica;
use crate::stage::Stage;

/// How often each is done, unless the environment says otherwise.
const RUNS: usize = 3;
/// What a busy machine may add.
const MARGIN: Duration = Duration::from_secs(3);

/// How a leader is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Term,
    Kill,
    Stop,
    DeleteLease,
    KillAndDeleteLease,
}

impl Way {
    const ALL: [(Self, &str); 5] = [
        (Self::Term, "SIGTERM"),
        (Self::Kill, "SIGKILL"),
        (Self::Stop, "SIGSTOP"),
        (Self::DeleteLease, "lease deleted, its holder lives"),
        (Self::KillAndDeleteLease, "SIGKILL, then lease deleted"),
    ];

    async fn befall(self, stage: &Stage, leader: &Replica) {
        match self {
            Self::Term => leader.end(Signal::TERM).await,
            Self::Kill => leader.end(Signal::KILL).await,
            Self::Stop => leader.signal(Signal::STOP),
            Self::DeleteLease => stage.delete_lease().await,
            Self::KillAndDeleteLease => {
                leader.end(Signal::KILL).await;
                stage.delete_lease().await;
            }
        }
    }

    async fn mend(self, leader: &Replica) {
        if self == Self::Stop {
            let continued = clock::now();
            leader.signal(Signal::CONT);
            leader.ended_since(continued).await;
        }
        leader.come_back();
    }

    /// How long it may take.
    fn most(self) -> SignedDuration {
        let waited = match self {
            Self::Term | Self::DeleteLease => Duration::ZERO,
            Self::Kill | Self::Stop | Self::KillAndDeleteLease => LEASE,
        };
        (waited + MARGIN).try_into().unwrap()
    }
}

/// How long it took until the lease was held again, and until its holder had written.
struct Took {
    held: SignedDuration,
    acted: SignedDuration,
}

async fn once(stage: &Stage, way: Way, number: usize) -> Took {
    let leader = stage.leader().await;
    let name = format!("run-{number}");
    let since = clock::now();
    let (held, acted) = tokio::join!(
        async {
            way.befall(stage, leader).await;
            held_again(stage, way, leader, since).await
        },
        async {
            stage.announce(&name, &["50"]).await;
            let written = || {
                let all = stage.book.all().into_iter();
                let about = |sent: &crate::book::Sent| sent.writes && sent.name == name && sent.at >= since;
                all.filter(about).map(|sent| sent.at).next_back()
            };
            stage
                .until("the new BirdWatch is looked at", || written().is_some())
                .await;
            written().unwrap()
        },
    );
    way.mend(leader).await;
    stage
        .until("a replica comes back", || {
            stage.replicas.iter().all(Replica::runs)
        })
        .await;
    stage.follow_all().await;
    Took {
        held: held.duration_since(since),
        acted: acted.duration_since(since),
    }
}

async fn held_again(stage: &Stage, way: Way, leader: &Replica, since: Timestamp) -> Timestamp {
    if way != Way::DeleteLease {
        return stage.successor(leader, since).await.from;
    }
    let created = || {
        let all = stage.book.all().into_iter();
        all.filter(|sent| sent.kind == "create leases" && sent.at >= since)
            .map(|sent| sent.at)
            .next()
    };
    stage
        .until("the lease is made again", || created().is_some())
        .await;
    stage.lease_stands().await;
    created().unwrap()
}

async fn measured(ground: &'static Ground, way: Way, runs: usize) -> Vec<Took> {
    let stage = Stage::set(ground, 3).await;
    let mut all = Vec::new();
    for number in 1..=runs {
        all.push(once(&stage, way, number).await);
    }
    stage.check(&format!("{way:?}"));
    all
}

#[test]
#[ignore = "measures times: `make prove-leaders`"]
fn another_leads_within_the_lease_and_at_once_where_it_was_given_up() {
    let runs = std::env::var("LEADERS_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    on_ground(async |ground| {
        let all = join_all(Way::ALL.map(|(way, _)| measured(ground, way, runs))).await;
        println!(
            "lease {LEASE:?}, 3 replicas, {runs} runs each: seconds until the lease is held again, and until a new \
             BirdWatch has a status\n{:<34} {:>6} {:>6} {:>6}   {:>6} {:>6} {:>6}",
            "", "min", "median", "max", "min", "median", "max"
        );
        for ((way, name), took) in Way::ALL.iter().zip(&all) {
            let held = spread(took.iter().map(|one| one.held));
            let acted = spread(took.iter().map(|one| one.acted));
            let shown = |spread: [SignedDuration; 3]| {
                let seconds = spread.map(|span| format!("{:>6.2}", span.as_secs_f64()));
                seconds.join(" ")
            };
            println!("{name:<34} {}   {}", shown(held), shown(acted));
            assert!(acted[2] <= way.most(), "{name}: {:?}", acted[2]);
        }
        println!(
            "proved: {} take-overs, each within its bound",
            all.iter().map(Vec::len).sum::<usize>()
        );
    });
}

/// Least, median and most.
fn spread(all: impl Iterator<Item = SignedDuration>) -> [SignedDuration; 3] {
    let mut all: Vec<_> = all.collect();
    all.sort();
    [all[0], all[all.len() / 2], all[all.len() - 1]]
}
