//! Wrong values are refused with a message that names the value and what to do.

use crate::helm::try_render;

/// Values, and parts the refusal must have.
const WRONG: &[(&str, &[&str])] = &[
    // Names and types: the schema.
    ("slackTokn: a", &["slackTokn", "not allowed"]),
    ("image: {tagg: a}", &["/image", "tagg", "not allowed"]),
    ("slackToken: 1", &["/slackToken", "got number, want string"]),
    ("slackChannel: ''", &["/slackChannel", "minLength"]),
    ("replicas: two", &["/replicas", "got string, want integer"]),
    ("replicas: -1", &["/replicas", "minimum", "0"]),
    ("namespaces: shop", &["/namespaces", "got string, want array"]),
    ("notifyLevel: loud", &["/notifyLevel", "'steps', 'ends', 'off'"]),
    ("logFormat: xml", &["/logFormat", "'text', 'json'"]),
    (
        "image: {pullPolicy: Sometimes}",
        &["/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"],
    ),
    ("scrapeInterval: [15]", &["/scrapeInterval", "got array"]),
    (
        "drain: {timeoutSeconds: 5}",
        &["/drain/timeoutSeconds", "minimum", "10"],
    ),
    (
        "prometheus: {servers: [{name: a}]}",
        &["/prometheus/servers/0", "missing property 'url'"],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a', token: x}]}",
        &["/prometheus/servers/0", "token"],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a', bearerToken: {key: k}}]}",
        &["/prometheus/servers/0/bearerToken", "missing property 'secret'"],
    ),
    ("podLabels: {a: 1}", &["/podLabels/a", "got number, want string"]),
    (
        "extraEnv: [{value: a}]",
        &["/extraEnv/0", "missing property 'name'"],
    ),
    // Formats and rules between values: words of our own.
    (
        "{slackToken: a, existingSecret: b}",
        &["slackToken and existingSecret", "give one"],
    ),
    ("slackToken: 'xoxb-1 '", &["slackToken", "white space"]),
    (
        "existingSecret: My_Secret",
        &["existingSecret", "\"My_Secret\"", "lower-case"],
    ),
    (
        "slackChannel: '@somebody'",
        &["slackChannel", "\"@somebody\"", "write its ID"],
    ),
    (
        "slackAllowedChannels: [ok, 'a,b']",
        &["slackAllowedChannels[1]", "\"a,b\""],
    ),
    ("slackUrl: slack.example", &["slackUrl", "base URL"]),
    (
        "prometheusUrl: 'prometheus:9090'",
        &[
            "prometheusUrl",
            "\"prometheus:9090\"",
            "http://prometheus.monitoring:9090",
        ],
    ),
    (
        "prometheusUrl: 'https://me:pw@prometheus'",
        &["prometheusUrl", "without user, password"],
    ),
    (
        "prometheusUrl: 'http://prometheus/?x=1'",
        &["prometheusUrl", "query"],
    ),
    (
        "scrapeInterval: fast",
        &["scrapeInterval", "\"fast\"", "15s or 1m30s"],
    ),
    ("propagationDelay: 5 s", &["propagationDelay", "\"5 s\"", "15s"]),
    ("leaseDuration: 15 seconds", &["leaseDuration", "not a duration"]),
    (
        "leaseDuration: 1s",
        &["leaseDuration", "\"1s\"", "from 2s to 600s"],
    ),
    (
        "scrapeInterval: 0",
        &["scrapeInterval", "\"0\"", "from 100ms to 3600s"],
    ),
    ("clusterDomain: .local", &["clusterDomain", "cluster.local"]),
    (
        "namespaces: [shop, Pay]",
        &["namespaces[1]", "\"Pay\"", "DNS label"],
    ),
    ("namespaces: ['*']", &["namespaces[0]", "\"*\""]),
    ("logLevel: 'info; rm'", &["logLevel", "info,birdwatch=debug"]),
    ("image: {tag: 'a b'}", &["image.tag", "not a tag"]),
    (
        "serviceAccount: {create: false}",
        &["serviceAccount.name", "needed"],
    ),
    (
        "caFile: {configMap: a, secret: b}",
        &["caFile", "give one of configMap and secret"],
    ),
    (
        "extraEnv: [{name: SLACK_API_TOKEN, value: x}]",
        &["extraEnv", "existingSecret"],
    ),
    (
        "prometheus: {enforcedLabel: 'a-b'}",
        &[
            "prometheus.enforcedLabel",
            "\"a-b\"",
            "name of a Prometheus label",
        ],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a', enforcedLabel: __name__}]}",
        &["prometheus.servers[0].enforcedLabel", "not __name__"],
    ),
    (
        "prometheus: {servers: [{name: A, url: 'http://a'}]}",
        &["prometheus.servers[0].name", "\"A\"", "lower-case"],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a'}, {name: a, url: 'http://b'}]}",
        &["prometheus.servers[1].name", "\"a\" is taken"],
    ),
    (
        "{prometheusUrl: 'http://p', prometheus: {servers: [{name: default, url: 'http://a'}]}}",
        &["prometheus.servers[0].name", "name of prometheusUrl"],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a', headers: {authorization: 'Bearer x'}}]}",
        &["prometheus.servers[0].headers", "bearerToken or basicAuth"],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a', bearerToken: {secret: s}, basicAuth: {username: u, secret: s}}]}",
        &["prometheus.servers[0]", "give one of bearerToken and basicAuth"],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a', ca: {key: k}}]}",
        &["prometheus.servers[0].ca", "give one of configMap and secret"],
    ),
    (
        "prometheus: {servers: [{name: a, url: 'http://a', clientCert: {secret: S}}]}",
        &["prometheus.servers[0].clientCert.secret", "\"S\""],
    ),
];

#[test]
fn each_wrong_value_is_refused_by_name_with_advice() {
    for (values, parts) in WRONG {
        let Err(refusal) = try_render(values) else {
            panic!("accepted: {values}")
        };
        for part in *parts {
            assert!(
                refusal.contains(part),
                "{values}: {part:?} is missing in\n{refusal}"
            );
        }
        assert!(!refusal.contains("nil pointer"), "{values}:\n{refusal}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let refusal = try_render("{prometheusUrl: p, scrapeInterval: x, namespaces: [A]}")
        .err()
        .expect("a refusal");
    for part in ["prometheusUrl", "scrapeInterval", "namespaces[0]"] {
        assert!(refusal.contains(part), "{part} is missing in\n{refusal}");
    }
}

#[test]
fn a_refusal_does_not_repeat_the_token() {
    let refusal = try_render("{slackToken: 'xoxb-12 secret', existingSecret: b}")
        .err()
        .expect("a refusal");
    assert!(!refusal.contains("xoxb-12"), "{refusal}");
}
