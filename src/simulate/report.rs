//! What a simulation found: as data for JSON, as a table for people, as a page.

use std::time::Duration;

use serde::Serialize;

use crate::core::sequential::planner::{Policy, Traffic};
use crate::core::sequential::sight::{load, nearest, sight};

use super::summary::Cell;
use super::words::{lined_up, range, rounded, sentence, span};
pub use super::words::{share, steps_text};
use super::world::{Setup, SetupError};

/// Everything found, and what it was found under.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The service.
    pub service: String,
    /// Where the random numbers began: the same seed gives the same report.
    pub seed: u64,
    /// Rollouts simulated for each canary.
    pub runs: u32,
    /// What was tried.
    pub policy: PolicyReport,
    /// On which traffic.
    pub traffic: TrafficReport,
    /// What the policy can see, in a sentence.
    pub sight: String,
    /// The nearest policy that sees clearly more, in words; null where there is none or none is needed.
    pub nearest: Option<String>,
    /// Every canary that was simulated, from the best to the worst.
    pub canaries: Vec<Cell>,
    /// What bad requests are called, in the plural.
    #[serde(skip)]
    pub noun: &'static str,
}

/// A policy as JSON has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// The steps in order.
    pub steps: Vec<KeptReport>,
    /// How long all of them are expected to be kept, seconds.
    pub length_seconds: f64,
    /// Seconds between two checks.
    pub every_seconds: f64,
    /// Seconds between two scrapes.
    pub scrape_seconds: f64,
    /// Seconds that a change of weight takes to be known everywhere.
    pub propagation_seconds: f64,
    /// How many times production's bad share is tolerated.
    pub tolerance: f64,
    /// The most false alarms that are promised, 0 to 1.
    pub false_alarm: f64,
    /// Further checks at the limit before the canary is unhealthy.
    pub confirmations: u32,
    /// What the evidence is divided by, as errors come in clumps.
    pub dispersion: f64,
}

/// A step as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptReport {
    /// What the manifest says.
    #[serde(flatten)]
    pub step: StepReport,
    /// How long the operator is expected to keep it, seconds.
    pub kept_seconds: f64,
    /// How much of that it counts, seconds.
    pub counted_seconds: f64,
}

/// A step as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// The canary's share of the traffic, percent.
    pub weight: f64,
    /// How long the manifest holds it, seconds.
    pub hold_seconds: f64,
}

/// Traffic as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// Requests per second to both versions together.
    pub requests_per_second: f64,
    /// Production's bad share, 0 to 1.
    pub production_bad: f64,
}

/// By when a fault is to be found to be worth a sentence: the operator's own sentence is about the same time.
const SOON: Duration = Duration::from_mins(5);

/// Rows of the table of steps.
const MOST_ROWS: usize = 10;

/// What the table of steps says of each canary.
pub(super) const STEP_BY_STEP: &str = "Rolled back by the end of each step";

const GIVEN_UP: &str = "Rollouts given up waited for requests long after their steps should have ended: neither passed nor rolled back.";

const HEAD: [&str; 6] = [
    "canary bad",
    "rolled back (95 % interval)",
    "median",
    "90 %",
    "planner",
    "mostly at",
];

