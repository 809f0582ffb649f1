//! The words by which programs know findings. They stay as they are: people put them into pipelines.
#![expect(clippy::doc_markdown, reason = "the meanings are the text of docs/check.md")]

/// A code and what it stands for.
pub struct Code {
    /// The word.
    pub word: &'static str,
    /// When it is found, in half a sentence for people.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($name:ident = $word:literal: $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $word;)*

        /// Every code, in the order of the docs.
        pub const ALL: &[Code] = &[$(Code { word: $word, meaning: $meaning }),*];
    };
}

codes! {
    OBJECT_INVALID = "object-invalid": "apiVersion, kind, name or namespace cannot be used";
    FIELD_UNKNOWN = "field-unknown": "there is no such field: it is misspelt, or in the wrong place";
    BIRDWATCH_TWICE = "birdwatch-twice": "a file holds the same BirdWatch more than once";
    SPEC_INVALID = "spec-invalid": "the spec cannot be read, or breaks a rule";
    QUERY_SYNTAX = "query-syntax": "a query is not PromQL, names an unknown variable, or can never give a number";
    QUERY_GROWS = "query-grows": "a query grows with traffic and is compared between versions with different shares of it";
    RANGE_TOO_LONG = "range-too-long": "a query looks back much longer than a step is held";
    RANGE_UNKNOWN = "range-unknown": "a query reads a recording rule, whose own range cannot be read";
    SETTLE_TOO_SHORT = "settle-too-short": "`settle` is shorter than a query looks back";
    RULE_MISSING = "destinationrule-missing": "the DestinationRule is not there";
    RULE_INVALID = "destinationrule-invalid": "the DestinationRule has no host, or a part that cannot be read";
    RULES_SEVERAL = "destinationrules-several": "another DestinationRule for the host has one of our subsets too";
    HOST_OTHER = "host-other": "traffic goes to another host than the one whose requests are counted";
    SUBSET_MISSING = "subset-missing": "the DestinationRule lacks a subset, or has it twice";
    SUBSET_LABELS = "subset-labels": "a subset asks for labels besides the version that a Deployment's pods lack";
    LABEL_MISSING = "label-missing": "a subset, or a Deployment, has no version label";
    SERVICE_MISSING = "virtualservice-missing": "a VirtualService of the spec is not there";
    ROUTE_MISSING = "route-missing": "no route of a VirtualService holds our subsets";
    ROUTE_ONE_SUBSET = "route-one-subset": "a route holds one of our subsets and not the other";
    ROUTE_NO_SUBSET = "route-no-subset": "a route sends to the host without a subset, to pods of every version";
    ROUTE_INVALID = "route-invalid": "a route cannot be read, or holds a subset twice";
    WEIGHT_NOT_ZERO = "weight-not-zero": "the canary has weight and no rollout is under way";
    WEIGHT_COARSE = "weight-coarse": "the weights of a route are too small to express a step";
    WEIGHT_NOTHING = "weight-nothing": "our two destinations hold nothing of a route";
    MIRROR = "mirror": "a route copies requests to the canary's subset";
    SERVICES_SEVERAL = "virtualservices-several": "another VirtualService sends to the host and does not move";
    GATEWAYS_WITHOUT_MESH = "gateways-without-mesh": "`gateways` leaves out `mesh`: callers in the mesh go past the weights";
    RETRIES = "retries": "retries on a route of ours hide failures or count them several times";
    FAULT_INJECTION = "fault-injection": "faults are injected into a route of ours";
    DEPLOYMENT_MISSING = "deployment-missing": "no Deployment matches the selector, or none is of the version asked for";
    PRODUCTION_MISSING = "production-missing": "no Deployment is of production's version";
    NOT_AVAILABLE = "not-available": "a Deployment has fewer available pods than it wants";
    CANARY_TOO_SMALL = "canary-too-small": "the canary has fewer pods than a step's share needs";
    IMAGE_MUTABLE = "image-mutable": "an image has the tag `latest`, no tag, or no digest";
    NO_SIDECAR = "no-sidecar": "pods have no proxy, or will get none";
    HOST_WITHOUT_SERVICE = "service-missing": "the host of the DestinationRule is no Service";
    PORT_PROTOCOL = "port-protocol": "a port of the Service does not say its protocol, or says one that our routes do not apply to";
    HEADLESS = "service-headless": "the Service has no address: callers in the mesh dial a pod, whatever the weights";
    SELECTOR_LABELS = "selector-labels": "the Service selects by labels that a Deployment's pods lack";
    SELECTOR_VERSION = "selector-version": "the Service selects pods of one version only";
    SECOND_BIRDWATCH = "second-birdwatch": "another BirdWatch acts on the same objects";
    OTHER_OPERATOR = "other-operator": "Flagger or Argo Rollouts left marks on an object";
    RIGHT_MISSING = "right-missing": "the operator is not allowed something it needs";
    QUERY_FAILED = "query-failed": "Prometheus refuses a query, or cannot answer it";
    QUERY_UNKNOWN_NAME = "query-unknown-name": "a query uses a metric or label that Prometheus does not know";
    QUERY_EMPTY = "query-empty": "a query has no result";
    QUERY_SEVERAL_SERIES = "query-several-series": "a query gives more than one series";
    QUERY_NOT_A_NUMBER = "query-not-a-number": "a query gives NaN or an infinity";
    LIMIT_BROKEN = "limit-broken": "production itself is beyond a limit: no rollout starts";
    UNIT = "unit": "limits and readings seem to be in different units";
    BOUND_NEXT = "bound-next": "`slowerThan` is no bound of the histogram: the next one counts";
    NOISE = "noise": "readings of the last hour vary about as much as the limit allows";
    TRAFFIC_NONE = "traffic-none": "production serves no requests";
    TRAFFIC_LITTLE = "traffic-little": "the first step gives the canary few requests";
    COUNTERS_UNKNOWN = "counters-unknown": "production's counters cannot be counted, so that a sequential test cannot begin";
    COMPARES_NOTHING = "compares-nothing": "every step gives the canary all traffic, so that a sequential test compares nothing";
    POWER_NONE = "power-none": "the sequential test cannot see even a canary that fails always";
    POWER_FAULT = "power-fault": "the sequential test is not expected to see a canary with the declared `fault`";
    POWER = "power": "what the sequential test can see";
}
