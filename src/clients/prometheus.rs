//! Prometheus, asked for single moments, and for long stretches of the past. One server's slowness is its own; judging an answer is the core's.

mod answer;
mod config;
mod credentials;
mod decode;
mod history;
mod places;
mod range;
mod room;
mod tenant;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::http::{self, CallError, HttpClient};
use crate::core::observation::SampleSet;
use crate::core::query;
use answer::Answer;
use decode::Allowance;
use places::{Asker, Places};
use room::Room;

pub use answer::{Failure, MAX_SERIES, Outcome, OutcomeClass, Series};
pub use config::{Address, BasicAuth, ConfigError, DEFAULT_MAX_IN_FLIGHT, ServerConfig};
pub use decode::MOST_SAMPLES;
pub use history::{Column, MAX_HISTORY, Past};
pub use range::{RangeSeries, Stretch};

/// The largest answer with raw samples that is read, in bytes: ten minutes of every bucket of 200 pods, as two reporters
/// have them.
pub const MAX_SAMPLES: usize = 24 << 20;

/// The largest of the other answers that is read, in bytes: many times what a hundred series with all their labels take.
pub const MAX_ANSWER: usize = room::SMALL_BODY;

/// How much of a body is read, and in which room.
#[derive(Clone)]
struct Reading {
    max: usize,
    room: Option<Room>,
}

impl Reading {
    /// By a command that does nothing else.
    const fn alone(max: usize) -> Self {
        Self { max, room: None }
    }
}

/// Told of every query, for metrics.
pub trait QueryObserver: Send + Sync {
    /// A query was answered, or was given up, after `took` (waiting for a place included).
    fn on_query(&self, server: &str, class: OutcomeClass, took: Duration);
}

/// Nobody is told.
impl QueryObserver for () {
    fn on_query(&self, _server: &str, _class: OutcomeClass, _took: Duration) {}
}

/// A query, whom to ask, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The server's name; none: the first.
    pub server: Option<String>,
    /// The namespace of the `BirdWatch` that asks: some servers answer it about its own series alone.
    pub namespace: String,
    /// `PromQL`, expanded.
    pub query: String,
}

/// What the controller needs of Prometheus.
pub trait Prometheus: Send + Sync {
    /// Asks everything at once, identical questions only once, and answers in the order of the questions. Each
    /// query is evaluated at `at` (none: the server's now) and given up after `deadline`. However much is asked in one
    /// go, of each server's places it takes a quarter at most, and all of a namespace half, so that others are heard
    /// meanwhile.
    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        at: Option<Timestamp>,
        deadline: Duration,
    ) -> BoxFuture<'a, Vec<Outcome>>;

    /// The same for raw samples: those that a selector with a range (`counter{…}[1m]`) has up to the moment beside it.
    fn samples_all<'a>(
        &'a self,
        questions: &'a [(Question, Timestamp)],
        deadline: Duration,
    ) -> BoxFuture<'a, Vec<Result<SampleSet, Failure>>>;

    /// The names of all labels that series of `metric` had within `lookback` before `now`, `__name__` among them.
    /// Empty: no such metric. Asked of a server by name, and for a namespace, as in [`Question`].
    fn label_names<'a>(
        &'a self,
        server: (Option<&'a str>, &'a str),
        metric: &'a str,
        now: Timestamp,
        lookback: Duration,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<BTreeSet<String>, Failure>>;
}

/// No server of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no Prometheus server named {name:?}; known are {}", .known.join(", "))]
pub struct UnknownServer {
    /// The name asked for.
    pub name: String,
    /// The names there are.
    pub known: Vec<String>,
}

/// The administrator's servers; the first is the default.
#[derive(Debug, Clone)]
pub struct Servers {
    servers: Arc<[Server]>,
    passes: Arc<AtomicU64>,
}

impl Servers {
    /// Makes a client for each server.
    ///
    /// # Errors
    /// An empty list, names that repeat, or anything about a server that can never work.
    pub fn new(configs: Vec<ServerConfig>, observer: &Arc<dyn QueryObserver>) -> Result<Self, ConfigError> {
        config::check(&configs)?;
        let room = Room::default();
        let servers = configs
            .into_iter()
            .map(|config| Server::new(config, Arc::clone(observer), room.clone()));
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            passes: Arc::default(),
        })
    }

    /// A server by name, or the first.
    ///
    /// # Errors
    /// No server has that name.
    pub fn get(&self, name: Option<&str>) -> Result<&Server, UnknownServer> {
        let found = match name {
            None => self.servers.first(),
            Some(name) => self.servers.iter().find(|server| server.config.name == name),
        };
        found.ok_or_else(|| UnknownServer {
            name: name.unwrap_or_default().to_owned(),
            known: self.iter().map(|server| server.name().to_owned()).collect(),
        })
    }

    /// All servers, the default first.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    /// One who asks now for a namespace, on an account of its own.
    fn pass(&self) -> u64 {
        self.passes.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask(
        &self,
        question: &Question,
        pass: u64,
        at: Option<Timestamp>,
        deadline: Duration,
    ) -> Outcome {
        let (server, query) = match self.for_tenant(question) {
            Ok(found) => found,
            Err(failure) => return Outcome::Failed(failure),
        };
        let asker = question.asker(pass);
        server.query_as(Some(&asker), &query, at, deadline).await
    }
}

