//! One look at a `BirdWatch` and all of its objects: reads from stores and memory, never from a server. It judges
//! nothing.

use std::sync::{Arc, MutexGuard};

use jiff::Timestamp;

use crate::api::plan::Target;
use crate::api::{BirdWatchSpec, BirdWatchStatus};
use crate::core::decide;
use crate::core::observation::{Gap, ObjectName, Observation, RestoreRefused, Settings};
use crate::istio::routes::{Pair, Route};
use crate::istio::{DestinationRule, VirtualService};

use super::conflict;
use super::context::Scope;
use super::errors::Error;
use super::gather::World;
use super::index::Index;
use super::memory::{Identified, Remembered};
use super::objects::{Deployment, RawBirdWatch};

/// Where a look is taken: the newest objects known, and what is the same for all of them. A model of the cluster has it too.
pub trait Sight {
    /// The newest `BirdWatch` known.
    fn bird_watch(&self, name: &ObjectName) -> Option<Arc<RawBirdWatch>>;
    /// A Deployment.
    fn deployment(&self, name: &ObjectName) -> Option<Arc<Deployment>>;
    /// The newest `VirtualService` known.
    fn virtual_service(&self, name: &ObjectName) -> Option<Arc<VirtualService>>;
    /// The newest `DestinationRule` known.
    fn destination_rule(&self, name: &ObjectName) -> Option<Arc<DestinationRule>>;
    /// Which object concerns whom.
    fn index(&self) -> MutexGuard<'_, Index>;
    /// The times without an operator.
    fn gaps(&self, namespace: &str) -> Vec<Gap>;
    /// The administrator's settings.
    fn settings(&self) -> Settings;
    /// DNS domain of the cluster.
    fn cluster_domain(&self) -> &str;
    /// Everything is given back, and nothing started.
    fn draining(&self) -> bool;
    /// What is wrong with the channel a spec asks for.
    fn warning(&self, spec: &BirdWatchSpec) -> Option<String>;
}

impl Sight for Scope {
    fn bird_watch(&self, name: &ObjectName) -> Option<Arc<RawBirdWatch>> {
        self.bird_watch(name)
    }

    fn deployment(&self, name: &ObjectName) -> Option<Arc<Deployment>> {
        self.deployment(name)
    }

    fn virtual_service(&self, name: &ObjectName) -> Option<Arc<VirtualService>> {
        self.virtual_service(name)
    }

    fn destination_rule(&self, name: &ObjectName) -> Option<Arc<DestinationRule>> {
        self.destination_rule(name)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index()
    }

    fn gaps(&self, namespace: &str) -> Vec<Gap> {
        self.gaps(namespace)
    }

    fn settings(&self) -> Settings {
        self.context.settings
    }

    fn cluster_domain(&self) -> &str {
        &self.context.cluster_domain
    }

    fn draining(&self) -> bool {
        self.context.draining
    }

    fn warning(&self, spec: &BirdWatchSpec) -> Option<String> {
        self.context.deliver.warning(spec)
    }
}

/// One look, with the objects that a decision's effects are made of.
pub struct Look {
    /// Namespace and name.
    pub name: ObjectName,
    /// The newest version known.
    pub object: Arc<RawBirdWatch>,
    /// Its status as stored.
    pub stored: BirdWatchStatus,
    /// Its status to decide from: the stored one, or what was decided from it and not written.
    pub status: BirdWatchStatus,
    /// What a decision may see.
    pub seen: Observation,
    /// Our objects.
    pub objects: Objects,
}

/// Our objects in a namespace.
#[derive(Default)]
pub struct Objects {
    /// What the objects are found by; none where the spec cannot be used.
    pub target: Option<Target>,
    /// The two destinations to look for in routes.
    pub pair: Option<Pair>,
    /// Each `VirtualService` that is there, with our routes in it.
    pub services: Vec<Service>,
    /// The rule, where it is there.
    pub rule: Option<Arc<DestinationRule>>,
}

/// A `VirtualService` and our routes in it.
pub struct Service {
    /// The object.
    pub object: Arc<VirtualService>,
    /// Routes of ours.
    pub routes: Vec<Route>,
}

