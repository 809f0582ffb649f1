//! From first sight to the end (scenarios 1 to 5).

use birdwatch::api::status::{FailureReason, Outcome, Phase};
use serde_json::Value;
use tokio::time::Instant;

use crate::story::refusal;
use crate::support::{A_WHILE, Service, on_bed, steps};

#[test]
fn b1_first_sight_adopts_a_service_and_changes_nothing() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b1").await;
        service.deploy("v2", &[]).await;
        service.available("v2").await;
        let objects = async || {
            let mut objects = Vec::new();
            for kind in ["VirtualService", "DestinationRule"] {
                objects.push(service.object("networking.istio.io/v1", kind, "b1").await);
            }
            objects
        };
        let before: Vec<Value> = objects().await;
        service.release(steps(&[50])).await;
        // Seen, edited and seen again: still nothing is done for a version that was there before.
        service.edit(serde_json::json!({"maxWeight": 90})).await;
        service.spec_is_seen().await;
        let status = service.status().await;
        assert_eq!((status.phase, status.attempts), (Phase::Idle, 0));
        assert!(
            status.message.contains("spec.canaryVersion: v2"),
            "{}",
            status.message
        );
        assert_eq!(objects().await, before);
        service.only("v1").await;
        assert_eq!(service.told(), Vec::<String>::new());
        assert!(
            service
                .samples()
                .iter()
                .all(|s| s.version.as_deref() != Some("v2"))
        );

        service.edit(serde_json::json!({"canaryVersion": "v2"})).await;
        service.reaches(50).await;
        service.share_is("v2", 0.25..0.75).await;
    });
}

#[test]
fn b2_three_steps_then_promoted() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b2").await;
        let story = service.story().await;
        service.release(steps(&[10, 20, 30])).await;
        let start = Instant::now();
        service.deploy("v2", &[]).await;
        let status = service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(status.promoted_version.as_deref(), Some("v2"));
        story.is(&[0, 10, 20, 30, 100, 0]).await;
        assert_eq!(service.weights().await, (100, 0));
        assert_eq!(service.labels().await, (Some("v2".into()), Some("v2".into())));
        service.only("v2").await;
        service.nobody_was_turned_away(start);
        let share = story.share_at(30, "v2", &service.samples());
        assert!((0.1..0.55).contains(&share), "{share}");
    });
}

#[test]
fn b3_uneven_steps_are_taken_as_listed_and_a_list_that_falls_or_passes_100_is_refused() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b3").await;
        for (weights, says) in [
            (&[1, 10, 2, 80][..], "rise strictly"),
            (&[10, 10], "rise strictly"),
            (&[50, 101], "less than or equal to 100"),
        ] {
            let mut spec = steps(weights);
            spec["service"] = "b3".into();
            let refused = refusal(&service, spec).await;
            assert!(
                refused.contains("spec.steps") && refused.contains(says),
                "{refused}"
            );
        }
        let story = service.story().await;
        service.release(steps(&[1, 2, 10, 80])).await;
        let start = Instant::now();
        service.deploy("v2", &[]).await;
        service.phase(Phase::Promoted, A_WHILE).await;
        story.is(&[0, 1, 2, 10, 80, 100, 0]).await;
        service.only("v2").await;
        service.nobody_was_turned_away(start);
        let samples = service.samples();
        let (low, high) = (
            story.share_at(10, "v2", &samples),
            story.share_at(80, "v2", &samples),
        );
        assert!(low < 0.35 && high > 0.55, "{low} at 10 %, {high} at 80 %");
    });
}

#[test]
fn b4_errors_on_the_canary_send_all_traffic_back() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b4").await;
        let story = service.story().await;
        service.release(steps(&[20, 50])).await;
        service.deploy("v2", &[("ERROR_RATE", "0.5")]).await;
        let status = service.phase(Phase::RolledBack, A_WHILE).await;
        assert_eq!(service.weights().await, (100, 0));
        story.is(&[0, 20, 0]).await;
        assert_eq!(service.labels().await.0.as_deref(), Some("v1"));
        service.only("v1").await;

        let parts = ["errors is ", "baseline 0", "limit 0.5"];
        for part in parts {
            assert!(status.message.contains(part), "{part}: {}", status.message);
        }
        let told = service.told_unhealthy().await;
        let [told] = told.as_slice() else {
            panic!("told once, not {told:?}");
        };
        for part in parts.iter().chain(&["v2", "weight 20 %"]) {
            assert!(told.contains(part), "{part}: {told}");
        }
    });
}

#[test]
fn b5_an_image_that_never_starts_fails_by_its_deadline_and_production_is_untouched() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b5").await;
        let story = service.story().await;
        let mut spec = steps(&[20]);
        spec["progressDeadline"] = "5s".into();
        service.release(spec).await;
        let start = Instant::now();
        service.deploy("v2", &[("START", "never")]).await;
        let status = service.phase(Phase::RolledBack, A_WHILE).await;
        let rollout = status.rollout.unwrap();
        assert_eq!(rollout.failure.unwrap().reason, FailureReason::DeadlineExceeded);
        assert_eq!(status.ended.last().unwrap().outcome, Outcome::RolledBack);
        assert_eq!(story.weights(), [0]);
        assert_eq!(service.labels().await, (Some("v1".into()), Some("none".into())));
        service.only("v1").await;
        assert_eq!(service.answers_of("v2", start), 0);
        service.nobody_was_turned_away(start);
        let told = service.told_unhealthy().await.join("\n");
        assert!(
            told.contains("0 available") && told.contains("after 5s"),
            "{told}"
        );
    });
}
