//! A policy to replay: a spec without what only a cluster can mean, and the plan that follows from it.

use crate::api::BirdWatchSpec;
use crate::api::Span;
use crate::api::plan::{Plan, StepPlan, TestPlan};
use crate::api::spec::Step;
use crate::core::plan::{self, PlanError};
use crate::core::sequential::planner::Traffic;
use crate::core::sequential::policy::{Timing, kept, metrics, of, policy};

use super::history::{CounterHistory, History};
use super::stage::settings;

/// A spec and its plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What it is called in a report: `file`, `default`, `best`.
    pub name: &'static str,
    /// The spec.
    pub spec: BirdWatchSpec,
    /// Its plan.
    pub plan: Plan,
}

impl Policy {
    /// A policy of a spec: not paused, told to nobody, of whatever version appears, promoted without being asked.
    ///
    /// # Errors
    /// Every rule that the spec breaks.
    pub fn new(name: &'static str, spec: &BirdWatchSpec) -> Result<Self, Vec<PlanError>> {
        let spec = BirdWatchSpec {
            paused: None,
            canary_version: None,
            canary_version_alias: None,
            notify: None,
            ..spec.clone()
        };
        let plan = plan::resolve(&spec)?;
        Ok(Self { name, spec, plan })
    }

    /// What a service name alone asks for, with the objects of `spec`.
    ///
    /// # Errors
    /// Every rule that the spec breaks.
    pub fn default_of(spec: &BirdWatchSpec) -> Result<Self, Vec<PlanError>> {
        let alone = BirdWatchSpec {
            service: spec.service.clone(),
            workload: spec.workload.clone(),
            subsets: spec.subsets.clone(),
            virtual_services: spec.virtual_services.clone(),
            destination_rule: spec.destination_rule.clone(),
            prometheus: spec.prometheus.clone(),
            ..BirdWatchSpec::default()
        };
        Self::new("default", &alone)
    }

    /// The same with other steps up to its `maxWeight`, and with its allowed deviations multiplied by a factor.
    ///
    /// # Errors
    /// Every rule that this breaks.
    pub fn with(&self, name: &'static str, steps: &[StepPlan], factor: f64) -> Result<Self, Vec<PlanError>> {
        let mut spec = self.spec.clone();
        (spec.increment, spec.interval) = (None, None);
        let listed = steps.iter().map(|step| Step {
            weight: i32::from(step.weight),
            hold: Some(step.hold),
        });
        spec.steps = Some(listed.collect());
        spec.deviation = spec.deviation.map(|deviation| deviation * factor);
        for metric in spec.metrics.iter_mut().flatten() {
            metric.deviation = metric.deviation.map(|deviation| deviation * factor);
            metric.deviation_percent = metric.deviation_percent.map(|percent| percent * factor);
        }
        Self::new(name, &spec)
    }

    /// How long its steps are held together.
    #[must_use]
    pub fn length(&self) -> Span {
        let add = |all: Span, step: &StepPlan| all.plus(step.hold);
        self.plan.steps.iter().fold(Span::ZERO, add)
    }

    /// How long the operator is expected to keep its steps under the mean traffic of a history, milliseconds.
    pub(super) fn kept_for(&self, history: &History) -> i64 {
        let all = history.requests().map(CounterHistory::total);
        let traffic = Traffic {
            requests_per_second: all.map_or(0.0, |all| all.requests / history.seconds().max(1.0)),
            production_bad: all.and_then(|all| all.share()).unwrap_or(0.0),
        };
        let settings = settings(history.scrape);
        let timing = Timing {
            scrape_interval: settings.scrape_interval,
            propagation_delay: settings.propagation_delay,
        };
        let plan = &self.plan;
        let counted = metrics(plan).map(|(_, test)| (of(plan, test), Some(test.fault)));
        let alone = (policy(&plan.steps, plan.check_interval, 1.0, 1.0), None);
        let each = counted.chain([alone]).map(|(policy, fault)| {
            let length = kept(policy, plan, timing, fault).length(traffic);
            i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
        });
        each.max().unwrap_or(0)
    }

    /// The first deviation that a metric allows: the amount, and whether it is in percent.
    #[must_use]
    pub fn deviation(&self) -> Option<(f64, bool)> {
        self.plan.metrics.iter().find_map(|metric| match &metric.test {
            TestPlan::Threshold(test) => test.deviation.map(|d| (d.amount, d.percent)),
            TestPlan::Sequential(_) => None,
        })
    }

    /// The smallest share of false alarms that a sequential metric promises, 0 to 1; without one, 0.01.
    #[must_use]
    pub fn budget(&self) -> f64 {
        let of = |test: &TestPlan| match test {
            TestPlan::Sequential(test) => Some(test.false_alarm),
            TestPlan::Threshold(_) => None,
        };
        let budgets = self.plan.metrics.iter().filter_map(|metric| of(&metric.test));
        budgets.min_by(f64::total_cmp).unwrap_or(0.01)
    }
}
