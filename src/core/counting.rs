//! Sequential metrics in the life of a rollout: what is counted between two checks, and what the evidence says of it.
//! The mathematics is `sequential`'s; asking is the shell's.

mod ask;
mod begin;
pub mod past;
mod read;
mod sight;
mod take;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::evidence::{Alarm, Counted, Counts, Evidence};
use crate::api::plan::{MetricPlan, Plan, SequentialPlan};
use crate::api::spec::Advance;
use crate::api::status::Rollout;

use super::observation::{Check, SampleAnswer};
use super::sequential::counts::Stratum;
use super::sequential::expected::expected;
use super::sequential::policy::{self, metrics};

pub(super) use ask::samples_of_check;
pub(super) use begin::begin;
pub(super) use sight::{Learnt, foresee, lasted, lasts, learn, tell_sight};
pub(super) use take::{pending, take_in};
pub(crate) use words::{log, share};

/// Checks at the limit that must follow the first where canary and production are scraped at different instants, so that
/// a fault of both shows on one side first.
const CONFIRMATIONS: u32 = 2;

/// Whether the evidence gathered under one plan counts under another: what is counted, by what test and of which server is
/// the same. What is declared as a fault is no part of the test.
pub(super) fn goes_on(before: &Plan, after: &Plan) -> bool {
    let tests = |plan: &Plan| {
        let test = |(metric, test): (&MetricPlan, &SequentialPlan)| {
            let test = SequentialPlan {
                fault: 0.0,
                ..test.clone()
            };
            (metric.name.clone(), test)
        };
        // Their order says nothing.
        (
            metrics(plan).map(test).collect::<BTreeMap<_, _>>(),
            plan.prometheus.clone(),
        )
    };
    tests(before) == tests(after)
}

/// A weight was confirmed: what happens from now on is counted for the new step, and the time of the change not at all.
pub(super) fn new_step(rollout: &mut Rollout) {
    for counted in rollout.metrics.iter_mut().filter_map(|m| m.counted.as_mut()) {
        counted.judged = None;
        (counted.step_canary, counted.step_production) = (Counts::default(), Counts::default());
    }
}

/// A person lets an unhealthy canary go on: the evidence against it is theirs to overrule, and gathers anew.
pub(super) fn forget(rollout: &mut Rollout) {
    rollout.alarm = Alarm::default();
    for counted in rollout.metrics.iter_mut().filter_map(|m| m.counted.as_mut()) {
        counted.evidence = Evidence::default();
    }
    new_step(rollout);
}

/// What is counted lies ahead of a clock that was set back: it would be counted again, and so the evidence gathers anew.
pub(super) fn set_back(rollout: &mut Rollout, now: Timestamp) {
    let mut counted = rollout.metrics.iter().filter_map(|m| m.counted.as_ref());
    if counted.any(|counted| counted.judged.is_some_and(|judged| judged > now)) {
        forget(rollout);
        for counted in rollout.metrics.iter_mut().filter_map(|m| m.counted.as_mut()) {
            counted.judged = Some(now);
        }
    }
}

/// Whether requests to both versions were counted since the last change of weight, so that a check says something of this
/// step. At 100 % production has none.
pub(super) fn has_looked(rollout: &Rollout) -> bool {
    let alone = rollout.confirmed == 100;
    let mut counted = rollout.metrics.iter().filter_map(|m| m.counted.as_ref());
    counted.all(|counted| counted.judged.is_some() && (alone || is_compared(counted)))
}

/// Whether both versions had requests in this step.
pub(super) fn is_compared(counted: &Counted) -> bool {
    counted.step_canary.requests > 0.0 && counted.step_production.requests > 0.0
}

/// Which version's first requests this step waits for, in words; none where both were counted, or nothing was yet.
pub(super) fn awaits(rollout: &Rollout) -> Option<String> {
    if rollout.confirmed == 100 {
        return None;
    }
    let mut counted = rollout.metrics.iter().filter_map(|m| m.counted.as_ref());
    let without = counted.find(|counted| counted.judged.is_some() && !is_compared(counted))?;
    let whose = if without.step_canary.requests > 0.0 {
        "production's"
    } else {
        "the canary's"
    };
    Some(format!(
        "waiting for {whose} first requests at {} %: the hold is over, and without any there is nothing to compare",
        rollout.confirmed
    ))
}

/// Whether one exporter sees both versions, so that a fault of both shows on both at once.
fn seen_together(reporter: Option<&str>) -> bool {
    matches!(reporter, Some("source" | "waypoint"))
}

fn of_metric<'a>(check: &'a Check, name: &str) -> Vec<&'a SampleAnswer> {
    check
        .samples
        .iter()
        .filter(|answer| answer.metric == name)
        .collect()
}

/// With `advance: evidence`: what a step still lacks to have shown a fault of the declared size; none where it lacks nothing. A fault
/// that production's own share makes tolerable never shows, and is not waited for.
pub(super) fn lacks(rollout: &Rollout) -> Option<String> {
    if rollout.plan.advance != Advance::Evidence || matches!(rollout.confirmed, 0 | 100) {
        return None;
    }
    let lacking = metrics(&rollout.plan).filter_map(|(metric, test)| {
        let status = rollout.metrics.iter().find(|m| m.name == metric.name)?;
        let counted = status.counted.as_ref()?;
        let policy = policy::of(&rollout.plan, test);
        Learnt::of(status).filter(|learnt| policy.tolerated(learnt.traffic) < test.fault)?;
        let needed = policy.needed();
        let step = Stratum {
            canary: counted.step_canary,
            production: counted.step_production,
        };
        let fault = Stratum {
            canary: Counts {
                bad: step.canary.requests * test.fault,
                ..step.canary
            },
            ..step
        };
        let design = &counted.design;
        let gathered = expected(&fault, design.tolerance, design.at_least, design.dispersion);
        (gathered < needed).then(|| words::lacking(&metric.name, test, step, gathered / needed))
    });
    lacking.into_iter().next()
}
