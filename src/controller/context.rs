//! What reconciles share: clients, clock, settings and leadership for the process; stores, index and memory for each
//! scope. It holds things together and decides nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::core::ApiResource;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::clients::prometheus::Prometheus;
use crate::core::observation::{Gap, ObjectName, Settings};
use crate::istio::{DestinationRule, VirtualService};
use crate::runtime::clock::Clock;
use crate::runtime::lease::{AtWork, Gate, Shard};
use crate::runtime::metrics::Metrics;

use super::census::Census;
use super::deliver::Deliver;
use super::events::Events;
use super::index::Index;
use super::memory::Memory;
use super::objects::{Deployment, Named, RawBirdWatch};
use super::overlay::Overlay;
use super::shelf::Shelf;

/// Our name in `managedFields`.
pub const MANAGER: &str = "birdwatch";

/// What all scopes of a process share.
#[derive(Clone)]
pub struct Context {
    /// The API server; it must not retry by itself (see [`crate::clients::api_server`]).
    pub client: Client,
    /// The time.
    pub clock: Clock,
    /// Whether this process may write.
    pub gate: Gate,
    /// The administrator's settings.
    pub settings: Settings,
    /// The longest a call of the API server may take. At most the third of a lease that leadership leaves for a
    /// write that has begun.
    pub call_deadline: Duration,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Give all traffic back and start nothing.
    pub draining: bool,
    /// What is counted.
    pub metrics: Metrics,
    /// Whom to ask.
    pub prometheus: Arc<dyn Prometheus>,
    /// Whom to tell.
    pub deliver: Deliver,
    /// What is recorded as Kubernetes Events.
    pub events: Events,
    /// How many `BirdWatch`es are in which phase.
    pub census: Census,
}

/// The versions in which Istio's kinds are served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IstioKinds {
    /// `VirtualService`.
    pub services: ApiResource,
    /// `DestinationRule`.
    pub rules: ApiResource,
}

/// What the watches have shown.
#[derive(Debug, Default)]
pub struct Stores {
    /// Our own kind.
    pub bird_watches: Shelf<RawBirdWatch>,
    /// Deployments.
    pub deployments: Shelf<Deployment>,
    /// `VirtualService`s.
    pub services: Shelf<VirtualService>,
    /// `DestinationRule`s.
    pub rules: Shelf<DestinationRule>,
}

/// What our own calls were answered, until the watches show it too.
#[derive(Debug, Default)]
pub struct Newer {
    /// Our own kind.
    pub bird_watches: Overlay<RawBirdWatch>,
    /// `VirtualService`s.
    pub services: Overlay<VirtualService>,
    /// `DestinationRule`s.
    pub rules: Overlay<DestinationRule>,
}

/// The whole cluster, or one namespace: a `BirdWatch` and all of its objects are in the same one.
pub struct Scope {
    /// What all scopes share.
    pub context: Context,
    /// The namespace; none: all of them.
    pub namespace: Option<String>,
    /// Istio's kinds.
    pub istio: IstioKinds,
    /// What the watches have shown.
    pub stores: Stores,
    /// What we know to be newer.
    pub newer: Newer,
    /// What is remembered of each `BirdWatch`.
    pub memory: Memory,
    /// Which object concerns whom.
    pub(super) index: Mutex<Index>,
    /// Asks for reconciles.
    pub(super) wake: UnboundedSender<ObjectRef<Named>>,
    /// Every store is filled.
    pub(super) filled: watch::Receiver<bool>,
}

