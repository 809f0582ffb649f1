//! What a simulation found: as data for JSON, as a table for people, as a page.

use std::fmt::Write as _;

use serde::Serialize;

use crate::core::sequential::planner::{Policy, Traffic};
use crate::core::sequential::sight::{load, nearest, sight};

use super::summary::Cell;
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
}

/// A policy as JSON has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// The steps in order.
    pub steps: Vec<StepReport>,
    /// Seconds between two checks.
    pub every_seconds: f64,
    /// How many times production's bad share is tolerated.
    pub tolerance: f64,
    /// The most false alarms that are promised, 0 to 1.
    pub false_alarm: f64,
    /// Further checks at the limit before the canary is unhealthy.
    pub confirmations: u32,
}

/// A step as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// The canary's share of the traffic, percent.
    pub weight: f64,
    /// How long the step lasts, seconds.
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

const HEAD: [&str; 7] = [
    "canary bad",
    "rolled back (95 % interval)",
    "median",
    "90 %",
    "planner",
    "mostly at",
    "errors met (90 %)",
];

impl Report {
    /// A report on these canaries, which come in any order.
    ///
    /// # Errors
    /// A setup that is none.
    pub fn new(
        service: String,
        seed: u64,
        runs: u32,
        setup: &Setup,
        mut canaries: Vec<Cell>,
    ) -> Result<Self, SetupError> {
        let (policy, traffic) = (setup.policy(), setup.traffic());
        canaries.sort_by(|a, b| a.canary_bad.total_cmp(&b.canary_bad));
        let within = policy.steps.first().map(|step| step.hold).unwrap_or_default();
        Ok(Self {
            service,
            seed,
            runs,
            policy: policy.into(),
            traffic: traffic.into(),
            sight: sight(policy, traffic, within)?,
            nearest: nearest(policy, traffic, within)?.map(|(_, words)| words),
            canaries,
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
        let step = |s: &StepReport| format!("{} % for {}", s.weight, span(s.hold_seconds));
        let steps: Vec<String> = self.policy.steps.iter().map(step).collect();
        steps.join(", ")
    }

    /// The test, in one line.
    #[must_use]
    pub fn test(&self) -> String {
        let PolicyReport {
            steps: _,
            every_seconds,
            tolerance,
            false_alarm,
            confirmations,
        } = &self.policy;
        let confirmed = match confirmations {
            0 => String::new(),
            more => format!(", confirmed by {more} more"),
        };
        format!(
            "a check every {}{confirmed}; {tolerance} times production's errors are tolerated; at most {} false alarms",
            span(*every_seconds),
            share(*false_alarm)
        )
    }

    /// A table of words: its head, and a row for each canary.
    #[must_use]
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let rows = self.canaries.iter().map(|cell| self.row(cell)).collect();
        (HEAD.map(str::to_owned).into(), rows)
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
        vec![
            share(cell.canary_bad),
            rolled_back,
            seconds(cell.seconds.map(|s| s.median)),
            seconds(cell.seconds.map(|s| s.p90)),
            cell.predicted_seconds.map_or_else(|| "never".to_owned(), span),
            step.map_or_else(|| "-".to_owned(), |step| format!("{} %", step.weight)),
            format!("{} ({})", cell.errors.median, cell.errors.p90),
        ]
    }

    /// The report for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let (head, rows) = self.table();
        let width = |column: usize| {
            let cells = std::iter::once(&head)
                .chain(&rows)
                .filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut out = format!(
            "{}: {}\n{}\n{}\n\n",
            self.service,
            self.assumed(),
            self.steps(),
            self.test()
        );
        for row in std::iter::once(&head).chain(&rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:>width$}"));
            out.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
            out.push('\n');
        }
        let _ = write!(out, "\n{}", self.words().join("\n"));
        out.push('\n');
        out
    }

    /// What to conclude, and how to read the table.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![sentence(&self.sight)];
        words.extend(self.nearest.as_deref().map(sentence));
        words.push(
            "Times count from the first step's start to the check; errors met are the canary's bad requests until then, or \
             until the steps end. The planner's time is its formula's. Expect a scrape more in a cluster."
                .to_owned(),
        );
        words
    }

    /// Seconds that the steps last together.
    #[must_use]
    pub fn length(&self) -> f64 {
        self.policy.steps.iter().map(|step| step.hold_seconds).sum()
    }
}

impl From<&Policy> for PolicyReport {
    fn from(policy: &Policy) -> Self {
        let steps = policy.steps.iter().map(|step| StepReport {
            weight: step.weight,
            hold_seconds: step.hold.as_secs_f64(),
        });
        Self {
            steps: steps.collect(),
            every_seconds: policy.every.as_secs_f64(),
            tolerance: policy.tolerance,
            false_alarm: policy.false_alarm,
            confirmations: policy.confirmations,
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

/// A share as people write it: 0.0015 is "0.15 %".
#[must_use]
pub fn share(share: f64) -> String {
    // Six digits: more than anyone types, fewer than a float's noise.
    let value = share * 100.0;
    let scale = 1e6;
    format!("{} %", (value * scale).round() / scale)
}

fn span(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most a few years; `as` saturates"
    )]
    let millis = millis as i64;
    crate::api::Span::millis(millis).to_string()
}

fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str())
}
