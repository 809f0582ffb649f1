//! What a sequential test can see, said before a rollout. It takes numbers alone, so that it is the same for whoever
//! knows them.

use crate::api::Span;
use crate::api::plan::Plan;
use crate::core::counting::Learnt;
use crate::core::number::human;
use crate::core::sequential::planner::{Policy, Traffic};
use crate::core::sequential::policy;
use crate::core::sequential::sight::{load, nearest, percent};

use super::inventory::{CountedFacts, Inventory};
use super::spec::this;
use super::{Finding, Report, Severity, codes};

/// phi up to which errors seem to come one by one.
const CALM: f64 = 1.2;

/// Whether each sequential metric can be counted, and what it sees.
pub(super) fn counters(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    for (metric, test) in policy::metrics(plan) {
        let object = this(inventory, &format!("metric {}", metric.name));
        let Some(all) = report.look("production's counters", &inventory.counters) else {
            return;
        };
        match all.iter().find(|facts| facts.metric == metric.name).map(|facts| &facts.counted) {
            Some(Ok(counted)) => {
                let learnt = Learnt::from(counted);
                let policy = learnt.policy(plan, test, &plan.steps, inventory.timing());
                report.findings.extend(power(&policy, learnt.traffic, &object));
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

/// What the policy sees of a canary under that traffic; none where the numbers make no policy.
#[must_use]
pub fn power(policy: &Policy, traffic: Traffic, object: &str) -> Option<Finding> {
    let within = policy.length(traffic);
    let span = Span::millis(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
    let usual = usual(policy, traffic);
    let seen = policy.smallest_seen(traffic, within).ok()?;
    let more = nearest(policy, traffic, within).ok()?.map(|(_, words)| words);
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

/// What the power is told for: "at 10 requests/s, 0.1 % of them bad in production,".
fn usual(policy: &Policy, traffic: Traffic) -> String {
    let clumps = if policy.dispersion > CALM {
        let times = human(policy.dispersion);
        format!(" and in clumps (they scatter {times} times as much as by chance)")
    } else {
        String::new()
    };
    let bad = percent(traffic.production_bad);
    let load = load(traffic.requests_per_second);
    format!("at {load}, {bad} of them bad in production{clumps},")
}
