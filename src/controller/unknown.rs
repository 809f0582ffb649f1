//! What a newer operator wrote into status and this one does not know, kept at every depth. Data only: the top of a
//! status and of a rollout keep theirs by their types, and what lies deeper is put back here, as status is written.

use serde_json::{Map, Value};

/// What tells one object from another in its place: where one of these differs, it is not the same any more, and what was
/// said of it is no longer true.
const IDENTITY: [&str; 10] = [
    "id", "name", "type", "kind", "uid", "version", "revision", "rollout", "route", "at",
];

/// What tells entries of a list apart besides: steps are known by their weight.
const OF_ENTRIES: &str = "weight";

/// Puts into `next` what `stored` has beyond `understood`, which is `stored` as this operator reads and writes it; only
/// where the object that holds it is still there.
pub(super) fn keep(stored: &Value, understood: &Value, next: &mut Value) {
    match (stored, understood, next) {
        (Value::Object(stored), Value::Object(understood), Value::Object(next)) => {
            fields(stored, understood, next);
        }
        (Value::Array(stored), Value::Array(understood), Value::Array(next))
            if stored.len() == understood.len() =>
        {
            for (stored, understood) in stored.iter().zip(understood) {
                if let Some(next) = next.iter_mut().find(|next| is_same_entry(stored, next)) {
                    keep(stored, understood, next);
                }
            }
        }
        _ => {}
    }
}

fn fields(stored: &Map<String, Value>, understood: &Map<String, Value>, next: &mut Map<String, Value>) {
    if IDENTITY
        .iter()
        .any(|key| differs(stored.get(*key), next.get(*key)))
    {
        return;
    }
    for (name, value) in stored {
        match (understood.get(name), next.get_mut(name)) {
            // A field of ours that is written only when it says something is not unknown.
            (None, None) if says_something(value) => {
                next.insert(name.clone(), value.clone());
            }
            (Some(understood), Some(next)) => keep(value, understood, next),
            _ => {}
        }
    }
}

fn is_same_entry(stored: &Value, next: &Value) -> bool {
    let keys = || IDENTITY.iter().copied().chain([OF_ENTRIES]);
    let is_told = keys().any(|key| stored.get(key).is_some_and(|value| Some(value) == next.get(key)));
    is_told && !keys().any(|key| differs(stored.get(key), next.get(key)))
}

fn differs(stored: Option<&Value>, next: Option<&Value>) -> bool {
    matches!((stored, next), (Some(stored), Some(next)) if !stored.is_object() && stored != next)
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(stored: &Value, understood: &Value, mut next: Value) -> Value {
        keep(stored, understood, &mut next);
        next
    }

    #[test]
    fn what_is_unknown_stays_beside_what_changes() {
        let next = kept(
            &json!({"a": {"known": 1, "new": 2}, "list": [{"name": "x", "n": 1, "new": [3]}, {"name": "y", "new": 4}]}),
            &json!({"a": {"known": 1}, "list": [{"name": "x", "n": 1}, {"name": "y"}]}),
            json!({"a": {"known": 7}, "list": [{"name": "z"}, {"name": "x", "n": 2}]}),
        );
        let expected =
            json!({"a": {"known": 7, "new": 2}, "list": [{"name": "z"}, {"name": "x", "n": 2, "new": [3]}]});
        assert_eq!(next, expected);
    }

    #[test]
    fn what_is_said_of_one_thing_is_not_put_to_another() {
        for (stored, next) in [
            (json!({"id": "one", "new": 1}), json!({"id": "two"})),
            (json!({"at": "12:00", "new": 1}), json!({"at": "12:01"})),
            (
                json!({"version": "v1", "uid": "u", "new": 1}),
                json!({"version": "v1", "uid": "w"}),
            ),
        ] {
            let mut understood = stored.clone();
            understood.as_object_mut().unwrap().remove("new");
            assert_eq!(kept(&stored, &understood, next.clone()), next);
        }
        let steps = kept(
            &json!([{"weight": 10, "new": 1}, {"weight": 50, "new": 2}]),
            &json!([{"weight": 10}, {"weight": 50}]),
            json!([{"weight": 50}, {"weight": 100}]),
        );
        assert_eq!(steps, json!([{"weight": 50, "new": 2}, {"weight": 100}]));
    }

    #[test]
    fn what_was_taken_away_or_says_nothing_does_not_come_back() {
        let next = kept(
            &json!({"failure": {"reason": "x"}, "warnings": [], "retried": false, "note": null}),
            &json!({"failure": {"reason": "x"}}),
            json!({}),
        );
        assert_eq!(next, json!({}));
    }
}
