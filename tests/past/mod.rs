//! A Prometheus that knows the past of one service: its counters are drawn from a seed, its answers are as large as a real
//! one's, and it remembers how it was asked.

#![allow(dead_code, reason = "not every test needs every part")]
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use birdwatch_bed::parts::prometheus::{Prometheus, Question};
use futures::FutureExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, Poisson};

/// What a service did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) pods: usize,
    /// Codes of good answers; one more is bad.
    pub(crate) codes: usize,
    pub(crate) per_second: f64,
    pub(crate) bad: f64,
    pub(crate) scrape_seconds: i64,
    pub(crate) days: i64,
    /// Whether a gateway reports the same requests too.
    pub(crate) gateway: bool,
    /// So many requests of a pod turn bad at once.
    pub(crate) clump: u64,
}

/// The last instant it knows, 2026-11-20T00:00:00Z.
pub(crate) const UNTIL: i64 = 1_795_132_800;
pub(crate) const UNTIL_TEXT: &str = "2026-11-20T00:00:00Z";

pub(crate) struct Past {
    shape: Shape,
    /// Of each pod and code, the counter at each scrape; the gateway's last.
    counters: Vec<Vec<Vec<u64>>>,
    pub(crate) queries: AtomicU64,
    under_way: AtomicI64,
    pub(crate) at_once: AtomicI64,
    /// The most points that one series of an answer could have.
    pub(crate) most_points: AtomicI64,
    /// So many of the next queries are refused with this status.
    pub(crate) refuse: Mutex<(u16, u32)>,
    /// Nothing is known between these, seconds.
    pub(crate) gap: Mutex<(i64, i64)>,
}

impl Past {
    pub(crate) fn new(shape: Shape) -> Arc<Self> {
        let scrapes = shape.days * 86_400 / shape.scrape_seconds;
        let mut counters: Vec<_> = (0..shape.pods)
            .map(|pod| pod_counters(&shape, pod, scrapes))
            .collect();
        if shape.gateway {
            counters.push(sum(&counters));
        }
        Arc::new(Self {
            shape,
            counters,
            queries: AtomicU64::new(0),
            under_way: AtomicI64::new(0),
            at_once: AtomicI64::new(0),
            most_points: AtomicI64::new(0),
            refuse: Mutex::new((503, 0)),
            gap: Mutex::new((0, 0)),
        })
    }

    fn begin(&self) -> i64 {
        UNTIL - self.shape.days * 86_400
    }

