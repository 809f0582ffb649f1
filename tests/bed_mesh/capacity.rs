//! A canary with fewer pods than the next weight needs is held at what it can carry (s).

use birdwatch::api::conditions::ConditionType;
use birdwatch::api::status::{BirdWatchStatus, Phase};

use crate::support::{A_WHILE, Service, held};
use crate::{condition, on_bed};

fn held_for(status: &BirdWatchStatus, text: &str) -> bool {
    let held = condition(status, ConditionType::Held);
    held.is_some_and(|held| held.reason == "Capacity" && held.message.contains(text))
}

#[test]
fn s_one_pod_against_ten_is_held_at_its_capacity_and_goes_on_when_scaled_up() {
    on_bed(async |bed| {
        let service = Service::new(bed, "s").await;
        service.scale("v1", 10).await;
        service.available("v1").await;
        service.release(held(&[(20, "1s"), (50, "1s")])).await;
        // 20 % of 10 pods, halved, is one; 50 % are three.
        let status = service
            .until("held at its capacity", A_WHILE, |status| {
                held_for(status, "weight 50 % needs 3 available pods of v2 and there are 1")
            })
            .await;
        assert_eq!((status.phase, status.weight), (Phase::Progressing, Some(20)));
        assert!(
            status.message.contains("scale Deployment s-v2 up"),
            "{}",
            status.message
        );
        service.hears("needs 3 available pods").await;
        // A pod more is still one too few.
        service.scale("v2", 2).await;
        service
            .until("two are not enough", A_WHILE, |status| {
                held_for(status, "and there are 2")
            })
            .await;
        assert_eq!(service.weights().await, (80, 20));

        service.scale("v2", 3).await;
        let status = service
            .until("held at 50 %", A_WHILE, |status| {
                held_for(status, "weight 100 % needs 5")
            })
            .await;
        assert_eq!((status.weight, service.weights().await), (Some(50), (50, 50)));
        service.scale("v2", 5).await;
        service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(service.status().await.attempts, 1);
    });
}
