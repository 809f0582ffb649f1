//! What the policy of a rollout can see: said where something about it changes, in people's terms.

use std::time::Duration;

use crate::api::Span;
use crate::api::conditions::ConditionType;
use crate::api::plan::StepPlan;
use crate::api::status::Rollout;

use super::{CONFIRMATIONS, begin, budget, metrics, seen_together};
use crate::core::decision::CheckRequest;
use crate::core::observation::CheckId;
use crate::core::questions;
use crate::core::sequential::planner::Traffic;
use crate::core::sequential::policy::policy;
use crate::core::sequential::sight::{nearest, sight};
use crate::core::turn::Turn;

/// Within so much time a fault should be found, or before the steps end.
const SOON: Duration = Duration::from_mins(5);

/// Says what the rest of the rollout can see, by production's traffic before it began.
pub(in crate::core) fn tell_sight(turn: &mut Turn<'_>, rollout: &Rollout) {
    if let Some((finds, text)) = words(rollout) {
        let reason = if finds { "FaultIsFound" } else { "FaultIsMissed" };
        turn.condition(ConditionType::Detection, finds, reason, &text);
    }
}

/// At rest, once for each edit of the spec: asks for production's traffic, and says what a rollout could see. `rollout` is
/// the one that would start.
pub(in crate::core) fn foresee(turn: &mut Turn<'_>, mut rollout: Rollout) {
    let has_evidence = metrics(&rollout.plan).next().is_some();
    let told = turn.next.conditions.iter().any(|c| {
        c.kind == ConditionType::Detection.as_str() && c.observed_generation == turn.seen.generation
    });
    if !has_evidence {
        turn.clear(ConditionType::Detection);
    }
    if !has_evidence || told {
        return;
    }
    let id = CheckId::of(&rollout);
    if let Some(check) = turn.seen.check.as_ref().filter(|check| check.id == id) {
        let mut problem = None;
        for metric in &rollout.plan.metrics {
            let status = crate::core::verdict::entry(&mut rollout.metrics, &metric.name);
            problem = problem.or(begin(&rollout.plan, metric, status, check).err());
        }
        match problem {
            Some(why) => {
                let text = format!("what a rollout could find is not known: {why}");
                turn.condition(ConditionType::Detection, false, "NotMeasured", &text);
            }
            None => tell_sight(turn, &rollout),
        }
    } else if turn.seen.asking.as_ref() != Some(&id) {
        let settings = &turn.seen.settings;
        turn.check = Some(CheckRequest {
            id,
            server: rollout.plan.prometheus.clone(),
            deadline: settings.query_timeout,
            questions: Vec::new(),
            samples: super::samples_of_check(&turn.seen.name, &rollout, settings, turn.now, true),
            scrape: settings.scrape_interval,
        });
    }
}

/// Whether the declared fault is expected to be found in what is left of the steps, and what is, in words.
fn words(rollout: &Rollout) -> Option<(bool, String)> {
    let (metric, test) = metrics(&rollout.plan).next()?;
    let status = rollout.metrics.iter().find(|m| m.name == metric.name)?;
    let counted = status.counted.as_ref()?;
    let left = |step: &&StepPlan| step.weight >= rollout.confirmed && step.weight < 100;
    let steps: Vec<StepPlan> = rollout.plan.steps.iter().filter(left).copied().collect();
    if steps.is_empty() {
        let never = rollout.plan.steps.iter().all(|step| step.weight == 100);
        let says = format!(
            "{}: every step gives the canary all traffic, and nothing is left to compare it with; add a step below 100",
            metric.name
        );
        return never.then_some((false, says));
    }
    let every = questions::interval(rollout).max(Span::secs(1));
    let mut policy = policy(&steps, Some(every), test.tolerance, budget(&rollout.plan));
    policy.dispersion = counted.design.dispersion;
    policy.confirmations = if seen_together(counted.reporter.as_deref()) {
        0
    } else {
        CONFIRMATIONS
    };
    let traffic = Traffic {
        requests_per_second: counted.requests_per_second,
        production_bad: status.baseline.as_ref()?.value,
    };
    let within = policy.length().min(SOON);
    let finds = policy.time_to_detect(traffic, test.fault).ok()?.is_some();
    let mut says = format!("{}: {}", metric.name, sight(&policy, traffic, within).ok()?);
    if !finds && let Ok(Some((_, change))) = nearest(&policy, traffic, within) {
        says = format!("{says}; {change}");
    }
    Some((finds, says))
}
