//! Puts a scope together and runs its controller: stores, watches, reconciles, and what happens when leadership
//! comes and goes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join_all, pending};
use futures::{StreamExt, stream};
use kube::Client;
use kube::api::Api;
use kube::runtime::controller::{Config as ControllerConfig, Controller, Error as ControllerError};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::istio::{DestinationRule, VirtualService, raw};
use crate::runtime::admin::{Health, Pending};
use crate::runtime::lease::{Seat, Seats, Shard};

use super::context::{Context, IstioKinds, Newer, Scope, Stores};
use super::errors::Fault;
use super::index::Index;
use super::memory::Memory;
use super::objects::{Deployment, Named, RawBirdWatch};
use super::reconcile::{error_policy, reconcile};
use super::watch::{Ended, Filling, Watched, follow};

/// The longest a call at start may take.
const DEADLINE: Duration = Duration::from_secs(4);

/// How often a cluster without Istio is looked at again.
const LOOK_FOR_ISTIO: Duration = Duration::from_secs(5);

/// Finds the version in which both of Istio's kinds are served; none where they are not.
///
/// # Errors
/// The API server does not say.
pub async fn find_istio(client: &Client) -> Result<Option<IstioKinds>, Fault> {
    for version in raw::VERSIONS {
        let group_version = format!("{}/{version}", raw::GROUP);
        let answer = timeout(DEADLINE, client.list_api_group_resources(&group_version)).await;
        let found = match answer.map_err(|_| Fault::late(DEADLINE))?.map_err(Fault::from) {
            Ok(list) => list.resources,
            Err(Fault::Gone) => continue,
            Err(fault) => return Err(fault),
        };
        let kinds = IstioKinds {
            services: VirtualService::api_resource(version),
            rules: DestinationRule::api_resource(version),
        };
        if [&kinds.services, &kinds.rules]
            .iter()
            .all(|kind| found.iter().any(|r| r.name == kind.plural))
        {
            return Ok(Some(kinds));
        }
    }
    Ok(None)
}

/// Waits until Istio's kinds are served, and says so while they are not.
pub async fn await_istio(client: &Client, pending: Pending) -> IstioKinds {
    let mut complaint = String::new();
    loop {
        let missing = match find_istio(client).await {
            Ok(Some(kinds)) => {
                pending.ready();
                return kinds;
            }
            Ok(None) => {
                "this cluster does not serve Istio's VirtualService and DestinationRule: install Istio's \
                         CRDs; looking again every 5 s"
                    .to_owned()
            }
            Err(fault) => format!("the API server does not say whether it serves Istio's kinds: {fault}"),
        };
        if missing != complaint {
            tracing::warn!("{missing}");
            complaint = missing;
        }
        sleep(LOOK_FOR_ISTIO).await;
    }
}

/// A scope ready to run.
pub struct Prepared {
    /// What its reconciles share.
    pub scope: Arc<Scope>,
    names: Writer<Named>,
    filling: Arc<Filling>,
    wakes: UnboundedReceiver<ObjectRef<Named>>,
}

/// Puts a scope together; nothing is asked of the API server yet.
#[must_use]
pub fn prepare(context: Context, namespace: Option<String>, istio: IstioKinds) -> Prepared {
    let (filling, filled) = Filling::new(4);
    let (wake, wakes) = unbounded_channel();
    let scope = Scope {
        namespace,
        istio,
        stores: Stores::default(),
        newer: Newer::default(),
        memory: Memory::default(),
        index: Mutex::new(Index::new(&context.cluster_domain)),
        wake,
        filled,
        context,
    };
    Prepared {
        scope: Arc::new(scope),
        names: Writer::new(()),
        filling: Arc::new(filling),
        wakes,
    }
}

