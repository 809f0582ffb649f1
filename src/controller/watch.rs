//! The watches of one scope: each keeps its store and the index up to date and wakes the `BirdWatch`es concerned.
//! They ask for reconciles; they decide nothing.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kube::Resource;
use kube::api::Api;
use kube::runtime::watcher::{Config, Error as WatchError, Event};
use kube::runtime::{WatchStreamExt, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::BirdWatchStatus;
use crate::clients::api_server::WATCH_SECONDS;
use crate::clients::size::PAGE;
use crate::core::decide;
use crate::core::observation::ObjectName;
use crate::istio::{DestinationRule, VirtualService};
use crate::runtime::admin::Pending;

use super::conflict::Age;
use super::context::Scope;
use super::exhibit;
use super::objects::{Deployment, RawBirdWatch, name_of};
use super::shelf::{Listed, Shelf};

/// How long after nonsense a watch begins anew.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a watch, or what it wakes, ended; the process must end with it.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The kind is not served any more in the version that was found at start.
    #[error("{kind} is no longer served: {reason}")]
    NotServed {
        /// The kind.
        kind: &'static str,
        /// The server's words.
        reason: String,
    },
    /// What looks at `BirdWatch`es has ended, and nobody asked it to.
    #[error("the controller has ended")]
    Controller,
    /// A stream that never ends has ended.
    #[error("the watch of {kind} has ended")]
    Ended {
        /// The kind.
        kind: &'static str,
    },
}

/// A watched kind: how it is trimmed, and whom a change concerns.
pub trait Watched: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
where
    Self::DynamicType: Eq + Hash + Clone + Send,
{
    /// The kind, for people.
    const KIND: &'static str;
    /// It may vanish while we run.
    const OPTIONAL: bool;

    /// Drops what no decision needs.
    fn shrink(&mut self);

    /// Where it is kept.
    fn shelf(scope: &Scope) -> &Shelf<Self>;

    /// Takes note of the object, or that it is gone; returns the `BirdWatch`es it concerns.
    fn note(scope: &Scope, name: &ObjectName, object: Option<&Self>) -> BTreeSet<ObjectName>;
}

impl Watched for RawBirdWatch {
    const KIND: &'static str = "BirdWatches";
    const OPTIONAL: bool = false;

    fn shrink(&mut self) {
        self.trim();
    }

    fn shelf(scope: &Scope) -> &Shelf<Self> {
        &scope.stores.bird_watches
    }

    fn note(scope: &Scope, name: &ObjectName, object: Option<&Self>) -> BTreeSet<ObjectName> {
        let status = object.and_then(|object| object.read_status().ok());
        let spec = object.map(Self::read_spec);
        // The running rollout's target and that of the spec: whichever counts, its changes are heard of.
        let under = |status: &BirdWatchStatus| decide::target(status, spec.as_ref()?);
        let running = status.as_ref().and_then(under);
        let wanted = under(&BirdWatchStatus::default());
        let targets: Vec<_> = running.iter().chain(&wanted).collect();
        let age = object.map(Age::of);
        let mut concerned = scope.index().bird_watch(name, age, &targets);
        scope
            .context
            .census
            .count(name, status.as_ref().map(|status| status.phase));
        if object.is_some() {
            concerned.insert(name.clone());
        } else {
            scope.memory.forget(name);
            scope.context.deliver.released(name);
            scope.newer.bird_watches.forget(name);
            exhibit::remove(scope, name);
        }
        concerned
    }
}

impl Watched for Deployment {
    const KIND: &'static str = "Deployments";
    const OPTIONAL: bool = false;

    fn shrink(&mut self) {
        self.trim();
    }

    fn shelf(scope: &Scope) -> &Shelf<Self> {
        &scope.stores.deployments
    }

    fn note(scope: &Scope, name: &ObjectName, object: Option<&Self>) -> BTreeSet<ObjectName> {
        scope.index().deployment(name, object)
    }
}

impl Watched for VirtualService {
    const KIND: &'static str = "VirtualServices";
    const OPTIONAL: bool = true;

    fn shrink(&mut self) {
        self.trim();
    }

    fn shelf(scope: &Scope) -> &Shelf<Self> {
        &scope.stores.services
    }

    fn note(scope: &Scope, name: &ObjectName, object: Option<&Self>) -> BTreeSet<ObjectName> {
        scope.index().virtual_service(name, object)
    }
}

impl Watched for DestinationRule {
    const KIND: &'static str = "DestinationRules";
    const OPTIONAL: bool = true;

    fn shrink(&mut self) {
        self.trim();
    }

    fn shelf(scope: &Scope) -> &Shelf<Self> {
        &scope.stores.rules
    }

    fn note(scope: &Scope, name: &ObjectName, object: Option<&Self>) -> BTreeSet<ObjectName> {
        scope.index().destination_rule(name, object)
    }
}

/// Counts the stores that are still to be filled.
#[derive(Debug)]
pub struct Filling {
    left: AtomicUsize,
    filled: watch::Sender<bool>,
}

