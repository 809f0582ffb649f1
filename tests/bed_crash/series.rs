//! Which runs there are, a number of them side by side, and the table of what came of them.

mod meant;

use std::collections::BTreeMap;
use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch_bed::clock::Stopwatch;
use futures::{StreamExt as _, stream};

use crate::calls::Place;
use crate::end::End;
use crate::fault::{Fault, Injection, Spot};
use crate::ground::Ground;
use crate::run::{Outcome, run};
use crate::verdict::Seen;

/// How many runs go on at the same time, unless the environment says otherwise: most of the time they wait. Two processors
/// shared with others do no more.
const SIDE_BY_SIDE: usize = 16;
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
            assert_eq!(meant::otherwise(*end, &seen), [""; 0], "{}", end.name());
            assert!(seen.has_labels_of(*end), "{}: {:?}", end.name(), seen.labels);
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
}

/// What came of the runs of one end with one fault.
#[derive(Default)]
struct Row {
    runs: usize,
    ok: usize,
    /// Runs in which people were told something twice.
    twice: usize,
    missed: usize,
    /// What was remarkable, and at which calls.
    remarks: BTreeMap<&'static str, Vec<String>>,
}

impl Row {
    fn remark(&self) -> String {
        let one = |(what, spots): (&&str, &Vec<String>)| format!("{what}: {}", spots.join(", "));
        self.remarks.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// What came of a series.
#[derive(Default)]
pub(crate) struct Results {
    rows: BTreeMap<(End, Fault), Row>,
    calls: BTreeMap<End, usize>,
    slowest: Duration,
    pub(crate) broken: Vec<String>,
}

impl Results {
    /// Makes every run, each on a stage of its own.
    pub(crate) async fn of(ground: &'static Ground, planned: Vec<(&Measure, Injection)>) -> Self {
        let side_by_side = std::env::var("BIRDWATCH_RUNS").ok();
        let side_by_side = side_by_side.map_or(SIDE_BY_SIDE, |number| number.parse().unwrap());
        let clock = Stopwatch::start();
        let mut results = Self::default();
        let calls = planned.iter().map(|(of, _)| (of.end, of.places.len()));
        results.calls.extend(calls);
        let runs = planned.into_iter().map(|(measure, injection)| async move {
            let outcome = struck(ground, measure, &injection).await;
            (measure.end, injection, outcome)
        });
        let mut runs = stream::iter(runs).buffer_unordered(side_by_side);
        while let Some((end, injection, outcome)) = runs.next().await {
            results.take(end, &injection, &outcome);
        }
        results.print_rows();
        results.print_ends(clock.elapsed());
        results
    }

    fn take(&mut self, end: End, injection: &Injection, outcome: &Outcome) {
        let row = self.rows.entry((end, injection.fault)).or_default();
        row.runs += 1;
        row.ok += usize::from(outcome.broken.is_empty());
        row.twice += usize::from(outcome.twice > 0);
        row.missed += usize::from(!outcome.struck);
        self.slowest = self.slowest.max(outcome.took);
        let remarks = [
            ("BROKEN", !outcome.broken.is_empty()),
            ("no such call", !outcome.struck),
            ("reason lost", outcome.seen.lost_its_reason()),
        ];
        for (what, _) in remarks.into_iter().filter(|(_, holds)| *holds) {
            row.remarks.entry(what).or_default().push(injection.to_string());
        }
        if outcome.broken.is_empty() {
            return;
        }
        let (fault, took) = (injection.fault.name(), outcome.took);
        let what = format!("{}: {fault} at {injection} ({took:.1?})", end.name());
        let why = outcome.broken.join("\n  ");
        println!("BROKEN {what}\n  {why}");
        if std::env::var_os("BIRDWATCH_LOGS").is_some() {
            println!("{}", outcome.log);
        }
        self.broken.push(format!("{what}\n  {why}"));
    }

    fn print_rows(&self) {
        println!("end        fault                 runs    ok  told twice  remark");
        for ((end, fault), row) in &self.rows {
            let (end, fault) = (end.name(), fault.name());
            let Row { runs, ok, twice, .. } = row;
            println!(
                "{end:<10} {fault:<20} {runs:>5} {ok:>5} {twice:>11}  {}",
                row.remark()
            );
        }
    }

    /// What all of it comes to, in Markdown.
    fn print_ends(&self, lasted: Duration) {
        println!(
            "| end | calls | killed | disturbed | told twice | reason lost | broken |\n|---|---|---|---|---|---|---|"
        );
        let print = |name: &str, calls: usize, of: Option<End>| {
            let rows = || {
                self.rows
                    .iter()
                    .filter(|((end, _), _)| of.is_none_or(|of| of == *end))
            };
            let sum = |number: fn(&Row) -> usize| rows().map(|(_, row)| number(row)).sum::<usize>();
            let befallen = |row: &Row| row.runs - row.missed;
            let killed = rows()
                .filter(|((_, fault), _)| fault.kills())
                .map(|(_, row)| befallen(row))
                .sum::<usize>();
            let lost = |row: &Row| row.remarks.get("reason lost").map_or(0, Vec::len);
            println!(
                "| {name} | {calls} | {killed} | {} | {} | {} | {} |",
                sum(|row| row.runs - row.missed) - killed,
                sum(|row| row.twice),
                sum(lost),
                sum(|row| row.runs - row.ok),
            );
        };
        for (end, calls) in &self.calls {
            print(end.name(), *calls, Some(*end));
        }
        print("all", self.calls.values().sum(), None);
        let (runs, missed) = self.befallen();
        println!(
            "proved: {runs} runs in {} s, the longest {} s; {missed} whose fault found no such call; {} broken",
            lasted.as_secs(),
            self.slowest.as_secs(),
            self.broken.len(),
        );
    }

    /// How many runs there were, and how many whose fault did not befall.
    fn befallen(&self) -> (usize, usize) {
        let rows = self.rows.values();
        rows.fold((0, 0), |(runs, missed), row| {
            (runs + row.runs, missed + row.missed)
        })
    }

    /// No promise is broken, and hardly a fault did not befall.
    pub(crate) fn check(&self) {
        assert!(self.broken.is_empty(), "{}", self.broken.join("\n"));
        let (runs, missed) = self.befallen();
        assert!(runs > 0, "no end or no fault has the name that was asked for");
        assert!(missed * 10 <= runs, "{missed} of {runs} faults did not befall");
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

#[test]
#[should_panic(expected = "no end or no fault has the name")]
fn a_series_without_a_run_is_no_proof() {
    Results::default().check();
}
