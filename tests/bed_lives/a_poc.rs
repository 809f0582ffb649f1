//! The two manifests of the Python POC, as its users have them (behaviour a, which is scenario 13).

use birdwatch::api::status::Phase;
use birdwatch_bed::parts::workload::Change;
use serde_json::{Value, json};

use crate::support::{A_WHILE, Service, on_bed};

const MANIFESTS: &str = r#"apiVersion: otomato.link/v1alpha1
kind: BirdWatch
metadata: {name: aleph}
spec: {canary_version: v04, if_unhealthy: rollback, increment: 1, interval: 5, service: aleph, deviation: 0.5,
  metric: 'sum(irate(istio_requests_total{destination_service_name="aleph",destination_version="v04",response_code="500"}[30s]))'}
---
apiVersion: otomato.link/v1alpha1
kind: BirdWatch
metadata: {name: beth}
spec: {canary_version: v04, if_unhealthy: freeze, increment: 2, service: beth, deviation: 30,
  metric: 'irate(istio_request_duration_seconds_sum{destination_service_name="beth",destination_version="v04"}[30s])'}
"#;

/// The manifest of that name, put into a namespace.
fn manifest(name: &str, namespace: &str) -> Value {
    let mut all = MANIFESTS
        .split("---\n")
        .map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let mut manifest = all.find(|manifest| manifest["metadata"]["name"] == name).unwrap();
    manifest["metadata"]["namespace"] = namespace.into();
    manifest
}

/// Whether weights rise from 0 by `increment` as long as `last`, then go on with `then`.
fn rises(weights: &[i64], increment: i64, last: i64, then: &[i64]) -> bool {
    let steps = (0..=last / increment).map(|step| step * increment);
    steps.chain(then.iter().copied()).eq(weights.iter().copied())
}

#[test]
fn a_b13_the_pocs_aleph_rises_by_1_is_rolled_back_when_sick_and_promoted_with_a_larger_increment() {
    on_bed(async |bed| {
        let service = Service::silent_in(bed, "poc-aleph", "aleph", "v03")
            .await
            .with_traffic(60.0);
        let story = service.story().await;
        service.only("v03").await;
        service.apply(&[manifest("aleph", "poc-aleph")]).await;
        service.phase(Phase::Pending, A_WHILE).await;
        service.deploy("v04", &[]).await;
        service.reaches(3).await;
        service.behave("v04", 1.0).await;
        let status = service.phase(Phase::RolledBack, A_WHILE).await;
        assert!(
            status.message.contains("baseline 0, limit 0.5"),
            "{}",
            status.message
        );
        assert_eq!(service.weights().await, (100, 0));
        service.only("v03").await;
        let weights = story.weights();
        let reached = weights.iter().copied().max().unwrap();
        assert!(rises(&weights, 1, reached, &[0]), "{weights:?}");

        service.behave("v04", 0.0).await;
        service.edit(json!({"increment": 50})).await;
        service.verb("retry/1").await;
        service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(service.labels().await, (Some("v04".into()), Some("v04".into())));
        service.only("v04").await;
        let weights = story.weights();
        assert!(rises(&weights, 1, reached, &[0, 50, 100, 0]), "{weights:?}");
    });
}

#[test]
fn a_b13_the_pocs_beth_rises_by_2_freezes_when_slow_and_is_promoted_with_a_larger_increment() {
    const SLOW: &str = r#"irate(istio_request_duration_seconds_sum{destination_service_name="beth",destination_version="v04"}[30s])"#;
    on_bed(async |bed| {
        let service = Service::silent_in(bed, "poc-beth", "beth", "v03")
            .await
            .with_traffic(60.0);
        let story = service.story().await;
        service.only("v03").await;
        service.apply(&[manifest("beth", "poc-beth")]).await;
        service.phase(Phase::Pending, A_WHILE).await;
        service.deploy("v04", &[]).await;
        service.reaches(6).await;

        // More than thirty seconds of answering in a second: some eight answers that take four seconds each.
        let slow = Change {
            latency_ms: Some(4_000),
            ..Change::default()
        };
        service.app.behave(&service.client, "v04", slow).await.unwrap();
        let status = service.phase(Phase::Frozen, A_WHILE).await;
        assert!(status.message.contains("limit 30"), "{}", status.message);
        let frozen = i64::from(status.weight.unwrap());
        assert_eq!(service.weights().await, (100 - frozen, frozen));
        let weights = story.weights();
        assert!(rises(&weights, 2, frozen, &[]), "{weights:?}");

        service.heal("v04", SLOW, 30.0).await;
        let share = f64::from(status.weight.unwrap()) / 100.0;
        service.share_is("v04", share / 2.0..share * 1.5).await;
        assert_eq!(service.weights().await, (100 - frozen, frozen));

        service.edit(json!({"increment": 50})).await;
        service.verb("resume/1").await;
        service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(service.labels().await, (Some("v04".into()), Some("v04".into())));
        service.only("v04").await;
        let weights = story.weights();
        assert!(rises(&weights, 2, frozen, &[50, 100, 0]), "{weights:?}");
    });
}