impl Objects {
    /// Resource versions of the `VirtualService`s.
    #[must_use]
    pub fn service_versions(&self) -> Vec<Option<String>> {
        self.services
            .iter()
            .map(|service| service.object.metadata.resource_version.clone())
            .collect()
    }

    /// Resource version of the rule.
    #[must_use]
    pub fn rule_version(&self) -> Vec<Option<String>> {
        self.rule
            .iter()
            .map(|rule| rule.metadata.resource_version.clone())
            .collect()
    }
}

/// Looks at everything.
///
/// # Errors
/// Status cannot be read.
pub fn look(
    scope: &Scope,
    object: Arc<RawBirdWatch>,
    remembered: &mut Remembered,
    now: Timestamp,
) -> Result<Look, Error> {
    let read = object.read_status().inspect_err(|_| {
        // Nothing is decided on it, and others need the room that its samples take.
        remembered.check = None;
    });
    let stored = remembered.stored(&object, read?);
    let spec = object.read_spec();
    Ok(look_from(scope, object, spec, stored, remembered, now))
}

/// The same, once spec and status are read.
pub fn look_from(
    sight: &impl Sight,
    object: Arc<RawBirdWatch>,
    spec: Result<BirdWatchSpec, String>,
    stored: BirdWatchStatus,
    remembered: &mut Remembered,
    now: Timestamp,
) -> Look {
    let name = object.name();
    let status = remembered.effective(&stored);
    remembered.last_write.get_or_insert(now);
    let mut world = World::default();
    let objects = match decide::target(&status, &spec) {
        Some(target) => {
            let running = status.rollout.as_ref().filter(|rollout| rollout.ended.is_none());
            let kept = running.and_then(|rollout| rollout.kept.host.as_deref());
            world.gather(sight, &name, target, kept)
        }
        None => Objects::default(),
    };
    let seen = observe(sight, &object, spec, world, &objects, remembered, now);
    Look {
        name,
        object,
        stored,
        status,
        seen,
        objects,
    }
}

fn observe(
    sight: &impl Sight,
    object: &RawBirdWatch,
    spec: Result<BirdWatchSpec, String>,
    world: World,
    objects: &Objects,
    remembered: &mut Remembered,
    now: Timestamp,
) -> Observation {
    let World {
        deployments,
        rule,
        production_despite,
        routes,
        route_problems,
        absent,
        other_routes,
        mut warnings,
        rule_outdone,
    } = world;
    warnings.extend(spec.as_ref().ok().and_then(|spec| sight.warning(spec)));
    let paused = match &spec {
        Ok(spec) => spec.paused,
        Err(_) => object.paused(),
    };
    let zero = !routes.is_empty() && routes.iter().all(|route| route.is_at(0));
    let target = objects.target.as_ref();
    let known = |found: &Option<Identified>, versions: Vec<Option<String>>| {
        found
            .as_ref()
            .filter(|found| found.versions == versions)
            .map(|found| found.name.clone())
    };
    Observation {
        name: object.name(),
        generation: object.metadata.generation,
        spec,
        paused,
        deleting: object.metadata.deletion_timestamp.is_some(),
        finalizer: object.has_finalizer(),
        draining: sight.draining(),
        verb: object.verb(),
        conflict: target.and_then(|target| conflict::older(sight, object, target)),
        deployments,
        rule,
        production_despite,
        routes,
        route_problems,
        absent,
        other_routes,
        rule_outdone,
        warnings,
        canary_zero_since: target.and_then(|target| remembered.zero_since(target, zero, now)),
        restore_refused: RestoreRefused {
            weights: remembered.weights_refused == Some(objects.service_versions()),
            label: remembered.label_refused == Some(objects.rule_version()),
        },
        routes_writer: known(&remembered.routes_writer, objects.service_versions()),
        rule_writer: known(&remembered.rule_writer, objects.rule_version()),
        check: remembered.latest_check(now),
        asking: remembered.asking.as_ref().map(|asking| asking.id.clone()),
        gaps: sight.gaps(&object.name().namespace),
        acks: remembered.acks.clone(),
        settings: sight.settings(),
    }
}
