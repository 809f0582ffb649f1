//! Specs that must be refused, and manifests that must not: read from files, for every test that has a server or a schema.
//! In both kinds of file a text like `<64 a>` stands for 64 times the letter.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it cannot read"
)]

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

/// A spec that must be refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BadSpec {
    /// What is wrong with it.
    pub(crate) what: String,
    /// The spec; `null` for none.
    pub(crate) spec: Value,
    /// Parts that the refusal must contain: the field, and what to do.
    pub(crate) says: Vec<String>,
}

impl BadSpec {
    /// The whole object, to be sent to a server that validates fields strictly, as kubectl asks it to.
    pub(crate) fn object(&self) -> Value {
        json!({
            "apiVersion": "otomato.link/v1alpha1",
            "kind": "BirdWatch",
            "metadata": { "name": "bad" },
            "spec": self.spec,
        })
    }

    /// The parts that are missing in what the server (or the schema) said.
    pub(crate) fn missing_in(&self, answer: &str) -> Vec<&str> {
        let parts = self.says.iter().map(String::as_str);
        parts.filter(|part| !answer.contains(part)).collect()
    }
}

/// Every spec that must be refused.
pub(crate) fn bad() -> Vec<BadSpec> {
    let mut all = Vec::new();
    for (file, text) in yaml_files("tests/bad_specs") {
        let cases: Vec<BadSpec> = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        all.extend(cases);
    }
    for case in &mut all {
        lengthen(&mut case.spec);
    }
    all
}

/// Every `BirdWatch` that must be accepted without a warning, the examples included.
pub(crate) fn good() -> Vec<Value> {
    let mut all = Vec::new();
    for folder in ["tests/good_specs", "examples"] {
        for (file, text) in yaml_files(folder) {
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
            all.extend(
                documents
                    .into_iter()
                    .filter(|object| object["kind"] == "BirdWatch"),
            );
        }
    }
    for object in &mut all {
        lengthen(object);
    }
    all
}

fn yaml_files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "there are files to read");
    files
        .iter()
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn lengthen(value: &mut Value) {
    match value {
        Value::String(text) => {
            let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
            if let Some((count, letter)) = inner.and_then(|inner| inner.split_once(' ')) {
                *text = letter.repeat(count.parse().unwrap());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(lengthen),
        Value::Object(fields) => fields.values_mut().for_each(lengthen),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
