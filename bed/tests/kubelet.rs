//! The toy kubelet on a real API server with the real controllers: one bed for all tests, a namespace each.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test helper that cannot go on fails its test"
)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use birdwatch_bed::{
    Infra,
    parts::{
        apps::{self, App},
        kubelet::{Images, Kubelet, KubeletConfig, Signal},
        traffic::{Summary, Traffic, share},
        workload::Change,
    },
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::{Job, JobCondition},
    core::v1::{ContainerStatus, Node, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{sync::OnceCell, time::Instant};

struct Ground {
    bed: Infra,
    kubelet: Kubelet,
}

static GROUND: OnceCell<Ground> = OnceCell::const_new();

async fn ground() -> &'static Ground {
    GROUND
        .get_or_init(async || {
            let bed = Infra::start(None).await.unwrap_or_else(|error| panic!("{error}"));
            let kubelet = Kubelet::start(config(&bed)).await.unwrap();
            Ground { bed, kubelet }
        })
        .await
}

fn config(bed: &Infra) -> KubeletConfig {
    let workload = PathBuf::from(env!("CARGO_BIN_EXE_workload"));
    KubeletConfig {
        node: "bed".to_owned(),
        kubeconfig: bed.kubeconfig(),
        pod_net: bed.pod_net(),
        run_dir: bed.dir().to_owned(),
        // Any program stands for another image: here the shell, which ends as it is told.
        images: Images::new(workload).with("shell", "/bin/sh".into()),
    }
}

async fn start(namespace: &str) -> (&'static Ground, Client) {
    let ground = ground().await;
    let client = ground.bed.client().unwrap();
    apps::apply(&client, &[apps::namespace(namespace)]).await.unwrap();
    (ground, client)
}

/// Asks every 50 ms until `ask` gives something, for up to two minutes: a Job alone waits ten seconds before it tries again.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_mins(2), asking).await;
    found.unwrap_or_else(|_| panic!("never came about: {what}"))
}

fn condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == kind)
        .any(|condition| condition.status == "True")
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

async fn available(client: &Client, app: &App, version: &str, replicas: i32) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), &app.namespace);
    until("an available Deployment", async || {
        let status = api.get(&app.deployment_name(version)).await.unwrap().status?;
        (status.available_replicas == Some(replicas)).then_some(())
    })
    .await;
}

fn runs(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Applies a pod of one container and gives its API.
async fn run_pod(client: &Client, namespace: &str, name: &str, pod: Value, container: Value) -> Api<Pod> {
    let mut manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": pod,
    });
    let mut container = container;
    container["name"] = "main".into();
    manifest["spec"]["containers"] = json!([container]);
    until("the default ServiceAccount", async || {
        apps::apply(client, &[manifest.clone()]).await.ok()
    })
    .await;
    Api::namespaced(client.clone(), namespace)
}

#[tokio::test]
async fn a_deployment_becomes_available_and_its_pods_answer_on_addresses_of_their_own() {
    let (ground, client) = start("deployed").await;
    let app = App::new("aleph", "deployed");
    apps::apply(&client, &[app.deployment("v03", 3, &[])])
        .await
        .unwrap();
    available(&client, &app, "v03", 3).await;
    let pods = app.pods(&client, "v03").await.unwrap();
    let mut addresses = Vec::new();
    for pod in &pods {
        let status = pod.status.as_ref().unwrap();
        assert_eq!(status.phase.as_deref(), Some("Running"));
        for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
            assert!(condition(pod, kind), "{kind}");
        }
        let ip = status.pod_ip.clone().unwrap();
        assert_eq!(status.pod_ips.as_ref().unwrap()[0].ip, ip);
        let body: Value = reqwest::get(format!("http://{ip}:9001/"))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(body["pod"], pod.name_any());
        assert_eq!(body["version"], "v03");
        let metrics = reqwest::get(format!("http://{ip}:9001/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(
            metrics.contains("destination_workload=\"aleph-v03\""),
            "{metrics}"
        );
        assert!(
            ground
                .kubelet
                .pod_log("deployed", &pod.name_any())
                .contains("listening on")
        );
        addresses.push(ip);
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 3);
    let node = Api::<Node>::all(client).get("bed").await.unwrap();
    assert!(
        node.status
            .unwrap()
            .conditions
            .unwrap()
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    );
}

