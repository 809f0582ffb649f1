//! The tables of the page, each under the name of its marks.

use std::collections::BTreeSet;

use super::{
    cells::{Cells, Entry, OURS, beside, cpu, memory, requests, written},
    goals,
    page::table,
};
use crate::{
    contender,
    number::{ratio, real, short},
    results::{Machine, Stage},
};

/// All of them, in the order of the page.
pub(super) fn all(cells: &Cells) -> Vec<(&'static str, String)> {
    vec![
        ("machine", machines(&cells.machines)),
        ("settings", settings()),
        ("goals", goals::table_of(cells)),
        ("faults", faults(cells)),
        ("idle", costs(cells, "idle")),
        ("stepping", costs(cells, "stepping")),
        ("writes", writes(cells)),
        ("starts", starts(cells)),
        ("remarks", remarks(cells)),
    ]
}

fn machine(machine: &Machine) -> String {
    let Machine {
        date,
        cpu,
        cores,
        memory_mib,
        kernel,
        versions,
        binaries,
    } = machine;
    let versions: Vec<_> = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let sizes = binaries
        .iter()
        .map(|(name, bytes)| format!("{name} {} MB", short(real(*bytes) / 1e6)));
    let sizes: Vec<_> = sizes.collect();
    format!(
        "- Begun {date}, on {cores} cores ({cpu}), {memory_mib} MiB of memory, Linux {kernel}.\n- Versions: {}.\n\
         - Programs: {}.",
        versions.join(", "),
        sizes.join(", ")
    )
}

/// The last; and every version of ours that there are cells of, where that is more than one.
fn machines(all: &[Machine]) -> String {
    let mut text = all.last().map(machine).unwrap_or_default();
    let versions: BTreeSet<&String> = all
        .iter()
        .filter_map(|one| one.versions.get("BirdWatch"))
        .collect();
    if versions.len() > 1 {
        let versions: Vec<_> = versions.into_iter().map(String::as_str).collect();
        text.push_str("\n- Some cells are of other versions of BirdWatch: ");
        text.push_str(&versions.join(", "));
        text.push('.');
    }
    text
}

fn settings() -> String {
    let all = contender::NAMES
        .iter()
        .filter_map(|name| contender::by_name(name));
    let rows: Vec<_> = all
        .map(|one| vec![one.name().to_owned(), one.settings().to_owned()])
        .collect();
    table(&["contender", "settings"], &rows)
}

/// How long objects took to come somewhere, in every workload where they were waited for.
fn faults(cells: &Cells) -> String {
    let mut rows = Vec::new();
    for entry in cells.entries() {
        for name in names_of_waits(&entry) {
            rows.push(row_of_waits(cells, &entry, name));
        }
    }
    let head = [
        "workload",
        "contender",
        "what",
        "p50, s",
        "p99, s",
        "came of",
        "p99 beside BirdWatch",
    ];
    table(&head, &rows)
}

fn row_of_waits(cells: &Cells, entry: &Entry<'_>, name: &str) -> Vec<String> {
    let ours = cells
        .entry(entry.workload, OURS)
        .and_then(|ours| ours.percentile(name, 99));
    let at = |percent| match entry.percentile(name, percent) {
        None => "not all came".to_owned(),
        some => written(some),
    };
    let (came, of) = entry.came(name);
    let beside = if entry.contender == OURS {
        String::new()
    } else {
        beside(entry.percentile(name, 99), ours)
    };
    vec![
        entry.workload.to_owned(),
        entry.contender.to_owned(),
        name.to_owned(),
        at(50),
        at(99),
        format!("{came} of {of}"),
        beside,
    ]
}

fn names_of_waits<'a>(entry: &Entry<'a>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for waits in entry.rounds.iter().flat_map(|round| &round.waits) {
        if !names.contains(&waits.name.as_str()) {
            names.push(&waits.name);
        }
    }
    names
}

/// What a stage costs, in every workload that has it.
fn costs(cells: &Cells, stage: &str) -> String {
    let mut rows = Vec::new();
    for entry in cells.entries() {
        let Some(used) = entry.of_stage(stage, cpu) else {
            continue;
        };
        let ours = cells
            .entry(entry.workload, OURS)
            .and_then(|ours| ours.of_stage(stage, cpu));
        let queries = entry.of_stage(stage, |stage, _| ratio(real(stage.queries), stage.seconds));
        let beside = if entry.contender == OURS {
            String::new()
        } else {
            beside(Some(used), ours)
        };
        rows.push(vec![
            entry.workload.to_owned(),
            entry.contender.to_owned(),
            written(Some(used)),
            beside,
            written(entry.of_stage(stage, memory)),
            written(entry.of_stage(stage, requests)),
            written(queries),
        ]);
    }
    let head = [
        "workload",
        "contender",
        "processor, % of one",
        "beside BirdWatch",
        "memory at most, MiB",
        "API requests per object and minute",
        "queries a second",
    ];
    table(&head, &rows)
}

