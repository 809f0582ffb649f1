//! What a user writes: the spec of a BirdWatch, with its schema. Defaults are filled by `core::plan`, not here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::duration::Span;
pub use super::metric::{CompareTo, Direction, Failures, IfUnknown, Metric, Per, Preset, TestKind};
use super::rules;
use super::status::BirdWatchStatus;

/// Which service to release, how fast, and what to judge the new version by.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "otomato.link",
    version = "v1alpha1",
    kind = "BirdWatch",
    plural = "birdwatches",
    singular = "birdwatch",
    shortname = "bw",
    namespaced,
    status = "BirdWatchStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "BirdWatch releases new versions of one service little by little: the canary's share of the traffic rises step by step while the metrics stay within their limits, and goes back to 0 (or stays where it is) when they do not."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::SPEC))]
pub struct BirdWatchSpec {
    /// The service to release: name of its VirtualService and DestinationRule in this namespace, a DNS label of at most
    /// 63 characters. Its Deployments carry the label `app: <service>` unless `workload.selector` says otherwise.
    #[schemars(schema_with = "rules::dns_label")]
    pub service: String,

    /// The version to release: value of the version label, at most 63 characters. Put numbers in quotes: "1.10".
    /// Default: a version that appears after this BirdWatch was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::version")]
    pub canary_version: Option<String>,

    /// Deprecated spelling of `canaryVersion`, as the Python POC had it, at most 63 characters. Use one of the two.
    #[serde(default, rename = "canary_version", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::version")]
    pub canary_version_alias: Option<String>,

    /// Which Deployments belong to the service. Default: those with the label `app: <service>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,

    /// Names of the two subsets of the DestinationRule. Default: `production` and `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsets: Option<Subsets>,

    /// The VirtualServices in this namespace whose routes move, 1 to 16, each once. Default: the one named like the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::dns_subdomains")]
    pub virtual_services: Option<Vec<String>>,

    /// The DestinationRule in this namespace that holds the two subsets, at most 253 characters. Default: the one named
    /// like the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::dns_subdomain")]
    pub destination_rule: Option<String>,

    /// Small form: one PromQL query to judge by, at most 10,000 characters; short for one entry of `metrics`, with the
    /// same variables. Default: none; without `metric` and `metrics` the preset `error-rate` is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::query")]
    pub metric: Option<String>,

    /// Small form: how far the reading may rise above the baseline, in the query's own unit, 0 or more. Default: 10,
    /// where `deviationPercent` is absent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub deviation: Option<f64>,

    /// Small form: how far the reading may rise above the baseline, in percent of it, 0 to 1000000. Not with `deviation`.
    /// Default: none, `deviation` holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub deviation_percent: Option<f64>,

    /// Small form: percent of the traffic added by each step, 1 to 100; short for a list of `steps`. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub increment: Option<i32>,

    /// Small form: how long each step is held, 1s to 720h, as in 30s or 1m30s; a bare integer is seconds. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::span")]
    pub interval: Option<Span>,

    /// Full form: what to judge by, 1 to 20 metrics, whose queries and selectors are at most 100,000 bytes together. Each must
    /// stay within its limits. Default: none; without `metric` and `metrics` the preset `error-rate` is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), extend("x-kubernetes-validations" = rules::METRICS))]
    pub metrics: Option<Vec<Metric>>,

    /// Full form: 1 to 100 steps, their weights strictly rising. A step to 100 with the last hold is appended where it is
    /// missing. Default: the steps that `increment` and `interval` make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-validations" = rules::STEPS))]
    pub steps: Option<Vec<Step>>,

    /// Upper limit of the canary's weight in percent, 1 to 100. Steps above it become one at the limit, after which the
    /// rollout waits for the verb `promote`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_weight: Option<i32>,

    /// What a step waits for besides its hold: `time`, nothing; or `evidence`, as many requests to the canary as it takes to
    /// find the `fault` of each sequential metric. Default: `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Advance")]
    pub advance: Option<Advance>,

