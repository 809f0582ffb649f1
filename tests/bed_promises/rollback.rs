//! Promise 1: once a rollout is judged unhealthy, production gets everything, whatever else is broken (behaviours c
//! and d).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use birdwatch::api::status::{FailureReason, Phase};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinSet;

use crate::kit::{at_20, condition, held_at_20, quiet};
use crate::support::{A_WHILE, SOON, Service, eventually, on_bed, steps};

#[test]
fn c_a_canary_that_crashes_again_and_again_gives_its_traffic_back() {
    on_bed(async |bed| {
        let service = Service::silent(bed, "c-crash").await.with_traffic(10.0);
        let weights = service.record();
        service.watch_seen(quiet(steps(&[20, 50]))).await;
        service.deploy("v2", &[("START", "crash:8s")]).await;
        let status = service.is_rolled_back(FailureReason::CanaryUnavailable).await;
        assert!(status.message.contains("no available pod"), "{}", status.message);
        weights.is_up_and_down_at_once().await;
    });
}

#[test]
fn c_production_short_of_a_pod_gets_its_traffic_back() {
    on_bed(async |bed| {
        let service = at_20(bed, "c-short", quiet(held_at_20())).await;
        let weights = service.record();
        service.scale("v1", 2).await;
        service.available("v1").await;
        // Of the two pods one is replaced by one that never becomes ready.
        let mut broken = service.app.deployment("v1", 2, &[("START", "never")]);
        broken["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
        service.apply(&[broken]).await;
        let name = service.app.deployment_name("v1");
        eventually("production is short of a pod", SOON, async || {
            let status = service.object("apps/v1", "Deployment", &name).await["status"].clone();
            (status["availableReplicas"] == 1 && status["updatedReplicas"] == 1).then_some(())
        })
        .await;

        service.falls_sick().await;
        service.is_rolled_back(FailureReason::MetricUnhealthy).await;
        weights.is_up_and_down_at_once().await;
        let status = service.object("apps/v1", "Deployment", &name).await["status"].clone();
        assert_eq!(status["availableReplicas"], 1, "still short of a pod");
    });
}

#[test]
fn c_a_storm_of_writes_to_the_virtual_service_does_not_keep_a_rollback_from_it() {
    on_bed(async |bed| {
        let service = at_20(bed, "c-storm", quiet(held_at_20())).await;
        let weights = service.record();
        let writes = Arc::new(AtomicU32::new(0));
        let mut storm = JoinSet::new();
        for hand in 0..3 {
            let api = service.dynamic("networking.istio.io/v1", "VirtualService");
            let (name, writes) = (service.app.name.clone(), Arc::clone(&writes));
            storm.spawn(async move {
                loop {
                    let number = writes.load(Ordering::Relaxed).to_string();
                    let note =
                        Patch::Merge(json!({"metadata": {"annotations": {format!("bed/{hand}"): number}}}));
                    // In a storm some of its own writes lose too.
                    if api.patch(&name, &PatchParams::default(), &note).await.is_ok() {
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        service.falls_sick().await;
        let before = writes.load(Ordering::Relaxed);
        service.is_rolled_back(FailureReason::MetricUnhealthy).await;
        assert!(writes.load(Ordering::Relaxed) > before + 20, "that was no storm");
        assert!(storm.try_join_next().is_none(), "the storm goes on to the end");
        weights.is_up_and_down_at_once().await;
        let object = service
            .object("networking.istio.io/v1", "VirtualService", &service.app.name)
            .await;
        let notes = object["metadata"]["annotations"].as_object().unwrap();
        assert_eq!(notes.keys().filter(|key| key.starts_with("bed/")).count(), 3);
    });
}

#[test]
fn c_a_new_spec_that_cannot_be_used_does_not_keep_the_running_plan_from_rolling_back() {
    on_bed(async |bed| {
        let service = at_20(bed, "c-edit", held_at_20()).await;
        let weights = service.record();
        // What the schema refuses never lands; the language of a query is not the schema's to judge.
        let refused = Patch::Merge(json!({"spec": {"steps": [{"weight": 50}, {"weight": 40}]}}));
        let refused = service
            .birdwatches()
            .patch(&service.app.name, &PatchParams::default(), &refused)
            .await;
        assert!(matches!(refused, Err(kube::Error::Api(answer)) if answer.code == 422));
        service
            .edit(json!({"metrics": [{"name": "errors", "query": "sum((", "deviation": 1000}]}))
            .await;
        let status = service
            .until("told that the spec is invalid", SOON, |status| {
                condition(status, "SpecInvalid", "SpecInvalid").is_some()
            })
            .await;
        assert_eq!(status.phase, Phase::Progressing);

        service.falls_sick().await;
        service.is_rolled_back(FailureReason::MetricUnhealthy).await;
        weights.is_up_and_down_at_once().await;
        service.hears("the running plan stays in force").await;
        service.warned("SpecInvalid").await;
    });
}

#[test]
fn d_with_no_production_pod_left_traffic_goes_back_only_when_one_is_there() {
    on_bed(async |bed| {
        let service = at_20(bed, "d", held_at_20()).await;
        let weights = service.record();
        service.scale("v1", 0).await;
        let name = service.app.deployment_name("v1");
        eventually("production has no pod", SOON, async || {
            let status = service.object("apps/v1", "Deployment", &name).await["status"].clone();
            status["availableReplicas"].is_null().then_some(())
        })
        .await;

        service.falls_sick().await;
        let waits = |status: &birdwatch::api::BirdWatchStatus| {
            status.phase == Phase::RollingBack && condition(status, "Held", "ProductionUnavailable").is_some()
        };
        let status = service.until("waiting for production", A_WHILE, waits).await;
        let failure = status.rollout.unwrap().failure.unwrap();
        assert_eq!(failure.reason, FailureReason::MetricUnhealthy);
        assert!(
            status.message.contains("v1 has no available pod"),
            "{}",
            status.message
        );
        service.hears("v1 has no available pod").await;
        service.warned("ProductionUnavailable").await;
        assert_eq!(service.weights().await, (80, 20));
        service.mesh_has(20).await;
        assert!(waits(&service.status().await), "it waits for as long as it takes");

        let so_far = weights.until("20 % is seen", |w| !w.is_empty()).await;
        assert_eq!(so_far, [20], "no write before there is a pod");
        service.scale("v1", 1).await;
        service.is_rolled_back(FailureReason::MetricUnhealthy).await;
        weights.is_up_and_down_at_once().await;
        assert_eq!(
            service.times_told("v1 has no available pod"),
            1,
            "{:#?}",
            service.told()
        );
    });
}
