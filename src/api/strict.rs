//! Fields of a document that a BirdWatch does not have, told by the schema that is installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::crd;

/// What every object has beside its schema.
const OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// A field that there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Where it is: `spec.steps[1].wieght`.
    pub path: String,
    /// The field of that place whose name is like it.
    pub nearest: Option<String>,
    /// Where in a spec there is one of its name.
    pub elsewhere: Option<String>,
}

/// Every field of the document that its schema does not have. What is in `status` is the operator's, and not looked at.
#[must_use]
pub fn unknown_fields(document: &Value) -> Vec<UnknownField> {
    let definition = crd::definition();
    let versions = definition.spec.versions.iter();
    let mut schemas = versions.filter_map(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref());
    let (Some(schema), Value::Object(fields)) = (schemas.next(), document) else {
        return Vec::new();
    };
    let mut found = Search {
        spec: schema.properties.as_ref().and_then(|all| all.get("spec")),
        unknown: Vec::new(),
    };
    let known = schema.properties.iter().flat_map(|all| all.keys());
    let known: Vec<&str> = known.map(String::as_str).chain(OBJECT).collect();
    found.names(fields, &known, "");
    if let Some(Value::Object(metadata)) = fields.get("metadata") {
        found.names(metadata, &METADATA, "metadata");
    }
    if let (Some(spec), Some(value)) = (found.spec, fields.get("spec")) {
        found.value(value, spec, "spec");
    }
    found.unknown
}

struct Search<'a> {
    spec: Option<&'a JSONSchemaProps>,
    unknown: Vec<UnknownField>,
}

impl Search<'_> {
    fn value(&mut self, value: &Value, schema: &JSONSchemaProps, path: &str) {
        match (value, &schema.properties) {
            (Value::Object(fields), Some(properties)) => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                self.names(fields, &known, path);
                for (name, value) in fields {
                    if let Some(schema) = properties.get(name) {
                        self.value(value, schema, &format!("{path}.{name}"));
                    }
                }
            }
            (Value::Object(fields), None) => {
                if let Some(JSONSchemaPropsOrBool::Schema(schema)) = &schema.additional_properties {
                    for (name, value) in fields {
                        self.value(value, schema, &format!("{path}.{name}"));
                    }
                }
            }
            (Value::Array(items), _) => {
                if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                    for (i, item) in items.iter().enumerate() {
                        self.value(item, schema, &format!("{path}[{i}]"));
                    }
                }
            }
            _ => {}
        }
    }

    fn names(&mut self, fields: &Map<String, Value>, known: &[&str], path: &str) {
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let nearest = nearest(name, known);
            let elsewhere = self.spec.filter(|_| nearest.is_none());
            let dot = if path.is_empty() { "" } else { "." };
            self.unknown.push(UnknownField {
                path: format!("{path}{dot}{name}"),
                nearest,
                elsewhere: elsewhere.and_then(|spec| place(spec, name, "spec")),
            });
        }
    }
}

/// The first field of that name at or below a place, the highest first.
fn place(schema: &JSONSchemaProps, name: &str, path: &str) -> Option<String> {
    let properties = schema.properties.as_ref();
    if properties.is_some_and(|all| all.contains_key(name)) {
        return Some(format!("{path}.{name}"));
    }
    let below = properties
        .into_iter()
        .flatten()
        .find_map(|(field, schema)| place(schema, name, &format!("{path}.{field}")));
    below.or_else(|| match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => place(items, name, &format!("{path}[]")),
        _ => None,
    })
}

/// The known name that is most like one, if any is.
fn nearest(name: &str, known: &[&str]) -> Option<String> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let name = plain(name);
    let near = known.iter().map(|other| (distance(&name, &plain(other)), *other));
    let (far, other) = near.min_by_key(|(far, _)| *far)?;
    (far <= 1 + name.chars().count() / 4).then(|| other.to_owned())
}

/// How many letters differ (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, diagonal), above) in other.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != *b)).min(left + 1).min(above + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn unknown(document: &Value) -> Vec<(String, Option<String>, Option<String>)> {
        let found = unknown_fields(document).into_iter();
        found
            .map(|field| (field.path, field.nearest, field.elsewhere))
            .collect()
    }

    fn of_spec(spec: &Value) -> Vec<(String, Option<String>, Option<String>)> {
        unknown(&json!({"apiVersion": "x", "kind": "y", "metadata": {"name": "a"}, "spec": spec}))
    }

    #[test]
    fn a_misspelt_field_is_found_at_every_depth_with_the_name_that_was_meant() {
        for (spec, path, nearest) in [
            (json!({"maxWieght": 20}), "spec.maxWieght", "maxWeight"),
            (json!({"Steps": []}), "spec.Steps", "steps"),
            (json!({"max_weight": 20}), "spec.max_weight", "maxWeight"),
            (
                json!({"steps": [{"weight": 1}, {"wieght": 3}]}),
                "spec.steps[1].wieght",
                "weight",
            ),
            (
                json!({"metrics": [{"tolerence": 3}]}),
                "spec.metrics[0].tolerence",
                "tolerance",
            ),
            (
                json!({"metrics": [{"failures": {"count": 1, "off": 2}}]}),
                "spec.metrics[0].failures.off",
                "of",
            ),
        ] {
            assert_eq!(of_spec(&spec), [(path.into(), Some(nearest.into()), None)]);
        }
        let whole = json!({"apiVersion": "x", "kind": "y", "specs": {}, "metadata": {"lables": {}}});
        assert_eq!(
            unknown(&whole),
            [
                ("specs".into(), Some("spec".into()), None),
                ("metadata.lables".into(), Some("labels".into()), None)
            ]
        );
    }

    #[test]
    fn a_field_in_the_wrong_place_is_told_where_it_belongs() {
        assert_eq!(
            of_spec(&json!({"tolerance": 3})),
            [(
                "spec.tolerance".into(),
                None,
                Some("spec.metrics[].tolerance".into())
            )]
        );
        assert_eq!(of_spec(&json!({"zzz": 3})), [("spec.zzz".into(), None, None)]);
    }

    #[test]
    fn what_a_server_adds_and_what_people_name_themselves_is_known() {
        let kept = json!({
            "apiVersion": "x", "kind": "y",
            "metadata": {"name": "a", "uid": "u", "managedFields": [{"f:spec": {}}], "labels": {"any": "b"}},
            "spec": {
                "service": "a", "canary_version": "v2", "if_unhealthy": "freeze",
                "workload": {"selector": {"any.thing/at-all": "b"}},
            },
            "status": {"whatever": {"a": 1}},
        });
        assert_eq!(unknown(&kept), []);
        assert_eq!(unknown(&json!("text")), []);
    }
}
