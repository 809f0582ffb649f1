//! What is wrong with a `BirdWatch`, found before traffic moves: from an [`Inventory`] to findings. As pure as the rest
//! of the core: who gathers the inventory, and who shows the findings, is not known here.

pub mod codes;
pub mod inventory;
pub mod power;

mod foreign;
mod mesh;
mod metrics;
mod port;
mod proposal;
mod sidecar;
mod spec;
mod threshold;
mod traffic;
mod watched;
mod workload;

#[cfg(test)]
mod tests;

use std::fmt;

pub use inventory::Inventory;
pub use proposal::{TrafficQueries, check, counters, needs_production, traffic_queries, versions};
pub use watched::watched;

use crate::api::plan::Plan;
use crate::core::plan;
use inventory::Seen;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A rollout cannot work: it does not start, or goes wrong.
    Error,
    /// A rollout may work and not mean what it seems to mean.
    Warning,
    /// Worth knowing.
    Hint,
}

impl Severity {
    /// All of them, the gravest first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Hint];

    /// The word for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A word for programs, one of [`codes::ALL`].
    pub code: &'static str,
    /// What it is about, and where in it: `VirtualService shop, http[main]`.
    pub object: String,
    /// What is so.
    pub what: String,
    /// Why that matters.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// What was found, and what could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The findings, the gravest first, otherwise in the order of the rollout's life.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why.
    pub not_looked_at: Vec<Unseen>,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unseen {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Report {
    /// How many findings are of that severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// Whether anything is a warning or worse.
    #[must_use]
    pub fn is_grave(&self) -> bool {
        self.findings.iter().any(|f| f.severity <= Severity::Warning)
    }

    /// Notes a finding: what is so, why that matters, what to do.
    fn say(
        &mut self,
        severity: Severity,
        code: &'static str,
        object: &str,
        what: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            code,
            object: object.to_owned(),
            what: what.into(),
            why: why.to_owned(),
            remedy: remedy.into(),
        });
    }

    fn error(
        &mut self,
        code: &'static str,
        object: &str,
        what: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.say(Severity::Error, code, object, what, why, remedy);
    }

    fn warning(
        &mut self,
        code: &'static str,
        object: &str,
        what: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.say(Severity::Warning, code, object, what, why, remedy);
    }

    fn hint(
        &mut self,
        code: &'static str,
        object: &str,
        what: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.say(Severity::Hint, code, object, what, why, remedy);
    }

    /// Notes that something could not be looked at, once.
    fn unseen(&mut self, what: &str, why: &str) {
        let unseen = Unseen {
            what: what.to_owned(),
            why: why.to_owned(),
        };
        if !self.not_looked_at.contains(&unseen) {
            self.not_looked_at.push(unseen);
        }
    }

    /// What was looked at, or a note that it was not.
    fn look<'a, T>(&mut self, what: &str, seen: &'a Seen<T>) -> Option<&'a T> {
        match seen {
            Ok(seen) => Some(seen),
            Err(why) => {
                self.unseen(what, why);
                None
            }
        }
    }
}

/// What is wrong, the gravest first.
#[must_use]
pub fn findings(inventory: &Inventory) -> Vec<Finding> {
    report(inventory).findings
}

/// What is wrong, and what could not be looked at.
#[must_use]
pub fn report(inventory: &Inventory) -> Report {
    let mut report = Report::default();
    let spec = match &inventory.spec {
        Ok(spec) => spec,
        Err(why) => {
            spec::unreadable(&mut report, inventory, why);
            return report;
        }
    };
    let plan = match plan::resolve(spec) {
        Ok(plan) => plan,
        Err(problems) => {
            spec::refused(&mut report, inventory, spec, &problems);
            return report;
        }
    };
    judge(&mut report, inventory, &plan);
    report
}

/// Everything that takes a plan.
fn judge(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    spec::plan(report, inventory, plan);
    mesh::rule(report, inventory, plan);
    mesh::services(report, inventory, plan);
    workload::deployments(report, inventory, plan);
    sidecar::sidecars(report, inventory, plan);
    port::ports(report, inventory, plan);
    foreign::peers(report, inventory, plan);
    foreign::marks(report, inventory, plan);
    foreign::rights(report, inventory);
    metrics::metrics(report, inventory, plan);
    traffic::traffic(report, inventory, plan);
    power::counters(report, inventory, plan);
    report.findings.sort_by_key(|finding| finding.severity);
}
