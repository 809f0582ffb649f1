//! A rollout from the canary's deployment to its end, as the operator would have decided it.

use crate::api::BirdWatchStatus;
use crate::api::conditions::{self, ConditionType};
use crate::api::plan::{Counters, TestPlan, ThresholdPlan};
use crate::api::status::{FailureReason, Phase, Verdict};

use super::history::History;
use super::policy::Policy;
use super::stage::Stage;
use super::trial::{End, Outcome, Trial, longest};

/// More decisions than this are made by no rollout that comes to an end.
const MOST: u32 = 2_000_000;

/// A rollout that stands still is given up after this many times its length.
const PATIENCE: i64 = 3;

impl Policy {
    /// What a metric counts; none where it is judged by threshold.
    pub(super) fn counters(&self, metric: &str) -> Option<&Counters> {
        let metric = self.plan.metrics.iter().find(|m| m.name == metric)?;
        match &metric.test {
            TestPlan::Sequential(test) => Some(&test.counters),
            TestPlan::Threshold(_) => None,
        }
    }

    /// The query and limits of a metric; none where it counts.
    pub(super) fn threshold(&self, metric: &str) -> Option<&ThresholdPlan> {
        let metric = self.plan.metrics.iter().find(|m| m.name == metric)?;
        match &metric.test {
            TestPlan::Threshold(test) => Some(test),
            TestPlan::Sequential(_) => None,
        }
    }
}

/// Replays a rollout.
#[must_use]
pub fn replay(policy: &Policy, history: &History, trial: &Trial) -> Outcome {
    let mut stage = Stage::new(policy, history, trial);
    let end = history.until.as_millisecond();
    let given_up = trial
        .start
        .saturating_add(longest(policy, history).saturating_mul(PATIENCE));
    let (mut blind, mut first) = (0, None);
    for _ in 0..MOST {
        let before = stage.now;
        let is_blind = is_blind(&stage.status);
        if stage.is_over() || waits_for_people(&stage.status) || !stage.next() {
            break;
        }
        if is_blind {
            blind += stage.now - before;
        }
        if first.is_none() && confirmed(&stage.status) > 0 {
            first = Some(stage.now);
        }
        if stage.now > end.min(given_up) {
            break;
        }
    }
    let (errors, requests) = stage.done();
    let rollout = stage.status.rollout.as_ref();
    let (ended, metric) = ended(&stage, end);
    Outcome {
        end: ended,
        seconds: first.map_or(0.0, |first| seconds(stage.now - first)),
        step: rollout.map_or(0, |r| usize::try_from(r.step.saturating_sub(1)).unwrap_or(0)),
        metric,
        message: rollout
            .and_then(|r| r.failure.as_ref())
            .map_or_else(|| stage.status.message.clone(), |failure| failure.message.clone()),
        blind: seconds(blind),
        errors,
        requests,
        peak: rollout.map_or(0.0, |r| r.alarm.peak),
        dispersion: rollout
            .and_then(|r| r.metrics.iter().find_map(|m| m.counted.as_ref()))
            .map(|counted| counted.design.dispersion),
        checks: stage.checks,
    }
}

fn ended(stage: &Stage<'_>, end: i64) -> (End, Option<String>) {
    let status = &stage.status;
    let failure = status.rollout.as_ref().and_then(|r| r.failure.as_ref());
    match (status.phase, failure) {
        (Phase::Promoted, _) => (End::Passed, None),
        (_, Some(failure)) if failure.reason == FailureReason::MetricUnhealthy => {
            (End::Caught, unhealthy(status))
        }
        (_, Some(_)) => (End::Blind, unhealthy(status)),
        (Phase::Frozen, None) => (End::Caught, unhealthy(status)),
        _ if waits_for_people(status) => (End::Passed, None),
        // Whoever saw nothing is not merely unfinished.
        _ if stage.now > end && !is_blind(status) => (End::Unfinished, None),
        _ => (End::Blind, None),
    }
}

fn unhealthy(status: &BirdWatchStatus) -> Option<String> {
    let metrics = status.rollout.iter().flat_map(|r| &r.metrics);
    let mut unhealthy = metrics.filter(|m| m.verdict == Some(Verdict::Unhealthy));
    unhealthy.next().map(|m| m.name.clone())
}

fn confirmed(status: &BirdWatchStatus) -> u8 {
    status.rollout.as_ref().map_or(0, |r| r.confirmed)
}

fn is_blind(status: &BirdWatchStatus) -> bool {
    conditions::holds(&status.conditions, ConditionType::Blind)
}

/// All steps that `maxWeight` allows are served.
fn waits_for_people(status: &BirdWatchStatus) -> bool {
    conditions::holds_for(&status.conditions, ConditionType::Held, "WaitsForPromote")
}

#[expect(clippy::cast_precision_loss, reason = "the milliseconds of a rollout")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
