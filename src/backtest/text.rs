//! The report for a terminal, and the words and tables that the page has too.

use std::fmt::Write as _;

use crate::core::number::human;
use crate::core::sequential::sight::load;
use crate::simulate::report::{share, steps_text};
use crate::simulate::words::{Table, lined_up_by};

use super::noise::Noise;
use super::report::{PolicyReport, Report};
use super::summary::Cell;

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
                    "{}, {} of them bad",
                    load(traffic.requests_per_second),
                    rounded_share(traffic.production_bad)
                )
            },
        );
        let canary = match self.canary {
            "pod" => "pods of production play the canary",
            _ => "a share of production's requests plays the canary",
        };
        let file = self.policies.iter().find(|policy| policy.name == "file");
        let refused = file.filter(|file| file.healthy.never_began > 0).map(|file| {
            let why = file.healthy.why_not.as_deref().unwrap_or("nothing was known");
            let never = file.healthy.never_began;
            let runs = never + file.healthy.runs;
            format!("{never} of {runs} rollouts would not have begun: {why}")
        });
        let what = [
            format!(
                "{}: version {} from {} to {}, {traffic}",
                self.service, self.production, self.from, self.until
            ),
            format!(
                "{} rollouts for each policy and fault, seed {}; {canary}",
                self.starts, self.seed
            ),
        ];
        refused.into_iter().chain(what).collect()
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
        let cells = || std::iter::once(&self.healthy).chain(&self.faults);
        let has_waited = cells().any(|cell| cell.gave_up > 0);
        let row = |cell: &Cell| {
            let caught = cell.rolled_back_share;
            let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), span);
            let mut row = vec![
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
                cell.errors.map_or_else(
                    || "-".to_owned(),
                    |errors| format!("{:.0} ({:.0})", errors.median, errors.p90),
                ),
                span(cell.blind_seconds_mean.round()),
            ];
            if has_waited {
                row.push(cell.gave_up.to_string());
            }
            row
        };
        let mut head = head.map(str::to_owned).to_vec();
        if has_waited {
            head.push("still waiting".to_owned());
        }
        (head, cells().map(row).collect())
    }

    pub(super) fn verdict(&self) -> String {
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
            _ if self.cries_wolf() => {
                let budget = share(self.false_alarm);
                return format!(
                    "{name} rolls {} of {} healthy versions back, where {budget} may be: what it rolls back may as well be healthy, so \
                     that it cannot tell a fault.{}",
                    healthy.rolled_back,
                    healthy.runs,
                    self.not_ended()
                );
            }
            Some(cell) => format!(
                "finds faults of {} and more in 9 of 10 rollouts",
                share(cell.fault)
            ),
            None => "finds none of these faults in 9 of 10 rollouts".to_owned(),
        };
        format!(
            "{name} rolls {} of {} healthy versions back, and {found}.{}",
            healthy.rolled_back,
            healthy.runs,
            self.not_ended()
        )
    }

    /// What became of the healthy versions that neither passed nor were rolled back.
    fn not_ended(&self) -> String {
        let Cell {
            runs,
            ended_blind,
            gave_up,
            ..
        } = &self.healthy;
        let mut words = String::new();
        if *ended_blind > 0 {
            let _ = write!(
                words,
                " {ended_blind} of {runs} rollouts came to no end because nothing was known."
            );
        }
        if *gave_up > 0 {
            let _ = write!(
                words,
                " {gave_up} of {runs} were still waiting, for requests or evidence, when the replay gave them up; the operator \
                 ends no rollout for that."
            );
        }
        words
    }
}

/// The part of the readings, as `birdwatch check` has it, that may lie beyond the deviation.
const MOST_BEYOND: f64 = 0.02;

pub(super) fn noise_words(noise: &Noise) -> Option<String> {
    if let Some(spreads) = noise.allowed_in_spreads.filter(|spreads| *spreads < 3.0) {
        return Some(format!(
            "{}: the deviation is {spreads:.1} times the metric's own noise: below 3 it cries wolf; {} would be 3 times.",
            noise.metric,
            human(3.0 * noise.spread)
        ));
    }
    // Jumps of a query that rests in between have no spread.
    let beyond = noise.beyond.filter(|beyond| *beyond > MOST_BEYOND)?;
    Some(format!(
        "{}: {} of production's own readings are beyond the deviation, so that it cries wolf; 99 of 100 are within {}.",
        noise.metric,
        rounded_share(beyond),
        human(noise.far)
    ))
}

/// Cells below their heads, to the right but for the first column.
fn lined_up(table: &Table) -> String {
    lined_up_by(table, |column, cell, width| match column {
        0 => format!("  {cell:<width$}"),
        _ => format!("{cell:>width$}"),
    })
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
