//! What was set out to be reached, beside what was measured. A goal that was missed says so.

use super::{
    cells::{Cells, Entry, OURS, cpu, memory, requests},
    page::table,
};
use crate::{
    number::{ratio, real, short},
    results::{Measurement, Stage},
};

/// One row.
struct Goal {
    what: &'static str,
    /// No more than that.
    most: f64,
    unit: &'static str,
    /// What was measured; None: it was not, or did not come about.
    value: fn(&Cells) -> Option<f64>,
}

const GOALS: [Goal; 21] = [
    Goal {
        what: "bad reading to 100/0, p99, 3 rollouts at 1 s",
        most: 1.1,
        unit: "s",
        value: |c| back(c, "fault-3-1s"),
    },
    Goal {
        what: "the same, 100 rollouts",
        most: 1.2,
        unit: "s",
        value: |c| back(c, "fault-100-1s"),
    },
    Goal {
        what: "the same, 1,000 rollouts",
        most: 2.0,
        unit: "s",
        value: |c| back(c, "fault-1000-1s"),
    },
    Goal {
        what: "ours over the faster rival's, 100 rollouts",
        most: 0.2,
        unit: "times",
        value: |c| beside(c, back_of, "fault-100-1s"),
    },
    Goal {
        what: "API requests at rest, 100 objects",
        most: 0.0,
        unit: "per object and minute",
        value: |c| ours(c, "idle-100", "idle", requests),
    },
    Goal {
        what: "the same, 1,000 objects",
        most: 0.0,
        unit: "per object and minute",
        value: |c| ours(c, "idle-1000", "idle", requests),
    },
    Goal {
        what: "the same, 10,000 objects",
        most: 0.0,
        unit: "per object and minute",
        value: |c| ours(c, "idle-10000", "idle", requests),
    },
    Goal {
        what: "status writes per step, 10 s checks",
        most: 2.0,
        unit: "",
        value: |c| ours(c, "fault-100-10s", "stepping", statuses),
    },
    Goal {
        what: "route writes per step, 10 s checks",
        most: 1.0,
        unit: "",
        value: |c| ours(c, "fault-100-10s", "stepping", routes),
    },
    Goal {
        what: "GETs per step, 10 s checks",
        most: 0.0,
        unit: "",
        value: |c| ours(c, "fault-100-10s", "stepping", gets),
    },
    Goal {
        what: "processor, ours over the better rival's, 1,000 rollouts at 10 s",
        most: 0.2,
        unit: "times",
        value: |c| beside(c, stepping_cpu, "fault-1000-10s"),
    },
    Goal {
        what: "memory, 100 objects",
        most: 20.0,
        unit: "MiB",
        value: |c| ours(c, "idle-100", "idle", memory),
    },
    Goal {
        what: "memory, 1,000 objects",
        most: 30.0,
        unit: "MiB",
        value: |c| ours(c, "idle-1000", "idle", memory),
    },
    Goal {
        what: "memory, 10,000 objects",
        most: 100.0,
        unit: "MiB",
        value: |c| ours(c, "idle-10000", "idle", memory),
    },
    Goal {
        what: "memory, ours over the better rival's, 100 objects",
        most: 0.25,
        unit: "times",
        value: |c| beside(c, idle_memory, "idle-100"),
    },
    Goal {
        what: "start to first decision, 10,000 objects",
        most: 5.0,
        unit: "s",
        value: |c| waited(c, "start-10000", "first decision", 50),
    },
    Goal {
        what: "take-over, leader told to end",
        most: 1.0,
        unit: "s",
        value: |c| waited(c, "handover-100-1s", "lease taken", 50),
    },
    Goal {
        what: "take-over, leader killed (lease of 15 s)",
        most: 16.0,
        unit: "s",
        value: |c| waited(c, "crash-100-1s", "lease taken", 50),
    },
    Goal {
        what: "back at 100/0 from the leader's end, p99, told",
        most: 2.2,
        unit: "s",
        value: |c| waited(c, "handover-100-1s", FROM_END, 99),
    },
    Goal {
        what: "the same, killed",
        most: 17.2,
        unit: "s",
        value: |c| waited(c, "crash-100-1s", FROM_END, 99),
    },
    Goal {
        what: "binary",
        most: 13.0,
        unit: "MB",
        value: binary,
    },
];

