//! Whether one definition lets in whatever another one did, and keeps it.

use serde_json::Value;

/// What is wrong with `new` for those who have objects and manifests by `old`.
pub(crate) fn problems(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for place in [
        "/spec/group",
        "/spec/scope",
        "/spec/names/kind",
        "/spec/names/plural",
        "/spec/names/singular",
    ] {
        if old.pointer(place) != new.pointer(place) {
            found.push(format!("{place} is another"));
        }
    }
    for name in all(&old["spec"]["names"]["shortNames"]) {
        if !all(&new["spec"]["names"]["shortNames"]).contains(name) {
            found.push(format!("short name {name} is gone"));
        }
    }
    for old in all(&old["spec"]["versions"]) {
        let name = old["name"].as_str().unwrap_or_default();
        let same = |new: &&Value| new["name"] == old["name"] && new["served"] == true;
        match all(&new["spec"]["versions"]).iter().find(same) {
            None if old["served"] == true => found.push(format!("version {name} is no longer served")),
            None => {}
            Some(new) => {
                if old["subresources"] != new["subresources"] {
                    found.push(format!("version {name}: subresources"));
                }
                let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
                narrower(&schema(old), &schema(new), "", &mut found);
            }
        }
    }
    found
}

fn all(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Keywords that must stay as they are, for nobody can tell whether another value lets in more. Without them everything is
/// let in.
const FIXED: [&str; 7] = [
    "pattern",
    "format",
    "multipleOf",
    "not",
    "anyOf",
    "oneOf",
    "allOf",
];

/// Adds what `new` no longer lets in at `path` and below.
fn narrower(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    let place = path.trim_start_matches('.');
    let mut say = |what: String| found.push(format!("{place}: {what}"));
    kept(old, new, &mut say);
    bounds(old, new, &mut say);
    lists(old, new, &mut say);
    below(old, new, path, found);
}

fn kept(old: &Value, new: &Value, say: &mut dyn FnMut(String)) {
    for kept in [
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ] {
        if old[kept] != new[kept] {
            say(format!("{kept} was {} and is {}", old[kept], new[kept]));
        }
    }
    for kept in ["nullable", "x-kubernetes-preserve-unknown-fields"] {
        if old[kept] == true && new[kept] != true {
            say(format!("{kept} is gone"));
        }
    }
    for fixed in FIXED {
        if !new[fixed].is_null() && old[fixed] != new[fixed] {
            say(format!("{fixed} was {} and is {}", old[fixed], new[fixed]));
        }
    }
}

fn bounds(old: &Value, new: &Value, say: &mut dyn FnMut(String)) {
    for bound in ["maxLength", "maxItems", "maxProperties", "maximum"] {
        if new[bound]
            .as_f64()
            .is_some_and(|new| old[bound].as_f64().is_none_or(|old| new < old))
        {
            say(format!("{bound} was {} and is {}", old[bound], new[bound]));
        }
    }
    // In a CRD they are switches: the bound itself is let in no longer. A bound that lets in more may have one.
    for (exclusive, bound) in [("exclusiveMaximum", "maximum"), ("exclusiveMinimum", "minimum")] {
        let is_wider = match (old[bound].as_f64(), new[bound].as_f64()) {
            (Some(old), Some(new)) if bound == "maximum" => new > old,
            (Some(old), Some(new)) => new < old,
            _ => false,
        };
        if new[exclusive] == true && old[exclusive] != true && !is_wider {
            say(format!("{exclusive} is new"));
        }
    }
    for bound in ["minLength", "minItems", "minProperties", "minimum"] {
        if new[bound]
            .as_f64()
            .is_some_and(|new| old[bound].as_f64().is_none_or(|old| new > old))
        {
            say(format!("{bound} was {} and is {}", old[bound], new[bound]));
        }
    }
}

fn lists(old: &Value, new: &Value, say: &mut dyn FnMut(String)) {
    let left_out = |value: &&Value| !all(&new["enum"]).contains(value);
    if !new["enum"].is_null()
        && (old["enum"].is_null() || all(&old["enum"]).iter().any(|value| left_out(&value)))
    {
        say(format!("enum was {} and is {}", old["enum"], new["enum"]));
    }
    for name in all(&new["required"])
        .iter()
        .filter(|name| !all(&old["required"]).contains(name))
    {
        say(format!("{} is required", name.as_str().unwrap_or_default()));
    }
    let rules = |schema: &Value| -> Vec<Value> {
        all(&schema["x-kubernetes-validations"])
            .iter()
            .map(|rule| rule["rule"].clone())
            .collect()
    };
    for rule in rules(new).iter().filter(|rule| !rules(old).contains(rule)) {
        say(format!("rule {} is new", rule.as_str().unwrap_or_default()));
    }
}

fn below(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match new["properties"].get(name) {
            None => found.push(format!("{} is gone", path.trim_start_matches('.'))),
            Some(new) => narrower(old, new, &path, found),
        }
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        match (old.get(inner), new.get(inner)) {
            (None, None) => {}
            (Some(old), Some(new)) if old.is_object() && new.is_object() => {
                narrower(old, new, &format!("{path}{suffix}"), found);
            }
            (old, new) if old == new => {}
            _ => found.push(format!("{path}: {inner} is another")),
        }
    }
}