impl Question {
    fn asker(&self, pass: u64) -> Asker {
        Asker {
            namespace: self.namespace.clone(),
            pass,
        }
    }
}

impl Prometheus for Servers {
    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        at: Option<Timestamp>,
        deadline: Duration,
    ) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let pass = self.pass();
            each_once(questions, |q| self.ask(q, pass, at, deadline)).await
        })
    }

    fn samples_all<'a>(
        &'a self,
        questions: &'a [(Question, Timestamp)],
        deadline: Duration,
    ) -> BoxFuture<'a, Vec<Result<SampleSet, Failure>>> {
        Box::pin(async move {
            let pass = self.pass();
            let allowance = &Allowance::default();
            let ask = |(question, at): &'a (Question, Timestamp)| async move {
                let (server, query) = self.for_tenant(question)?;
                let asker = question.asker(pass);
                server.samples((&asker, allowance), &query, *at, deadline).await
            };
            each_once(questions, ask).await
        })
    }

    fn label_names<'a>(
        &'a self,
        (server, namespace): (Option<&'a str>, &'a str),
        metric: &'a str,
        now: Timestamp,
        lookback: Duration,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<BTreeSet<String>, Failure>> {
        Box::pin(async move {
            let server = self.get(server)?;
            let series = match server.only(namespace) {
                Some(only) => only.of_metric(metric),
                None => query::of_metric(metric),
            };
            let asker = Asker {
                namespace: namespace.to_owned(),
                pass: self.pass(),
            };
            let asker = Some(&asker);
            server
                .label_names_of(asker, series, now, lookback, deadline)
                .await
        })
    }
}

/// Asks what is asked several times once, everything at the same time, and answers in the order of the questions.
async fn each_once<'q, Q: Ord, F: Future<Output: Clone>>(
    questions: &'q [Q],
    ask: impl Fn(&'q Q) -> F,
) -> Vec<F::Output> {
    let distinct: BTreeSet<&Q> = questions.iter().collect();
    let answers = join_all(distinct.iter().map(|q| ask(q))).await;
    let answers: BTreeMap<&Q, F::Output> = distinct.into_iter().zip(answers).collect();
    let answer = |question| answers.get(question).cloned();
    questions.iter().filter_map(answer).collect()
}

/// One Prometheus, or anything that speaks its query API.
pub struct Server {
    config: ServerConfig,
    http: HttpClient,
    places: Places,
    room: Room,
    observer: Arc<dyn QueryObserver>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Server {
    fn new(config: ServerConfig, observer: Arc<dyn QueryObserver>, room: Room) -> Result<Self, ConfigError> {
        let http = HttpClient::new(config.tls()).map_err(|source| ConfigError::Tls {
            server: config.name.clone(),
            source,
        })?;
        let places = Places::new(config.max_in_flight);
        Ok(Self {
            config,
            http,
            places,
            room,
            observer,
        })
    }

    /// Its name in the administrator's list.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its address, without user and password.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.config.url
    }

    /// Asks for the value of `promql` at `at` (none: the server's now). The deadline covers everything, waiting for
    /// a place included; nothing is retried, for a check is soon made again.
    pub async fn query(&self, promql: &str, at: Option<Timestamp>, deadline: Duration) -> Outcome {
        self.query_as(None, promql, at, deadline).await
    }

    /// The same on somebody's account.
    async fn query_as(
        &self,
        asker: Option<&Asker>,
        promql: &str,
        at: Option<Timestamp>,
        deadline: Duration,
    ) -> Outcome {
        let begun = Instant::now();
        let outcome = self
            .evaluate(asker, promql, at, deadline, MAX_ANSWER)
            .await
            .and_then(|answer| answer.outcome());
        let outcome = outcome.unwrap_or_else(Outcome::Failed);
        self.observer
            .on_query(self.name(), outcome.class(), begun.elapsed());
        outcome
    }

