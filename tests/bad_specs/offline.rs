//! The schema without a server: what an API server would say of an object, its CEL rules included, in its words. A keyword
//! of the schema that is not understood here is an error, so that no rule is passed over.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it cannot read"
)]

use std::collections::BTreeSet;

use birdwatch::api::crd;
use kube::core::cel::{
    CompiledSchema, ErrorKind, ValidationError, ValidationErrors, Validator, compile_schema,
};
use serde_json::{Map, Value, json};

/// The schema of the resource.
pub(crate) fn schema() -> Value {
    let crd = serde_json::to_value(crd::definition()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// A server's judgement, without a server.
pub(crate) struct Offline {
    schema: Value,
    compiled: CompiledSchema,
    rules: BTreeSet<(String, String)>,
}

impl Offline {
    pub(crate) fn new() -> Self {
        let schema = schema();
        // kube-cel knows a field with an underscore by a doubled one, where API servers leave single ones alone, and it
        // has no type(): there a whole number is what differs from its own text.
        let text = serde_json::to_string(&schema).unwrap();
        let text = text.replace("type(self) in [int]", "self != string(self)");
        let text = text.replace("self.canary_version", "self.canary__version");
        let text = text.replace("self.if_unhealthy", "self.if__unhealthy");
        let for_cel: Value = serde_json::from_str(&text).unwrap();
        let mut rules = BTreeSet::new();
        collect_rules(&for_cel, &mut rules);
        let compiled = compile_schema(&for_cel);
        Self {
            schema,
            compiled,
            rules,
        }
    }

    /// The refusal of an object, or none: first unknown fields (as kubectl asks for), then the plain schema, then CEL.
    pub(crate) fn refusal(&self, object: &Value) -> Option<String> {
        let mut object = object.clone();
        drop_nulls(&mut object);
        let mut body = json!({});
        if let Some(spec) = object.get("spec") {
            body["spec"] = spec.clone();
        }
        let mut said = Vec::new();
        unknown_fields(&self.schema, &body, "", &mut said);
        if said.is_empty() {
            plain(&self.schema, &body, "", &mut said);
            said.extend(self.cel(&body));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// Every rule of the schema, with its message.
    pub(crate) fn rules(&self) -> &BTreeSet<(String, String)> {
        &self.rules
    }

    fn cel(&self, body: &Value) -> Vec<String> {
        let errors = Validator::new()
            .validate_compiled(&self.compiled, body, None)
            .err();
        let errors = errors.into_iter().flat_map(ValidationErrors::into_vec);
        let say = |error: ValidationError| {
            let (path, message) = (error.field_path, error.message);
            match error.kind {
                ErrorKind::ValidationFailure => format!("{path}: {message}"),
                // As a server has it: the rule's own message comes after what went wrong.
                ErrorKind::EvaluationError => {
                    let (_, advice) = self.rules.iter().find(|(rule, _)| *rule == error.rule).unwrap();
                    format!("{path}: {message} evaluating rule: {advice}")
                }
                kind => panic!("{kind:?}: {message}"),
            }
        };
        errors.map(say).collect()
    }
}

/// Without `nullable` in the schema, a null is an absent field.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Every rule of a schema, with its message.
fn collect_rules(schema: &Value, found: &mut BTreeSet<(String, String)>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |key: &str| rule[key].as_str().unwrap().to_owned();
        found.insert((text("rule"), text("message")));
    }
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| collect_rules(part, found)),
        Value::Array(parts) => parts.iter().for_each(|part| collect_rules(part, found)),
        _ => {}
    }
}

fn unknown_fields(schema: &Value, value: &Value, path: &str, said: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = child(path, name);
                let known = schema["properties"]
                    .get(name)
                    .or(schema.get("additionalProperties"));
                match known {
                    Some(schema) => unknown_fields(schema, field, &path, said),
                    None => said.push(format!("strict decoding error: unknown field {path:?}")),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                unknown_fields(&schema["items"], item, &format!("{path}[{index}]"), said);
            }
        }
        _ => {}
    }
}