    /// Starts it in a thread of its own, which ends with the test.
    pub(crate) fn serve(self: &Arc<Self>) -> SocketAddr {
        let past = Arc::clone(self);
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("threads");
            runtime.block_on(async move {
                let asked = move |question| answer(Arc::clone(&past), question).boxed();
                let serving = Prometheus::start(asked).await.expect("a port");
                send.send(serving.address()).expect("a test");
                std::future::pending::<()>().await;
            });
        });
        receive.recv().expect("it starts")
    }

    fn respond(&self, question: &Question) -> (StatusCode, String) {
        let seconds = |name: &str| question.of(name).parse::<f64>().unwrap_or_default();
        {
            let mut refuse = self.refuse.lock().expect("unpoisoned");
            if refuse.1 > 0 {
                refuse.1 -= 1;
                let status = StatusCode::from_u16(refuse.0).expect("a status");
                return (status, "come back later".to_owned());
            }
        }
        self.queries.fetch_add(1, Ordering::Relaxed);
        let query = question.of("query");
        if question.path == "query_range" {
            let (start, end, step) = (seconds("start"), seconds("end"), seconds("step"));
            #[expect(clippy::cast_possible_truncation, reason = "points")]
            let points = ((end - start) / step) as i64 + 1;
            self.most_points.fetch_max(points, Ordering::Relaxed);
            return (StatusCode::OK, self.values(start, end, step));
        }
        if question.path == "labels" {
            let known = ["istio_requests_total", "own_total", "own_good", "own_bad"];
            let is_known = known
                .iter()
                .any(|name| question.of("match[]").contains(&format!("\"{name}\"")));
            let names = if is_known {
                r#"["__name__","version","pod"]"#
            } else {
                "[]"
            };
            let body = format!(r#"{{"status":"success","data":{names}}}"#);
            return (StatusCode::OK, body);
        }
        let Some((selector, range)) = query.rsplit_once('[') else {
            return (StatusCode::BAD_REQUEST, "no range".to_owned());
        };
        let range: f64 = range.trim_end_matches("ms]").parse().unwrap_or_default();
        let at = seconds("time");
        #[expect(clippy::cast_possible_truncation, reason = "points")]
        let points = (range / 1000.0) as i64 / self.shape.scrape_seconds + 1;
        self.most_points.fetch_max(points, Ordering::Relaxed);
        let known = selector.contains("destination_service_name=\"shop\"")
            && selector.contains("destination_version=\"v1\"");
        let text = if selector.starts_with("own_") {
            self.own_samples(selector, at - range / 1000.0, at)
        } else if known {
            self.samples(selector, at - range / 1000.0, at)
        } else {
            matrix("")
        };
        (StatusCode::OK, text)
    }

    /// Samples later than `from`, up to `until`.
    fn samples(&self, selector: &str, from: f64, until: f64) -> String {
        let (scrape, begin) = (self.shape.scrape_seconds, self.begin());
        let gap = *self.gap.lock().expect("unpoisoned");
        let mut series = String::new();
        for (pod, codes) in self.counters.iter().enumerate() {
            let reporter = if pod < self.shape.pods {
                "destination"
            } else {
                "source"
            };
            if selector.contains("reporter=") && !selector.contains(&format!("reporter=\"{reporter}\"")) {
                continue;
            }
            for (code, counter) in codes.iter().enumerate() {
                let name = if code == 0 { 500 } else { 199 + code };
                let mut values = String::new();
                // Each pod is scraped at an instant of its own.
                #[expect(clippy::cast_possible_wrap, reason = "small numbers")]
                let phase = (pod as i64 * 7) % scrape;
                #[expect(clippy::cast_possible_truncation, reason = "an index")]
                let first = ((from as i64 - begin - phase) / scrape - 1).max(0);
                for index in first.. {
                    let at = begin + phase + index * scrape;
                    #[expect(clippy::cast_precision_loss, reason = "seconds")]
                    let exact = at as f64 + 0.123;
                    if exact > until {
                        break;
                    }
                    let Some(value) = usize::try_from(index).ok().and_then(|i| counter.get(i)) else {
                        break;
                    };
                    if exact > from && *value > 0 && !(gap.0..gap.1).contains(&at) {
                        let comma = if values.is_empty() { "" } else { "," };
                        let _ = write!(values, "{comma}[{at}.123,\"{value}\"]");
                    }
                }
                if !values.is_empty() {
                    let comma = if series.is_empty() { "" } else { "," };
                    let _ = write!(
                        series,
                        "{comma}{{\"metric\":{{\"__name__\":\"istio_requests_total\",\"reporter\":\"{reporter}\",\
                         \"pod\":\"shop-v1-{pod}\",\"response_code\":\"{name}\",\"destination_service_name\":\"shop\",\
                         \"destination_version\":\"v1\"}},\"values\":[{values}]}}"
                    );
                }
            }
        }
        matrix(&series)
    }

    /// Counters of the user's own: `own_total` and `own_good` of each pod, and `own_bad` of an exporter beside them.
    fn own_samples(&self, selector: &str, from: f64, until: f64) -> String {
        #[expect(clippy::cast_possible_truncation, reason = "minutes")]
        let line = |pod: &str, value: &dyn Fn(i64) -> Option<u64>| {
            let first = (from / 60.0).floor() as i64 + 1;
            let values = (first..=(until / 60.0).floor() as i64).filter_map(|minute| {
                let at = minute * 60;
                Some(format!(
                    "[{at},\"{}\"]",
                    value((at - self.begin()) / self.shape.scrape_seconds)?
                ))
            });
            let values: Vec<String> = values.collect();
            (!values.is_empty()).then(|| {
                format!(
                    "{{\"metric\":{{\"pod\":\"{pod}\"}},\"values\":[{}]}}",
                    values.join(",")
                )
            })
        };
        let at = |counter: &Vec<u64>, index: i64| counter.get(usize::try_from(index).ok()?).copied();
        let series: Vec<String> = match selector.split('{').next().unwrap_or_default() {
            "own_bad" => line("mtail", &|i| self.counters.iter().map(|pod| at(&pod[0], i)).sum())
                .into_iter()
                .collect(),
            name @ ("own_total" | "own_good") => {
                let codes = usize::from(name == "own_good");
                let pods = self.counters.iter().enumerate().filter_map(|(pod, all)| {
                    line(&format!("shop-{pod}"), &|i| {
                        all[codes..].iter().map(|code| at(code, i)).sum()
                    })
                });
                pods.collect()
            }
            _ => Vec::new(),
        };
        matrix(&series.join(","))
    }

    /// A query whose value wanders about 10.
    fn values(&self, start: f64, end: f64, step: f64) -> String {
        let mut values = String::new();
        let mut at = start;
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let begin = self.begin() as f64;
        while at <= end {
            if at >= begin {
                let value = 10.0 + (at / 977.0).sin() + 0.5 * (at / 61.0).sin();
                let comma = if values.is_empty() { "" } else { "," };
                let _ = write!(values, "{comma}[{at:.3},\"{value:.4}\"]");
            }
            at += step;
        }
        if values.is_empty() {
            return matrix("");
        }
        matrix(&format!("{{\"metric\":{{}},\"values\":[{values}]}}"))
    }
}

