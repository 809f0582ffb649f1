//! From a plan to what the planner and the simulation ask about: the one place that knows both.

use crate::api::Span;
use crate::api::plan::{Plan, StepPlan, TestPlan};

use super::design::{Design, DesignError};
use super::planner::{Policy, Step};

/// The policy of a plan with these steps and this time between checks (absent: as [`crate::core::questions::interval`] has
/// it, the shortest hold within 1 s and 10 s), tested with `tolerance` (a ratio above 0) and `false_alarm` (0 to 1). Errors
/// are taken as independent and one check as enough; the caller sets dispersion and confirmations where it knows better.
#[must_use]
pub fn policy(steps: &[StepPlan], check_interval: Option<Span>, tolerance: f64, false_alarm: f64) -> Policy {
    let shortest = steps.iter().map(|step| step.hold).min().unwrap_or_default();
    let every = check_interval.unwrap_or_else(|| shortest.clamp(Span::secs(1), Span::secs(10)));
    Policy {
        steps: steps
            .iter()
            .map(|step| Step {
                weight: f64::from(step.weight),
                hold: step.hold.std(),
            })
            .collect(),
        every: every.std(),
        tolerance,
        false_alarm,
        dispersion: 1.0,
        confirmations: 0,
    }
}

/// Tolerance and false alarm of a plan's first sequential metric, the latter as all of them share it; none without one.
#[must_use]
pub fn test_of(plan: &Plan) -> Option<(f64, f64)> {
    let tests = || {
        plan.metrics.iter().filter_map(|metric| match &metric.test {
            TestPlan::Sequential(test) => Some(test),
            TestPlan::Threshold(_) => None,
        })
    };
    let budget = tests().map(|test| test.false_alarm).min_by(f64::total_cmp)?;
    Some((tests().next()?.tolerance, budget))
}

/// The test that a policy asks for. A step at 100 % gets no component of its own: without production beside the canary it
/// has nothing to compare, and weight given to it would be lost to the others.
///
/// # Errors
/// No step below 100 %, too many, or a test out of range.
pub fn design(policy: &Policy) -> Result<Design, DesignError> {
    let compared = policy.steps.iter().filter(|step| step.weight < 100.0).count();
    Design::new(policy.tolerance, policy.false_alarm, policy.dispersion, compared)
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
        assert_eq!(found.length(), Duration::from_mins(25));
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
