//! How the operator is led to Slack and Prometheus, and that no credential shows on the way.

use serde_json::{Value, json};

use crate::helm::{Rendered, env_of, render};

const TOKEN: &str = "xoxb-12-very-secret";

#[test]
fn the_token_is_rendered_in_the_secret_and_nowhere_else() {
    let rendered = render(&format!(
        "{{slackToken: {TOKEN}, prometheusUrl: 'http://p:9090'}}"
    ));
    let encoded = "eG94Yi0xMi12ZXJ5LXNlY3JldA==";
    let holders: Vec<_> = rendered
        .objects
        .iter()
        .filter(|object| object.to_string().contains(TOKEN) || object.to_string().contains(encoded))
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(holders, ["Secret"]);
}

#[test]
fn an_existing_secret_is_referred_to_and_none_is_made() {
    let rendered = render("{existingSecret: mine, existingSecretKeys: {slackToken: token}}");
    assert_eq!(rendered.of("Secret").count(), 0);
    assert_eq!(
        rendered.env("SLACK_API_TOKEN"),
        &json!({"secretKeyRef": {"name": "mine", "key": "token"}})
    );
    let rendered = render("existingSecret: mine");
    assert_eq!(
        rendered.env("SLACK_API_TOKEN")["secretKeyRef"]["key"],
        "slackToken"
    );
}

#[test]
fn slack_settings_reach_the_operator() {
    let rendered = render(
        "{slackChannel: C0123456789, slackAllowedChannels: [team-a, team-b], slackUrl: 'https://proxy/api', notifyLevel: ends}",
    );
    assert_eq!(rendered.env("SLACK_CHANNEL"), "C0123456789");
    assert_eq!(rendered.env("SLACK_ALLOWED_CHANNELS"), "team-a,team-b");
    assert_eq!(rendered.env("SLACK_URL"), "https://proxy/api");
    assert_eq!(rendered.env("NOTIFY_LEVEL"), "ends");
}

#[test]
fn rollout_settings_reach_the_operator_and_the_drain_job() {
    let rendered = render(
        "{scrapeInterval: 1s, propagationDelay: 2, clusterDomain: corp.local, leaseDuration: 9s, logFormat: json, \
         logLevel: 'info,birdwatch=debug', namespaces: [shop, pay, shop]}",
    );
    assert_eq!(rendered.env("SCRAPE_INTERVAL"), "1s");
    for spec in rendered.pod_specs() {
        for (name, value) in [
            ("PROPAGATION_DELAY", "2"),
            ("CLUSTER_DOMAIN", "corp.local"),
            ("LEASE_DURATION", "9s"),
            ("LOG_FORMAT", "json"),
            ("RUST_LOG", "info,birdwatch=debug"),
            ("WATCH_NAMESPACES", "shop,pay"),
        ] {
            assert_eq!(crate::helm::env_of(&spec["containers"][0], name), value, "{name}");
        }
    }
}

#[test]
fn without_a_list_no_servers_file_is_made() {
    let rendered = render("prometheusUrl: http://p:9090");
    assert_eq!(rendered.of("ConfigMap").count(), 0);
    assert_eq!(rendered.pod_specs()[0]["volumes"], Value::Null);
}

#[test]
fn prometheus_url_is_the_first_server_and_is_named_default() {
    let servers = servers(&render(
        "{prometheusUrl: 'http://p:9090', prometheus: {servers: [{name: other, url: 'http://o:9090'}]}}",
    ));
    assert_eq!(
        servers,
        json!([{"name": "default", "url": "http://p:9090"}, {"name": "other", "url": "http://o:9090"}])
    );
}

#[test]
fn an_enforced_label_is_put_to_every_server_that_says_nothing_else() {
    let rendered = render("prometheus: {enforcedLabel: namespace}");
    let istios = "http://prometheus.istio-system:9090";
    let expected = json!([{"name": "default", "url": istios, "enforcedLabel": "namespace"}]);
    assert_eq!(servers(&rendered), expected);
    assert_eq!(rendered.env("PROMETHEUS_URL"), &Value::Null);
    let rendered = render(
        "{prometheusUrl: 'http://p', prometheus: {enforcedLabel: namespace, servers: [{name: a, url: 'http://a'}, \
         {name: b, url: 'http://b', enforcedLabel: tenant}, {name: c, url: 'http://c', enforcedLabel: ''}]}}",
    );
    let labels: Vec<_> = servers(&rendered)
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["enforcedLabel"].clone())
        .collect();
    assert_eq!(
        labels,
        [
            json!("namespace"),
            json!("namespace"),
            json!("tenant"),
            Value::Null
        ]
    );
    let rendered = render("prometheus: {servers: [{name: a, url: 'http://a', enforcedLabel: tenant}]}");
    assert_eq!(servers(&rendered)[0]["enforcedLabel"], "tenant");
}

