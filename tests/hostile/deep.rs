//! Objects that are nested more deeply than anybody reads: they hide no other, not from an operator that starts beside
//! them either, and nothing that was not read is written back.

use birdwatch::api::status::Phase;
use serde_json::{Value, json};

use crate::controller_kit::{BIRD_WATCHES, Kit, NS, RULES, SERVICES, bird_watch, rule, virtual_service};
use crate::corpus::nested;

/// serde reads 127, and an object in a list has two above it.
const LEVELS: [usize; 4] = [98, 125, 300, 1000];

/// The same object with something deep where its kind takes anything.
fn deepened(mut object: Value, levels: usize) -> Value {
    object["status"]["fromTheFuture"] = nested(levels);
    object
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_too_deep_hides_no_other_not_after_a_restart_either() {
    for levels in LEVELS {
        let kit = Kit::new();
        // What is released has deep parts itself, and so have objects beside it.
        kit.api.edit(SERVICES, (NS, "aleph"), "somebody", |object| {
            object["spec"]["fromTheFuture"] = nested(levels);
            object["spec"]["http"][0]["route"][1]["fromTheFuture"] = nested(levels);
        });
        kit.bird_watch();
        let bad: Vec<_> = [
            (RULES, rule("bad")),
            (SERVICES, virtual_service("bad")),
            (BIRD_WATCHES, bird_watch("bad", &json!({}))),
        ]
        .into_iter()
        .map(|(kind, object)| (kind, kit.api.put(kind, deepened(object, levels))))
        .collect();
        let first = kit.operator("first");
        kit.until_weight(50).await;
        first.stop().await;
        let _second = kit.operator("second");
        kit.until_phase(Phase::Promoted).await;
        assert_eq!(kit.raised_to_of("aleph"), [50, 100, 0]);
        // Those that come while it watches.
        kit.service("beth");
        kit.api.put(SERVICES, deepened(virtual_service("beth"), levels));
        kit.api.put(BIRD_WATCHES, bird_watch("beth", &json!({})));
        kit.until("beth is promoted", |kit| {
            kit.status("beth").phase == Phase::Promoted
        })
        .await;
        let released = kit.api.get(SERVICES, (NS, "aleph")).unwrap();
        assert_eq!(released["spec"]["fromTheFuture"], nested(levels));
        assert_eq!(
            released["spec"]["http"][0]["route"][1]["fromTheFuture"],
            nested(levels)
        );
        for (kind, before) in bad {
            assert_eq!(kit.api.get(kind, (NS, "bad")).unwrap(), before, "{levels} levels");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_was_not_read_whole_is_named_and_never_written_over() {
    let kit = Kit::new();
    kit.bird_watch();
    let first = kit.operator("first");
    kit.until_weight(50).await;
    first.stop().await;
    let whole = kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "somebody", |object| {
        object["status"]["rollout"]["fromTheFuture"] = nested(300);
    });
    let _second = kit.operator("second");
    kit.until("people are told", |kit| {
        kit.api.all("events.k8s.io/events").iter().any(|event| {
            let note = event["note"].as_str().unwrap_or_default();
            event["reason"] == "StatusUnreadable" && note.contains("status.rollout") && note.contains("deep")
        })
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_mins(5)).await;
    assert_eq!(kit.api.get(BIRD_WATCHES, (NS, "aleph")).unwrap(), whole);
    assert_eq!(kit.weights(), (50, 50));
    // Mended, it goes on where it was.
    kit.api.edit(BIRD_WATCHES, (NS, "aleph"), "somebody", |object| {
        object["status"]["rollout"]
            .as_object_mut()
            .unwrap()
            .remove("fromTheFuture");
    });
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.raised_to_of("aleph"), [50, 100, 0]);
}
