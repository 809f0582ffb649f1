//! Requests are counted in both versions and compared.

use std::time::Duration;

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::evidence::Evidence;
use birdwatch::api::status::{FailureReason, Phase};
use birdwatch_bed::operator::NAME;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::support::{A_WHILE, SOON, Service, alone_after, on_bed};

/// The default's steps of one percent take their time.
const LONG: Duration = Duration::from_mins(8);

/// Steps of some seconds, judged as a service name alone is.
fn stepped(holds: &[(u32, &str)]) -> Value {
    let step = |(weight, hold): &(u32, &str)| json!({"weight": weight, "hold": hold});
    json!({"steps": holds.iter().map(step).collect::<Vec<_>>(), "checkInterval": "2s"})
}

/// A service with so many requests a second, one in a thousand of which fails, and its canary on its way.
async fn rolling(
    bed: &'static birdwatch_bed::Bed,
    name: &str,
    per_second: f64,
    spec: Value,
    canary: &str,
) -> Service {
    let service = Service::silent(bed, name).await.with_traffic(per_second);
    service.behave("v1", 0.001).await;
    service.watch_seen(spec).await;
    service.deploy("v2", &[("ERROR_RATE", canary)]).await;
    service
}

fn evidence(status: &BirdWatchStatus) -> Option<&Evidence> {
    let metric = status.rollout.as_ref()?.metrics.first()?;
    Some(&metric.counted.as_ref()?.evidence)
}

fn requests(status: &BirdWatchStatus) -> f64 {
    evidence(status).map_or(0.0, |evidence| evidence.canary.requests)
}

#[test]
fn a_service_name_alone_rolls_two_percent_errors_back_at_a_hundred_requests_a_second() {
    on_bed(async |bed| {
        let service = rolling(bed, "default", 100.0, json!({}), "0.02").await;
        let status = service.phase(Phase::RolledBack, LONG).await;
        let failure = status.rollout.as_ref().unwrap().failure.as_ref().unwrap();
        assert_eq!(
            failure.reason,
            FailureReason::MetricUnhealthy,
            "{}",
            failure.message
        );
        assert!(
            failure.message.contains("more than 1.5x worse, evidence "),
            "{}",
            failure.message
        );
        assert_eq!(service.weights().await, (100, 0));
        let found = evidence(&status).unwrap();
        assert!(found.canary.bad > 3.0, "{found:?}");
    });
}

#[test]
fn a_healthy_version_is_promoted_and_so_is_one_that_shares_an_outage_with_production() {
    on_bed(async |bed| {
        let steps = || stepped(&[(20, "15s"), (50, "15s"), (100, "5s")]);
        let healthy = rolling(bed, "healthy", 30.0, steps(), "0.001");
        let shared = rolling(bed, "outage", 30.0, steps(), "0.001");
        let (healthy, shared) = tokio::join!(healthy, shared);
        shared.weight(20).await;
        shared.behave("v1", 0.05).await;
        shared.behave("v2", 0.05).await;
        let (_, status) = tokio::join!(
            healthy.phase(Phase::Promoted, A_WHILE),
            shared.phase(Phase::Promoted, A_WHILE)
        );
        let found = evidence(&status).unwrap();
        assert!(
            found.canary.bad >= 5.0 && found.production.bad >= 5.0,
            "{found:?}"
        );
    });
}

