//! The cells of a file of results, found by workload, contender and round, and what several rounds come to.

use crate::{
    contender,
    number::{ratio, real, short},
    results::{Line, Machine, Measurement, Stage, Waits},
    stats::{Beside, Spread},
    workload,
};

/// Who all others stand beside.
pub(super) const OURS: &str = "birdwatch";

/// All cells.
pub(super) struct Cells {
    /// What they ran on, one for each time that the run was begun or gone on with.
    pub(super) machines: Vec<Machine>,
    all: Vec<Measurement>,
}

/// One contender at one workload, over all rounds.
pub(super) struct Entry<'a> {
    pub(super) workload: &'a str,
    pub(super) contender: &'a str,
    pub(super) rounds: Vec<&'a Measurement>,
}

impl Cells {
    pub(super) fn new(lines: Vec<Line>) -> Self {
        let (mut machines, mut all, mut latest) = (Vec::new(), Vec::new(), None);
        for line in lines {
            match line {
                Line::Machine(machine) => latest = Some(machine),
                Line::Measurement(seen) => {
                    machines.extend(latest.take());
                    all.push(seen);
                }
            }
        }
        all.sort_by_cached_key(|seen: &Measurement| (place(&seen.workload, &seen.contender), seen.round));
        Self { machines, all }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Workload by workload, and in each contender by contender, in their own order.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        let same =
            |a: &Measurement, b: &Measurement| (&a.workload, &a.contender) == (&b.workload, &b.contender);
        let groups = self.all.chunk_by(same);
        let entries = groups.filter_map(|rounds| {
            let first = rounds.first()?;
            Some(Entry {
                workload: &first.workload,
                contender: &first.contender,
                rounds: rounds.iter().collect(),
            })
        });
        entries.collect()
    }

    pub(super) fn entry(&self, workload: &str, contender: &str) -> Option<Entry<'_>> {
        let mut entries = self.entries().into_iter();
        entries.find(|entry| entry.workload == workload && entry.contender == contender)
    }
}

/// Where a cell stands: in the order of a whole run, those that are in none last and by name.
fn place(workload: &str, contender: &str) -> (usize, String, usize) {
    let of = |all: &[&str], name: &str| all.iter().position(|known| *known == name).unwrap_or(all.len());
    (
        of(&workload::ALL, workload),
        workload.to_owned(),
        of(&contender::NAMES, contender),
    )
}

impl Entry<'_> {
    /// What a value of each round that has it comes to.
    pub(super) fn spread(&self, value: impl Fn(&Measurement) -> Option<f64>) -> Option<Spread> {
        let values: Vec<f64> = self.rounds.iter().filter_map(|round| value(round)).collect();
        Spread::of(&values)
    }

    /// The same of a stage of that name.
    pub(super) fn of_stage(&self, name: &str, value: impl Fn(&Stage, &Measurement) -> f64) -> Option<Spread> {
        self.spread(|round| {
            let stage = round.stages.iter().find(|stage| stage.name == name)?;
            Some(value(stage, round))
        })
    }

    /// A percentile of how long objects took; None unless every round has it.
    pub(super) fn percentile(&self, name: &str, percent: usize) -> Option<Spread> {
        let spread = self.spread(|round| waits(round, name)?.quantiles.at(percent))?;
        let rounds = self
            .rounds
            .iter()
            .filter(|round| waits(round, name).is_some())
            .count();
        (spread.rounds == rounds).then_some(spread)
    }

    /// How many came there and how many were waited for, over all rounds.
    pub(super) fn came(&self, name: &str) -> (usize, usize) {
        let waited = self.rounds.iter().filter_map(|round| waits(round, name));
        waited.fold((0, 0), |(came, of), waits| (came + waits.came, of + waits.of))
    }
}

/// What was waited for under that name.
pub(super) fn waits<'a>(round: &'a Measurement, name: &str) -> Option<&'a Waits> {
    round.waits.iter().find(|waits| waits.name == name)
}

/// Percent of one processor.
pub(super) fn cpu(stage: &Stage, _: &Measurement) -> f64 {
    100.0 * ratio(stage.cpu_seconds, stage.seconds)
}

/// MiB at most.
pub(super) fn memory(stage: &Stage, _: &Measurement) -> f64 {
    stage.rss_peak_mib
}

/// Requests for objects, watches and leases apart, per object and minute.
pub(super) fn requests(stage: &Stage, of: &Measurement) -> f64 {
    let minutes = stage.seconds / 60.0;
    let objects = crate::number::real_len(of.objects);
    ratio(real(stage.requests_for_objects()), minutes * objects)
}

/// Median, and in brackets the range over the rounds.
pub(super) fn written(spread: Option<Spread>) -> String {
    let Some(spread) = spread else {
        return "–".to_owned();
    };
    let (median, low, high) = (short(spread.median), short(spread.low), short(spread.high));
    if spread.rounds == 1 {
        format!("{median} (one round)")
    } else if low == high {
        median
    } else {
        format!("{median} ({low}–{high})")
    }
}

/// How a contender stands beside ours, in words.
pub(super) fn beside(theirs: Option<Spread>, ours: Option<Spread>) -> String {
    let (Some(theirs), Some(ours)) = (theirs, ours) else {
        return "–".to_owned();
    };
    match theirs.beside(ours) {
        Beside::Noise => "inside the noise".to_owned(),
        Beside::Times(times) => format!("{}×", short(times)),
        Beside::FromNothing => "ours is 0".to_owned(),
        Beside::OneRound => format!("{}× (one round)", short(ratio(theirs.median, ours.median))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_a_run() {
        let cells = Cells::new(super::super::tests::lines().into_iter().rev().collect());
        let entries = cells.entries();
        let names: Vec<_> = entries
            .iter()
            .map(|entry| (entry.contender, entry.rounds.len()))
            .collect();
        assert_eq!(names, [("birdwatch", 3), ("flagger", 3)]);
        assert_eq!(entries[0].rounds[0].round, 1);
        assert!(cells.entry("fault-100-1s", "argo").is_none());
    }

    #[test]
    fn what_did_not_come_in_every_round_has_no_percentile() {
        let mut lines = super::super::tests::lines();
        let cells = Cells::new(lines.clone());
        let flagger = cells.entry("fault-100-1s", "flagger").unwrap();
        assert_eq!(written(flagger.percentile("back", 99)), "11");
        if let Some(Line::Measurement(last)) = lines.last_mut() {
            last.waits = vec![Waits::new("back", &[1.0], 100, 60.0)];
        }
        let cells = Cells::new(lines);
        let flagger = cells.entry("fault-100-1s", "flagger").unwrap();
        assert_eq!(flagger.percentile("back", 99), None);
        assert_eq!(flagger.came("back"), (201, 300));
    }

    #[test]
    fn a_difference_inside_the_noise_is_called_that() {
        let of = |values: &[f64]| Spread::of(values);
        assert_eq!(beside(of(&[1.0, 3.0]), of(&[2.0, 4.0])), "inside the noise");
        assert_eq!(beside(of(&[10.0, 12.0]), of(&[2.0, 2.0])), "5.5×");
        assert_eq!(beside(of(&[10.0]), of(&[2.0])), "5× (one round)");
        assert_eq!(beside(None, of(&[2.0])), "–");
        assert_eq!(written(of(&[1.0, 2.0, 4.0])), "2 (1–4)");
        assert_eq!(written(of(&[1.0, 1.0])), "1");
    }
}