impl Report {
    /// A report on these canaries, which come in any order.
    ///
    /// # Errors
    /// A setup that is none.
    pub fn new(
        (service, noun): (String, &'static str),
        seed: u64,
        runs: u32,
        setup: &Setup,
        mut canaries: Vec<Cell>,
    ) -> Result<Self, SetupError> {
        let (policy, traffic) = (setup.policy(), setup.traffic());
        canaries.sort_by(|a, b| a.canary_bad.total_cmp(&b.canary_bad));
        let within = policy.length(traffic).min(SOON);
        Ok(Self {
            service,
            seed,
            runs,
            policy: PolicyReport::new(policy, traffic),
            traffic: traffic.into(),
            sight: sight(policy, traffic, within, noun)?,
            nearest: nearest(policy, traffic, within, noun)?.map(|(_, words)| words),
            canaries,
            noun,
        })
    }

    /// The traffic assumed, in a few words.
    #[must_use]
    pub fn load(&self) -> String {
        let TrafficReport {
            requests_per_second,
            production_bad,
        } = self.traffic;
        format!(
            "{}, production {} bad",
            load(requests_per_second),
            share(production_bad)
        )
    }

    /// The same, and how often it was tried.
    #[must_use]
    pub fn assumed(&self) -> String {
        format!("{}; {} rollouts each, seed {}", self.load(), self.runs, self.seed)
    }

    /// The steps, in one line.
    #[must_use]
    pub fn steps(&self) -> String {
        steps_text(self.policy.steps.iter().map(|kept| &kept.step))
    }

    /// The test, in one line.
    #[must_use]
    pub fn test(&self) -> String {
        let PolicyReport {
            every_seconds,
            tolerance,
            false_alarm,
            confirmations,
            dispersion,
            ..
        } = &self.policy;
        let confirmed = match confirmations {
            0 => String::new(),
            more => format!(", confirmed by {more} more"),
        };
        let divided = if *dispersion > 1.0 {
            format!("; evidence is divided by {dispersion}")
        } else {
            String::new()
        };
        format!(
            "a check every {}{confirmed}; {tolerance} times production's {} are tolerated; at most {} false alarms{divided}",
            span(*every_seconds),
            self.noun,
            share(*false_alarm)
        )
    }

    /// How long the steps are kept and what of it is counted, in one line.
    #[must_use]
    pub fn pace(&self) -> String {
        let PolicyReport {
            steps,
            length_seconds,
            scrape_seconds,
            propagation_seconds,
            ..
        } = &self.policy;
        let held: f64 = steps.iter().map(|kept| kept.step.hold_seconds).sum();
        let counted: f64 = steps.iter().map(|kept| kept.counted_seconds).sum();
        if !self.has_traffic() {
            return "no requests: no step is passed without any, and each rollout waits at its first weight"
                .to_owned();
        }
        format!(
            "scrapes every {}, {} for weights to spread: kept for {} ({} by the holds), of which {} are counted",
            span(*scrape_seconds),
            span(*propagation_seconds),
            rounded(*length_seconds),
            span(held),
            rounded(counted)
        )
    }

    /// A table of words: its head, and a row for each canary.
    #[must_use]
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let rows = self.canaries.iter().map(|cell| self.row(cell)).collect();
        let mut head = HEAD.map(str::to_owned).to_vec();
        head.push(format!("{} met (90 %)", self.noun));
        if self.has_given_up() {
            head.push("given up".to_owned());
        }
        (head, rows)
    }

    fn has_traffic(&self) -> bool {
        self.traffic.requests_per_second > 0.0
    }

    fn has_given_up(&self) -> bool {
        self.canaries.iter().any(|cell| cell.given_up > 0)
    }

