//! Three replicas that divide six shards: each has one owner while rollouts run in all of them, and what a replica leaves when it is
//! killed is taken within the lease, and nothing else moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use birdwatch::runtime::lease::Shards;
use birdwatch_bed::clock;
use birdwatch_bed::parts::apps::{self, App};
use birdwatch_bed::parts::prometheus::Prometheus;
use birdwatch_bed::process::Signal;
use futures::FutureExt as _;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};
use serde_json::Value;

use crate::book::{Book, LEASE, Record, Sent, trespasses};
use crate::ground::{Ground, on_ground};
use crate::replica::{Replica, Ward};
use crate::stage::{LONG, LOOK, manifest, well};
use crate::support::bare::{deployed, dynamic, release_lease, whole};
use crate::support::watched::Watched;

const SHARDS: u16 = 6;
/// What a busy machine may add to a time.
const MARGIN: Duration = Duration::from_secs(3);

/// A shard, with a namespace of its own and one service there, whose name no other has.
struct Shard {
    lease: String,
    app: App,
    records: Watched<Record>,
    bird_watch: Watched<Value>,
}

impl Shard {
    fn owner(&self) -> Option<String> {
        self.records.last()?.holder
    }

    /// How often it has had another holder since then.
    fn moves(&self, since: Timestamp) -> usize {
        let mut holders: Vec<_> = self.records.all();
        let before = holders.iter().rposition(|(at, _)| *at <= since).unwrap_or(0);
        holders.drain(..before);
        let mut holders: Vec<_> = holders
            .into_iter()
            .filter_map(|(_, record)| record.holder)
            .collect();
        holders.dedup();
        holders.len() - 1
    }

    /// What of the book is about it.
    fn sent(&self, all: &[Sent]) -> Vec<Sent> {
        let names = [&self.lease, &self.app.name, &self.second()];
        let is_its = |sent: &&Sent| names.contains(&&sent.name);
        all.iter().filter(is_its).cloned().collect()
    }

    /// Name of a second `BirdWatch` here, for which there is nothing to release.
    fn second(&self) -> String {
        format!("second-{}", self.app.name)
    }

    /// When somebody has written a status of the second one.
    fn acted(&self, book: &Book) -> Option<Timestamp> {
        let mut all = book.all().into_iter();
        all.find(|sent| sent.writes && sent.name == self.second())
            .map(|sent| sent.at)
    }
}

struct World {
    client: Client,
    shards: Vec<Shard>,
    replicas: Vec<Replica>,
    book: Arc<Book>,
    _prometheus: Prometheus,
}

