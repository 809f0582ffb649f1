use super::*;
use std::collections::BTreeSet;

#[test]
fn the_text_ends_as_openmetrics_asks_and_names_the_build() {
    let text = Metrics::new().text().unwrap();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains(&format!(
        "birdwatch_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    )));
    assert!(text.contains("birdwatch_leader 0\n"));
    assert!(text.contains("birdwatch_notices_waiting 0\n"));
}

#[test]
fn every_occurrence_is_counted_under_its_labels() {
    let metrics = Metrics::new();
    metrics.reconciled("ok", Duration::from_millis(3));
    metrics.queried("default", "timeout", Duration::from_secs(5));
    metrics.prometheus_at_start("default", Some("connection refused"));
    metrics.rollouts(&[("Idle", 3), ("Progressing", 1)]);
    metrics.weights_written(Direction::Up, WriteResult::Conflict);
    metrics.written(WriteKind::Status, WriteResult::Success);
    metrics.notices(NoticeResult::Delivered, 1);
    metrics.notices(NoticeResult::Lost, 3);
    metrics.notices_waiting(7);
    metrics.leadership(true, "birdwatch", "me");
    metrics.shards(3);
    let text = metrics.text().unwrap();
    for line in [
        "birdwatch_reconciles_total{result=\"ok\"} 1",
        "birdwatch_reconcile_duration_seconds_bucket{le=\"0.004\"} 1",
        "birdwatch_queries_total{server=\"default\",outcome=\"timeout\"} 1",
        "birdwatch_query_duration_seconds_count{server=\"default\"} 1",
        "birdwatch_prometheus_up_at_start{server=\"default\"} 0",
        "birdwatch_rollouts{phase=\"Idle\"} 3",
        "birdwatch_rollouts{phase=\"Progressing\"} 1",
        "birdwatch_weight_writes_total{direction=\"up\",result=\"conflict\"} 1",
        "birdwatch_api_writes_total{kind=\"weights\",result=\"conflict\"} 1",
        "birdwatch_api_writes_total{kind=\"status\",result=\"success\"} 1",
        "birdwatch_notices_total{result=\"delivered\"} 1",
        "birdwatch_notices_total{result=\"lost\"} 3",
        "birdwatch_notices_waiting 7",
        "birdwatch_leader 1",
        "birdwatch_shards 3",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn a_phase_that_nobody_is_in_any_more_is_not_shown_as_before() {
    let metrics = Metrics::new();
    metrics.rollouts(&[("Progressing", 4)]);
    metrics.rollouts(&[("Promoted", 4)]);
    let text = metrics.text().unwrap();
    assert!(!text.contains("Progressing"), "{text}");
    assert!(text.contains("birdwatch_rollouts{phase=\"Promoted\"} 4"));
}

#[test]
fn a_thousand_writes_make_no_more_series_than_kinds_and_results() {
    let metrics = Metrics::new();
    for _ in 0..1000 {
        metrics.written(WriteKind::Status, WriteResult::Success);
        metrics.written(WriteKind::Status, WriteResult::Timeout);
    }
    let text = metrics.text().unwrap();
    let series: BTreeSet<_> = text
        .lines()
        .filter(|l| l.starts_with("birdwatch_api_writes_total"))
        .collect();
    assert_eq!(series.len(), 2, "{series:?}");
}
