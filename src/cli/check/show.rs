//! What was found, as text for people and as JSON for programs. Makes text, prints nothing.

use std::fmt::Write as _;

use serde::Serialize;

use crate::core::preflight::{Finding, Report, Severity};

use super::Checked;

/// Widest line of text.
const WIDTH: usize = 100;

/// What was found, by severity; the last line says what was not looked at.
pub(super) fn text(checked: &[Checked]) -> String {
    let mut out = String::new();
    for (i, Checked { name, report }) in checked.iter().enumerate() {
        let gap = if i > 0 { "\n" } else { "" };
        line(
            &mut out,
            format_args!("{gap}BirdWatch {}/{}", name.namespace, name.name),
        );
        for severity in Severity::ALL {
            let of_severity = report.findings.iter().filter(|f| f.severity == severity);
            for finding in of_severity {
                show(&mut out, finding);
            }
        }
        line(&mut out, format_args!("\n{}", summary(report)));
    }
    out
}

fn show(out: &mut String, finding: &Finding) {
    let Finding {
        severity,
        code,
        object,
        what,
        why,
        remedy,
    } = finding;
    line(out, format_args!("\n{severity} [{code}] {object}"));
    for (word, text) in [("what", what), ("why", why), ("do", remedy)] {
        let mut lines = wrapped(text).into_iter();
        line(
            out,
            format_args!("  {word:<5}{}", lines.next().unwrap_or_default()),
        );
        for more in lines {
            line(out, format_args!("       {more}"));
        }
    }
}

fn summary(report: &Report) -> String {
    let counted = |severity: Severity| {
        let count = report.count(severity);
        format!("{count} {severity}{}", if count == 1 { "" } else { "s" })
    };
    let counts = Severity::ALL.map(counted).join(", ");
    if report.not_looked_at.is_empty() {
        return format!("{counts}; everything was looked at");
    }
    // Several things for one reason are said together.
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for unseen in &report.not_looked_at {
        match reasons.iter_mut().find(|(why, _)| *why == unseen.why) {
            Some((_, whats)) => whats.push(&unseen.what),
            None => reasons.push((&unseen.why, vec![&unseen.what])),
        }
    }
    let reasons = reasons
        .iter()
        .map(|(why, whats)| format!("{} ({why})", whats.join(", ")));
    format!(
        "{counts}; not looked at: {}",
        reasons.collect::<Vec<_>>().join("; ")
    )
}

/// The text in lines that fit.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if last.chars().count() + 1 + word.chars().count() <= WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn line(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{what}");
}

/// The JSON: fields are only added to it, and `schema` counts up where one would change its meaning.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    schema: u32,
    summary: Summary,
    checks: Vec<Check<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// What is said where nothing could be checked.
#[derive(Serialize)]
struct Failure<'a> {
    schema: u32,
    error: &'a str,
}

#[derive(Default, Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    hints: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Check<'a> {
    namespace: &'a str,
    name: &'a str,
    findings: Vec<Shown<'a>>,
    not_looked_at: Vec<NotLookedAt<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    severity: &'a str,
    code: &'a str,
    object: &'a str,
    what: &'a str,
    why: &'a str,
    remedy: &'a str,
}

#[derive(Serialize)]
struct NotLookedAt<'a> {
    what: &'a str,
    why: &'a str,
}

/// Why nothing could be checked, as JSON.
pub(super) fn failure(error: &str) -> String {
    let failure = Failure { schema: 1, error };
    let text = serde_json::to_string_pretty(&failure).unwrap_or_default();
    format!("{text}\n")
}

/// The same as JSON; `error` is why a part could not be looked at although it was asked for.
pub(super) fn json(checked: &[Checked], error: Option<&str>) -> String {
    let mut summary = Summary::default();
    for one in checked {
        summary.errors += one.report.count(Severity::Error);
        summary.warnings += one.report.count(Severity::Warning);
        summary.hints += one.report.count(Severity::Hint);
    }
    let output = Output {
        schema: 1,
        summary,
        checks: checked.iter().map(check).collect(),
        error,
    };
    // Texts and numbers always have a JSON form.
    let mut text = serde_json::to_string_pretty(&output).unwrap_or_default();
    text.push('\n');
    text
}

fn check(checked: &Checked) -> Check<'_> {
    let unseen = checked.report.not_looked_at.iter().map(|unseen| NotLookedAt {
        what: &unseen.what,
        why: &unseen.why,
    });
    Check {
        namespace: &checked.name.namespace,
        name: &checked.name.name,
        findings: checked.report.findings.iter().map(shown).collect(),
        not_looked_at: unseen.collect(),
    }
}

fn shown(finding: &Finding) -> Shown<'_> {
    let Finding {
        severity,
        code,
        object,
        what,
        why,
        remedy,
    } = finding;
    Shown {
        severity: severity.as_str(),
        code,
        object,
        what,
        why,
        remedy,
    }
}