#[tokio::test]
async fn a_pod_that_never_starts_never_becomes_ready_and_a_late_one_does() {
    let (_, client) = start("starting").await;
    let app = App::new("aleph", "starting");
    let never = app.deployment("never", 1, &[("START", "never")]);
    let late = app.deployment("late", 1, &[("START", "late:1500ms")]);
    apps::apply(&client, &[never, late]).await.unwrap();
    let first = async |version: &str| app.pods(&client, version).await.unwrap().into_iter().next();
    until("a running, unready pod", async || {
        first("late")
            .await
            .filter(|pod| condition(pod, "Initialized") && !condition(pod, "Ready"))
    })
    .await;
    available(&client, &app, "late", 1).await;
    let never = first("never").await.unwrap();
    assert_eq!(never.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
    assert!(!condition(&never, "Ready") && !condition(&never, "ContainersReady"));
}

#[tokio::test]
async fn a_crashing_pod_comes_back_with_its_restarts_counted_and_its_last_end_told() {
    let (_, client) = start("crashing").await;
    let app = App::new("aleph", "crashing");
    apps::apply(&client, &[app.deployment("v04", 1, &[("START", "crash:300ms")])])
        .await
        .unwrap();
    let seen = async |holds: fn(&ContainerStatus) -> bool| {
        let pod = app.pods(&client, "v04").await.unwrap().into_iter().next()?;
        container(&pod).filter(|status| holds(status)).cloned()
    };
    let waiting = until("a back-off", async || {
        seen(|status| {
            let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
            waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
        })
        .await
    })
    .await;
    assert!(!waiting.ready);
    assert_eq!(waiting.last_state.unwrap().terminated.unwrap().exit_code, 1);
    until("a second restart", async || {
        seen(|status| status.restart_count >= 2).await
    })
    .await;
}

#[tokio::test]
async fn a_killed_process_is_started_again_and_a_frozen_one_is_not_ready() {
    let (ground, client) = start("killed").await;
    let app = App::new("aleph", "killed");
    apps::apply(&client, &[app.deployment("v03", 1, &[])])
        .await
        .unwrap();
    available(&client, &app, "v03", 1).await;
    let name = app.pods(&client, "v03").await.unwrap()[0].name_any();
    let api: Api<Pod> = Api::namespaced(client.clone(), "killed");
    let before = ground.kubelet.pids("killed", &name);
    ground.kubelet.kill_pod("killed", &name, Signal::KILL).unwrap();
    let pod = until("the restart", async || {
        let pod = api.get(&name).await.unwrap();
        (container(&pod)?.restart_count == 1 && condition(&pod, "Ready")).then_some(pod)
    })
    .await;
    let last = container(&pod)
        .unwrap()
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert_eq!(last.exit_code, 137);
    assert_ne!(ground.kubelet.pids("killed", &name), before);

    ground.kubelet.kill_pod("killed", &name, Signal::STOP).unwrap();
    until("unready", async || {
        (!condition(&api.get(&name).await.unwrap(), "Ready")).then_some(())
    })
    .await;
    ground.kubelet.kill_pod("killed", &name, Signal::CONT).unwrap();
    until("ready again", async || {
        condition(&api.get(&name).await.unwrap(), "Ready").then_some(())
    })
    .await;
    assert_eq!(
        container(&api.get(&name).await.unwrap()).unwrap().restart_count,
        1
    );
    assert!(ground.kubelet.kill_pod("killed", "nobody", Signal::KILL).is_err());
}

#[tokio::test]
async fn a_deleted_pod_ends_its_process_and_goes_within_its_grace_period() {
    let (ground, client) = start("deleted").await;
    let app = App::new("aleph", "deleted");
    apps::apply(&client, &[app.deployment("v03", 1, &[])])
        .await
        .unwrap();
    available(&client, &app, "v03", 1).await;
    let name = app.pods(&client, "v03").await.unwrap()[0].name_any();
    let pid = ground.kubelet.pids("deleted", &name)[0];
    // Frozen, it does not hear SIGTERM: only the end of its grace period ends it.
    ground.kubelet.kill_pod("deleted", &name, Signal::STOP).unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "deleted");
    let none = json!({"spec": {"replicas": 0}});
    let params = PatchParams::default();
    deployments
        .patch(&app.deployment_name("v03"), &params, &Patch::Merge(none))
        .await
        .unwrap();
    let api: Api<Pod> = Api::namespaced(client, "deleted");
    until("the pod's end", async || {
        api.get_opt(&name).await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(!runs(pid));
    assert!(ground.kubelet.pids("deleted", &name).is_empty());
}

/// A Job of one shell that runs `script`.
fn job(namespace: &str, name: &str, script: &str, restart: &str) -> Value {
    let main = json!({"name": "main", "image": "shell:1", "args": ["-c", script]});
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": restart, "containers": [main]}},
        },
    })
}

