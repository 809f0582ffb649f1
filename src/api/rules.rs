//! The rules of the schema: what the API server refuses, and what it says then. Data only.
//!
//! Range, length and type are plain schema; everything with advice in its message is a CEL rule. The cost of a CEL rule
//! is estimated from the longest values the schema allows, so every string and every list has an upper bound; a duration
//! is read without regular expressions, because servers before 1.34 take any int-or-string for three megabytes.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Serialize;

/// One CEL rule, as `x-kubernetes-validations` has it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(rename = "rule")]
    expression: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field_path: Option<&'static str>,
}

impl Rule {
    const fn new(expression: &'static str, message: &'static str) -> Self {
        Self {
            expression,
            message,
            reason: None,
            field_path: None,
        }
    }

    /// Reported at this field, as something missing.
    const fn required(self, field_path: &'static str) -> Self {
        self.at(field_path, "FieldValueRequired")
    }

    /// Reported at this field, as something that must not be there.
    const fn forbidden(self, field_path: &'static str) -> Self {
        self.at(field_path, "FieldValueForbidden")
    }

    const fn at(self, field_path: &'static str, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            field_path: Some(field_path),
            ..self
        }
    }
}

/// Between the fields of a spec.
pub(super) const SPEC: &[Rule] = &[
    Rule::new(
        "!has(self.metric) || !has(self.metrics)",
        "metrics cannot stand beside metric: keep one, and write the query of metric as an entry of metrics",
    )
    .forbidden(".metrics"),
    Rule::new(
        "!has(self.metrics) || !has(self.deviation)",
        "deviation cannot stand beside metrics: write it into the entries of metrics",
    )
    .forbidden(".deviation"),
    Rule::new(
        "!has(self.metrics) || !has(self.deviationPercent)",
        "deviationPercent cannot stand beside metrics: write it into the entries of metrics",
    )
    .forbidden(".deviationPercent"),
    Rule::new(
        "has(self.metric) || has(self.metrics) || !(has(self.deviation) || has(self.deviationPercent))",
        "deviation and deviationPercent need metric: write the PromQL query that they are about",
    )
    .required(".metric"),
    Rule::new(
        "!has(self.deviation) || !has(self.deviationPercent)",
        "deviationPercent cannot stand beside deviation: keep one of the two",
    )
    .forbidden(".deviationPercent"),
    Rule::new(
        "!has(self.steps) || !has(self.increment)",
        "increment cannot stand beside steps: remove it, the entries of steps say their weight",
    )
    .forbidden(".increment"),
    Rule::new(
        "!has(self.steps) || !has(self.interval)",
        "interval cannot stand beside steps: write it as the hold of the entries of steps",
    )
    .forbidden(".interval"),
    Rule::new(
        "!has(self.canaryVersion) || !has(self.canary_version)",
        "canary_version is the old spelling of canaryVersion: remove it and keep canaryVersion",
    )
    .forbidden(".canary_version"),
    Rule::new(
        "!has(self.ifUnhealthy) || !has(self.if_unhealthy)",
        "if_unhealthy is the old spelling of ifUnhealthy: remove it and keep ifUnhealthy",
    )
    .forbidden(".if_unhealthy"),
    Rule::new(
        "!has(self.metrics) || !has(self.workload) || !has(self.workload.versionLabel) \
         || self.workload.versionLabel == 'version' || self.metrics.all(m, !has(m.per) || has(m.traffic))",
        "metrics with per: request need traffic (a query of the requests per second of $(version)) where \
         workload.versionLabel is not version: Istio counts requests by the label version alone",
    )
    .required(".metrics"),
    Rule::new(
        "!has(self.workload) || !has(self.workload.versionLabel) || self.workload.versionLabel == 'version' \
         || has(self.metric) || (has(self.metrics) && self.metrics.all(m, !has(m.preset)))",
        "presets need workload.versionLabel to be version, by which alone Istio counts: write metric, or metrics with query or \
         with total and bad",
    )
    .required(".metrics"),
];

