//! Whole lives of rollouts on the fake API server: what is written, and how often.

mod controller_kit;

use std::time::Duration;

use birdwatch::api::status::Phase;
use controller_kit::{BIRD_WATCHES, Kit, NS, SERVICES};

#[tokio::test(start_paused = true)]
async fn a_healthy_canary_becomes_production() {
    let kit = Kit::new();
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    assert_eq!(
        (kit.weights(), kit.labels()),
        ((50, 50), ("v1".into(), "v2".into()))
    );
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(
        (kit.weights(), kit.labels()),
        ((100, 0), ("v2".into(), "v2".into()))
    );
    let object = kit.api.get(BIRD_WATCHES, (NS, "aleph")).unwrap();
    kit.until("no finalizer", |kit| {
        kit.api.get(BIRD_WATCHES, (NS, "aleph")).unwrap()["metadata"]["finalizers"]
            .as_array()
            .is_none_or(Vec::is_empty)
    })
    .await;
    assert_eq!(object["status"]["promotedVersion"], "v2");
}

#[tokio::test(start_paused = true)]
async fn a_step_costs_two_status_writes_and_one_patch_and_no_read() {
    let kit = Kit::new();
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.api.forget_requests();
    kit.until_weight(100).await;
    let counted = kit.counted();
    let expected = [
        (format!("patch {SERVICES}"), 1),
        (format!("update {BIRD_WATCHES}/status"), 2),
    ]
    .into_iter()
    .collect();
    assert_eq!(counted, expected);
}

#[tokio::test(start_paused = true)]
async fn a_sick_canary_is_rolled_back_in_the_pass_that_judges_it() {
    let kit = Kit::new();
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_weight(50).await;
    kit.prometheus.answers(3.0);
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    kit.until_phase(Phase::RolledBack).await;
    let status = kit.status("aleph");
    assert!(status.message.contains('3'), "{}", status.message);
    assert_eq!(kit.labels(), ("v1".into(), "v2".into()));
}

#[tokio::test(start_paused = true)]
async fn rest_costs_nothing() {
    let kit = Kit::new();
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    kit.api.forget_requests();
    kit.prometheus.forget();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(kit.counted(), std::collections::BTreeMap::new());
    assert_eq!(kit.prometheus.asked(), 0);
}
