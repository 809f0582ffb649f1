//! What single values change.

use serde_json::{Value, json};

use crate::helm::{RELEASE, render};

/// Turns on what is off by default, where it adds objects.
pub(crate) const EVERYTHING_ON: &str = "slackToken: xoxb-1, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, \
    networkPolicy: {enabled: true}, grafanaDashboard: {enabled: true}, rbac: {aggregateToUserRoles: true}, \
    prometheus: {servers: [{name: a, url: 'http://a:9090'}]}";

#[test]
fn one_replica_gets_neither_a_disruption_budget_nor_anti_affinity() {
    let rendered = render("replicas: 1");
    assert_eq!(
        rendered.of("PodDisruptionBudget").count(),
        0,
        "it would block every drain of its node"
    );
    assert_eq!(rendered.pod_specs()[0]["affinity"], Value::Null);
    assert_eq!(rendered.deployment()["spec"]["replicas"], 1);
}

#[test]
fn a_changed_token_or_server_rolls_the_pods_and_nothing_else_does() {
    let checksum = |values: &str| {
        let rendered = render(values);
        rendered.deployment()["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
    };
    let before = checksum("slackToken: one");
    assert_eq!(before, checksum("{slackToken: one, replicas: 3}"));
    assert_ne!(before, checksum("slackToken: two"));
    let server = |url: &str| {
        checksum(&format!(
            "{{slackToken: one, prometheus: {{servers: [{{name: a, url: '{url}'}}]}}}}"
        ))
    };
    assert_ne!(server("http://a:9090"), server("http://b:9090"));
}

#[test]
fn the_crd_and_the_drain_job_can_be_left_to_others() {
    let rendered = render("{crds: {install: false}, drain: {enabled: false}}");
    assert_eq!(rendered.of("CustomResourceDefinition").count(), 0);
    assert_eq!(rendered.of("Job").count(), 0);
}

#[test]
fn a_longer_drain_gets_a_longer_deadline() {
    let rendered = render("drain: {timeoutSeconds: 600}");
    let job = rendered.get("Job", "birdwatch-drain");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 690);
    assert_eq!(
        job["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["drain", "--timeout", "600s"])
    );
}

#[test]
fn the_service_monitor_finds_the_service() {
    let rendered = render("serviceMonitor: {enabled: true, interval: 30s, labels: {release: stack}}");
    let monitor = rendered.get("ServiceMonitor", RELEASE);
    assert_eq!(monitor["metadata"]["labels"]["release"], "stack");
    assert_eq!(
        monitor["spec"]["endpoints"],
        json!([{"port": "http-admin", "path": "/metrics", "interval": "30s"}])
    );
    let service = rendered.get("Service", RELEASE);
    assert_eq!(service["spec"]["ports"][0]["name"], "http-admin");
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][label], value, "{label}");
    }
}

#[test]
fn the_alerts_are_those_of_the_file_and_asked_for() {
    assert_eq!(render("{}").of("PrometheusRule").count(), 0);
    let rendered = render("prometheusRule: {enabled: true, namespace: monitoring, labels: {release: stack}}");
    let rule = rendered.get("PrometheusRule", RELEASE);
    assert_eq!(rule["metadata"]["labels"]["release"], "stack");
    assert_eq!(rule["metadata"]["namespace"], "monitoring");
    let file = std::fs::read_to_string(crate::helm::chart().join("files/alerts.yaml")).expect("the alerts");
    let rules: serde_json::Value = serde_saphyr::from_str(&file).expect("YAML");
    assert_eq!(rule["spec"], rules, "helm changes nothing in them");
}

