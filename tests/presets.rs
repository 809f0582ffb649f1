//! What the presets' queries say of Istio's counters, as Prometheus evaluates them.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use birdwatch::api::plan::TestPlan;
use birdwatch::core::plan;
use birdwatch::core::query::{Template, Values};
use serde_json::{Value, json};

#[path = "support/promtool.rs"]
mod promtool;

/// Requests to one version as a reporter counts them; the canary's get no answer where `answered` is false.
fn series(name: &str, reporter: &str, version: &str, answered: bool, labels: &str, per_minute: u32) -> Value {
    let known = if answered { version } else { "unknown" };
    let labels = format!(
        "{name}{{reporter=\"{reporter}\",destination_service_name=\"shop\",destination_service_namespace=\"default\",\
         destination_version=\"{known}\",destination_canonical_revision=\"{version}\",destination_workload=\"shop-{version}\",\
         {labels}}}"
    );
    json!({"series": labels, "values": format!("0+{per_minute}x20")})
}

/// The query of a preset for one version.
fn query(metric: &Value, version: &str) -> String {
    let spec = json!({"service": "shop", "metrics": [metric]});
    let plan = plan::resolve(&serde_json::from_value(spec).unwrap()).unwrap();
    let TestPlan::Threshold(test) = &plan.metrics[0].test else {
        panic!("{:?}", plan.metrics[0].test);
    };
    let values = Values {
        service: "shop",
        namespace: "default",
        version,
        production: "v1",
        canary: "v2",
        window: Duration::from_mins(5),
    };
    Template::parse(&test.query).unwrap().expand(&values)
}

#[test]
fn what_a_version_never_answered_is_its_own() {
    const REQUESTS: &str = "istio_requests_total";
    let of = |reporter, version, answered, code: &str, per_minute| {
        let labels = format!("response_code=\"{code}\",grpc_response_status=\"\"");
        series(REQUESTS, reporter, version, answered, &labels, per_minute)
    };
    let grpc = |status: &str, per_minute| {
        let labels = format!("response_code=\"200\",grpc_response_status=\"{status}\"");
        series(REQUESTS, "destination", "v3", true, &labels, per_minute)
    };
    let errors = json!({"preset": "error-rate", "test": "threshold", "max": 0.02});
    let share = |version: &str, value: f64| json!({"expr": query(&errors, version), "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": value}]});
    let input = json!([
        of("source", "v1", true, "200", 99),
        of("source", "v1", true, "503", 1),
        // The callers waited for three of four in vain; the pod's own proxy saw them go.
        of("source", "v2", true, "200", 10),
        of("source", "v2", false, "504", 30),
        of("destination", "v2", true, "200", 10),
        of("destination", "v2", true, "0", 30),
        // Nobody counts these but the pod's own proxy.
        of("destination", "v4", true, "200", 60),
        of("destination", "v4", true, "0", 40),
        grpc("0", 90),
        grpc("5", 6),
        grpc("14", 4),
    ]);
    let slow = |version, answered, bound: &str, per_minute| {
        let labels = format!("le=\"{bound}\"");
        let name = "istio_request_duration_milliseconds_bucket";
        series(name, "source", version, answered, &labels, per_minute)
    };
    let latency = json!({"preset": "latency", "quantile": 0.5});
    let hangs = json!([
        slow("v2", true, "10", 10),
        slow("v2", true, "1000", 10),
        slow("v2", true, "+Inf", 10),
        slow("v2", false, "10", 0),
        slow("v2", false, "1000", 30),
        slow("v2", false, "+Inf", 30),
    ]);
    let median = json!({
        "expr": format!("{} > bool 300", query(&latency, "v2")), "eval_time": "10m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    });
    let stories = json!({"evaluation_interval": "1m", "tests": [
        {"interval": "1m", "input_series": input, "promql_expr_test": [share("v1", 0.01), share("v2", 0.75), share("v3", 0.04), share("v4", 0.4)]},
        {"interval": "1m", "input_series": hangs, "promql_expr_test": [median]},
    ]});
    promtool::agrees("presets.json", &stories.to_string(), &[]);
}
