//! What comes after a rollout, or in its middle: the old version, the same one, a newer one (scenarios 6 to 8).

use birdwatch::api::status::{Outcome, Phase};
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::{A_WHILE, Service, held, on_bed, steps};

const SICK: [(&str, &str); 1] = [("ERROR_RATE", "0.5")];

#[test]
fn b6_a_spec_that_goes_back_to_productions_version_starts_nothing() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b6").await;
        let story = service.story().await;
        let mut spec = steps(&[20, 50]);
        spec["canaryVersion"] = "v2".into();
        service.release(spec).await;
        service.deploy("v2", &SICK).await;
        service.phase(Phase::RolledBack, A_WHILE).await;

        service.edit(json!({"canaryVersion": "v1"})).await;
        service.spec_is_seen().await;
        let deployments = service.dynamic("apps/v1", "Deployment");
        deployments
            .delete("b6-v2", &DeleteParams::default())
            .await
            .unwrap();
        service.edit(json!({"maxWeight": 90})).await;
        service.spec_is_seen().await;
        let status = service.status().await;
        assert_eq!((status.phase, status.attempts), (Phase::RolledBack, 1));
        assert_eq!(story.weights(), [0, 20, 0]);
        assert_eq!(service.labels().await.0.as_deref(), Some("v1"));
        service.only("v1").await;

        // What is really new still starts.
        service.edit(json!({"canaryVersion": "v3"})).await;
        service.deploy("v3", &[]).await;
        service
            .until("v3 at 20 %", A_WHILE, |s| s.attempts == 2 && s.weight == Some(20))
            .await;
        service.share_is("v3", 0.05..0.45).await;
    });
}

#[test]
fn b7_the_same_bad_version_is_not_tried_again_until_somebody_says_retry() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b7").await;
        let story = service.story().await;
        service.release(steps(&[20])).await;
        service.deploy("v2", &SICK).await;
        service.phase(Phase::RolledBack, A_WHILE).await;

        // Applied once more, and scaled to nothing and back: the same version.
        service.deploy("v2", &SICK).await;
        service.scale("v2", 0).await;
        service.scale("v2", 2).await;
        service.available("v2").await;
        service.edit(json!({"maxWeight": 90})).await;
        service.spec_is_seen().await;
        let status = service.status().await;
        assert_eq!((status.phase, status.attempts), (Phase::RolledBack, 1));
        assert_eq!(story.weights(), [0, 20, 0]);
        service.only("v1").await;

        service.behave("v2", 0.0).await;
        service.edit(json!({"maxWeight": null})).await;
        service.verb("retry/1").await;
        let status = service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(status.attempts, 2);
        story.is(&[0, 20, 0, 20, 100, 0]).await;
        service.only("v2").await;
    });
}

#[test]
fn b8_a_newer_version_at_20_percent_goes_back_to_0_and_starts_from_the_first_step() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b8").await;
        let story = service.story().await;
        service
            .release(held(&[(10, "3s"), (20, "20s"), (100, "3s")]))
            .await;
        service.deploy("v2", &[]).await;
        service.reaches(20).await;
        service.deploy("v3", &[]).await;
        let status = service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(status.promoted_version.as_deref(), Some("v3"));
        let ends: Vec<_> = status
            .ended
            .iter()
            .map(|e| (e.canary.version.as_str(), e.outcome))
            .collect();
        assert_eq!(ends, [("v2", Outcome::Superseded), ("v3", Outcome::Promoted)]);
        story.is(&[0, 10, 20, 0, 10, 20, 100, 0]).await;
        assert_eq!(service.labels().await, (Some("v3".into()), Some("v3".into())));
        service.only("v3").await;

        let samples = service.samples();
        let by =
            |version| move |s: &birdwatch_bed::parts::traffic::Sample| s.version.as_deref() == Some(version);
        let first_v3 = samples.iter().position(by("v3")).unwrap();
        assert!(
            samples[..first_v3].iter().any(by("v2")),
            "v2 had traffic before v3"
        );
        assert!(!samples[first_v3..].iter().any(by("v2")), "and none after it");
    });
}
