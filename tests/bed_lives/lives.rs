//! Whole lives of rollouts (behaviours a and b).

use std::time::Duration;

use birdwatch::api::status::Phase;

use crate::support::{Service, on_bed, steps};

const A_WHILE: Duration = Duration::from_secs(120);

impl Service {
    async fn release(&self, weights: &[u32]) {
        let mut spec = steps(weights);
        spec["service"] = self.app.name.clone().into();
        self.watch_with(spec).await;
        self.until("seen", A_WHILE, |status| status.known.is_some()).await;
    }
}

#[test]
fn b2_three_steps_then_promoted() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b2").await;
        service.release(&[10, 20, 30]).await;
        service.deploy("v2", &[]).await;
        service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(service.weights().await, (100, 0));
        assert_eq!(service.labels().await, (Some("v2".into()), Some("v2".into())));
    });
}

#[test]
fn b4_errors_on_the_canary_send_all_traffic_back() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b4").await;
        service.release(&[20, 50]).await;
        service.deploy("v2", &[("ERROR_RATE", "0.5")]).await;
        let status = service.phase(Phase::RolledBack, A_WHILE).await;
        assert_eq!(service.weights().await, (100, 0));
        assert!(status.message.contains("errors is"), "{}", status.message);
    });
}