    /// Time between two checks of the metrics, 1s to 720h; a bare integer is seconds. Default: the step's hold, but at
    /// least 1s and at most 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::span")]
    pub check_interval: Option<Span>,

    /// Shortest time after a change of weight before a check may pass the step: 0s to 720h, a bare integer of seconds, or
    /// `auto`. Default: `auto`, the longest range in the query and one scrape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::settle")]
    pub settle: Option<Settle>,

    /// Canary pods that must be available before a raise, as a part of what its share of production's replicas would be,
    /// 0 to 1. Default: 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub min_capacity: Option<f64>,

    /// How long the canary may take to become available before it is unhealthy, 1s to 720h; a bare integer is seconds.
    /// Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::span")]
    pub progress_deadline: Option<Span>,

    /// What to do with an unhealthy canary: `rollback` gives all traffic to production, `freeze` stops and leaves traffic
    /// as it is. Default: `rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IfUnhealthy")]
    pub if_unhealthy: Option<IfUnhealthy>,

    /// Deprecated spelling of `ifUnhealthy`, as the Python POC had it. Use one of the two.
    #[serde(default, rename = "if_unhealthy", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IfUnhealthy")]
    pub if_unhealthy_alias: Option<IfUnhealthy>,

    /// Stops the clock of the hold and every raise, never a rollback. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,

    /// Where and how much to tell people, within what the administrator allows. Default: as the administrator says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,

    /// Name of one of the administrator's Prometheus servers, a DNS label of at most 63 characters. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::server_name")]
    pub prometheus: Option<String>,
}

/// Which Deployments belong to the service, and where their version is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Labels of the Deployments' pod templates, 1 to 16, all of which must match. Default: `app: <service>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::labels")]
    pub selector: Option<BTreeMap<String, String>>,

    /// The label of the pod template whose value is the version, at most 317 characters. Default: `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::label_key")]
    pub version_label: Option<String>,
}

/// Names of the two subsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::SUBSETS))]
pub struct Subsets {
    /// The subset that serves production, a DNS label of at most 63 characters. Default: `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::dns_label")]
    pub production: Option<String>,

    /// The subset that serves the canary, a DNS label of at most 63 characters. Default: `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::dns_label")]
    pub canary: Option<String>,
}

/// One step of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The canary's weight in percent of what the two destinations hold together, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,

    /// How long the weight is held before the next step, 1s to 720h; a bare integer is seconds. Default: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::span")]
    pub hold: Option<Span>,
}

/// Where and how much to tell people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// Slack channel, one that the administrator allows: a name or an ID, at most 81 characters. Default: the
    /// administrator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::channel")]
    pub channel: Option<String>,

    /// How much: `steps` (everything), `ends` (start, end and alarms) or `off`, and no more than the administrator lets
    /// anybody be told. Default: as much as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Level")]
    pub level: Option<Level>,
}

/// What to do with an unhealthy canary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IfUnhealthy {
    /// All traffic goes back to production.
    #[default]
    Rollback,
    /// Traffic stays as it is.
    Freeze,
}

/// How much people are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Nothing.
    Off,
    /// Start, end and alarms.
    Ends,
    /// Every step too.
    #[default]
    Steps,
}

/// What a step waits for besides its hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Advance {
    /// Nothing.
    #[default]
    Time,
    /// Enough requests to the canary to find a fault of the declared size.
    Evidence,
}

/// How long after a change of weight a check may first pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settle {
    /// The query's longest range and one scrape.
    #[default]
    Auto,
    /// A fixed time.
    Fixed(Span),
}

impl Serialize for Settle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(span) => span.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Settle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Seconds(u32),
            Text(String),
        }
        match Text::deserialize(deserializer)? {
            Text::Seconds(seconds) => Ok(Self::Fixed(Span::secs(seconds))),
            Text::Text(text) if text == "auto" => Ok(Self::Auto),
            Text::Text(text) => text.parse().map(Self::Fixed).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Settle {
    fn schema_name() -> Cow<'static, str> {
        "Settle".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}