impl Prepared {
    /// Watches and reconciles until `stop`; what people are being told is noted then, and reconciles under way are finished.
    /// At most `concurrency` at a time.
    ///
    /// # Errors
    /// A watch ended: the process must end.
    pub async fn run(
        self,
        seats: &Seats,
        health: &Health,
        concurrency: u16,
        stop: CancellationToken,
    ) -> Result<(), Ended> {
        let Self {
            scope,
            mut names,
            filling,
            wakes,
        } = self;
        let known = names.as_reader();
        let name = move |event: &Event<RawBirdWatch>| names.apply_watcher_event(&named(event));
        let client = &scope.context.client;
        let namespace = scope.namespace.as_deref();
        let bird_watches = namespace.map_or_else(|| Api::all(client.clone()), |ns| scope.bird_watches(ns));
        let deployments: Api<Deployment> = namespace.map_or_else(
            || Api::all(client.clone()),
            |ns| Api::namespaced(client.clone(), ns),
        );
        let services = namespace.map_or_else(
            || Api::all_with(client.clone(), &scope.istio.services),
            |ns| scope.virtual_services(ns),
        );
        let rules = namespace.map_or_else(
            || Api::all_with(client.clone(), &scope.istio.rules),
            |ns| scope.destination_rules(ns),
        );
        let (one, two) = (Arc::clone(&scope), Arc::clone(&filling));
        let parts = || (Arc::clone(&one), Arc::clone(&two));
        let watches = async {
            tokio::try_join!(
                start(bird_watches, parts(), health, name),
                start(deployments, parts(), health, |_| {}),
                start(services, parts(), health, |_| {}),
                start(rules, parts(), health, |_| {}),
            )
        };
        let last = CancellationToken::new();
        let stopping = async {
            stop.cancelled().await;
            seats.told().await;
            last.cancel();
            pending::<()>().await;
        };
        let reconciles = reconciles(&scope, (known, wakes), concurrency, last.clone());
        let ended = tokio::select! {
            biased;
            () = reconciles => if last.is_cancelled() { Ok(()) } else { Err(Ended::Controller) },
            () = stopping => Ok(()),
            ended = watches => ended.map(|_| ()),
            () = follow_leaderships(&scope, seats) => Ok(()),
        };
        for (shard, _) in seats.iter() {
            scope.stand_down(shard);
        }
        ended
    }
}

/// What is queued needs a name and no more.
fn named(event: &Event<RawBirdWatch>) -> Event<Named> {
    match event {
        Event::Apply(object) => Event::Apply(Named::of(object)),
        Event::Delete(object) => Event::Delete(Named::of(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(Named::of(object)),
        Event::InitDone => Event::InitDone,
    }
}

async fn start<K: Watched>(
    api: Api<K>,
    (scope, filling): (Arc<Scope>, Arc<Filling>),
    health: &Health,
    heard: impl FnMut(&Event<K>),
) -> Result<(), Ended>
where
    K::DynamicType: Eq + std::hash::Hash + Clone + Send,
{
    Box::pin(follow(api, scope, filling, health.pending(K::KIND), heard)).await
}

/// Runs reconciles as they are asked for; ends when told to and the last one has ended.
async fn reconciles(
    scope: &Arc<Scope>,
    (names, mut wakes): (Store<Named>, UnboundedReceiver<ObjectRef<Named>>),
    concurrency: u16,
    stop: CancellationToken,
) {
    // A controller whose store is not filled cannot be stopped (kube-runtime 5): it is started when it is.
    let mut filled = scope.filled.clone();
    tokio::select! {
        _ = filled.wait_for(|filled| *filled) => {}
        () = stop.cancelled() => return,
    }
    let asked_for = stream::poll_fn(move |context| wakes.poll_recv(context));
    // Whatever happens comes through `wakes`; the watches run beside the controller, so that it never holds them up.
    Controller::for_stream(stream::pending(), names)
        .with_config(ControllerConfig::default().concurrency(concurrency))
        .reconcile_on(asked_for)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            reconcile,
            |object, error, scope| error_policy(&object, error, &scope),
            Arc::clone(scope),
        )
        .for_each(async |result| match result {
            Ok(_) => {}
            Err(ControllerError::ObjectNotFound(object)) => {
                tracing::debug!(%object, "gone before its reconcile");
            }
            Err(ControllerError::ReconcilerFailed(error, object)) => {
                tracing::warn!(%object, category = error.category(), %error, "the reconcile failed");
            }
            Err(error) => tracing::error!(%error, "the controller failed"),
        })
        .await;
}

/// Looks at everything in a shard when this process begins to act there, and forgets it when it ceases to.
async fn follow_leaderships(scope: &Scope, seats: &Seats) {
    join_all(
        seats
            .iter()
            .map(|(shard, seat)| follow_leadership(scope, shard, seat)),
    )
    .await;
}

async fn follow_leadership(scope: &Scope, shard: Shard, seat: &Seat) {
    let mut leadership = seat.leadership();
    let mut last = None;
    loop {
        let term = leadership.borrow_and_update().term().map(|term| term.since);
        // Of several changes only the latest is seen: a term may follow another one with nothing between.
        if term.is_none() || last.is_some_and(|last| Some(last) != term) {
            // Whoever is at work still notes and shows what it has done, and nobody begins with what is forgotten.
            let _idle = seat.idle().await;
            scope.stand_down(shard);
        }
        if term.is_some() {
            scope.wake_shard(shard);
        }
        last = term;
        if leadership.changed().await.is_err() {
            // Nobody can tell any more: as it was left, it stays.
            std::future::pending::<()>().await;
        }
    }
}
