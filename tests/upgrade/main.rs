//! From one release to the next and back: what may become of the CRD, and what an older operator leaves of a newer
//! one's status. That rollouts of an earlier release are finished is tested in `finished.rs`, and beside the core, in
//! `scenarios/upgrade.rs`.

#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot read")]

mod compatible;
#[path = "../controller_kit/mod.rs"]
mod controller_kit;
mod finished;
mod pinned;
mod unknown;

use std::path::{Path, PathBuf};

use compatible::problems;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn present() -> Value {
    serde_saphyr::from_str(&birdwatch::cli::crd::yaml()).unwrap()
}

#[test]
fn the_definition_only_grows_from_release_to_release() {
    let own = fixtures()
        .join(env!("CARGO_PKG_VERSION"))
        .join("birdwatches.yaml");
    if std::env::var_os("BLESS").is_some() && !pinned::is_pinned(env!("CARGO_PKG_VERSION")) {
        std::fs::write(&own, birdwatch::cli::crd::yaml()).unwrap();
    }
    assert!(own.exists(), "BLESS=1 writes {}", own.display());
    let releases = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut compared = 0;
    for release in releases.filter(|path| path.is_dir()) {
        let old = std::fs::read_to_string(release.join("birdwatches.yaml")).unwrap();
        let old: Value = serde_saphyr::from_str(&old).unwrap();
        let found = problems(&old, &present());
        assert!(found.is_empty(), "since {}: {found:#?}", release.display());
        compared += 1;
    }
    assert!(compared >= 1);
}

/// What is done to the definition, and the problem that names it.
type Change = (fn(&mut Value), &'static str);

fn spec(crd: &mut Value) -> &mut Value {
    &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
}

fn weight(crd: &mut Value) -> &mut Value {
    &mut spec(crd)["properties"]["steps"]["items"]["properties"]["weight"]
}

fn rules(crd: &mut Value) -> &mut Value {
    &mut spec(crd)["x-kubernetes-validations"]
}

fn remove(fields: &mut Value, name: &str) {
    fields.as_object_mut().unwrap().remove(name).unwrap();
}

fn push(list: &mut Value, value: Value) {
    list.as_array_mut().unwrap().push(value);
}

const CHANGES: [Change; 20] = [
    (
        |crd| remove(&mut spec(crd)["properties"], "maxWeight"),
        "spec.maxWeight is gone",
    ),
    (
        |crd| spec(crd)["properties"]["paused"]["type"] = json!("string"),
        "spec.paused: type",
    ),
    (
        |crd| push(&mut spec(crd)["required"], json!("steps")),
        "spec: steps is required",
    ),
    (
        |crd| spec(crd)["required"] = json!(["service", "new"]),
        "spec: new is required",
    ),
    (
        |crd| spec(crd)["properties"]["service"]["maxLength"] = json!(20),
        "spec.service: maxLength",
    ),
    (
        |crd| spec(crd)["properties"]["service"]["minLength"] = json!(3),
        "spec.service: minLength",
    ),
    (
        |crd| spec(crd)["properties"]["service"]["pattern"] = json!("^x"),
        "spec.service: pattern",
    ),
    (
        |crd| spec(crd)["properties"]["paused"]["enum"] = json!([true]),
        "spec.paused: enum",
    ),
    (
        |crd| spec(crd)["properties"]["ifUnhealthy"]["enum"] = json!(["freeze"]),
        "spec.ifUnhealthy: enum",
    ),
    (
        |crd| spec(crd)["properties"]["steps"]["maxItems"] = json!(1),
        "spec.steps: maxItems",
    ),
    (
        |crd| weight(crd)["maximum"] = json!(99),
        "spec.steps[].weight: maximum",
    ),
    (
        |crd| weight(crd)["exclusiveMaximum"] = json!(true),
        "spec.steps[].weight: exclusiveMaximum",
    ),
    (
        |crd| weight(crd)["exclusiveMinimum"] = json!(true),
        "spec.steps[].weight: exclusiveMinimum",
    ),
    (
        |crd| {
            weight(crd)["maximum"] = json!(100);
            weight(crd)["exclusiveMaximum"] = json!(true);
        },
        "spec.steps[].weight: exclusiveMaximum",
    ),
    (
        |crd| {
            weight(crd)["minimum"] = json!(1);
            weight(crd)["exclusiveMinimum"] = json!(true);
        },
        "spec.steps[].weight: exclusiveMinimum",
    ),
    (
        |crd| push(rules(crd), json!({"rule": "false"})),
        "spec: rule false",
    ),
    (
        |crd| crd["spec"]["versions"][0]["served"] = json!(false),
        "version v1alpha1 is no longer served",
    ),
    (
        |crd| crd["spec"]["versions"][0]["name"] = json!("v1"),
        "version v1alpha1 is no longer served",
    ),
    (
        |crd| crd["spec"]["versions"][0]["subresources"] = json!({}),
        "version v1alpha1: subresources",
    ),
    (|crd| crd["spec"]["scope"] = json!("Cluster"), "scope"),
];

#[test]
fn each_change_that_would_break_somebody_is_found() {
    for (change, named) in CHANGES {
        let mut next = present();
        change(&mut next);
        let found = problems(&present(), &next);
        assert!(
            found.iter().any(|problem| problem.contains(named)),
            "{named}: {found:#?}"
        );
    }
}

#[test]
fn what_only_lets_in_more_is_no_problem() {
    let mut next = present();
    let fields = spec(&mut next);
    fields["properties"]["new"] =
        json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}});
    fields["properties"]["service"]
        .as_object_mut()
        .unwrap()
        .remove("maxLength");
    // A bound may be left out where another lets in more.
    let amount = &mut fields["properties"]["steps"]["items"]["properties"]["weight"];
    amount["maximum"] = json!(101);
    amount["exclusiveMaximum"] = json!(true);
    fields["properties"]["ifUnhealthy"]["enum"]
        .as_array_mut()
        .unwrap()
        .push(json!("wait"));
    fields["properties"]["service"]["description"] = json!("Other words.");
    fields.as_object_mut().unwrap().remove("required");
    let mut newer = next["spec"]["versions"][0].clone();
    newer["name"] = json!("v1");
    next["spec"]["versions"].as_array_mut().unwrap().push(newer);
    assert_eq!(problems(&present(), &next), Vec::<String>::new());
}
