//! What the operator writes: the status of a BirdWatch, which is also the whole memory of its rollout.
//! Types only; `core` decides what is in them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::conditions::Condition;
pub use super::history::{Point, Previous, PreviousMetric};
pub use super::rollout::{
    Baseline, BaselineSource, Failure, FailureReason, HoldClock, Kept, KeptRoute, MetricStatus, Reading,
    Rollout, Verdict,
};

pub(super) fn timestamp_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// Everything a person or a restarted operator needs to know of a BirdWatch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BirdWatchStatus {
    /// `metadata.generation` of the spec this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the rollout is in its life.
    pub phase: Phase,
    /// What is going on and what it waits for, in a sentence for people.
    pub message: String,
    /// How many steps have their weight confirmed, and how many there are, as in `2/5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The canary's confirmed weight in percent, 0 to 100: its share of what our two destinations hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// The canary's version: the value of its version label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// The baseline of the metric that matters most now, in the unit of its query, as people write
    /// numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The last reading of that metric, in the same unit; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What that reading says, in a sentence for people; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<String>,
    /// Conditions of the usual form: Ready, Reconciling and Stalled as kstatus-style tools read them, and
    /// our own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Routes to the service that are left alone, and what may blur or bypass a rollout: the first 20, and how many more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The version last promoted by this BirdWatch; absent before its first promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted_version: Option<String>,
    /// The rollout under way, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The readings of the last rollout before that one; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// How many rollouts this BirdWatch has started, retries included.
    pub attempts: u32,
    /// The versions that were there when this BirdWatch was first seen, or were passed over for a younger
    /// one: they do not start by themselves. Absent before first sight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<Vec<Candidate>>,
    /// Of which pods `known` speaks: their labels and the version label. When the spec names others, all is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_of: Option<String>,
    /// How earlier rollouts ended, the latest last; at most 50. A version in it starts again only on
    /// `retry`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Ended>,
    /// The last value of the annotation `otomato.link/verb` that was acted upon, and what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<VerbStatus>,
    /// Notices not yet delivered, and the thread they belong to.
    pub notices: Notices,
    /// What a newer operator wrote and this one does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Map<String, Value>,
}

/// Where a BirdWatch is in its life.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// Nothing to release.
    #[default]
    Idle,
    /// A canary is wanted and not ready to start.
    Pending,
    /// The baseline is being recorded.
    Baseline,
    /// The canary takes traffic step by step.
    Progressing,
    /// The canary becomes production.
    Promoting,
    /// The last canary became production.
    Promoted,
    /// Traffic goes back to production.
    RollingBack,
    /// The last canary was rolled back.
    RolledBack,
    /// Stopped, traffic left as it is.
    Frozen,
}

impl Phase {
    /// The phase as written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Pending => "Pending",
            Self::Baseline => "Baseline",
            Self::Progressing => "Progressing",
            Self::Promoting => "Promoting",
            Self::Promoted => "Promoted",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Frozen => "Frozen",
        }
    }

    /// Every phase, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Pending,
        Self::Baseline,
        Self::Progressing,
        Self::Promoting,
        Self::Promoted,
        Self::RollingBack,
        Self::RolledBack,
        Self::Frozen,
    ];

    /// Whether a rollout is under way: it has an end still to reach.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(
            self,
            Self::Pending | Self::Baseline | Self::Progressing | Self::Promoting | Self::RollingBack
        )
    }
}

/// One version as a Deployment runs it. What was analysed is what is promoted: all of it must stay the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The version: value of the version label on the Deployment's pod template.
    pub version: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// UID of the Deployment, so that one deleted and made again is another candidate.
    pub uid: String,
    /// The Deployment's `deployment.kubernetes.io/revision`; empty while the Deployment was not yet observed.
    #[serde(default)]
    pub revision: String,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The id of the rollout that ended.
    pub id: String,
    /// What it was to release: version, Deployment and revision.
    pub canary: Candidate,
    /// The version it was to replace.
    #[serde(default)]
    pub production: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, in a sentence for people.
    #[serde(default)]
    pub reason: String,
    /// When it ended.
    #[schemars(schema_with = "timestamp_schema")]
    pub at: Timestamp,
    /// When the canary's version label last had weight; absent where it never had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub had_weight_until: Option<Timestamp>,
    /// Whether production's label was ever sent, written or not: it may arrive late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relabelled: bool,
    /// Whether a person asked to start it again since: then it no longer keeps the candidate from
    /// starting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retried: bool,
}

/// The ends a rollout can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// The canary became production.
    Promoted,
    /// Traffic went back to production.
    RolledBack,
    /// A newer candidate took its place.
    Superseded,
}

/// The last verb acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerbStatus {
    /// The annotation's value, `<verb>/<token>`.
    pub value: String,
    /// The id of the rollout it was bound to; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Whether it was accepted: false where the phase does not allow it.
    pub accepted: bool,
    /// What came of it, or why it was refused, in a sentence for people.
    pub message: String,
    /// When the operator first saw that value.
    #[schemars(schema_with = "timestamp_schema")]
    pub at: Timestamp,
    /// Values that were seen before it, the latest last, at most 50: none of them acts again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
}

/// Notices not yet delivered, and the thread they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Notices {
    /// Number that the next notice gets; each BirdWatch counts its own.
    pub next: i64,
    /// Notices that wait for Slack, oldest first; at most 60, of which at most 20 of steps, starts and verbs, which give way first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Notice>,
    /// The Slack threads of the latest rollouts, the present one last; at most 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<Thread>,
    /// When people were last told of a condition of the present rollout, by its type and reason as in `Blind/Unknown`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub told: BTreeMap<String, Timestamp>,
    /// How many notices nobody is told of any more: too many waited, or Slack will never take them.
    pub lost: i64,
}

/// A message to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Number of the notice, unique in this BirdWatch.
    pub id: i64,
    /// The id of the rollout it speaks of.
    pub rollout: String,
    /// What kind of message it is.
    pub kind: NoticeKind,
    /// The text for people, not yet escaped for Slack; at most 1500 characters.
    pub text: String,
    /// When it was recorded.
    #[schemars(schema_with = "timestamp_schema")]
    pub at: Timestamp,
}

/// The kinds of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NoticeKind {
    /// A rollout starts.
    Started,
    /// A step begins.
    Step,
    /// The canary was judged unhealthy.
    Unhealthy,
    /// Stopped, traffic left as it is.
    Frozen,
    /// Traffic is back.
    RolledBack,
    /// The canary is production.
    Promoted,
    /// Prometheus says nothing.
    Blind,
    /// Something waits for people or for pods.
    Held,
    /// Somebody else writes to our objects.
    Conflict,
    /// Production has no pod to go back to.
    ProductionUnavailable,
    /// A newer candidate takes over.
    Superseded,
    /// The spec cannot be used.
    SpecInvalid,
    /// The production label was turned back.
    ProductionReverted,
    /// A person did something.
    Verb,
}

/// Where the messages of one rollout are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Thread {
    /// The id of the rollout it is about.
    pub rollout: String,
    /// Slack channel that the rollout's plan asked for, allowed or not; absent: the administrator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_channel: Option<String>,
    /// Slack channel that the first message was sent to, as it was named then; absent before it, and where an operator before this version opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_in: Option<String>,
    /// Id of the channel as Slack gave it, as in `C0123456789`; empty before the first message.
    pub channel: String,
    /// Slack's timestamp of the parent message, which identifies the thread; empty before it.
    pub ts: String,
    /// The text of the parent message as last delivered.
    pub shown: String,
}
