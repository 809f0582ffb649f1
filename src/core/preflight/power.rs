//! What a sequential test can see, said before a rollout. It takes numbers alone, so that it is the same for whoever
//! knows them.

use crate::api::Span;
use crate::api::plan::Plan;
use crate::core::number::human;
use crate::core::sequential::planner::{Policy, Step, Traffic};

use super::inventory::SequentialTest;
use super::{Finding, Severity, codes};

/// The policy of a plan as the planner takes it: steps, time between checks, and the test.
#[must_use]
pub fn policy(plan: &Plan, test: SequentialTest) -> Policy {
    let steps = plan.steps.iter().map(|step| Step {
        weight: f64::from(step.weight),
        hold: step.hold.std(),
    });
    let hold = plan.steps.first().map(|step| step.hold).unwrap_or_default();
    let every = plan
        .check_interval
        .unwrap_or_else(|| hold.clamp(Span::secs(1), Span::secs(10)));
    Policy {
        steps: steps.collect(),
        every: every.std(),
        tolerance: test.tolerance,
        false_alarm: test.false_alarm,
        dispersion: 1.0,
        confirmations: 0,
    }
}

/// What the policy sees of a canary under that traffic; none where the numbers make no policy.
#[must_use]
pub fn power(policy: &Policy, traffic: Traffic, object: &str) -> Option<Finding> {
    let Traffic {
        requests_per_second,
        production_bad,
    } = traffic;
    let within = policy.length();
    let span = Span::millis(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
    let percent = |share: f64| format!("{} %", human(share * 100.0));
    let usual = format!(
        "at {} requests/s, {} of them bad in production,",
        human(requests_per_second),
        percent(production_bad)
    );
    let seen = policy.smallest_seen(traffic, within).ok()?;
    let longer = Policy {
        steps: policy
            .steps
            .iter()
            .map(|step| Step {
                hold: step.hold.saturating_mul(2),
                ..*step
            })
            .collect(),
        ..policy.clone()
    };
    let with_longer = longer.smallest_seen(traffic, within.saturating_mul(2)).ok()?;
    let remedy = match with_longer {
        Some(share) => format!(
            "Held twice as long, each step would let it see {}.",
            percent(share)
        ),
        None => "Hold the steps longer, begin with a higher weight, or release when there is more traffic."
            .to_owned(),
    };
    let (severity, code, what, why) = match seen {
        None => (
            Severity::Warning,
            codes::POWER_NONE,
            format!("{usual} not even a canary that fails every request is noticed within {span}"),
            "The steps are over before there is evidence enough: the test promises few false alarms, and cannot promise more.",
        ),
        Some(share) => (
            Severity::Hint,
            codes::POWER,
            format!(
                "{usual} nothing below {} bad is noticed within {span}",
                percent(share)
            ),
            "A smaller fault reaches all users before there is evidence enough.",
        ),
    };
    Some(Finding {
        severity,
        code,
        object: object.to_owned(),
        what,
        why: why.to_owned(),
        remedy,
    })
}