    fn row(&self, cell: &Cell) -> Vec<String> {
        let s = &cell.rolled_back_share;
        let part = |value: f64| format!("{:.1}", value * 100.0);
        // A few false alarms in thousands of runs want another digit.
        let fine = |value: f64| format!("{:.2}", value * 100.0);
        let write = if cell.within_tolerance { fine } else { part };
        let verdict = if cell.within_tolerance { " false" } else { "" };
        let rolled_back = format!(
            "{} %{verdict} ({} to {})",
            write(s.value),
            write(s.low),
            write(s.high)
        );
        let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), span);
        let step = cell.usual_step().and_then(|step| self.policy.steps.get(step));
        let mut row = vec![
            share(cell.canary_bad),
            rolled_back,
            seconds(cell.seconds.map(|s| s.median)),
            seconds(cell.seconds.map(|s| s.p90)),
            cell.predicted_seconds.map_or_else(|| "never".to_owned(), span),
            step.map_or_else(|| "-".to_owned(), |kept| format!("{} %", kept.step.weight)),
            format!("{} ({})", cell.errors.median, cell.errors.p90),
        ];
        if self.has_given_up() {
            row.push(format!("{} of {}", cell.given_up, cell.runs));
        }
        row
    }

    /// A table of time and power step by step; of many steps, several stand in one row.
    #[must_use]
    pub fn step_table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let steps = &self.policy.steps;
        let mut head = ["step", "weight", "kept", "counted"].map(str::to_owned).to_vec();
        head.extend(
            self.canaries
                .iter()
                .map(|cell| format!("{} bad", share(cell.canary_bad))),
        );
        let power: Vec<Vec<f64>> = self.canaries.iter().map(Cell::rolled_back_by_step).collect();
        let size = steps.len().div_ceil(MOST_ROWS).max(1);
        let mut rows = Vec::new();
        for (i, group) in steps.chunks(size).enumerate() {
            let (first, last) = (i * size, i * size + group.len() - 1);
            let weights = group.first().zip(group.last());
            let (from, to) = weights.map_or((0.0, 0.0), |(a, b)| (a.step.weight, b.step.weight));
            let sum = |of: fn(&KeptReport) -> f64| {
                let seconds = group.iter().map(of).sum();
                if self.has_traffic() {
                    rounded(seconds)
                } else {
                    "-".to_owned()
                }
            };
            let mut row = vec![
                range(&(first + 1), &(last + 1)),
                format!("{} %", range(&from, &to)),
                sum(|kept| kept.kept_seconds),
                sum(|kept| kept.counted_seconds),
            ];
            let by_its_end = power
                .iter()
                .map(|power| power.get(last).copied().unwrap_or_default());
            row.extend(by_its_end.map(|part| format!("{:.1} %", 100.0 * part)));
            rows.push(row);
        }
        (head, rows)
    }

    /// The report for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}: {}\n{}\n{}\n{}\n\n{}\n{STEP_BY_STEP}:\n\n{}\n{}\n",
            self.service,
            self.assumed(),
            self.steps(),
            self.pace(),
            self.test(),
            lined_up(&self.table()),
            lined_up(&self.step_table()),
            self.words().join("\n")
        )
    }

    /// What to conclude, and how to read the table.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![sentence(&self.sight)];
        words.extend(self.nearest.as_deref().map(sentence));
        words.extend(
            [
                "Times count from the first step's start to the check that rolls back.",
                &sentence(&format!(
                    "{} met are the canary's bad requests until then, or until its steps end: median, and 90 % of rollouts",
                    self.noun
                )),
                "The column planner is what the planner's formula expects in place of the median.",
            ]
            .map(str::to_owned),
        );
        if self.has_given_up() {
            words.push(GIVEN_UP.to_owned());
        }
        words
    }

    /// Seconds that a plot shows: the steps as they are expected to be kept, and what a rollback waited longer for.
    #[must_use]
    pub fn length(&self) -> f64 {
        let last = self.canaries.iter().filter_map(|cell| cell.times.last());
        last.fold(self.policy.length_seconds, |length, time| length.max(*time))
    }
}

impl PolicyReport {
    fn new(policy: &Policy, traffic: Traffic) -> Self {
        let steps = policy.steps.iter().map(|step| {
            let kept = policy.kept(step, traffic);
            KeptReport {
                step: StepReport {
                    weight: step.weight,
                    hold_seconds: step.hold.as_secs_f64(),
                },
                kept_seconds: kept.lasts,
                counted_seconds: kept.counted,
            }
        });
        Self {
            steps: steps.collect(),
            length_seconds: policy.length(traffic).as_secs_f64(),
            every_seconds: policy.every.as_secs_f64(),
            scrape_seconds: policy.pace.scrape.as_secs_f64(),
            propagation_seconds: policy.pace.propagation.as_secs_f64(),
            tolerance: policy.tolerance,
            false_alarm: policy.false_alarm,
            confirmations: policy.confirmations,
            dispersion: policy.dispersion,
        }
    }
}

impl From<Traffic> for TrafficReport {
    fn from(traffic: Traffic) -> Self {
        Self {
            requests_per_second: traffic.requests_per_second,
            production_bad: traffic.production_bad,
        }
    }
}
