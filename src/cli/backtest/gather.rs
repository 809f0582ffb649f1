//! From a policy to its past: what has to be asked, an estimate of what that takes, and the answers in one place.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::Span;
use crate::api::plan::{MetricPlan, SequentialPlan, TestPlan, ThresholdPlan};
use crate::backtest::history::{History, Points, QueryHistory};
use crate::backtest::policy::Policy;
use crate::cli::progress::Progress;
use crate::clients::prometheus::{QueryObserver, ServerConfig, Servers};
use crate::core::observation::Settings;
use crate::core::questions::{self, Past};
use crate::core::sequential::policy::metrics;

use super::cluster::Found;
use super::fetch::{Fetcher, Probe, SCRAPE, Tally, counter_chunks, query_chunks};
use super::settings::BacktestSettings;
use super::{BacktestError, is_empty};

/// A policy, its default, and the past of both.
pub(super) struct Gathered {
    pub(super) history: History,
    pub(super) file: Policy,
    pub(super) default: Option<Policy>,
    /// Why rollouts of the file's policy would not begin, in the words of the samples.
    pub(super) refused: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Nobody can tell whether what has no name exists.
const NO_NAME: &str = "the query has no result, and one of its selectors has no metric name to look up";

/// Counters to fetch.
struct Counting {
    test: SequentialPlan,
    probe: Probe,
}

/// Fetches the past of every metric.
///
/// # Errors
/// The server does not answer, or knows nothing of the service.
pub(super) async fn gather(
    settings: &BacktestSettings,
    found: &Found,
    tally: &Arc<Tally>,
    now: Timestamp,
) -> Result<Gathered, BacktestError> {
    let file = Policy::new("file", &found.object.spec).map_err(BacktestError::Plan)?;
    let default = Policy::default_of(&found.object.spec).ok();
    let default = default.filter(|default| default.plan != file.plan);
    // Where nothing counts requests, Istio's counters say how many people met an error.
    let default = default.filter(|_| settings.default || sequential(&file).next().is_none());
    let until = settings.until.unwrap_or(now);
    let since = SignedDuration::try_from(settings.since).unwrap_or(SignedDuration::MAX);
    let stretch = (until.saturating_sub(since).unwrap_or(until), until);
    let fetcher = fetcher(settings, found, &file, tally)?;
    let mut notes = Vec::new();
    let policies: Vec<&Policy> = std::iter::once(&file).chain(&default).collect();
    let counting = fetcher.look(&policies, stretch, &mut notes).await?;
    if !settings.default {
        notes.clear();
    }
    let default = default.filter(|policy| settings.default && is_known(policy, &counting));
    let of_file = |one: &&Counting| sequential(&file).any(|(_, test)| test.counters == one.test.counters);
    let refused = counting.iter().filter(of_file);
    let refused = refused.filter_map(|one| one.probe.refused.clone()).collect();
    let seen = counting.iter().find_map(|one| one.probe.scrape);
    let scrape = settings.scrape.or(seen).unwrap_or(SCRAPE);
    let mut history = fetcher.fetch(&file, &counting, stretch, scrape).await?;
    if is_empty(&history) {
        return Err(fetcher.failed("the past", "there is none of this version".to_owned()));
    }
    begin_where_it_begins(&mut history, &mut notes);
    notes.extend(caveats(&history, &file));
    Ok(Gathered {
        history,
        file,
        default,
        refused,
        notes,
    })
}

impl Fetcher {
    /// The server as messages name it.
    fn address(&self) -> String {
        let server = self.servers.get(self.server.as_deref());
        server.map_or_else(|_| String::new(), |server| server.address().to_string())
    }

    fn failed(&self, what: &str, why: String) -> BacktestError {
        BacktestError::Prometheus {
            what: what.to_owned(),
            server: self.address(),
            why,
            remedy: "check --prometheus, --production and --since",
        }
    }

    /// A first look at every kind of counters; what only the default asks for may be missing.
    async fn look(
        &self,
        policies: &[&Policy],
        stretch: (Timestamp, Timestamp),
        notes: &mut Vec<String>,
    ) -> Result<Vec<Counting>, BacktestError> {
        let mut counting: Vec<Counting> = Vec::new();
        for policy in policies {
            for (metric, test) in metrics(&policy.plan) {
                if counting.iter().any(|known| known.test.counters == test.counters) {
                    continue;
                }
                match self.probe(&policy.plan, (metric, test), stretch).await {
                    Ok(probe) => counting.push(Counting {
                        test: test.clone(),
                        probe,
                    }),
                    Err(why) if policy.name == "file" => return Err(self.failed(&metric.name, why)),
                    Err(why) => notes.push(format!("A service name alone is not compared: {why}")),
                }
            }
        }
        Ok(counting)
    }

