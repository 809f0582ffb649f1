//! Fetches the past politely: in chunks of bounded size, a bounded number at once, and again where a server is busy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use crate::api::Span;
use crate::api::plan::{MetricPlan, Plan, SequentialPlan};
use crate::backtest::chunks::{MOST_POINTS, chunks};
use crate::backtest::history::{CounterHistory, Growth, Points};
use crate::clients::prometheus::{Column, Failure, Past, Servers};
use crate::core::observation::{SampleAnswer, SampleSeries, Side};
use crate::core::past::{self, Source};
use crate::core::query::Values;
use crate::core::sequential::counters::Counted;
use crate::core::sequential::counts::MAX_COUNT;

use crate::cli::progress::Progress;

/// A query is asked so many times before it is given up.
const ATTEMPTS: u32 = 6;
/// Between the first two; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// What is assumed where no samples show how often Prometheus scrapes.
pub(super) const SCRAPE: Duration = Duration::from_secs(15);
/// How much of the past a look at it takes.
const PROBE: Duration = Duration::from_mins(30);
/// How large an answer should be, bytes.
const CHUNK_BYTES: f64 = 3e6;
/// An interval is cut in two at most so many times because its answer is too large.
const MOST_CUTS: u32 = 8;

/// What fetching took.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) queries: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) samples: AtomicU64,
    pub(super) odd: AtomicU64,
    under_way: AtomicU64,
    pub(super) at_once: AtomicU64,
}

/// Which service's version is asked about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) service: String,
    pub(super) namespace: String,
    pub(super) version: String,
}

impl Subject {
    /// What the variables of a query stand for.
    pub(super) fn values(&self, window: Span) -> Values<'_> {
        Values {
            service: &self.service,
            namespace: &self.namespace,
            version: &self.version,
            production: &self.version,
            canary: &self.version,
            window: window.std(),
        }
    }
}

/// Asks one server; clones share everything.
#[derive(Clone)]
pub(super) struct Fetcher {
    pub(super) servers: Servers,
    pub(super) server: Option<String>,
    pub(super) subject: Subject,
    pub(super) timeout: Duration,
    pub(super) max_queries: usize,
    /// How often the user says that Prometheus scrapes.
    pub(super) scrape: Option<Duration>,
    pub(super) tally: Arc<Tally>,
}

/// What is asked for with a query.
enum Ask {
    /// The samples of its range up to a moment.
    Samples(Timestamp),
    /// Its values over a stretch, one each step.
    Values(Stretch, Duration),
}

/// A stretch of the past.
pub(super) type Stretch = (Timestamp, Timestamp);

/// What a first look at counters says.
pub(super) struct Probe {
    pub(super) source: Source,
    /// Why a rollout would not begin there; none where it would.
    pub(super) refused: Option<String>,
    /// By which exporter pods report for themselves, where that is another.
    pub(super) pods: Option<Source>,
    /// Time between two scrapes, as most samples have it; none with too few samples.
    pub(super) scrape: Option<Duration>,
    /// Bytes and series of its answer, for an estimate.
    pub(super) bytes: f64,
    /// Time that it took, seconds.
    pub(super) seconds: f64,
}

impl Fetcher {
    /// A first look, at the end of the past or, where there was no traffic or no rollout would begin, earlier.
    ///
    /// # Errors
    /// Nothing was counted, or the server does not answer.
    pub(super) async fn probe(
        &self,
        plan: &Plan,
        (metric, test): (&MetricPlan, &SequentialPlan),
        (from, until): Stretch,
    ) -> Result<Probe, String> {
        let span = until.duration_since(from);
        let (mut refused, mut why) = (None, String::new());
        for quarter in [0, 1, 2, 3] {
            let at = until.saturating_sub(span * quarter / 4).unwrap_or(until);
            let begun = tokio::time::Instant::now();
            let before = self.tally.bytes.load(Ordering::Relaxed);
            let back = PROBE.min(span.unsigned_abs());
            let answers = self.samples(test, &Source::default(), at, back).await?;
            self.has_heard_of(test, &answers, (from, until)).await?;
            match past::source(test, &answers) {
                Ok(source) => {
                    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                    let bytes = (self.tally.bytes.load(Ordering::Relaxed) - before) as f64;
                    let scrape = usual_gap(&answers);
                    let often = self.scrape.or(scrape).unwrap_or(SCRAPE);
                    let probe = Probe {
                        scrape,
                        refused: past::begins(plan, metric, &answers, often).err(),
                        bytes: bytes * (60.0 / back.as_secs_f64().max(1.0)),
                        seconds: begun.elapsed().as_secs_f64(),
                        pods: past::pods(test, &source, &answers),
                        source,
                    };
                    if probe.refused.is_none() {
                        return Ok(probe);
                    }
                    refused.get_or_insert(probe);
                }
                Err(reason) => why = reason,
            }
        }
        refused.ok_or(why)
    }

