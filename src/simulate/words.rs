//! Numbers, steps and tables of a report as people write them.

use super::report::StepReport;

/// Steps that are named one by one.
const FEW_STEPS: usize = 6;

/// A share as people write it: 0.0015 is "0.15 %".
#[must_use]
pub fn share(share: f64) -> String {
    // Six digits: more than anyone types, fewer than a float's noise.
    let value = share * 100.0;
    let scale = 1e6;
    format!("{} %", (value * scale).round() / scale)
}

/// Steps in one line; many that rise evenly in a few words.
pub fn steps_text<'a>(steps: impl Iterator<Item = &'a StepReport>) -> String {
    let steps: Vec<&StepReport> = steps.collect();
    let first = steps.first().map_or(0.0, |first| first.weight);
    let even = steps.windows(2).all(|pair| match pair {
        [a, b] => {
            (b.weight - a.weight - first).abs() < 1e-9 && (b.hold_seconds - a.hold_seconds).abs() < 1e-9
        }
        _ => true,
    });
    let step = |s: &StepReport| format!("{} % for {}", s.weight, span(s.hold_seconds));
    match steps.first() {
        Some(first) if even && steps.len() > FEW_STEPS => format!("{} steps of {}", steps.len(), step(first)),
        _ => steps.iter().map(|s| step(s)).collect::<Vec<_>>().join(", "),
    }
}

/// Heads, and the rows below them.
pub(crate) type Table = (Vec<String>, Vec<Vec<String>>);

/// Cells below their heads, to the right.
pub(super) fn lined_up(table: &Table) -> String {
    lined_up_by(table, |_, cell, width| format!("{cell:>width$}"))
}

/// Cells below their heads, each put into the width of its column by `fit` (column, cell, width).
pub(crate) fn lined_up_by((head, rows): &Table, fit: impl Fn(usize, &str, usize) -> String) -> String {
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
            .map(|(column, (cell, width))| fit(column, cell, *width));
        out.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        out.push('\n');
    }
    out
}

/// "3" or "3-5".
pub(super) fn range(from: &impl ToString, to: &impl ToString) -> String {
    let (from, to) = (from.to_string(), to.to_string());
    if from == to { from } else { format!("{from}-{to}") }
}

/// A time without its fractions, for what is expected and not measured.
pub(super) fn rounded(seconds: f64) -> String {
    span(if seconds < 10.0 { seconds } else { seconds.round() })
}

pub(super) fn span(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most a few years; `as` saturates"
    )]
    let millis = millis as i64;
    crate::api::Span::millis(millis).to_string()
}

pub(super) fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str())
}