#[test]
fn evidence_goes_on_where_it_was_when_the_operator_is_killed() {
    let prepare = async |bed| {
        let service = rolling(bed, "killed", 20.0, stepped(&[(30, "1h")]), "0").await;
        service.until("counting", A_WHILE, |s| requests(s) > 30.0).await;
        service
    };
    alone_after(prepare, async |bed, service| {
        let before = service.status().await;
        let pods: Api<Pod> = Api::namespaced(bed.client().unwrap(), NAME);
        pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
            .await
            .unwrap();
        let counted = requests(&before);
        let after = service
            .until("counting on", A_WHILE, |s| requests(s) > counted)
            .await;
        let (before, after) = (evidence(&before).unwrap(), evidence(&after).unwrap());
        assert!(
            after.production.requests > before.production.requests,
            "{before:?} {after:?}"
        );
        // What nobody watched is counted too: about six a second for as long as a lease is waited for.
        service
            .until("what happened meanwhile is counted", SOON, |s| {
                requests(s) > counted + 60.0
            })
            .await;
        service.behave("v2", 0.5).await;
        service.phase(Phase::RolledBack, A_WHILE).await;
    });
}

#[test]
fn a_prometheus_that_has_forgotten_everything_is_unknown_and_then_goes_on_without_a_false_step() {
    let prepare = async |bed| {
        let service = rolling(bed, "forgotten", 20.0, stepped(&[(20, "1h")]), "0").await;
        service.until("counting", A_WHILE, |s| requests(s) > 8.0).await;
        service
    };
    alone_after(prepare, async |bed, service| {
        bed.prometheus.stop().await;
        let blind = |status: &BirdWatchStatus| {
            let mut all = status.conditions.iter();
            all.any(|c| c.kind == "Blind" && c.status == "True")
        };
        let status = service.until("blind", SOON, blind).await;
        assert_eq!((status.phase, status.weight), (Phase::Progressing, Some(20)));
        let before = requests(&status);
        // From now on nothing but what is unknown keeps it at its step.
        service
            .edit(json!({"steps": [{"weight": 20, "hold": "1s"}, {"weight": 50, "hold": "1h"}]}))
            .await;
        bed.prometheus.wipe_data().unwrap();
        bed.prometheus.start().await.unwrap();
        let status = service.weight(50).await;
        assert!(
            !blind(&status) && requests(&status) >= before,
            "{}",
            status.message
        );
        assert_eq!(status.phase, Phase::Progressing);
    });
}

#[test]
fn every_preset_and_counters_of_ones_own_say_something_of_a_real_service() {
    on_bed(async |bed| {
        let of_version = r#"istio_requests_total{destination_service_name="$(service)",destination_service_namespace="$(namespace)",destination_version="$(version)"#;
        let mut spec = stepped(&[(30, "10s"), (100, "5s")]);
        spec["metrics"] = json!([
            {"preset": "error-rate"},
            {"name": "slow", "preset": "latency", "slowerThan": "300ms"},
            {"name": "own", "total": format!("{of_version}\"}}"), "bad": format!("{of_version}\",response_code=\"500\"}}")},
            {"name": "share", "preset": "error-rate", "test": "threshold", "max": 0.5, "window": "5s"},
            {"name": "median", "preset": "latency", "quantile": 0.5, "window": "5s"},
        ]);
        let service = rolling(bed, "presets", 30.0, spec, "0.001").await;
        service.weight(30).await;
        let status = service.phase(Phase::Promoted, A_WHILE).await;
        let metrics = &status.rollout.as_ref().unwrap().metrics;
        for name in ["error-rate", "slow", "own"] {
            let metric = metrics.iter().find(|m| m.name == name).unwrap();
            let found = &metric.counted.as_ref().unwrap().evidence;
            assert!(
                found.canary.requests > 30.0 && found.production.requests > 30.0,
                "{name}: {found:?}"
            );
        }
        for name in ["share", "median"] {
            let metric = metrics.iter().find(|m| m.name == name).unwrap();
            assert!(metric.last.as_ref().unwrap().value.is_some(), "{metric:?}");
        }
        let slow = metrics.iter().find(|m| m.name == "slow").unwrap();
        let bound: f64 = slow
            .counted
            .as_ref()
            .unwrap()
            .bound
            .as_ref()
            .unwrap()
            .parse()
            .unwrap();
        assert!(bound >= 300.0, "{bound}");
    });
}