impl World {
    async fn set(ground: &'static Ground, replicas: usize) -> Self {
        let (home, client) = (ground.fresh_name(), ground.client().await);
        apps::apply(&client, &[apps::namespace(&home)]).await.unwrap();
        let split = Shards::new(SHARDS).unwrap();
        let shards = join_all(split.all().map(async |shard| {
            let mut names = (0..).map(|number| format!("{home}-{number}"));
            let namespace = names.find(|name| split.of(name) == shard).unwrap();
            let app = App::new(&format!("service-{}", shard.index()), &namespace);
            let manifests = [
                apps::namespace(&namespace),
                app.destination_rule("v1", "none"),
                app.virtual_service(100, 0),
            ];
            apps::apply(&client, &manifests).await.unwrap();
            let lease = split.lease_name("birdwatch", shard);
            release_lease(&client, &home, &lease).await;
            deployed(&client, &app, "v1").await;
            apps::apply(&client, &[manifest(&namespace, &app.name, &["20", "50", "100"])])
                .await
                .unwrap();
            let birds = dynamic(&client, &namespace, "otomato.link", "v1alpha1", "BirdWatch");
            Shard {
                records: Watched::new(Api::namespaced(client.clone(), &home), &lease, Record::of),
                bird_watch: Watched::new(birds, &app.name, whole),
                lease,
                app,
            }
        }))
        .await;
        let prometheus = Prometheus::start(|asked| std::future::ready(well(&asked)).boxed()).await;
        let prometheus = prometheus.unwrap();
        let (book, url) = (Arc::new(Book::default()), prometheus.url());
        let watched: Vec<_> = shards.iter().map(|shard| shard.app.namespace.as_str()).collect();
        let ward = Ward {
            home: &home,
            watched: &watched.join(","),
            shards: SHARDS,
        };
        let starting = (1..=replicas).map(|number| {
            let name = format!("replica-{number}");
            let (book, url) = (&book, &url);
            async move { Replica::start(ground, ward, &name, url, book).await }
        });
        Self {
            replicas: join_all(starting).await,
            client,
            shards,
            book,
            _prometheus: prometheus,
        }
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = clock::now();
        while !holds() {
            if clock::now().duration_since(begun) > LONG.try_into().unwrap() {
                let logs: Vec<_> = self.replicas.iter().map(Replica::log).collect();
                panic!(
                    "not within {LONG:?}: {what}; {:?}\n{}",
                    self.owners(),
                    logs.join("\n--\n")
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn owners(&self) -> Vec<Option<String>> {
        self.shards.iter().map(Shard::owner).collect()
    }

    /// How many shards each replica has; an empty name stands for nobody.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for owner in self.owners() {
            *counts.entry(owner.unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    async fn divided(&self, evenly: usize) {
        let each = usize::from(SHARDS) / evenly;
        self.until(&format!("{each} for each of {evenly}"), || {
            let counts = self.counts();
            counts.len() == evenly && counts.values().all(|count| *count == each)
        })
        .await;
    }

    async fn release(&self, version: &str) {
        join_all(
            self.shards
                .iter()
                .map(|shard| deployed(&self.client, &shard.app, version)),
        )
        .await;
    }

    async fn all_at(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        self.until(what, || {
            let mut statuses = self.shards.iter().map(|shard| shard.bird_watch.last());
            statuses.all(|seen| seen.is_some_and(|seen| holds(&seen["status"])))
        })
        .await;
    }

    /// Nobody wrote where another one leads, or on a lease that was too old.
    fn check(&self) {
        let all = self.book.all();
        for shard in &self.shards {
            let records: Vec<_> = shard
                .records
                .all()
                .into_iter()
                .map(|(_, record)| record)
                .collect();
            let sent = shard.sent(&all);
            assert!(
                sent.iter().any(|sent| sent.writes),
                "nobody wrote in {}",
                shard.lease
            );
            let found = trespasses(&sent, &records);
            assert!(found.is_empty(), "{}: {}", shard.lease, found.join("\n"));
        }
    }
}

#[test]
fn six_shards_have_one_owner_each_of_three_and_those_of_a_lost_replica_are_taken_within_the_lease() {
    on_ground(async |ground| {
        let world = World::set(ground, 3).await;
        world.divided(3).await;
        world
            .all_at("every BirdWatch is seen", |status| status["known"].is_array())
            .await;
        world.release("v2").await;
        world
            .all_at("all are under way", |status| status["weight"] == 20)
            .await;

        let (before, lost) = (world.owners(), &world.replicas[2]);
        let since = clock::now();
        lost.end(Signal::KILL).await;
        join_all(world.shards.iter().map(async |shard| {
            let second = manifest(&shard.app.namespace, &shard.second(), &["50"]);
            apps::apply(&world.client, &[second]).await.unwrap();
        }))
        .await;
        let acted = || {
            let all = world.shards.iter().map(|shard| shard.acted(&world.book));
            all.collect::<Option<Vec<_>>>()
        };
        world
            .until("somebody acts in every shard", || acted().is_some())
            .await;
        let latest = acted().into_iter().flatten().max().unwrap();
        let took = latest.duration_since(since);
        assert!(
            took <= SignedDuration::try_from(LEASE + MARGIN).unwrap(),
            "{took:?}"
        );
        world.divided(2).await;
        world
            .all_at("all are promoted", |status| status["phase"] == "Promoted")
            .await;
        let moves: Vec<_> = world.shards.iter().map(|shard| shard.moves(since)).collect();
        let of_lost = |owner: &Option<String>| usize::from(owner.as_ref() == Some(&lost.name));
        let expected: Vec<_> = before.iter().map(of_lost).collect();
        assert_eq!(moves, expected, "nothing else moves, and nothing twice");
        let took = took.as_secs_f64();
        println!(
            "proved: in the shards of a lost replica another wrote after {took:.1} s, of a lease of {LEASE:?}"
        );

        let since = clock::now();
        lost.come_back();
        world.release("v3").await;
        world.divided(3).await;
        world
            .all_at("all are promoted again", |status| {
                status["phase"] == "Promoted" && status["promotedVersion"] == "v3"
            })
            .await;
        let moves: Vec<_> = world.shards.iter().map(|shard| shard.moves(since)).collect();
        assert_eq!(moves.iter().sum::<usize>(), 2, "{moves:?}");
        world.check();
    });
}
