//! The report as one page that needs nothing else.

use crate::plot::page::{Page, Part};
use crate::plot::{Axis, Bar, Bars, Chart, Figure, Level, Lines, Scale, Series, Shape, Unit};
use crate::simulate::report::share;

use super::noise::Noise;
use super::report::{PolicyReport, Report};
use super::summary::Cell;
use super::text::span;

/// The page.
#[must_use]
pub fn page(report: &Report) -> Page {
    let mut parts: Vec<Part> = report.head().into_iter().map(Part::Text).collect();
    parts.extend(report.words().into_iter().map(Part::Text));
    parts.push(Part::Heading("Compared".to_owned()));
    for figure in [alarms(report), power(report), blind(report)] {
        parts.push(Part::Figure(figure));
    }
    for policy in &report.policies {
        parts.push(Part::Heading(policy.title()));
        let (head, rows) = policy.table();
        parts.push(Part::Table { head, rows });
        if let Some(example) = &policy.healthy.example {
            parts.push(Part::Text(
                "Why a healthy version was rolled back, in the operator's words:".to_owned(),
            ));
            parts.push(Part::Code(example.clone()));
        }
        parts.push(Part::Figure(times(policy)));
        if policy.healthy.errors.is_some() {
            parts.push(Part::Figure(errors(policy)));
        }
    }
    parts.push(Part::Heading("Noise of the metrics".to_owned()));
    let (head, rows) = report.noise_table();
    parts.push(Part::Table { head, rows });
    parts.extend(report.metrics.iter().map(|noise| Part::Figure(over_time(noise))));
    parts.push(Part::Heading("What it took".to_owned()));
    parts.push(Part::Text(report.took()));
    Page {
        title: format!("{}: this policy in the past", report.service),
        parts,
    }
}

fn name(policy: &PolicyReport) -> String {
    match policy.name {
        "file" => "the file",
        "default" => "name alone",
        other => other,
    }
    .to_owned()
}

fn percent(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        unit: Unit::Percent,
        range: Some((0.0, 1.0)),
        ..Axis::default()
    }
}

/// How often healthy versions are rolled back.
fn alarms(report: &Report) -> Figure {
    let bars = report.policies.iter().enumerate().map(|(colour, policy)| {
        let found = policy.healthy.rolled_back_share;
        Bar {
            name: name(policy),
            value: found.value,
            interval: Some((found.low, found.high)),
            text: format!("{} of {}", policy.healthy.rolled_back, policy.healthy.runs),
            colour,
        }
    });
    Figure {
        title: "Healthy versions that would have been rolled back".to_owned(),
        subtitle: "whiskers are 95 % intervals".to_owned(),
        charts: vec![Chart::Bars(Bars {
            axis: Axis {
                label: "of all rollouts".to_owned(),
                unit: Unit::Percent,
                ..Axis::default()
            },
            bars: bars.collect(),
        })],
    }
}

/// How often each fault is found, by its size.
fn power(report: &Report) -> Figure {
    let mut series = Vec::new();
    for (colour, policy) in report.policies.iter().enumerate() {
        let line = |of: fn(&Cell) -> f64, faint: bool| Series {
            name: name(policy),
            shape: Shape::Line,
            colour,
            faint,
            points: policy.faults.iter().map(|cell| (cell.fault, of(cell))).collect(),
        };
        series.push(line(|cell| cell.rolled_back_share.low, true));
        series.push(line(|cell| cell.rolled_back_share.high, true));
        series.push(line(|cell| cell.rolled_back_share.value, false));
    }
    Figure {
        title: "How often a fault is found, by its size".to_owned(),
        subtitle: "thin lines are 95 % intervals".to_owned(),
        charts: vec![Chart::Lines(Lines {
            x: Axis {
                label: "part of the good requests turned bad".to_owned(),
                scale: Scale::Log,
                unit: Unit::Percent,
                ..Axis::default()
            },
            y: percent("rolled back"),
            series,
            moments: Vec::new(),
            levels: Vec::new(),
            height: 260.0,
        })],
    }
}

