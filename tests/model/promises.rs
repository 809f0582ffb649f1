//! The promises of safety, asked of each decision, by what the model shows it and not by what the core says of itself. What only
//! the model itself has seen is asked in `witness`.

use birdwatch::api::plan::MetricPlan;
use birdwatch::api::spec::{IfUnhealthy, IfUnknown};
use birdwatch::api::status::{Ended, FailureReason, Outcome, Phase, Rollout, Verdict};
use birdwatch::api::{BirdWatchStatus, Span};
use birdwatch::controller::look::Look;
use birdwatch::core::decision::{Decision, Effect};
use birdwatch::core::observation::{CheckId, DeploymentSeen, Observation, RouteSeen, Side};

use super::objects::{TICK, now, ticks};
use super::state::*;
use super::tables::Tables;
use super::thinking::Key;

/// What is promised, and how the model puts it. A state in which one is broken names it by its place here.
pub(crate) const PROMISES: [(&str, &str); 22] = [
    ("1", "a pass that judges a canary unhealthy rolls back or freezes"),
    (
        "1",
        "a rollback lowers in the pass that decides it, and whenever traffic is left",
    ),
    ("1", "an attempt that was taken back is never raised again"),
    (
        "2",
        "a raise goes to the next step, or to 100 where a person asked",
    ),
    ("2", "no raise without a baseline"),
    (
        "2",
        "no raise but on a good check of this step, and the last one heard",
    ),
    ("2", "no raise while paused"),
    ("2", "no raise to pods that are not there"),
    ("2", "no raise before the step was held"),
    ("3", "while nothing is known the clock of the hold stands"),
    ("3", "no canary is judged by a metric that was never bad"),
    ("5", "both weights change in one write, and their sum stays"),
    ("4", "nothing that is not ours changes"),
    ("6", "what is raised or promoted is what was analysed"),
    ("6", "a subset's label changes only while its weight is 0"),
    ("6", "production's label follows a whole hold at 100, judged good"),
    ("1", "a raise is announced by a status that says so"),
    (
        "1",
        "a judged rollback does not send traffic to production without pods",
    ),
    ("8", "of two BirdWatches on the same objects the older acts"),
    ("4", "weights that a person has set at rest stay"),
    (
        "4",
        "at rest no weight is written, but a raise of ours that came late is taken back",
    ),
    (
        "3",
        "no time is held that was unknown, paused or without an operator",
    ),
];

const JUDGED: u8 = 0;
const LOWERS: u8 = 1;
pub(crate) const RAISED_AGAIN: u8 = 2;
const NEXT_STEP: u8 = 3;
pub(crate) const NO_BASELINE: u8 = 4;
pub(crate) const NO_EVIDENCE: u8 = 5;
const PAUSED: u8 = 6;
const NO_PODS: u8 = 7;
pub(crate) const NOT_HELD: u8 = 8;
const CLOCK: u8 = 9;
const NEVER_BAD: u8 = 10;
pub(crate) const SUM: u8 = 11;
pub(crate) const NOT_OURS: u8 = 12;
pub(crate) const ANALYSED: u8 = 13;
pub(crate) const LABELLED: u8 = 14;
pub(crate) const PROMOTED: u8 = 15;
pub(crate) const ANNOUNCED: u8 = 16;
const TO_NOTHING: u8 = 17;
const OLDER: u8 = 18;
pub(crate) const BY_HAND: u8 = 19;
const AT_REST: u8 = 20;
pub(crate) const NOT_KNOWN: u8 = 21;

/// What a decision breaks, if anything.
pub(crate) fn of_decision(
    tables: &Tables,
    key: &Key,
    same_plan: bool,
    look: &Look,
    decision: &Decision,
) -> Option<u8> {
    let (place, birds, _, _, _, memo, _) = key;
    let mut broken = judged(tables, memo, look, decision).filter(|_| same_plan);
    broken = broken.or_else(|| out_of_nothing(tables, memo, look, decision));
    broken = broken.or_else(|| lowers(look, decision));
    // The first is the oldest, and all of them are for the same objects.
    let is_younger = birds[..usize::from(*place)].iter().any(Option::is_some);
    broken = broken.or((is_younger && acts(look, decision)).then_some(OLDER));
    broken = broken.or_else(|| at_rest(look, decision));
    for effect in &decision.effects {
        let of_effect = match effect {
            Effect::Raise { percent } => raise(look, decision, *percent),
            Effect::Label { subset, version } => label(look, decision, *subset, version),
            _ => None,
        };
        broken = broken.or(of_effect);
    }
    broken.or_else(|| clock(tables, memo, decision))
}

/// Whether an attempt begins, or goes on.
fn acts(look: &Look, decision: &Decision) -> bool {
    let id = |rollout: Option<&Rollout>| rollout.map(|r| r.id.clone());
    let begins = id(decision.next.rollout.as_ref()) != id(look.status.rollout.as_ref());
    let raises = |effect: &Effect| matches!(effect, Effect::Raise { .. } | Effect::Label { .. });
    begins || decision.effects.iter().any(raises)
}

