//! A plan that people edit while its rollout is under way: what counts on, and what begins anew. Decides no end.

use crate::api::evidence::Alarm;
use crate::api::plan::{Plan, TestPlan};
use crate::api::status::{Rollout, Verdict};

use super::counting;
use super::guards;
use super::preset;
use super::questions;
use super::turn::Turn;

/// Whether what a threshold metric has read under one plan is what it reads under another.
fn measures_alike(before: &Plan, after: &Plan, name: &str) -> bool {
    let test = |plan: &Plan| {
        let metric = plan.metrics.iter().find(|m| m.name == name)?;
        let TestPlan::Threshold(test) = &metric.test else {
            return None;
        };
        Some((
            test.query.clone(),
            (
                test.per_request,
                test.window,
                test.traffic.clone(),
                plan.prometheus.clone(),
            ),
        ))
    };
    match (test(before), test(after)) {
        (Some((former, before)), Some((query, after))) => {
            before == after && (former == query || preset::is_former(&former, &query))
        }
        (before, after) => before == after,
    }
}

/// New limits count from the next check; new steps are planned from the present weight. An edit that does not resolve
/// leaves the running plan in force.
pub(super) fn replan(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    let Ok(plan) = &turn.desired else { return };
    if *plan == rollout.plan || plan.target != rollout.plan.target {
        return;
    }
    let goes_on = counting::goes_on(&rollout.plan, plan);
    rollout.metrics.retain(|m| match &m.counted {
        Some(_) => goes_on,
        None => measures_alike(&rollout.plan, plan, &m.name),
    });
    if !goes_on {
        rollout.alarm = Alarm::default();
    }
    if rollout.step == 0 {
        // A sample is none of the checks that are known by their readings: where a plan is changed back, the last one comes again.
        guards::forget_samples(rollout);
    }
    // What was asked before says nothing about the new plan, but what is unknown stays so until the next check.
    rollout.last_check = None;
    rollout.verdict = rollout.verdict.filter(|verdict| *verdict == Verdict::Unknown);
    rollout.plan = plan.clone();
    if rollout.confirmed > 0 {
        rollout.step = rollout.plan.steps_begun(rollout.confirmed).max(1);
        questions::set_hold(rollout, &turn.seen.settings);
    }
}
