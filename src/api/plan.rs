//! The resolved plan of a rollout, as kept in status: what the spec says with every default filled in.
//! Types only; `core::plan` makes them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Span;
use super::spec::{CompareTo, Direction, IfUnhealthy, IfUnknown, Level, Settle};

/// Everything a rollout needs to know of its spec; nothing in it is left to guess.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What is released, and through which objects.
    pub target: Target,
    /// The version asked for; without one, a version that appears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_version: Option<String>,
    /// The metrics to judge by, at least one.
    pub metrics: Vec<MetricPlan>,
    /// The steps with strictly rising weights; the last is 100 unless `maxWeight` cuts the list short.
    pub steps: Vec<StepPlan>,
    /// The highest weight in percent, 1 to 99, where the steps end below 100: there the rollout waits for
    /// the verb `promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_weight: Option<u8>,
    /// Time between checks, as in `10s`, 1 s to 720 h; absent: each step's hold within 1 s and 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<Span>,
    /// Shortest time from a change of weight to a passing check: `auto`, or a duration as in `30s`.
    #[serde(default)]
    pub settle: Settle,
    /// Part of its share of production's replicas that the canary must have before a raise, 0 to 1.
    pub min_capacity: f64,
    /// How long the canary may take to become available, as in `10m`.
    pub progress_deadline: Span,
    /// What to do with an unhealthy canary: send its traffic back, or leave it as it is.
    pub if_unhealthy: IfUnhealthy,
    /// The Slack channel, by name or id; absent: the administrator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// How much people are told; absent: as the administrator says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Level")]
    pub level: Option<Level>,
    /// Name of the administrator's Prometheus server to ask; absent: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
}

/// What is released, and through which objects. A change of it starts a rollout again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the service that is released.
    pub service: String,
    /// Labels by which the service's Deployments are found, on their pod templates.
    pub selector: BTreeMap<String, String>,
    /// Key of the label that holds the version.
    pub version_label: String,
    /// Name of the subset that serves production.
    pub production_subset: String,
    /// Name of the subset that serves the canary.
    pub canary_subset: String,
    /// Names of the VirtualServices whose routes move.
    pub virtual_services: Vec<String>,
    /// Name of the DestinationRule with the two subsets.
    pub destination_rule: String,
}

/// A weight in percent and how long it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepPlan {
    /// The canary's weight in percent, 1 to 100.
    #[schemars(with = "i32")]
    pub weight: u8,
    /// How long the weight is held at least, as in `2m`, 1 s to 720 h.
    pub hold: Span,
}

/// One metric with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricPlan {
    /// Name of the metric, unique in its list.
    pub name: String,
    /// The PromQL query, its variables not yet filled in.
    pub query: String,
    /// Which way is worse than what a reading is compared with.
    pub direction: Direction,
    /// How far from the compared value a reading may be; absent where only `min` or `max` count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Deviation>,
    /// Readings below this are bad whatever the baseline, in the unit of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Readings above this are bad whatever the baseline, in the unit of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// What a reading is compared with.
    pub compare_to: CompareTo,
    /// How many readings make the baseline, 1 to 100.
    pub samples: u32,
    /// How many bad checks make the metric unhealthy, 1 to `of`.
    pub failures: u32,
    /// How many of the latest checks count, 1 to 100.
    pub of: u32,
    /// Whether each reading is divided by the requests per second of the version asked about.
    #[serde(default)]
    pub per_request: bool,
    /// The user's own query of requests per second; absent: Istio's request counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,
    /// What it means when the metric stays unknown.
    pub if_unknown: IfUnknown,
    /// How long the metric may be unknown before that counts, as in `5m`.
    pub unknown_for: Span,
    /// What `$(window)` in the query stands for, as in `1m`.
    pub window: Span,
}

/// How far a reading may be from what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deviation {
    /// How far, 0 or more: in the unit of the query, or in percent of the compared value with `percent`.
    pub amount: f64,
    /// Whether the amount is in percent of the compared value.
    #[serde(default)]
    pub percent: bool,
    /// Differences up to this are never bad, in the unit of the query; only with `percent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_absolute: Option<f64>,
}
