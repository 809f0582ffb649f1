//! What there is to look at before traffic moves: plain data that the shell gathers from files, a cluster and
//! Prometheus. It judges nothing.

use std::collections::BTreeMap;

use crate::api::plan::Target;
use crate::api::{BirdWatchSpec, Span};
use crate::core::observation::{Answer, DeploymentSeen, ObjectName};
use crate::core::sequential::policy::Timing;

use super::Finding;

/// Something that was looked at; `Err` says why it could not be.
pub type Seen<T> = Result<T, String>;

/// Things of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// Those that were found.
    pub found: Vec<T>,
    /// These are all there are; `Err`: there may be others, and why they were not looked at.
    pub whole: Seen<()>,
}

impl<T> Listed<T> {
    /// None was found, and why nobody knows whether there are any.
    #[must_use]
    pub fn unseen(why: &str) -> Self {
        Self {
            found: Vec::new(),
            whole: Err(why.to_owned()),
        }
    }
}

/// Everything that a preflight looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// Namespace and name of the `BirdWatch`.
    pub name: ObjectName,
    /// What is wrong with the document that it was read from.
    pub document: Vec<Finding>,
    /// Its spec, or why it cannot be read.
    pub spec: Result<BirdWatchSpec, String>,
    /// A rollout is under way or frozen: weights are the operator's now.
    pub under_way: bool,
    /// How often Prometheus scrapes.
    pub scrape_interval: Span,
    /// How long a change of weight takes to be known everywhere.
    pub propagation_delay: Span,
    /// `VirtualService`s: those of the spec, and others that send to the same host.
    pub virtual_services: Listed<VirtualServiceFacts>,
    /// The `DestinationRule` of the spec; `None`: there is none.
    pub rule: Seen<Option<RuleFacts>>,
    /// Deployments that match the selector.
    pub deployments: Listed<DeploymentFacts>,
    /// Pods that match the selector and run.
    pub pods: Listed<PodFacts>,
    /// The Service of the host; `None`: there is none.
    pub service: Seen<Option<ServiceFacts>>,
    /// Labels of the namespace.
    pub namespace_labels: Seen<BTreeMap<String, String>>,
    /// The other `BirdWatch`es of the namespace.
    pub peers: Listed<Peer>,
    /// What the operator may do.
    pub rights: Seen<Vec<Right>>,
    /// What Prometheus says of each metric of the plan.
    pub metrics: Seen<Vec<MetricFacts>>,
    /// What Prometheus says of production's traffic.
    pub traffic: Seen<TrafficFacts>,
    /// What production's counters say of each sequential metric of the plan.
    pub counters: Seen<Vec<CountersFacts>>,
}

impl Inventory {
    /// What the length of a step depends on.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        Timing {
            scrape_interval: self.scrape_interval,
            propagation_delay: self.propagation_delay,
        }
    }

    /// A `BirdWatch` of which nothing but the spec was looked at, and why.
    #[must_use]
    pub fn new(name: ObjectName, spec: Result<BirdWatchSpec, String>, why: &str) -> Self {
        Self {
            name,
            document: Vec::new(),
            spec,
            under_way: false,
            scrape_interval: Span::secs(15),
            propagation_delay: Span::secs(5),
            virtual_services: Listed::unseen(why),
            rule: Err(why.to_owned()),
            deployments: Listed::unseen(why),
            pods: Listed::unseen(why),
            service: Err(why.to_owned()),
            namespace_labels: Err(why.to_owned()),
            peers: Listed::unseen(why),
            rights: Err(why.to_owned()),
            metrics: Err(why.to_owned()),
            traffic: Err(why.to_owned()),
            counters: Err(why.to_owned()),
        }
    }
}

/// Metadata in which other operators leave marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its owners, as `flagger.app/v1beta1 Canary "shop"`.
    pub owners: Vec<String>,
    /// Who manages the fields that a rollout writes, by their own names.
    pub managers: Vec<String>,
}

/// A `VirtualService`, as far as it concerns our host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualServiceFacts {
    /// Its namespace and name.
    pub name: ObjectName,
    /// Routes that hold both subsets.
    pub routes: Vec<RouteFacts>,
    /// Routes to our host that do not.
    pub others: Vec<OtherRoute>,
    /// What keeps a route from being ours.
    pub problems: Vec<RouteProblem>,
    /// `spec.gateways`; empty: the mesh.
    pub gateways: Vec<String>,
    /// Its metadata.
    pub meta: Meta,
}

impl VirtualServiceFacts {
    /// Whether it sends anything to our host.
    #[must_use]
    pub fn sends(&self) -> bool {
        !self.routes.is_empty() || !self.others.is_empty()
    }
}

/// A route that holds both subsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFacts {
    /// `http[main]`, or by its place as in `tcp[0]`.
    pub label: String,
    /// Whether it is in the list `http`.
    pub is_http: bool,
    /// The canary's weight.
    pub canary: i64,
    /// What both hold together.
    pub total: i64,
    /// Retries, where the route asks for any.
    pub retries: Option<Retries>,
    /// What is injected into it: `abort`, `delay` or both.
    pub faults: Vec<String>,
}

