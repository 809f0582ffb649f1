//! Promise 2 where there is no evidence: a service that nobody calls (behaviour f).

use birdwatch::api::status::{BaselineSource, Phase};

use crate::kit::{condition, quiet};
use crate::support::{A_WHILE, Service, on_bed, steps};

#[test]
fn f_without_traffic_only_the_first_step_is_taken_and_people_are_told_why() {
    on_bed(async |bed| {
        // From its neighbour's traffic Prometheus knows the names of the query.
        let (service, neighbour) = tokio::join!(Service::silent(bed, "f"), Service::new(bed, "f-neighbour"));
        let weights = service.record();
        tokio::join!(
            service.watch_seen(steps(&[20, 50])),
            neighbour.watch_seen(quiet(steps(&[50])))
        );
        service.deploy("v2", &[]).await;
        let status = service.weight(20).await;
        let metrics = status.rollout.unwrap().metrics;
        let baseline = metrics[0].baseline.as_ref().unwrap();
        assert_eq!(
            (baseline.value, baseline.source),
            (0.0, BaselineSource::AssumedZero)
        );
        service.hears("assumed").await;

        // While the neighbour's goes all the way, nothing else moves here.
        neighbour.deploy("v2", &[]).await;
        neighbour.phase(Phase::Promoted, A_WHILE).await;
        let status = service.status().await;
        assert_eq!((status.phase, status.weight), (Phase::Progressing, Some(20)));
        let why = condition(&status, "Blind", "Unknown").unwrap_or_default();
        assert!(why.contains("the version served no request"), "{why:?}");
        service.hears("the version served no request").await;
        service.warned("Blind").await;
        assert_eq!(weights.until("20 %", |w| w.contains(&20)).await, [0, 20]);

        // It was that alone that it waited for.
        let service = service.with_traffic(20.0);
        service.weight(50).await;
    });
}
