//! A steady stream of requests through the gateway, and what came of each: how tests see the share of a version and
//! whether anybody got an error.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::header::HOST;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::http;
use crate::clock;

/// Requests that may be waiting for an answer at once; beyond them a tick is skipped and counted.
const MOST_IN_FLIGHT: usize = 256;
/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was sent, on tokio's clock.
    pub at: Instant,
    /// When it was sent, on the wall clock.
    pub time: Timestamp,
    /// How long the answer took, or the failure.
    pub took: Duration,
    /// HTTP status; none when no answer came.
    pub status: Option<u16>,
    /// Header x-version of the answer: the version of the pod that gave it. None for Envoy's own answers.
    pub version: Option<String>,
    /// Why no answer came.
    pub error: Option<String>,
}

/// Counts over a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests sent.
    pub sent: usize,
    /// Answers by version and status.
    pub answers: BTreeMap<(String, u16), usize>,
    /// Answers without a version (Envoy's own), by status.
    pub unversioned: BTreeMap<u16, usize>,
    /// Requests without an answer.
    pub failed: usize,
}

/// Why traffic did not start.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The pace is not a positive number.
    #[error("{0} requests a second: want more than none")]
    Pace(f64),
    /// No client could be built.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Running load; it ends when this is dropped.
#[derive(Debug)]
pub struct Traffic {
    log: Arc<Mutex<Log>>,
    stop: CancellationToken,
    sender: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    samples: Vec<Sample>,
    skipped: usize,
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    /// Sends `rps` requests a second, evenly spaced, to `gateway_url` with `host` as Host header.
    ///
    /// # Errors
    /// When the pace is not positive or no client can be built.
    pub fn start(gateway_url: &str, host: &str, rps: f64) -> Result<Self, TrafficError> {
        Self::with(http::client(PATIENCE)?, gateway_url, host, rps)
    }

    /// Opens `connections` a second, evenly spaced, to this port of loopback, and asks over each once who is there.
    ///
    /// # Errors
    /// When the pace is not positive or no client can be built.
    pub fn start_tcp(port: u16, connections: f64) -> Result<Self, TrafficError> {
        let address = format!("127.0.0.1:{port}");
        let client = http::client_without_pool(PATIENCE)?;
        Self::with(client, &format!("http://{address}"), &address, connections)
    }

    fn with(client: reqwest::Client, url: &str, host: &str, rps: f64) -> Result<Self, TrafficError> {
        let pace = Duration::try_from_secs_f64(1.0 / rps)
            .ok()
            .filter(|pace| !pace.is_zero());
        let pace = pace.ok_or(TrafficError::Pace(rps))?;
        let target = Target {
            client,
            url: url.to_owned(),
            host: host.to_owned(),
        };
        let (log, stop) = (Arc::default(), CancellationToken::new());
        let sender = tokio::spawn(send(Arc::new(target), pace, Arc::clone(&log), stop.clone()));
        Ok(Self {
            log,
            stop,
            sender: Some(sender),
        })
    }

    /// All requests answered or failed so far, in the order they were sent.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.pick(|_| true)
    }

    /// Those sent at `instant` or later.
    #[must_use]
    pub fn since(&self, instant: Instant) -> Vec<Sample> {
        self.pick(|sample| sample.at >= instant)
    }

    /// Share of the answers of the last `window` that came from `version`, 0 to 1; none when no version answered.
    #[must_use]
    pub fn share(&self, version: &str, window: Duration) -> Option<f64> {
        let samples = self.pick(|sample| sample.at.elapsed() <= window);
        share(&samples, version)
    }

    /// Ticks at which nothing was sent because too many requests were waiting already.
    #[must_use]
    pub fn skipped(&self) -> usize {
        locked(&self.log).skipped
    }

    /// Ends the load, waits for the answers under way, gives everything.
    pub async fn stop(mut self) -> Vec<Sample> {
        self.stop.cancel();
        if let Some(sender) = self.sender.take()
            && let Err(error) = sender.await
        {
            tracing::warn!(%error, "the load ended badly");
        }
        self.samples()
    }

    fn pick(&self, wanted: impl Fn(&Sample) -> bool) -> Vec<Sample> {
        let mut picked: Vec<_> = locked(&self.log)
            .samples
            .iter()
            .filter(|s| wanted(s))
            .cloned()
            .collect();
        picked.sort_by_key(|sample| sample.at);
        picked
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Share of these answers that came from `version`, 0 to 1; none when no version answered.
#[must_use]
pub fn share(samples: &[Sample], version: &str) -> Option<f64> {
    let (mut all, mut wanted) = (0_u32, 0_u32);
    for answered in samples.iter().filter_map(|sample| sample.version.as_deref()) {
        all += 1;
        wanted += u32::from(answered == version);
    }
    (all > 0).then(|| f64::from(wanted) / f64::from(all))
}

impl Summary {
    /// Counts these requests.
    #[must_use]
    pub fn of(samples: &[Sample]) -> Self {
        let mut summary = Self {
            sent: samples.len(),
            ..Self::default()
        };
        for sample in samples {
            match (sample.status, &sample.version) {
                (None, _) => summary.failed += 1,
                (Some(status), None) => *summary.unversioned.entry(status).or_default() += 1,
                (Some(status), Some(version)) => {
                    *summary.answers.entry((version.clone(), status)).or_default() += 1;
                }
            }
        }
        summary
    }
}

struct Target {
    client: reqwest::Client,
    url: String,
    host: String,
}

async fn send(target: Arc<Target>, pace: Duration, log: Arc<Mutex<Log>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(pace);
    // Ticks missed under load are made up for: the pace is what callers reckon with.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let in_flight = Arc::new(Semaphore::new(MOST_IN_FLIGHT));
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        while requests.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&in_flight).try_acquire_owned() else {
            locked(&log).skipped += 1;
            continue;
        };
        let (target, log) = (Arc::clone(&target), Arc::clone(&log));
        requests.spawn(async move {
            let sample = ask(&target).await;
            locked(&log).samples.push(sample);
            drop(permit);
        });
    }
    requests.join_all().await;
}

async fn ask(target: &Target) -> Sample {
    let (at, time) = (Instant::now(), clock::now());
    let answer = match target
        .client
        .get(&target.url)
        .header(HOST, &target.host)
        .send()
        .await
    {
        Ok(response) => {
            let status = response.status().as_u16();
            let version = response
                .headers()
                .get("x-version")
                .and_then(|version| version.to_str().ok());
            let version = version.map(str::to_owned);
            // Read to its end, so that the connection can be used again.
            response.bytes().await.map(|_| (status, version))
        }
        Err(error) => Err(error),
    };
    let took = at.elapsed();
    match answer {
        Ok((status, version)) => Sample {
            at,
            time,
            took,
            status: Some(status),
            version,
            error: None,
        },
        Err(error) => Sample {
            at,
            time,
            took,
            status: None,
            version: None,
            error: Some(error.to_string()),
        },
    }
}
