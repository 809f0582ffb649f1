//! Prometheus, asked for single moments, and for long stretches of the past. One server's slowness is its own; judging an answer is the core's.

mod answer;
mod config;
mod credentials;
mod decode;
mod history;
mod outcome;
mod places;
mod range;
mod room;
mod server;
mod tenant;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;

use crate::core::observation::SampleSet;
use crate::core::query;
use places::Asker;
use room::Room;

pub use config::{Address, BasicAuth, ConfigError, DEFAULT_MAX_IN_FLIGHT, ServerConfig};
pub use decode::MOST_SAMPLES;
pub use history::{Column, MAX_HISTORY, Past};
pub use outcome::{Failure, MAX_SERIES, Outcome, OutcomeClass, Series};
pub use range::{RangeSeries, Stretch};
pub use server::Server;

/// The largest answer with raw samples that is read, in bytes: ten minutes of every bucket of 200 pods, as two reporters
/// have them.
pub const MAX_SAMPLES: usize = 24 << 20;

/// The largest of the other answers that is read, in bytes: many times what a hundred series with all their labels take.
pub const MAX_ANSWER: usize = room::MIDDLE_BODY;

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
    /// meanwhile. A check asks for its values in one go and for its samples in another.
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
            let allowance = &Arc::default();
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
