//! Very many `BirdWatches`: at rest they ask for nothing, a new leader writes nothing about them, and a bad canary
//! among them is rolled back as soon as one that is alone.
#![allow(clippy::unwrap_used, reason = "tests")]

mod controller_kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use birdwatch::api::status::Phase;
use controller_kit::fake_api::Fault;
use controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, Kit, Operator, RULES, SERVICES, bird_watch, deployment, is_status_write, rule,
    virtual_service,
};
use serde_json::json;

/// How many there are, unless the environment says otherwise: `make prove` has ten thousand.
const MANY: usize = 2_000;

fn many() -> usize {
    std::env::var("BIRDWATCHES").map_or(MANY, |number| number.parse().unwrap())
}

fn name(number: usize) -> String {
    format!("many-{number}")
}

/// A cluster with many services at rest beside `aleph`.
fn crowded() -> Kit {
    let kit = Kit::new();
    for name in (0..many()).map(name) {
        kit.api.put(DEPLOYMENTS, deployment(&name, "v1", 2));
        kit.api.put(RULES, rule(&name));
        kit.api.put(SERVICES, virtual_service(&name));
        kit.api
            .put(BIRD_WATCHES, bird_watch(&name, &json!({"canaryVersion": null})));
    }
    kit
}

/// How many statuses are written from now on.
fn count_writes(kit: &Kit) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    // It counts, and matches nothing.
    kit.api.inject(Fault::Status(500), 1, move |request| {
        counting.fetch_add(usize::from(is_status_write(request)), Ordering::Relaxed);
        false
    });
    count
}

#[tokio::test(start_paused = true)]
async fn however_many_are_at_rest_they_ask_for_nothing_and_hold_up_nobody() {
    let (kit, many) = (crowded(), many());
    let written = count_writes(&kit);
    let first = kit.operator("first");
    kit.until("each has a status", |_| written.load(Ordering::Relaxed) >= many)
        .await;
    for name in (0..many).map(name) {
        assert_eq!(kit.status(&name).phase, Phase::Idle, "{name}");
    }
    first.stop().await;

    kit.api.forget_requests();
    let _second = kit.operator("second");
    kit.bird_watch();
    kit.until_weight(50).await;
    kit.prometheus.answers(9.0);
    let sick = kit.clock.monotonic();
    kit.until_phase(Phase::RolledBack).await;
    let took = kit.clock.monotonic() - sick;
    assert!(
        took <= Duration::from_secs(6),
        "a check every five seconds: {took:?}"
    );
    let mut of_others = kit.calls();
    of_others.retain(|call| call.name.as_deref() != Some("aleph"));
    assert!(
        of_others.is_empty(),
        "{} as {:?}",
        of_others.len(),
        of_others.first()
    );
    println!(
        "proved: {many} BirdWatches at rest asked for nothing, and a bad canary beside them went back in {took:?}"
    );
}

/// A tenant may make as many for one service as the quota allows: others wait for none of them.
#[tokio::test(start_paused = true)]
async fn very_many_for_one_service_are_looked_at_only_where_it_concerns_them() {
    const PEERS: usize = 300;
    let kit = Kit::new();
    kit.bird_watch();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for number in 0..PEERS {
        let mut peer = bird_watch("aleph", &json!({}));
        peer["metadata"]["name"] = json!(name(number));
        kit.api.put(BIRD_WATCHES, peer);
    }
    let written = count_writes(&kit);
    let operator = kit.operator("one");
    kit.until("each says who acts", |_| written.load(Ordering::Relaxed) > PEERS)
        .await;
    let before = looks(&operator);
    kit.until_weight(100).await;
    let status = kit.status(&name(7));
    assert!(
        status.message.contains("BirdWatch aleph is older"),
        "{}",
        status.message
    );
    assert_eq!(
        status.warnings, [""; 0],
        "the weights are explained by the one that acts"
    );
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.raised_to(), [50, 100, 0]);
    // They share the route and the rule, which are written seven times; the status of the one that acts concerns none of them.
    let looks = looks(&operator) - before;
    assert!(looks < 7 * PEERS, "{looks} looks");
    let written = written.load(Ordering::Relaxed);
    // Who acts, and which versions there were before the next one.
    assert!(written < 2 * PEERS + 50, "{written} statuses, {looks} looks");
}

/// How often anything was looked at.
fn looks(operator: &Operator) -> usize {
    let text = operator.metrics.text().unwrap();
    let counts = text.lines().filter_map(|line| {
        let of = line.strip_prefix("birdwatch_reconciles_total{")?;
        of.rsplit(' ').next()?.parse::<usize>().ok()
    });
    counts.sum()
}
