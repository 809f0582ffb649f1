//! The resolved plan of a rollout, as kept in status: what the spec says with every default filled in.
//! Types only; `core::plan` makes them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Span;
use super::spec::{Advance, CompareTo, Direction, IfUnhealthy, IfUnknown, Level, Settle};

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
    /// What a step waits for besides its hold.
    #[serde(default)]
    pub advance: Advance,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// What is asked and how it is judged.
    pub test: TestPlan,
    /// What it means when the metric stays unknown.
    pub if_unknown: IfUnknown,
    /// How long the metric may be unknown before that counts, as in `5m`.
    pub unknown_for: Span,
}

/// What is asked of one metric and how it is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TestPlan {
    /// One query, whose value is held against limits.
    Threshold(ThresholdPlan),
    /// Counters of both versions, whose difference is weighed as evidence.
    Sequential(SequentialPlan),
}

/// A query and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdPlan {
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
    /// What `$(window)` in the query stands for, as in `1m`.
    pub window: Span,
}

/// Counters of requests and the test they are put to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SequentialPlan {
    /// Which requests are counted, and which of them are bad.
    pub counters: Counters,
    /// How many times production's bad share the canary's may be, 1 to 100.
    pub tolerance: f64,
    /// The probability that a healthy version is ever rolled back, 0.000001 to 0.2.
    pub false_alarm: f64,
    /// The bad share, 0 to 1, up to which a canary is never unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The bad share of a canary, 0 to 1, that is meant to be found.
    pub fault: f64,
}

/// Which requests are counted, and which of them are bad.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Counters {
    /// Istio's requests; those that failed by HTTP or gRPC status, or got no answer, are bad.
    Errors {},
    /// Istio's requests; those slower than a bound of its histogram are bad.
    Slow {
        /// Requests that take longer are bad: in milliseconds, 1 to 3600000; the next bound of the histogram counts.
        milliseconds: f64,
    },
    /// The user's own counters of all and of bad requests: selectors, their variables not yet filled in.
    Bad {
        /// Selector of all requests.
        total: String,
        /// Selector of the bad ones among them.
        bad: String,
    },
    /// The user's own counters of all and of good requests: selectors, their variables not yet filled in.
    Good {
        /// Selector of all requests.
        total: String,
        /// Selector of the good ones among them.
        good: String,
    },
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
