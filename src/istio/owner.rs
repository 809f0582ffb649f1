//! Who last wrote a field of an object, read from its managed fields.

use jiff::Timestamp;
use kube::core::ObjectMeta;
use serde_json::Value;

/// Fields of a `VirtualService` whose managers may have set weights. Its lists are atomic: one entry each.
pub const WEIGHTS: [&[&str]; 3] = [&["f:spec", "f:http"], &["f:spec", "f:tcp"], &["f:spec", "f:tls"]];

/// Field of a `DestinationRule` whose managers may have set version labels.
pub const SUBSETS: [&[&str]; 1] = [&["f:spec", "f:subsets"]];

/// One who manages fields of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// As it names itself: `kubectl-edit`, `argocd-controller`.
    pub name: String,
    /// When it last changed anything it manages, in whole seconds.
    pub time: Option<Timestamp>,
}

/// Those that manage one of `fields` ([`WEIGHTS`], [`SUBSETS`]), the one that wrote last at the end.
///
/// One who changes a value takes the field over from those who had set another value, so that whoever undid our
/// write is found here. None without managed fields: objects from a store have none, read the live one.
#[must_use]
pub fn managers(metadata: &ObjectMeta, fields: &[&[&str]]) -> Vec<Manager> {
    let entries = metadata.managed_fields.iter().flatten();
    let mut managers: Vec<_> = entries
        .filter(|entry| {
            let owned = entry.fields_v1.as_ref().map(|set| &set.0);
            owned.is_some_and(|set| fields.iter().any(|path| owns(set, path)))
        })
        .filter_map(|entry| {
            let name = entry.manager.clone()?;
            let time = entry.time.as_ref().map(|time| time.0);
            Some(Manager { name, time })
        })
        .collect();
    managers.sort_by_key(|manager| manager.time);
    managers
}

/// Whether a set of fields holds `path`, anything below it, or something above it as a whole.
fn owns(set: &Value, path: &[&str]) -> bool {
    let Value::Object(members) = set else { return false };
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    match members.get(*first) {
        Some(Value::Object(below)) => below.is_empty() || owns(&members[*first], rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(entries: Value) -> ObjectMeta {
        let mut metadata = json!({"name": "aleph"});
        metadata["managedFields"] = entries;
        serde_json::from_value(metadata).unwrap()
    }

    fn entry(manager: &str, operation: &str, time: &str, fields: &Value) -> Value {
        json!({
            "manager": manager, "operation": operation, "time": time, "apiVersion": "networking.istio.io/v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        })
    }

    fn last(entries: Value, fields: &[&[&str]]) -> Option<String> {
        let managers = managers(&metadata(entries), fields);
        let mut names = managers.into_iter().map(|manager| manager.name);
        names.rfind(|name| name != "birdwatch")
    }

    #[test]
    fn those_who_manage_the_routes_are_found_the_latest_last() {
        let http = json!({"f:spec": {".": {}, "f:hosts": {}, "f:http": {}}});
        let entries = json!([
            entry("argocd-controller", "Apply", "2026-11-20T10:00:00Z", &http),
            entry("kubectl-edit", "Update", "2026-11-20T11:00:00Z", &http),
            entry("birdwatch", "Update", "2026-11-20T12:00:00Z", &http),
            entry(
                "labeller",
                "Update",
                "2026-11-20T13:00:00Z",
                &json!({"f:metadata": {"f:labels": {"f:a": {}}}})
            ),
        ]);
        let found = managers(&metadata(entries), &WEIGHTS);
        let found = found
            .iter()
            .map(|m| (m.name.as_str(), m.time.unwrap().to_string()));
        let expected = [
            ("argocd-controller", "2026-11-20T10:00:00Z"),
            ("kubectl-edit", "2026-11-20T11:00:00Z"),
            ("birdwatch", "2026-11-20T12:00:00Z"),
        ];
        assert!(found.eq(expected.map(|(name, time)| (name, time.to_owned()))));
    }

    #[test]
    fn a_manager_of_the_rest_of_the_spec_is_not_meant() {
        let entries = json!([
            entry(
                "kubectl",
                "Apply",
                "2026-11-20T10:00:00Z",
                &json!({"f:spec": {".": {}, "f:host": {}}})
            ),
            entry(
                "flux",
                "Apply",
                "2026-11-20T09:00:00Z",
                &json!({"f:spec": {"f:subsets": {}}})
            ),
        ]);
        assert_eq!(last(entries.clone(), &SUBSETS), Some("flux".into()));
        assert_eq!(last(entries, &WEIGHTS), None);
    }

    #[test]
    fn a_manager_of_all_the_spec_or_of_one_entry_counts() {
        for fields in [
            json!({"f:spec": {}}),
            json!({"f:spec": {"f:tcp": {"k:{\"x\":1}": {}}}}),
        ] {
            let entries = json!([entry("someone", "Update", "2026-11-20T10:00:00Z", &fields)]);
            assert_eq!(last(entries, &WEIGHTS), Some("someone".into()));
        }
    }

    #[test]
    fn odd_or_absent_managed_fields_name_nobody() {
        assert!(managers(&ObjectMeta::default(), &WEIGHTS).is_empty());
        let entries = json!([
            {"manager": "no-fields"},
            {"fieldsV1": {"f:spec": {"f:http": {}}}},
            {"manager": "list", "fieldsV1": {"f:spec": []}},
            {"manager": "scalar", "fieldsV1": {"f:spec": {"f:http": 1}}},
        ]);
        assert_eq!(last(entries, &WEIGHTS), None);
    }

    #[test]
    fn one_without_a_time_is_the_oldest() {
        let fields = json!({"f:spec": {"f:http": {}}});
        let mut timeless = entry("timeless", "Update", "", &fields);
        timeless.as_object_mut().unwrap().remove("time");
        let entries = json!([entry("timed", "Apply", "2026-11-20T10:00:00Z", &fields), timeless]);
        assert_eq!(last(entries, &WEIGHTS), Some("timed".into()));
    }
}