/// Between the entries of `metrics`.
pub(super) const METRICS: &[Rule] = &[Rule::new(
    "self.all(a, self.exists_one(b, (has(b.name) ? b.name : (has(b.preset) ? b.preset : '')) \
     == (has(a.name) ? a.name : (has(a.preset) ? a.preset : ''))))",
    "names of metrics are unique, those of presets included: give one of the two another name",
)];

/// Between the names of the subsets, defaults included.
pub(super) const SUBSETS: &[Rule] = &[Rule::new(
    "(has(self.production) ? self.production : 'production') != (has(self.canary) ? self.canary : 'canary')",
    "subsets.production and subsets.canary must differ: name two subsets of the DestinationRule",
)];

/// Between the fields of a metric.
pub(super) const METRIC: &[Rule] = &[
    Rule::new(
        "(has(self.query) ? 1 : 0) + (has(self.preset) ? 1 : 0) + (has(self.total) ? 1 : 0) == 1",
        "a metric is one of three: write query, or preset, or total with bad or good",
    ),
    Rule::new(
        "has(self.name) || has(self.preset)",
        "a metric needs a name: write name, as in error-rate",
    )
    .required(".name"),
    Rule::new(
        "has(self.total) ? has(self.bad) != has(self.good) : !has(self.bad) && !has(self.good)",
        "total and one of bad and good go together: selectors of counters of all requests, and of the bad or good ones",
    )
    .required(".total"),
    Rule::new(
        "!has(self.total) || (self.total.contains('$(version)') && (has(self.bad) ? self.bad : \
         (has(self.good) ? self.good : '')).contains('$(version)'))",
        "total, bad and good need $(version): they are asked of each version",
    )
    .at(".total", "FieldValueInvalid"),
    Rule::new(
        "has(self.preset) && self.preset == 'latency' ? has(self.quantile) != has(self.slowerThan) : \
         !has(self.quantile) && !has(self.slowerThan)",
        "preset: latency needs one of quantile (as in 0.99) and slowerThan (as in 300ms), and nothing else has them",
    )
    .required(".slowerThan"),
    Rule::new(
        "!has(self.test) || self.test != 'sequential' || has(self.total) || (has(self.preset) && !has(self.quantile))",
        "test: sequential counts requests: use preset: error-rate, preset: latency with slowerThan, or total with bad or good",
    )
    .forbidden(".test"),
    Rule::new(
        "!has(self.test) || self.test != 'threshold' || !(has(self.total) || has(self.slowerThan))",
        "test: threshold judges one value: write query, or preset: latency with quantile, instead of counters",
    )
    .forbidden(".test"),
    Rule::new(
        "!(has(self.total) || has(self.slowerThan) || (has(self.test) && self.test == 'sequential')) \
         || !(has(self.direction) || has(self.deviation) || has(self.deviationPercent) || has(self.minAbsolute) \
         || has(self.min) || has(self.max) || has(self.compareTo) || has(self.samples) || has(self.failures) \
         || has(self.per) || has(self.traffic) || has(self.window))",
        "a sequential test has tolerance, falseAlarm, atLeast and fault; direction, deviation, deviationPercent, minAbsolute, \
         min, max, compareTo, samples, failures, per, traffic and window belong to test: threshold",
    )
    .forbidden(".test"),
    Rule::new(
        "!(has(self.tolerance) || has(self.falseAlarm) || has(self.atLeast) || has(self.fault)) || has(self.total) \
         || has(self.slowerThan) || (has(self.preset) && self.preset == 'error-rate' && !(has(self.test) \
         && self.test == 'threshold') && !has(self.deviation) && !has(self.deviationPercent) && !has(self.max))",
        "tolerance, falseAlarm, atLeast and fault belong to test: sequential, which counts requests and has no other limits",
    )
    .forbidden(".tolerance"),
    Rule::new(
        "!(has(self.query) || (has(self.test) && self.test == 'threshold' && !has(self.quantile))) || has(self.deviation) \
         || has(self.deviationPercent) || has(self.min) || has(self.max)",
        "a metric judged by test: threshold needs a limit: write deviation, deviationPercent, min or max",
    )
    .required(".deviation"),
    Rule::new(
        "!has(self.deviation) || !has(self.deviationPercent)",
        "deviationPercent cannot stand beside deviation: keep one of the two",
    )
    .forbidden(".deviationPercent"),
    Rule::new(
        "!has(self.minAbsolute) || has(self.deviationPercent)",
        "minAbsolute needs deviationPercent: add it, or write the number as deviation",
    )
    .forbidden(".minAbsolute"),
    Rule::new(
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "min must not be above max: no reading could pass",
    ),
    Rule::new(
        "!has(self.compareTo) || self.compareTo == 'baseline' || has(self.deviation) || has(self.deviationPercent)",
        "compareTo needs deviation or deviationPercent: min and max are compared with nothing",
    )
    .forbidden(".compareTo"),
    Rule::new(
        "!has(self.compareTo) || self.compareTo != 'production' || !has(self.query) || self.query.contains('$(version)')",
        "compareTo: production needs $(version) in query: it is asked once of each version",
    )
    .forbidden(".compareTo"),
    Rule::new(
        "!has(self.per) || !has(self.query) || self.query.contains('$(version)')",
        "per needs $(version) in query: it is divided by the requests of the version it is asked of",
    )
    .forbidden(".per"),
    Rule::new(
        "!has(self.traffic) || self.traffic.contains('$(version)') || self.traffic.contains('$(canary)')",
        "traffic must count the requests of one version: use $(version) in it",
    ),
    Rule::new(
        "!has(self.unknownFor) || (has(self.ifUnknown) && self.ifUnknown == 'unhealthy')",
        "unknownFor needs ifUnknown: unhealthy; with hold the weight stays for as long as it takes",
    )
    .forbidden(".unknownFor"),
];

