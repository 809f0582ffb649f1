//! One server, and how it is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::config::{Address, ConfigError, ServerConfig};
use super::credentials;
use super::decode::Allowance;
use super::outcome::{Failure, Outcome, OutcomeClass};
use super::places::{Asker, Places};
use super::room::Room;
use super::{MAX_ANSWER, MAX_SAMPLES, QueryObserver};
use crate::clients::http::{self, CallError, HttpClient};
use crate::core::observation::SampleSet;
use crate::core::query;

/// How much of a body is read, and in which room.
#[derive(Clone)]
pub(super) struct Reading {
    max: usize,
    room: Option<Room>,
}

impl Reading {
    /// By a command that does nothing else.
    pub(super) const fn alone(max: usize) -> Self {
        Self { max, room: None }
    }
}

/// One Prometheus, or anything that speaks its query API.
pub struct Server {
    pub(super) config: ServerConfig,
    http: HttpClient,
    places: Places,
    room: Room,
    pub(super) observer: Arc<dyn QueryObserver>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn new(
        config: ServerConfig,
        observer: Arc<dyn QueryObserver>,
        room: Room,
    ) -> Result<Self, ConfigError> {
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
    pub(super) async fn query_as(
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
    pub(super) async fn samples(
        &self,
        (asker, allowance): (&Asker, &Arc<Allowance>),
        selector: &str,
        at: Timestamp,
        deadline: Duration,
    ) -> Result<SampleSet, Failure> {
        let begun = Instant::now();
        let result = match self
            .evaluate(Some(asker), selector, Some(at), deadline, MAX_SAMPLES)
            .await
        {
            // What came within the deadline is read, however busy this process is.
            Ok(answer) => {
                self.read_samples(answer, Arc::clone(allowance), &asker.namespace)
                    .await
            }
            Err(failure) => Err(failure),
        };
        self.observe(begun, result, |series| series.is_empty())
    }

    /// Tells the observer what came of a question that was asked then.
    pub(super) fn observe<T>(
        &self,
        begun: Instant,
        result: Result<T, Failure>,
        is_empty: impl Fn(&T) -> bool,
    ) -> Result<T, Failure> {
        let class = match &result {
            Ok(found) if is_empty(found) => OutcomeClass::Empty,
            Ok(_) => OutcomeClass::Ok,
            Err(failure) => failure.class(),
        };
        self.observer.on_query(self.name(), class, begun.elapsed());
        result
    }

    /// Large answers one after the other, and where they keep no other work of the process waiting.
    async fn read_samples(
        &self,
        answer: Answer,
        allowance: Arc<Allowance>,
        namespace: &str,
    ) -> Result<SampleSet, Failure> {
        let mut room = self.room.for_samples(namespace);
        let is_large = answer.is_large();
        let read = move || {
            let series = answer.samples(&allowance, &mut room)?;
            room.settle();
            Ok(SampleSet::kept(series, Box::new(room)))
        };
        if !is_large {
            return read();
        }
        let one = self.room.decode().await;
        let reading = tokio::task::spawn_blocking(move || {
            let _one = one;
            read()
        });
        let stopped = |_| Err(Failure::Malformed("it could not be read".to_owned()));
        reading.await.unwrap_or_else(stopped)
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

    /// See [`super::Prometheus::label_names`]; of all series.
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

    pub(super) async fn label_names_of(
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
        self.observe(begun, result, BTreeSet::is_empty)
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

    pub(super) async fn post_for(
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
        let mut room = reading.room.map(|room| room.for_body(self.name(), asker));
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

pub(super) fn unix_seconds(at: Timestamp) -> String {
    format!("{}.{:03}", at.as_second(), at.subsec_millisecond())
}