#[test]
fn where_prometheus_url_is_empty_the_first_of_the_list_is_the_default() {
    let rendered = render("prometheus: {servers: [{name: a, url: 'http://a'}, {name: b, url: 'http://b'}]}");
    assert_eq!(servers(&rendered)[0]["name"], "a");
    assert_eq!(
        rendered.env("PROMETHEUS_URL"),
        &Value::Null,
        "one source of servers, not two"
    );
    assert_eq!(
        rendered.env("PROMETHEUS_SERVERS_FILE"),
        "/etc/birdwatch/prometheus/servers.yaml"
    );
}

#[test]
fn credentials_of_servers_are_files_from_secrets_where_the_servers_file_says() {
    let rendered = render(
        "prometheus: {servers: [{name: a, url: 'https://a', headers: {X-Scope-OrgID: '7'}, maxInFlight: 3, \
           bearerToken: {secret: s-token, key: t}, clientCert: {secret: s-client}, ca: {configMap: c-ca}}, \
         {name: b, url: 'https://b', basicAuth: {username: me, secret: s-login}, ca: {secret: s-ca, key: root.pem}}]}",
    );
    assert_eq!(
        servers(&rendered),
        json!([
            {
                "name": "a", "url": "https://a", "headers": {"X-Scope-OrgID": "7"}, "maxInFlight": 3,
                "bearerTokenFile": "/etc/birdwatch/credentials/a/token",
                "caFile": "/etc/birdwatch/credentials/a/ca.crt",
                "clientCertFile": "/etc/birdwatch/credentials/a/tls.crt",
                "clientKeyFile": "/etc/birdwatch/credentials/a/tls.key",
            },
            {
                "name": "b", "url": "https://b",
                "basicAuth": {"username": "me", "passwordFile": "/etc/birdwatch/credentials/b/password"},
                "caFile": "/etc/birdwatch/credentials/b/ca.crt",
            },
        ])
    );
    assert_eq!(
        volume(&rendered, "/etc/birdwatch/credentials/a"),
        &json!([
            {"secret": {"name": "s-token", "items": [{"key": "t", "path": "token"}]}},
            {"secret": {"name": "s-client", "items": [
                {"key": "tls.crt", "path": "tls.crt"}, {"key": "tls.key", "path": "tls.key"},
            ]}},
            {"configMap": {"name": "c-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ])
    );
    assert_eq!(
        volume(&rendered, "/etc/birdwatch/credentials/b"),
        &json!([
            {"secret": {"name": "s-login", "items": [{"key": "password", "path": "password"}]}},
            {"secret": {"name": "s-ca", "items": [{"key": "root.pem", "path": "ca.crt"}]}},
        ])
    );
}

#[test]
fn a_ca_from_a_config_map_or_a_secret_is_the_operators_ca_file() {
    for (values, source) in [
        (
            "caFile: {configMap: corp, key: root.pem}",
            json!({"configMap": {"name": "corp", "items": [{"key": "root.pem", "path": "ca.crt"}]}}),
        ),
        (
            "caFile: {secret: corp}",
            json!({"secret": {"secretName": "corp", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}),
        ),
    ] {
        let rendered = render(values);
        assert_eq!(rendered.env("CA_FILE"), "/etc/birdwatch/ca/ca.crt");
        let mut volume = mounted(&rendered, "/etc/birdwatch/ca").clone();
        volume.as_object_mut().unwrap().remove("name");
        assert_eq!(volume, source);
        let [_, drain] = rendered.pod_specs();
        assert!(
            env_of(&drain["containers"][0], "CA_FILE").is_string(),
            "to tell Slack"
        );
        assert_eq!(
            drain["containers"][0]["volumeMounts"][0]["mountPath"],
            "/etc/birdwatch/ca"
        );
        assert_eq!(drain["volumes"].as_array().unwrap().len(), 1);
    }
}

/// The servers file as the operator reads it.
fn servers(rendered: &Rendered) -> Value {
    assert!(mounted(rendered, "/etc/birdwatch/prometheus")["configMap"]["name"] == "birdwatch-prometheus");
    let file = &rendered.get("ConfigMap", "birdwatch-prometheus")["data"]["servers.yaml"];
    serde_saphyr::from_str(file.as_str().expect("a file")).expect("YAML")
}

fn volume<'a>(rendered: &'a Rendered, path: &str) -> &'a Value {
    &mounted(rendered, path)["projected"]["sources"]
}

/// The volume mounted, read-only, at `path` in the operator's container.
fn mounted<'a>(rendered: &'a Rendered, path: &str) -> &'a Value {
    let mounts = rendered.container()["volumeMounts"].as_array().expect("mounts");
    let mount = mounts
        .iter()
        .find(|mount| mount["mountPath"] == path)
        .expect("a mount there");
    assert_eq!(mount["readOnly"], true);
    let volumes = rendered.pod_specs()[0]["volumes"].as_array().expect("volumes");
    volumes
        .iter()
        .find(|volume| volume["name"] == mount["name"])
        .expect("the volume of the mount")
}