/// Waits for a condition of a Job and gives its pod.
async fn ended_job(client: &Client, namespace: &str, name: &str, kind: &str) -> Pod {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    until(&format!("{name} {kind}"), async || {
        let conditions = jobs.get(name).await.unwrap().status?.conditions?;
        let met = |c: &JobCondition| c.type_ == kind && c.status == "True";
        conditions.iter().any(met).then_some(())
    })
    .await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = pods
        .list(&ListParams::default().labels(&format!("job-name={name}")))
        .await
        .unwrap();
    list.items.into_iter().next().unwrap()
}

#[tokio::test]
async fn jobs_end_with_their_exit_code_and_are_deleted_like_any_pod() {
    let (_, client) = start("jobs").await;
    let jobs = [
        job("jobs", "good", "exit 0", "Never"),
        job("jobs", "bad", "exit 3", "Never"),
    ];
    apps::apply(&client, &jobs).await.unwrap();
    let good = ended_job(&client, "jobs", "good", "Complete").await;
    assert_eq!(good.status.unwrap().phase.as_deref(), Some("Succeeded"));
    let bad = ended_job(&client, "jobs", "bad", "Failed").await;
    assert_eq!(bad.status.as_ref().unwrap().phase.as_deref(), Some("Failed"));
    let state = container(&bad).unwrap().state.as_ref().unwrap();
    assert_eq!(state.terminated.as_ref().unwrap().exit_code, 3);
    let api: Api<Job> = Api::namespaced(client.clone(), "jobs");
    api.delete("bad", &DeleteParams::background()).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "jobs");
    let gone = async || {
        pods.get_opt(&bad.name_any())
            .await
            .unwrap()
            .is_none()
            .then_some(())
    };
    until("the finished pod's end", gone).await;
}

#[tokio::test]
async fn a_container_that_failed_is_started_again_only_where_its_policy_says_so() {
    let (_, client) = start("policy").await;
    // It fails the first time and not the second.
    let second = "test -e seen && exit 0; touch seen; exit 7";
    apps::apply(&client, &[job("policy", "second", second, "OnFailure")])
        .await
        .unwrap();
    let pod = ended_job(&client, "policy", "second", "Complete").await;
    let status = container(&pod).unwrap();
    assert_eq!(
        (
            status.restart_count,
            pod.status.as_ref().unwrap().phase.as_deref()
        ),
        (1, Some("Succeeded"))
    );
    apps::apply(&client, &[job("policy", "never", second, "Never")])
        .await
        .unwrap();
    let pod = ended_job(&client, "policy", "never", "Failed").await;
    assert_eq!(container(&pod).unwrap().restart_count, 0);
}