    /// The counters of a test over the whole past.
    ///
    /// # Errors
    /// The server does not answer, or not with counters.
    pub(super) async fn counters(
        &self,
        test: &SequentialPlan,
        (source, pods): (&Source, Option<&Source>),
        stretches: Vec<Stretch>,
        scrape: Duration,
        progress: &mut Progress,
    ) -> Result<CounterHistory, String> {
        let mut history = CounterHistory::new(test.counters.clone(), source.clone());
        let asked: Vec<(Stretch, Source, bool)> = stretches
            .into_iter()
            .flat_map(|stretch| {
                let own = pods.map(|pods| (stretch, pods.clone(), true));
                std::iter::once((stretch, source.clone(), false)).chain(own)
            })
            .collect();
        let jobs = asked.into_iter().map(|(stretch, source, is_own)| {
            let (fetcher, test) = (self.clone(), test.clone());
            async move {
                let task = tokio::spawn(async move { fetcher.grown(&test, &source, stretch, scrape).await });
                let grown = task.await.map_err(|error| format!("a task ended: {error}"))??;
                Ok::<_, String>((grown, is_own))
            }
        });
        let mut found = stream::iter(jobs).buffered(self.max_queries);
        while let Some((parts, is_own)) = found.try_next().await? {
            for grown in parts {
                history.extend(&grown, is_own);
            }
            progress.step();
        }
        Ok(history)
    }

    /// One chunk of counters; cut in two where the answer is too large.
    async fn grown(
        &self,
        test: &SequentialPlan,
        source: &Source,
        stretch: Stretch,
        scrape: Duration,
    ) -> Result<Vec<Growth>, String> {
        let mut done = Vec::new();
        let mut left = vec![(stretch, 0)];
        while let Some(((from, until), cuts)) = left.pop() {
            let length = until.duration_since(from).unsigned_abs();
            // Three scrapes more, so that it is known from what value each counter grew.
            let back = length.saturating_add(scrape.saturating_mul(3));
            match self.try_samples(test, source, until, back).await {
                Ok(answers) => done.push(past::growth(test, &answers, source, (from, until), scrape)?),
                Err(failure) if is_too_much(&failure) && cuts < MOST_CUTS && length > scrape * 4 => {
                    let half = from.saturating_add(SignedDuration::try_from(length / 2).unwrap_or_default());
                    let middle = half.unwrap_or(until);
                    left.push(((middle, until), cuts + 1));
                    left.push(((from, middle), cuts + 1));
                }
                Err(failure) => return Err(failure.to_string()),
            }
        }
        Ok(done)
    }

    async fn samples(
        &self,
        test: &SequentialPlan,
        source: &Source,
        at: Timestamp,
        back: Duration,
    ) -> Result<Vec<SampleAnswer>, String> {
        let answers = self.try_samples(test, source, at, back).await;
        answers.map_err(|failure| failure.to_string())
    }

    async fn try_samples(
        &self,
        test: &SequentialPlan,
        source: &Source,
        at: Timestamp,
        back: Duration,
    ) -> Result<Vec<SampleAnswer>, Failure> {
        let mut answers = Vec::new();
        let from = SignedDuration::try_from(back)
            .ok()
            .and_then(|back| at.saturating_sub(back).ok());
        for (counted, selector) in past::selectors(test, source, &self.subject.values(Span::ZERO)) {
            let query = format!("{selector}[{}ms]", back.as_millis());
            let found = self.patiently(&query, &Ask::Samples(at)).await?;
            answers.push(self.answer(found, counted, (from.unwrap_or(at), at)));
        }
        Ok(answers)
    }

    /// Samples that no counter can have are left out, and counted.
    fn answer(&self, found: Past, counted: Option<Counted>, (from, at): Stretch) -> SampleAnswer {
        let series = found.series.into_iter().map(|Column { labels, samples }| {
            let all = samples.len();
            let samples: Vec<(Timestamp, f64)> = samples
                .into_iter()
                .filter(|(_, value)| value.is_finite() && (0.0..=MAX_COUNT).contains(value))
                .filter_map(|(at, value)| Some((Timestamp::from_millisecond(at).ok()?, value)))
                .collect();
            let odd = u64::try_from(all - samples.len()).unwrap_or(0);
            self.tally.odd.fetch_add(odd, Ordering::Relaxed);
            SampleSeries { labels, samples }
        });
        SampleAnswer {
            metric: String::new(),
            side: Side::Production,
            counted,
            from,
            at,
            unknown_names: Ok(Vec::new()),
            outcome: Ok(series.collect()),
        }
    }

