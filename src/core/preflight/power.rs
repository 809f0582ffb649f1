//! What a sequential test can see, said before a rollout. It takes numbers alone, so that it is the same for whoever
//! knows them.

use crate::api::Span;
use crate::api::plan::Plan;
use crate::api::spec::Advance;
use crate::core::counting::Learnt;
use crate::core::number::human;
use crate::core::sequential::planner::{Policy, Traffic};
use crate::core::sequential::policy;
use crate::core::sequential::sight::{load, nearest, percent};

use super::inventory::{CountedFacts, Inventory};
use super::spec::this;
use super::{Finding, Report, Severity, codes};

/// phi up to which nothing is said of it.
const CALM: f64 = 1.2;

/// Whether each sequential metric can be counted, and what it sees.
pub(super) fn counters(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let compares = plan.steps.iter().any(|step| step.weight < 100);
    if !compares && policy::metrics(plan).next().is_some() {
        compares_nothing(report, inventory);
    }
    for (metric, test) in policy::metrics(plan) {
        let object = this(inventory, &format!("metric {}", metric.name));
        let Some(all) = report.look("production's counters", &inventory.counters) else {
            return;
        };
        match all.iter().find(|facts| facts.metric == metric.name).map(|facts| &facts.counted) {
            // Of what compares nothing there is no power to tell.
            Some(Ok(_)) if !compares => {}
            Some(Ok(counted)) => {
                let learnt = Learnt::from(counted);
                let policy = learnt.policy(plan, test, &plan.steps, inventory.timing());
                report.findings.extend(power(&policy, learnt.traffic, policy::noun(test), &object));
                let waits = plan.advance == Advance::Evidence;
                let missed = fault(&policy, learnt.traffic, test.fault, waits, &object);
                report.findings.extend(missed);
            }
            Some(Err(why)) => report.warning(
                codes::COUNTERS_UNKNOWN,
                &object,
                format!("production cannot be counted: {why}"),
                "The test compares the canary with production: no rollout starts before production's counters are known.",
                "See that the service has traffic, that Prometheus scrapes what counts it, and that the selectors name its series.",
            ),
            None => {}
        }
    }
}

/// Said whether or not production was asked: it follows from the steps alone.
fn compares_nothing(report: &mut Report, inventory: &Inventory) {
    let spec = inventory.spec.as_ref().ok();
    let has_steps = spec.is_some_and(|spec| spec.steps.is_some());
    report.warning(
        codes::COMPARES_NOTHING,
        &this(inventory, if has_steps { "steps" } else { "increment" }),
        "every step gives the canary all traffic, and the sequential test has no production beside it to compare with",
        "Nothing is judged by it: a canary that fails every request is promoted like a good one.",
        "Begin with a step below 100 %.",
    );
}

impl From<&CountedFacts> for Learnt {
    fn from(counted: &CountedFacts) -> Self {
        let CountedFacts {
            requests_per_second,
            production_bad,
            dispersion,
            confirmations,
        } = *counted;
        Self {
            traffic: Traffic {
                requests_per_second,
                production_bad,
            },
            dispersion,
            confirmations,
        }
    }
}

impl From<Learnt> for CountedFacts {
    fn from(learnt: Learnt) -> Self {
        Self {
            requests_per_second: learnt.traffic.requests_per_second,
            production_bad: learnt.traffic.production_bad,
            dispersion: learnt.dispersion,
            confirmations: learnt.confirmations,
        }
    }
}

/// What the policy sees of a canary under that traffic, whose bad requests are called `noun`; none where the numbers make no policy.
#[must_use]
pub fn power(policy: &Policy, traffic: Traffic, noun: &str, object: &str) -> Option<Finding> {
    let within = policy.length(traffic);
    let span = Span::millis(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
    let usual = usual(policy, traffic);
    let seen = policy.smallest_seen(traffic, within).ok()?;
    let more = nearest(policy, traffic, within, noun)
        .ok()?
        .map(|(_, words)| words);
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
    let remedy = match (more, seen) {
        (Some(words), _) => format!("It sees more {words}."),
        (None, None) => "Release when there is more traffic.".to_owned(),
        (None, Some(_)) => {
            "Nothing: of what is not tolerated it sees nearly all, or no change in reach sees clearly more."
                .to_owned()
        }
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

/// Where a canary with the metric's declared `fault` (0 to 1) is not expected to be noticed. None where it is, and where nothing
/// at all is noticed, which [`power`] says.
fn fault(policy: &Policy, traffic: Traffic, fault: f64, waits: bool, object: &str) -> Option<Finding> {
    let share = percent(fault);
    let tolerated = policy.tolerated(traffic);
    let (what, why, remedy) = if tolerated >= fault {
        let bad = percent(traffic.production_bad);
        (
            format!(
                "a canary with the declared fault of {share} can never be noticed: beside production's own {bad} up to {} is tolerated",
                percent(tolerated)
            ),
            if waits {
                "The test is not made to find it, and no step waits for it."
            } else {
                "The test is not made to find it: such a canary is promoted."
            },
            format!(
                "Set fault above {}, or let tolerance or atLeast tolerate less.",
                percent(tolerated)
            ),
        )
    } else {
        policy.smallest_seen(traffic, policy.length(traffic)).ok()??;
        if policy.time_to_detect(traffic, fault).ok()?.is_some() {
            return None;
        }
        (
            format!(
                "{} a canary with the declared fault of {share} is not noticed before the steps end",
                usual(policy, traffic)
            ),
            "It is promoted, though it fails as much as the policy is planned to find.",
            "Hold the steps longer, begin with a higher weight, let each step wait with `advance: evidence`, or declare a larger fault."
                .to_owned(),
        )
    };
    Some(Finding {
        severity: Severity::Warning,
        code: codes::POWER_FAULT,
        object: object.to_owned(),
        what,
        why: why.to_owned(),
        remedy,
    })
}

/// What the power is told for: "at 10 requests/s, 0.1 % of them bad in production,". phi is an upper limit, which errors that
/// come one by one reach too: it is told as what it does to the evidence.
fn usual(policy: &Policy, traffic: Traffic) -> String {
    let clumps = if policy.dispersion > CALM {
        let times = human((10.0 * policy.dispersion).round() / 10.0);
        format!(" (they may come in clumps: evidence is divided by {times})")
    } else {
        String::new()
    };
    let bad = percent(traffic.production_bad);
    let load = load(traffic.requests_per_second);
    format!("at {load}, {bad} of them bad in production{clumps},")
}
