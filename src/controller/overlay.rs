//! What our own writes and live reads were answered, used until the watch has caught up: so nothing is decided on
//! an object that we know to be older than what we wrote. Bookkeeping only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Resource;

use crate::core::observation::ObjectName;

use super::objects::name_of;

/// Objects newer than those of a store.
#[derive(Debug)]
pub struct Overlay<K> {
    newer: Mutex<HashMap<ObjectName, Arc<K>>>,
}

impl<K> Default for Overlay<K> {
    fn default() -> Self {
        Self {
            newer: Mutex::default(),
        }
    }
}

impl<K: Resource> Overlay<K> {
    /// Keeps `object`, unless a newer one is kept already.
    pub fn put(&self, object: K) {
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name_of(object.meta());
        let overtaken = newer.get(&name).is_some_and(|kept| !is_older(&**kept, &object));
        if !overtaken {
            newer.insert(name, Arc::new(object));
        }
    }

    /// The newer of what is kept and what the store has. What the store does not have is gone: we never write what
    /// the watch has not shown us.
    pub fn pick(&self, name: &ObjectName, stored: Option<Arc<K>>) -> Option<Arc<K>> {
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        match (stored, newer.get(name)) {
            (Some(stored), Some(kept)) if is_older(&*stored, &**kept) => Some(Arc::clone(kept)),
            (stored, _) => {
                newer.remove(name);
                stored
            }
        }
    }

    /// Forgets one object.
    pub fn forget(&self, name: &ObjectName) {
        self.newer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// Forgets all of these namespaces.
    pub fn forget_all(&self, of: impl Fn(&str) -> bool) {
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        newer.retain(|name, _| !of(&name.namespace));
    }
}

/// Resource versions of one kind are compared as numbers, as Kubernetes has promised since 1.35 and done before.
fn is_older<K: Resource>(a: &K, b: &K) -> bool {
    version(a) < version(b)
}

fn version<K: Resource>(object: &K) -> u128 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::objects::RawBirdWatch;

    fn object(version: &str) -> RawBirdWatch {
        serde_json::from_value(
            json!({"metadata": {"name": "a", "namespace": "n", "resourceVersion": version}}),
        )
        .unwrap()
    }

    fn picked(overlay: &Overlay<RawBirdWatch>, stored: Option<&str>) -> Option<String> {
        let name = name_of(&object("1").metadata);
        let stored = stored.map(|version| Arc::new(object(version)));
        overlay.pick(&name, stored)?.metadata.resource_version.clone()
    }

    #[test]
    fn the_store_wins_as_soon_as_it_has_caught_up() {
        let overlay = Overlay::default();
        overlay.put(object("10"));
        assert_eq!(
            picked(&overlay, Some("9")).as_deref(),
            Some("10"),
            "9 is older than 10, though not as text"
        );
        assert_eq!(picked(&overlay, Some("10")).as_deref(), Some("10"));
        assert_eq!(
            picked(&overlay, Some("9")).as_deref(),
            Some("9"),
            "what was caught up with is forgotten"
        );
    }

    #[test]
    fn an_empty_overlay_gives_what_the_store_has() {
        assert_eq!(picked(&Overlay::default(), Some("9")).as_deref(), Some("9"));
        assert_eq!(picked(&Overlay::default(), None), None);
    }

    #[test]
    fn an_object_that_is_gone_does_not_live_on() {
        let overlay = Overlay::default();
        overlay.put(object("10"));
        assert_eq!(picked(&overlay, None), None);
        assert_eq!(picked(&overlay, Some("3")).as_deref(), Some("3"), "it came again");
    }

    #[test]
    fn an_answer_that_comes_late_does_not_push_out_a_newer_one() {
        let overlay = Overlay::default();
        overlay.put(object("12"));
        overlay.put(object("11"));
        assert_eq!(picked(&overlay, Some("9")).as_deref(), Some("12"));
    }
}
