//! From results to a page: tables between the marks of docs/performance.md, and plots beside it. The same results give
//! the same text.

mod cells;
mod goals;
mod page;
mod plots;
mod tables;

use std::{fs, path::Path};

use cells::Cells;

use crate::{error::Error, results};

/// Writes both. A page without the marks is left as it is, and said so.
pub(crate) fn write(results: &Path, page: &Path, plots: &Path) -> Result<(), Error> {
    let cells = Cells::new(results::read(results)?);
    if cells.is_empty() {
        return Err(Error::Asked(format!(
            "{} holds no measurement",
            results.display()
        )));
    }
    let drawn = plots::all(&cells);
    fs::create_dir_all(plots)?;
    for plot in &drawn {
        fs::write(plots.join(plot.file()), plot.figure.svg())?;
    }
    let mut text = fs::read_to_string(page)?;
    let sections = tables::all(&cells)
        .into_iter()
        .chain([("plots", plots::links(&drawn))]);
    for (name, table) in sections {
        text = page::filled(&text, name, &table)
            .ok_or_else(|| Error::Asked(format!("{} has no marks of {name}", page.display())))?;
    }
    fs::write(page, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use birdwatch_bed::operator;

    use super::*;
    use crate::results::{Line, Machine, Measurement, Stage, Waits};

    /// Two contenders, three rounds.
    pub(super) fn lines() -> Vec<Line> {
        let mut lines = vec![Line::Machine(Machine {
            cpu: "A CPU".into(),
            cores: 2,
            binaries: [("BirdWatch".to_owned(), 12_000_000)].into(),
            ..Machine::default()
        })];
        for round in 1..=3 {
            let late = f64::from(round) / 100.0;
            for (contender, cpu, back) in [("birdwatch", 1.0, 0.9), ("flagger", 6.0, 11.0)] {
                let requests: BTreeMap<_, _> = [
                    ("patch virtualservices".to_owned(), 600),
                    ("update birdwatches/status".to_owned(), 1200),
                ]
                .into();
                let stage = |name: &str| Stage {
                    name: name.into(),
                    seconds: 60.0,
                    cpu_seconds: cpu + late,
                    rss_peak_mib: 20.0 * cpu,
                    requests: requests.clone(),
                    steps: 600,
                    queries: 6000,
                    ..Stage::default()
                };
                lines.push(Line::Measurement(Measurement {
                    workload: "fault-100-1s".into(),
                    contender: contender.into(),
                    round,
                    objects: 100,
                    stages: vec![stage("stepping"), stage("fault")],
                    waits: vec![Waits::new("back", &[back + late; 100], 100, 12.0)],
                    ..Measurement::default()
                }));
            }
        }
        lines
    }

    #[test]
    fn the_page_has_a_place_for_every_table() {
        let page = fs::read_to_string(operator::root().join("docs/performance.md")).unwrap();
        let cells = Cells::new(lines());
        let names = tables::all(&cells)
            .into_iter()
            .map(|(name, _)| name)
            .chain(["plots"]);
        for name in names {
            assert!(page::filled(&page, name, "").is_some(), "no marks of {name}");
        }
    }

    #[test]
    fn the_committed_page_and_plots_are_what_the_committed_results_give() {
        let root = operator::root();
        let dir = std::env::temp_dir().join(format!("birdwatch-bench-committed-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (page, plots) = (dir.join("page.md"), dir.join("plots"));
        let committed = fs::read_to_string(root.join("docs/performance.md")).unwrap();
        fs::write(&page, &committed).unwrap();
        write(&root.join("bench/results.jsonl"), &page, &plots).unwrap();
        let again = fs::read_to_string(&page).unwrap();
        let drawn = files(&plots, "");
        fs::remove_dir_all(&dir).unwrap();
        assert!(
            again == committed,
            "docs/performance.md is not of bench/results.jsonl: run make bench"
        );
        assert!(
            drawn == files(&root.join("docs/plots"), "bench-"),
            "docs/plots: run make bench"
        );
    }

    fn files(dir: &Path, of: &str) -> BTreeMap<String, String> {
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .filter(|(name, _)| name.starts_with(of))
            .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
            .collect()
    }

    #[test]
    fn a_report_is_written_and_says_the_same_again() {
        let dir = std::env::temp_dir().join(format!("birdwatch-bench-report-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (results, page, plots) = (dir.join("results"), dir.join("page.md"), dir.join("plots"));
        for line in lines() {
            results::append(&results, &line).unwrap();
        }
        fs::copy(operator::root().join("docs/performance.md"), &page).unwrap();
        write(&results, &page, &plots).unwrap();
        let first = fs::read_to_string(&page).unwrap();
        write(&results, &page, &plots).unwrap();
        let again = fs::read_to_string(&page).unwrap();
        let drawn = fs::read_dir(&plots).unwrap().count();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(first, again);
        assert!(first.contains("| fault-100-1s | flagger |"), "{first}");
        assert!(drawn > 0);
    }
}
