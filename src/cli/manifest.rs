//! Files of objects, as every command reads them: YAML documents or JSON, lists of what `kubectl get` prints included.

use std::io::{self, Read as _};

use serde_json::Value;

use crate::core::preflight;

/// Larger files hold no `BirdWatch` that anyone wrote.
const MAX_FILE: u64 = 16 << 20;

/// The text of a file; `-` is standard input.
pub(super) fn read(file: &str) -> io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn io::Read> = match file {
        "-" => Box::new(io::stdin()),
        path => Box::new(std::fs::File::open(path)?),
    };
    source.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is longer than 16 MiB"));
    }
    Ok(text)
}

/// The objects of a text, one by one, also those in lists.
///
/// # Errors
/// It is not YAML: where and why, in one line.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        format!("it is not YAML: {first}")
    })?;
    let mut objects = Vec::new();
    for document in read {
        flatten(document, &mut objects);
    }
    Ok(objects)
}

fn flatten(mut document: Value, objects: &mut Vec<Value>) {
    let is_list = document["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items.into_iter().for_each(|item| flatten(item, objects)),
        _ if document.is_null() => {}
        Some(items) => {
            document["items"] = items;
            objects.push(document);
        }
        None => objects.push(document),
    }
}

/// Whether a document is meant to be a `BirdWatch`; what keeps it from being one is said of it afterwards.
pub(super) fn is_bird_watch(document: &Value) -> bool {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    text("kind").eq_ignore_ascii_case("BirdWatch") || text("apiVersion").starts_with("otomato.link/")
}

/// What is wrong with the document of a `BirdWatch`, in one sentence.
pub(super) fn problem(document: &Value) -> Option<String> {
    let findings = preflight::document(document).into_iter();
    let said: Vec<String> = findings
        .map(|finding| format!("{}: {}", finding.object, finding.what))
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str =
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n---\nkind: Pod\nmetadata:\n  name: b\n";

    fn names(text: &str) -> Vec<String> {
        let documents = documents(text).unwrap().into_iter();
        documents
            .map(|document| document["metadata"]["name"].as_str().unwrap_or("?").to_owned())
            .collect()
    }

    #[test]
    fn every_way_of_writing_objects_gives_the_same() {
        let list = "{\"kind\": \"List\", \"items\": [{\"metadata\": {\"name\": \"a\"}}, \
                    {\"kind\": \"PodList\", \"items\": [{\"metadata\": {\"name\": \"b\"}}]}]}";
        let marked = format!("\u{feff}{TWO}");
        let windows = format!("\u{feff}{}", TWO.replace('\n', "\r\n"));
        let spread = format!("---\n---\n{TWO}---\n# nothing\n---\n");
        for text in [TWO, list, &marked, &windows, &spread] {
            assert_eq!(names(text), ["a", "b"], "{text:?}");
        }
        assert_eq!(names("{\"metadata\": {\"name\": \"a\"}, \"items\": 1}"), ["a"]);
        for empty in ["", "---\n---\n", "# nothing", "\u{feff}", "\r\n"] {
            assert_eq!(names(empty).len(), 0, "{empty:?}");
        }
    }

    #[test]
    fn what_is_no_list_keeps_its_items() {
        let odd = documents("{kind: BirdWatch, items: []}").unwrap();
        assert!(is_bird_watch(&odd[0]) && odd[0]["items"].is_array());
    }

    #[test]
    fn what_is_not_yaml_is_said_in_one_line() {
        let refused = documents("a: [").unwrap_err();
        assert!(
            refused.starts_with("it is not YAML: ") && !refused.contains('\n'),
            "{refused}"
        );
    }
}
