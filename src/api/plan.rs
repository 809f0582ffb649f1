//! The resolved plan of a rollout, as kept in status: what the spec says with every default filled in.
//! Types only; `core::plan` makes them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Span;
use super::spec::{CompareTo, Direction, IfUnhealthy, IfUnknown, Level, Settle};

/// Everything a rollout needs to know of its spec; nothing in it is left to guess.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What is released, and through which objects.
    pub target: Target,
    /// The version asked for; without one, a version that appears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_version: Option<String>,
    /// What to judge by, at least one.
    pub metrics: Vec<MetricPlan>,
    /// Strictly rising weights; the last is 100 unless `maxWeight` cuts the list short.
    pub steps: Vec<StepPlan>,
    /// Present when the steps end below 100: the rollout then waits for the verb `promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_weight: Option<u8>,
    /// Time between checks; absent: each step's hold within 1 s and 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<Span>,
    /// Shortest time from a change of weight to a passing check.
    #[serde(default)]
    pub settle: Settle,
    /// Part of its share of production's replicas that the canary must have before a raise, 0 to 1.
    pub min_capacity: f64,
    /// How long the canary may take to become available.
    pub progress_deadline: Span,
    /// What to do with an unhealthy canary.
    pub if_unhealthy: IfUnhealthy,
    /// Slack channel; absent: the administrator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// How much people are told; absent: as the administrator says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Level")]
    pub level: Option<Level>,
    /// Name of the Prometheus server; absent: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
}

/// What is released, and through which objects. A change of it starts a rollout again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The service's name.
    pub service: String,
    /// Labels of its pod templates.
    pub selector: BTreeMap<String, String>,
    /// The label that holds the version.
    pub version_label: String,
    /// The subset that serves production.
    pub production_subset: String,
    /// The subset that serves the canary.
    pub canary_subset: String,
    /// The VirtualServices whose routes move.
    pub virtual_services: Vec<String>,
    /// The DestinationRule with the subsets.
    pub destination_rule: String,
}

/// A weight in percent and how long it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepPlan {
    /// 1 to 100.
    #[schemars(with = "i32")]
    pub weight: u8,
    /// How long it is held.
    pub hold: Span,
}

/// One metric with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricPlan {
    /// Unique in its list.
    pub name: String,
    /// The query, its variables not yet filled in.
    pub query: String,
    /// Which way is worse.
    pub direction: Direction,
    /// How far from the compared value a reading may be; absent where only `min` or `max` count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Deviation>,
    /// Readings below are bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Readings above are bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// What a reading is compared with.
    pub compare_to: CompareTo,
    /// Readings that make the baseline, 1 to 100.
    pub samples: u32,
    /// Bad checks that make the metric unhealthy, 1 to `of`.
    pub failures: u32,
    /// How many of the latest checks count, 1 to 100.
    pub of: u32,
    /// Whether the reading is divided by the request rate.
    #[serde(default)]
    pub per_request: bool,
    /// The user's own query of requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,
    /// What staying unknown means.
    pub if_unknown: IfUnknown,
    /// How long the metric may be unknown before that.
    pub unknown_for: Span,
    /// What `$(window)` stands for.
    pub window: Span,
}

/// How far a reading may be from what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deviation {
    /// In the query's unit; or in percent of the compared value, see `percent`.
    pub amount: f64,
    /// Whether `amount` is percent.
    #[serde(default)]
    pub percent: bool,
    /// Differences up to this are never bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_absolute: Option<f64>,
}
