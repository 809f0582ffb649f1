//! Objects of a cluster that no schema would have let through: the operator goes on, harms nothing beside them, and changes
//! nothing in them but weights and the label of a subset.

use std::time::Duration;

use birdwatch::api::status::Phase;
use serde_json::{Value, json};

use crate::controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, Kit, NS, RULES, SERVICES, bird_watch, deployment, rule, virtual_service,
};
use crate::mutate::Mutator;
use crate::{inputs, mutator};

/// So many services with objects of all kinds beside the one that is well.
const SERVICES_AT_ONCE: u64 = 50;

#[tokio::test(start_paused = true)]
async fn a_release_beside_nonsense_is_promoted_and_nothing_but_weights_and_labels_changes() {
    let mut mutator = mutator("objects of a cluster");
    for _ in 0..inputs().div_ceil(4 * SERVICES_AT_ONCE) {
        beside_nonsense(&mut mutator).await;
    }
}

async fn beside_nonsense(mutator: &mut Mutator) {
    let kit = Kit::new();
    kit.bird_watch();
    let mut before = Vec::new();
    for n in 0..SERVICES_AT_ONCE {
        let name = format!("bad-{n}");
        for (resource, good) in [
            (DEPLOYMENTS, deployment(&name, "v1", 2)),
            (DEPLOYMENTS, deployment(&name, "v2", 2)),
            (RULES, rule(&name)),
            (SERVICES, virtual_service(&name)),
            (BIRD_WATCHES, bird_watch(&name, &json!({}))),
        ] {
            let bad = nonsense(mutator, &good);
            kit.api.put(resource, bad.clone());
            if matches!(resource, RULES | SERVICES) {
                before.push((resource, bad));
            }
        }
    }
    let operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.raised_to_of("aleph"), [50, 100, 0]);
    // What is being released beside it has time to go wrong.
    tokio::time::sleep(Duration::from_mins(5)).await;
    for (resource, old) in before {
        let name = old["metadata"]["name"].as_str().unwrap();
        let new = kit.api.get(resource, (NS, name)).expect("nothing is deleted");
        assert_eq!(without_ours(&new), without_ours(&old), "{name}");
    }
    operator.stop().await;
}

/// The same object with changes anywhere but in what a server itself sets.
fn nonsense(mutator: &mut Mutator, good: &Value) -> Value {
    let mut body = good.clone();
    let fields = body.as_object_mut().unwrap();
    let (kind, version) = (fields.remove("kind"), fields.remove("apiVersion"));
    let metadata = fields.remove("metadata").unwrap();
    let mut bad = mutator.json(&body);
    if !bad.is_object() {
        bad = json!({"spec": bad});
    }
    bad["kind"] = kind.unwrap();
    bad["apiVersion"] = version.unwrap();
    bad["metadata"] = metadata;
    bad
}

/// An object without weights, the labels of subsets, and what the server sets.
fn without_ours(object: &Value) -> Value {
    let mut object = object.clone();
    strip(&mut object["spec"]);
    json!({"spec": object["spec"], "name": object["metadata"]["name"]})
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("weight");
            if let Some(labels) = fields.get_mut("labels").and_then(Value::as_object_mut) {
                labels.remove("version");
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(entries) => entries.iter_mut().for_each(strip),
        _ => {}
    }
}