/// An attempt that is not over.
pub(crate) fn running(rollout: Option<&Rollout>) -> Option<&Rollout> {
    rollout.filter(|r| r.ended.is_none())
}

/// The Deployment of the canary, as it is seen.
fn canary<'s>(seen: &'s Observation, rollout: &Rollout) -> Option<&'s DeploymentSeen> {
    seen.deployments.iter().find(|d| d.uid == rollout.canary.uid)
}

/// A bad check of the step that is running ends the attempt, or freezes it, whatever else is the matter.
fn judged(tables: &Tables, memo: &Memo, look: &Look, decision: &Decision) -> Option<u8> {
    let rollout = running(look.status.rollout.as_ref())?;
    let answered = memo.check.filter(|answered| answered.said == Said::Bad)?;
    let check = tables.check(answered);
    let is_new = rollout.last_check.is_none_or(|last| check.asked_at > last);
    let counts = check.id == CheckId::of(rollout) && rollout.step > 0 && is_new;
    let moving = match look.status.phase {
        Phase::Progressing => true,
        Phase::Promoting => rollout.production_label_at.is_none() && !is_labelled(look, rollout),
        _ => false,
    };
    // A verb may thaw, which begins the hold anew.
    let spoken = decision.next.verb != look.status.verb;
    if !counts || !moving || spoken {
        return None;
    }
    let ended = running(decision.next.rollout.as_ref()).is_none_or(|after| after.id != rollout.id);
    let back = ended || matches!(decision.next.phase, Phase::RollingBack);
    let frozen = decision.next.phase == Phase::Frozen && rollout.plan.if_unhealthy == IfUnhealthy::Freeze;
    // Somebody has lowered it, and that is found out first; what is left is held and the check still counts.
    (!back && !frozen).then_some(JUDGED)
}

fn is_labelled(look: &Look, rollout: &Rollout) -> bool {
    let rule = look.seen.rule.as_ref();
    rule.is_ok_and(|rule| rule.production.as_ref() == Some(&rollout.canary.version))
}

/// An attempt fails by a metric only where its canary's last check was bad; or where nothing was known for as long as the spec says.
fn out_of_nothing(tables: &Tables, memo: &Memo, look: &Look, decision: &Decision) -> Option<u8> {
    let after = decision.next.rollout.as_ref()?;
    let before = look.status.rollout.as_ref().filter(|r| r.id == after.id);
    let failure = after
        .failure
        .as_ref()
        .filter(|_| before.is_none_or(|r| r.failure.is_none()))?;
    let of_canary = |check: &Answered| {
        let id = &tables.asked(check.request).id;
        id.rollout == after.id && tables.asked_at(check.request) > 0
    };
    let check = memo.check.filter(of_canary);
    let was_blind = |asked: Ticks| {
        let since = memo.blind.map_or(0, |since| since.saturating_sub(asked));
        let gives_up = |m: &MetricPlan| m.if_unknown == IfUnknown::Unhealthy && since >= ticks(m.unknown_for);
        after.plan.metrics.iter().any(gives_up)
    };
    let is_heard = match (failure.reason, check) {
        (FailureReason::MetricUnhealthy, check) => check.is_some_and(|check| check.said == Said::Bad),
        (FailureReason::MetricUnknown, Some(check)) => check.said == Said::Unknown && was_blind(check.asked),
        (FailureReason::MetricUnknown, None) => false,
        _ => true,
    };
    (!is_heard).then_some(NEVER_BAD)
}

fn lowers(look: &Look, decision: &Decision) -> Option<u8> {
    let after = running(decision.next.rollout.as_ref())?;
    let shifted = look.seen.routes.iter().any(|route| !route.is_at(0));
    if decision.next.phase != Phase::RollingBack || !shifted {
        return None;
    }
    let reason = after.failure.as_ref().map(|failure| failure.reason);
    let goes_ahead = matches!(
        reason,
        None | Some(FailureReason::RollbackAsked | FailureReason::Deleted | FailureReason::WeightLowered)
    );
    let of_production = look
        .seen
        .deployments
        .iter()
        .filter(|d| d.version.as_ref() == Some(&after.production.version));
    let gone = of_production.map(|d| d.available).sum::<i32>() == 0;
    let lowers = decision.effects.contains(&Effect::Lower { percent: 0 });
    if lowers {
        (gone && !goes_ahead).then_some(TO_NOTHING)
    } else {
        (goes_ahead || !gone).then_some(LOWERS)
    }
}

/// Whether anything is done to weights at rest but that a raise which was announced is taken back; that a person's are not is
/// seen at the server.
fn at_rest(look: &Look, decision: &Decision) -> Option<u8> {
    let last = look.status.rollout.as_ref();
    if running(last).is_some() {
        return None;
    }
    let announced = last.is_some_and(|r| r.raised);
    let is_wrong = |effect: &Effect| match effect {
        Effect::Lower { .. } | Effect::Raise { .. } => true,
        Effect::TakeBack => !announced,
        _ => false,
    };
    decision.effects.iter().any(is_wrong).then_some(AT_REST)
}

