//! Promise 3: blind is not sick; and promise 1 without Prometheus (behaviours c and e).

use std::time::Duration;

use birdwatch::api::status::{FailureReason, Phase};
use birdwatch_bed::Bed;
use serde_json::json;

use crate::kit::{at_20, condition, held_at_20, quiet};
use crate::support::{A_WHILE, SOON, Service, alone_after};

/// How long Prometheus is away at least.
const OUTAGE: Duration = Duration::from_mins(1);
const BLIND: &str = "nothing is known";

#[test]
fn c_e_without_prometheus_rollouts_hold_their_weight_and_roll_back_on_other_grounds() {
    let prepare = async |bed| {
        tokio::join!(
            steady(bed),
            at_20(bed, "c-vanish", quiet(held_at_20())),
            at_20(bed, "c-asked", quiet(held_at_20())),
            judged_bad(bed),
        )
    };
    alone_after(prepare, async |bed, (steady, vanishing, asked, judged)| {
        assert_eq!(steady.times_told(BLIND), 0);
        bed.prometheus.stop().await;
        tokio::join!(
            holds_its_weight(&steady),
            rolls_back_without_its_pods(&vanishing),
            rolls_back_when_asked(&asked),
            rolls_back_as_judged_before(&judged),
        );
        bed.prometheus.start().await.unwrap();
        goes_on_by_itself(&steady).await;
    });
}

/// A healthy rollout on its way. A query over ten seconds and calls of three do not see a machine that is slow for a
/// moment, so that the outage alone makes it blind.
async fn steady(bed: &'static Bed) -> Service {
    let mut spec = held_at_20();
    spec["checkInterval"] = json!("3s");
    let query = spec["metrics"][0]["query"]
        .as_str()
        .unwrap()
        .replace("[5s]", "[10s]");
    spec["metrics"][0]["query"] = json!(query);
    at_20(bed, "e", spec).await
}

/// A rollout that was judged bad and waits for a pod of production's.
async fn judged_bad(bed: &'static Bed) -> Service {
    let service = at_20(bed, "c-judged", quiet(held_at_20())).await;
    service.scale("v1", 0).await;
    service.falls_sick().await;
    let waits = |status: &_| condition(status, "Held", "ProductionUnavailable").is_some();
    service.until("waiting for production", A_WHILE, waits).await;
    service
}

async fn holds_its_weight(service: &Service) {
    let blind = |status: &_| condition(status, "Blind", "Unknown").is_some();
    let status = service.until("blind", SOON, blind).await;
    assert_eq!((status.phase, status.weight), (Phase::Progressing, Some(20)));
    let why = condition(&status, "Blind", "Unknown").unwrap();
    assert!(why.contains(BLIND), "{why}");
    let weights = service.record();
    // From now on nothing but the outage keeps it at its step.
    let steps = json!([{"weight": 20, "hold": "1s"}, {"weight": 50, "hold": "1h"}]);
    service.edit(json!({"steps": steps})).await;
    service.hears(BLIND).await;
    service.warned("Blind").await;
    tokio::time::sleep(OUTAGE).await;
    let status = service.status().await;
    assert_eq!((status.phase, status.weight), (Phase::Progressing, Some(20)));
    assert!(blind(&status), "it is blind to the end");
    assert_eq!(weights.until("seen", |w| !w.is_empty()).await, [20]);
}

async fn goes_on_by_itself(service: &Service) {
    let status = service.weight(50).await;
    assert!(
        condition(&status, "Blind", "Unknown").is_none(),
        "{}",
        status.message
    );
    service.hears("weight 50 %").await;
    assert_eq!(service.times_told(BLIND), 1, "{:#?}", service.told());
}

async fn rolls_back_without_its_pods(service: &Service) {
    let weights = service.record();
    weights.until("20 % is seen", |w| w == [20]).await;
    service.scale("v2", 0).await;
    service.is_rolled_back(FailureReason::CanaryUnavailable).await;
    weights.is_up_and_down_at_once().await;
}

async fn rolls_back_when_asked(service: &Service) {
    let weights = service.record();
    weights.until("20 % is seen", |w| w == [20]).await;
    service.verb("rollback/now").await;
    let status = service.is_rolled_back(FailureReason::RollbackAsked).await;
    assert!(status.verb.unwrap().accepted);
    weights.is_up_and_down_at_once().await;
}

async fn rolls_back_as_judged_before(service: &Service) {
    let weights = service.record();
    weights.until("20 % is seen", |w| w == [20]).await;
    service.scale("v1", 1).await;
    service.is_rolled_back(FailureReason::MetricUnhealthy).await;
    weights.is_up_and_down_at_once().await;
}
