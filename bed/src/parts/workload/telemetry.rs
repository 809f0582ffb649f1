//! What a sidecar would count for this pod, under Istio's own names. No I/O, no clock.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// Upper bounds of Istio's duration histogram, in milliseconds; +Inf follows.
const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Who is counted: the pod's names as Istio's labels show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pod's namespace.
    pub namespace: String,
    /// The Deployment, or whatever owns the pod.
    pub workload: String,
    /// Label `app`: the service's name.
    pub app: String,
    /// Label `version`.
    pub version: String,
}

/// Requests of one response code.
#[derive(Clone, Debug, Default)]
struct Series {
    count: u64,
    sum_ms: f64,
    buckets: [u64; BUCKETS.len()],
}

/// Counts of one pod. A response code has no series before its first request.
#[derive(Debug)]
pub struct Telemetry {
    labels: String,
    by_code: BTreeMap<u16, Series>,
}

impl Telemetry {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(who: &Identity) -> Self {
        let Identity {
            namespace,
            workload,
            app,
            version,
        } = who;
        let host = format!("{app}.{namespace}.svc.cluster.local");
        let labels = [
            ("reporter", "destination"),
            ("destination_workload", workload),
            ("destination_workload_namespace", namespace),
            ("destination_app", app),
            ("destination_version", version),
            ("destination_service", &host),
            ("destination_service_name", app),
            ("destination_service_namespace", namespace),
            ("destination_canonical_service", app),
            ("destination_canonical_revision", version),
            ("request_protocol", "http"),
            ("response_flags", "-"),
            ("connection_security_policy", "none"),
        ];
        let labels = labels
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .join(",");
        Self {
            labels,
            by_code: BTreeMap::new(),
        }
    }

    /// Counts one answered request.
    pub fn record(&mut self, code: u16, took: Duration) {
        let ms = took.as_secs_f64() * 1_000.0;
        let series = self.by_code.entry(code).or_default();
        series.count += 1;
        series.sum_ms += ms;
        for (bucket, bound) in series.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(ms <= bound);
        }
    }

    /// Everything counted, in Prometheus' text format.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if self.by_code.is_empty() {
            return Ok(());
        }
        writeln!(out, "# TYPE istio_requests_total counter")?;
        for (code, series) in &self.by_code {
            let labels = self.labels_of(*code);
            writeln!(out, "istio_requests_total{{{labels}}} {}", series.count)?;
        }
        let name = "istio_request_duration_milliseconds";
        writeln!(out, "# TYPE {name} histogram")?;
        for (code, series) in &self.by_code {
            let labels = self.labels_of(*code);
            for (count, bound) in series.buckets.iter().zip(BUCKETS) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", series.count)?;
            writeln!(out, "{name}_sum{{{labels}}} {}", series.sum_ms)?;
            writeln!(out, "{name}_count{{{labels}}} {}", series.count)?;
        }
        Ok(())
    }

    fn labels_of(&self, code: u16) -> String {
        format!("{},response_code=\"{code}\"", self.labels)
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry() -> Telemetry {
        let name = |text: &str| text.to_owned();
        Telemetry::new(&Identity {
            namespace: name("shop"),
            workload: name("aleph-v04"),
            app: name("aleph"),
            version: name("v\"04"),
        })
    }

    fn value(text: &str, metric: &str, with: &[&str]) -> Option<f64> {
        let line = text
            .lines()
            .find(|line| line.starts_with(metric) && with.iter().all(|part| line.contains(part)))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn there_is_no_series_before_the_first_request_nor_an_error_series_before_the_first_error() {
        let mut telemetry = telemetry();
        assert_eq!(telemetry.exposition(), "");
        telemetry.record(200, Duration::from_millis(3));
        let text = telemetry.exposition();
        assert_eq!(
            value(&text, "istio_requests_total{", &["response_code=\"200\""]),
            Some(1.0)
        );
        assert!(!text.contains("response_code=\"500\""), "{text}");
        telemetry.record(500, Duration::from_millis(3));
        assert_eq!(
            value(&telemetry.exposition(), "istio_requests_total{", &["=\"500\""]),
            Some(1.0)
        );
    }

    #[test]
    fn the_histogram_is_cumulative_and_sums_milliseconds() {
        let mut telemetry = telemetry();
        for ms in [3, 30, 30] {
            telemetry.record(200, Duration::from_millis(ms));
        }
        let text = telemetry.exposition();
        let bucket = |le: &str| value(&text, "istio_request_duration_milliseconds_bucket", &[le]);
        assert_eq!(bucket("le=\"1\""), Some(0.0));
        assert_eq!(bucket("le=\"5\""), Some(1.0));
        assert_eq!(bucket("le=\"50\""), Some(3.0));
        assert_eq!(bucket("le=\"+Inf\""), Some(3.0));
        assert_eq!(
            value(&text, "istio_request_duration_milliseconds_sum", &[]),
            Some(63.0)
        );
        assert_eq!(
            value(&text, "istio_request_duration_milliseconds_count", &[]),
            Some(3.0)
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let mut telemetry = telemetry();
        telemetry.record(200, Duration::ZERO);
        assert!(telemetry.exposition().contains(r#"destination_version="v\"04""#));
    }
}
