//! Prometheus: finds pods as it does in a cluster, scrapes and evaluates every second.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

use crate::{
    cluster::Ground,
    part::{Part, Probe},
    process::Spec,
};

/// A Prometheus that reads the API server with `kubeconfig`.
pub(crate) fn prometheus(ground: &Ground, port: u16, kubeconfig: &Path) -> io::Result<Part> {
    let dir = ground.dir.join("prometheus");
    fs::create_dir_all(&dir)?;
    let (config, rules, data) = (dir.join("config.yaml"), dir.join("rules.yaml"), dir.join("data"));
    fs::write(&config, configuration(port, kubeconfig, &rules).to_string())?;
    fs::write(&rules, recording_rules().to_string())?;
    let spec = Spec::new("prometheus", ground.tools.program("prometheus"))
        .args([
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--storage.tsdb.retention.time=1d".into(),
            "--enable-feature=exemplar-storage".into(),
            "--log.level=warn".into(),
        ])
        .cwd(&dir);
    let probe = Probe::http(format!("http://127.0.0.1:{port}/-/ready"));
    Ok(Part::new(spec, &ground.logs(), probe).with_data(data))
}

/// Every running pod with a containerPort or the annotation `prometheus.io/port`, which wins. `honor_labels`: what a
/// workload says about itself, as a sidecar would, is not overridden by what we know about its pod.
fn configuration(port: u16, kubeconfig: &Path, rules: &Path) -> Value {
    let relabel = json!([
        {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Pending|Succeeded|Failed|Unknown"},
        {"action": "drop", "source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "regex": "false"},
        {
            "source_labels": ["__meta_kubernetes_pod_ip", "__meta_kubernetes_pod_annotation_prometheus_io_port"],
            "separator": ":", "regex": r"(.+):(\d+)", "replacement": "$1:$2", "target_label": "__address__",
        },
        {"action": "keep", "source_labels": ["__address__"], "regex": r".+:\d+"},
        {
            "source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_path"],
            "regex": "(.+)", "target_label": "__metrics_path__",
        },
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]);
    json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{
            "job_name": "prometheus",
            "static_configs": [{"targets": [format!("127.0.0.1:{port}")]}],
        }, {
            "job_name": "pods",
            "honor_labels": true,
            "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": kubeconfig}],
            "relabel_configs": relabel,
        }],
    })
}

/// Istio's old name for the time spent on requests, in seconds, as old manifests ask for it.
fn recording_rules() -> Value {
    json!({"groups": [{"name": "istio-old-names", "rules": [{
        "record": "istio_request_duration_seconds_sum",
        "expr": "istio_request_duration_milliseconds_sum / 1000",
    }]}]})
}
