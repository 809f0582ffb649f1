//! One rollout as status keeps it: what it releases, its plan, how far it is, and what each metric said.
//! Types only; `core` decides what is in them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::duration::Span;
use super::evidence::{Alarm, Counted};
use super::history::Point;
use super::plan::Plan;
use super::status::{Candidate, timestamp_schema};

/// One attempt to move from production to one canary version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Rollout {
    /// Id of this attempt, made of the version and a suffix; messages name it too.
    pub id: String,
    /// What is released: version, Deployment and revision. If one changes, the rollout starts again.
    pub canary: Candidate,
    /// What it is to replace. `uid` is empty when no Deployment of production's version was found.
    pub production: Candidate,
    /// The resolved plan: the spec with every default filled in.
    pub plan: Plan,
    /// When this attempt started.
    #[schemars(schema_with = "timestamp_schema")]
    pub started: Timestamp,
    /// When this attempt ended; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub ended: Option<Timestamp>,
    /// The clock of the present wait: for availability while Pending, the hold while Progressing.
    pub clock: HoldClock,
    /// When, before the first raise, the canary last had weight: a person's, or a raise that was taken back. Queries look back on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub had_weight_at: Option<Timestamp>,
    /// When the canary subset was seen to point at the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub canary_label_at: Option<Timestamp>,
    /// When the production subset was seen to point at the canary: no way back from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub production_label_at: Option<Timestamp>,
    /// How many steps have their weight confirmed: 0 before the first, then the number of the present
    /// step.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub step: u32,
    /// What the sequential metrics, who share one budget for false alarms, have come to.
    #[serde(default)]
    pub alarm: Alarm,
    /// The canary's weight in percent that status stands for, 0 to 100: written next, or confirmed
    /// already.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub intended: u8,
    /// The canary's weight in percent, 0 to 100, that the routes were last known to have by our hand.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub confirmed: u8,
    /// When the confirmed weight was confirmed, by the server's answer or a watch: the step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub confirmed_at: Option<Timestamp>,
    /// Whether a raise was ever written, confirmed or not: the canary may have had traffic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raised: bool,
    /// Whether production's label was ever sent, written or not: it may arrive late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relabelled: bool,
    /// How long this step is held, as in `2m`: what the spec asks, or longer so that the queries see this
    /// step alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Span>,
    /// Why the step is held longer than asked, in a sentence; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_reason: Option<String>,
    /// What each metric of the plan says, in the order of the plan.
    #[serde(default)]
    pub metrics: Vec<MetricStatus>,
    /// When the last check was asked of Prometheus; where none counts yet, since when one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub last_check: Option<Timestamp>,
    /// Verdict of the last check: the worst of its metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Verdict")]
    pub verdict: Option<Verdict>,
    /// Whether a person asked for promotion; it happens as soon as there are pods for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promote_asked: bool,
    /// Why the canary goes back, or why the rollout stopped; absent where nothing failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What our objects held before the rollout touched them: put back when the BirdWatch is deleted.
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
    /// Time served before `since`, as in `45s`.
    pub served: Span,
    /// Since when the clock runs; absent while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub since: Option<Timestamp>,
}

/// Why a rollout goes back, or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What happened, as a word for programs.
    pub reason: FailureReason,
    /// What happened, in a sentence for people, with the numbers it was judged by.
    pub message: String,
    /// When it was judged so.
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
    /// The metric's name, as in the plan.
    pub name: String,
    /// What readings are compared with; absent before it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Production's last reading while it had traffic, in the unit of the query; only with `compareTo:
    /// production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<f64>,
    /// Readings gathered so far for a baseline of several samples, in the unit of the query; empty once
    /// it is recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// The last reading of this metric; absent before the first check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Reading>,
    /// What the last check says of this metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Verdict")]
    pub verdict: Option<Verdict>,
    /// The latest checks that were not unknown, oldest first: `g` good, `b` bad; at most `of` letters.
    pub window: String,
    /// What a sequential test has counted; absent for other metrics, and before the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// Since when each check of this metric was unknown; absent where the last one was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub unknown_since: Option<Timestamp>,
    /// Earlier readings, oldest first, spread over the rollout; the first, the last and changes of verdict stay; at
    /// most 60.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Point>,
}

/// The reading recorded before any traffic moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// The value in the unit of the query: the median of the samples.
    pub value: f64,
    /// How far samples stray, in the unit of the query: 1.4826 times their median distance from the
    /// value; 0 for one sample.
    #[serde(default)]
    pub spread: f64,
    /// How many samples it was made of, 1 to 100.
    #[schemars(with = "i32")]
    pub samples: u32,
    /// How it was taken.
    pub source: BaselineSource,
    /// When its last sample was asked for.
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
    /// The value in the unit of the query, divided by requests per second with `per: request`; absent
    /// when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The value it was compared with, in the same unit; absent where only `min` or `max` count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<f64>,
    /// The highest value that is not bad, in the same unit; absent where there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// The lowest value that is not bad, in the same unit; absent where there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// What the reading says, in a sentence for people.
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
    /// The weights our routes had, an entry for each route.
    pub routes: Vec<KeptRoute>,
    /// The version that the canary subset's label named; absent where it had no such label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_label: Option<String>,
    /// The host of the DestinationRule, as it was written: by it our routes are found until the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// The weights a route had; absent where it had none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptRoute {
    /// The route as messages name it, as in `shop/http[main]`: its VirtualService, kind and name.
    pub route: String,
    /// Weight of the production destination, 0 to 100; absent where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<i64>,
    /// Weight of the canary destination, 0 to 100; absent where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<i64>,
    /// It came in while the rollout was under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined: bool,
}
