//! What is remembered of a rollout's readings, for people and for plots. Types only; `core::history` decides what is
//! in them, and no decision is made from them.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::rollout::Verdict;
use super::status::timestamp_schema;

/// One metric at one check. Numbers are rounded to six digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When the query was asked.
    #[schemars(schema_with = "timestamp_schema")]
    pub at: Timestamp,
    /// The canary's confirmed weight in percent, 0 to 100.
    #[schemars(with = "i32")]
    pub weight: u8,
    /// The value in the unit of the query, of counted requests the bad share, 0 to 1; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it was compared with, in the same unit; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<f64>,
    /// The highest value that is not bad, in the same unit; absent where there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// The lowest value that is not bad, in the same unit; absent where there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Decimal logarithm of the evidence, a number without a unit: 2 is 100:1 for worse than tolerated, a negative one
    /// speaks against it; absent where nothing is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// What the check said of the metric; absent: Good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Verdict")]
    pub verdict: Option<Verdict>,
}

/// The readings of the rollout before the present one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    /// The id of that rollout.
    pub id: String,
    /// The version it was to release.
    pub canary: String,
    /// The version it was to replace.
    pub production: String,
    /// When it started.
    #[schemars(schema_with = "timestamp_schema")]
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub ended: Option<Timestamp>,
    /// The metrics it had readings of.
    #[serde(default)]
    pub metrics: Vec<PreviousMetric>,
}

/// The readings of one metric in the rollout before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviousMetric {
    /// The metric's name.
    pub name: String,
    /// Its readings, oldest first, as in `rollout.metrics.history`; at most 30.
    #[serde(default)]
    #[schemars(schema_with = "points_schema")]
    pub history: Vec<Point>,
}

/// The same form is described where the present rollout has it.
fn points_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}
