//! Several versions, several services in one `VirtualService`, several `BirdWatch`es for one service (r).

use birdwatch::api::conditions::ConditionType;
use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::mesh::GATEWAY;
use birdwatch_bed::parts::apps::{self, App};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::hands::ISTIO;
use crate::support::{A_WHILE, SOON, Service, eventually, held};
use crate::{FOR_EVER, condition, on_bed};

#[test]
fn r_after_a_promotion_the_old_deployment_is_no_canary_and_a_further_version_is() {
    on_bed(async |bed| {
        let service = Service::new(bed, "r-old").await;
        service.release(held(&[(50, "2s")])).await;
        service.phase(Phase::Promoted, A_WHILE).await;
        // What people do with the old one: nothing, or scale it down, and up again.
        service.scale("v1", 0).await;
        service.quiet().await;
        service.scale("v1", 2).await;
        service.available("v1").await;
        service.quiet().await;
        let status = service.status().await;
        assert_eq!((status.phase, status.attempts), (Phase::Promoted, 1));

        service.deploy("v3", &[]).await;
        let promoted = |version: &'static str| {
            move |status: &birdwatch::api::BirdWatchStatus| {
                status.promoted_version.as_deref() == Some(version)
            }
        };
        service.until("v3 promoted", A_WHILE, promoted("v3")).await;
        service.quiet().await;
        let status = service.status().await;
        assert_eq!((status.phase, status.attempts), (Phase::Promoted, 2));
        assert_eq!(service.weights().await, (100, 0));
        assert_eq!(service.labels().await, (Some("v3".into()), Some("v3".into())));
    });
}

/// One of two services whose routes stand in one `VirtualService`.
async fn part(bed: &'static Bed, namespace: &str, name: &str) -> Service {
    let service = Service {
        bed,
        app: App {
            port: if name == "a" { apps::PORT } else { apps::PORT + 1 },
            ..App::new(name, namespace)
        },
        client: bed.client().unwrap(),
        traffic: None,
    };
    let app = &service.app;
    let (entry, rule, pods) = (
        app.service_entry(),
        app.destination_rule("v1", "none"),
        app.deployment("v1", 1, &[]),
    );
    service.apply(&[entry, rule, pods]).await;
    service
}

/// The `VirtualService` of both: a route each, told apart by authority.
fn shared(parts: [&Service; 2]) -> Value {
    let route = |service: &Service| {
        let own = service.app.virtual_service(100, 0);
        json!({
            "name": service.app.name,
            "match": [{"authority": {"exact": service.app.host()}}],
            "route": own["spec"]["http"][0]["route"],
        })
    };
    json!({
        "apiVersion": ISTIO,
        "kind": "VirtualService",
        "metadata": {"name": "shop", "namespace": parts[0].app.namespace},
        "spec": {
            "hosts": parts.map(|service| service.app.host()),
            "gateways": [GATEWAY],
            "http": parts.map(route),
        },
    })
}

/// The weights (production, canary) of both routes.
async fn weights(service: &Service) -> Vec<(Option<i64>, Option<i64>)> {
    let object = service.object(ISTIO, "VirtualService", "shop").await;
    let routes = object["spec"]["http"].as_array().unwrap();
    let pair = |route: &Value| {
        (
            route["route"][0]["weight"].as_i64(),
            route["route"][1]["weight"].as_i64(),
        )
    };
    routes.iter().map(pair).collect()
}

#[test]
fn r_two_services_in_one_virtual_service_roll_out_side_by_side() {
    on_bed(async |bed| {
        bed.kubectl(["create", "namespace", "r-shop"]).await.unwrap();
        let a = part(bed, "r-shop", "a").await;
        let b = part(bed, "r-shop", "b").await;
        a.apply(&[shared([&a, &b])]).await;
        let (a, b) = (a.with_traffic(20.0), b.with_traffic(20.0));
        let spec = || {
            let mut spec = held(&[(20, FOR_EVER)]);
            spec["virtualServices"] = json!(["shop"]);
            spec
        };
        tokio::join!(a.available("v1"), b.available("v1"));
        tokio::join!(a.release(spec()), b.release(spec()));
        tokio::join!(a.weight(20), b.weight(20));
        assert_eq!(
            weights(&a).await,
            [(Some(80), Some(20)), (Some(80), Some(20))],
            "both at once"
        );
        a.edit(json!({"steps": [{"weight": 20, "hold": "1s"}, {"weight": 60, "hold": "2s"}]}))
            .await;
        b.behave("v2", 0.8).await;
        let (good, bad) = tokio::join!(
            a.phase(Phase::Promoted, A_WHILE),
            b.phase(Phase::RolledBack, A_WHILE)
        );
        assert_eq!((good.attempts, bad.attempts), (1, 1));
        assert!(bad.message.contains("errors is"), "{}", bad.message);
        assert_eq!(weights(&a).await, [(Some(100), Some(0)), (Some(100), Some(0))]);
        assert_eq!(a.labels().await.0.as_deref(), Some("v2"));
        assert_eq!(b.labels().await.0.as_deref(), Some("v1"));
    });
}

#[test]
fn r_of_two_birdwatches_for_one_rule_the_older_acts_and_the_other_says_why_it_does_not() {
    on_bed(async |bed| {
        let older = Service::new(bed, "r-two").await;
        older.watch_for(held(&[(20, FOR_EVER)])).await;
        // The times of making are in whole seconds; of two in one second either may be the older.
        let made = async |name: &str| {
            let found = older.birdwatches().get(name).await.unwrap();
            found.metadata.creation_timestamp.unwrap().0
        };
        let first = made("r-two").await;
        eventually("another second", SOON, async || {
            (birdwatch_bed::clock::now().as_second() > first.as_second()).then_some(())
        })
        .await;
        let mut spec = held(&[(60, FOR_EVER)]);
        spec["service"] = json!("r-two");
        let manifest = json!({
            "apiVersion": "otomato.link/v1alpha1",
            "kind": "BirdWatch",
            "metadata": {"name": "younger", "namespace": "r-two"},
            "spec": spec,
        });
        older.apply(&[manifest]).await;
        let younger = async || {
            let found = older.birdwatches().get("younger").await.unwrap();
            found.status.unwrap_or_default()
        };
        let why = eventually("the younger says why", SOON, async || {
            let status = younger().await;
            condition(&status, ConditionType::Conflict).map(|c| c.message.clone())
        })
        .await;
        assert!(why.contains("r-two"), "{why}");
        older.deploy("v2", &[]).await;
        older.weight(20).await;
        assert_eq!(older.weights().await, (80, 20));
        let status = younger().await;
        assert_eq!((status.phase, status.attempts), (Phase::Idle, 0));
        assert!(status.message.contains("older"), "{}", status.message);

        // With the older gone, and its traffic given back, nobody stands in the way.
        let api = older.birdwatches();
        api.delete("r-two", &DeleteParams::default()).await.unwrap();
        eventually("the younger acts", A_WHILE, async || {
            let status = younger().await;
            (status.weight == Some(60)).then_some(())
        })
        .await;
        assert_eq!(older.weights().await, (40, 60));
    });
}
