//! What a simulation found, as pictures and as one page.

use crate::core::sequential::sight::{load, time};
use crate::plot::page::{Page, Part};
use crate::plot::{Axis, Bar, Bars, Chart, Figure, Level, Lines, Moment, Scale, Series, Shape, Unit};

use super::report::{Report, STEP_BY_STEP, share};
use super::world::{Setup, SetupError};

/// How many rollouts of each canary a plot of evidence shows.
const TRACES: u64 = 12;
/// Evidence is shown between these odds; beyond, it is certain.
const ODDS: (f64, f64) = (1e-3, 1e6);
/// Bad shares between which a plot of sight looks, and how many times it asks.
const LOOKS: u32 = 120;

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plot {
    /// The share of rollouts rolled back over time, above the canary's weight.
    Detection,
    /// The evidence of some rollouts over time, above the canary's weight.
    Evidence,
    /// The smallest fault found by each time, at this traffic, a tenth of it and ten times as much.
    Sight,
    /// The bad requests that people met.
    Errors,
}

/// The picture of a report; evidence is drawn anew from the report's seed.
///
/// # Errors
/// A setup that is none.
pub fn figure(plot: Plot, report: &Report, setup: &Setup) -> Result<Figure, SetupError> {
    Ok(match plot {
        Plot::Detection => detection(report),
        Plot::Evidence => evidence(report, setup)?,
        Plot::Sight => sight(report, setup)?,
        Plot::Errors => errors(report),
    })
}

/// The report as one page with every picture.
///
/// # Errors
/// A setup that is none.
pub fn page(report: &Report, setup: &Setup) -> Result<Page, SetupError> {
    let (head, rows) = report.table();
    let mut parts = vec![
        Part::Text(report.assumed()),
        Part::Text(format!(
            "Steps: {}; {}. Test: {}.",
            report.steps(),
            report.pace(),
            report.test()
        )),
        Part::Table { head, rows },
    ];
    let (head, rows) = report.step_table();
    parts.extend([Part::Text(format!("{STEP_BY_STEP}:")), Part::Table { head, rows }]);
    parts.extend(report.words().into_iter().map(Part::Text));
    for plot in [Plot::Detection, Plot::Errors, Plot::Evidence, Plot::Sight] {
        parts.push(Part::Figure(figure(plot, report, setup)?));
    }
    Ok(Page {
        title: format!("{}: what this policy finds", report.service),
        parts,
    })
}

fn detection(report: &Report) -> Figure {
    let mut series = Vec::new();
    for (colour, cell) in report.canaries.iter().rev().enumerate() {
        series.push(Series {
            name: format!("{} bad", share(cell.canary_bad)),
            shape: Shape::Step,
            colour,
            faint: false,
            points: minutes(cell.rolled_back_until(report.length())),
        });
    }
    Figure {
        title: "How often a canary is rolled back, and when".to_owned(),
        subtitle: report.assumed(),
        charts: vec![
            Chart::Lines(Lines {
                x: time_axis(report),
                y: Axis {
                    label: "rolled back".to_owned(),
                    unit: Unit::Percent,
                    range: Some((0.0, 1.0)),
                    ..Axis::default()
                },
                series,
                moments: moments(report),
                levels: vec![],
                height: 260.0,
            }),
            weights(report),
        ],
    }
}

fn evidence(report: &Report, setup: &Setup) -> Result<Figure, SetupError> {
    let mut series = Vec::new();
    for (colour, cell) in report.canaries.iter().rev().enumerate() {
        let name = format!("{} bad", share(cell.canary_bad));
        for chunk in 0..TRACES {
            let trace = setup.trace(cell.canary_bad, report.seed, chunk)?;
            let points = trace.into_iter().map(|(time, log)| (time, log.exp())).collect();
            series.push(Series {
                name: name.clone(),
                shape: Shape::Line,
                colour,
                faint: true,
                points: minutes(points),
            });
        }
    }
    let limit = setup.design().log_limit().exp();
    Ok(Figure {
        title: format!("The evidence against a canary, {TRACES} rollouts each"),
        subtitle: format!("{}; seed {}", report.load(), report.seed),
        charts: vec![
            Chart::Lines(Lines {
                x: time_axis(report),
                y: Axis {
                    label: "evidence, to 1".to_owned(),
                    scale: Scale::Log,
                    unit: Unit::Plain,
                    range: Some(ODDS),
                },
                series,
                moments: moments(report),
                levels: vec![Level {
                    at: limit,
                    label: format!("rolled back: {limit:.0} to 1"),
                }],
                height: 300.0,
            }),
            weights(report),
        ],
    })
}

