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
                          destination_version=\"unknown\",destination_canonical_revision=\"$(version)\",\
                          destination_workload!=\"unknown\",reporter=\"source\"";

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
        Some(Preset::Latency) => latency(entry.quantile.unwrap_or(0.99), rate),
        Some(Preset::ErrorRate) => errors(&format!("5..|{NO_ANSWER}"), rate),
        None => String::new(),
    }
}

/// How series are added up: by which labels, of which name and further matchers, over which range.
type Rate = fn(&str, &str, &str, &str) -> String;

fn latency(quantile: f64, rate: Rate) -> String {
    format!(
        "max(histogram_quantile({quantile}, {}))",
        rate("le, reporter", DURATIONS, "", "$(window)")
    )
}

fn errors(codes: &str, rate: Rate) -> String {
    let of = |matchers: &str| rate("reporter", REQUESTS, matchers, "$(window)");
    let all = of("");
    let http = of(&format!(",response_code=~\"{codes}\""));
    let grpc = of(&format!(
        ",response_code!~\"{codes}\",grpc_response_status=~\"{}\"",
        GRPC_FAULTS.join("|")
    ));
    // Without a failed request there is no series of them: that is a 0, as far as requests are counted at all.
    format!("max((({http} or 0 * {all}) + ({grpc} or 0 * {all})) / {all})")
}

/// Whether a query is the preset's share of bad requests.
pub(crate) fn is_error_share(text: &str) -> bool {
    let entry = Metric {
        preset: Some(Preset::ErrorRate),
        ..Metric::default()
    };
    text == query(&entry)
}

/// Requests that one version answered, per second over `range`, by either reporter; both count the same requests, so the larger is taken.
pub(crate) fn traffic(range: &str) -> String {
    format!("max({})", answered("reporter", REQUESTS, "", range))
}

/// Whether a preset's query is the same as another that a former release wrote into status.
pub(crate) fn is_former(before: &str, now: &str) -> bool {
    let is_errors = is_error_share(now) && before == errors("5..", answered);
    let quantile = now
        .strip_prefix("max(histogram_quantile(")
        .and_then(|rest| rest.split_once(", ")?.0.parse().ok());
    is_errors
        || quantile
            .is_some_and(|quantile| now == latency(quantile, rate) && before == latency(quantile, answered))
}

/// The same of what was answered alone.
fn answered(by: &str, name: &str, matchers: &str, range: &str) -> String {
    format!("sum by ({by}) (rate({name}{{{OF_VERSION}{matchers}}}[{range}]))")
}

/// What a version's series grow by per second over `range`, added up `by` labels; `matchers` begin with a comma, or are none.
fn rate(by: &str, name: &str, matchers: &str, range: &str) -> String {
    format!(
        "sum by ({by}) (rate({name}{{{OF_VERSION}{matchers}}}[{range}]) or rate({name}{{{UNANSWERED}{matchers}}}[{range}]))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query of the user's own names what it counts: it is nobody's 0 where its version answered nothing.
    #[test]
    fn a_version_has_traffic_when_it_answers() {
        assert!(!traffic("60s").contains("unknown"));
    }

    /// What 0.2.0 wrote into status.
    #[test]
    fn a_presets_query_of_a_former_release_is_known_again() {
        let former = |reporters: &str, of: &str, matchers: &str| {
            format!("sum by ({reporters}) (rate({of}{{{OF_VERSION}{matchers}}}[$(window)]))")
        };
        let all = former("reporter", REQUESTS, "");
        let http = former("reporter", REQUESTS, ",response_code=~\"5..\"");
        let grpc = former(
            "reporter",
            REQUESTS,
            ",response_code!~\"5..\",grpc_response_status=~\"2|4|12|13|14|15\"",
        );
        let errors = format!("max((({http} or 0 * {all}) + ({grpc} or 0 * {all})) / {all})");
        let preset = |preset, quantile| {
            query(&Metric {
                preset: Some(preset),
                quantile,
                ..Metric::default()
            })
        };
        assert!(is_former(&errors, &preset(Preset::ErrorRate, None)));
        let buckets = former("le, reporter", DURATIONS, "");
        let latency = format!("max(histogram_quantile(0.95, {buckets}))");
        assert!(is_former(&latency, &preset(Preset::Latency, Some(0.95))));
        assert!(!is_former(&latency, &preset(Preset::Latency, Some(0.99))));
        assert!(!is_former(&latency, &preset(Preset::ErrorRate, None)));
        assert!(!is_former("up", "up"));
    }
}
