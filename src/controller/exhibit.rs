//! What the metrics show of rollouts: their readings while they are under way, and decisions once they are written.

use std::time::SystemTime;

use jiff::Timestamp;

use crate::api::BirdWatchStatus;
use crate::api::status::MetricStatus;
use crate::core::history;
use crate::core::line::tidy;
use crate::core::observation::ObjectName;
use crate::core::tally;
use crate::runtime::metrics::NoticeResult;
use crate::runtime::metrics::rollouts::{MetricReadings, RolloutReadings};

use super::commit::Committed;
use super::context::Scope;
use super::look::Look;

/// The most characters of a version, as of a pod's label. A subset may be labelled with any text, and it is on a page that all
/// rollouts share.
const LONGEST_VERSION: usize = 63;

/// Shows the decided status `next`, and counts what it decided where that is written.
pub(super) fn show(
    scope: &Scope,
    look: &Look,
    next: &BirdWatchStatus,
    committed: &Committed,
    now: Timestamp,
) {
    let metrics = &scope.context.metrics;
    match committed {
        Committed::Gone => return remove(scope, &look.name),
        Committed::Overtaken => return,
        Committed::Written => count(scope, &look.stored, next, now),
        Committed::Kept | Committed::Refused(_) => {}
    }
    metrics.rollout(&look.name.namespace, &look.name.name, readings(next));
    // The watch may have seen it go meanwhile, and removes nothing twice.
    if !scope.stores.bird_watches.has(&look.name) {
        remove(scope, &look.name);
    }
}

/// Counts what a written status decided, and the notices that it gave up.
pub(super) fn count(scope: &Scope, before: &BirdWatchStatus, written: &BirdWatchStatus, now: Timestamp) {
    let metrics = &scope.context.metrics;
    for (decided, rollout) in tally::decided(before, written) {
        metrics.decided(decided.as_str(), rollout, SystemTime::from(now));
    }
    let lost = written.notices.lost.saturating_sub(before.notices.lost);
    metrics.notices(NoticeResult::Lost, u64::try_from(lost).unwrap_or(0));
}

/// The object is gone.
pub(super) fn remove(scope: &Scope, name: &ObjectName) {
    scope.context.metrics.rollout(&name.namespace, &name.name, None);
}

/// What is shown of the rollout under way; none where there is none.
fn readings(status: &BirdWatchStatus) -> Option<RolloutReadings> {
    let rollout = status
        .rollout
        .as_ref()
        .filter(|rollout| rollout.ended.is_none())?;
    Some(RolloutReadings {
        production: tidy(&rollout.production.version, LONGEST_VERSION),
        canary: tidy(&rollout.canary.version, LONGEST_VERSION),
        weight: rollout.confirmed,
        metrics: rollout.metrics.iter().map(of_metric).collect(),
    })
}

fn of_metric(metric: &MetricStatus) -> MetricReadings {
    let last = metric.last.as_ref();
    let strength = history::strength(metric);
    let recorded = metric.baseline.as_ref().map(|baseline| baseline.value);
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    MetricReadings {
        name: metric.name.clone(),
        value: finite(last.and_then(|reading| reading.value)),
        compared_with: finite(last.and_then(|reading| reading.compared_with).or(recorded)),
        upper: finite(last.and_then(|reading| reading.upper)),
        lower: finite(last.and_then(|reading| reading.lower)),
        evidence: finite(strength.map(|strength| strength.evidence)),
        evidence_limit: finite(strength.map(|strength| strength.limit)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(ended: bool) -> BirdWatchStatus {
        let mut rollout = json!({
            "id": "v2-a", "canary": {"version": "v2", "deployment": "d", "uid": "u"},
            "production": {"version": "v1", "deployment": "d", "uid": "u"},
            "plan": {"target": {"service": "a", "selector": {}, "versionLabel": "version", "productionSubset": "p",
                "canarySubset": "c", "virtualServices": ["a"], "destinationRule": "a"},
                "metrics": [], "steps": [], "minCapacity": 0.5, "progressDeadline": "10m", "ifUnhealthy": "rollback"},
            "started": "2026-01-01T00:00:00Z", "clock": {"served": "0s"}, "confirmed": 25,
            "metrics": [
                {"name": "read", "window": "", "baseline":
                    {"value": 0.25, "samples": 1, "source": "Measured", "at": "2026-01-01T00:00:00Z"},
                    "last": {"value": 0.5, "upper": 0.75, "message": "", "at": "2026-01-01T00:00:00Z"}},
                {"name": "unknown", "window": "", "last": {"message": "", "at": "2026-01-01T00:00:00Z"}},
            ],
        });
        if ended {
            rollout["ended"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(json!({"phase": "Progressing", "rollout": rollout})).unwrap()
    }

    #[test]
    fn a_rollout_shows_what_it_knows_while_it_is_under_way() {
        let shown = readings(&status(false)).unwrap();
        assert_eq!((shown.weight, shown.canary.as_str()), (25, "v2"));
        let read = MetricReadings {
            name: "read".into(),
            value: Some(0.5),
            compared_with: Some(0.25),
            upper: Some(0.75),
            ..MetricReadings::default()
        };
        let unknown = MetricReadings {
            name: "unknown".into(),
            ..MetricReadings::default()
        };
        assert_eq!(shown.metrics, [read, unknown]);
        assert_eq!(readings(&status(true)), None);
        assert_eq!(readings(&BirdWatchStatus::default()), None);
    }
}
