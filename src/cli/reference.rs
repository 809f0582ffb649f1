//! `docs/reference.md`: the resource as people read it, made from its definition. Makes text, prints nothing.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use schemars::JsonSchema;

use crate::api::conditions::ConditionType;
use crate::api::crd;
use crate::api::status::Phase;

const INTRODUCTION: &str = "\
The small form is enough for most:

```yaml
apiVersion: otomato.link/v1alpha1
kind: BirdWatch
metadata: {name: aleph}
spec:
  service: aleph          # VirtualService and DestinationRule of that name
  canaryVersion: v04      # without it: a version that appears
  metric: sum(irate(istio_requests_total{destination_service_name=\"aleph\",destination_version=\"v04\",response_code=\"500\"}[30s]))
  deviation: 0.5          # how far a reading may rise above the baseline
  increment: 10           # percent of the traffic per step
  interval: 30s           # how long each step is held
  ifUnhealthy: rollback   # or freeze
```

The full form says more with `metrics` in the place of `metric` and `deviation`, and `steps` in the place of `increment` and
`interval`:

```yaml
apiVersion: otomato.link/v1alpha1
kind: BirdWatch
metadata: {name: aleph}
spec:
  service: aleph
  metrics:
    - name: errors
      query: sum(rate(istio_requests_total{destination_service_name=\"$(service)\",destination_version=\"$(version)\",response_code=~\"5..\"}[$(window)]))
      per: request
      deviation: 0.01
      failures: {count: 2, of: 3}
    - {name: memory, query: 'max(memory_bytes{version=\"$(version)\"})', deviationPercent: 30, compareTo: production}
  steps:
    - {weight: 5, hold: 2m}
    - {weight: 25, hold: 5m}
    - {weight: 50, hold: 5m}
```

A field that is `null` counts as absent. Durations are written like `30s`, `1m30s` or `2h`; a bare integer is seconds.
";