impl Filling {
    /// Of `stores` stores none is filled; the receiver says when all of them are.
    #[must_use]
    pub fn new(stores: usize) -> (Self, watch::Receiver<bool>) {
        let (filled, receiver) = watch::channel(false);
        (
            Self {
                left: AtomicUsize::new(stores),
                filled,
            },
            receiver,
        )
    }

    fn one_more(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.filled.send_replace(true);
        }
    }
}

/// Watches one kind for as long as the process lives. `heard` is told of each event before anybody is woken for it.
///
/// # Errors
/// The watch ended, which no watch should.
pub async fn follow<K: Watched>(
    api: Api<K>,
    scope: Arc<Scope>,
    filling: Arc<Filling>,
    pending: Pending,
    mut heard: impl FnMut(&Event<K>),
) -> Result<(), Ended>
where
    K::DynamicType: Eq + Hash + Clone + Send,
{
    let lasts = lasts(K::KIND, scope.namespace.as_deref());
    let config = Config::default().page_size(PAGE).timeout(lasts);
    let begin = || watcher(api.clone(), config.clone()).default_backoff().boxed();
    let mut events = begin();
    let mut first = Some((filling, pending));
    let mut listed = Listed::default();
    let mut complaint = String::new();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) if is_nameless(&event) => {
                // Whatever it was to say is missed: all are listed again.
                say::<K>("an object without a name".to_owned(), &mut complaint);
                sleep(AGAIN).await;
                events = begin();
                continue;
            }
            Ok(event) => event.modify(K::shrink),
            Err(error) => {
                complain::<K>(&error, &mut complaint)?;
                continue;
            }
        };
        complaint.clear();
        // Kept first: those who are woken look there.
        let shelf = K::shelf(&scope);
        heard(&event);
        match event {
            Event::Apply(object) => {
                let name = name_of(object.meta());
                shelf.put(&name, &object);
                wake(&scope, K::note(&scope, &name, Some(&object)));
            }
            Event::Delete(object) => {
                let name = name_of(object.meta());
                shelf.remove(&name);
                wake(&scope, K::note(&scope, &name, None));
            }
            Event::Init => forget(&scope, std::mem::take(&mut listed), shelf),
            Event::InitApply(object) => {
                let name = name_of(object.meta());
                K::note(&scope, &name, Some(&object));
                listed.put(name, &object);
            }
            Event::InitDone => {
                for gone in shelf.replace(std::mem::take(&mut listed)) {
                    K::note(&scope, &gone, None);
                }
                if let Some((filling, pending)) = first.take() {
                    pending.ready();
                    filling.one_more();
                }
                // What happened while nobody listened is not known: everybody looks.
                scope.wake_all();
            }
        }
    }
    Err(Ended::Ended { kind: K::KIND })
}

/// How many seconds a watch goes on: a few more or less, so that those of many namespaces do not begin anew together.
fn lasts(kind: &str, namespace: Option<&str>) -> u32 {
    let mut hasher = DefaultHasher::new();
    (kind, namespace).hash(&mut hasher);
    let fewer = u32::try_from(hasher.finish() % 10).unwrap_or_default();
    WATCH_SECONDS - fewer
}

/// A list that was broken off may have shown what no list shows again.
fn forget<K: Watched>(scope: &Scope, broken_off: Listed, shelf: &Shelf<K>)
where
    K::DynamicType: Eq + Hash + Clone + Send,
{
    for name in broken_off.into_names().filter(|name| !shelf.has(name)) {
        K::note(scope, &name, None);
    }
}

fn wake(scope: &Scope, names: BTreeSet<ObjectName>) {
    for name in names {
        scope.wake(&name);
    }
}

/// Logs what is wrong, once until something else is. A kind that is not served any more ends its watch.
fn complain<K: Watched>(error: &WatchError, last: &mut String) -> Result<(), Ended>
where
    K::DynamicType: Eq + Hash + Clone + Send,
{
    let text = error.to_string();
    if K::OPTIONAL && is_not_found(error) {
        return Err(Ended::NotServed {
            kind: K::KIND,
            reason: text,
        });
    }
    say::<K>(text, last);
    Ok(())
}

fn say<K: Watched>(error: String, last: &mut String)
where
    K::DynamicType: Eq + Hash + Clone + Send,
{
    if error != *last {
        tracing::warn!(kind = K::KIND, error, "the watch is broken; trying again");
        *last = error;
    }
}

/// No server sends one; kube's store would panic.
fn is_nameless<K: Resource>(event: &Event<K>) -> bool {
    match event {
        Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => {
            object.meta().name.is_none()
        }
        Event::Init | Event::InitDone => false,
    }
}

fn is_not_found(error: &WatchError) -> bool {
    match error {
        WatchError::InitialListFailed(kube::Error::Api(status))
        | WatchError::WatchStartFailed(kube::Error::Api(status))
        | WatchError::WatchFailed(kube::Error::Api(status))
        | WatchError::WatchError(status) => status.is_not_found(),
        _ => false,
    }
}
