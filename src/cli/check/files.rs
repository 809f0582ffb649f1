//! Objects from files, by their kinds.

use serde_json::{Map, Value};

use super::CheckError;
use super::objects::{Kind, Objects};
use crate::cli::manifest;

/// What is not in the files may be anywhere.
const ELSEWHERE: &str = "not in the files";

impl Objects {
    /// Reads every document of these files; `namespace` is that of objects which name none.
    pub(super) fn of_files(files: &[String], namespace: &str) -> Result<Self, CheckError> {
        let mut objects = Self::none(ELSEWHERE);
        for file in files {
            for document in documents(file)? {
                take(&mut objects, document, namespace).map_err(|problem| CheckError::File {
                    file: file.clone(),
                    problem,
                })?;
            }
        }
        Ok(objects)
    }
}

fn documents(file: &str) -> Result<Vec<Value>, CheckError> {
    let unreadable = |problem: String| CheckError::File {
        file: file.to_owned(),
        problem,
    };
    let text = manifest::read(file).map_err(|error| unreadable(error.to_string()))?;
    manifest::documents(&text).map_err(unreadable)
}

fn take(objects: &mut Objects, mut document: Value, namespace: &str) -> Result<(), String> {
    let Some(kind) = Kind::of(&document) else {
        return Ok(());
    };
    let metadata = document
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .filter(|metadata| metadata.get("name").is_some_and(Value::is_string))
        .ok_or_else(|| format!("a {kind:?} has no metadata.name"))?;
    place(metadata, kind, namespace);
    objects.put_once(kind, document);
    Ok(())
}

fn place(metadata: &mut Map<String, Value>, kind: Kind, namespace: &str) {
    let has_one = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .is_some_and(|n| !n.is_empty());
    if kind != Kind::Namespace && !has_one {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::check::objects::name_of;

    fn taken(document: &Value) -> Result<Objects, String> {
        let mut objects = Objects::none(ELSEWHERE);
        manifest::documents(&document.to_string())?
            .into_iter()
            .try_for_each(|document| take(&mut objects, document, "shop"))
            .map(|()| objects)
    }

    #[test]
    fn objects_are_kept_by_kind_in_their_namespace() {
        let object = |kind: &str, namespace: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
        let list = json!({"kind": "List", "apiVersion": "v1", "items": [
            object("Service", Value::Null), object("Pod", "other".into()), object("Namespace", Value::Null),
            object("ConfigMap", Value::Null),
        ]});
        let objects = taken(&list).unwrap();
        let namespace = |kind| name_of(&objects.of(kind)[0]).namespace;
        assert_eq!(
            (
                namespace(Kind::Service),
                namespace(Kind::Pod),
                namespace(Kind::Namespace)
            ),
            ("shop".into(), "other".into(), String::new())
        );
        assert!(objects.whole(Kind::Pod).is_err());
    }

    #[test]
    fn only_what_concerns_us_needs_a_name() {
        assert!(
            taken(&json!({"apiVersion": "v1", "kind": "Pod"}))
                .unwrap_err()
                .contains("metadata.name")
        );
        for fine in [
            json!(null),
            json!("text"),
            json!({}),
            json!({"kind": "Service", "apiVersion": "serving.knative.dev/v1"}),
        ] {
            assert!(
                taken(&fine).is_ok_and(|objects| objects.of(Kind::Service).is_empty()),
                "{fine}"
            );
        }
    }
}
