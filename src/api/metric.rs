//! What a user writes about one metric: what is asked, the test it is put to, and its limits. Defaults are filled by
//! `core::plan`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Span;
use super::rules;

/// One metric to judge by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::METRIC))]
pub struct Metric {
    /// A name for people and for status, at most 63 characters, each once in the list. Default: the name of the preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::metric_name")]
    pub name: Option<String>,

    /// A PromQL query, at most 10,000 characters. `$(service)`, `$(namespace)`, `$(version)`, `$(production)`, `$(canary)`
    /// and `$(window)` are filled in; with `$(version)` it is asked of production for the baseline and of the canary
    /// afterwards. Default: none; one of `query`, `preset` and `total` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::query")]
    pub query: Option<String>,

    /// A metric of Istio's standard telemetry instead of a query: `error-rate`, the share of requests that failed by HTTP
    /// or gRPC status, or got no answer; or `latency`, with `quantile` or `slowerThan`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Preset")]
    pub preset: Option<Preset>,

    /// With `preset: latency`: the quantile to judge, in milliseconds, above 0 and below 1. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::open_share")]
    pub quantile: Option<f64>,

    /// With `preset: latency`: requests that take longer than this are bad, 1ms to 1h, as in 300ms. The next bound of the
    /// histogram counts. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::bound")]
    pub slower_than: Option<Span>,

    /// A selector of counters of all requests of `$(version)`, as in `requests_total{version="$(version)"}`, at most 10,000
    /// characters; with `bad` or `good`. What several jobs scrape counts several times: select one of them. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::query")]
    pub total: Option<String>,

    /// A selector of counters of the bad requests among `total`, by the same targets, at most 10,000 characters. Its metric has to
    /// be exported from the start, with 0: of a name that Prometheus has not seen for a day nothing is known. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::query")]
    pub bad: Option<String>,

    /// A selector of counters of the good requests among `total`, at most 10,000 characters. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::query")]
    pub good: Option<String>,

    /// How readings are judged: `threshold`, against limits; or `sequential`, requests counted in canary and production
    /// and compared, with a budget for false alarms. Default: `sequential` where requests are counted and no limit is
    /// given, else `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TestKind")]
    pub test: Option<TestKind>,

    /// With `test: sequential`: how many times production's bad share the canary's may be, 1 to 100. Default: 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub tolerance: Option<f64>,

    /// With `test: sequential`: the probability that a healthy version is ever rolled back, 0.000001 to 0.2; the smallest
    /// one of a rollout's metrics is what they share. Default: 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 0.2))]
    pub false_alarm: Option<f64>,

    /// With `test: sequential`: the bad share up to which a canary is never unhealthy, whatever production's, 0 to 1.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub at_least: Option<f64>,

    /// With `test: sequential`: the bad share of a canary that is meant to be found, above 0 and below 1: by it a policy is
    /// planned, and with `advance: evidence` each step waits for enough requests to find it. Default: 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::open_share")]
    pub fault: Option<f64>,

    /// Which way is worse: `increase`, `decrease` or `both`. Default: `increase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Direction")]
    pub direction: Option<Direction>,

    /// How far the reading may be from what it is compared with, in the query's own unit, 0 or more. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub deviation: Option<f64>,

    /// How far the reading may be from what it is compared with, in percent of that, 0 to 1000000. Not with `deviation`.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub deviation_percent: Option<f64>,

    /// With `deviationPercent`: differences up to this are never bad, in the query's own unit, 0 or more. Without it a
    /// baseline of 0 leaves no limit, and the rollout waits. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_absolute: Option<f64>,

    /// Readings below this are bad, whatever the baseline, in the query's own unit. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,

    /// Readings above this are bad, whatever the baseline, in the query's own unit. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,

    /// What a reading is compared with: `baseline`, the value recorded before any traffic moved; `previous`, the baseline
    /// and the last reading; or `production`, measured at the same moment (needs `$(version)` in the query).
    /// Default: `baseline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CompareTo")]
    pub compare_to: Option<CompareTo>,

    /// How many readings make the baseline (their median), 1 to 100. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub samples: Option<i32>,

    /// How many bad checks make the metric unhealthy. Default: 1 of the last 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,

    /// What the reading is divided by: `request`, the request rate of the version asked about. Default: not divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Per")]
    pub per: Option<Per>,

    /// A PromQL query of the requests per second of `$(version)`, at most 10,000 characters, by which an empty answer is
    /// told from no traffic. Default: Istio's request counter, which knows the version label `version` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::query")]
    pub traffic: Option<String>,

    /// What it means when the metric stays unknown for `unknownFor`: `hold`, the weight stays; or `unhealthy`.
    /// Default: `hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IfUnknown")]
    pub if_unknown: Option<IfUnknown>,

    /// How long the metric may be unknown before `ifUnknown: unhealthy` applies, 1s to 720h; a bare integer is seconds.
    /// Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::span")]
    pub unknown_for: Option<Span>,

    /// The range that `$(window)` stands for, 1s to 720h; a bare integer is seconds. Default: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::span")]
    pub window: Option<Span>,
}

/// A metric that needs no query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The share of requests that failed.
    ErrorRate,
    /// How long requests take.
    Latency,
}

impl Preset {
    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErrorRate => "error-rate",
            Self::Latency => "latency",
        }
    }
}

/// How readings are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TestKind {
    /// Against limits.
    Threshold,
    /// By evidence, canary against production.
    Sequential,
}

/// `count` bad checks of the last `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::FAILURES))]
pub struct Failures {
    /// Bad checks that make the metric unhealthy, 1 to 100 and not above `of`.
    #[schemars(range(min = 1, max = 100))]
    pub count: i32,

    /// How many of the latest checks are looked at, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub of: i32,
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