/// Between the numbers of `failures`.
pub(super) const FAILURES: &[Rule] = &[Rule::new(
    "self.count <= self.of",
    "failures.count must not be above failures.of: it counts bad ones among the latest checks",
)];

/// Between the steps of a list.
pub(super) const STEPS: &[Rule] = &[Rule::new(
    "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",
    "weights must rise strictly, as in 5, 20, 50: put them in order and leave out what is there twice",
)];

/// A duration from 1s to 720h, or whole seconds.
pub(super) fn span(_: &mut SchemaGenerator) -> Schema {
    int_or_string(Rule::new(
        "type(self) in [int] ? self >= 1 && self <= 2592000 : \
         (self.endsWith('s') || self.endsWith('m') || self.endsWith('h')) \
         && duration(self) >= duration('1s') && duration(self) <= duration('720h')",
        "must be 1s to 720h, written like 30s, 1m30s or 2h; a bare integer is seconds",
    ))
}

/// A share strictly between none and all.
pub(super) fn open_share(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "number",
        "x-kubernetes-validations": [
            Rule::new("self > 0.0 && self < 1.0", "must be above 0 and below 1, as in 0.05"),
        ],
    })
}

/// How long a request may take, from 1ms to 1h.
pub(super) fn bound(_: &mut SchemaGenerator) -> Schema {
    int_or_string(Rule::new(
        "type(self) in [int] ? self >= 1 && self <= 3600 : (self.endsWith('s') || self.endsWith('m') || self.endsWith('h')) \
         && duration(self) >= duration('1ms') && duration(self) <= duration('1h')",
        "must be 1ms to 1h, written like 300ms or 2s; a bare integer is seconds",
    ))
}