/// Whether a request changes something.
fn is_write(name: &str) -> bool {
    let verbs = ["create ", "update ", "patch ", "delete "];
    verbs.iter().any(|verb| name.starts_with(verb)) && !name.contains(" leases")
}

/// Requests for each step of a rollout, by verb and resource, most first.
fn writes(cells: &Cells) -> String {
    let mut rows = Vec::new();
    for entry in cells.entries() {
        let stages: Vec<&Stage> = entry
            .rounds
            .iter()
            .filter_map(|round| round.stages.iter().find(|stage| stage.name == "stepping"))
            .filter(|stage| stage.steps > 0)
            .collect();
        let Some(stage) = stages.first() else {
            continue;
        };
        let mut per_step: Vec<(&str, f64)> = stage
            .requests
            .iter()
            .filter(|(name, _)| !name.starts_with("watch ") && !name.contains(" leases"))
            .map(|(name, count)| (name.as_str(), ratio(real(*count), real(stage.steps))))
            .collect();
        per_step.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        let told = |is: bool| {
            let of = per_step.iter().filter(|(name, _)| is_write(name) == is);
            let texts: Vec<_> = of
                .map(|(name, count)| format!("{} `{name}`", short(*count)))
                .collect();
            if texts.is_empty() {
                "0".to_owned()
            } else {
                texts.join(", ")
            }
        };
        rows.push(vec![
            entry.workload.to_owned(),
            entry.contender.to_owned(),
            told(true),
            told(false),
        ]);
    }
    table(
        &["workload", "contender", "writes per step", "reads per step"],
        &rows,
    )
}

/// What a start asks of the API server.
fn starts(cells: &Cells) -> String {
    let mut rows = Vec::new();
    for entry in cells.entries() {
        let Some(busiest) = entry.of_stage("start", |stage, _| real(stage.busiest_second)) else {
            continue;
        };
        rows.push(vec![
            entry.workload.to_owned(),
            entry.contender.to_owned(),
            written(entry.percentile("first decision", 50)),
            written(Some(busiest)),
            written(entry.of_stage("start", memory)),
        ]);
    }
    let head = [
        "workload",
        "contender",
        "first decision, s",
        "requests in the busiest second",
        "memory at most, MiB",
    ];
    table(&head, &rows)
}

/// Where cells stopped, and what else has to be known of them.
fn remarks(cells: &Cells) -> String {
    let mut told: Vec<String> = Vec::new();
    for entry in cells.entries() {
        for round in &entry.rounds {
            let stopped = round.stopped.iter().map(|text| format!("stopped: {text}"));
            for text in stopped.chain(round.notes.iter().cloned()) {
                told.push(format!(
                    "- {}, {}, round {}: {text}",
                    entry.workload, entry.contender, round.round
                ));
            }
        }
    }
    if told.is_empty() {
        "None.".to_owned()
    } else {
        told.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::lines, *};
    use crate::results::Line;

    fn section(cells: &Cells, name: &str) -> String {
        all(cells)
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
    }

    #[test]
    fn tables_show_medians_ranges_and_how_the_others_stand_beside_ours() {
        let cells = Cells::new(lines());
        let faults = section(&cells, "faults");
        assert!(
            faults.contains(
                "| fault-100-1s | birdwatch | back | 0.92 (0.91–0.93) | 0.92 (0.91–0.93) | 300 of 300 |  |"
            ),
            "{faults}"
        );
        assert!(faults.contains("| 12×") || faults.contains("| 12"), "{faults}");
        let stepping = section(&cells, "stepping");
        assert!(stepping.contains("| fault-100-1s | flagger | 10"), "{stepping}");
        assert_eq!(section(&cells, "idle"), "Not measured.");
    }

    #[test]
    fn cells_of_several_versions_are_told() {
        let of = |version: &str| Machine {
            versions: [("BirdWatch".to_owned(), version.to_owned())].into(),
            ..Machine::default()
        };
        assert!(!machines(&[of("a"), of("a")]).contains("other versions"));
        assert!(machines(&[of("a"), of("b")]).contains("other versions of BirdWatch: a, b."));
    }

    #[test]
    fn writes_are_told_per_step() {
        let cells = Cells::new(lines());
        let writes = section(&cells, "writes");
        let row =
            "| fault-100-1s | birdwatch | 2 `update birdwatches/status`, 1 `patch virtualservices` | 0 |";
        assert!(writes.contains(row), "{writes}");
    }

    #[test]
    fn where_a_cell_stopped_is_told() {
        let mut lines = lines();
        if let Some(Line::Measurement(last)) = lines.last_mut() {
            last.stopped = Some("after 600 s 3 of 100 were at rest".into());
        }
        let remarks = section(&Cells::new(lines), "remarks");
        assert_eq!(
            remarks,
            "- fault-100-1s, flagger, round 3: stopped: after 600 s 3 of 100 were at rest"
        );
    }
}
