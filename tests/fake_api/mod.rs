//! A small Kubernetes API server in memory, for tests: any group, version and plural, with the semantics that
//! controllers depend on (resourceVersion, status subresource, generation, finalizers, JSON and merge patches, watches),
//! faults on demand and a log of requests. It has no schemas, no admission and no permissions. Time is tokio's, so
//! paused tests work.
//!
//! Resources are named `group/plural` (`apps/deployments`), or `plural` in the core group (`pods`).
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "used by tests alone"
)]

mod http;
mod store;

pub(crate) use http::line;

use birdwatch::clients::api_server::Shallow;
use birdwatch::runtime::clock::Clock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use store::{Key, Store};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Layer as _;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// When, on tokio's clock.
    pub(crate) at: Instant,
    /// Whose client sent it, as named in [`FakeApi::client`].
    pub(crate) client: String,
    /// get, list, watch, create, update, patch or delete.
    pub(crate) verb: &'static str,
    /// `group/plural`.
    pub(crate) resource: String,
    /// The version in the path.
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    /// `status`, or empty.
    pub(crate) subresource: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Answered with this status code instead; nothing is done.
    Status(u16),
    /// Done after this long.
    Delay(Duration),
    /// Never answered, and not done.
    Hang,
    /// Answered, and nothing ever comes of the answer.
    Silent,
    /// The connection breaks before it is done.
    Cut,
    /// It is done, and the connection breaks before the answer.
    CutAfter,
    /// It is done, and answered after this long.
    Late(Duration),
}

/// An answer that the server did not mean to give.
#[derive(Clone, Debug)]
pub(crate) struct Spoiled {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// The connection breaks after it.
    pub(crate) cut: bool,
}

/// Spoils answers on their way: what was asked for is done all the same.
pub(crate) trait Spoil: Send + Sync {
    /// What becomes of a whole answer; none: nothing.
    fn answer(&self, request: &Request, body: &[u8]) -> Option<Spoiled>;
    /// What is sent instead of the next lines of a watch, and whether it goes on after that; none: the lines.
    fn lines(&self, request: &Request, lines: &str) -> Option<(Vec<u8>, bool)>;
}

type Matcher = Box<dyn Fn(&Request) -> bool + Send>;

struct Injected {
    fault: Fault,
    left: usize,
    matches: Matcher,
}

#[derive(Default)]
struct Trouble {
    log: Vec<Request>,
    faults: Vec<Injected>,
    /// Raised by `cut_watches`: the open watches that match end.
    cuts: Vec<Matcher>,
    spoiler: Option<Arc<dyn Spoil>>,
}

/// The server. Clones are the same server.
#[derive(Clone)]
pub(crate) struct FakeApi {
    clock: Clock,
    store: Arc<Mutex<Store>>,
    trouble: Arc<Mutex<Trouble>>,
    /// Counts changes of the store and cuts, to wake the watches.
    stirred: Arc<watch::Sender<u64>>,
}

impl FakeApi {
    /// An empty server whose timestamps come from `clock`.
    pub(crate) fn new(clock: Clock) -> Self {
        let stirred = Arc::new(watch::channel(0).0);
        Self {
            clock,
            store: Arc::default(),
            trouble: Arc::default(),
            stirred,
        }
    }

    /// The clock of its timestamps.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// A client of this server. `name` appears in the log, can be matched by faults, and is the field manager of
    /// writes that name none.
    pub(crate) fn client(&self, name: &str) -> kube::Client {
        kube::Client::new(Shallow.layer(http::router(self.clone(), name)), "default")
    }

    /// The server itself, for a client that has to come by a connection.
    pub(crate) fn router(&self, client: &str) -> axum::Router {
        http::router(self.clone(), client)
    }

    /// Creates or replaces an object as it stands, status included, as `kubectl` would. Returns what is stored.
    pub(crate) fn put(&self, resource: &str, object: Value) -> Value {
        let stored = self.store().put(resource, object, self.clock.now());
        self.stir();
        stored
    }

    /// Edits an object by another hand: spec, status, metadata, anything. Returns what is stored. Panics when
    /// there is no such object.
    pub(crate) fn edit(
        &self,
        resource: &str,
        (namespace, name): (&str, &str),
        manager: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Value {
        let key = Key::new(resource, Some(namespace), name);
        let mut store = self.store();
        let mut object = store.get(&key).unwrap_or_else(|| panic!("no {key:?}"));
        edit(&mut object);
        let stored = store.commit(key, object, manager, self.clock.now());
        drop(store);
        self.stir();
        stored
    }

    /// Deletes an object as a user would: with finalizers it is only marked.
    pub(crate) fn delete(&self, resource: &str, (namespace, name): (&str, &str)) {
        let key = Key::new(resource, Some(namespace), name);
        self.store()
            .delete(&key, self.clock.now())
            .unwrap_or_else(|| panic!("no {key:?}"));
        self.stir();
    }

    /// An object as it is stored.
    pub(crate) fn get(&self, resource: &str, (namespace, name): (&str, &str)) -> Option<Value> {
        self.store().get(&Key::new(resource, Some(namespace), name))
    }

    /// Every object of a resource.
    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        self.store().list(resource, None)
    }

    /// Forgets past events, as etcd does: a watch from before now is answered 410.
    pub(crate) fn compact(&self) {
        self.store().compact();
    }

    /// Spoils the next `times` requests that match. The fault injected first wins.
    pub(crate) fn inject(
        &self,
        fault: Fault,
        times: usize,
        matches: impl Fn(&Request) -> bool + Send + 'static,
    ) {
        self.trouble().faults.push(Injected {
            fault,
            left: times,
            matches: Box::new(matches),
        });
    }

    /// Spoils answers from now on.
    pub(crate) fn spoil(&self, spoiler: Arc<dyn Spoil>) {
        self.trouble().spoiler = Some(spoiler);
    }

    /// Takes all faults away, and spoils no more.
    pub(crate) fn heal(&self) {
        let mut trouble = self.trouble();
        trouble.faults.clear();
        trouble.spoiler = None;
    }

    fn spoiler(&self) -> Option<Arc<dyn Spoil>> {
        self.trouble().spoiler.clone()
    }

    /// Ends the open watches that match, as a restarted server would.
    pub(crate) fn cut_watches(&self, matches: impl Fn(&Request) -> bool + Send + 'static) {
        self.trouble().cuts.push(Box::new(matches));
        self.stir();
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.trouble().log.clone()
    }

    /// Empties the log.
    pub(crate) fn forget_requests(&self) {
        self.trouble().log.clear();
    }

    /// Waits until `holds` says yes of the server; looks after every change. Bound it with a timeout.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut stirred = self.stirred.subscribe();
        while !holds(self) {
            // The sender lives in self.
            let _ = stirred.changed().await;
        }
    }

    fn stir(&self) {
        self.stirred.send_modify(|count| *count += 1);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap()
    }

    /// Notes a request and says what goes wrong with it.
    fn arrive(&self, request: &Request) -> Option<Fault> {
        let mut trouble = self.trouble();
        trouble.log.push(request.clone());
        let hit = trouble
            .faults
            .iter_mut()
            .find(|f| f.left > 0 && (f.matches)(request))?;
        hit.left = hit.left.saturating_sub(usize::from(hit.left < usize::MAX));
        Some(hit.fault)
    }

    /// Whether a cut that came after the first `before` ones ends the watch that `request` opened.
    fn is_cut(&self, request: &Request, before: usize) -> bool {
        self.trouble().cuts[before..]
            .iter()
            .any(|matches| matches(request))
    }
}
