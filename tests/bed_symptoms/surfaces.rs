//! What the other surfaces say of a case: `kubectl describe`, and the metrics of its rollout. They may be a moment late, and
//! must come to agree with status.

use std::time::Duration;

use serde_json::Value;

use crate::cases::{Case, Seen};
use crate::rows::is_shown;
use crate::stage::{SERVICE, Stage};

/// What comes to agree does so in this time, on a machine that is busy with others.
const SOON: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_secs(1);

/// Waits until all of them agree with status.
///
/// # Errors
/// Which does not.
pub(crate) async fn agree(stage: &Stage, case: &Case) -> Result<(), String> {
    let mut missing = Vec::new();
    let agreed = async {
        loop {
            missing = disagreements(stage, case).await;
            if missing.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let in_time = tokio::time::timeout(SOON, agreed).await;
    in_time.map_err(|_| format!("shown, and elsewhere not:\n{}", missing.join("\n")))
}

async fn disagreements(stage: &Stage, case: &Case) -> Vec<String> {
    let status = stage.status();
    let described = stage.described().await;
    let metrics = stage.ground.metrics().await;
    if status != stage.status() {
        return vec!["it changes all the time".to_owned()];
    }
    let mut found: Vec<String> = says(&status)
        .into_iter()
        .filter(|said| !described.contains(&stage.general(said)))
        .map(|said| format!("kubectl describe has no {said:?}:\n{described}"))
        .collect();
    // What is a column of `kubectl get` now is a field of the same object.
    let is_now = [&status["message"], &status["reading"]]
        .iter()
        .any(|text| is_shown(case.text, &stage.general(text.as_str().unwrap_or_default())));
    if matches!(case.seen, Seen::Get) && is_now && !is_shown(case.text, &described) {
        found.push(format!("kubectl describe shows something else:\n{described}"));
    }
    let (weight, shown) = (under_way(&status), weight_of(&metrics, &stage.namespace));
    if weight != shown {
        found.push(format!(
            "status has the weight {weight:?}, the metrics have {shown:?}"
        ));
    }
    found
}

/// The message, and each condition that holds with its own.
fn says(status: &Value) -> Vec<String> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let holds = conditions.filter(|condition| condition["status"] == "True");
    let texts = holds.flat_map(|condition| [&condition["type"], &condition["reason"], &condition["message"]]);
    let texts = texts.chain([&status["message"]]).filter_map(Value::as_str);
    texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// The confirmed weight of the rollout under way.
fn under_way(status: &Value) -> Option<i64> {
    let rollout = status.get("rollout").filter(|rollout| rollout.is_object())?;
    rollout["ended"]
        .is_null()
        .then(|| rollout["confirmed"].as_i64().unwrap_or(-1))
}

/// The same as a Prometheus would read it.
fn weight_of(metrics: &str, namespace: &str) -> Option<i64> {
    let labels = format!("watched_namespace=\"{namespace}\",birdwatch=\"{SERVICE}\"");
    let mut lines = metrics.lines();
    let line =
        lines.find(|line| line.starts_with("birdwatch_rollout_weight_percent{") && line.contains(&labels))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn the_weight_is_that_of_the_very_rollout() {
    let metrics = "# TYPE birdwatch_rollout_weight_percent gauge\n\
        birdwatch_rollout_weight_percent{watched_namespace=\"symptom-1\",birdwatch=\"shop\",production=\"v1\",canary=\"v2\"} 25\n\
        birdwatch_rollout_weight_percent{watched_namespace=\"symptom-12\",birdwatch=\"shop\",production=\"v1\",canary=\"v2\"} 50\n";
    assert_eq!(weight_of(metrics, "symptom-12"), Some(50));
    assert_eq!(weight_of(metrics, "symptom-2"), None);
    let status = serde_json::json!({"rollout": {"confirmed": 25}});
    assert_eq!(under_way(&status), Some(25));
    let status = serde_json::json!({"rollout": {"confirmed": 25, "ended": "2026-01-01T00:00:00Z"}});
    assert_eq!(under_way(&status), None);
}
