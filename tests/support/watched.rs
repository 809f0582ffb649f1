//! What a watch of one object saw, and when.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use birdwatch_bed::clock;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

type Seen<T> = Arc<Mutex<Vec<(Timestamp, T)>>>;

/// Every value that one object took while this lives, oldest first, each with the time it was first seen.
pub struct Watched<T> {
    seen: Seen<T>,
    _watching: AbortOnDropHandle<()>,
}

impl<T: Clone + PartialEq + Send + 'static> Watched<T> {
    /// Watches the object of that name; `pick` says what of it matters.
    pub fn new<K>(api: Api<K>, name: &str, pick: impl Fn(&K) -> T + Send + 'static) -> Self
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let seen: Seen<T> = Arc::default();
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let kept = Arc::clone(&seen);
        let watching = tokio::spawn(async move {
            let mut objects = watcher(api, only).default_backoff().applied_objects().boxed();
            while let Some(object) = objects.next().await {
                let Ok(object) = object else { continue };
                let value = pick(&object);
                let mut kept = kept.lock().unwrap();
                if kept.last().is_none_or(|(_, last)| *last != value) {
                    kept.push((clock::now(), value));
                }
            }
        });
        Self {
            seen,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    /// All of them so far.
    pub fn all(&self) -> Vec<(Timestamp, T)> {
        self.seen.lock().unwrap().clone()
    }

    /// The last of them.
    pub fn last(&self) -> Option<T> {
        self.seen.lock().unwrap().last().map(|(_, value)| value.clone())
    }
}
