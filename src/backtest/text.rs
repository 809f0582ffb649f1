//! The report for a terminal, and the words and tables that the page has too.

use std::fmt::Write as _;

use crate::core::number::human;
use crate::simulate::report::{share, steps_text};

use super::noise::Noise;
use super::report::{PolicyReport, Report};
use super::summary::Cell;

/// The names of a table's columns, and its rows.
pub(super) type Table = (Vec<String>, Vec<Vec<String>>);

impl Report {
    /// The report for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}\n\n", self.head().join("\n"));
        for policy in &self.policies {
            let _ = writeln!(out, "{}\n\n{}", policy.title(), lined_up(&policy.table()));
        }
        if !self.metrics.is_empty() {
            let _ = writeln!(out, "Noise of the metrics\n\n{}", lined_up(&self.noise_table()));
        }
        let mut words = self.words();
        words.push(self.took());
        let _ = writeln!(out, "{}", words.join("\n"));
        out
    }

    /// What was replayed.
    pub(super) fn head(&self) -> Vec<String> {
        let traffic = self.traffic.map_or_else(
            || "no metric counts requests".to_owned(),
            |traffic| {
                format!(
                    "{} requests/s, {} of them bad",
                    human(traffic.requests_per_second),
                    rounded_share(traffic.production_bad)
                )
            },
        );
        let canary = match self.canary {
            "pod" => "pods of production play the canary",
            _ => "a share of production's requests plays the canary",
        };
        vec![
            format!(
                "{}: version {} from {} to {}, {traffic}",
                self.service, self.production, self.from, self.until
            ),
            format!(
                "{} rollouts for each policy and fault, seed {}; {canary}",
                self.starts, self.seed
            ),
        ]
    }

    /// What to conclude, and what to know before.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.policies.iter().map(PolicyReport::verdict).collect();
        words.extend(self.metrics.iter().filter_map(noise_words));
        if let Some(suggestion) = &self.suggestion {
            let deviation = suggestion
                .deviation
                .map(|deviation| format!(", a deviation of {}", human(deviation)));
            words.push(format!(
                "Suggested: a first weight of {} %, {} steps held for {} each{} ({}).",
                suggestion.first_weight,
                suggestion.steps.len(),
                span(suggestion.hold_seconds),
                deviation.unwrap_or_default(),
                suggestion.why
            ));
        }
        words.extend(self.notes.iter().cloned());
        words
    }

    pub(super) fn took(&self) -> String {
        let cost = &self.cost;
        #[expect(clippy::cast_precision_loss, reason = "megabytes to one digit")]
        let mega = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "{} queries ({} asked again, at most {} at once), {:.1} MB and {} samples in {:.1} s; {} rollouts in {:.1} s; at most \
             {:.0} MB of memory.",
            cost.queries,
            cost.retries,
            cost.at_once,
            mega(cost.bytes),
            cost.samples,
            cost.fetch_seconds,
            cost.rollouts,
            cost.replay_seconds,
            mega(cost.peak_memory_bytes)
        )
    }

    pub(super) fn noise_table(&self) -> Table {
        let head = [
            "metric",
            "readings",
            "median",
            "spread",
            "99 %",
            "allowed",
            "in spreads",
            "beyond",
        ];
        let or_none = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), human);
        let row = |noise: &Noise| {
            vec![
                noise.metric.clone(),
                noise.readings.to_string(),
                human(noise.median),
                human(noise.spread),
                human(noise.far),
                or_none(noise.allowed),
                noise
                    .allowed_in_spreads
                    .map_or_else(|| "-".to_owned(), |spreads| format!("{spreads:.1}")),
                noise.beyond.map_or_else(|| "-".to_owned(), rounded_share),
            ]
        };
        (
            head.map(str::to_owned).to_vec(),
            self.metrics.iter().map(row).collect(),
        )
    }
}

impl PolicyReport {
    /// What the policy is.
    pub(super) fn title(&self) -> String {
        let name = match self.name {
            "file" => "The policy in the file",
            "default" => "A service name alone",
            _ => "The best policy found",
        };
        let deviation = self.deviation.map_or_else(String::new, |deviation| {
            format!("; deviation {}", human(deviation))
        });
        format!(
            "{name}: {}{deviation}; judged by {}",
            steps_text(self.steps.iter()),
            self.metrics.join(", ")
        )
    }

    /// What became of each canary.
    pub(super) fn table(&self) -> Table {
        let head = [
            "good requests turned bad",
            "rolled back (95 % interval)",
            "median",
            "90 %",
            "errors met (90 %)",
            "blind",
        ];
        let row = |cell: &Cell| {
            let caught = cell.rolled_back_share;
            let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), span);
            vec![
                if cell.fault > 0.0 {
                    share(cell.fault)
                } else {
                    "none".to_owned()
                },
                format!(
                    "{:.1} % ({:.1}-{:.1} %)",
                    100.0 * caught.value,
                    100.0 * caught.low,
                    100.0 * caught.high
                ),
                time(cell.seconds.map(|s| s.median)),
                time(cell.seconds.map(|s| s.p90)),
                format!("{:.0} ({:.0})", cell.errors.median, cell.errors.p90),
                span(cell.blind_seconds_mean.round()),
            ]
        };
        let cells = std::iter::once(&self.healthy).chain(&self.faults);
        (head.map(str::to_owned).to_vec(), cells.map(row).collect())
    }

    fn verdict(&self) -> String {
        let healthy = &self.healthy;
        let name = match self.name {
            "file" => "The file's policy",
            "default" => "A service name alone",
            _ => "The best policy found",
        };
        let first = self
            .faults
            .iter()
            .find(|cell| cell.rolled_back_share.value >= 0.9);
        let found = match first {
            Some(cell) => format!(
                "finds faults of {} and more in 9 of 10 rollouts",
                share(cell.fault)
            ),
            None => "finds none of these faults in 9 of 10 rollouts".to_owned(),
        };
        let unknown = if healthy.ended_blind > 0 {
            format!(
                " {} of {} rollouts were ended because nothing was known.",
                healthy.ended_blind, healthy.runs
            )
        } else {
            String::new()
        };
        format!(
            "{name} rolls {} of {} healthy versions back, and {found}.{unknown}",
            healthy.rolled_back, healthy.runs
        )
    }
}

fn noise_words(noise: &Noise) -> Option<String> {
    let spreads = noise.allowed_in_spreads?;
    (spreads < 3.0).then(|| {
        format!(
            "{}: the deviation is {spreads:.1} times the metric's own noise: below 3 it cries wolf; {} would be 3 times.",
            noise.metric,
            human(3.0 * noise.spread)
        )
    })
}

/// Cells below their heads, to the right but for the first column.
fn lined_up((head, rows): &Table) -> String {
    let all = || std::iter::once(head).chain(rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, width))| match i {
                0 => format!("  {cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        out.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        out.push('\n');
    }
    out
}

/// A share with three digits that say something.
pub(super) fn rounded_share(value: f64) -> String {
    if value <= 0.0 || !value.is_finite() {
        return "0 %".to_owned();
    }
    let digits = 10.0_f64.powf(2.0 - value.log10().floor());
    share((value * digits).round() / digits)
}

pub(super) fn span(seconds: f64) -> String {
    // Tenths of a second are of interest where there are few.
    let millis = if seconds < 10.0 {
        (seconds * 10.0).round() * 100.0
    } else {
        seconds.round() * 1000.0
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most a few years; `as` saturates"
    )]
    let millis = millis as i64;
    crate::api::Span::millis(millis).to_string()
}
