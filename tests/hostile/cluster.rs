//! Objects of a cluster that no schema would have let through: the operator goes on, harms nothing beside them, and changes
//! nothing in them but weights and the label of a subset.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::api::plan::Plan;
use birdwatch::api::status::Phase;
use serde_json::{Map, Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, Kit, NS, RULES, SERVICES, bird_watch, deployment, rule, virtual_service,
};
use crate::corpus::{self, Trying};
use crate::mutate::Mutator;
use crate::{inputs, mutator, seed, weights};

/// So many services with objects of all kinds beside the one that is well.
const SERVICES_AT_ONCE: u64 = 50;

/// Objects at most: a release beside two hundred takes seconds of a processor.
const MOST: u64 = 4_000;

#[tokio::test(start_paused = true)]
async fn a_release_beside_nonsense_is_promoted_and_weights_go_as_planned_and_nothing_else_changes() {
    let mut mutator = mutator("objects of a cluster");
    let by_chance = (0..inputs().min(MOST).div_ceil(4 * SERVICES_AT_ONCE)).map(|_| nonsense(&mut mutator));
    let mut moves = 0;
    for objects in corpus::kept("routes").into_iter().chain(by_chance) {
        let _trying = Trying {
            kind: "routes",
            input: &objects,
        };
        moves += beside(objects.as_array().unwrap()).await;
    }
    println!(
        "proved: objects of a cluster (seed {}): {moves} changes of weight beside the release, all as planned",
        seed()
    );
    assert!(moves > 0);
}

/// How often weights changed beside the release that is well.
async fn beside(objects: &[Value]) -> usize {
    let kit = Kit::new();
    kit.bird_watch();
    for object in objects {
        kit.api.put(resource(object), object.clone());
    }
    let (versions, _following) = follow(&kit);
    let operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.raised_to_of("aleph"), [50, 100, 0]);
    // What is being released beside it has time to go wrong.
    tokio::time::sleep(Duration::from_mins(5)).await;
    for old in objects
        .iter()
        .filter(|object| matches!(resource(object), RULES | SERVICES))
    {
        let name = name_of(old);
        let new = kit
            .api
            .get(resource(old), (NS, name))
            .expect("nothing is deleted");
        assert_eq!(without_ours(&new), without_ours(old), "{name}");
    }
    operator.stop().await;
    let plans: Vec<_> = kit
        .api
        .all(BIRD_WATCHES)
        .iter()
        .filter_map(weights::plan_of)
        .collect();
    let versions = versions.lock().unwrap();
    let moves = versions.iter().map(|(name, versions)| {
        let moves_it = |plan: &&Plan| plan.target.virtual_services.contains(name);
        let plans: Vec<_> = plans.iter().filter(moves_it).collect();
        weights::moves(versions, &plans).unwrap_or_else(|why| panic!("{name}: {why}"))
    });
    moves.sum()
}

/// Every version of each `VirtualService`.
type Versions = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

fn follow(kit: &Kit) -> (Versions, AbortOnDropHandle<()>) {
    let versions = Versions::default();
    let (api, kept) = (kit.api.clone(), Arc::clone(&versions));
    let look = move |kept: &Versions, all: Vec<Value>| {
        let mut kept = kept.lock().unwrap();
        for object in all {
            let versions = kept.entry(name_of(&object).to_owned()).or_default();
            if versions.last() != Some(&object) {
                versions.push(object);
            }
        }
    };
    look(&versions, kit.api.all(SERVICES));
    let following = tokio::spawn(async move {
        api.until(|api| {
            look(&kept, api.all(SERVICES));
            false
        })
        .await;
    });
    (versions, AbortOnDropHandle::new(following))
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn resource(object: &Value) -> &'static str {
    match object["kind"].as_str() {
        Some("Deployment") => DEPLOYMENTS,
        Some("DestinationRule") => RULES,
        Some("VirtualService") => SERVICES,
        _ => BIRD_WATCHES,
    }
}

/// Objects of many services. Of each all are changed, or one is, so that some are released.
fn nonsense(mutator: &mut Mutator) -> Value {
    let services = (0..SERVICES_AT_ONCE).map(|n| format!("bad-{n}"));
    let objects = services.flat_map(|name| {
        let mut objects = [
            deployment(&name, "v1", 2),
            deployment(&name, "v2", 2),
            rule(&name),
            virtual_service(&name),
            bird_watch(&name, &json!({})),
        ];
        let only = *mutator.one_of(&[None, None, Some(0), Some(1), Some(2), Some(3), Some(4)]);
        for (n, object) in objects.iter_mut().enumerate() {
            if only.is_none_or(|only| only == n) {
                *object = changed(mutator, object);
            }
        }
        objects
    });
    objects.collect()
}

/// The same object with changes anywhere but in what a server itself sets.
fn changed(mutator: &mut Mutator, good: &Value) -> Value {
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
            // Where there were none, one was added.
            let is_none = |labels: &Value| labels.is_null() || labels.as_object().is_some_and(Map::is_empty);
            if fields.get("labels").is_some_and(is_none) {
                fields.remove("labels");
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(entries) => entries.iter_mut().for_each(strip),
        _ => {}
    }
}
