//! `birdwatch simulate`: what a policy would find, from assumed traffic; asks no cluster and no Prometheus.

pub mod args;
pub mod settings;
pub(super) mod work;

use std::io::{Read as _, Write as _};

use serde_json::Value;

use crate::api::BirdWatch;
use crate::api::plan::{MetricPlan, Plan, TestPlan};
use crate::core::plan::{self, PlanError};
use crate::core::sequential::planner::Policy;
use crate::core::sequential::policy;
use crate::simulate::report::Report;
use crate::simulate::{Setup, SetupError, picture};

use settings::{Output, SimulateSettings};

/// Larger files hold no `BirdWatch` that anyone wrote.
const MAX_FILE: u64 = 16 << 20;

/// What the steps of a spec without a sequential metric are tested with.
const TOLERANCE: f64 = 1.5;
const FALSE_ALARM: f64 = 0.01;

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// Its path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The result cannot be written.
    #[error("cannot write {file}: {source}")]
    Write {
        /// Its path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no YAML, or a `BirdWatch` in it is none.
    #[error("{file}: {problem}")]
    Manifest {
        /// Its path.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no plan in the spec.
    #[error("{file}: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Plan {
        /// Its path.
        file: String,
        /// Every rule that the spec breaks.
        problems: Vec<PlanError>,
    },
    /// The policy or the traffic cannot be simulated.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// Simulates and writes.
///
/// # Errors
/// What was asked for cannot be simulated or written.
pub fn simulate(settings: &SimulateSettings) -> Result<(), SimulateError> {
    let plan = plan_of(settings)?;
    let setup = Setup::new(policy_of(&plan, settings), settings.traffic)?;
    let canaries = setup.canaries(&settings.canary_bad);
    let cells = work::simulate(&setup, &canaries, settings.runs, settings.seed)?;
    let noun = policy::metrics(&plan)
        .next()
        .map_or("errors", |(_, test)| policy::noun(test));
    let report = Report::new(
        (plan.target.service, noun),
        settings.seed,
        settings.runs,
        &setup,
        cells,
    )?;
    let text = match settings.output {
        Output::Text => report.text(),
        Output::Json => json(&report),
        Output::Html => picture::page(&report, &setup)?.html(),
        Output::Svg(plot) => picture::figure(plot, &report, &setup)?.svg(),
    };
    let Some(path) = &settings.out else {
        // A pipe that is closed early (`| head`) is no error.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(());
    };
    std::fs::write(path, text).map_err(|source| SimulateError::Write {
        file: path.display().to_string(),
        source,
    })
}

/// What the plan and the flags say together; a flag counts for more. Of several sequential metrics it is the first one's, with
/// its part of the budget.
fn policy_of(plan: &Plan, settings: &SimulateSettings) -> Policy {
    let first = policy::metrics(plan).next();
    let planned = first.map_or_else(
        || policy::policy(&plan.steps, plan.check_interval, TOLERANCE, FALSE_ALARM),
        |(_, test)| policy::of(plan, test),
    );
    let asked = Policy {
        confirmations: settings.confirmations,
        dispersion: settings.dispersion,
        tolerance: settings.tolerance.unwrap_or(planned.tolerance),
        false_alarm: settings
            .false_alarm
            .map_or(planned.false_alarm, |share| share * policy::share(plan)),
        ..planned
    };
    policy::kept(asked, plan, settings.timing, first.map(|(_, test)| test.fault))
}

/// The plan of the file's `BirdWatch`.
fn plan_of(settings: &SimulateSettings) -> Result<Plan, SimulateError> {
    let file = &settings.file;
    let spec = pick(&read(file)?, settings.name.as_deref())
        .map_err(|problem| SimulateError::Manifest {
            file: file.clone(),
            problem,
        })?
        .spec;
    let plan = plan::resolve(&spec).map_err(|problems| SimulateError::Plan {
        file: file.clone(),
        problems,
    })?;
    let is_limited = |metric: &MetricPlan| matches!(metric.test, TestPlan::Threshold(_));
    if plan.metrics.iter().any(is_limited) {
        let _ = writeln!(
            std::io::stderr(),
            "birdwatch: of {file} the steps are simulated, with the sequential test; the limits of its metrics are not"
        );
    }
    let mut counted = policy::metrics(&plan);
    if let (Some((first, _)), Some(_)) = (counted.next(), counted.next()) {
        let _ = writeln!(
            std::io::stderr(),
            "birdwatch: of {file} metric {} is simulated, with its share of the false alarms; the others are taken as calm",
            first.name
        );
    }
    drop(counted);
    Ok(plan)
}

pub(super) fn read(file: &str) -> Result<String, SimulateError> {
    let mut text = String::new();
    let done = if file == "-" {
        std::io::stdin().take(MAX_FILE).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(MAX_FILE).read_to_string(&mut text))
    };
    done.map(|_| text).map_err(|source| SimulateError::Read {
        file: file.to_owned(),
        source,
    })
}

/// The `BirdWatch` of that name among a file's documents, or the only one.
pub(super) fn pick(text: &str, name: Option<&str>) -> Result<BirdWatch, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| format!("no YAML: {e}"))?;
    let name_of = |document: &Value| {
        document["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let all: Vec<Value> = documents
        .into_iter()
        .filter(|d| d["kind"] == "BirdWatch")
        .collect();
    let names: Vec<String> = all.iter().map(name_of).collect();
    let mut chosen = all
        .into_iter()
        .filter(|d| name.is_none_or(|name| name_of(d) == name));
    match (chosen.next(), chosen.next(), name) {
        (Some(one), None, _) => {
            serde_json::from_value(one).map_err(|e| format!("its BirdWatch cannot be read: {e}"))
        }
        (None, _, Some(name)) if !names.is_empty() => {
            Err(format!("no BirdWatch {name} in it, but {}", names.join(", ")))
        }
        (None, ..) => Err("no BirdWatch in it".to_owned()),
        (Some(_), Some(_), Some(name)) => Err(format!("two BirdWatches {name} in it")),
        (Some(_), Some(_), None) => Err(format!(
            "several BirdWatches in it: choose with --name among {}",
            names.join(", ")
        )),
    }
}

fn json(report: &Report) -> String {
    // Numbers that are none would become null; there are none in a report.
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "
kind: Service
metadata: {name: a}
---
kind: BirdWatch
apiVersion: otomato.link/v1alpha1
metadata: {name: a}
spec: {service: a}
---
kind: BirdWatch
apiVersion: otomato.link/v1alpha1
metadata: {name: b}
spec: {service: other}
";

    #[test]
    fn the_birdwatch_asked_for_is_found_among_other_objects() {
        assert_eq!(pick(TWO, Some("b")).unwrap().spec.service, "other");
        let (one, _) = TWO.rsplit_once("---").unwrap();
        assert_eq!(pick(one, None).unwrap().spec.service, "a");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let refused = |text, name| pick(text, name).unwrap_err();
        assert_eq!(
            refused(TWO, None),
            "several BirdWatches in it: choose with --name among a, b"
        );
        assert_eq!(refused(TWO, Some("c")), "no BirdWatch c in it, but a, b");
        assert_eq!(refused("kind: Service", None), "no BirdWatch in it");
        assert_eq!(refused("kind: Service", Some("a")), "no BirdWatch in it");
        assert!(refused("a: [", None).starts_with("no YAML: "));
        let spoiled = TWO.replace("service: other", "service: [1]");
        assert!(refused(&spoiled, Some("b")).contains("cannot be read"));
    }
}