/// Retries of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// How often a request is sent again.
    pub attempts: i64,
    /// `retryOn` as written; empty: Istio's default.
    pub on: String,
}

/// A route to our host that is not ours to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRoute {
    /// `http[header]`, or by its place as in `tcp[0]`.
    pub label: String,
    /// Which of our destinations it has.
    pub holds: Holds,
}

/// Which of our destinations a route has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The production subset alone.
    ProductionOnly,
    /// The canary subset alone.
    CanaryOnly,
    /// The host without a subset.
    NoSubset,
    /// A copy of its requests goes to the canary subset.
    CanaryMirror,
}

/// What keeps a route from being ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteProblem {
    /// Of which kind it is.
    pub kind: RouteProblemKind,
    /// A sentence that names object and field.
    pub text: String,
}

/// Kinds of problems with routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteProblemKind {
    /// No route has either subset.
    NoRoute,
    /// A route has one subset, and none has both.
    OneSubset,
    /// Something cannot be read, or is there twice.
    Unusable,
}

/// The `DestinationRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleFacts {
    /// Full name of its host; `None` where it cannot be read.
    pub host: Option<String>,
    /// The production subset.
    pub production: SubsetFacts,
    /// The canary subset.
    pub canary: SubsetFacts,
    /// Why a subset or the host is missing.
    pub problems: Vec<RuleProblem>,
    /// Other rules for the host that have one of our subsets too.
    pub beside: Vec<String>,
    /// Its metadata.
    pub meta: Meta,
}

/// Why a subset or the host is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// It is about a subset.
    pub of_subset: bool,
    /// A sentence that names object and field.
    pub text: String,
}

/// What a subset says of its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubsetFacts {
    /// There is no such subset, or it cannot be read.
    #[default]
    Missing,
    /// It has no version label.
    Unlabelled,
    /// The value of the version label.
    Version(String),
}

impl SubsetFacts {
    /// The version, where it names one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Version(version) => Some(version),
            Self::Missing | Self::Unlabelled => None,
        }
    }
}

/// A Deployment of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentFacts {
    /// What a decision sees of it.
    pub seen: DeploymentSeen,
    /// It comes with a status: its availability is known.
    pub has_status: bool,
    /// Its containers, as name and image.
    pub images: Vec<(String, String)>,
    /// The pod template holds a proxy already.
    pub has_proxy: bool,
    /// Its pods share their node's network.
    pub host_network: bool,
    /// Labels of the pod template.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of the pod template.
    pub pod_annotations: BTreeMap<String, String>,
    /// Its metadata.
    pub meta: Meta,
}

/// A running pod of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its version label.
    pub version: Option<String>,
    /// It has a proxy, as a container or as a native sidecar.
    pub has_proxy: bool,
}

/// The Service of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Labels of the pods it finds.
    pub selector: BTreeMap<String, String>,
    /// It has no address of its own: callers dial pods.
    pub is_headless: bool,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its number.
    pub number: i64,
    /// `appProtocol`, where given.
    pub app_protocol: Option<String>,
    /// It is no TCP port: no proxy reads it.
    pub is_udp: bool,
}

/// Another `BirdWatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// What it acts upon.
    pub target: Target,
    /// Full name of the host of its rule, where that is known.
    pub host: Option<String>,
    /// Whether it is the older of the two, so that it acts; `None`: nobody knows.
    pub is_older: Option<bool>,
}

/// Something the operator needs to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Right {
    /// Whom the right is for: `system:serviceaccount:birdwatch:birdwatch`.
    pub user: String,
    /// `patch`
    pub verb: String,
    /// `virtualservices.networking.istio.io`
    pub resource: String,
    /// Whether it is allowed.
    pub allowed: bool,
}

/// What Prometheus says of one metric, asked as for a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFacts {
    /// The answer to its query now.
    pub answer: Answer,
    /// Its readings of the last hour, the worst series of each moment, oldest first, in the unit of the limits.
    pub hour: Seen<Vec<f64>>,
}

/// What Prometheus says of production's traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficFacts {
    /// Requests per second to production, over the last minutes.
    pub requests_per_second: f64,
    /// Requests per second from within the mesh, gateways left out.
    pub from_mesh: Seen<f64>,
}

/// What production's counters say of a sequential metric, counted as at the start of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct CountersFacts {
    /// The metric's name.
    pub metric: String,
    /// What they say, or why they cannot be counted.
    pub counted: Seen<CountedFacts>,
    /// The bound of the histogram above which requests are slow, as its label `le` has it.
    pub bound: Option<String>,
}

/// Counters that can be counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountedFacts {
    /// Requests per second to production.
    pub requests_per_second: f64,
    /// Production's share of bad requests, 0 to 1.
    pub production_bad: f64,
    /// phi: how much more bad requests scatter than chance makes them, at least 1.
    pub dispersion: f64,
    /// Further checks at the limit before a canary is unhealthy.
    pub confirmations: u32,
}