/// `auto`, a duration from 0s to 720h, or whole seconds.
pub(super) fn settle(_: &mut SchemaGenerator) -> Schema {
    int_or_string(Rule::new(
        "type(self) in [int] ? self >= 0 && self <= 2592000 : self == 'auto' \
         || ((self.endsWith('s') || self.endsWith('m') || self.endsWith('h')) \
         && duration(self) >= duration('0s') && duration(self) <= duration('720h'))",
        "must be auto, or 0s to 720h, written like 30s, 1m30s or 2h; a bare integer is seconds",
    ))
}

/// A `PromQL` query in which nothing but our variables looks like one.
pub(super) fn query(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 10_000,
        "x-kubernetes-validations": [
            Rule::new("self.trim() != ''", "must not be empty: write a PromQL query"),
            Rule::new(
                "!self.replace('$(service)', ' ').replace('$(namespace)', ' ').replace('$(version)', ' ')\
                 .replace('$(production)', ' ').replace('$(canary)', ' ').replace('$(window)', ' ').contains('$(')",
                "has a variable that is not known: there are $(service), $(namespace), $(version), $(production), \
                 $(canary) and $(window)",
            ),
        ],
    })
}

/// A name as services and subsets have it.
pub(super) fn dns_label(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        Rule::new(
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "must be a DNS label, as in aleph-2: small letters, digits and '-', beginning and ending with a letter or digit",
        ),
    )
}

/// The name of a Prometheus server.
pub(super) fn server_name(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        Rule::new(
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "must be the name that the administrator gave to a Prometheus server, not its URL: small letters, digits and '-'",
        ),
    )
}

/// A name as most objects have it.
pub(super) fn dns_subdomain(_: &mut SchemaGenerator) -> Schema {
    text(253, OBJECT_NAME)
}

/// Names of objects, each once.
pub(super) fn dns_subdomains(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "items": dns_subdomain(generator),
        "x-kubernetes-list-type": "set",
    })
}

const OBJECT_NAME: Rule = Rule::new(
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "must be the name of an object, as in my-service: small letters, digits, '-' and '.', beginning and ending with a letter or digit",
);

/// A value of the version label.
pub(super) fn version(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        Rule::new(
            "self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",
            "must be a value of the version label, as in v04 or 1.2.3: letters, digits, '-', '_' and '.', beginning and ending \
             with a letter or digit",
        ),
    )
}

/// The key of a label.
pub(super) fn label_key(_: &mut SchemaGenerator) -> Schema {
    text(
        317,
        Rule::new(
            "self.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",
            "must be the key of a label, as in version or app.kubernetes.io/version",
        ),
    )
}

/// Labels that pods must have.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 16,
        "additionalProperties": text(
            63,
            Rule::new(
                "self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",
                "must be the value of a label: letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
            ),
        ),
        "x-kubernetes-validations": [
            Rule::new(
                "self.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
                "keys must be keys of labels, at most 317 characters, as in app or app.kubernetes.io/name",
            ),
        ],
    })
}

/// The name of a metric.
pub(super) fn metric_name(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        Rule::new(
            "self.matches('^[A-Za-z0-9]([-A-Za-z0-9_. ]*[A-Za-z0-9])?$')",
            "must be a short name, as in error-rate: letters, digits, '-', '_', '.' and spaces, beginning and ending with a \
             letter or digit",
        ),
    )
}

/// A Slack channel.
pub(super) fn channel(_: &mut SchemaGenerator) -> Schema {
    text(
        81,
        Rule::new(
            r"self.matches('^#?[^#\\s@]{1,80}$')",
            "must be a Slack channel, as in deployment, #deployment or C0123456789: one word of at most 80 characters",
        ),
    )
}

fn text(max_length: u32, rule: Rule) -> Schema {
    json_schema!({ "type": "string", "maxLength": max_length, "x-kubernetes-validations": [rule] })
}

fn int_or_string(rule: Rule) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 32,
        "x-kubernetes-validations": [rule],
    })
}
