//! An older operator takes over a rollout from a newer one, and gives it back with everything it does not know.

use birdwatch::api::status::Phase;
use serde_json::{Value, json};

use crate::controller_kit::{BIRD_WATCHES, Kit, NS};

const FUTURE: &str = "fromTheFuture";

/// Puts a field that nobody knows into every object of a status.
fn mark(value: &mut Value) -> usize {
    let mut marked = 0;
    match value {
        Value::Object(fields) => {
            // Labels by their names: a map of texts, not an object with fields.
            let inner = fields.iter_mut().filter(|(name, _)| *name != "selector");
            marked += inner.map(|(_, field)| mark(field)).sum::<usize>();
            // A union has one key that says which it is; none can be added.
            let is_union = [
                "threshold",
                "sequential",
                "errors",
                "slow",
                "bad",
                "good",
                "fixed",
            ]
            .iter()
            .any(|key| fields.contains_key(*key))
                && fields.len() == 1;
            if !is_union {
                fields.insert(FUTURE.to_owned(), json!({"x": [1]}));
                marked += 1;
            }
        }
        Value::Array(entries) => marked += entries.iter_mut().map(mark).sum::<usize>(),
        _ => {}
    }
    marked
}

/// The paths of the objects that have it.
fn marked(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key(FUTURE) {
                found.push(path.to_owned());
            }
            for (name, field) in fields.iter().filter(|(name, _)| *name != FUTURE) {
                marked(field, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                let name = ["name", "type", "id", "weight"]
                    .iter()
                    .find_map(|key| entry.get(key));
                let name = name.map(ToString::to_string).unwrap_or_default();
                marked(entry, &format!("{path}[{name}]"), found);
            }
        }
        _ => {}
    }
}

fn status(kit: &Kit) -> Value {
    kit.api.get(BIRD_WATCHES, (NS, "aleph")).unwrap()["status"].clone()
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_operator_wrote_survives_a_whole_rollout_of_an_older_one() {
    let kit = Kit::new();
    kit.bird_watch();
    let newer = kit.operator("newer");
    kit.until_weight(50).await;
    drop(newer);
    kit.api
        .edit(BIRD_WATCHES, (NS, "aleph"), "newer", |object: &mut Value| {
            assert!(mark(&mut object["status"]) > 15);
        });
    let mut before = Vec::new();
    marked(&status(&kit), "status", &mut before);

    let _older = kit.operator("older");
    kit.until_phase(Phase::Promoted).await;
    let mut after = Vec::new();
    marked(&status(&kit), "status", &mut after);
    let gone: Vec<_> = before
        .iter()
        .filter(|path| !after.contains(path))
        .map(String::as_str)
        .collect();
    // A reading is of one moment, and another has taken its place; a rollout that has ended is not Reconciling.
    let of_a_moment = |path: &&&str| {
        [".last", ".history", "\"Reconciling\""]
            .iter()
            .any(|part| path.contains(part))
    };
    let gone: Vec<_> = gone.iter().filter(|path| !of_a_moment(path)).collect();
    assert!(gone.is_empty(), "lost: {gone:#?}");
    for there in [
        "status",
        "status.rollout",
        "status.rollout.canary",
        "status.rollout.plan",
        "status.rollout.plan.target",
        "status.rollout.kept",
        "status.notices",
        "status.rollout.metrics[\"baseline\"]",
    ] {
        let prefix = there.split('[').next().unwrap();
        assert!(
            after.iter().any(|path| path.starts_with(prefix)),
            "{there}: {after:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_one_rollout_is_not_said_of_the_next() {
    let kit = Kit::new();
    kit.bird_watch();
    let operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    drop(operator);
    kit.api
        .edit(BIRD_WATCHES, (NS, "aleph"), "newer", |object: &mut Value| {
            mark(&mut object["status"]);
            object["metadata"]["annotations"] = json!({"otomato.link/verb": "retry/1"});
            object["spec"]["canaryVersion"] = json!("v1");
        });
    kit.api.put(
        crate::controller_kit::DEPLOYMENTS,
        crate::controller_kit::deployment("aleph", "v1", 2),
    );
    let _next = kit.operator("two");
    kit.until("another rollout", |kit| {
        status(kit)["rollout"]["canary"]["version"] == "v1" && kit.phase() == Phase::Promoted
    })
    .await;
    let status = status(&kit);
    assert!(
        status.get(FUTURE).is_some(),
        "of the BirdWatch, and it is still there"
    );
    assert!(status["rollout"].get(FUTURE).is_none(), "{status:#}");
    assert!(status["rollout"]["plan"].get(FUTURE).is_none(), "{status:#}");
}
