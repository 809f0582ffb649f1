//! The definition of the resource: what is committed, how it reads, and what it lets in.

#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot read")]

mod bad_specs;
#[path = "bad_specs/offline.rs"]
mod offline;

use birdwatch::api::spec::BirdWatch;
use birdwatch::cli;
use birdwatch::core::plan;
use offline::Offline;
use serde_json::Value;

/// Compares a committed file with what the types say now; with `BLESS=1` the file is written instead.
fn assert_committed(path: &str, now: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(file, now).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap();
    assert!(
        committed == now,
        "{path} is not what the types say: run make generate"
    );
}

/// Calls with every field of the schema: its path, its schema, and whether it must be there.
fn fields(schema: &Value, path: &str, call: &mut dyn FnMut(&str, &Value, bool)) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let required = schema["required"]
            .as_array()
            .is_some_and(|names| names.contains(&name.as_str().into()));
        call(&path, field, required);
        fields(field, &path, call);
        fields(&field["items"], &path, call);
    }
}

fn description(field: &Value) -> &str {
    field["description"].as_str().unwrap_or_default()
}

#[test]
fn the_committed_definition_is_what_the_types_say() {
    for file in ["crds/birdwatches.yaml", "charts/birdwatch/files/crd.yaml"] {
        assert_committed(file, &cli::crd::yaml());
    }
    let read: Value = serde_saphyr::from_str(&cli::crd::yaml()).unwrap();
    assert_eq!(
        read["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        offline::schema()
    );
}

#[test]
fn the_committed_reference_is_what_the_definition_says() {
    assert_committed(
        "docs/reference.md",
        &cli::reference::markdown(&birdwatch::core::verbs::table()),
    );
}

#[test]
fn the_examples_of_the_reference_are_let_in() {
    let text = cli::reference::markdown("");
    let blocks: Vec<_> = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let manifest: Value = serde_saphyr::from_str(block).unwrap();
        assert_eq!(Offline::new().refusal(&manifest), None, "{block}");
    }
}

#[test]
fn the_reference_has_a_chapter_on_verbs_where_there_is_a_table_of_them() {
    assert!(cli::reference::markdown("| verb |").contains("\n## Verbs\n\n| verb |\n\n## "));
    assert!(!cli::reference::markdown("").contains("## Verbs"));
}

#[test]
fn the_definition_stays_below_100_kilobytes() {
    assert!(cli::crd::yaml().len() < 100_000);
}

#[test]
fn the_definition_has_no_defaults_nulls_or_odd_formats() {
    fields(&offline::schema(), "", &mut |path, field, _| {
        assert!(
            field.get("default").is_none() && field.get("nullable").is_none(),
            "{path}"
        );
        assert!(
            matches!(field["format"].as_str(), None | Some("date-time")),
            "{path}"
        );
    });
}

#[test]
fn every_field_is_described() {
    let mut count = 0;
    fields(&offline::schema(), "", &mut |path, field, _| {
        count += 1;
        let text = description(field);
        assert!(text.ends_with('.') && text.len() > 4, "{path}: {text:?}");
        assert!(
            !text.contains("`VirtualService`") && !text.contains('\n'),
            "{path}: {text:?}"
        );
    });
    assert!(count > 100, "{count}");
}

/// What a reader of `kubectl explain birdwatch.status` is told of each field; numbers come with unit or range.
#[test]
fn every_field_of_the_status_says_what_it_means_and_numbers_in_what_unit() {
    let measures = [
        "percent",
        "Weight of",
        "weight",
        "unit",
        "How many",
        "how many",
        "Number",
        "generation",
        "1 to",
        "0 to",
        "0 or more",
    ];
    let mut count = 0;
    fields(
        &offline::schema()["properties"]["status"],
        "status",
        &mut |path, field, _| {
            count += 1;
            let text = description(field);
            assert!(text.len() >= 12 && text.ends_with('.'), "{path}: {text:?}");
            let number = matches!(field["type"].as_str(), Some("integer" | "number"));
            let said = measures.iter().any(|measure| text.contains(measure));
            assert!(said || !number, "{path} has no unit or range: {text:?}");
            // Spans are texts of a form that only an example shows, or that is that of another field.
            let span = field.get("type").is_none();
            assert!(
                !span || text.contains("as in `"),
                "{path} shows no duration: {text:?}"
            );
        },
    );
    assert!(count > 100, "{count}");
}

#[test]
fn every_optional_field_of_the_spec_says_its_default() {
    fields(
        &offline::schema()["properties"]["spec"],
        "spec",
        &mut |path, field, required| {
            let text = description(field);
            let says = text.contains("Default: ") || text.starts_with("Deprecated");
            assert_eq!(says, !required, "{path}: {text:?}");
        },
    );
}

#[test]
fn every_range_of_the_spec_is_said_in_its_description() {
    fields(
        &offline::schema()["properties"]["spec"],
        "spec",
        &mut |path, field, _| {
            let text = description(field).replace(',', "");
            let number = |key: &str| field.get(key).and_then(Value::as_f64);
            let said = match (number("minimum"), number("maximum")) {
                (Some(least), Some(most)) => text.contains(&format!("{least} to {most}")),
                (Some(least), None) => text.contains(&format!("{least} or more")),
                _ => true,
            };
            assert!(said, "{path}: {text:?}");
            if let Some(longest) = number("maxLength").filter(|_| field["type"] == "string") {
                assert!(
                    text.contains(&format!("at most {longest} characters")),
                    "{path}: {text:?}"
                );
            }
            if let Some(most) = number("maxItems").or(number("maxProperties")) {
                assert!(text.contains(&format!("1 to {most}")), "{path}: {text:?}");
            }
            if field.get("x-kubernetes-int-or-string").is_some() {
                let said = text.contains("s to 720h") || text.contains("1ms to 1h");
                assert!(said, "{path}: {text:?}");
            }
        },
    );
}