    /// What a query answered over the whole past: a column for each of its series.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn values(
        &self,
        query: &str,
        stretch: Stretch,
        step: Duration,
        progress: &mut Progress,
    ) -> Result<Vec<Points>, String> {
        let mut all: BTreeMap<String, Points> = BTreeMap::new();
        let jobs = query_chunks(stretch, step).into_iter().map(|stretch| async move {
            let ask = Ask::Values(stretch, step);
            self.patiently(query, &ask).await
        });
        let mut found = stream::iter(jobs).buffered(self.max_queries);
        while let Some(part) = found.try_next().await.map_err(|failure| failure.to_string())? {
            for Column { labels, samples } in part.series {
                all.entry(format!("{labels:?}")).or_default().extend(samples);
            }
            progress.step();
        }
        Ok(all.into_values().collect())
    }

    async fn ask(&self, query: &str, ask: &Ask) -> Result<Past, Failure> {
        let server = self.servers.get(self.server.as_deref())?;
        match ask {
            Ask::Samples(at) => server.past_samples(query, *at, self.timeout).await,
            Ask::Values(stretch, step) => server.past_values(query, *stretch, *step, self.timeout).await,
        }
    }

    /// Asks again, a little later each time, where a server is busy or gone for a moment.
    async fn patiently(&self, query: &str, ask: &Ask) -> Result<Past, Failure> {
        let past = self.again(|| self.ask(query, ask)).await?;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.tally.bytes.fetch_add(count(past.bytes), Ordering::Relaxed);
        self.tally
            .samples
            .fetch_add(count(past.samples()), Ordering::Relaxed);
        Ok(past)
    }

    pub(super) async fn again<T, F>(&self, call: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let tally = &self.tally;
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let now = tally.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            tally.at_once.fetch_max(now, Ordering::Relaxed);
            let result = call().await;
            tally.under_way.fetch_sub(1, Ordering::Relaxed);
            match result {
                Ok(answer) => {
                    tally.queries.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) if attempt < ATTEMPTS && may_pass(&failure) => {
                    tally.retries.fetch_add(1, Ordering::Relaxed);
                    sleep(wait).await;
                    wait *= 2;
                    attempt += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// Chunks of counters whose answers are about as large as they should be, by what a minute took.
pub(super) fn counter_chunks((from, until): Stretch, scrape: Duration, bytes_a_minute: f64) -> Vec<Stretch> {
    let scrape_millis = i64::try_from(scrape.as_millis()).unwrap_or(i64::MAX);
    let a_scrape = bytes_a_minute * scrape.as_secs_f64() / 60.0;
    let points = (CHUNK_BYTES / a_scrape.max(1.0)).clamp(16.0, 1e6);
    #[expect(clippy::cast_possible_truncation, reason = "16 to a million")]
    let points = (points as i64).min(MOST_POINTS);
    chunks(from, until, scrape_millis, points)
}

/// Chunks of a query's answers.
pub(super) fn query_chunks((from, until): Stretch, step: Duration) -> Vec<Stretch> {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    chunks(from, until, step, MOST_POINTS)
}

/// Whether the same question may be answered a little later.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Status { code, .. } => matches!(code, 429 | 502 | 503 | 504),
        Failure::Refused(_) | Failure::Broken(_) | Failure::Timeout(_) | Failure::Busy { .. } => true,
        _ => false,
    }
}

/// Whether a shorter stretch may be answered.
fn is_too_much(failure: &Failure) -> bool {
    match failure {
        Failure::TooLarge(_) => true,
        Failure::Status { code, .. } => matches!(code, 413 | 422),
        _ => false,
    }
}

/// The time between two samples of most series.
fn usual_gap(answers: &[SampleAnswer]) -> Option<Duration> {
    let mut gaps = Vec::new();
    for series in answers.iter().flat_map(|answer| answer.outcome.iter().flatten()) {
        for pair in series.samples.windows(2) {
            gaps.push(pair[1].0.duration_since(pair[0].0).as_millis());
        }
    }
    gaps.sort_unstable();
    let middle = gaps.get(gaps.len() / 2).copied()?;
    // Scrapes wander by some milliseconds.
    let seconds = (middle + 500) / 1000;
    u64::try_from(seconds)
        .ok()
        .filter(|s| *s > 0)
        .map(Duration::from_secs)
}
