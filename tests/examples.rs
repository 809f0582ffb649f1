//! The examples are what they claim: nothing misspelt in them, plans that resolve, queries that parse, and objects that
//! fit together. That an API server takes them is tested on the bed.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::path::Path;

use birdwatch::api::plan::Plan;
use birdwatch::api::spec::IfUnhealthy;
use birdwatch::api::{BirdWatch, Span};
use birdwatch::core::plan::resolve;
use serde_json::Value;

#[test]
fn every_field_of_every_birdwatch_is_one_of_ours() {
    for (file, document) in birdwatches() {
        let read: BirdWatch = serde_json::from_value(document.clone()).expect("a BirdWatch");
        let written = serde_json::to_value(&read).expect("JSON");
        assert_keeps(&format!("{file}: spec"), &document["spec"], &written["spec"]);
    }
}

#[test]
fn every_birdwatch_resolves_to_a_plan_its_queries_included() {
    for (file, document) in birdwatches() {
        assert!(!plan(&document).metrics.is_empty(), "{file}");
    }
}

#[test]
fn the_pocs_aleph_goes_up_one_percent_every_five_seconds_and_rolls_back() {
    let plan = plan(&only("poc-aleph.yaml", "BirdWatch"));
    assert_eq!(plan.canary_version.as_deref(), Some("v04"));
    let weights: Vec<_> = plan.steps.iter().map(|step| step.weight).collect();
    assert_eq!(weights, (1..=100).collect::<Vec<u8>>());
    assert!(plan.steps.iter().all(|step| step.hold == Span::secs(5)));
    assert_eq!(plan.if_unhealthy, IfUnhealthy::Rollback);
}

#[test]
fn the_pocs_beth_freezes_and_holds_five_seconds_without_saying_so() {
    let plan = plan(&only("poc-beth.yaml", "BirdWatch"));
    assert_eq!(plan.steps.len(), 50);
    assert!(plan.steps.iter().all(|step| step.hold == Span::secs(5)));
    assert_eq!(plan.if_unhealthy, IfUnhealthy::Freeze);
}

#[test]
fn the_full_form_shows_every_field_there_is() {
    let text = std::fs::read_to_string(examples().join("full.yaml")).expect("full.yaml");
    let crd = std::fs::read_to_string(examples().join("../crds/birdwatches.yaml")).expect("the CRD");
    let crd: Value = serde_saphyr::from_str(&crd).expect("YAML");
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    // The small form, and the deprecated spellings: the other examples have them.
    let elsewhere = [
        "metric",
        "increment",
        "interval",
        "canary_version",
        "if_unhealthy",
    ];
    for field in fields(spec)
        .into_iter()
        .filter(|field| !elsewhere.contains(&field.as_str()))
    {
        assert!(text.contains(&format!("{field}:")), "{field} is missing");
    }
}

#[test]
fn the_shop_fits_together() {
    let rule = only("shop.yaml", "DestinationRule");
    let service = only("shop.yaml", "VirtualService");
    let plan = plan(&only("shop.yaml", "BirdWatch"));
    assert_eq!(rule["metadata"]["name"], plan.target.destination_rule.as_str());
    assert_eq!(
        service["metadata"]["name"],
        plan.target.virtual_services[0].as_str()
    );

    let subsets: Vec<_> = array(&rule["spec"]["subsets"])
        .iter()
        .map(|subset| &subset["name"])
        .collect();
    assert_eq!(
        subsets,
        [&plan.target.production_subset, &plan.target.canary_subset]
    );
    let route = array(&service["spec"]["http"][0]["route"]);
    let weights: Vec<_> = route
        .iter()
        .map(|way| (&way["destination"]["subset"], &way["weight"]))
        .collect();
    assert_eq!(
        weights,
        [
            (&plan.target.production_subset.clone().into(), &100.into()),
            (&plan.target.canary_subset.clone().into(), &0.into())
        ]
    );

    for (file, version) in [("shop.yaml", "v1"), ("shop-v2.yaml", "v2")] {
        let labels = only(file, "Deployment")["spec"]["template"]["metadata"]["labels"].clone();
        assert_eq!(labels[&plan.target.version_label], version);
        for (label, value) in &plan.target.selector {
            assert_eq!(&labels[label], value, "{file}: {label}");
        }
    }
    assert_eq!(
        rule["spec"]["subsets"][0]["labels"][&plan.target.version_label], "v1",
        "v1 is in production"
    );
}

/// Nothing of `given` is missing in `kept`: a field that we do not know would be dropped when read.
fn assert_keeps(at: &str, given: &Value, kept: &Value) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                let kept = kept
                    .get(key)
                    .unwrap_or_else(|| panic!("{at}.{key} is not a field"));
                assert_keeps(&format!("{at}.{key}"), value, kept);
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            assert_eq!(given.len(), kept.len(), "{at}");
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                assert_keeps(&format!("{at}[{index}]"), given, kept);
            }
        }
        _ => {}
    }
}

/// The names of all fields of a schema, nested ones included.
fn fields(schema: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        names.push(name.clone());
        names.extend(fields(field));
    }
    if schema["items"].is_object() {
        names.extend(fields(&schema["items"]));
    }
    names
}

fn plan(document: &Value) -> Plan {
    let birdwatch: BirdWatch = serde_json::from_value(document.clone()).expect("a BirdWatch");
    resolve(&birdwatch.spec).unwrap_or_else(|problems| panic!("{document}: {problems:?}"))
}

/// The one document of that kind in that file.
fn only(file: &str, kind: &str) -> Value {
    let mut found: Vec<_> = documents()
        .into_iter()
        .filter(|(name, document)| name == file && document["kind"] == kind)
        .collect();
    assert_eq!(found.len(), 1, "{kind} in {file}");
    found.remove(0).1
}

fn birdwatches() -> Vec<(String, Value)> {
    let found: Vec<_> = documents()
        .into_iter()
        .filter(|(_, document)| document["kind"] == "BirdWatch")
        .collect();
    assert!(found.len() >= 4, "the two of the POC, the full form, the shop");
    found
}

/// Every document of every example, with its file's name.
fn documents() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(examples())
        .expect("the examples")
        .map(|entry| entry.expect("a file"));
    let mut documents = Vec::new();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file.path()).expect("text");
        let read: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        documents.extend(read.into_iter().map(|document| (name.clone(), document)));
    }
    documents
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}
