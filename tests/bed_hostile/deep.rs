//! Objects nested as deeply as the real API server stores them: they hide no other from the operator.

use std::time::Duration;

use birdwatch_bed::parts::apps::App;
use kube::Client;
use serde_json::{Value, json};

use crate::ground::on_ground;
use crate::neighbour::{Neighbour, SERVICE};

/// The API server's own limit is 10,000.
const LEVELS: [usize; 4] = [98, 126, 1000, 9000];

/// What serde reads at most.
const READABLE: usize = 127;

/// So many objects within one another: no typed schema has any, so they go where a kind takes unknown fields.
fn nested(levels: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
}

/// How deep a text of JSON without brackets in its texts is.
fn depth(text: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// Code and text of an answer; nothing is decoded.
async fn ask(client: &Client, request: http::request::Builder, body: String) -> (u16, String) {
    let answer = client.send(request.body(body.into_bytes().into()).unwrap()).await;
    let (head, body) = answer.unwrap().into_parts();
    let body = body.collect_bytes().await.unwrap();
    (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

/// What the API server answers where it did not come to an end in time.
const TOO_LATE: u16 = 504;
const TRIES: u8 = 10;

/// Creates an object and gives it a deep status; its path, and what is stored.
async fn place(client: &Client, collection: &str, object: &Value, levels: usize) -> (String, String) {
    let create = http::Request::post(collection).header("content-type", "application/json");
    let (code, said) = ask(client, create, object.to_string()).await;
    assert_eq!(code, 201, "{said:.500}");
    let at = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
    let body = format!("{{\"status\":{{\"fromTheFuture\":{}}}}}", nested(levels));
    let mut tries = 0..TRIES;
    let (code, said) = loop {
        let patch = http::Request::patch(format!("{at}/status"))
            .header("content-type", "application/merge-patch+json");
        let (code, said) = ask(client, patch, body.clone()).await;
        // On a busy machine the server does not come to the end of the deepest within its own limit.
        if code != TOO_LATE || tries.next().is_none() {
            break (code, said);
        }
    };
    assert_eq!(code, 200, "{levels} levels: {said:.500}");
    let stored = ask(client, http::Request::get(&at), String::new()).await.1;
    (at, stored)
}

/// A `VirtualService` and a `BirdWatch` of each depth.
async fn place_all(neighbour: &Neighbour) -> Vec<(String, String)> {
    let (namespace, client) = (&neighbour.namespace, &neighbour.client);
    let mut stored = Vec::new();
    for levels in LEVELS {
        let name = format!("deep-{levels}");
        let mut route = App::new(&name, namespace).virtual_service(100, 0);
        route["metadata"]["name"] = json!(name);
        let bird_watch = json!({
            "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"service": name, "metric": "errors", "deviation": 1, "increment": 50, "interval": "5s"},
        });
        for (kind, object) in [
            ("networking.istio.io/v1 virtualservices", route),
            ("otomato.link/v1alpha1 birdwatches", bird_watch),
        ] {
            let (group, plural) = kind.split_once(' ').unwrap();
            let collection = format!("/apis/{group}/namespaces/{namespace}/{plural}");
            stored.push(place(client, &collection, &object, levels).await);
        }
    }
    stored
}

#[test]
fn objects_as_deep_as_the_api_server_takes_hide_no_other_not_after_a_restart_either() {
    on_ground(async |ground| {
        let mut neighbour = Neighbour::new(ground).await;
        let stored = place_all(&neighbour).await;
        let deepest = stored.iter().map(|(_, text)| depth(text)).max().unwrap();
        assert!(deepest > READABLE, "stored at {deepest} levels");
        // It has seen them come; then it finds them there.
        neighbour.deploy().await;
        neighbour
            .until("half of the traffic", || neighbour.path().ends_with(&[50]))
            .await;
        neighbour.restart(Duration::from_secs(20)).await;
        neighbour
            .until("the release beside them is promoted", || {
                neighbour.status()["phase"] == "Promoted" && neighbour.path().len() >= 4
            })
            .await;
        assert_eq!(neighbour.path(), [0, 50, 100, 0]);
        neighbour.silent().await;
        for (path, before) in &stored {
            let now = ask(&neighbour.client, http::Request::get(path), String::new())
                .await
                .1;
            assert!(now == *before, "{path} was written: {now:.2000}");
        }
        println!(
            "proved: beside {} objects of up to {deepest} levels {SERVICE} was promoted, with a restart on the way; at most {} MB",
            stored.len(),
            neighbour.most_memory()
        );
    });
}
