//! The objects and their history: what a write does to an object, apart from HTTP.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Identifies an object; versions of one group share their objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &str, namespace: Option<&str>, name: &str) -> Self {
        let namespace = namespace.filter(|n| !n.is_empty()).map(ToOwned::to_owned);
        Self {
            resource: resource.to_owned(),
            namespace,
            name: name.to_owned(),
        }
    }
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    /// ADDED, MODIFIED or DELETED.
    pub(crate) kind: &'static str,
    pub(crate) key: Key,
    pub(crate) object: Value,
}

#[derive(Default)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    history: Vec<Event>,
    revision: u64,
    compacted: u64,
    created: u64,
}

impl Store {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        self.objects.get(key).cloned()
    }

    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        let wanted = |key: &Key| {
            key.resource == resource && namespace.is_none_or(|n| key.namespace.as_deref() == Some(n))
        };
        self.objects
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The same after one of them, those that are selected, so many at most; and the last of them, where more are left.
    pub(crate) fn page(
        &self,
        after: &Key,
        namespace: Option<&str>,
        limit: Option<usize>,
        selects: impl Fn(&Value) -> bool,
    ) -> (Vec<Value>, Option<Key>) {
        let mut left = self
            .objects
            .range((Bound::Excluded(after), Bound::Unbounded))
            .take_while(|(key, _)| key.resource == after.resource)
            .filter(|(key, _)| namespace.is_none_or(|n| key.namespace.as_deref() == Some(n)))
            .filter(|(_, object)| selects(object))
            .peekable();
        let (mut page, mut last) = (Vec::new(), None);
        while limit.is_none_or(|limit| page.len() < limit)
            && let Some((key, object)) = left.next()
        {
            page.push(object.clone());
            last = Some(key.clone());
        }
        let is_more = left.peek().is_some();
        (page, last.filter(|_| is_more))
    }

    /// The events after `revision`; None when they are forgotten.
    pub(crate) fn since(&self, revision: u64) -> Option<Vec<Event>> {
        let first = self.history.partition_point(|event| event.revision <= revision);
        (revision >= self.compacted).then(|| self.history[first..].to_vec())
    }

    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    /// Stores an object as it stands, new or not.
    pub(crate) fn put(&mut self, resource: &str, mut object: Value, now: Timestamp) -> Value {
        let meta = &object["metadata"];
        let name = meta["name"].as_str().expect("metadata.name");
        let key = Key::new(resource, meta["namespace"].as_str(), name);
        if !self.objects.contains_key(&key) {
            return self.create(key, object, "kubectl", now);
        }
        let old = &self.objects[&key]["metadata"];
        for field in ["uid", "creationTimestamp", "generation"] {
            if object["metadata"][field].is_null() {
                object["metadata"][field] = old[field].clone();
            }
        }
        self.commit(key, object, "kubectl", now)
    }

    /// Stores a new object; the caller has seen that there is none. What the test set (uid, times) stays.
    pub(crate) fn create(&mut self, key: Key, mut object: Value, manager: &str, now: Timestamp) -> Value {
        self.created += 1;
        let defaults = [
            ("name", json!(key.name)),
            ("namespace", json!(key.namespace)),
            (
                "uid",
                json!(format!("00000000-0000-4000-8000-{:012}", self.created)),
            ),
            ("creationTimestamp", json!(seconds(now))),
            ("generation", json!(1)),
        ];
        for (field, value) in defaults {
            if object["metadata"][field].is_null() && !value.is_null() {
                object["metadata"][field] = value;
            }
        }
        manage(&Value::Null, &mut object, manager, now);
        self.store("ADDED", key, object)
    }

    /// Stores a changed object: nothing happens when nothing changed; the last finalizer gone, it is deleted.
    pub(crate) fn commit(&mut self, key: Key, mut object: Value, manager: &str, now: Timestamp) -> Value {
        let old = self.objects[&key].clone();
        object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        object["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
        if object == old {
            return old;
        }
        let desired = |object: &Value| {
            let mut object = object.clone();
            if let Some(fields) = object.as_object_mut() {
                fields.remove("metadata");
                fields.remove("status");
            }
            object
        };
        if desired(&object) != desired(&old) {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        manage(&old, &mut object, manager, now);
        let marked = !object["metadata"]["deletionTimestamp"].is_null();
        if marked && !has_finalizers(&object) {
            return self.remove(&key, object);
        }
        self.store("MODIFIED", key, object)
    }

    /// Deletes an object, or marks it when it has finalizers. None when there is none.
    pub(crate) fn delete(&mut self, key: &Key, now: Timestamp) -> Option<Value> {
        let mut object = self.get(key)?;
        if !has_finalizers(&object) {
            return Some(self.remove(key, object));
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(seconds(now));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            object = self.store("MODIFIED", key.clone(), object);
        }
        Some(object)
    }

    fn remove(&mut self, key: &Key, object: Value) -> Value {
        let last = self.store("DELETED", key.clone(), object);
        self.objects.remove(key);
        last
    }

    fn store(&mut self, kind: &'static str, key: Key, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.history.push(Event {
            revision: self.revision,
            kind,
            key,
            object: object.clone(),
        });
        object
    }
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty())
}

/// As `metav1.Time`: whole seconds.
fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Keeps managedFields, down to the second level: the manager of a write owns what it changed, others lose that.
fn manage(old: &Value, new: &mut Value, manager: &str, now: Timestamp) {
    let mut changed = Map::new();
    for (part, value) in new.as_object().into_iter().flatten() {
        if ["apiVersion", "kind"].contains(&part.as_str()) || *value == old[part] {
            continue;
        }
        let fields = value.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, value)| **value != old[part][name.as_str()]);
        let own = [
            "resourceVersion",
            "generation",
            "managedFields",
            "uid",
            "creationTimestamp",
        ];
        let names = fields
            .map(|(name, _)| name)
            .filter(|name| part != "metadata" || !own.contains(&name.as_str()));
        let names: Map<_, _> = names.map(|name| (format!("f:{name}"), json!({}))).collect();
        if !names.is_empty() {
            changed.insert(format!("f:{part}"), Value::Object(names));
        }
    }
    let mut entries = new["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut ours = Value::Object(Map::new());
    entries.retain_mut(|entry| {
        if entry["manager"] == manager {
            ours = entry["fieldsV1"].take();
            return false;
        }
        for (part, names) in &changed {
            for name in names.as_object().into_iter().flatten().map(|(name, _)| name) {
                entry["fieldsV1"]
                    .get_mut(part)
                    .and_then(Value::as_object_mut)
                    .map(|fields| fields.remove(name));
            }
        }
        entry["fieldsV1"]
            .as_object()
            .into_iter()
            .flatten()
            .any(|(_, f)| f.as_object().is_some_and(|f| !f.is_empty()))
    });
    for (part, names) in changed {
        for (name, _) in names.as_object().into_iter().flatten() {
            ours[&part][name] = json!({});
        }
    }
    entries.push(json!({
        "manager": manager, "operation": "Update", "apiVersion": new["apiVersion"], "time": seconds(now),
        "fieldsType": "FieldsV1", "fieldsV1": ours,
    }));
    new["metadata"]["managedFields"] = Value::Array(entries);
}
