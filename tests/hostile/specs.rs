//! Specs: the schema refuses them naming a field, or they make a plan, or status says which field is wrong.

use birdwatch::api::BirdWatchSpec;
use birdwatch::controller::objects::RawBirdWatch;
use birdwatch::core::plan;
use serde_json::{Value, json};

use crate::bad_specs::good;
use crate::corpus::{self, Trying};
use crate::offline::{Offline, drop_nulls};
use crate::{inputs, is_fit_to_show, mutator, seed};

#[test]
fn every_spec_is_refused_by_its_field_or_makes_a_plan_or_is_explained() {
    let (mut mutator, good, schema) = (mutator("specs"), good(), Offline::new());
    let by_chance = (0..inputs()).map(|_| {
        let object = mutator.one_of(&good).clone();
        mutator.json(&object["spec"])
    });
    let mut became = [0; 3];
    for spec in corpus::kept("specs").into_iter().chain(by_chance) {
        became[settled(&schema, &spec) as usize] += 1;
    }
    let [refused, explained, planned] = became;
    println!(
        "proved: specs (seed {}): {refused} refused by the schema, {explained} explained in status, {planned} made a plan",
        seed()
    );
    assert!(became.iter().all(|times| *times > 0));
}

/// What becomes of a spec.
enum Settled {
    Refused,
    Explained,
    Planned,
}

fn settled(schema: &Offline, spec: &Value) -> Settled {
    let _trying = Trying {
        kind: "specs",
        input: spec,
    };
    let mut spec = spec.clone();
    // As a server does before it stores them.
    drop_nulls(&mut spec);
    let object = json!({"metadata": {"name": "bad", "namespace": "shop"}, "spec": spec});
    let raw: RawBirdWatch = serde_json::from_value(object.clone()).unwrap();
    let read = raw.read_spec();
    if let Err(why) = &read {
        is_fit_to_show(why, 600);
    }
    if let Some(why) = schema.refusal(&object) {
        assert!(why.contains("spec"), "{why}");
        return Settled::Refused;
    }
    let Err(why) = plan_of(read) else {
        return Settled::Planned;
    };
    assert!(why.iter().all(|one| one.starts_with("spec.")), "{why:?}");
    for one in &why {
        is_fit_to_show(one, 1000);
    }
    Settled::Explained
}

/// What the schema lets through can be read, whatever it says.
fn plan_of(read: Result<BirdWatchSpec, String>) -> Result<(), Vec<String>> {
    let spec = read.expect("what the schema lets through can be read");
    let planned = plan::resolve(&spec);
    planned
        .map(|_| ())
        .map_err(|all| all.iter().map(ToString::to_string).collect())
}

#[test]
fn no_spec_at_all_is_explained() {
    for spec in [Value::Null, json!({}), json!([]), json!("text"), json!(7)] {
        let object = json!({"metadata": {"name": "bad", "namespace": "shop"}, "spec": spec});
        let raw: RawBirdWatch = serde_json::from_value(object).unwrap();
        if let Err(why) = raw.read_spec() {
            is_fit_to_show(&why, 600);
        }
    }
}
