//! One rollout as status keeps it: what it releases, its plan, how far it is, and what each metric said.
//! Types only; `core` decides what is in them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::duration::Span;
use super::plan::Plan;
use super::status::{Candidate, timestamp_schema};

/// One attempt to move from production to one canary version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Rollout {
    /// Names this attempt, in messages too.
    pub id: String,
    /// What is released.
    pub canary: Candidate,
    /// What it is to replace. `uid` is empty when no Deployment of production's version was found.
    pub production: Candidate,
    /// The resolved plan.
    pub plan: Plan,
    /// When the rollout started.
    #[schemars(schema_with = "timestamp_schema")]
    pub started: Timestamp,
    /// When it ended; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub ended: Option<Timestamp>,
    /// The clock of the present wait: for availability while Pending, the hold while Progressing.
    pub clock: HoldClock,
    /// When the canary subset was seen to point at the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub canary_label_at: Option<Timestamp>,
    /// When the production subset was seen to point at the canary: no way back from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub production_label_at: Option<Timestamp>,
    /// How many steps have their weight confirmed, 0 before the first.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub step: u32,
    /// The canary's weight in percent that status stands for: written next, or confirmed already.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub intended: u8,
    /// The canary's weight in percent that the routes were last known to have by our hand.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub confirmed: u8,
    /// When that was confirmed: the step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub confirmed_at: Option<Timestamp>,
    /// How long this step is held, settling included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Span>,
    /// Why the step is held longer than asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_reason: Option<String>,
    /// What each metric says.
    #[serde(default)]
    pub metrics: Vec<MetricStatus>,
    /// When the last check was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub last_check: Option<Timestamp>,
    /// Verdict of the last check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Verdict")]
    pub verdict: Option<Verdict>,
    /// A person asked for promotion; it happens as soon as there are pods for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promote_asked: bool,
    /// Why the canary goes back, or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What our objects held before the rollout touched them.
    #[serde(default)]
    pub kept: Kept,
    /// What a newer operator wrote and this one does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Map<String, Value>,
}

/// A clock that runs, or stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldClock {
    /// Time served before `since`.
    pub served: Span,
    /// Running since; absent while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub since: Option<Timestamp>,
}

/// Why a rollout goes back, or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What happened, for programs.
    pub reason: FailureReason,
    /// What happened, for people.
    pub message: String,
    /// When it was judged.
    #[schemars(schema_with = "timestamp_schema")]
    pub at: Timestamp,
}

/// What ends a rollout before promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureReason {
    /// A metric is beyond its limit.
    MetricUnhealthy,
    /// A metric stayed unknown, and the spec says that is unhealthy.
    MetricUnknown,
    /// The canary did not become available in time.
    DeadlineExceeded,
    /// The canary's pods are gone.
    CanaryUnavailable,
    /// A person said `rollback`.
    RollbackAsked,
    /// A person said `retry` while it was frozen.
    RetryAsked,
    /// Somebody lowered the canary's weight.
    WeightLowered,
    /// Somebody changed a subset's label.
    LabelChanged,
    /// Another candidate takes its place, or this one changed.
    Superseded,
    /// The spec asks for something else.
    SpecChanged,
    /// Another BirdWatch acts on the same objects.
    Conflict,
    /// The BirdWatch is being deleted, or the operator gives everything back.
    Deleted,
}

/// What a metric says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricStatus {
    /// The metric's name.
    pub name: String,
    /// What readings are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Production's last reading while it had traffic, where that is what readings are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<f64>,
    /// Readings gathered for a baseline of several samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// The last reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Reading>,
    /// Verdict of the last check.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Verdict")]
    pub verdict: Option<Verdict>,
    /// The latest checks that said something, oldest first: `g` good, `b` bad.
    pub window: String,
    /// Unknown since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub unknown_since: Option<Timestamp>,
}

/// The reading recorded before any traffic moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// The value: the median of the samples.
    pub value: f64,
    /// 1.4826 times the median distance of the samples from it.
    #[serde(default)]
    pub spread: f64,
    /// How many samples it was made of.
    #[schemars(with = "i32")]
    pub samples: u32,
    /// How it was taken.
    pub source: BaselineSource,
    /// When.
    #[schemars(schema_with = "timestamp_schema")]
    pub at: Timestamp,
}

/// How a baseline was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BaselineSource {
    /// The query answered.
    Measured,
    /// The query had no answer because the canary had no traffic; 0 was assumed.
    AssumedZero,
}

/// One metric's value at one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// The value; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The value it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<f64>,
    /// The highest value that is not bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// The lowest value that is not bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// What it says, in a sentence.
    #[serde(default)]
    pub message: String,
    /// When the query was asked.
    #[schemars(schema_with = "timestamp_schema")]
    pub at: Timestamp,
}

/// What a reading, or a check, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Within every limit.
    Good,
    /// Beyond a limit, not often enough to act.
    Bad,
    /// Beyond a limit often enough: the canary goes.
    Unhealthy,
    /// It says nothing.
    Unknown,
}

/// What our objects held before a rollout touched them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// Weights, a route each.
    pub routes: Vec<KeptRoute>,
    /// The canary subset's label; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_label: Option<String>,
}

/// The weights a route had; absent where it had none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptRoute {
    /// The route, as status names it.
    pub route: String,
    /// Weight of the production destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<i64>,
    /// Weight of the canary destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<i64>,
}
