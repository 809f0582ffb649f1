//! What a watch has shown of one kind, kept as text and read where somebody looks: at rest nobody does, and a tree of
//! values takes ten times the room. It judges nothing.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::observation::ObjectName;

/// Objects of one kind, by name.
#[derive(Debug)]
pub struct Shelf<K> {
    kept: RwLock<Texts>,
    kind: PhantomData<fn() -> K>,
}

/// Objects as JSON.
type Texts = HashMap<ObjectName, Box<[u8]>>;

/// All objects of a list, while it comes in.
#[derive(Debug, Default)]
pub struct Listed(Texts);

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self {
            kept: RwLock::default(),
            kind: PhantomData,
        }
    }
}

impl<K: Serialize + DeserializeOwned> Shelf<K> {
    /// An object, read anew.
    #[must_use]
    pub fn get(&self, name: &ObjectName) -> Option<Arc<K>> {
        let kept = self.read();
        let object = serde_json::from_slice(kept.get(name)?);
        object
            .inspect_err(|error| tracing::error!(%error, name = name.name, "what was kept cannot be read"))
            .ok()
            .map(Arc::new)
    }

    /// Whether there is such an object.
    #[must_use]
    pub fn has(&self, name: &ObjectName) -> bool {
        self.read().contains_key(name)
    }

    /// The names of all.
    #[must_use]
    pub fn names(&self) -> Vec<ObjectName> {
        self.read().keys().cloned().collect()
    }

    /// Keeps an object, instead of an older one.
    pub fn put(&self, name: &ObjectName, object: &K) {
        if let Some(text) = text(name, object) {
            self.write().insert(name.clone(), text);
        }
    }

    /// Forgets an object.
    pub fn remove(&self, name: &ObjectName) {
        self.write().remove(name);
    }

    /// Keeps what was listed, and nothing else; the names of what is gone.
    pub fn replace(&self, listed: Listed) -> Vec<ObjectName> {
        let mut kept = self.write();
        let before = std::mem::replace(&mut *kept, listed.0);
        before
            .into_keys()
            .filter(|name| !kept.contains_key(name))
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Texts> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Texts> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    /// The names of all that were listed.
    pub fn into_names(self) -> impl Iterator<Item = ObjectName> {
        self.0.into_keys()
    }

    /// One more.
    pub fn put<K: Serialize>(&mut self, name: ObjectName, object: &K) {
        if let Some(text) = text(&name, object) {
            self.0.insert(name, text);
        }
    }
}

fn text<K: Serialize>(name: &ObjectName, object: &K) -> Option<Box<[u8]>> {
    let text = serde_json::to_vec(object);
    text.inspect_err(|error| tracing::error!(%error, name = name.name, "an object cannot be kept"))
        .ok()
        .map(Vec::into_boxed_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn what_is_kept_is_read_as_it_was() {
        let shelf = Shelf::<Value>::default();
        let object =
            json!({"spec": {"big": 18_446_744_073_709_551_615_u64, "float": 0.1, "none": null, "text": "ü"}});
        shelf.put(&name("a"), &object);
        assert_eq!(shelf.get(&name("a")).as_deref(), Some(&object));
        shelf.put(&name("a"), &json!(2));
        assert_eq!(shelf.get(&name("a")).as_deref(), Some(&json!(2)));
        shelf.remove(&name("a"));
        assert_eq!((shelf.get(&name("a")), shelf.names()), (None, Vec::new()));
    }

    #[test]
    fn a_list_takes_the_place_of_everything_and_tells_what_is_gone() {
        let shelf = Shelf::<Value>::default();
        shelf.put(&name("a"), &json!(1));
        shelf.put(&name("b"), &json!(1));
        let mut listed = Listed::default();
        listed.put(name("b"), &json!(2));
        listed.put(name("c"), &json!(2));
        assert_eq!(
            shelf.get(&name("a")).as_deref(),
            Some(&json!(1)),
            "until it is whole"
        );
        assert_eq!(shelf.replace(listed), [name("a")]);
        let mut names = shelf.names();
        names.sort();
        assert_eq!(names, [name("b"), name("c")]);
        assert_eq!(shelf.get(&name("b")).as_deref(), Some(&json!(2)));
    }
}
