//! What is kept of a sequential test between checks. Types only; `core::sequential` computes with them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::timestamp_schema;

/// Requests of one version in one interval, and how many of them were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Number of all requests, 0 to 2^53. Fractions are allowed, as some exporters count in them.
    pub requests: f64,
    /// The bad ones among them, 0 to `requests`.
    pub bad: f64,
}

/// What a sequential test promises, as it was fixed when the rollout started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestDesign {
    /// How many times production's bad share the canary's may be, 1 to 100, usually 1.5.
    pub tolerance: f64,
    /// The probability of ever rolling back a version within tolerance, 0 to 1.
    pub false_alarm: f64,
    /// How much clumpier than independent requests errors are: a number, 1 to 1000000 as measured.
    pub dispersion: f64,
    /// The bad share up to which nobody cares, 0 to 1; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Number of times beyond tolerance that the canary is assumed to be, each above 1.
    pub multipliers: Vec<f64>,
    /// The mixture's weight of each multiplier, 0 to 1, together 1.
    pub multiplier_weights: Vec<f64>,
    /// The mixture's weight of each step known at the start, 0 to 1, together 1.
    pub step_weights: Vec<f64>,
}

/// The evidence of one metric. Its size grows with the steps started, at most 100 times the multipliers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Evidence {
    /// For each step that has started, in order, the natural logarithm of each multiplier's evidence since. A step that
    /// has not started counts as evidence 1 and takes no room.
    pub components: Vec<Vec<f64>>,
    /// What the canary did so far.
    pub canary: Counts,
    /// What production did so far.
    pub production: Counts,
}

/// What all sequential metrics of a rollout, who share one budget, have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Alarm {
    /// Checks in a row that ended at the limit or above, 0 or more.
    #[schemars(with = "i32")]
    pub streak: u32,
    /// The natural logarithm of the largest evidence after any check so far, 0 or more.
    pub peak: f64,
}

/// A metric's counting: what is counted, up to when, and the evidence so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// Which of Istio's reporters is believed, `source`, `waypoint` or `destination`; absent for the user's own counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<String>,
    /// The bound of the histogram above which requests are bad, as its label `le` has it; absent where none is needed or
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// The test, as it was fixed when counting began.
    pub design: TestDesign,
    /// The metric's share of the rollout's budget, 0 to 1.
    pub share: f64,
    /// The evidence gathered so far.
    #[serde(default)]
    pub evidence: Evidence,
    /// Up to when requests are counted; absent after a change of weight, whose interval is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub judged: Option<Timestamp>,
    /// What the canary did in the present step.
    #[serde(default)]
    pub step_canary: Counts,
    /// What production did in the present step.
    #[serde(default)]
    pub step_production: Counts,
    /// Number of requests per second to production before any traffic moved.
    pub requests_per_second: f64,
}
