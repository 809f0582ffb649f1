//! The file of a run: a JSON object a line, about the machine or about one cell. It is only ever added to, so that a run
//! can be broken off and gone on with.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::stats::Quantiles;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Line {
    /// What the cells after it ran on.
    Machine(Machine),
    /// One cell: a contender at a workload, in one round.
    Measurement(Measurement),
}

/// What cells run on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    /// When the run began, in UTC.
    pub(crate) date: String,
    /// The processor's own name.
    pub(crate) cpu: String,
    /// How many of them this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// What was measured and on what: name and version.
    pub(crate) versions: BTreeMap<String, String>,
    /// Bytes of the programs that are measured.
    #[serde(default)]
    pub(crate) binaries: BTreeMap<String, u64>,
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measurement {
    pub(crate) workload: String,
    pub(crate) contender: String,
    /// From 1.
    pub(crate) round: u32,
    /// How many services there were.
    pub(crate) objects: usize,
    /// What was used, over spans of time one after the other.
    #[serde(default)]
    pub(crate) stages: Vec<Stage>,
    /// How long objects took.
    #[serde(default)]
    pub(crate) waits: Vec<Waits>,
    /// What a reader of the numbers has to know.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// Where the cell came to its limit of time; what comes later in the work is missing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<String>,
}

/// What a contender used over a span of time. All its processes together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// The most that was resident at any time of it.
    pub(crate) rss_peak_mib: f64,
    /// What was resident at its end.
    pub(crate) rss_mib: f64,
    /// Requests to the API server, by verb and resource, as in `patch birdwatches/status`.
    pub(crate) requests: BTreeMap<String, u64>,
    /// The most of them in any one second, watches apart.
    pub(crate) busiest_second: u64,
    /// Questions to Prometheus, answered or not.
    pub(crate) queries: u64,
    /// How often a canary's weight was raised.
    pub(crate) steps: u64,
}

/// How long objects took to come somewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waits {
    pub(crate) name: String,
    /// How many were waited for.
    pub(crate) of: usize,
    /// How many of them came there.
    pub(crate) came: usize,
    /// Seconds for which the others were waited for.
    pub(crate) limit: f64,
    /// Seconds.
    pub(crate) quantiles: Quantiles,
}

impl Waits {
    /// From the seconds of those that came.
    pub(crate) fn new(name: &str, seconds: &[f64], of: usize, limit: f64) -> Self {
        Self {
            name: name.to_owned(),
            of,
            came: seconds.len(),
            limit: crate::number::to_thousandths(limit),
            quantiles: Quantiles::new(seconds, of),
        }
    }
}

impl Stage {
    /// All requests that are neither a watch nor about a lease: what each object costs.
    pub(crate) fn requests_for_objects(&self) -> u64 {
        let counted = self.requests.iter();
        let for_objects =
            counted.filter(|(name, _)| !name.starts_with("watch ") && !name.contains(" leases"));
        for_objects.map(|(_, count)| count).sum()
    }
}

/// All lines; none where there is no file. A last line that was not written to its end is left out.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Adds a line at the end. What a killed run left half written is ended first.
pub(crate) fn append(path: &Path, line: &Line) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    mend(path)?;
    let mut file = File::options().create(true).append(true).open(path)?;
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    file.write_all(text.as_bytes())
}

/// Cuts off a last line that has no end.
fn mend(path: &Path) -> io::Result<()> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    if whole == text.len() {
        return Ok(());
    }
    let whole = u64::try_from(whole).unwrap_or(u64::MAX);
    File::options().write(true).open(path)?.set_len(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(round: u32) -> Line {
        let requests = [("get canaries", 7), ("watch pods", 2), ("update leases", 5)];
        Line::Measurement(Measurement {
            workload: "idle-100".into(),
            contender: "flagger".into(),
            round,
            objects: 100,
            stages: vec![Stage {
                name: "idle".into(),
                requests: requests.map(|(name, count)| (name.to_owned(), count)).into(),
                ..Stage::default()
            }],
            waits: vec![Waits::new("back", &[0.25], 2, 60.0)],
            ..Measurement::default()
        })
    }

    #[test]
    fn what_a_killed_run_left_half_written_is_done_again() {
        let path = std::env::temp_dir().join(format!("birdwatch-bench-{}/results", std::process::id()));
        drop(fs::remove_file(&path));
        assert_eq!(read(&path).unwrap(), []);
        let machine = Line::Machine(Machine::default());
        append(&path, &machine).unwrap();
        append(&path, &cell(1)).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        assert_eq!(read(&path).unwrap(), [machine.clone(), cell(1)]);
        append(&path, &cell(2)).unwrap();
        assert_eq!(read(&path).unwrap(), [machine, cell(1), cell(2)]);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn watches_and_leases_are_no_cost_of_an_object() {
        let Line::Measurement(cell) = cell(1) else {
            panic!("a cell")
        };
        assert_eq!(cell.stages[0].requests_for_objects(), 7);
    }
}
