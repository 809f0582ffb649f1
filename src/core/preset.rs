//! Istio's standard telemetry: the queries and selectors that presets stand for. Text only.

use crate::api::spec::{CompareTo, Failures, Metric, Preset};

/// Its counter of requests.
pub(crate) const REQUESTS: &str = "istio_requests_total";
/// Its histogram of how long they took, in milliseconds.
pub(crate) const DURATIONS: &str = "istio_request_duration_milliseconds_bucket";

/// Its reporter by which a pod reports for itself.
pub(crate) const OWN: &str = "destination";

/// The label `le` of all requests.
pub(crate) const ALL: &str = "+Inf";

/// gRPC statuses that are the server's fault, as OpenTelemetry's conventions for server spans have it: `UNKNOWN`,
/// `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`.
pub(crate) const GRPC_FAULTS: [&str; 6] = ["2", "4", "12", "13", "14", "15"];

/// How much slower than production a canary may be where nothing is said, in percent.
const SLOWER_PERCENT: f64 = 50.0;
/// Differences up to this are never bad where nothing is said, in milliseconds.
const SLOWER_LEAST: f64 = 10.0;
/// A quantile of few requests strays: so many of the last so many checks have to be bad where nothing is said.
const SLOWER_FAILURES: Failures = Failures { count: 3, of: 5 };

/// Matchers of requests to one version, by either reporter.
pub(crate) const OF_VERSION: &str = "destination_service_name=\"$(service)\",destination_service_namespace=\"$(namespace)\",\
                          destination_version=\"$(version)\"";

/// A quantile without any limit is compared with production's at the same moment.
pub(super) fn with_limits(entry: &Metric) -> Metric {
    let mut entry = entry.clone();
    let limited = entry.deviation.is_some()
        || entry.deviation_percent.is_some()
        || entry.min.is_some()
        || entry.max.is_some();
    if entry.preset == Some(Preset::Latency) && !limited {
        entry.deviation_percent = Some(SLOWER_PERCENT);
        entry.min_absolute = entry.min_absolute.or(Some(SLOWER_LEAST));
        entry.compare_to = entry.compare_to.or(Some(CompareTo::Production));
        entry.failures = entry.failures.or(Some(SLOWER_FAILURES));
    }
    entry
}

/// The query that a preset stands for: a share from 0 to 1, or milliseconds. Where both reporters count the same
/// requests, the worse of the two counts.
pub(super) fn query(entry: &Metric) -> String {
    match entry.preset {
        Some(Preset::Latency) => format!(
            "max(histogram_quantile({}, sum by (le, reporter) (rate({DURATIONS}{{{OF_VERSION}}}[$(window)]))))",
            entry.quantile.unwrap_or(0.99)
        ),
        Some(Preset::ErrorRate) => {
            let all = format!("sum by (reporter) (rate({REQUESTS}{{{OF_VERSION}}}[$(window)]))");
            let http = rate_of("response_code=~\"5..\"");
            let grpc = rate_of(&format!(
                "response_code!~\"5..\",grpc_response_status=~\"{}\"",
                GRPC_FAULTS.join("|")
            ));
            // Without a failed request there is no series of them: that is a 0, as far as requests are counted at all.
            format!("max((({http} or 0 * {all}) + ({grpc} or 0 * {all})) / {all})")
        }
        None => String::new(),
    }
}

/// Whether a query is the preset's share of bad requests.
pub(crate) fn is_error_share(text: &str) -> bool {
    let entry = Metric {
        preset: Some(Preset::ErrorRate),
        ..Metric::default()
    };
    text == query(&entry)
}

fn rate_of(matchers: &str) -> String {
    format!("sum by (reporter) (rate({REQUESTS}{{{OF_VERSION},{matchers}}}[$(window)]))")
}
