//! The CustomResourceDefinition as it is installed: what the types say, without what only Rust wants to say. No I/O.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::spec::BirdWatch;

/// What `kubectl get` shows: name, type, path and meaning.
const COLUMNS: &[(&str, &str, &str, &str)] = &[
    ("Service", "string", ".spec.service", "The service released."),
    (
        "Phase",
        "string",
        ".status.phase",
        "Where the rollout is in its life.",
    ),
    ("Step", "string", ".status.step", "The present step, of how many."),
    (
        "Weight",
        "integer",
        ".status.weight",
        "The canary's confirmed weight in percent.",
    ),
    ("Canary", "string", ".status.canary", "The canary's version."),
    (
        "Baseline",
        "string",
        ".status.baseline",
        "What readings are compared with.",
    ),
    ("Current", "string", ".status.current", "The last reading."),
    (
        "Age",
        "date",
        ".metadata.creationTimestamp",
        "How long this BirdWatch has been there.",
    ),
];
const WIDE_COLUMNS: &[(&str, &str, &str, &str)] = &[
    (
        "Message",
        "string",
        ".status.message",
        "What is going on, in a sentence.",
    ),
    (
        "Reading",
        "string",
        ".status.reading",
        "What the metric that matters most says, in a sentence.",
    ),
];

/// The definition of the BirdWatch resource.
///
/// It has no `default:` (the plan fills every default), no `nullable:` (so a null in a manifest is an absent field), no
/// sizes of numbers as formats, and no limits in `status`: only the operator writes there, and a rollback
/// must never wait for a definition older than the operator.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    let mut crd = BirdWatch::crd();
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns());
        let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        visit(schema, &mut tidy);
        if let Some(status) = schema.properties.as_mut().and_then(|p| p.get_mut("status")) {
            visit(status, &mut loosen);
        }
    }
    crd
}

fn columns() -> Vec<CustomResourceColumnDefinition> {
    let shown = COLUMNS.iter().map(|column| (column, None));
    let wide = WIDE_COLUMNS.iter().map(|column| (column, Some(1)));
    shown
        .chain(wide)
        .map(
            |(&(name, type_, json_path, description), priority)| CustomResourceColumnDefinition {
                name: name.to_owned(),
                type_: type_.to_owned(),
                json_path: json_path.to_owned(),
                description: Some(description.to_owned()),
                priority,
                format: None,
            },
        )
        .collect()
}

fn visit(schema: &mut JSONSchemaProps, change: &mut dyn FnMut(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        visit(property, change);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => visit(items, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(|i| visit(i, change)),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        visit(values, change);
    }
}

fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.default = None;
    schema.title = None;
    schema.format = schema.format.take().filter(|format| format == "date-time");
    if let Some(text) = &mut schema.description {
        *text = text
            .split("\n\n")
            .map(|p| p.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
}

fn loosen(schema: &mut JSONSchemaProps) {
    if let Some(values) = schema.enum_.take() {
        let words: Vec<_> = values.iter().filter_map(|v| v.0.as_str()).collect();
        let text = schema.description.get_or_insert_default();
        *text = format!("{text} One of {}.", words.join(", "));
    }
    (schema.minimum, schema.maximum) = (None, None);
}
