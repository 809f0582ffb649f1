//! Istio's standard telemetry: the queries and selectors that presets stand for. Text only.

use crate::api::spec::{CompareTo, Failures, Metric, Preset};

/// Its counter of requests.
pub(crate) const REQUESTS: &str = "istio_requests_total";
/// Its histogram of how long they took, in milliseconds.
pub(crate) const DURATIONS: &str = "istio_request_duration_milliseconds_bucket";

/// Its reporter by which a pod reports for itself.
pub(crate) const OWN: &str = "destination";

/// Its reporter by which callers, gateways among them, report what they sent.
pub(crate) const CALLER: &str = "source";

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

/// Matchers of requests to one version whose callers got no answer by a sidecar: none within their timeout, a refused
/// connection, a pod without one. An answer alone tells a caller `destination_version`; of what it only sent to, it knows the
/// canonical revision, which is the label `version` where no other label says it (Istio's `istio_stats.cc`, `populatePeerInfo`).
pub(crate) const UNANSWERED: &str = "destination_service_name=\"$(service)\",destination_service_namespace=\"$(namespace)\",\
                          destination_version=\"unknown\",destination_canonical_revision=\"$(version)\",reporter=\"source\"";

/// The response code of requests whose caller went away before any answer.
pub(crate) const NO_ANSWER: &str = "0";

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
            "max(histogram_quantile({}, {}))",
            entry.quantile.unwrap_or(0.99),
            rate("le, reporter", DURATIONS, "", "$(window)")
        ),
        Some(Preset::ErrorRate) => {
            let of = |matchers: &str| rate("reporter", REQUESTS, matchers, "$(window)");
            let all = of("");
            let http = of(&format!(",response_code=~\"5..|{NO_ANSWER}\""));
            let grpc = of(&format!(
                ",response_code!~\"5..|{NO_ANSWER}\",grpc_response_status=~\"{}\"",
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

/// Requests to one version per second over `range`, by either reporter; both count the same requests, so the larger is taken.
pub(crate) fn traffic(range: &str) -> String {
    format!("max({})", rate("reporter", REQUESTS, "", range))
}

/// What a version's series grow by per second over `range`, added up `by` labels; `matchers` begin with a comma, or are none.
fn rate(by: &str, name: &str, matchers: &str, range: &str) -> String {
    format!(
        "sum by ({by}) (rate({name}{{{OF_VERSION}{matchers}}}[{range}]) or rate({name}{{{UNANSWERED}{matchers}}}[{range}]))"
    )
}