/// The reference as Markdown, the same text every time. `verbs_table` is the table of what each verb means in each phase;
/// its chapter is left out where it is empty.
#[must_use]
pub fn markdown(verbs_table: &str) -> String {
    let crd = crd::definition().spec;
    let mut out = String::from(
        "<!-- Made from the definition of the resource; edit the types in src/api instead. -->\n\n",
    );
    for version in &crd.versions {
        let Some(schema) = version
            .schema
            .as_ref()
            .and_then(|s| s.open_api_v3_schema.as_ref())
        else {
            continue;
        };
        head(&mut out, &crd, version, schema);
        object(&mut out, "spec", property(schema, "spec"));
        columns(&mut out, version);
        words::<Phase>(&mut out, "Phases", "Phase");
        if !verbs_table.is_empty() {
            text(
                &mut out,
                format_args!("## Verbs\n\n{}\n\n", verbs_table.trim_end()),
            );
        }
        words::<ConditionType>(&mut out, "Conditions", "Condition");
        object(&mut out, "status", property(schema, "status"));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn head(
    out: &mut String,
    crd: &CustomResourceDefinitionSpec,
    version: &CustomResourceDefinitionVersion,
    schema: &JSONSchemaProps,
) {
    let (kind, plural) = (&crd.names.kind, &crd.names.plural);
    let short = crd.names.short_names.as_deref().unwrap_or_default().join("`, `");
    text(out, format_args!("# {kind}\n\n{}\n\n", description(schema)));
    text(
        out,
        format_args!(
            "`apiVersion: {}/{}`, `kind: {kind}`; in kubectl `{plural}`, `{}` or `{short}`. {}.\n\n{INTRODUCTION}\n",
            crd.group,
            version.name,
            crd.names.singular.as_deref().unwrap_or_default(),
            crd.scope,
        ),
    );
}

/// A chapter for an object, and one for each object in it.
fn object(out: &mut String, path: &str, schema: Option<&JSONSchemaProps>) {
    let Some(schema) = schema else { return };
    let properties = schema.properties.iter().flatten();
    let required = |name: &String| schema.required.iter().flatten().any(|r| r == name);
    let mut fields: Vec<_> = properties.collect();
    fields.sort_by_key(|(name, _)| (!required(name), name.to_lowercase()));

    text(out, format_args!("## {path}\n\n{}\n\n", description(schema)));
    out.push_str("| Field | Type | Meaning |\n|---|---|---|\n");
    for (name, field) in &fields {
        let needed = if required(name) { ", required" } else { "" };
        let kind = kind(&format!("{path}.{name}"), field);
        text(
            out,
            format_args!("| `{name}` | {kind}{needed} | {} |\n", cell(description(field))),
        );
    }
    out.push('\n');
    rules(out, schema, &fields);
    for (name, field) in fields {
        if let Some((path, schema)) = nested(&format!("{path}.{name}"), field) {
            object(out, &path, Some(schema));
        }
    }
}

/// What is refused besides wrong types and ranges: rules of the object, then of its plain fields, each said once.
fn rules(out: &mut String, schema: &JSONSchemaProps, fields: &[(&String, &JSONSchemaProps)]) {
    let mut said: Vec<(String, Vec<String>)> =
        messages(schema).map(|message| (message, Vec::new())).collect();
    for (name, field) in fields.iter().filter(|(_, field)| field.properties.is_none()) {
        for message in messages(field) {
            let name = format!("`{name}`");
            match said.iter_mut().find(|(other, _)| *other == message) {
                Some((_, names)) => names.push(name),
                None => said.push((message, vec![name])),
            }
        }
    }
    if said.is_empty() {
        return;
    }
    out.push_str("Rules, as the API server says them:\n\n");
    for (message, names) in said {
        let names = if names.is_empty() {
            String::new()
        } else {
            names.join(", ") + ": "
        };
        text(out, format_args!("- {names}{message}\n"));
    }
    out.push('\n');
}

fn messages(schema: &JSONSchemaProps) -> impl Iterator<Item = String> {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    rules.filter_map(|rule| rule.message.clone())
}

fn columns(out: &mut String, version: &CustomResourceDefinitionVersion) {
    out.push_str("## Columns of kubectl get\n\n| Column | Meaning |\n|---|---|\n");
    for column in version.additional_printer_columns.iter().flatten() {
        let wide = if column.priority.unwrap_or(0) > 0 {
            " With `-o wide`."
        } else {
            ""
        };
        let meaning = column.description.as_deref().unwrap_or_default();
        text(out, format_args!("| {} | {meaning}{wide} |\n", column.name));
    }
    out.push('\n');
}

/// A table of the values of an enum, from its own documentation.
fn words<T: JsonSchema>(out: &mut String, title: &str, column: &str) {
    text(
        out,
        format_args!("## {title}\n\n| {column} | Meaning |\n|---|---|\n"),
    );
    let schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>();
    for value in schema
        .get("oneOf")
        .and_then(|v| v.as_array())
        .into_iter()
        .flatten()
    {
        let word = |key: &str| value.get(key).and_then(|v| v.as_str()).unwrap_or_default();
        text(
            out,
            format_args!("| {} | {} |\n", word("const"), cell(word("description"))),
        );
    }
    out.push('\n');
}

/// The type of a field as people say it; objects lead to their chapter.
fn kind(path: &str, field: &JSONSchemaProps) -> String {
    if let Some((path, _)) = nested(path, field) {
        let anchor: String = path
            .to_lowercase()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let list = if field.type_.as_deref() == Some("array") {
            "list of objects"
        } else {
            "object"
        };
        return format!("[{list}](#{anchor})");
    }
    if let Some(values) = &field.enum_ {
        let words: Vec<_> = values.iter().filter_map(|v| v.0.as_str()).collect();
        return format!("`{}`", words.join("` or `"));
    }
    match (field.type_.as_deref(), field.format.as_deref()) {
        (None, _) => "duration".to_owned(),
        (Some("string"), Some("date-time")) => "time".to_owned(),
        (Some("string"), _) => "text".to_owned(),
        (Some("array"), _) => format!(
            "list of {}s",
            items(field).map(|i| kind(path, i)).unwrap_or_default()
        ),
        (Some("object"), _) if field.x_kubernetes_preserve_unknown_fields == Some(true) => {
            "object".to_owned()
        }
        (Some("object"), _) => "map of texts".to_owned(),
        (Some(other), _) => other.to_owned(),
    }
}

/// The object that a field is, or is a list of, with its path.
fn nested<'a>(path: &str, field: &'a JSONSchemaProps) -> Option<(String, &'a JSONSchemaProps)> {
    match items(field) {
        Some(item) if item.properties.is_some() => Some((format!("{path}[]"), item)),
        _ if field.properties.is_some() => Some((path.to_owned(), field)),
        _ => None,
    }
}

fn items(field: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    }
}

fn property<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    schema.properties.as_ref()?.get(name)
}

fn description(schema: &JSONSchemaProps) -> &str {
    schema.description.as_deref().unwrap_or_default()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn text(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(what);
}
