//! What a user writes: the spec of a `BirdWatch`, with its schema. Defaults are filled by `core::plan`, not here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::duration::Span;
use super::status::BirdWatchStatus;

/// Releases new versions of one service little by little: canary weights go up step by step while the
/// metrics stay within their limits, and back to 0 (or freeze) when they do not.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
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
    derive = "Default"
)]
#[serde(rename_all = "camelCase")]
pub struct BirdWatchSpec {
    /// The service to release: name of its `VirtualService` and `DestinationRule`, in this namespace.
    /// A DNS label. Its Deployments carry the label `app: <service>` unless `workload.selector` says otherwise.
    pub service: String,

    /// The version to release (value of the version label). Default: a version that appears
    /// after this `BirdWatch` was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_version: Option<String>,

    /// Deprecated spelling of `canaryVersion`; use one of the two.
    #[serde(default, rename = "canary_version", skip_serializing_if = "Option::is_none")]
    pub canary_version_alias: Option<String>,

    /// Which Deployments belong to the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,

    /// Names of the two subsets of the `DestinationRule`. Default: `production` and `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsets: Option<Subsets>,

    /// The `VirtualServices` whose routes move. Default: the one named like the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_services: Option<Vec<String>>,

    /// The `DestinationRule` that holds the two subsets. Default: the one named like the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_rule: Option<String>,

    /// Small form: one `PromQL` query to judge by; short for one entry of `metrics`. At most 10,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,

    /// Small form: how far the reading may rise above the baseline, in the query's own unit. Default: 10,
    /// where `deviationPercent` is absent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,

    /// Small form: how far the reading may rise above the baseline, in percent of it. Not with `deviation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation_percent: Option<f64>,

    /// Small form: percent of traffic added by each step, 1 to 100. Default: 1. Short for a list of `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment: Option<i32>,

    /// Small form: how long each step is held, 1s to 720h; a bare integer is seconds. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,

    /// Full form: what to judge by. Each metric must stay within its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<Metric>>,

    /// Full form: the steps, weights strictly rising. A step to 100 with the last hold is appended where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,

    /// Upper limit of the canary's weight in percent, 1 to 100. At the limit the rollout waits for the verb `promote`.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_weight: Option<i32>,

    /// Time between two checks of the metrics, 1s to 720h. Default: the step's hold, within 1s and 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<Span>,

    /// Shortest time after a change of weight before a check may pass the step: a duration, or `auto`.
    /// Default: `auto`, the query's longest range and one scrape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Settle>,

    /// Canary pods needed before a raise, as a part of what its share of production's replicas would be, 0 to 1. Default: 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_capacity: Option<f64>,

    /// How long the canary may take to become available, 1s to 720h. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<Span>,

    /// What to do with an unhealthy canary: `rollback` (all traffic to production) or `freeze` (stop and leave traffic
    /// as it is). Default: `rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_unhealthy: Option<IfUnhealthy>,

    /// Deprecated spelling of `ifUnhealthy`; use one of the two.
    #[serde(default, rename = "if_unhealthy", skip_serializing_if = "Option::is_none")]
    pub if_unhealthy_alias: Option<IfUnhealthy>,

    /// Stops the clock of the hold and every raise, never a rollback. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,

    /// Where and how much to tell people, within what the administrator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,

    /// Name of one of the administrator's Prometheus servers. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
}

/// Which Deployments belong to the service, and where their version is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Labels of the Deployments' pod templates, all of which must match. Default: `app: <service>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<BTreeMap<String, String>>,

    /// The label of the pod template whose value is the version. Default: `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_label: Option<String>,
}

/// Names of the two subsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subsets {
    /// The subset that serves production. Default: `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<String>,

    /// The subset that serves the canary. Default: `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
}

/// One metric to judge by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// A name for people and for status, unique in the list. At most 63 characters.
    pub name: String,

    /// A `PromQL` query, at most 10,000 characters. `$(service) $(namespace) $(version) $(production) $(canary) $(window)`
    /// are filled in; with `$(version)` it is asked of production for the baseline and of the canary afterwards.
    pub query: String,

    /// Which way is worse. Default: `increase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,

    /// How far the reading may be from what it is compared with, in the query's own unit, 0 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,

    /// How far the reading may be from what it is compared with, in percent of that, 0 or more. Not with `deviation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation_percent: Option<f64>,

    /// With `deviationPercent`: differences up to this, in the query's own unit, are never bad. 0 or more. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_absolute: Option<f64>,

    /// Readings below this are bad, whatever the baseline. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,

    /// Readings above this are bad, whatever the baseline. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,

    /// What a reading is compared with: the recorded `baseline`; `previous`, the baseline and the last reading;
    /// or `production`, measured at the same moment (needs `$(version)` in the query). Default: `baseline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_to: Option<CompareTo>,

    /// How many readings make the baseline (their median), 1 to 100. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<i32>,

    /// How many bad checks make the metric unhealthy. Default: 1 of the last 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,

    /// `request`: divide the reading by the request rate of the version asked about. Default: not divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,

    /// A `PromQL` query of the requests per second of `$(version)`, by which an empty answer is told from no traffic.
    /// Default: Istio's request counter. Needed where `workload.versionLabel` is not `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,

    /// What it means when the metric stays unknown for `unknownFor`: `hold` (the weight stays) or `unhealthy`.
    /// Default: `hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_unknown: Option<IfUnknown>,

    /// How long a metric may be unknown before `ifUnknown: unhealthy` applies, 1s to 720h. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_for: Option<Span>,

    /// Range that `$(window)` stands for, 1s to 720h. Default: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
}

/// `count` bad checks of the last `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// Bad checks that make the metric unhealthy, 1 to `of`.
    pub count: i32,
    /// How many of the latest checks are looked at, 1 to 100.
    pub of: i32,
}

/// One step of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The canary's weight in percent of what the two destinations hold together, 1 to 100.
    pub weight: i32,
    /// How long the weight is held before the next step, 1s to 720h; a bare integer is seconds. Default: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Span>,
}

/// Where and how much to tell people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// Slack channel, one that the administrator allows. Default: the administrator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// `steps` (everything), `ends` (start, end and alarms) or `off`. Default: the administrator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// Which way is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Higher is worse.
    #[default]
    Increase,
    /// Lower is worse.
    Decrease,
    /// Away is worse.
    Both,
}

/// What a reading is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CompareTo {
    /// The recorded baseline.
    #[default]
    Baseline,
    /// The recorded baseline, and the reading before.
    Previous,
    /// Production, measured at the same moment.
    Production,
}

/// What a reading is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Per {
    /// The request rate of the version asked about.
    Request,
}

/// What a metric that stays unknown means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IfUnknown {
    /// The weight stays and the clock of the hold stops.
    #[default]
    Hold,
    /// The canary is unhealthy.
    Unhealthy,
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