#[test]
fn every_value_of_an_enum_in_the_spec_is_said_in_its_description() {
    fields(
        &offline::schema()["properties"]["spec"],
        "spec",
        &mut |path, field, _| {
            for value in field["enum"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let text = description(field);
                let said = text.contains(&format!("`{value}`")) || text.starts_with("Deprecated");
                assert!(said, "{path} does not explain {value}");
            }
        },
    );
}

#[test]
fn every_text_and_list_of_the_spec_is_bounded_so_that_rules_stay_cheap() {
    fields(
        &offline::schema()["properties"]["spec"],
        "spec",
        &mut |path, field, _| {
            let bound = match field["type"].as_str() {
                Some("string") if field.get("enum").is_none() => "maxLength",
                Some("array") => "maxItems",
                Some("object") if field.get("additionalProperties").is_some() => "maxProperties",
                None => "maxLength",
                _ => return,
            };
            assert!(field.get(bound).is_some(), "{path} needs {bound}");
        },
    );
}

#[test]
fn status_takes_whatever_the_operator_writes() {
    let schema = offline::schema();
    let status = &schema["properties"]["status"];
    let rollout = &status["properties"]["rollout"];
    for open in [status, rollout] {
        assert_eq!(open["x-kubernetes-preserve-unknown-fields"], true);
    }
    assert_eq!(
        status["properties"]["conditions"]["x-kubernetes-list-type"],
        "map"
    );
    assert_eq!(
        status["properties"]["conditions"]["x-kubernetes-list-map-keys"][0],
        "type"
    );
    fields(status, "status", &mut |path, field, _| {
        for limit in [
            "enum",
            "minimum",
            "maximum",
            "maxLength",
            "maxItems",
            "pattern",
            "x-kubernetes-validations",
        ] {
            assert!(field.get(limit).is_none(), "{path} has {limit}");
        }
    });
}

#[test]
fn the_columns_are_those_people_look_for() {
    let crd: Value = serde_saphyr::from_str(&cli::crd::yaml()).unwrap();
    let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .clone();
    let names = |wide: bool| {
        let shown = columns.iter().filter(|c| c.get("priority").is_some() == wide);
        shown
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(false),
        [
            "Service", "Phase", "Step", "Weight", "Canary", "Baseline", "Current", "Age"
        ]
    );
    assert_eq!(names(true), ["Message", "Reading"]);
    for column in &columns {
        let path = column["jsonPath"].as_str().unwrap();
        let schema = offline::schema();
        let pointer = format!(
            "/properties{}",
            path.replace('.', "/properties/").replacen("/properties", "", 1)
        );
        assert!(
            path.starts_with(".metadata") || schema.pointer(&pointer).is_some(),
            "{path} is no field"
        );
    }
}

#[test]
fn bad_specs_are_refused_with_the_field_and_what_to_do() {
    let cases = bad_specs::bad();
    assert!(cases.len() >= 60, "{} bad specs", cases.len());
    let offline = Offline::new();
    for case in cases {
        let refusal = offline.refusal(&case.object());
        let refusal = refusal.unwrap_or_else(|| panic!("{} is let in", case.what));
        let missing = case.missing_in(&refusal);
        assert!(
            missing.is_empty(),
            "{}: {missing:?} is missing in: {refusal}",
            case.what
        );
    }
}

#[test]
fn every_rule_is_broken_by_a_bad_spec() {
    let offline = Offline::new();
    let said: String = bad_specs::bad()
        .iter()
        .filter_map(|case| offline.refusal(&case.object()))
        .collect();
    let rules = offline.rules();
    assert!(rules.len() > 30, "{} rules", rules.len());
    for (rule, message) in rules {
        assert!(said.contains(message), "no bad spec breaks {rule}");
    }
}

#[test]
fn good_specs_are_let_in_and_can_be_read_and_planned() {
    let manifests = bad_specs::good();
    assert!(manifests.len() >= 15, "{} good specs", manifests.len());
    let offline = Offline::new();
    for manifest in manifests {
        let name = manifest["metadata"]["name"].clone();
        assert_eq!(offline.refusal(&manifest), None, "{name}");
        let read: BirdWatch = serde_json::from_value(manifest).unwrap_or_else(|e| panic!("{name}: {e}"));
        plan::resolve(&read.spec).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(offline.refusal(&written), None, "{name}, written again");
    }
}

/// Whether every key of `given` is in `read`: an unknown field is the server's business alone.
fn is_whole(given: &Value, read: &Value) -> bool {
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => {
            let kept = |(key, value): (&String, &Value)| read.get(key).is_some_and(|r| is_whole(value, r));
            given.iter().all(kept)
        }
        (Value::Array(given), Value::Array(read)) => given.iter().zip(read).all(|(g, r)| is_whole(g, r)),
        _ => true,
    }
}

#[test]
fn what_the_schema_refuses_the_plan_refuses_too() {
    // Read kindly where they come past the schema: they can mean one thing only.
    let kindly = ["a number in quotes as interval", "an interval of 33 characters"];
    let mut tried = 0;
    for bad in bad_specs::bad()
        .iter()
        .filter(|bad| !kindly.contains(&bad.what.as_str()))
    {
        let given = &bad.object()["spec"];
        let Ok(spec) = serde_json::from_value::<birdwatch::api::BirdWatchSpec>(given.clone()) else {
            continue;
        };
        if is_whole(given, &serde_json::to_value(&spec).unwrap()) {
            tried += 1;
            assert!(plan::resolve(&spec).is_err(), "let through: {}", bad.what);
        }
    }
    assert!(tried > 80, "only {tried} were tried");
}
