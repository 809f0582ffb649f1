//! One replica acts; when it goes, the other does (behaviour j).

use std::time::Duration;

use birdwatch::api::BirdWatch;
use birdwatch_bed::clock;
use jiff::{SignedDuration, Timestamp};
use kube::Api;

use crate::replicas::{LEASE, Replicas, alone_with_operator};
use crate::support::watched::Watched;
use crate::support::{SOON, Service, eventually, steps};

/// What a busy machine may add: for a request, a wake-up and a write.
const MARGIN: Duration = Duration::from_secs(2);

/// A `BirdWatch` that nobody has looked at yet, and when its status was first written.
struct New {
    looked_at: Watched<bool>,
}

impl New {
    async fn apply(service: &Service) -> Self {
        let api: Api<BirdWatch> = service.birdwatches();
        let looked_at = Watched::new(api, &service.app.name, |b: &BirdWatch| {
            b.status.as_ref().is_some_and(|status| status.known.is_some())
        });
        let mut spec = steps(&[50]);
        spec["service"] = service.app.name.clone().into();
        service.watch_with(spec).await;
        Self { looked_at }
    }

    /// When an operator first wrote about it.
    async fn written(&self) -> Timestamp {
        eventually("the BirdWatch is looked at", SOON, async || {
            let seen = self.looked_at.all();
            seen.iter().find(|(_, looked_at)| *looked_at).map(|(at, _)| *at)
        })
        .await
    }
}

#[test]
fn j_when_the_leader_is_killed_the_other_acts_within_the_lease_and_not_before() {
    alone_with_operator(async |bed| {
        let service = Service::silent(bed, "j-killed").await;
        let replicas = Replicas::new(bed);
        replicas.mended().await;
        let old = replicas.leader(Timestamp::MIN).await.holder.unwrap();

        replicas.delete(&old, true).await;
        let killed = clock::now();
        let new = New::apply(&service).await;
        let begun = replicas.successor(&old).await;
        let acquired = begun.acquired.unwrap();
        let records = replicas.records();
        let last = records.iter().rfind(|r| r.holder.as_deref() == Some(&*old));
        let silence = acquired.duration_since(last.unwrap().renewed.unwrap());
        let lease = SignedDuration::try_from(LEASE).unwrap();
        assert!(
            silence >= lease,
            "two might have acted: taken {silence:?} after the last renewal"
        );
        let limit = killed + LEASE + MARGIN;
        assert!(
            acquired <= limit,
            "taken {:?} late",
            acquired.duration_since(limit)
        );
        let acted = new.written().await;
        assert!(acted <= limit, "acted {:?} late", acted.duration_since(limit));
        println!(
            "killed: taken after {:?}, acted after {:?}",
            acquired.duration_since(killed),
            acted.duration_since(killed)
        );
        replicas.mended().await;
    });
}

#[test]
fn j_on_sigterm_the_other_acts_within_two_seconds() {
    alone_with_operator(async |bed| {
        let service = Service::silent(bed, "j-stopped").await;
        let replicas = Replicas::new(bed);
        replicas.mended().await;
        let old = replicas.leader(Timestamp::MIN).await.holder.unwrap();

        let asked = replicas.delete(&old, false).await;
        let new = New::apply(&service).await;
        let acquired = replicas.successor(&old).await.acquired.unwrap();
        let took = acquired.duration_since(asked);
        assert!(took <= SignedDuration::from_secs(2), "taken after {took:?}");
        let acted = new.written().await.duration_since(asked);
        assert!(acted <= SignedDuration::from_secs(2), "acted after {acted:?}");
        println!("stopped: taken after {took:?}, acted after {acted:?}");
        replicas.mended().await;
    });
}
