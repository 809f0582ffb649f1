//! What Prometheus says of the metrics and the traffic of a plan. It asks, and judges nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::CheckError;
use crate::api::Span;
use crate::api::plan::{Plan, TestPlan};
use crate::api::spec::Direction;
use crate::clients::prometheus::{Outcome, QueryObserver, RangeSeries, ServerConfig, Servers, Stretch};
use crate::controller::checks;
use crate::core::observation::{Answer, Question, Settings};
use crate::core::preflight::inventory::{CountersFacts, Inventory, MetricFacts, Seen, TrafficFacts};
use crate::core::preflight::{self, TrafficQueries};

/// The longest that Prometheus may take for one query.
const DEADLINE: Duration = Duration::from_secs(15);

/// How far back noise is looked at, and how often.
const HOUR: Duration = Duration::from_hours(1);
const EVERY: Duration = Duration::from_mins(1);

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum At {
    /// The server at a URL, which may hold a password.
    Url(String),
    /// The servers of a YAML list in a file.
    List(PathBuf),
}

/// Where Prometheus is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whom to ask.
    pub at: At,
    /// PEM file with further certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
}

impl Target {
    /// Every server that there is.
    pub(super) fn configs(&self) -> Result<Vec<ServerConfig>, CheckError> {
        let mut configs = match &self.at {
            At::Url(url) => vec![ServerConfig::from_url(url)?],
            At::List(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| CheckError::File {
                    file: path.display().to_string(),
                    problem: error.to_string(),
                })?;
                ServerConfig::list(&text).map_err(|error| CheckError::File {
                    file: path.display().to_string(),
                    problem: error.to_string(),
                })?
            }
        };
        for config in &mut configs {
            config.common_ca_file.clone_from(&self.ca_file);
        }
        // Whether they can be used is said even where nobody is asked.
        Servers::new(configs.clone(), &nobody())?;
        Ok(configs)
    }

    /// A client for the server that a `BirdWatch` calls by that name, or why there is none. A URL has no name.
    pub(super) fn server(&self, configs: &[ServerConfig], name: Option<&str>) -> Result<Servers, String> {
        let name = name.filter(|_| matches!(self.at, At::List(_)));
        let known = || {
            configs
                .iter()
                .map(|config| config.name.clone())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let is_meant = |config: &&ServerConfig| name.is_none_or(|name| config.name == name);
        let config = configs.iter().find(is_meant).ok_or_else(|| {
            let name = name.unwrap_or_default();
            format!("spec.prometheus is {name}, and the servers file has {}", known())
        })?;
        Servers::new(vec![config.clone()], &nobody()).map_err(|error| error.to_string())
    }
}

fn nobody() -> Arc<dyn QueryObserver> {
    Arc::new(())
}

/// Whether Prometheus can be asked.
pub(super) enum Asked {
    /// Nobody named one; what to do about it.
    No(&'static str),
    /// It does not answer; why.
    InVain(String),
    /// It answers.
    Of(Servers),
}

impl Asked {
    fn servers(&self) -> Result<&Servers, &str> {
        match self {
            Self::Of(servers) => Ok(servers),
            Self::No(why) => Err(why),
            Self::InVain(why) => Err(why),
        }
    }

