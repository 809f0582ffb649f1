//! Whether a refusal of the API server names what is wrong with a manifest.

use serde_json::Value;

/// What is wrong with a manifest.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// What a refusal must say, all of it. Where fields are not looked at strictly, an unknown one is named by what holds it.
    Said(Vec<String>),
    /// Something at one of these paths, or between them.
    Anywhere(Vec<String>),
}

impl Wrong {
    pub(crate) fn is_named_by(&self, refusal: &str) -> bool {
        match self {
            Self::Said(parts) => parts.iter().all(|part| {
                let unknown = part.strip_prefix("unknown field ");
                refusal.contains(part) || unknown.is_some_and(|path| names(refusal, path.trim_matches('"')))
            }),
            Self::Anywhere(changed) => changed.iter().any(|path| names(refusal, path)),
        }
    }
}

/// The paths at which two documents differ, as the API server writes them: `spec.steps[0].weight`.
pub(crate) fn differing(from: &Value, to: &Value, path: &str) -> Vec<String> {
    match (from, to) {
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|name| !new.contains_key(*name));
            let names = gone.chain(new.keys());
            names
                .flat_map(|name| {
                    let path = format!("{path}.{name}");
                    match (old.get(name), new.get(name)) {
                        (Some(old), Some(new)) => differing(old, new, &path),
                        _ => vec![path],
                    }
                })
                .collect()
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            let pairs = old.iter().zip(new).enumerate();
            pairs
                .flat_map(|(i, (old, new))| differing(old, new, &format!("{path}[{i}]")))
                .collect()
        }
        _ if from == to => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

/// Whether a refusal names that path, something below it, or what holds it. A rule about several fields stands at what holds
/// them, or at another of them: it must name the field in its words.
fn names(refusal: &str, changed: &str) -> bool {
    is_unknown(refusal, changed)
        || paths(refusal).iter().any(|path| {
            let is_top = path == "spec" || path == "metadata";
            let is_same = is_below(path, changed) || (is_below(changed, path) && !is_top);
            let holder = if is_top {
                path
            } else {
                path.rsplit_once('.').map_or("", |(holder, _)| holder)
            };
            is_same
                || field_below(changed, holder).is_some_and(|field| words(refusal).any(|word| word == field))
        })
}

/// The field by which a path goes on below what holds it.
fn field_below<'a>(path: &'a str, holder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(holder)?.strip_prefix('.')?;
    rest.split(['.', '[']).next()
}

/// A field that was added is named as it stands; how what nobody can see is written is up to the server.
fn is_unknown(refusal: &str, changed: &str) -> bool {
    let plain: String = changed.chars().take_while(char::is_ascii_graphic).collect();
    let is_whole = plain.len() == changed.len();
    refusal.contains(&format!(
        "unknown field \"{plain}{}",
        if is_whole { "\"" } else { "" }
    ))
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_of_path(c: char) -> bool {
    c.is_alphanumeric() || "_.[]-/".contains(c)
}

/// Every path in a text. Several refusals are a list in brackets.
fn paths(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !is_of_path(c));
    let parts = parts.map(|part| part.trim_start_matches('[').trim_end_matches('.'));
    let parts = parts.map(|part| match part.strip_prefix("ObjectMeta.") {
        Some(rest) => format!("metadata.{}", rest.trim_start_matches("metadata.")),
        None => part.to_owned(),
    });
    // An entry of a map is written as one of a list is.
    let parts = parts.map(
        |part| match part.strip_suffix(']').and_then(|part| part.rsplit_once('[')) {
            Some((map, key)) if key.parse::<usize>().is_err() => format!("{map}.{key}"),
            _ => part,
        },
    );
    let is_path = |part: &String| ["spec", "metadata"].iter().any(|top| is_below(part, top));
    parts.filter(is_path).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn only_what_was_changed_counts_as_named() {
    let named = |refusal: &str, changed: &str| Wrong::Anywhere(vec![changed.to_owned()]).is_named_by(refusal);
    let long =
        "BirdWatch \"bad-1\" is invalid: spec.steps[1].weight: Invalid value: 101: must be at most 100";
    assert!(named(long, "spec.steps[1].weight"));
    assert!(named(long, "spec.steps"));
    assert!(named(long, "spec.steps[1].weight.value"));
    assert!(!named(long, "spec.steps[0].weight"));
    assert!(!named(long, "spec.step"));
    assert!(!named(long, "spec.metric"));
    let rule =
        "spec: Invalid value: \"object\": interval goes with increment: write it as the hold of each step";
    assert!(named(rule, "spec.interval"));
    assert!(!named(rule, "spec.metrics[0].min"));
    let odd = "strict decoding error: unknown field \"spec. \"";
    assert!(named(odd, "spec. "));
    assert!(!named(odd, "spec.other"));
    assert!(!named("the server is out of order", "spec"));
    let annotations = "cannot unmarshal array into Go struct field ObjectMeta.annotations of type map";
    assert!(named(annotations, "metadata.annotations"));
    assert!(!named(annotations, "spec.service"));
}

#[test]
fn paths_of_what_differs_are_those_of_the_api_server() {
    let from = serde_json::json!({"steps": [{"weight": 1}, {"weight": 2}], "metric": "up", "same": [1]});
    let to = serde_json::json!({"steps": [{"weight": 1}, {"weight": 3}], "new": 1, "same": [1]});
    assert_eq!(
        differing(&from, &to, "spec"),
        ["spec.metric", "spec.new", "spec.steps[1].weight"]
    );
}
