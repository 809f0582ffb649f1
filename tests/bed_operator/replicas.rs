//! The replicas of the operator and their Lease, as those who kill them see them.

use std::time::Duration;

use birdwatch_bed::Bed;
use birdwatch_bed::clock;
use birdwatch_bed::operator::NAME;
use birdwatch_bed::parts::kubelet::Signal;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};

use crate::support::watched::Watched;
use crate::support::{SOON, alone_on_bed, eventually, install};

/// The lease on this bed; a busy machine renews it in time all the same.
pub(crate) const LEASE: Duration = Duration::from_secs(6);

/// Runs a test alone on the bed, whose two replicas have a [`LEASE`].
pub(crate) fn alone_with_operator<F: Future<Output = ()>>(test: impl FnOnce(&'static Bed) -> F) {
    short_lease();
    alone_on_bed(test);
}

/// Every test of this binary says so before it takes the bed.
pub(crate) fn short_lease() {
    install(Some(&["--set-string", "leaseDuration=6s"]));
}

/// What the Lease said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) holder: Option<String>,
    pub(crate) acquired: Option<Timestamp>,
    pub(crate) renewed: Option<Timestamp>,
}

impl Record {
    fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
        }
    }
}

/// A span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Between {
    /// How much of it lies within another.
    pub(crate) fn within(&self, other: &Self) -> SignedDuration {
        let (from, to) = (self.from.max(other.from), self.to.min(other.to));
        to.duration_since(from).max(SignedDuration::ZERO)
    }
}

/// The operator's replicas.
pub(crate) struct Replicas {
    bed: &'static Bed,
    client: Client,
    record: Watched<Record>,
}

impl Replicas {
    /// Of this bed, whose Lease is recorded from now on.
    pub(crate) fn new(bed: &'static Bed) -> Self {
        let client = bed.client().unwrap();
        let leases: Api<Lease> = Api::namespaced(client.clone(), NAME);
        Self {
            bed,
            record: Watched::new(leases, NAME, Record::of),
            client,
        }
    }

    /// Every record of the Lease so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.record.all().into_iter().map(|(_, record)| record).collect()
    }

    /// Waits for a leader that has renewed its lease after `since` and whose process runs.
    pub(crate) async fn leader(&self, since: Timestamp) -> Record {
        eventually("a leader", SOON, async || {
            let record = self.records().pop()?;
            let runs = !self.bed.kubelet.pids(NAME, record.holder.as_ref()?).is_empty();
            (runs && record.renewed? > since).then_some(record)
        })
        .await
    }

    /// Names of all pods whose processes run.
    pub(crate) async fn running(&self) -> Vec<String> {
        let listed = self.pods().list(&ListParams::default()).await.unwrap();
        let names = listed.items.iter().map(ResourceExt::name_any);
        names
            .filter(|name| !self.bed.kubelet.pids(NAME, name).is_empty())
            .collect()
    }

    /// SIGKILL, with the pod left to its node, which starts it again.
    pub(crate) fn crash(&self, pod: &str) -> Timestamp {
        self.bed.kubelet.kill_pod(NAME, pod, Signal::KILL).unwrap();
        clock::now()
    }

    /// Takes the pod away: with SIGKILL and at once, or with SIGTERM and its grace period. Gives the time before.
    pub(crate) async fn delete(&self, pod: &str, at_once: bool) -> Timestamp {
        let params = if at_once {
            DeleteParams::default().grace_period(0)
        } else {
            DeleteParams::default()
        };
        let asked = clock::now();
        self.pods().delete(pod, &params).await.unwrap();
        asked
    }

    /// Waits for a holder other than `old`, and gives the record it began with.
    pub(crate) async fn successor(&self, old: &str) -> Record {
        let other = |record: &Record| record.holder.as_deref().is_some_and(|holder| holder != old);
        eventually("another leader", SOON, async || {
            self.records().into_iter().rev().take_while(other).last()
        })
        .await
    }

    /// Waits until both replicas are ready again.
    pub(crate) async fn mended(&self) {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAME);
        eventually("both replicas are ready", SOON, async || {
            let status = api.get(NAME).await.ok()?.status?;
            (status.ready_replicas == Some(2) && status.replicas == Some(2)).then_some(())
        })
        .await;
        self.leader(Timestamp::MIN).await;
    }

    /// The spans from a last renewal to the next term, which is how much of the time the operator cannot answer for.
    pub(crate) fn absences(&self) -> Vec<Between> {
        let held: Vec<_> = self
            .records()
            .into_iter()
            .filter(|r| r.holder.is_some())
            .collect();
        let pairs = held
            .windows(2)
            .filter(|pair| pair[0].acquired != pair[1].acquired);
        pairs
            .map(|pair| Between {
                from: pair[0].renewed.unwrap(),
                to: pair[1].acquired.unwrap(),
            })
            .collect()
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAME)
    }
}