#[test]
fn the_network_policy_covers_every_pod_and_lets_out_only_what_the_values_name() {
    let rendered = render(
        "{networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {}}], extraEgress: [{ports: [{port: 1}]}]}, \
         slackUrl: 'http://proxy:3128/api', prometheusUrl: 'https://prometheus.example', \
         prometheus: {servers: [{name: a, url: 'http://a:8428/select'}, {name: b, url: 'http://b'}]}}",
    );
    let policy = &rendered.get("NetworkPolicy", RELEASE)["spec"];
    for object in [rendered.deployment(), rendered.get("Job", "birdwatch-drain")] {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        for (label, value) in policy["podSelector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[label], value, "{label}");
        }
    }
    assert_eq!(
        policy["ingress"],
        json!([{"ports": [{"port": "admin", "protocol": "TCP"}], "from": [{"namespaceSelector": {}}]}])
    );
    let ports = |rule: usize| -> Vec<u64> {
        policy["egress"][rule]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["port"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ports(0), [53, 53]);
    assert_eq!(ports(1), [443, 6443, 3128, 8428, 80]);
    assert_eq!(ports(2), [1]);
}

#[test]
fn placement_reaches_the_pods() {
    let rendered = render(
        "{nodeSelector: {disk: ssd}, tolerations: [{operator: Exists}], priorityClassName: high, \
         podLabels: {team: a}, podAnnotations: {note: b}, affinity: {nodeAffinity: {}}, \
         image: {repository: registry.example/birdwatch, tag: v9, pullPolicy: Always, pullSecrets: [pull]}, \
         topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
    );
    for spec in rendered.pod_specs() {
        assert_eq!(spec["nodeSelector"], json!({"disk": "ssd"}));
        assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
        assert_eq!(spec["priorityClassName"], "high");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
        assert_eq!(spec["containers"][0]["image"], "registry.example/birdwatch:v9");
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    }
    let pod = &rendered.deployment()["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["team"], "a");
    assert_eq!(pod["metadata"]["annotations"]["note"], "b");
    assert_eq!(pod["spec"]["affinity"], json!({"nodeAffinity": {}}));
    let spread = &pod["spec"]["topologySpreadConstraints"][0];
    assert_eq!(spread["topologyKey"], "zone");
    assert_eq!(
        spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"],
        "operator"
    );
}

#[test]
fn an_account_of_the_users_own_is_bound_and_not_created() {
    let rendered = render("serviceAccount: {create: false, name: mine}");
    assert_eq!(rendered.of("ServiceAccount").count(), 0);
    for binding in rendered
        .of("ClusterRoleBinding")
        .chain(rendered.of("RoleBinding"))
    {
        assert_eq!(binding["subjects"][0]["name"], "mine");
    }
    for spec in rendered.pod_specs() {
        assert_eq!(spec["serviceAccountName"], "mine");
    }
}

#[test]
fn further_environment_and_arguments_come_last() {
    let rendered =
        render("{extraEnv: [{name: HTTPS_PROXY, value: 'http://proxy:3128'}], extraArgs: [--a=b]}");
    assert_eq!(
        rendered.container()["env"].as_array().unwrap().last().unwrap()["name"],
        "HTTPS_PROXY"
    );
    assert_eq!(rendered.container()["args"], json!(["run", "--a=b"]));
}

#[test]
fn values_left_empty_in_a_users_file_mean_the_default() {
    let rendered = render(
        "slackToken:\nexistingSecret:\nslackAllowedChannels:\nprometheusUrl:\nnamespaces:\nscrapeInterval:\n\
         affinity:\nresources:\nimage: {tag: }\npodSecurityContext: {runAsUser: }\n",
    );
    assert_eq!(
        rendered.env("PROMETHEUS_URL"),
        "http://prometheus.istio-system:9090"
    );
    assert_eq!(
        rendered.env("SCRAPE_INTERVAL"),
        &Value::Null,
        "the operator's own default"
    );
    assert_eq!(rendered.of("ClusterRole").count(), 1);
    assert_eq!(
        rendered.pod_specs()[0]["securityContext"]["runAsUser"],
        Value::Null,
        "OpenShift chooses one"
    );
}
