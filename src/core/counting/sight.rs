//! What the policy of a rollout can see: said where something about it changes, in people's terms.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::Span;
use crate::api::conditions::ConditionType;
use crate::api::plan::{MetricPlan, Plan, SequentialPlan, StepPlan};
use crate::api::status::{MetricStatus, Rollout};

use super::{CONFIRMATIONS, begin, metrics, seen_together};
use crate::core::decision::CheckRequest;
use crate::core::observation::{Check, CheckId, Settings};
use crate::core::sequential::planner::{Policy, Traffic};
use crate::core::sequential::policy::{self, Timing};
use crate::core::sequential::sight::{nearest, percent, sight};
use crate::core::turn::Turn;

/// Within so much time a fault should be found, or before the steps end.
const SOON: Duration = Duration::from_mins(5);

/// Of so many metrics a condition tells.
const MOST_TOLD: usize = 3;

/// Says what the rest of the rollout can see, by production's traffic before it began.
pub(in crate::core) fn tell_sight(turn: &mut Turn<'_>, rollout: &Rollout) {
    if let Some((finds, text)) = words(rollout, Timing::from(&turn.seen.settings)) {
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
        let learnt = learn(&mut rollout, check);
        match learnt.into_iter().find_map(|(_, learnt)| learnt.err()) {
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

/// Whether the declared faults are expected to be found in what is left of the steps, and what is, in words.
fn words(rollout: &Rollout, timing: Timing) -> Option<(bool, String)> {
    let left = |step: &&StepPlan| step.weight >= rollout.confirmed && step.weight < 100;
    let steps: Vec<StepPlan> = rollout.plan.steps.iter().filter(left).copied().collect();
    let found: Vec<(bool, String)> = metrics(&rollout.plan)
        .filter_map(|(metric, test)| {
            let status = rollout.metrics.iter().find(|m| m.name == metric.name)?;
            let (finds, says) = if steps.is_empty() {
                never(&rollout.plan)?
            } else {
                let learnt = Learnt::of(status)?;
                one(
                    &learnt.policy(&rollout.plan, test, &steps, timing),
                    learnt.traffic,
                    test,
                )?
            };
            Some((finds, format!("{}: {says}", metric.name)))
        })
        .collect();
    let finds = found.iter().all(|(finds, _)| *finds);
    // Of many metrics those that miss their fault are told of, as far as people read.
    let told = found.iter().filter(|(one, _)| *one == finds);
    let mut texts: Vec<&str> = told.take(MOST_TOLD).map(|(_, says)| says.as_str()).collect();
    let untold = found.len() - texts.len();
    let more = format!("and {untold} more");
    if untold > 0 {
        texts.push(&more);
    }
    (!found.is_empty()).then(|| (finds, texts.join("; ")))
}

/// No step leaves traffic to production.
fn never(plan: &Plan) -> Option<(bool, String)> {
    let never = plan.steps.iter().all(|step| step.weight == 100);
    let says = "every step gives the canary all traffic, and nothing is left to compare it with; add a step below 100";
    never.then(|| (false, says.to_owned()))
}

fn one(policy: &Policy, traffic: Traffic, test: &SequentialPlan) -> Option<(bool, String)> {
    let (fault, noun) = (test.fault, policy::noun(test));
    let within = policy.length(traffic).min(SOON);
    let finds = policy.time_to_detect(traffic, fault).ok()?.is_some();
    let mut says = sight(policy, traffic, within, noun).ok()?;
    if policy.tolerated(traffic) >= fault {
        let says = format!(
            "{says}; the declared fault of {} is within what is tolerated beside production's own share: it is neither found nor \
             waited for",
            percent(fault)
        );
        return Some((false, says));
    }
    if !finds && let Ok(Some((_, change))) = nearest(policy, traffic, within, noun) {
        says = format!("{says}; {change}");
    }
    Some((finds, says))
}

/// How long the present step is expected to be kept, where that is longer than its hold: until what is counted of it was scraped.
pub(in crate::core) fn lasts(rollout: &Rollout, settings: &Settings) -> Option<Span> {
    let hold = rollout.hold?;
    let step = StepPlan {
        weight: rollout.confirmed,
        hold,
    };
    let of = |(metric, test): (&MetricPlan, &SequentialPlan)| {
        let status = rollout.metrics.iter().find(|m| m.name == metric.name)?;
        let learnt = Learnt::of(status)?;
        let policy = learnt.policy(&rollout.plan, test, &[step], Timing::from(settings));
        Some(policy.length(learnt.traffic))
    };
    let longest = metrics(&rollout.plan).filter_map(of).max()?;
    let lasts = Span::secs(u32::try_from(longest.as_secs()).unwrap_or(u32::MAX));
    (lasts > hold).then_some(lasts)
}

/// How long the present step has lasted at its end, in words; none without a metric that counts.
pub(in crate::core) fn lasted(rollout: &Rollout, now: Timestamp) -> Option<String> {
    metrics(&rollout.plan).next()?;
    let lasted = Span::between(rollout.confirmed_at?, now);
    Some(format!("{} % was held {lasted}", rollout.confirmed))
}

impl From<&Settings> for Timing {
    fn from(settings: &Settings) -> Self {
        Self {
            scrape_interval: settings.scrape_interval,
            propagation_delay: settings.propagation_delay,
        }
    }
}

/// What production's counters say before a rollout, as far as the power of a test depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::core) struct Learnt {
    /// Production's traffic, and its bad share.
    pub(in crate::core) traffic: Traffic,
    /// phi, at least 1.
    pub(in crate::core) dispersion: f64,
    /// Further checks at the limit before the canary is unhealthy.
    pub(in crate::core) confirmations: u32,
}

impl Learnt {
    /// Of a metric whose counting has begun.
    pub(in crate::core) fn of(status: &MetricStatus) -> Option<Self> {
        let counted = status.counted.as_ref()?;
        let together = seen_together(counted.reporter.as_deref());
        Some(Self {
            traffic: Traffic {
                requests_per_second: counted.requests_per_second,
                production_bad: status.baseline.as_ref()?.value,
            },
            dispersion: counted.design.dispersion,
            confirmations: if together { 0 } else { CONFIRMATIONS },
        })
    }

    /// The policy of a metric over these steps of its plan, as they are kept.
    pub(in crate::core) fn policy(
        &self,
        plan: &Plan,
        test: &SequentialPlan,
        steps: &[StepPlan],
        timing: Timing,
    ) -> Policy {
        let learnt = Policy {
            steps: policy::steps(steps),
            dispersion: self.dispersion,
            confirmations: self.confirmations,
            ..policy::of(plan, test)
        };
        policy::kept(learnt, plan, timing, Some(test.fault))
    }
}

/// What a check of production's counters alone says of each sequential metric, or why nothing.
pub(in crate::core) fn learn(rollout: &mut Rollout, check: &Check) -> Vec<(String, Result<Learnt, String>)> {
    let Rollout {
        plan, metrics: known, ..
    } = rollout;
    let of = |(metric, _): (&MetricPlan, _)| {
        let status = crate::core::verdict::entry(known, &metric.name);
        let begun = begin(plan, metric, status, check);
        let unknown = || "nothing was counted".to_owned();
        let learnt = begun.and_then(|()| Learnt::of(status).ok_or_else(unknown));
        (metric.name.clone(), learnt)
    };
    metrics(plan).map(of).collect()
}
