//! What is wrong with a document as such, whatever its spec means: its kind, its name, and fields that there are not.

use serde_json::Value;

use crate::api::strict::{UnknownField, unknown_fields};
use crate::core::plan::names::{is_dns_label, is_dns_subdomain};

use super::{Finding, Report, codes};

const API_VERSION: &str = "otomato.link/v1alpha1";
const KIND: &str = "BirdWatch";

/// What keeps a document from being a `BirdWatch` that means what it seems to mean.
#[must_use]
pub fn document(document: &Value) -> Vec<Finding> {
    let mut report = Report::default();
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let object = format!("BirdWatch {name}");
    let object = object.trim_end();
    for (field, meant) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if document[field] != meant {
            let written = document[field].as_str().unwrap_or("nothing");
            unusable(
                &mut report,
                &format!("{object}, {field}"),
                format!("it is {written}, not {meant}"),
                format!("Write {field}: {meant}."),
            );
        }
    }
    if !is_dns_subdomain(name) {
        let what = match name {
            "" => "it has no name".to_owned(),
            name => format!("{name:?} is no name for an object"),
        };
        let remedy = "Write lower-case letters, digits, '-' and '.', as in my-shop.";
        unusable(
            &mut report,
            &format!("{object}, metadata.name"),
            what,
            remedy.to_owned(),
        );
    }
    let namespace = document["metadata"]["namespace"].as_str().unwrap_or_default();
    if !namespace.is_empty() && !is_dns_label(namespace) {
        unusable(
            &mut report,
            &format!("{object}, metadata.namespace"),
            format!("{namespace:?} is no name for a namespace"),
            "Write lower-case letters, digits and '-'.".to_owned(),
        );
    }
    for field in unknown_fields(document) {
        unknown(&mut report, object, field);
    }
    report.findings
}

fn unusable(report: &mut Report, object: &str, what: String, remedy: String) {
    let why = "The API server refuses such an object, or keeps it for nobody.";
    report.error(codes::OBJECT_INVALID, object, what, why, remedy);
}

fn unknown(report: &mut Report, object: &str, field: UnknownField) {
    let UnknownField {
        path,
        nearest,
        elsewhere,
    } = field;
    let name = path.rsplit('.').next().unwrap_or(&path);
    let (guess, remedy) = match (nearest, elsewhere) {
        (Some(nearest), _) => (
            format!("; the nearest is {nearest}"),
            format!("Write {nearest} if you mean that; docs/reference.md lists every field."),
        ),
        (None, Some(place)) => (
            format!("; there is {place}"),
            format!("Move it to {place} if you mean that; docs/reference.md lists every field."),
        ),
        (None, None) => (
            String::new(),
            "Take it out; docs/reference.md lists every field.".to_owned(),
        ),
    };
    report.error(
        codes::FIELD_UNKNOWN,
        &format!("{object}, {path}"),
        format!("there is no field {name} here{guess}"),
        "kubectl refuses it; where something else applies it, the API server drops it, and the rollout goes on without.",
        remedy,
    );
}

/// Said of a `BirdWatch` that its file holds several times.
#[must_use]
pub fn twice(name: &str) -> Finding {
    let mut report = Report::default();
    report.error(
        codes::BIRDWATCH_TWICE,
        &format!("BirdWatch {name}"),
        "it is in the file more than once; this is of the last",
        "Each of them takes the place of the one before when they are applied.",
        "Keep one, or give them different names.",
    );
    report.findings.remove(0)
}