    /// Whom to ask about a plan.
    pub(super) async fn about(target: Option<&(Target, Vec<ServerConfig>)>, plan: &Plan) -> Self {
        let Some((target, configs)) = target else {
            return Self::No("give --prometheus");
        };
        match target.server(configs, plan.prometheus.as_deref()) {
            Err(why) => Self::InVain(why),
            Ok(servers) => match unready(&servers).await {
                Some(why) => Self::InVain(why),
                None => Self::Of(servers),
            },
        }
    }
}

/// Why Prometheus does not answer; none where it does.
async fn unready(servers: &Servers) -> Option<String> {
    let server = servers.iter().next()?;
    let failure = server.ready(DEADLINE).await.err()?;
    Some(format!("{}: {failure}", server.address()))
}

/// Adds what Prometheus says at `now`.
pub(super) async fn ask(inventory: &mut Inventory, plan: &Plan, asked: &Asked, now: Timestamp) {
    let servers = match asked.servers() {
        Err(why) => {
            let why = why.to_owned();
            (inventory.metrics, inventory.counters) = (Err(why.clone()), Err(why.clone()));
            inventory.traffic = Err(why);
            return;
        }
        Ok(servers) => servers,
    };
    let (production, canary) = preflight::versions(inventory, plan);
    // A version that no series can have, where there is none yet.
    let canary = canary.unwrap_or_default();
    let unknown = "production's version is not known";
    let metrics = async {
        match &production {
            Some(production) => metrics(servers, inventory, plan, (production, &canary), now).await,
            None if preflight::needs_production(plan) => Err(unknown.to_owned()),
            None => metrics(servers, inventory, plan, ("", &canary), now).await,
        }
    };
    let traffic = async {
        match &production {
            Some(production) => traffic(servers, inventory, plan, production).await,
            None => Err(unknown.to_owned()),
        }
    };
    let (asked, traffic) = tokio::join!(metrics, traffic);
    inventory.traffic = traffic;
    (inventory.metrics, inventory.counters) = match asked {
        Ok((metrics, counters)) => (Ok(metrics), Ok(counters)),
        Err(why) => (Err(why.clone()), Err(why)),
    };
}

/// What a baseline would ask, answered, with the last hour of each query.
async fn metrics(
    servers: &Servers,
    inventory: &Inventory,
    plan: &Plan,
    versions: (&str, &str),
    now: Timestamp,
) -> Seen<(Vec<MetricFacts>, Vec<CountersFacts>)> {
    let settings = Settings {
        scrape_interval: inventory.scrape_interval,
        propagation_delay: inventory.propagation_delay,
        query_timeout: Span::millis(i64::try_from(DEADLINE.as_millis()).unwrap_or(i64::MAX)),
        notify: None,
    };
    let request = preflight::check(&inventory.name, plan, versions, &settings, now);
    let questions = request.questions.iter();
    let hours = join_all(questions.map(|question| hour(servers, plan, question, now)));
    let (check, hours) = tokio::join!(
        checks::ask_once(servers, &inventory.name.namespace, &request, now),
        hours
    );
    let counters = preflight::counters(plan, &check);
    let facts = check.answers.into_iter().zip(hours);
    let facts = facts.map(|(answer, hour): (Answer, _)| MetricFacts { answer, hour });
    Ok((facts.collect(), counters))
}

/// The readings of the last hour, as a check would have had them.
async fn hour(servers: &Servers, plan: &Plan, question: &Question, now: Timestamp) -> Seen<Vec<f64>> {
    let metric = plan.metrics.iter().find(|metric| metric.name == question.metric);
    let direction = match metric.map(|metric| &metric.test) {
        Some(TestPlan::Threshold(test)) => test.direction,
        _ => return Err("no such metric".to_owned()),
    };
    let readings = worst(direction, &range(servers, &question.query, now).await?);
    if !question.per_request {
        return Ok(readings.into_values().collect());
    }
    let traffic = worst(direction, &range(servers, &question.traffic, now).await?);
    let divided = readings.into_iter().filter_map(|(at, value)| {
        let rate = traffic.get(&at).copied().filter(|rate| *rate > 0.0)?;
        Some(value / rate)
    });
    Ok(divided.collect())
}

async fn range(servers: &Servers, query: &str, now: Timestamp) -> Seen<Vec<RangeSeries>> {
    let server = servers.get(None).map_err(|unknown| unknown.to_string())?;
    let stretch = Stretch {
        start: now.saturating_sub(HOUR).unwrap_or(now),
        end: now,
        step: EVERY,
    };
    server
        .query_range(query, stretch, DEADLINE)
        .await
        .map_err(|failure| failure.to_string())
}

/// The worst series at each moment.
fn worst(direction: Direction, series: &[RangeSeries]) -> BTreeMap<i64, f64> {
    let mut worst: BTreeMap<i64, f64> = BTreeMap::new();
    for (at, value) in series.iter().flat_map(|one| &one.points) {
        let kept = worst.entry(*at).or_insert(*value);
        let is_worse = match direction {
            Direction::Increase => *value > *kept,
            Direction::Decrease => *value < *kept,
            Direction::Both => value.abs() > kept.abs(),
        };
        if is_worse {
            *kept = *value;
        }
    }
    worst
}

async fn traffic(
    servers: &Servers,
    inventory: &Inventory,
    plan: &Plan,
    production: &str,
) -> Seen<TrafficFacts> {
    let TrafficQueries { rate, from_mesh } = preflight::traffic_queries(&inventory.name, plan, production);
    let (rate, from_mesh) = tokio::join!(sum(servers, &rate), sum(servers, &from_mesh));
    Ok(TrafficFacts {
        requests_per_second: rate?,
        from_mesh,
    })
}

/// The sum of a query's series; nothing counted is 0.
async fn sum(servers: &Servers, query: &str) -> Seen<f64> {
    let server = servers.get(None).map_err(|unknown| unknown.to_string())?;
    match server.query(query, None, DEADLINE).await {
        Outcome::Series(series) => {
            let sum: f64 = series.iter().map(|one| one.value).sum();
            sum.is_finite()
                .then_some(sum)
                .ok_or_else(|| format!("the rate is {sum}"))
        }
        Outcome::Empty => Ok(0.0),
        Outcome::TooMany(count) => Err(format!("the query gives {count} series")),
        Outcome::Failed(failure) => Err(failure.to_string()),
    }
}