fn plain(schema: &Value, value: &Value, path: &str, said: &mut Vec<String>) {
    let keywords = schema.as_object().unwrap();
    if !has_type(keywords, value) {
        let wanted = keywords
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("integer,string");
        return said.push(format!(
            "{path}: Invalid value: {path} in body must be of type {wanted}"
        ));
    }
    for (keyword, limit) in keywords {
        if let Some(message) = breach(keyword, limit, keywords, value) {
            said.push(match message.strip_prefix('.') {
                Some(field) => format!("{}: Required value", child(path, field)),
                None => format!("{path}: {message}"),
            });
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let schema = schema["properties"]
                    .get(name)
                    .unwrap_or(&schema["additionalProperties"]);
                plain(schema, field, &child(path, name), said);
            }
        }
        Value::Array(items) => {
            duplicates(keywords, items, path, said);
            for (index, item) in items.iter().enumerate() {
                plain(&schema["items"], item, &format!("{path}[{index}]"), said);
            }
        }
        _ => {}
    }
}

fn has_type(keywords: &Map<String, Value>, value: &Value) -> bool {
    match keywords.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64(),
        None => keywords.contains_key("x-kubernetes-int-or-string") && (value.is_i64() || value.is_string()),
        Some(other) => panic!("type {other} is not understood here"),
    }
}

/// What a value does wrong by one keyword of its schema; a leading dot names a field that is missing.
fn breach(keyword: &str, limit: &Value, keywords: &Map<String, Value>, value: &Value) -> Option<String> {
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    let bound = usize::try_from(limit.as_u64().unwrap_or(0)).unwrap();
    let number = || value.as_f64().zip(limit.as_f64()).unwrap();
    match keyword {
        "required" => {
            let mut names = limit.as_array().unwrap().iter().filter_map(Value::as_str);
            names
                .find(|name| value.get(name).is_none())
                .map(|name| format!(".{name}"))
        }
        "enum" => {
            let values: Vec<_> = limit.as_array().unwrap().iter().map(Value::to_string).collect();
            let known = values.contains(&value.to_string());
            (!known).then(|| {
                format!(
                    "Unsupported value: {value}: supported values: {}",
                    values.join(", ")
                )
            })
        }
        "minimum" => (number().0 < number().1).then(|| format!("should be greater than or equal to {limit}")),
        "maximum" => (number().0 > number().1).then(|| format!("should be less than or equal to {limit}")),
        "maxLength" => (value.is_string() && size > bound)
            .then(|| format!("Too long: may not be more than {bound} bytes")),
        "minItems" => (size < bound).then(|| format!("should have at least {bound} items")),
        "minProperties" => (size < bound).then(|| format!("should have at least {bound} properties")),
        "maxItems" | "maxProperties" => {
            (size > bound).then(|| format!("Too many: {size}: must have at most {bound} items"))
        }
        "type"
        | "description"
        | "properties"
        | "additionalProperties"
        | "items"
        | "x-kubernetes-list-map-keys"
        | "x-kubernetes-int-or-string"
        | "x-kubernetes-validations" => None,
        "x-kubernetes-list-type" => {
            let kind = limit.as_str().unwrap();
            assert!(kind == "set" || (kind == "map" && keywords.contains_key("x-kubernetes-list-map-keys")));
            None
        }
        other => panic!("keyword {other} is not understood here"),
    }
}

fn duplicates(keywords: &Map<String, Value>, items: &[Value], path: &str, said: &mut Vec<String>) {
    let key = |item: &Value| match keywords.get("x-kubernetes-list-map-keys") {
        Some(names) => {
            let names = names.as_array().unwrap().iter().filter_map(Value::as_str);
            let keys: Map<_, _> = names.map(|name| (name.to_owned(), item[name].clone())).collect();
            Value::Object(keys)
        }
        None => item.clone(),
    };
    if keywords.contains_key("x-kubernetes-list-type") {
        let keys: Vec<_> = items.iter().map(key).collect();
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].contains(key) {
                said.push(format!("{path}[{index}]: Duplicate value: {key}"));
            }
        }
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
