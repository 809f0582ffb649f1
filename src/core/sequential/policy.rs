//! From a plan to what the planner and the simulation ask about: the one place that knows both.

use crate::api::Span;
use crate::api::plan::{Counters, MetricPlan, Plan, SequentialPlan, StepPlan, TestPlan};
use crate::api::spec::Advance;
use crate::core::questions;

use super::design::{Design, DesignError};
use super::pace::Pace;
use super::planner::{Policy, Step};

/// The sequential metrics of a plan.
pub fn metrics(plan: &Plan) -> impl Iterator<Item = (&MetricPlan, &SequentialPlan)> {
    plan.metrics.iter().filter_map(|metric| match &metric.test {
        TestPlan::Sequential(test) => Some((metric, test)),
        TestPlan::Threshold(_) => None,
    })
}

/// What the bad requests of a test are called, in the plural.
#[must_use]
pub const fn noun(test: &SequentialPlan) -> &'static str {
    match test.counters {
        Counters::Errors {} => "errors",
        Counters::Slow { .. } => "slow requests",
        Counters::Bad { .. } | Counters::Good { .. } => "bad requests",
    }
}

/// alpha: the budget for false alarms that the sequential metrics of a plan share, the smallest that one of them asks for.
#[must_use]
pub fn budget(plan: &Plan) -> f64 {
    let smallest = metrics(plan)
        .map(|(_, test)| test.false_alarm)
        .min_by(f64::total_cmp);
    smallest.unwrap_or(1.0)
}

/// Each sequential metric's share of the budget.
#[must_use]
pub fn share(plan: &Plan) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "twenty metrics at most")]
    let metrics = metrics(plan).count().max(1) as f64;
    1.0 / metrics
}

/// The most components that the evidence of a rollout's metrics has together, so that a status stays small.
const MOST_COMPONENTS: usize = 500;

/// How many steps in a row share a component of the evidence: one, unless many metrics meet many steps. Whatever they are, a
/// component begins with the first of them, and the promise of the test is the same.
#[must_use]
pub fn steps_of_component(plan: &Plan) -> usize {
    let most = MOST_COMPONENTS / metrics(plan).count().max(1);
    compared(plan).div_ceil(most.max(1)).max(1)
}

/// The steps that leave production something to be compared with.
#[must_use]
pub fn compared(plan: &Plan) -> usize {
    plan.steps.iter().filter(|step| step.weight < 100).count()
}

/// The policy that a plan has for one of its sequential metrics, with that metric's part of the budget. Errors are taken as
/// independent and one check as enough; the caller sets dispersion and confirmations where it knows better.
#[must_use]
pub fn of(plan: &Plan, test: &SequentialPlan) -> Policy {
    Policy {
        at_least: test.at_least,
        ..policy(
            &plan.steps,
            plan.check_interval,
            test.tolerance,
            budget(plan) * share(plan),
        )
    }
}

/// Steps as the planner takes them.
#[must_use]
pub fn steps(plan: &[StepPlan]) -> Vec<Step> {
    let step = |step: &StepPlan| Step {
        weight: f64::from(step.weight),
        hold: step.hold.std(),
    };
    plan.iter().map(step).collect()
}

/// The policy of these steps and this time between checks (absent: as [`crate::core::questions::interval`] has it, the
/// shortest hold within 1 s and 10 s), tested with `tolerance` (a ratio above 0) and `false_alarm` (0 to 1).
#[must_use]
pub fn policy(steps: &[StepPlan], check_interval: Option<Span>, tolerance: f64, false_alarm: f64) -> Policy {
    let shortest = steps.iter().map(|step| step.hold).min().unwrap_or_default();
    let every = check_interval.unwrap_or_else(|| shortest.clamp(Span::secs(1), Span::secs(10)));
    Policy {
        steps: self::steps(steps),
        every: every.std(),
        tolerance,
        at_least: None,
        false_alarm,
        dispersion: 1.0,
        confirmations: 0,
        pace: Pace::default(),
    }
}

/// What of a cluster a policy depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often Prometheus scrapes.
    pub scrape_interval: Span,
    /// How long a change of weight takes to be known everywhere.
    pub propagation_delay: Span,
}

/// The policy of a plan as the operator keeps it in such a cluster: its steps, and the time between its checks. `fault` is
/// the share of bad requests, 0 to 1, that `advance: evidence` waits to have been able to show.
#[must_use]
pub fn kept(policy: Policy, plan: &Plan, timing: Timing, fault: Option<f64>) -> Policy {
    let least_hold = questions::settle(plan, timing.scrape_interval);
    let shortest = plan.steps.iter().map(|step| step.hold.max(least_hold)).min();
    Policy {
        every: questions::interval_of(plan, shortest.unwrap_or_default()).std(),
        pace: Pace {
            scrape: timing.scrape_interval.std(),
            propagation: timing.propagation_delay.std(),
            least_hold: least_hold.std(),
            fault: fault.filter(|_| plan.advance == Advance::Evidence),
        },
        ..policy
    }
}

/// The test that a policy asks for. A step at 100 % gets no component of its own: without production beside the canary it
/// has nothing to compare, and weight given to it would be lost to the others.
///
/// # Errors
/// No step below 100 %, too many, or a test out of range.
pub fn design(policy: &Policy) -> Result<Design, DesignError> {
    let compared = policy.steps.iter().filter(|step| step.weight < 100.0).count();
    Design::new(policy.tolerance, policy.false_alarm, policy.dispersion, compared)?.at_least(policy.at_least)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const fn step(weight: u8, hold: u32) -> StepPlan {
        StepPlan {
            weight,
            hold: Span::secs(hold),
        }
    }

    #[test]
    fn every_value_of_the_plan_arrives() {
        let steps = [step(5, 300), step(50, 600), step(100, 600)];
        let found = policy(&steps, Some(Span::secs(15)), 1.5, 0.01);
        let expected = [(5.0, 300), (50.0, 600), (100.0, 600)];
        let got: Vec<_> = found.steps.iter().map(|s| (s.weight, s.hold.as_secs())).collect();
        assert_eq!(got, expected);
        assert_eq!(found.every, Duration::from_secs(15));
        assert_eq!(found.pace, Pace::default());
        assert_eq!((found.tolerance, found.false_alarm), (1.5, 0.01));
    }

    #[test]
    fn checks_come_by_default_as_the_operator_makes_them() {
        for (hold, every) in [(300, 10), (7, 7), (1, 1)] {
            let found = policy(&[step(5, hold), step(50, 300)], None, 1.5, 0.01);
            assert_eq!(found.every, Duration::from_secs(every), "{hold}");
        }
    }

    #[test]
    fn a_step_without_production_gets_no_weight() {
        let found = policy(&[step(5, 60), step(50, 60), step(100, 60)], None, 1.5, 0.01);
        assert_eq!(design(&found).unwrap().parts().step_weights, [0.5, 0.5]);
        let alone = policy(&[step(100, 60)], None, 1.5, 0.01);
        assert_eq!(design(&alone), Err(DesignError::StepWeights));
    }
}
