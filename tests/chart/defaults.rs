//! What an install with hardly any values gets.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::helm::{NAMESPACE, RELEASE, chart, env_of, helm, render};

#[test]
fn the_chart_passes_lint() {
    let output = helm(&["lint", "--strict", "CHART"], "");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn an_install_without_values_renders_these_objects_and_no_others() {
    assert_eq!(
        render("{}").names(),
        [
            "ClusterRole -/birdwatch",
            "ClusterRoleBinding -/birdwatch",
            "CustomResourceDefinition -/birdwatches.otomato.link",
            "Deployment operators/birdwatch",
            "Job operators/birdwatch-drain",
            "PodDisruptionBudget operators/birdwatch",
            "Role operators/birdwatch-lease",
            "RoleBinding operators/birdwatch-lease",
            "Service operators/birdwatch",
            "ServiceAccount operators/birdwatch",
        ]
    );
}

#[test]
fn the_readmes_one_line_install_gives_the_operator_its_token_and_its_prometheus() {
    let rendered = render("{slackToken: xoxb-1-secret, prometheusUrl: 'http://prometheus.monitoring:9090'}");
    assert_eq!(
        rendered.env("SLACK_API_TOKEN"),
        &json!({"secretKeyRef": {"name": "birdwatch", "key": "slackToken"}})
    );
    assert_eq!(
        rendered.get("Secret", "birdwatch")["data"],
        json!({"slackToken": "eG94Yi0xLXNlY3JldA=="})
    );
    assert_eq!(
        rendered.env("PROMETHEUS_URL"),
        "http://prometheus.monitoring:9090"
    );
    assert_eq!(rendered.container()["volumeMounts"], Value::Null);
}

#[test]
fn without_values_the_operator_gets_the_settings_the_pocs_users_know() {
    let rendered = render("{}");
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    for (name, value) in [
        ("PROMETHEUS_URL", json!("http://prometheus.istio-system:9090")),
        ("SLACK_CHANNEL", json!("deployment")),
        ("SLACK_API_TOKEN", Value::Null),
        ("SLACK_ALLOWED_CHANNELS", Value::Null),
        ("SLACK_URL", Value::Null),
        ("NOTIFY_LEVEL", json!("steps")),
        ("CA_FILE", Value::Null),
        ("PROMETHEUS_SERVERS_FILE", Value::Null),
        ("WATCH_NAMESPACES", Value::Null),
        ("SCRAPE_INTERVAL", json!("15s")),
        ("PROPAGATION_DELAY", json!("5s")),
        ("CLUSTER_DOMAIN", json!("cluster.local")),
        ("LEASE_NAME", json!("birdwatch")),
        ("LEASE_DURATION", json!("15s")),
        ("LOG_FORMAT", json!("text")),
        ("RUST_LOG", json!("info")),
        ("ADMIN_PORT", json!("8080")),
        ("ADMIN_ADDRESS", field("status.podIP")),
        ("POD_NAME", field("metadata.name")),
        ("POD_NAMESPACE", field("metadata.namespace")),
    ] {
        assert_eq!(rendered.env(name), &value, "{name}");
    }
    assert_eq!(rendered.container()["args"], json!(["run"]));
}

#[test]
fn every_pod_passes_pod_security_restricted() {
    for spec in render("{}").pod_specs() {
        let pod = &spec["securityContext"];
        assert_eq!(pod["runAsNonRoot"], true);
        assert_eq!(pod["runAsUser"], 65532);
        assert_eq!(pod["seccompProfile"], json!({"type": "RuntimeDefault"}));
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(spec[field], Value::Null, "{field}");
        }
        let containers = spec["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        assert_eq!(
            containers[0]["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
    }
}

#[test]
fn probes_and_the_service_meet_the_port_the_operator_listens_on() {
    let rendered = render("{}");
    let container = rendered.container();
    assert_eq!(
        container["ports"],
        json!([{"name": "admin", "containerPort": 8080, "protocol": "TCP"}])
    );
    assert_eq!(
        container["livenessProbe"]["httpGet"],
        json!({"path": "/healthz", "port": "admin"})
    );
    assert_eq!(
        container["readinessProbe"]["httpGet"],
        json!({"path": "/readyz", "port": "admin"})
    );
    let service = rendered.get("Service", RELEASE);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "admin");
    assert_selects(
        &service["spec"]["selector"],
        rendered.deployment(),
        rendered.get("Job", "birdwatch-drain"),
    );
}

#[test]
fn two_replicas_stand_on_different_nodes_where_possible_and_one_may_be_evicted() {
    let rendered = render("{}");
    assert_eq!(rendered.deployment()["spec"]["replicas"], 2);
    let budget = rendered.get("PodDisruptionBudget", RELEASE);
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let job = rendered.get("Job", "birdwatch-drain");
    assert_selects(
        &budget["spec"]["selector"]["matchLabels"],
        rendered.deployment(),
        job,
    );
    let term = &rendered.pod_specs()[0]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        [0]["podAffinityTerm"];
    assert_eq!(term["topologyKey"], "kubernetes.io/hostname");
    assert_selects(&term["labelSelector"]["matchLabels"], rendered.deployment(), job);
}

#[test]
fn a_new_pod_stands_by_before_an_old_one_goes() {
    assert_eq!(
        render("{}").deployment()["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
    );
}

#[test]
fn uninstalling_first_drains_with_the_operators_account_and_lease_within_helms_patience() {
    let rendered = render("{}");
    let job = rendered.get("Job", "birdwatch-drain");
    assert_eq!(
        job["metadata"]["annotations"],
        json!({
            "helm.sh/hook": "pre-delete",
            "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
        })
    );
    assert_eq!(job["spec"]["backoffLimit"], 2);
    let deadline = job["spec"]["activeDeadlineSeconds"].as_u64().unwrap();
    assert!(
        (121..300).contains(&deadline),
        "longer than the drain, shorter than helm waits: {deadline}"
    );

    let [operator, drain] = rendered.pod_specs();
    assert_eq!(drain["restartPolicy"], "Never");
    assert_eq!(drain["serviceAccountName"], operator["serviceAccountName"]);
    let (operator, drain) = (&operator["containers"][0], &drain["containers"][0]);
    assert_eq!(drain["args"], json!(["drain", "--timeout", "120s"]));
    assert_eq!(drain["image"], operator["image"]);
    for name in [
        "LEASE_NAME",
        "LEASE_DURATION",
        "POD_NAME",
        "POD_NAMESPACE",
        "CLUSTER_DOMAIN",
        "PROPAGATION_DELAY",
    ] {
        assert_eq!(env_of(drain, name), env_of(operator, name), "{name}");
        assert_ne!(env_of(drain, name), &Value::Null, "{name}");
    }
}

#[test]
fn draining_needs_no_secret_that_may_be_gone_by_then() {
    let token = |values: &str| {
        let rendered = render(values);
        let drain = rendered.pod_specs()[1];
        for volume in drain["volumes"].as_array().into_iter().flatten() {
            assert_eq!(volume["secret"]["optional"], true, "{volume}");
        }
        env_of(&drain["containers"][0], "SLACK_API_TOKEN").clone()
    };
    let optional = json!({"secretKeyRef": {"name": "mine", "key": "slackToken", "optional": true}});
    assert_eq!(token("{existingSecret: mine, caFile: {secret: ca}}"), optional);
    assert_eq!(token("{}"), Value::Null);
}

#[test]
fn the_crd_is_the_generated_one_and_is_kept_on_uninstall() {
    let rendered = render("{}");
    let crd = rendered.get("CustomResourceDefinition", "birdwatches.otomato.link");
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");

    let file = std::fs::read_to_string(chart().join("files/crd.yaml")).unwrap();
    let committed = std::fs::read_to_string(chart().join("../../crds/birdwatches.yaml")).unwrap();
    assert!(
        file == committed,
        "the chart's copy of the CRD is another: run `make generate`"
    );
    let generated: CustomResourceDefinition = serde_saphyr::from_str(&file).unwrap();
    // As the API server reads it, to whom 1 and 1.0 are the same limit.
    let rendered: CustomResourceDefinition = serde_json::from_value(crd.clone()).unwrap();
    assert_eq!(
        rendered.spec, generated.spec,
        "helm changed the schema on the way"
    );
    assert_eq!(rendered.metadata.name, generated.metadata.name);
}

#[test]
fn every_object_and_every_pod_carries_the_labels_people_search_by() {
    let rendered = render(&format!("{{{}}}", crate::options::EVERYTHING_ON));
    let pods = ["Deployment", "Job"].map(|kind| &rendered.of(kind).next().unwrap()["spec"]["template"]);
    for object in rendered.objects.iter().chain(pods) {
        let labels = &object["metadata"]["labels"];
        for (label, value) in [
            ("app.kubernetes.io/name", "birdwatch"),
            ("app.kubernetes.io/instance", RELEASE),
            ("app.kubernetes.io/part-of", "birdwatch"),
            ("app.kubernetes.io/managed-by", "Helm"),
            ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
            ("helm.sh/chart", concat!("birdwatch-", env!("CARGO_PKG_VERSION"))),
        ] {
            assert_eq!(labels[label], value, "{label} of {}", object["metadata"]["name"]);
        }
    }
}

#[test]
fn every_namespaced_object_says_its_namespace() {
    let rendered = render(&format!("{{{}}}", crate::options::EVERYTHING_ON));
    for object in &rendered.objects {
        let kind = object["kind"].as_str().unwrap();
        if !kind.starts_with("Cluster") && kind != "CustomResourceDefinition" {
            assert_eq!(object["metadata"]["namespace"], NAMESPACE, "{kind}");
        }
    }
}

/// `selector` finds the operator's pods and not the drain Job's.
fn assert_selects(selector: &Value, operator: &Value, drain: &Value) {
    let finds = |object: &Value| {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        selector
            .as_object()
            .expect("a selector")
            .iter()
            .all(|(label, value)| &labels[label] == value)
    };
    assert!(finds(operator), "{selector} misses the operator");
    assert!(!finds(drain), "{selector} finds the drain Job");
}
