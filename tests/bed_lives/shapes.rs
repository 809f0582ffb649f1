//! The shapes in which people lead traffic to a service (scenarios 9 and 14).

use birdwatch::api::status::Phase;
use birdwatch_bed::mesh::GATEWAY;
use birdwatch_bed::parts::apps::App;
use birdwatch_bed::parts::traffic::{Sample, Traffic};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::story::WINDOW;
use crate::support::{A_WHILE, Service, eventually, held, on_bed, steps};

#[test]
fn b9_a_virtual_service_that_another_delegates_to_moves_and_the_other_stays() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b9").await;
        let host = service.app.host();
        let mut delegate = service.app.virtual_service(100, 0);
        let root = json!({
            "apiVersion": delegate["apiVersion"],
            "kind": delegate["kind"],
            "metadata": {"name": "b9", "namespace": "b9"},
            "spec": {
                "hosts": [host],
                "gateways": [GATEWAY],
                "http": [{
                    "match": [{"uri": {"prefix": "/"}}],
                    "delegate": {"name": "b9-routes", "namespace": "b9"},
                }],
            },
        });
        delegate["metadata"]["name"] = "b9-routes".into();
        let spec = delegate["spec"].as_object_mut().unwrap();
        spec.remove("hosts");
        spec.remove("gateways");
        service.apply(&[delegate, root]).await;
        let (story, root) = (service.story_of("b9-routes").await, service.story().await);

        let mut spec = steps(&[20, 50]);
        spec["virtualServices"] = json!(["b9-routes"]);
        service.release(spec).await;
        let start = Instant::now();
        service.deploy("v2", &[]).await;
        service.phase(Phase::Promoted, A_WHILE).await;
        story.is(&[0, 20, 50, 100, 0]).await;
        assert_eq!(root.specs().len(), 1, "{:?}", root.specs());
        assert_eq!(service.weights_of("b9-routes").await, (100, 0));
        service.only("v2").await;
        service.nobody_was_turned_away(start);
        let share = story.share_at(50, "v2", &service.samples());
        assert!((0.25..0.75).contains(&share), "{share}");
    });
}

/// Routes of ours beside others, and beside other destinations, with the canary at so many percent. The bed has no
/// certificates, so nothing flows through the `tls` route: of it the object is all there is to see.
fn manifold(service: &Service, other: &str, canary: i64) -> Value {
    let to = |subset: &str, weight: i64| json!({"destination": {"host": service.app.host(), "subset": subset}, "weight": weight});
    let whole = json!([to("production", 100 - canary), to("canary", canary)]);
    let elsewhere = json!({"destination": {"host": other}, "weight": 20});
    let share = 80 * canary / 100;
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": service.app.name, "namespace": service.app.namespace},
        "spec": {
            "hosts": [service.app.host()],
            "gateways": [GATEWAY],
            "http": [
                {
                    "name": "testers",
                    "match": [{"headers": {"x-tester": {"exact": "yes"}}}],
                    "route": [{"destination": {"host": service.app.host(), "subset": "canary"}}],
                },
                {"name": "api", "match": [{"uri": {"prefix": "/api"}}], "route": whole},
                {
                    "name": "other",
                    "match": [{"uri": {"prefix": "/other"}}],
                    "route": [{"destination": {"host": other}}],
                },
                {"name": "main", "route": [elsewhere, to("production", 80 - share), to("canary", share)]},
            ],
            "tcp": [{"match": [{"port": service.bed.gateway_tcp_port()}], "route": whole}],
            "tls": [{"match": [{"port": 8443, "sniHosts": [service.app.host()]}], "route": whole}],
        },
    })
}

#[test]
fn b14_all_routes_of_ours_move_tcp_and_tls_too_and_others_keep_their_share() {
    on_bed(async |bed| {
        let service = Service::silent(bed, "b14").await;
        let other = App::new("other", "b14");
        service
            .apply(&[other.service_entry(), other.deployment("foreign", 1, &[])])
            .await;
        service.apply(&[manifold(&service, &other.host(), 0)]).await;
        let story = service.story().await;
        let api = format!("{}/api", bed.gateway_url().trim_end_matches('/'));
        let api = Traffic::start(&api, &service.app.host(), 20.0).unwrap();
        let service = service.with_traffic(20.0);
        service.share_is("foreign", 0.05..0.4).await;
        // Envoy sees connections here and no requests; the pod at the other end says its version in HTTP.
        let tcp = Traffic::start_tcp(bed.gateway_tcp_port(), 20.0).unwrap();
        connects_to_alone(&tcp, "v1").await;
        let mut open = TcpStream::connect(("127.0.0.1", bed.gateway_tcp_port()))
            .await
            .unwrap();
        assert!(asked(&mut open).await.contains("x-version: v1"));

        let mut spec = held(&[(50, "10s"), (100, "3s")]);
        spec["service"] = "b14".into();
        service.watch_with(spec).await;
        service.is_seen().await;
        let start = Instant::now();
        service.deploy("v2", &[]).await;
        service.phase(Phase::Promoted, A_WHILE).await;
        // At every moment the whole object was as expected, the routes that are not ours included.
        let expected =
            [0, 50, 100, 0].map(|canary| manifold(&service, &other.host(), canary)["spec"].clone());
        story.is(&[0, 50, 100, 0]).await;
        assert_eq!(story.specs(), expected);
        assert_eq!(service.labels().await, (Some("v2".into()), Some("v2".into())));

        service.nobody_was_turned_away(start);
        let main = service.samples();
        for (weight, version, shares) in [
            (50, "v2", 0.2..0.6),
            (50, "v1", 0.2..0.6),
            (50, "foreign", 0.05..0.4),
            (100, "v2", 0.6..0.95),
            (100, "foreign", 0.05..0.4),
        ] {
            let share = story.share_at(weight, version, &main);
            assert!(shares.contains(&share), "{version} has {share} at {weight} %");
        }
        for (name, traffic) in [("/api", &api), ("TCP connections", &tcp)] {
            let share = story.share_at(50, "v2", &traffic.samples());
            assert!((0.25..0.75).contains(&share), "{share} of {name} at 50 %");
            let all = story.share_at(100, "v2", &traffic.samples());
            assert!(all > 0.95, "{all} of {name} at 100 %");
        }
        connects_to_alone(&tcp, "v2").await;
        // Nobody closed it, and people were warned of it.
        assert!(asked(&mut open).await.contains("x-version: v1"));
        let warnings = service.status().await.warnings;
        let is_warned = |of: &str| {
            warnings
                .iter()
                .any(|w| w.starts_with(of) && w.contains("until they close"))
        };
        assert!(is_warned("b14/tcp") && is_warned("b14/tls"), "{warnings:?}");
        assert!(!is_warned("b14/http"), "{warnings:?}");
    });
}

/// What one more request on an open connection is answered.
async fn asked(open: &mut TcpStream) -> String {
    open.write_all(b"GET / HTTP/1.1\r\nhost: b14\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert_ne!(open.read_buf(&mut answer).await.unwrap(), 0, "it was closed");
    }
    String::from_utf8(answer).unwrap()
}

/// Waits until every connection leads to this version.
async fn connects_to_alone(traffic: &Traffic, version: &str) {
    eventually(&format!("TCP leads to {version} alone"), A_WHILE, async || {
        let since = Instant::now().checked_sub(WINDOW)?;
        let recent = traffic.since(since);
        let there = |sample: &Sample| sample.version.as_deref() == Some(version);
        (recent.len() >= 10 && recent.iter().all(there)).then_some(())
    })
    .await;
}
