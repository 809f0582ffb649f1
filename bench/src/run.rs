//! A whole run: every contender at every workload, several times, in an order that gives none the same place each time.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use crate::{
    contender::{self, Contender},
    error::Error,
    results::{self, Line, Machine, Measurement},
    workload::{Settings, Workload},
};

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) workloads: Vec<Workload>,
    /// Names.
    pub(crate) contenders: Vec<String>,
    /// Where results go, and where it is read what is done already.
    pub(crate) results: PathBuf,
}

/// A cell, by name.
type Cell = (String, String, u32);

/// Does what is not done yet. A cell that fails is told and left for the next run; how many did is returned.
pub(crate) async fn run(plan: &Plan, settings: &Settings, machine: Machine) -> Result<usize, Error> {
    let done = done(&results::read(&plan.results)?);
    results::append(&plan.results, &Line::Machine(machine))?;
    let cells: Vec<_> = cells(plan)
        .into_iter()
        .filter(|cell| !done.contains(&named(cell)))
        .collect();
    let (all, mut failed) = (cells.len(), 0);
    for (number, (workload, name, round)) in (1..).zip(cells) {
        eprintln!("[{number}/{all}] round {round}: {workload}, {name}");
        let Some(contender) = contender::by_name(&name) else {
            return Err(Error::Asked(format!("{name} is no contender")));
        };
        match Box::pin(cell(workload, settings, contender.into(), round)).await {
            Ok(seen) => {
                tell(&seen);
                results::append(&plan.results, &Line::Measurement(seen))?;
            }
            Err(error) => {
                failed += 1;
                eprintln!("  failed, and is not recorded: {error}");
            }
        }
    }
    Ok(failed)
}

async fn cell(
    workload: Workload,
    settings: &Settings,
    contender: Arc<dyn Contender>,
    round: u32,
) -> Result<Measurement, Error> {
    let mut seen = Measurement {
        workload: workload.to_string(),
        contender: contender.name().to_owned(),
        round,
        objects: workload.objects,
        ..Measurement::default()
    };
    match Box::pin(workload.run(settings, contender, &mut seen)).await {
        Ok(()) => {}
        Err(Error::Limit(told)) => seen.stopped = Some(told),
        Err(error) => return Err(error),
    }
    Ok(seen)
}

fn tell(seen: &Measurement) {
    for stage in &seen.stages {
        eprintln!(
            "  {}: {:.1} s, processor {:.2} s, {:.0} MiB, {} requests for objects, {} queries, {} steps",
            stage.name,
            stage.seconds,
            stage.cpu_seconds,
            stage.rss_peak_mib,
            stage.requests_for_objects(),
            stage.queries,
            stage.steps
        );
    }
    for waits in &seen.waits {
        let at = |percent| {
            waits
                .quantiles
                .at(percent)
                .map_or("never".to_owned(), |value| format!("{value:.2} s"))
        };
        eprintln!(
            "  {}: {} of {}, p50 {}, p99 {}",
            waits.name,
            waits.came,
            waits.of,
            at(50),
            at(99)
        );
    }
    let told = seen.notes.iter().chain(&seen.stopped);
    told.for_each(|text| eprintln!("  {text}"));
}

/// The cells of a run in their order: workload by workload, so that what is compared runs close together.
fn cells(plan: &Plan) -> Vec<(Workload, String, u32)> {
    let mut cells = Vec::new();
    for round in 1..=plan.rounds {
        for workload in &plan.workloads {
            let contenders = order(&plan.contenders, round);
            cells.extend(contenders.into_iter().map(|name| (*workload, name, round)));
        }
    }
    cells
}

fn named((workload, contender, round): &(Workload, String, u32)) -> Cell {
    (workload.to_string(), contender.clone(), *round)
}

/// One place on with each round, and the other way round in every second one.
fn order(contenders: &[String], round: u32) -> Vec<String> {
    let mut order = contenders.to_vec();
    let places = usize::try_from(round.saturating_sub(1)).unwrap_or(0);
    if !order.is_empty() {
        order.rotate_left(places % contenders.len());
    }
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

fn done(lines: &[Line]) -> HashSet<Cell> {
    let cell = |line: &Line| match line {
        Line::Measurement(seen) => Some((seen.workload.clone(), seen.contender.clone(), seen.round)),
        Line::Machine(_) => None,
    };
    lines.iter().filter_map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn nobody_has_the_same_place_in_each_round() {
        let contenders = names(&["a", "b", "c"]);
        let orders = [1, 2, 3].map(|round| order(&contenders, round).concat());
        assert_eq!(orders, ["abc", "acb", "cab"]);
        assert_eq!(order(&[], 2), names(&[]));
    }

    #[test]
    fn what_is_done_is_not_done_again() {
        let plan = Plan {
            rounds: 2,
            workloads: vec!["idle-5".parse().unwrap()],
            contenders: names(&["birdwatch", "argo"]),
            results: PathBuf::new(),
        };
        let seen = Measurement {
            workload: "idle-5".into(),
            contender: "argo".into(),
            round: 2,
            ..Measurement::default()
        };
        let done = done(&[Line::Measurement(seen)]);
        let left: Vec<Cell> = cells(&plan)
            .iter()
            .map(named)
            .filter(|cell| !done.contains(cell))
            .collect();
        let cell = |name: &str, round| ("idle-5".to_owned(), name.to_owned(), round);
        assert_eq!(
            left,
            [cell("birdwatch", 1), cell("argo", 1), cell("birdwatch", 2)]
        );
    }
}