fn sight(report: &Report, setup: &Setup) -> Result<Figure, SetupError> {
    let policy = setup.policy();
    let whole = report.length();
    let mut series = Vec::new();
    for (colour, factor) in [0.1, 1.0, 10.0].into_iter().enumerate() {
        let mut traffic = setup.traffic();
        traffic.requests_per_second *= factor;
        let mut points = Vec::new();
        for look in 1..=LOOKS {
            let seconds = whole * f64::from(look) / f64::from(LOOKS);
            let within = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
            if let Some(smallest) = policy.smallest_seen(traffic, within)? {
                points.push((seconds / 60.0, smallest));
            }
        }
        series.push(Series {
            name: load(traffic.requests_per_second),
            shape: Shape::Step,
            colour,
            faint: false,
            points,
        });
    }
    let tolerated = policy.tolerated(setup.traffic());
    let levels = if tolerated > 0.0 {
        vec![Level {
            at: tolerated,
            label: format!("tolerated: {}", share(tolerated)),
        }]
    } else {
        vec![]
    };
    let first = report.policy.steps.first().map_or(0.0, |step| step.kept_seconds);
    let first = std::time::Duration::try_from_secs_f64(first).unwrap_or_default();
    // From the power of ten below all of it.
    let values = series.iter().flat_map(|s: &Series| s.points.iter().map(|p| p.1));
    let smallest = values.chain(levels.iter().map(|l| l.at)).fold(0.1, f64::min);
    let lowest = 10.0_f64.powf(smallest.max(1e-9).log10().floor());
    Ok(Figure {
        title: "The smallest fault that is found, by when".to_owned(),
        subtitle: format!(
            "the planner's formula; production {} bad; first step {}",
            share(report.traffic.production_bad),
            time(first)
        ),
        charts: vec![Chart::Lines(Lines {
            x: time_axis(report),
            y: Axis {
                label: "canary's bad requests".to_owned(),
                scale: Scale::Log,
                unit: Unit::Percent,
                range: Some((lowest, 1.0)),
            },
            series,
            moments: moments(report),
            levels,
            height: 280.0,
        })],
    })
}

fn errors(report: &Report) -> Figure {
    let bars = report
        .canaries
        .iter()
        .rev()
        .enumerate()
        .map(|(colour, cell)| Bar {
            name: format!("{} bad", share(cell.canary_bad)),
            value: cell.errors.median,
            interval: Some((cell.errors.median, cell.errors.p90)),
            text: format!("{} (90 %: {})", cell.errors.median, cell.errors.p90),
            colour,
        });
    Figure {
        title: match report.noun {
            "errors" => "Requests that met an error of the canary".to_owned(),
            noun => format!("The canary's {noun}"),
        },
        subtitle: report.assumed(),
        charts: vec![Chart::Bars(Bars {
            axis: Axis {
                label: "until it was rolled back, or its steps ended".to_owned(),
                ..Axis::default()
            },
            bars: bars.collect(),
        })],
    }
}

/// The canary's weight over time.
fn weights(report: &Report) -> Chart {
    let mut points = Vec::new();
    let mut start = 0.0;
    let mut last = 0.0;
    for step in &report.policy.steps {
        last = step.step.weight / 100.0;
        points.push((start, last));
        start += step.kept_seconds;
    }
    points.push((start, last));
    Chart::Lines(Lines {
        x: time_axis(report),
        y: Axis {
            label: "weight".to_owned(),
            unit: Unit::Percent,
            range: Some((0.0, 1.0)),
            ..Axis::default()
        },
        series: vec![Series {
            name: String::new(),
            shape: Shape::Step,
            colour: 0,
            faint: false,
            points: minutes(points),
        }],
        moments: vec![],
        levels: vec![],
        height: 70.0,
    })
}

fn time_axis(report: &Report) -> Axis {
    Axis {
        label: "minutes since the first step".to_owned(),
        range: Some((0.0, report.length() / 60.0)),
        ..Axis::default()
    }
}

/// Where each step begins; of very many only every so manieth is named.
fn moments(report: &Report) -> Vec<Moment> {
    let steps = &report.policy.steps;
    let every = steps.len().div_ceil(12).max(1);
    let mut start = 0.0;
    let mut moments = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        if i % every == 0 {
            moments.push(Moment {
                at: start / 60.0,
                label: format!("{} %", step.step.weight),
            });
        }
        start += step.kept_seconds;
    }
    moments
}

fn minutes(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points
        .into_iter()
        .map(|(seconds, y)| (seconds / 60.0, y))
        .collect()
}