    /// All counters and all queries.
    async fn fetch(
        &self,
        file: &Policy,
        counting: &[Counting],
        stretch: (Timestamp, Timestamp),
        scrape: Duration,
    ) -> Result<History, BacktestError> {
        let past = |(name, test): (&str, &ThresholdPlan)| {
            let values = self.subject.values(test.window);
            let past = questions::of_past(name, test, &values, &core_settings(scrape))?;
            Some((test.clone(), past))
        };
        let asking: Vec<(ThresholdPlan, Past)> = threshold(file).filter_map(past).collect();
        let step = step(file, scrape);
        let mut progress = announce(self, counting, asking.len(), stretch, (scrape, step));
        let mut history = History {
            from: stretch.0,
            until: stretch.1,
            scrape: span(scrape),
            counters: Vec::new(),
            queries: Vec::new(),
        };
        for Counting { test, probe } in counting {
            let chunks = counter_chunks(stretch, scrape, probe.bytes);
            let by = (&probe.source, probe.pods.as_ref());
            let counters = self.counters(test, by, chunks, scrape, &mut progress).await;
            history
                .counters
                .push(counters.map_err(|why| self.failed("counters", why))?);
        }
        for (asked, past) in asking {
            let query = &past.question;
            let series = self.values(&query.query, stretch, step, &mut progress).await;
            let traffic = self.values(&query.traffic, stretch, step, &mut progress).await;
            let traffic = traffic.map_err(|why| self.failed("traffic", why))?;
            let series = series.map_err(|why| self.failed(&query.metric, why))?;
            if series.is_empty() || query.hides_absence {
                if query.unnamed {
                    return Err(self.failed(&query.metric, NO_NAME.to_owned()));
                }
                let known = self.knows(&query.names, stretch).await;
                known.map_err(|why| self.failed(&query.metric, why))?;
            }
            history.queries.push(QueryHistory {
                series,
                traffic: traffic.into_iter().next().unwrap_or_default(),
                asked,
                past,
                step: span(step),
            });
        }
        progress.end();
        Ok(history)
    }
}

fn sequential(policy: &Policy) -> impl Iterator<Item = (&MetricPlan, &SequentialPlan)> {
    metrics(&policy.plan)
}

fn threshold(policy: &Policy) -> impl Iterator<Item = (&str, &ThresholdPlan)> {
    policy
        .plan
        .metrics
        .iter()
        .filter_map(|metric| match &metric.test {
            TestPlan::Threshold(test) => Some((metric.name.as_str(), test)),
            TestPlan::Sequential(_) => None,
        })
}

fn is_known(policy: &Policy, counting: &[Counting]) -> bool {
    let known = |test: &SequentialPlan| counting.iter().any(|one| one.test.counters == test.counters);
    sequential(policy).all(|(_, test)| known(test))
}

fn fetcher(
    settings: &BacktestSettings,
    found: &Found,
    file: &Policy,
    tally: &Arc<Tally>,
) -> Result<Fetcher, BacktestError> {
    let refused = |why: &dyn std::fmt::Display| BacktestError::Input(format!("Prometheus: {why}"));
    let mut configs = match (&settings.prometheus, &settings.servers_file) {
        (Some(url), None) => vec![ServerConfig::from_url(url).map_err(|why| refused(&why))?],
        (None, Some(list)) => {
            let text = std::fs::read_to_string(list)
                .map_err(|why| refused(&format!("cannot read {}: {why}", list.display())))?;
            ServerConfig::list(&text).map_err(|why| refused(&why))?
        }
        (Some(_), Some(_)) => {
            return Err(refused(
                &"give --prometheus or --prometheus-servers-file, not both",
            ));
        }
        (None, None) => return Err(refused(&"which one is not known; add --prometheus URL")),
    };
    for config in &mut configs {
        config.max_in_flight = settings.max_queries;
    }
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    let fetcher = Fetcher {
        servers: Servers::new(configs, &observer).map_err(|why| refused(&why))?,
        // A URL has no name, whatever the BirdWatch calls its server.
        server: file
            .plan
            .prometheus
            .clone()
            .filter(|_| settings.servers_file.is_some()),
        subject: found.subject.clone(),
        timeout: settings.query_timeout,
        max_queries: settings.max_queries,
        scrape: settings.scrape,
        tally: Arc::clone(tally),
    };
    let known = fetcher.servers.get(fetcher.server.as_deref());
    known.map(|_| ()).map_err(|why| refused(&why))?;
    Ok(fetcher)
}

/// As the operator has them, with this scrape interval.
fn core_settings(scrape: Duration) -> Settings {
    Settings {
        scrape_interval: span(scrape),
        propagation_delay: Span::secs(5),
        query_timeout: Span::secs(5),
        notify: None,
    }
}

fn span(duration: Duration) -> Span {
    Span::millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// Queries are evaluated as often as they are checked, and not more often than anything changes.
fn step(policy: &Policy, scrape: Duration) -> Duration {
    let hold = policy
        .plan
        .steps
        .iter()
        .map(|step| step.hold)
        .min()
        .unwrap_or_default();
    let every = policy.plan.check_interval;
    let every = every.unwrap_or_else(|| hold.clamp(Span::secs(1), Span::secs(10)));
    every.std().max(scrape)
}

/// Says what is about to be asked, and for how long that may take.
fn announce(
    fetcher: &Fetcher,
    counting: &[Counting],
    queries: usize,
    stretch: (Timestamp, Timestamp),
    (scrape, step): (Duration, Duration),
) -> Progress {
    let of = |one: &Counting| {
        let exporters = 1 + usize::from(one.probe.pods.is_some());
        exporters * counter_chunks(stretch, scrape, one.probe.bytes).len()
    };
    let chunks = counting.iter().map(of).sum::<usize>() + 2 * queries * query_chunks(stretch, step).len();
    let minutes = stretch.1.duration_since(stretch.0).as_secs_f64() / 60.0;
    // A sum of nothing is -0.
    let bytes: f64 = 0.0 + counting.iter().map(|one| one.probe.bytes * minutes).sum::<f64>();
    // A look at half an hour says how long a minute takes, at most.
    let alone = counting.iter().map(|one| one.probe.seconds * minutes / 30.0);
    let alone: f64 = 0.0 + alone.sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let seconds = alone / fetcher.max_queries.min(4) as f64;
    // Who cannot be told is not told.
    let _ = writeln!(
        std::io::stderr(),
        "asking {} for {:.1} h of version {} of {}: about {chunks} queries of at most {} at once, {:.1} MB, {seconds:.0} s at most",
        fetcher.address(),
        minutes / 60.0,
        fetcher.subject.version,
        fetcher.subject.service,
        fetcher.max_queries,
        bytes / 1e6,
    );
    Progress::new("fetching", chunks)
}

/// What a server no longer knows is no part of the past.
fn begin_where_it_begins(history: &mut History, notes: &mut Vec<String>) {
    let firsts = |points: &Points| points.at.first().copied();
    let counted = history
        .counters
        .iter()
        .flat_map(|c| c.targets.values())
        .filter_map(|t| t.at.first());
    let read = history.queries.iter().flat_map(|q| &q.series).filter_map(firsts);
    let first = counted.copied().chain(read).min();
    let begins = first.and_then(|at| Timestamp::from_millisecond(at).ok());
    if let Some(begins) = begins.filter(|at| *at > history.from) {
        let late = Span::between(history.from, begins);
        if late > Span::secs(3600) {
            // People count hours here.
            let late = Span::secs(u32::try_from(late.std().as_secs() / 60 * 60).unwrap_or(u32::MAX));
            notes.push(format!(
                "Nothing is known of the first {late} that were asked for."
            ));
        }
        history.from = begins;
    }
}

/// What to know before believing the numbers.
fn caveats(history: &History, file: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    for query in &history.queries {
        let name = &query.past.question.metric;
        if !query.past.is_error_share {
            notes.push(format!(
                "{name}: faults are not injected into this query, as nothing says how bad requests show in it; its healthy \
                 versions read what production read."
            ));
        }
        if query.asked.compare_to == crate::api::spec::CompareTo::Production {
            notes.push(format!(
                "{name}: canary and production are the same history here, so that only its fixed limits can be exceeded."
            ));
        }
    }
    if threshold(file).next().is_some() {
        notes.push(
            "A canary's query is production's own: with less traffic it is noisier than here, and false alarms are more."
                .to_owned(),
        );
    }
    notes
}