    /// See [`Prometheus::samples_all`].
    async fn samples(
        &self,
        (asker, allowance): (&Asker, &Allowance),
        selector: &str,
        at: Timestamp,
        deadline: Duration,
    ) -> Result<SampleSet, Failure> {
        let begun = Instant::now();
        let result = self
            .evaluate(Some(asker), selector, Some(at), deadline, MAX_SAMPLES)
            .await
            .and_then(|answer| {
                let _one = answer.is_large().then(|| self.room.decode());
                let mut room = self.room.for_samples(&asker.namespace);
                let series = answer.samples(allowance, &mut room)?;
                Ok(SampleSet::kept(series, Box::new(room)))
            });
        let class = match &result {
            Ok(series) if series.is_empty() => OutcomeClass::Empty,
            Ok(_) => OutcomeClass::Ok,
            Err(failure) => failure.class(),
        };
        self.observer.on_query(self.name(), class, begun.elapsed());
        result
    }

    async fn evaluate(
        &self,
        asker: Option<&Asker>,
        promql: &str,
        at: Option<Timestamp>,
        deadline: Duration,
        max_body: usize,
    ) -> Result<Answer, Failure> {
        // The server gives up a little sooner than we do, so that it can still say why.
        let timeout = format!("{}ms", (deadline.as_millis() * 9 / 10).max(1));
        let mut form = vec![("query", promql.to_owned()), ("timeout", timeout)];
        if let Some(at) = at {
            form.push(("time", unix_seconds(at)));
        }
        self.post_for("query", &form, asker, deadline, self.reading(max_body))
            .await
    }

    /// See [`Prometheus::label_names`]; of all series.
    ///
    /// # Errors
    /// The server did not answer, or not reliably.
    pub async fn label_names(
        &self,
        metric: &str,
        now: Timestamp,
        lookback: Duration,
        deadline: Duration,
    ) -> Result<BTreeSet<String>, Failure> {
        let series = query::of_metric(metric);
        self.label_names_of(None, series, now, lookback, deadline).await
    }

    async fn label_names_of(
        &self,
        asker: Option<&Asker>,
        series: String,
        now: Timestamp,
        lookback: Duration,
        deadline: Duration,
    ) -> Result<BTreeSet<String>, Failure> {
        let start = now.saturating_sub(lookback).unwrap_or(Timestamp::UNIX_EPOCH);
        let form = [
            ("match[]", series),
            ("start", unix_seconds(start)),
            ("end", unix_seconds(now)),
        ];
        let begun = Instant::now();
        let result = self
            .post("labels", &form, asker, deadline)
            .await
            .and_then(|answer| answer.names());
        let class = match &result {
            Ok(names) if names.is_empty() => OutcomeClass::Empty,
            Ok(_) => OutcomeClass::Ok,
            Err(failure) => failure.class(),
        };
        self.observer.on_query(self.name(), class, begun.elapsed());
        result
    }

    /// Whether queries are answered: asked by one that needs no data, since not all that speak the query API have
    /// Prometheus's own readiness page.
    ///
    /// # Errors
    /// Why it is not ready.
    pub async fn ready(&self, deadline: Duration) -> Result<(), Failure> {
        match self.query("vector(1)", None, deadline).await {
            Outcome::Series(_) => Ok(()),
            Outcome::Failed(failure) => Err(failure),
            Outcome::Empty | Outcome::TooMany(_) => {
                Err(Failure::Malformed("vector(1) is not one series".to_owned()))
            }
        }
    }

    async fn post(
        &self,
        path: &str,
        form: &[(&str, String)],
        asker: Option<&Asker>,
        deadline: Duration,
    ) -> Result<Answer, Failure> {
        self.post_for(path, form, asker, deadline, self.reading(MAX_ANSWER))
            .await
    }

    /// In the room that all servers share.
    fn reading(&self, max: usize) -> Reading {
        Reading {
            max,
            room: Some(self.room.clone()),
        }
    }

    async fn post_for(
        &self,
        path: &str,
        form: &[(&str, String)],
        asker: Option<&Asker>,
        deadline: Duration,
        reading: Reading,
    ) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let Ok(_place) = timeout(deadline, self.places.take(asker)).await else {
            return Err(Failure::Busy {
                in_flight: self.places.before(asker),
                waited: deadline,
            });
        };
        let request = self
            .http
            .current()
            .post(self.config.url.join(&["api", "v1", path]))
            .form(form);
        let (request, secrets) =
            credentials::authenticate(&self.config, request).map_err(Failure::Credentials)?;
        let left = deadline.saturating_sub(begun.elapsed());
        let mut room = reading.room.map(|room| room.for_body(asker));
        match http::call_within(request, left, reading.max, &mut room).await {
            Ok(reply) => Ok(Answer {
                reply,
                secrets,
                _room: room,
            }),
            Err(CallError::Timeout(_)) => Err(Failure::Timeout(deadline)),
            Err(CallError::NoRoom(_)) => Err(Failure::Waited(deadline)),
            Err(error) => Err(error.into()),
        }
    }
}

fn unix_seconds(at: Timestamp) -> String {
    format!("{}.{:03}", at.as_second(), at.subsec_millisecond())
}