#[tokio::test]
async fn a_process_gets_its_env_its_volumes_and_an_identity_that_the_api_server_knows() {
    let (ground, client) = start("identity").await;
    let meta = |name: &str| json!({"name": name, "namespace": "identity"});
    let manifests = [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("slack"), "stringData": {"token": "xoxb-1"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("conf"), "data": {"a.txt": "a file at /etc/conf/a.txt"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("bird")}),
    ];
    apps::apply(&client, &manifests).await.unwrap();
    let kubectl = ground.bed.tools().program("kubectl");
    let script = format!(
        "echo token=$TOKEN name=$NAME; cat $CONF; echo; echo args=$0; {} auth whoami; echo done; exec sleep 1000",
        kubectl.display()
    );
    let pod = json!({
        "serviceAccountName": "bird",
        "volumes": [{"name": "conf", "configMap": {"name": "conf"}}],
    });
    let main = json!({
        "image": "registry.example/shell:1", "args": ["-c", script, "$(NAME)"],
        "env": [
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "slack", "key": "token"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CONF", "value": "/etc/conf/a.txt"},
        ],
        "volumeMounts": [{"name": "conf", "mountPath": "/etc/conf"}],
    });
    let api = run_pod(&client, "identity", "who", pod, main).await;
    let log = until("the script's end", async || {
        let log = ground.kubelet.pod_log("identity", "who");
        log.contains("done").then_some(log)
    })
    .await;
    for wanted in [
        "token=xoxb-1 name=who",
        "/volumes/conf/a.txt\n",
        "args=who",
        "system:serviceaccount:identity:bird",
    ] {
        assert!(log.contains(wanted), "{wanted:?} is not in {log}");
    }
    api.delete("who", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    until("the end of its process", async || {
        ground.kubelet.pids("identity", "who").is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn kubectl_logs_shows_a_log_whole_by_its_end_and_as_it_grows() {
    let (ground, client) = start("logs").await;
    let script = "echo one; echo two; until test -e go; do sleep 0.05; done; echo three";
    let pod = json!({"restartPolicy": "Never"});
    run_pod(
        &client,
        "logs",
        "main",
        pod,
        json!({"image": "shell:1", "args": ["-c", script]}),
    )
    .await;
    until("its log", async || {
        ground
            .kubelet
            .pod_log("logs", "main")
            .contains("two")
            .then_some(())
    })
    .await;
    let kubectl = async |more: &[&str]| {
        let args = [&["logs", "--namespace=logs", "main"], more].concat();
        ground.bed.kubectl(args).await.unwrap()
    };
    assert_eq!(kubectl(&[]).await, "one\ntwo\n");
    assert_eq!(kubectl(&["--tail=1"]).await, "two\n");
    let follow = async { assert_eq!(kubectl(&["--follow"]).await, "one\ntwo\nthree\n") };
    let pid = ground.kubelet.pids("logs", "main")[0];
    let go = tokio::fs::write(format!("/proc/{pid}/cwd/go"), "");
    let ((), gone) = tokio::join!(follow, go);
    gone.unwrap();
}

#[tokio::test]
async fn a_pod_waits_and_says_why_when_its_image_or_a_secret_is_missing() {
    let (_, client) = start("missing").await;
    let api = run_pod(
        &client,
        "missing",
        "image",
        json!({}),
        json!({"image": "nginx:1"}),
    )
    .await;
    let env = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "later", "key": "token"}}}]);
    let waits = json!({"image": "bed/workload:v1", "env": env, "ports": [{"containerPort": 9001}]});
    run_pod(&client, "missing", "secret", json!({}), waits).await;
    let waiting = async |name: &str, reason: &str| {
        until(reason, async || {
            let pod = api.get(name).await.unwrap();
            let waiting = container(&pod)?.state.as_ref()?.waiting.clone()?;
            (waiting.reason.as_deref() == Some(reason)).then_some((pod, waiting.message.unwrap_or_default()))
        })
        .await
    };
    let (pod, message) = waiting("image", "ErrImagePull").await;
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Pending"));
    assert!(message.contains("nginx:1"));
    let (_, message) = waiting("secret", "CreateContainerConfigError").await;
    assert!(message.contains("\"later\" not found"), "{message}");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later", "namespace": "missing"},
        "stringData": {"token": "x"}});
    apps::apply(&client, &[secret]).await.unwrap();
    until("the pod", async || {
        condition(&api.get("secret").await.unwrap(), "Ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_fails_its_liveness_probe_is_started_again() {
    let (_, client) = start("liveness").await;
    let probe =
        json!({"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 2});
    let dead = json!({
        "image": "bed/workload:v1", "livenessProbe": probe,
        "ports": [{"name": "http", "containerPort": 9001}], "env": [{"name": "START", "value": "never"}],
    });
    let api = run_pod(
        &client,
        "liveness",
        "dead",
        json!({"terminationGracePeriodSeconds": 1}),
        dead,
    )
    .await;
    let pod = until("a restart", async || {
        let pod = api.get("dead").await.unwrap();
        (container(&pod)?.restart_count > 0).then_some(pod)
    })
    .await;
    let last = container(&pod)
        .unwrap()
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert!(
        last.message.as_ref().unwrap().contains("liveness probe failed"),
        "{last:?}"
    );
}

#[tokio::test]
async fn a_deleted_pod_has_its_pre_stop_hook_before_sigterm() {
    let (ground, client) = start("hooked").await;
    let script = "trap 'echo asked to end; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let hooked = json!({
        "image": "shell:1", "args": ["-c", script], "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
    });
    let api = run_pod(
        &client,
        "hooked",
        "main",
        json!({"terminationGracePeriodSeconds": 20}),
        hooked,
    )
    .await;
    until("it runs", async || {
        ground
            .kubelet
            .pod_log("hooked", "main")
            .contains("up")
            .then_some(())
    })
    .await;
    let asked = Instant::now();
    api.delete("main", &DeleteParams::default()).await.unwrap();
    until("its end", async || {
        api.get_opt("main").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(20), "it need not be killed");
    assert!(ground.kubelet.pod_log("hooked", "main").contains("asked to end"));
}

#[tokio::test]
async fn traffic_through_the_gateway_follows_the_weights_and_errors_stay_with_their_version() {
    let (ground, client) = start("mesh").await;
    let app = App::new("aleph", "mesh");
    apps::apply(
        &client,
        &[app.deployment("v03", 2, &[]), app.deployment("v04", 1, &[])],
    )
    .await
    .unwrap();
    apps::apply(&client, &app.mesh("v03", "v04")).await.unwrap();
    available(&client, &app, "v03", 2).await;
    available(&client, &app, "v04", 1).await;
    let traffic = Traffic::start(&ground.bed.gateway_url(), &app.host(), 100.0).unwrap();
    let second = Duration::from_secs(1);
    until("answers of production", async || traffic.share("v03", second)).await;
    apps::apply(&client, &[app.virtual_service(50, 50)])
        .await
        .unwrap();
    let about_half = |share: &f64| (0.35..0.65).contains(share);
    until("the new weights", async || {
        traffic.share("v04", second).filter(about_half)
    })
    .await;

    let half = Change {
        error_rate: Some(0.5),
        latency_ms: None,
    };
    app.behave(&client, "v04", half).await.unwrap();
    let since = Instant::now();
    until("400 requests", async || {
        (traffic.since(since).len() >= 400).then_some(())
    })
    .await;
    let mut samples = traffic.stop().await;
    samples.retain(|sample| sample.at >= since);
    let summary = Summary::of(&samples);
    assert!(
        share(&samples, "v04").as_ref().is_some_and(about_half),
        "{summary:?}"
    );
    assert_eq!((summary.failed, summary.unversioned.len()), (0, 0), "{summary:?}");
    let count = |version: &str, status| summary.answers.get(&(version.to_owned(), status)).copied();
    let (good, bad) = (count("v04", 200).unwrap(), count("v04", 500).unwrap());
    assert!(good.abs_diff(bad) <= 2, "{summary:?}");
    assert_eq!(count("v03", 500), None, "{summary:?}");
}

#[tokio::test]
async fn prometheus_answers_the_old_operators_queries_from_what_the_pods_export() {
    let (ground, client) = start("measured").await;
    let app = App::new("beth", "measured");
    let env = [("ERROR_RATE", "0.2"), ("LATENCY_MS", "5")];
    let deployment = app.deployment("v04", 1, &env);
    apps::apply(&client, &[deployment]).await.unwrap();
    available(&client, &app, "v04", 1).await;
    let pods = app.pods(&client, "v04").await.unwrap();
    let ip = pods[0].status.as_ref().unwrap().pod_ip.clone().unwrap();
    let traffic = Traffic::start(&format!("http://{ip}:9001"), &app.host(), 50.0).unwrap();
    let of = r#"destination_service_name="beth",destination_version="v04""#;
    for (query, about) in [
        (
            format!(r#"sum(irate(istio_requests_total{{{of},response_code="500"}}[30s]))"#),
            10.0,
        ),
        (
            format!("sum(irate(istio_request_duration_seconds_sum{{{of}}}[30s]))"),
            0.3,
        ),
    ] {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/api/v1/query", ground.bed.prometheus_url());
        until(&query, async || {
            let answer = client.post(&url).form(&[("query", &query)]).send().await.unwrap();
            let answer: Value = answer.json().await.unwrap();
            let value: f64 = answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()?;
            (about / 2.0..about * 2.0).contains(&value).then_some(())
        })
        .await;
    }
    assert!(
        traffic
            .stop()
            .await
            .iter()
            .all(|sample| sample.version.as_deref() == Some("v04"))
    );
}

#[tokio::test]
async fn a_kubelet_that_ends_leaves_no_process_and_the_next_one_takes_its_pods_over() {
    let bed = Infra::start(None).await.unwrap_or_else(|error| panic!("{error}"));
    let client = bed.client().unwrap();
    let kubelet = Kubelet::start(config(&bed)).await.unwrap();
    let deaf = json!({"image": "shell:1", "args": ["-c", "trap '' TERM; while :; do sleep 0.05; done"]});
    let api = run_pod(&client, "default", "deaf", json!({}), deaf).await;
    let ready = async |kubelet: &Kubelet| {
        until("a running pod", async || {
            let pod = api.get("deaf").await.unwrap();
            let pids = kubelet.pids("default", "deaf");
            (condition(&pod, "Ready") && !pids.is_empty()).then(|| pids[0])
        })
        .await
    };
    let first = ready(&kubelet).await;
    assert!(runs(first));
    kubelet.shutdown().await;
    assert!(!runs(first));

    let kubelet = Kubelet::start(config(&bed)).await.unwrap();
    let second = ready(&kubelet).await;
    assert!(runs(second));
    drop(kubelet);
    until("its end", async || (!runs(second)).then_some(())).await;
    bed.stop().await;
}