const FROM_END: &str = "back, from the leader's end";

/// All of them, met, missed or not measured.
pub(super) fn table_of(cells: &Cells) -> String {
    let row = |goal: &Goal| {
        let most = format!("≤ {} {}", short(goal.most), goal.unit);
        let (value, word) = match (goal.value)(cells) {
            None => ("–".to_owned(), "not measured"),
            Some(value) if value <= goal.most => (short(value), "met"),
            Some(value) => (short(value), "**missed**"),
        };
        vec![
            goal.what.to_owned(),
            most.trim().to_owned(),
            value,
            word.to_owned(),
        ]
    };
    let rows: Vec<_> = GOALS.iter().map(row).collect();
    table(&["goal", "at most", "median", ""], &rows)
}

fn back(cells: &Cells, workload: &str) -> Option<f64> {
    back_of(&cells.entry(workload, OURS)?)
}

fn waited(cells: &Cells, workload: &str, name: &str, percent: usize) -> Option<f64> {
    Some(cells.entry(workload, OURS)?.percentile(name, percent)?.median)
}

fn ours(cells: &Cells, workload: &str, stage: &str, value: fn(&Stage, &Measurement) -> f64) -> Option<f64> {
    Some(cells.entry(workload, OURS)?.of_stage(stage, value)?.median)
}

/// Ours over the best of all others, where there is one.
fn beside(cells: &Cells, value: fn(&Entry<'_>) -> Option<f64>, workload: &str) -> Option<f64> {
    let entries = cells.entries();
    let of = entries.iter().filter(|entry| entry.workload == workload);
    let (ours, others): (Vec<_>, Vec<_>) = of.partition(|entry| entry.contender == OURS);
    let best = others.into_iter().filter_map(value).min_by(f64::total_cmp)?;
    Some(ratio(value(ours.first()?)?, best))
}

fn back_of(entry: &Entry<'_>) -> Option<f64> {
    Some(entry.percentile("back", 99)?.median)
}

fn stepping_cpu(entry: &Entry<'_>) -> Option<f64> {
    Some(entry.of_stage("stepping", cpu)?.median)
}

fn idle_memory(entry: &Entry<'_>) -> Option<f64> {
    Some(entry.of_stage("idle", memory)?.median)
}

/// Requests per step whose name is so.
fn per_step(stage: &Stage, is: impl Fn(&str) -> bool) -> f64 {
    let counted = stage.requests.iter().filter(|(name, _)| is(name));
    ratio(real(counted.map(|(_, count)| count).sum()), real(stage.steps))
}

fn statuses(stage: &Stage, _: &Measurement) -> f64 {
    per_step(stage, |name| name.ends_with(" birdwatches/status"))
}

fn routes(stage: &Stage, _: &Measurement) -> f64 {
    per_step(stage, |name| {
        name == "patch virtualservices" || name == "update virtualservices"
    })
}

fn gets(stage: &Stage, _: &Measurement) -> f64 {
    per_step(stage, |name| {
        name.starts_with("get ") && !name.contains(" leases")
    })
}

fn binary(cells: &Cells) -> Option<f64> {
    let bytes = cells.machines.last()?.binaries.get("BirdWatch")?;
    Some(real(*bytes) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::lines, *};

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let text = table_of(&Cells::new(lines()));
        for row in [
            "| the same, 100 rollouts | ≤ 1.2 s | 0.92 | met |",
            "| ours over the faster rival's, 100 rollouts | ≤ 0.2 times | 0.08 | met |",
            "| the same, 1,000 rollouts | ≤ 2 s | – | not measured |",
            "| binary | ≤ 13 MB | 12 | met |",
        ] {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
        let mut lines = lines();
        for line in &mut lines {
            if let crate::results::Line::Machine(machine) = line {
                machine.binaries.insert("BirdWatch".into(), 14_000_000);
            }
        }
        let text = table_of(&Cells::new(lines));
        assert!(text.contains("| binary | ≤ 13 MB | 14 | **missed** |"), "{text}");
    }
}
