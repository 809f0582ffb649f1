//! `birdwatch backtest`: fetches the past of a service, replays a policy over it, and says what it would have done.

pub mod args;
mod cluster;
mod fetch;
mod gather;
mod names;
pub mod settings;
mod work;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Runtime;

use crate::backtest::history::History;
use crate::backtest::noise::noise;
use crate::backtest::picture;
use crate::backtest::policy::Policy;
use crate::backtest::report::{Cost, PolicyReport, Report, Suggestion, player, traffic};
use crate::backtest::search::{Tries, best, search_seed};
use crate::backtest::trial::{longest, starts};
use crate::core::plan::PlanError;
use crate::runtime::clock::Clock;

use super::given::SettingsError;
use super::simulate::SimulateError;
use cluster::Found;
use fetch::Tally;
use gather::Gathered;
use settings::{BacktestSettings, Output};

/// The exit code of a backtest that could not be done: 1 might be taken for a finding.
pub const COULD_NOT_REPLAY: u8 = 2;

/// Why nothing was replayed: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The file cannot be read, or the report not written.
    #[error(transparent)]
    File(#[from] SimulateError),
    /// No `BirdWatch`, or no version in production.
    #[error("{0}")]
    Input(String),
    /// A flag that cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no plan in the spec.
    #[error("{}; mend the BirdWatch", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Plan(Vec<PlanError>),
    /// Prometheus does not answer, or knows nothing of the service.
    #[error("{what} at {server}: {why}; {remedy}")]
    Prometheus {
        /// What was asked for.
        what: String,
        /// The server.
        server: String,
        /// What it said.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A rollout would not begin anywhere in the past.
    #[error("no rollout would begin: {0}; mend that first, `birdwatch check` shows it too")]
    NeverBegins(String),
    /// The past is shorter than a rollout.
    #[error(
        "the past that is known lasts {known:.0} s and a rollout of the policy up to {needed:.0} s: look further back with --since, \
         or write shorter steps"
    )]
    TooShort {
        /// How long the past is, seconds.
        known: f64,
        /// How long a rollout is, seconds.
        needed: f64,
    },
}

/// Fetches, replays and writes.
///
/// # Errors
/// What was asked for cannot be fetched, replayed or written.
pub fn backtest(settings: &BacktestSettings, runtime: &Runtime) -> Result<(), BacktestError> {
    let tally = Arc::new(Tally::default());
    let clock = Clock::real();
    let begun = clock.monotonic();
    let (found, gathered) = runtime.block_on(async {
        let found = cluster::find(settings).await?;
        let gathered = gather::gather(settings, &found, &tally, clock.now()).await?;
        Ok::<_, BacktestError>((found, gathered))
    })?;
    let fetched = clock.monotonic();
    let (mut report, rollouts) = replayed(settings, &found, &gathered)?;
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    report.cost = Cost {
        queries: count(&tally.queries),
        retries: count(&tally.retries),
        at_once: count(&tally.at_once),
        bytes: count(&tally.bytes),
        samples: count(&tally.samples),
        odd_samples: count(&tally.odd),
        fetch_seconds: fetched.duration_since(begun).as_secs_f64(),
        replay_seconds: clock.monotonic().duration_since(fetched).as_secs_f64(),
        rollouts,
        peak_memory_bytes: peak_memory(),
    };
    write(settings, &report)
}

/// Every policy over the past, and how many rollouts that took.
fn replayed(
    settings: &BacktestSettings,
    found: &Found,
    gathered: &Gathered,
) -> Result<(Report, u64), BacktestError> {
    let (history, file) = (&gathered.history, &gathered.file);
    let needed = longest(file, history);
    if starts(history, needed, 1, 1).is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
        let needed = needed as f64 / 1000.0;
        return Err(BacktestError::TooShort {
            known: history.seconds(),
            needed,
        });
    }
    let mut table = Table {
        settings,
        history,
        policies: Vec::new(),
        notes: gathered.notes.clone(),
        rollouts: 0,
    };
    table.add(file);
    table.begins(&gathered.refused)?;
    if let Some(default) = &gathered.default {
        table.add(default);
    }
    let best = table.best(file);
    if let Some(best) = &best {
        table.add(best);
    }
    let Table {
        policies,
        notes,
        rollouts,
        ..
    } = table;
    let report = Report {
        service: found.subject.service.clone(),
        production: found.subject.version.clone(),
        seed: settings.seed,
        starts: settings.starts,
        canary: player(settings.canary),
        from: history.from.to_string(),
        until: history.until.to_string(),
        scrape_seconds: history.scrape.as_secs_f64(),
        traffic: traffic(history),
        metrics: noise(&file.plan.metrics, history),
        suggestion: best.and_then(|best| Suggestion::new(file, &best, &policies)),
        policies,
        notes,
        cost: Cost::default(),
    };
    Ok((report, rollouts))
}