fn blind(report: &Report) -> Figure {
    let bars = report.policies.iter().enumerate().map(|(colour, policy)| Bar {
        name: name(policy),
        value: policy.healthy.blind_part,
        interval: None,
        text: format!("{} a rollout", span(policy.healthy.blind_seconds_mean.round())),
        colour,
    });
    Figure {
        title: "How long nothing was known of a healthy version".to_owned(),
        subtitle: "while that lasts its weight stays where it is".to_owned(),
        charts: vec![Chart::Bars(Bars {
            axis: Axis {
                label: "of the time of all rollouts".to_owned(),
                unit: Unit::Percent,
                ..Axis::default()
            },
            bars: bars.collect(),
        })],
    }
}

/// When each fault is found.
fn times(policy: &PolicyReport) -> Figure {
    let end = policy.length_seconds;
    let cells = std::iter::once(&policy.healthy).chain(&policy.faults);
    let series = cells.rev_colours().map(|(colour, cell)| Series {
        name: label(cell),
        shape: Shape::Step,
        colour,
        faint: false,
        points: cell
            .rolled_back_until(end)
            .into_iter()
            .map(|(seconds, part)| (seconds / 60.0, part))
            .collect(),
    });
    Figure {
        title: "How soon it is found".to_owned(),
        subtitle: policy.title(),
        charts: vec![Chart::Lines(Lines {
            x: Axis {
                label: "minutes since the canary's first traffic".to_owned(),
                range: Some((0.0, end / 60.0)),
                ..Axis::default()
            },
            y: percent("rolled back"),
            series: series.collect(),
            moments: Vec::new(),
            levels: Vec::new(),
            height: 240.0,
        })],
    }
}

/// How many people meet an error.
fn errors(policy: &PolicyReport) -> Figure {
    let cells = std::iter::once(&policy.healthy).chain(&policy.faults);
    let bars = cells.rev_colours().map(|(colour, cell)| Bar {
        name: label(cell),
        value: cell.errors.map_or(0.0, |errors| errors.median),
        interval: cell.errors.map(|errors| (errors.median, errors.p90)),
        text: cell.errors.map_or_else(
            || "nobody counted".to_owned(),
            |errors| format!("{:.0} (90 %: {:.0})", errors.median, errors.p90),
        ),
        colour,
    });
    Figure {
        title: "Requests that met an error of the canary".to_owned(),
        subtitle: "until it was rolled back or promoted".to_owned(),
        charts: vec![Chart::Bars(Bars {
            axis: Axis {
                label: "requests".to_owned(),
                ..Axis::default()
            },
            bars: bars.collect(),
        })],
    }
}

fn over_time(noise: &Noise) -> Figure {
    let mut levels = vec![Level {
        at: noise.median,
        label: "median".to_owned(),
    }];
    if let Some(allowed) = noise.allowed {
        levels.push(Level {
            at: noise.median + allowed,
            label: "limit".to_owned(),
        });
    } else {
        levels.push(Level {
            at: noise.median + 3.0 * noise.spread,
            label: "3 spreads".to_owned(),
        });
    }
    let unit = if noise.test == "sequential" {
        Unit::Percent
    } else {
        Unit::Plain
    };
    Figure {
        title: format!("{} over time", noise.metric),
        subtitle: format!("{} readings, each point the median of some", noise.readings),
        charts: vec![Chart::Lines(Lines {
            x: Axis {
                label: "hours since the beginning".to_owned(),
                ..Axis::default()
            },
            y: Axis {
                label: "reading".to_owned(),
                unit,
                ..Axis::default()
            },
            series: vec![Series {
                name: noise.metric.clone(),
                shape: Shape::Line,
                colour: 0,
                faint: false,
                points: noise.over_time.clone(),
            }],
            moments: Vec::new(),
            levels,
            height: 200.0,
        })],
    }
}

fn label(cell: &Cell) -> String {
    if cell.fault > 0.0 {
        format!("{} turned bad", share(cell.fault))
    } else {
        "healthy".to_owned()
    }
}

/// Colours by place, the worst first as in a simulation.
trait RevColours<'a> {
    fn rev_colours(self) -> impl Iterator<Item = (usize, &'a Cell)>;
}

impl<'a, I: Iterator<Item = &'a Cell>> RevColours<'a> for I {
    fn rev_colours(self) -> impl Iterator<Item = (usize, &'a Cell)> {
        let all: Vec<&Cell> = self.collect();
        all.into_iter().rev().enumerate()
    }
}
