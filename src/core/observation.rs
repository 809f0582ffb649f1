//! What the world looks like to one decision: plain data that the shell gathers. It judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::plan::Plan;
use crate::api::spec::Level;
use crate::api::status::Rollout;
use crate::api::{BirdWatchSpec, Span};

pub use super::samples::{Keeper, SampleSet};
use super::sequential::counters::Counted;

/// Who wrote something that only we own up to: another replica of this operator, or this one before a crash or a lost answer.
pub const OURSELVES: &str = "this operator, before it was restarted,";

/// Everything a decision may look at besides status and the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Namespace and name of the `BirdWatch`.
    pub name: ObjectName,
    /// `metadata.generation` of the `BirdWatch`.
    pub generation: Option<i64>,
    /// The spec, or why it cannot be read.
    pub spec: Result<BirdWatchSpec, String>,
    /// `spec.paused`, where it alone can be read.
    pub paused: Option<bool>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Our finalizer is there.
    pub finalizer: bool,
    /// The operator gives all traffic back and starts nothing (`birdwatch drain`).
    pub draining: bool,
    /// The verb annotation, as written.
    pub verb: Option<String>,
    /// Name of the older `BirdWatch` that acts on the same objects.
    pub conflict: Option<String>,
    /// Deployments that match the selector of the target in force.
    pub deployments: Vec<DeploymentSeen>,
    /// The `DestinationRule` of the target in force, or what is wrong with it, naming object and field.
    pub rule: Result<RuleSeen, String>,
    /// What production's subset points at where `rule` is an error for another reason; none where that is not known.
    pub production_despite: Option<String>,
    /// Our routes in the `VirtualServices` of the target in force.
    pub routes: Vec<RouteSeen>,
    /// What is wrong with the `VirtualServices` or their routes: nothing is raised until it is mended.
    pub route_problems: Vec<String>,
    /// Names of `VirtualServices` of the target in force that are not there.
    pub absent: Vec<String>,
    /// Routes that hold one of the subsets only: left alone, named in status.
    pub other_routes: Vec<String>,
    /// Why Istio does not go by the rule: an older one has a subset of ours.
    pub rule_outdone: Option<String>,
    /// What may blur or bypass the rollout: said, never acted upon.
    pub warnings: Vec<String>,
    /// Since when this operator sees weight 0 for the canary on every route of ours.
    pub canary_zero_since: Option<Timestamp>,
    /// What the API server refused to give its former value: it stays as it is.
    pub restore_refused: RestoreRefused,
    /// Who last wrote the routes, once the server was asked and what is seen is what it had.
    pub routes_writer: Option<String>,
    /// Who last wrote the rule, once asked for.
    pub rule_writer: Option<String>,
    /// The latest finished check.
    pub check: Option<Check>,
    /// The check being asked now.
    pub asking: Option<CheckId>,
    /// Times without any operator, as the lease tells, and times over which the clock was set; oldest first.
    pub gaps: Vec<Gap>,
    /// What became of notices since the last decision.
    pub acks: Vec<NoticeAck>,
    /// The administrator's settings.
    pub settings: Settings,
}

impl Observation {
    /// Of a `BirdWatch` of which nothing else is seen: no Deployment, no rule, no route, and nobody who does anything.
    #[must_use]
    pub fn bare(name: ObjectName, spec: BirdWatchSpec, settings: Settings) -> Self {
        Self {
            name,
            generation: Some(1),
            spec: Ok(spec),
            paused: None,
            deleting: false,
            finalizer: false,
            draining: false,
            verb: None,
            conflict: None,
            deployments: Vec::new(),
            rule: Err("there is none".to_owned()),
            production_despite: None,
            routes: Vec::new(),
            route_problems: Vec::new(),
            absent: Vec::new(),
            other_routes: Vec::new(),
            rule_outdone: None,
            warnings: Vec::new(),
            canary_zero_since: None,
            restore_refused: RestoreRefused::default(),
            routes_writer: None,
            rule_writer: None,
            check: None,
            asking: None,
            gaps: Vec::new(),
            acks: Vec::new(),
            settings,
        }
    }
}

/// Namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// What cannot be given back; one of them does not keep the other from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreRefused {
    /// The weights of the routes.
    pub weights: bool,
    /// The label of the canary subset.
    pub label: bool,
}

/// The administrator's settings a decision needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often Prometheus scrapes.
    pub scrape_interval: Span,
    /// How long the mesh needs to learn of a label or a weight.
    pub propagation_delay: Span,
    /// Longest time for one check's queries.
    pub query_timeout: Span,
    /// The most that people are told; absent where there is nobody to tell.
    pub notify: Option<Level>,
}

/// A Deployment of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentSeen {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The pod template's version label.
    pub version: Option<String>,
    /// `deployment.kubernetes.io/revision`, only when observedGeneration = generation.
    pub revision: Option<String>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `spec.replicas`, 1 where absent.
    pub replicas: i32,
    /// `status.replicas`.
    pub current: i32,
    /// `status.updatedReplicas`.
    pub updated: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// What keeps its pods out of our subsets, whatever their version.
    pub lacks: Lacks,
}

/// Labels that our subsets ask for besides the version, and that pods lack: the first of each, as `track=stable`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Of the production subset.
    pub production: Option<String>,
    /// Of the canary subset.
    pub canary: Option<String>,
}

/// The two labels of the `DestinationRule`'s subsets; `None` where the subset has no version label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSeen {
    /// Version label of the production subset.
    pub production: Option<String>,
    /// Version label of the canary subset.
    pub canary: Option<String>,
    /// Whose subsets they are, as written.
    pub host: Option<String>,
}

