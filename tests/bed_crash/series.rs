//! Which runs there are, a number of them side by side, and the table of what came of them.

use std::collections::BTreeMap;

use birdwatch::api::status::Phase;
use birdwatch_bed::clock::Stopwatch;
use futures::{StreamExt as _, stream};

use crate::calls::Place;
use crate::end::End;
use crate::fault::{Fault, Injection, Spot};
use crate::ground::Ground;
use crate::run::{Outcome, run};
use crate::verdict::Seen;

/// How many runs go on at the same time, unless the environment says otherwise: most of the time they wait.
const SIDE_BY_SIDE: usize = 24;
/// How often a run is made again whose fault did not befall, because there were fewer calls of a kind than before.
const TRIES: usize = 3;

/// A run that nothing befell, by which others are measured.
pub(crate) struct Measure {
    pub(crate) end: End,
    seen: Seen,
    pub(crate) places: Vec<Place>,
    pub(crate) phases: Vec<Phase>,
}

impl Measure {
    /// Runs to each of the ends, and breaks no promise itself.
    pub(crate) async fn all(ground: &'static Ground, ends: &[End]) -> Vec<Self> {
        let runs = ends.iter().map(|end| async move {
            let Outcome {
                seen, places, phases, ..
            } = run(ground, *end, None, None).await;
            assert_eq!(seen.broken(*end, &seen), [""; 0], "{}", end.name());
            assert!(seen.lives.len() == 1, "{:?}", seen.lives);
            Self {
                end: *end,
                seen,
                places,
                phases,
            }
        });
        let mut all: Vec<Self> = stream::iter(runs).buffer_unordered(SIDE_BY_SIDE).collect().await;
        all.sort_by_key(|measure| measure.end);
        all
    }

    /// Every fault that can befall a call, at every call.
    pub(crate) fn of_calls(&self) -> impl Iterator<Item = Injection> + '_ {
        self.places.iter().flat_map(|place| {
            let faults = Fault::OF_CALLS.into_iter().filter(|fault| fault.befalls(place));
            faults.map(|fault| Injection {
                fault,
                spot: Spot::Call(place.clone()),
            })
        })
    }

    /// Every fault that befalls a phase, in every phase.
    pub(crate) fn of_phases(&self) -> impl Iterator<Item = Injection> + '_ {
        (1..=self.phases.len()).flat_map(|number| {
            Fault::OF_PHASES.into_iter().map(move |fault| Injection {
                fault,
                spot: Spot::Phase(number),
            })
        })
    }

    /// The API server goes away in the middle of the rollout.
    pub(crate) fn away(&self) -> Injection {
        let middle = self.phases.iter().position(|phase| *phase == Phase::Progressing);
        Injection {
            fault: Fault::Away,
            spot: Spot::Phase(middle.map_or(1, |index| index + 1)),
        }
    }
}

/// What came of the runs of one end with one fault.
#[derive(Default)]
struct Row {
    runs: usize,
    missed: usize,
    /// Ended the same, for a reason that nobody knows any more.
    otherwise: usize,
    broken: usize,
}

/// What came of a series.
#[derive(Default)]
pub(crate) struct Results {
    rows: BTreeMap<(End, Fault), Row>,
    pub(crate) broken: Vec<String>,
}

impl Results {
    /// Makes every run, each on a stage of its own.
    pub(crate) async fn of(ground: &'static Ground, planned: Vec<(&Measure, Injection)>) -> Self {
        let side_by_side = std::env::var("BIRDWATCH_RUNS").ok();
        let side_by_side = side_by_side.map_or(SIDE_BY_SIDE, |number| number.parse().unwrap());
        let clock = Stopwatch::start();
        let runs = planned.into_iter().map(|(measure, injection)| async move {
            let outcome = struck(ground, measure, &injection).await;
            (measure.end, injection, outcome)
        });
        let mut runs = stream::iter(runs).buffer_unordered(side_by_side);
        let mut results = Self::default();
        while let Some((end, injection, outcome)) = runs.next().await {
            results.take(end, &injection, &outcome);
        }
        results.print(clock.elapsed().as_secs());
        results
    }

    fn take(&mut self, end: End, injection: &Injection, outcome: &Outcome) {
        let row = self.rows.entry((end, injection.fault)).or_default();
        row.runs += 1;
        row.missed += usize::from(!outcome.struck);
        row.otherwise += usize::from(outcome.seen.lost_its_reason());
        if outcome.broken.is_empty() {
            return;
        }
        row.broken += 1;
        let spot = match &injection.spot {
            Spot::Call(place) => place.to_string(),
            Spot::Phase(number) => format!("change of phase #{number}"),
        };
        let (fault, took) = (injection.fault.name(), outcome.took);
        let what = format!("{}: {fault} at {spot} ({took:.1?})", end.name());
        let why = outcome.broken.join("\n  ");
        println!("BROKEN {what}\n  {why}");
        if std::env::var_os("BIRDWATCH_LOGS").is_some() {
            println!("{}", outcome.log);
        }
        self.broken.push(format!("{what}\n  {why}"));
    }

    fn print(&self, seconds: u64) {
        println!(
            "{:<10} {:<20} {:>5} {:>8} {:>7}",
            "end", "fault", "runs", "missed", "broken"
        );
        for ((end, fault), row) in &self.rows {
            let (end, fault) = (end.name(), fault.name());
            println!(
                "{end:<10} {fault:<20} {:>5} {:>8} {:>7}",
                row.runs, row.missed, row.broken
            );
        }
        let sum = |of: fn(&Row) -> usize| self.rows.values().map(of).sum::<usize>();
        println!(
            "{} runs in {seconds} s, {} whose fault found no such call, {} whose reason was lost, {} broken promises",
            sum(|row| row.runs),
            sum(|row| row.missed),
            sum(|row| row.otherwise),
            sum(|row| row.broken),
        );
    }

    /// No promise is broken, and hardly a fault did not befall.
    pub(crate) fn check(&self) {
        assert!(self.broken.is_empty(), "{}", self.broken.join("\n"));
        let (runs, missed) = self.rows.values().fold((0, 0), |(runs, missed), row| {
            (runs + row.runs, missed + row.missed)
        });
        assert!(missed * 20 <= runs, "{missed} of {runs} faults did not befall");
    }
}

/// Runs until the fault befalls.
async fn struck(ground: &'static Ground, measure: &Measure, injection: &Injection) -> Outcome {
    let mut left = TRIES;
    loop {
        let once = run(ground, measure.end, Some(injection.clone()), Some(&measure.seen)).await;
        left -= 1;
        if once.struck || left == 0 || !once.broken.is_empty() {
            return once;
        }
    }
}
