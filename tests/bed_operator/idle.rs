//! Rest costs nothing (behaviour p).

use std::collections::BTreeMap;
use std::time::Duration;

use birdwatch::api::BirdWatch;
use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::audit::Entry;
use birdwatch_bed::operator::NAME;
use birdwatch_bed::parts::apps::App;
use futures::future::join_all;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::replicas::{LEASE, Replicas, alone_with_operator};
use crate::support::{ERRORS, SOON, Service, eventually};

const IDLE: usize = 50;
const NAMESPACE: &str = "p";

/// How long nothing is allowed to happen.
fn rest() -> Duration {
    Duration::from_mins(2)
}

fn bird_watch(name: &str) -> Value {
    json!({
        "apiVersion": "otomato.link/v1alpha1",
        "kind": "BirdWatch",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "service": name,
            "metrics": [{"name": "errors", "query": ERRORS.replace("[5s]", "[3s]"), "deviation": 0.5}],
            "steps": [{"weight": 50, "hold": "2s"}],
            "checkInterval": "1s",
        },
    })
}

/// A service at rest. It has no pods, which an operator at rest does not mind.
async fn at_rest(service: &Service, number: usize) {
    let name = format!("idle-{number}");
    let app = App::new(&name, NAMESPACE);
    let mut manifests = app.mesh("v1", "none");
    manifests.push(app.deployment("v1", 0, &[]));
    manifests.push(bird_watch(&name));
    service.apply(&manifests).await;
}

/// Requests of the operator that are neither a watch nor about the lease, since a mark.
fn requests(bed: &Bed, mark: u64) -> Vec<Entry> {
    let mut entries = by_operator(bed, mark);
    entries.retain(|entry| entry.verb != "watch" && entry.resource != "leases");
    entries
}

fn by_operator(bed: &Bed, mark: u64) -> Vec<Entry> {
    let user = format!("system:serviceaccount:{NAME}:{NAME}");
    let mut entries = bed.audit().since(mark).unwrap();
    entries.retain(|entry| entry.user == user);
    entries
}

/// How many questions Prometheus has answered: queries, and what it knows of names.
async fn queries(bed: &Bed) -> u64 {
    let url = format!("{}/metrics", bed.prometheus_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text = client.get(url).send().await.unwrap().text().await.unwrap();
    let counted = text.lines().filter(|line| {
        line.starts_with("prometheus_http_requests_total{") && line.contains("handler=\"/api/")
    });
    counted
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Waits until the operator has asked nothing for some seconds, and gives the mark from which it did not.
async fn calm(bed: &Bed) -> u64 {
    eventually("the operator is at rest", SOON, async || {
        let mark = bed.audit().mark().unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        requests(bed, mark).is_empty().then_some(mark)
    })
    .await
}

#[test]
fn p_fifty_idle_birdwatches_cause_no_request_but_watches_and_the_lease_and_no_query() {
    alone_with_operator(async |bed| {
        let replicas = Replicas::new(bed);
        replicas.mended().await;
        // One of them has a rollout behind it: its memory costs nothing either.
        let mut service = Service::named(bed, NAMESPACE, "promoted")
            .await
            .with_traffic(20.0);
        service.apply(&[bird_watch("promoted")]).await;
        service.is_seen().await;
        service.deploy("v2", &[]).await;
        join_all((1..IDLE).map(|number| at_rest(&service, number))).await;
        service.phase(Phase::Promoted, SOON).await;
        service.traffic = None;
        let all: Api<BirdWatch> = service.birdwatches();
        eventually("all are seen", SOON, async || {
            let listed = all.list(&ListParams::default()).await.ok()?;
            let seen = |b: &&BirdWatch| b.status.as_ref().is_some_and(|status| status.known.is_some());
            (listed.items.iter().filter(seen).count() == IDLE).then_some(())
        })
        .await;
        calm(bed).await;

        let (mark, asked) = (bed.audit().mark().unwrap(), queries(bed).await);
        assert!(asked > 0, "the rollout before asked something");
        tokio::time::sleep(rest()).await;
        assert_eq!(queries(bed).await, asked, "queries at rest");
        let mut counted = BTreeMap::new();
        for Entry { verb, uri, .. } in requests(bed, mark) {
            *counted.entry(format!("{verb} {uri}")).or_insert(0) += 1;
        }
        assert!(counted.is_empty(), "requests at rest: {counted:#?}");
        // It was there all the time, and is: it renewed its lease, and wakes.
        let leases = by_operator(bed, mark)
            .iter()
            .filter(|e| e.resource == "leases")
            .count();
        let renewals = rest().as_secs() / LEASE.as_secs();
        assert!(leases as u64 >= renewals, "{leases} requests for the lease");
        service.edit(json!({"canaryVersion": "v3"})).await;
        service
            .until("awake", SOON, |status| status.phase == Phase::Pending)
            .await;
    });
}