impl Scope {
    /// Whether this process acts, in whatever namespace, and has everything to act upon.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        *self.filled.borrow() && self.context.gate.is_open_everywhere()
    }

    /// Waits until there is everything to act upon.
    pub async fn until_filled(&self) {
        // Nobody fills them any more while the process ends.
        let _ = self.filled.clone().wait_for(|filled| *filled).await;
    }

    /// Begins to act in a namespace; none where this process does not lead there, or has not everything to act upon.
    #[must_use]
    pub fn enter(&self, namespace: &str) -> Option<AtWork> {
        let filled = *self.filled.borrow();
        filled.then(|| self.context.gate.enter(namespace)).flatten()
    }

    /// Asks for a reconcile of `name`.
    pub fn wake(&self, name: &ObjectName) {
        // Nobody listens any more while the process ends.
        let _ = self.wake.send(ObjectRef::new(&name.name).within(&name.namespace));
    }

    /// Asks for a reconcile of everything. Before every store is filled nobody can look, and the last one to be filled asks.
    pub fn wake_all(&self) {
        self.wake_those(|_| true);
    }

    /// The same in a shard.
    pub fn wake_shard(&self, shard: Shard) {
        self.wake_those(self.of_shard(shard));
    }

    /// Whether a namespace is of that shard.
    fn of_shard(&self, shard: Shard) -> impl Fn(&str) -> bool + Copy + use<> {
        let shards = self.context.gate.shards();
        move |namespace| shards.of(namespace) == shard
    }

    fn wake_those(&self, of: impl Fn(&str) -> bool) {
        if !*self.filled.borrow() {
            return;
        }
        // Where we do not lead they are asked for when we do.
        let is_led = |name: &&ObjectName| of(&name.namespace) && self.context.gate.has_term(&name.namespace);
        for name in self.stores.bird_watches.names().iter().filter(is_led) {
            self.wake(name);
        }
    }

    /// The index; never held across an await.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest `BirdWatch` known.
    #[must_use]
    pub fn bird_watch(&self, name: &ObjectName) -> Option<Arc<RawBirdWatch>> {
        self.newer
            .bird_watches
            .pick(name, self.stores.bird_watches.get(name))
    }

    /// A Deployment.
    #[must_use]
    pub fn deployment(&self, name: &ObjectName) -> Option<Arc<Deployment>> {
        self.stores.deployments.get(name)
    }

    /// The newest `VirtualService` known.
    #[must_use]
    pub fn virtual_service(&self, name: &ObjectName) -> Option<Arc<VirtualService>> {
        self.newer.services.pick(name, self.stores.services.get(name))
    }

    /// The newest `DestinationRule` known.
    #[must_use]
    pub fn destination_rule(&self, name: &ObjectName) -> Option<Arc<DestinationRule>> {
        self.newer.rules.pick(name, self.stores.rules.get(name))
    }

    /// Calls on our own kind.
    #[must_use]
    pub fn bird_watches(&self, namespace: &str) -> Api<RawBirdWatch> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    /// Calls on `VirtualService`s.
    #[must_use]
    pub fn virtual_services(&self, namespace: &str) -> Api<VirtualService> {
        Api::namespaced_with(self.context.client.clone(), namespace, &self.istio.services)
    }

    /// Calls on `DestinationRule`s.
    #[must_use]
    pub fn destination_rules(&self, namespace: &str) -> Api<DestinationRule> {
        Api::namespaced_with(self.context.client.clone(), namespace, &self.istio.rules)
    }

    /// The times without an operator that the lease remembers, and those that never were, oldest first.
    #[must_use]
    pub fn gaps(&self, namespace: &str) -> Vec<Gap> {
        let term = self.context.gate.term(namespace);
        let absences = term.into_iter().flat_map(|term| term.absences);
        let absences = absences.map(|absence| (absence.from, absence.to));
        let jumps = self.context.clock.jumps().into_iter();
        let all = absences.chain(jumps.map(|jump| (jump.from, jump.to)));
        let mut gaps: Vec<_> = all.map(|(from, to)| Gap { from, to }).collect();
        gaps.sort_by_key(|gap| gap.from);
        gaps
    }

    /// Forgets all that belongs to one who acts for a shard.
    pub fn stand_down(&self, shard: Shard) {
        let of = self.of_shard(shard);
        self.memory.forget_all(of);
        self.context.deliver.withdraw(of);
        self.context.metrics.forget_rollouts(of);
        let Newer {
            bird_watches,
            services,
            rules,
        } = &self.newer;
        bird_watches.forget_all(of);
        services.forget_all(of);
        rules.forget_all(of);
    }
}