/// A route of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSeen {
    /// Names the route across reads: `VirtualService`, kind, and its name or its place among ours.
    pub key: String,
    /// Weight of the production destination as written.
    pub production: Option<i64>,
    /// Weight of the canary destination as written.
    pub canary: Option<i64>,
    /// What both hold together.
    pub total: i64,
}

/// A look at all metrics, finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What it was asked for.
    pub id: CheckId,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// An answer for each question, in the order of the questions.
    pub answers: Vec<Answer>,
    /// An answer for each question about samples, in the order of those.
    pub samples: Vec<SampleAnswer>,
    /// Time between two scrapes.
    pub scrape: Span,
}

/// A question for the raw samples of counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleQuestion {
    /// The metric's name.
    pub metric: String,
    /// The version it is asked of.
    pub side: Side,
    /// What its series count; absent where their labels say it.
    pub counted: Option<Counted>,
    /// A selector with its range, its variables filled in.
    pub query: String,
    /// Names to look up where no series answers: the metric, with the labels that the selector looks at.
    pub names: BTreeMap<String, BTreeSet<String>>,
    /// From when on requests are to be counted, exclusive.
    pub from: Timestamp,
    /// Up to when, and the moment to ask for.
    pub at: Timestamp,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleAnswer {
    /// As asked.
    pub metric: String,
    /// As asked.
    pub side: Side,
    /// As asked.
    pub counted: Option<Counted>,
    /// As asked.
    pub from: Timestamp,
    /// As asked.
    pub at: Timestamp,
    /// The series, none where nothing counts; or why they are not known.
    pub outcome: Result<SampleSet, String>,
    /// Of an answer without series, those of its names that Prometheus has never heard of; `Err`: they could not be looked up.
    pub unknown_names: Result<Vec<String>, String>,
}

/// One counter's samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleSeries {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its samples, oldest first.
    pub samples: Vec<(Timestamp, f64)>,
}

/// What a check is asked for: readings of one step, or of one plan, say nothing about another.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckId {
    /// The rollout.
    pub rollout: String,
    /// Confirmed steps at that time.
    pub step: u32,
    /// The plan at that time: an edit whose write failed was asked for too, and no count tells it from the next.
    pub plan: Plan,
}

impl CheckId {
    /// The check that the rollout may ask now.
    #[must_use]
    pub fn of(rollout: &Rollout) -> Self {
        Self {
            rollout: rollout.id.clone(),
            step: rollout.step,
            plan: rollout.plan.clone(),
        }
    }
}

/// One question to Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The metric's name.
    pub metric: String,
    /// The version it is asked of.
    pub side: Side,
    /// The query with its variables filled in.
    pub query: String,
    /// The query of the version's requests per second, averaged over the query's longest range.
    pub traffic: String,
    /// The query answers even where its metrics do not exist (`… or vector(0)`): its names are looked up in any case,
    /// and it counts as empty where one is unknown.
    pub hides_absence: bool,
    /// A selector of the query names no metric: an empty answer cannot be told from a misspelt query.
    pub unnamed: bool,
    /// Whether the traffic is needed in any case, and not only to understand an empty answer.
    pub per_request: bool,
    /// Every metric name of the query with the label names of its selectors: an empty answer counts only
    /// when Prometheus knows all of them.
    pub names: BTreeMap<String, BTreeSet<String>>,
}

/// Whom a question is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The version in production.
    Production,
    /// The canary.
    Canary,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Production => "production",
            Self::Canary => "canary",
        })
    }
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The metric's name.
    pub metric: String,
    /// The version it was asked of.
    pub side: Side,
    /// What Prometheus said.
    pub outcome: Outcome,
    /// Requests per second of that version, where asked; `Err` says why unknown.
    pub traffic: Option<Result<f64, String>>,
}

/// What Prometheus said.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// One value or several; NaN and infinities included.
    Series(Vec<Point>),
    /// No series. `unknown_names` are those Prometheus has never heard of; `Err`: they could not be looked up.
    Empty {
        /// Metric names, or labels as `metric{label}`.
        unknown_names: Result<Vec<String>, String>,
    },
    /// No answer that says something, and why.
    Failed(String),
}

/// One series' value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its labels as people write them; empty for a sole series without any.
    pub labels: String,
    /// Its value.
    pub value: f64,
}

/// A time in which nobody was there to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last instant an operator was certainly there.
    pub from: Timestamp,
    /// When one was there again.
    pub to: Timestamp,
}

/// What became of a message to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeAck {
    /// The parent message of a rollout stands, with this text.
    Parent {
        /// The rollout.
        rollout: String,
        /// Channel as Slack identifies it.
        channel: String,
        /// The same as it was named when the message was sent, where that is known.
        opened_in: Option<String>,
        /// Timestamp of the message.
        ts: String,
        /// What it shows.
        text: String,
    },
    /// The parent message of a rollout is not taken, and not tried again.
    ParentRefused {
        /// The rollout.
        rollout: String,
    },
    /// The notice was delivered.
    Delivered {
        /// The rollout it speaks of.
        rollout: String,
        /// Its id.
        id: i64,
    },
    /// The notice was refused for good.
    Refused {
        /// The rollout it speaks of.
        rollout: String,
        /// Its id.
        id: i64,
        /// Why.
        reason: String,
    },
    /// Deliveries fail for now, and are retried.
    Failing {
        /// The rollout they speak of.
        rollout: String,
        /// Why.
        reason: String,
    },
}

impl NoticeAck {
    /// The rollout it speaks of.
    #[must_use]
    pub fn rollout(&self) -> &str {
        match self {
            Self::Parent { rollout, .. }
            | Self::ParentRefused { rollout }
            | Self::Delivered { rollout, .. }
            | Self::Refused { rollout, .. }
            | Self::Failing { rollout, .. } => rollout,
        }
    }
}
