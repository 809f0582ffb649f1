//! The plots of the page, drawn as the operator draws its own.

use birdwatch::plot::{Axis, Bar, Bars, Chart, Figure, Lines, Scale, Series, Unit};

use super::cells::{Cells, Entry, cpu, memory, waits, written};
use crate::{contender, results::Measurement, stats::Spread};

/// Workloads whose way back is drawn.
const CURVES: [&str; 6] = [
    "fault-100-10s",
    "fault-100-1s",
    "fault-1000-10s",
    "fault-1000-1s",
    "sick-100-10s",
    "limited-100-1s",
];

/// One plot.
pub(super) struct Plot {
    name: String,
    /// What it shows, in words.
    told: String,
    pub(super) figure: Figure,
}

impl Plot {
    /// What its file is called.
    pub(super) fn file(&self) -> String {
        format!("bench-{}.svg", self.name)
    }
}

/// All for which there are results.
pub(super) fn all(cells: &Cells) -> Vec<Plot> {
    let curves = CURVES.iter().filter_map(|workload| curve(cells, workload));
    let memory = bars(
        cells,
        "idle",
        "memory",
        "Memory at rest",
        "MiB resident at most",
        memory,
    );
    let processor = bars(
        cells,
        "stepping",
        "processor",
        "Processor time while all roll out",
        "percent of one processor",
        cpu,
    );
    curves.chain(memory).chain(processor).collect()
}

/// Links to them, for the page.
pub(super) fn links(plots: &[Plot]) -> String {
    let links: Vec<_> = plots
        .iter()
        .map(|plot| format!("![{}](plots/{})", plot.told, plot.file()))
        .collect();
    links.join("\n\n")
}

/// The colour of a contender, the same in every plot.
fn colour(name: &str) -> usize {
    contender::NAMES
        .iter()
        .position(|known| *known == name)
        .unwrap_or(contender::NAMES.len())
}

/// Which share of the routes was back after which time, a line for each round.
fn curve(cells: &Cells, workload: &str) -> Option<Plot> {
    let entries: Vec<Entry<'_>> = cells
        .entries()
        .into_iter()
        .filter(|entry| entry.workload == workload)
        .collect();
    let line = |entry: &Entry<'_>, round: &Measurement| Series {
        name: entry.contender.to_owned(),
        colour: colour(entry.contender),
        points: waits(round, "back")
            .map(|waits| waits.quantiles.curve())
            .unwrap_or_default(),
        ..Series::default()
    };
    let series = entries
        .iter()
        .flat_map(|entry| entry.rounds.iter().map(|round| line(entry, round)));
    let series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
    if series.is_empty() {
        return None;
    }
    let lines = Lines {
        x: Axis {
            label: "seconds from the bad reading".into(),
            scale: Scale::Log,
            ..Axis::default()
        },
        y: Axis {
            label: "routes back at 100/0".into(),
            unit: Unit::Percent,
            range: Some((0.0, 1.0)),
            ..Axis::default()
        },
        series,
        height: 280.0,
        ..Lines::default()
    };
    let told = format!("Share of the routes that were back at 100/0 after so many seconds, {workload}.");
    Some(Plot {
        name: workload.to_owned(),
        figure: Figure {
            title: format!("From a bad reading to 100/0: {workload}"),
            subtitle: "A line for each round.".into(),
            charts: vec![Chart::Lines(lines)],
        },
        told,
    })
}

/// A bar for each contender and workload that has the stage.
fn bars(
    cells: &Cells,
    stage: &str,
    name: &str,
    title: &str,
    label: &str,
    value: fn(&crate::results::Stage, &Measurement) -> f64,
) -> Option<Plot> {
    let bar = |entry: Entry<'_>| {
        let spread: Spread = entry.of_stage(stage, value)?;
        Some(Bar {
            name: format!("{} {}", entry.contender, entry.workload),
            value: spread.median,
            interval: Some((spread.low, spread.high)),
            text: written(Some(spread)),
            colour: colour(entry.contender),
        })
    };
    let all: Vec<Bar> = cells.entries().into_iter().filter_map(bar).collect();
    if all.is_empty() {
        return None;
    }
    let bars = Bars {
        axis: Axis {
            label: label.into(),
            ..Axis::default()
        },
        bars: all,
    };
    Some(Plot {
        name: name.to_owned(),
        told: format!("{title}, median and range."),
        figure: Figure {
            title: title.into(),
            subtitle: "Median of the rounds, and their range.".into(),
            charts: vec![Chart::Bars(bars)],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::lines, *};

    #[test]
    fn what_was_measured_is_drawn_and_linked() {
        let plots = all(&Cells::new(lines()));
        let files: Vec<_> = plots.iter().map(Plot::file).collect();
        assert_eq!(files, ["bench-fault-100-1s.svg", "bench-processor.svg"]);
        assert!(plots[0].figure.svg().contains("flagger"));
        assert!(links(&plots).contains("](plots/bench-processor.svg)"));
    }
}