fn raise(look: &Look, decision: &Decision, percent: u8) -> Option<u8> {
    let Some(after) = running(decision.next.rollout.as_ref()) else {
        return Some(ANNOUNCED);
    };
    if decision.next.phase != Phase::Progressing || after.intended != percent {
        return Some(ANNOUNCED);
    }
    let mut steps = after.plan.steps.iter().map(|step| step.weight);
    let next = steps.find(|weight| *weight > after.confirmed);
    let asked = after.promote_asked;
    if !(next == Some(percent) || asked && percent == 100) {
        return Some(NEXT_STEP);
    }
    if look
        .seen
        .spec
        .as_ref()
        .is_ok_and(|spec| spec.paused == Some(true))
    {
        return Some(PAUSED);
    }
    let pods = canary(&look.seen, after);
    let needed = (f64::from(percent) / 100.0 * 2.0 * after.plan.min_capacity).ceil();
    if pods.is_none_or(|d| d.available < 1 || f64::from(d.available) < needed) {
        return Some(NO_PODS);
    }
    let same = pods.and_then(DeploymentSeen::candidate).as_ref() == Some(&after.canary);
    let rule = look.seen.rule.as_ref().ok();
    let pointed = rule.is_some_and(|rule| {
        rule.canary.as_ref() == Some(&after.canary.version)
            && rule.production.as_ref() == Some(&after.production.version)
    });
    if !same || !pointed {
        return Some(ANALYSED);
    }
    recorded(after)
}

/// Whether what a raise rests on is recorded, too: what was heard is asked when it is sent.
fn recorded(after: &Rollout) -> Option<u8> {
    if after.confirmed == 0 {
        let has = |name: &str| {
            after
                .metrics
                .iter()
                .any(|m| m.name == name && m.baseline.is_some())
        };
        return (!after.plan.metrics.iter().all(|m| has(&m.name))).then_some(NO_BASELINE);
    }
    if after.promote_asked {
        return None;
    }
    let fresh = after
        .last_check
        .is_some_and(|at| Span::between(at, now()) <= TICK.times(2));
    (!(after.verdict == Some(Verdict::Good) && fresh)).then_some(NO_EVIDENCE)
}

/// Whether a version that production's label names was given up: its last attempt did not end promoted, or does not promote it now.
/// What is frozen is left to people, who edit no label here.
pub(crate) fn is_given_up(status: &BirdWatchStatus, label: &str) -> bool {
    if running(status.rollout.as_ref()).is_some_and(|attempt| attempt.canary.version == label) {
        return !matches!(status.phase, Phase::Promoting | Phase::Frozen);
    }
    let of_version = |ended: &&Ended| ended.canary.version == label;
    let last = status.ended.iter().rev().find(of_version);
    last.is_some_and(|ended| ended.outcome != Outcome::Promoted)
}

fn label(look: &Look, decision: &Decision, subset: Side, version: &str) -> Option<u8> {
    let present = look
        .seen
        .rule
        .as_ref()
        .ok()
        .and_then(|rule| rule.production.as_deref());
    if subset == Side::Production && present.is_some_and(|label| is_given_up(&decision.next, label)) {
        // It goes back to what it was, whatever has weight.
        let told = decision.next.rollout.as_ref();
        return told
            .is_none_or(|told| told.production.version != version)
            .then_some(ANALYSED);
    }
    let Some(after) = running(decision.next.rollout.as_ref()) else {
        return Some(ANALYSED);
    };
    let all = |holds: fn(&RouteSeen) -> bool| look.seen.routes.iter().all(holds);
    let same = canary(&look.seen, after).and_then(DeploymentSeen::candidate);
    match subset {
        Side::Canary if !all(|route| route.is_at(0)) => Some(LABELLED),
        Side::Production if !all(|route| route.is_at(100)) => Some(LABELLED),
        _ if version != after.canary.version => Some(ANALYSED),
        Side::Production if same.as_ref() != Some(&after.canary) => Some(ANALYSED),
        Side::Production if after.verdict != Some(Verdict::Good) => Some(PROMOTED),
        _ => None,
    }
}

/// Whether the clock runs though the last that was heard in this step is that nothing is known.
fn clock(tables: &Tables, memo: &Memo, decision: &Decision) -> Option<u8> {
    let after = running(decision.next.rollout.as_ref())?;
    let holds = decision.next.phase == Phase::Progressing && after.step > 0;
    let Heard { request, said, .. } = memo.heard?;
    // Of two checks that are older than any age here nobody knows which came first: the last may look as if it had been taken in.
    memo.check.filter(|check| check.asked < LONG)?;
    let unknown = said == Said::Unknown && tables.asked(request).id == CheckId::of(after);
    (holds && unknown && after.clock.since.is_some()).then_some(CLOCK)
}
