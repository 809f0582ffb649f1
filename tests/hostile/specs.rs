//! Specs: the schema refuses them naming a field, or they make a plan, or status says which field is wrong.

use birdwatch::api::BirdWatchSpec;
use birdwatch::controller::objects::RawBirdWatch;
use birdwatch::core::plan;
use serde_json::{Value, json};

use crate::bad_specs::good;
use crate::offline::{Offline, drop_nulls};
use crate::{inputs, is_fit_to_show, mutator};

#[test]
fn every_spec_is_refused_by_its_field_or_makes_a_plan_or_is_explained() {
    let (mut mutator, good, schema) = (mutator("specs"), good(), Offline::new());
    let (mut refused, mut explained, mut planned) = (0, 0, 0);
    for _ in 0..inputs() {
        let object = mutator.one_of(&good).clone();
        let mut spec = mutator.json(&object["spec"]);
        // As a server does before it stores them.
        drop_nulls(&mut spec);
        let object = json!({"metadata": {"name": "bad", "namespace": "shop"}, "spec": spec});
        let raw: RawBirdWatch = serde_json::from_value(object.clone()).unwrap();
        let read = raw.read_spec();
        if let Err(why) = &read {
            is_fit_to_show(why, 600);
        }
        match schema.refusal(&object) {
            Some(why) => {
                assert!(why.contains("spec"), "{why}");
                refused += 1;
            }
            None => match plan_of(read) {
                Ok(()) => planned += 1,
                Err(why) => {
                    assert!(why.iter().all(|one| one.starts_with("spec.")), "{why:?}");
                    for one in &why {
                        is_fit_to_show(one, 1000);
                    }
                    explained += 1;
                }
            },
        }
    }
    println!(
        "proved: specs: {refused} refused by the schema, {explained} explained in status, {planned} made a plan"
    );
    assert!(refused > 0 && explained > 0 && planned > 0);
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