/// The policies that were tried.
struct Table<'a> {
    settings: &'a BacktestSettings,
    history: &'a History,
    policies: Vec<PolicyReport>,
    notes: Vec<String>,
    rollouts: u64,
}

impl Table<'_> {
    /// Tries one more.
    fn add(&mut self, policy: &Policy) {
        let settings = self.settings;
        let tries = (settings.starts, settings.seed, settings.canary);
        let cells = work::try_policy(policy, self.history, &settings.faults, tries);
        self.rollouts += cells
            .iter()
            .map(|cell| u64::from(cell.runs + cell.never_began))
            .sum::<u64>();
        let mut cells = cells.into_iter();
        match cells
            .next()
            .filter(|healthy| healthy.runs + healthy.never_began > 0)
        {
            Some(healthy) => self
                .policies
                .push(PolicyReport::new(policy, healthy, cells.collect())),
            None => self.notes.push(format!(
                "The past is too short for the policy {:?}, whose rollouts take {} and more.",
                policy.name,
                policy.length()
            )),
        }
    }

    /// Whether healthy rollouts of the first policy begin at all.
    fn begins(&mut self, refused: &[String]) -> Result<(), BacktestError> {
        let Some(healthy) = self.policies.first_mut().map(|policy| &mut policy.healthy) else {
            return Ok(());
        };
        if healthy.never_began > 0 && !refused.is_empty() {
            // What the samples themselves say names the right target.
            healthy.why_not = refused.first().cloned();
        }
        // Refused wherever it was looked at, it begins now and then by chance.
        let most = !refused.is_empty() && healthy.never_began >= healthy.runs;
        if most || healthy.runs == 0 {
            let why = healthy.why_not.take();
            let nothing = || "nothing is known of production".to_owned();
            return Err(BacktestError::NeverBegins(why.unwrap_or_else(nothing)));
        }
        Ok(())
    }

    /// The best policy within the bounds.
    fn best(&mut self, file: &Policy) -> Option<Policy> {
        let settings = self.settings;
        let bounds = settings.bounds?;
        let rollouts = std::cell::Cell::new(0_u64);
        let found = best(file, self.history, &bounds, tries(settings), &|what, jobs| {
            rollouts.set(rollouts.get() + u64::try_from(jobs.len()).unwrap_or(0));
            work::run(what, self.history, jobs)
        });
        self.rollouts += rollouts.get();
        if found.is_none() {
            let note = "No policy within the bounds stays within the budget for false alarms.";
            self.notes.push(note.to_owned());
        }
        found
    }
}

/// What a search tries. Its dice are its own: measured on the same ones, what is found would look better than it is.
const fn tries(settings: &BacktestSettings) -> Tries {
    Tries {
        starts: settings.starts,
        seed: search_seed(settings.seed),
        canary: settings.canary,
    }
}

fn write(settings: &BacktestSettings, report: &Report) -> Result<(), BacktestError> {
    let text = match settings.output {
        Output::Text => report.text(),
        // Numbers that are none would become null; there are none in a report.
        Output::Json => serde_json::to_string_pretty(report).unwrap_or_default() + "\n",
        Output::Html => picture::page(report).html(),
    };
    let Some(path) = &settings.out else {
        // A pipe that is closed early (`| head`) is no error.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(());
    };
    std::fs::write(path, text).map_err(|source| {
        SimulateError::Write {
            file: path.display().to_string(),
            source,
        }
        .into()
    })
}

/// The most memory that this process held, bytes; 0 where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Whether a history has anything to replay.
fn is_empty(history: &History) -> bool {
    history.counters.iter().all(|counters| counters.scrapes() == 0)
        && history
            .queries
            .iter()
            .all(|query| query.series.is_empty() && query.traffic.at.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_for_on_some_dice_is_measured_on_others() {
        let typed = |seed: &str| {
            BacktestSettings::new(args::BacktestArgs {
                what: "-".to_owned(),
                seed: Some(seed.to_owned()),
                ..args::BacktestArgs::default()
            })
        };
        let seed = |text| tries(&typed(text).unwrap()).seed;
        assert_ne!(seed("7"), 7);
        assert_ne!(seed("7"), seed("8"));
        assert_eq!(seed("7"), seed("7"));
    }
}