fn matrix(series: &str) -> String {
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{series}]}}}}")
}

fn pod_counters(shape: &Shape, pod: usize, scrapes: i64) -> Vec<Vec<u64>> {
    let mut rng = StdRng::seed_from_u64(1000 + u64::try_from(pod).expect("a pod"));
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (mean, codes) = (
        shape.per_second * shape.scrape_seconds as f64 / shape.pods as f64,
        shape.codes as f64,
    );
    let mut counter = |mean: f64, at_once: u64| {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let poisson = Poisson::new(mean / at_once as f64).ok();
        let mut value = 0;
        let mut grow = || {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let more = poisson.map_or(0.0, |p| p.sample(&mut rng)) as u64;
            value += more * at_once;
            value
        };
        (0..scrapes).map(|_| grow()).collect::<Vec<u64>>()
    };
    let mut all = vec![counter(mean * shape.bad, shape.clump)];
    all.extend((0..shape.codes).map(|_| counter(mean * (1.0 - shape.bad) / codes, 1)));
    all
}

/// What a proxy counts that all requests pass.
fn sum(pods: &[Vec<Vec<u64>>]) -> Vec<Vec<u64>> {
    let mut all = pods.first().cloned().unwrap_or_default();
    for codes in pods.iter().skip(1) {
        for (counter, more) in all.iter_mut().zip(codes) {
            counter
                .iter_mut()
                .zip(more)
                .for_each(|(value, more)| *value += more);
        }
    }
    all
}

async fn answer(past: Arc<Past>, question: Question) -> (StatusCode, String) {
    let now = past.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    past.at_once.fetch_max(now, Ordering::SeqCst);
    let kept = Arc::clone(&past);
    let made = tokio::task::spawn_blocking(move || kept.respond(&question)).await;
    // As long as a server needs to find its blocks.
    tokio::time::sleep(Duration::from_millis(5)).await;
    past.under_way.fetch_sub(1, Ordering::SeqCst);
    made.expect("an answer")
}
