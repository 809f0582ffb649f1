//! The decision: given status, what is seen and the time, the status to come and what to do. Total and deterministic.

use jiff::Timestamp;

use crate::api::plan::{Plan, Target};
use crate::api::status::{FailureReason, Phase, Rollout, Verdict};
use crate::api::{BirdWatchSpec, BirdWatchStatus, Span};

use super::decision::{Decision, Effect};
use super::observation::Observation;
use super::turn::{self, Turn};
use super::{
    end, guards, history, instants, notices, plan, progress, promote, replan, rest, start, verbs, view,
};

/// Bare readings are written at most this often.
const READINGS_EVERY: Span = Span::secs(30);
/// Transitions in one decision at most; more are left to the next.
const MOST_TRANSITIONS: usize = 8;

/// Which objects to look at: the running rollout's own, else those of the spec; none where the spec cannot be used.
#[must_use]
pub fn target(status: &BirdWatchStatus, spec: &Result<BirdWatchSpec, String>) -> Option<Target> {
    match status.rollout.as_ref().filter(|r| r.ended.is_none()) {
        Some(rollout) => Some(rollout.plan.target.clone()),
        None => plan::resolve(spec.as_ref().ok()?).ok().map(|plan| plan.target),
    }
}

/// Decides what to do now.
#[must_use]
pub fn decide(status: &BirdWatchStatus, seen: &Observation, now: Timestamp) -> Decision {
    decide_on(status, seen, turn::desired(&seen.spec), now)
}

/// The same for whoever decides many times on one spec: `desired` is its plan, as [`plan::resolve`] makes it.
#[must_use]
pub fn decide_on(
    status: &BirdWatchStatus,
    seen: &Observation,
    desired: Result<Plan, String>,
    now: Timestamp,
) -> Decision {
    let mut turn = Turn::new(status, seen, desired, now);
    let delivery = notices::acknowledge(&mut turn.next.notices, &seen.acks);
    turn.next.observed_generation = seen.generation.or(turn.next.observed_generation);
    let mut rollout = turn.next.rollout.take();
    if let Ok(plan) = &turn.desired {
        let asked = plan.canary_version.as_ref();
        let last = rollout
            .as_ref()
            .filter(|last| asked.is_none_or(|version| *version == last.canary.version));
        let last = last.map(|last| last.id.as_str());
        notices::redirect(&mut turn.next.notices, last, plan.channel.as_deref());
    }
    if let Some(running) = rollout.as_mut().filter(|r| r.ended.is_none()) {
        instants::recall(&mut turn.next, running, now);
        let gaps = instants::past(&seen.gaps, now);
        running.clock.skip(&gaps);
        for gap in &gaps {
            let unknown = running
                .metrics
                .iter_mut()
                .filter_map(|m| m.unknown_since.as_mut());
            unknown.for_each(|since| *since = gap.to.max(*since));
        }
        promote::note_label(&turn, running);
    }
    verbs::hear(&mut turn, &mut rollout);
    for _ in 0..MOST_TRANSITIONS {
        let before = place(&turn, rollout.as_ref());
        advance(&mut turn, &mut rollout);
        if place(&turn, rollout.as_ref()) == before {
            break;
        }
        if objects_are_others(&turn, rollout.as_ref()) {
            turn.wake_at(now);
            break;
        }
    }
    if let Some(running) = rollout.as_ref().filter(|r| r.ended.is_none()) {
        end::keep_finalizer(&mut turn, running);
    }
    view::describe(&mut turn, rollout.as_mut(), &delivery);
    turn.next.rollout = rollout;
    turn.into_decision()
}

/// Where the rollout stands in its life: what differs after a transition.
fn place(turn: &Turn<'_>, rollout: Option<&Rollout>) -> impl PartialEq + use<> {
    let ended_or_labelled = rollout.map(|r| (r.ended, r.production_label_at));
    (turn.next.phase, ended_or_labelled)
}

/// A rollout has ended, and the spec names other objects than those that are seen: the next decision sees them.
fn objects_are_others(turn: &Turn<'_>, rollout: Option<&Rollout>) -> bool {
    let ended = rollout.filter(|r| r.ended == Some(turn.now));
    ended.is_some_and(|r| {
        turn.desired
            .as_ref()
            .is_ok_and(|plan| plan.target != r.plan.target)
    })
}

/// One transition, or none.
fn advance(turn: &mut Turn<'_>, rollout: &mut Option<Rollout>) {
    let Some(running) = rollout.as_mut().filter(|r| r.ended.is_none()) else {
        if let Some(new) = rest::rest(turn, rollout.as_mut()) {
            let last = rollout.replace(new);
            let read = last.as_ref().and_then(history::previous);
            turn.next.previous = read.or_else(|| turn.next.previous.take());
        }
        return;
    };
    match turn.next.phase {
        Phase::RollingBack => end::roll_back(turn, running),
        Phase::Promoting if running.production_label_at.is_some() => promote::finish(turn, running),
        Phase::Frozen => frozen(turn, running),
        phase => {
            if !guards::interrupt(turn, running) {
                match phase {
                    Phase::Baseline => start::record(turn, running),
                    Phase::Progressing => progress::progress(turn, running),
                    Phase::Promoting => promote::relabel(turn, running),
                    _ => start::pend(turn, running),
                }
            }
        }
    }
}

/// The phase Frozen: nothing moves up; a newer version, a dead canary or a deletion give traffic back.
fn frozen(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    replan::replan(turn, rollout);
    progress::heed_pause(turn, rollout);
    let failure = guards::given_up(turn)
        .or_else(|| guards::conflict(turn))
        .or_else(|| guards::superseded(turn, rollout))
        .or_else(|| {
            Some((
                FailureReason::LabelChanged,
                guards::canary_label_changed(turn, rollout)?,
            ))
        })
        .or_else(|| {
            let dead = end::canary_pods(turn, rollout) == 0;
            dead.then(|| {
                (
                    FailureReason::CanaryUnavailable,
                    "the frozen canary has no available pod".to_owned(),
                )
            })
        });
    match failure {
        Some((FailureReason::LabelChanged, _)) if turn.seen.rule_writer.is_none() => {
            turn.effect(Effect::IdentifyRuleWriter);
        }
        Some((reason, why)) => end::fail(turn, rollout, reason, &why),
        None if turn.canary_is_at_zero() && !turn.seen.routes.is_empty() => {
            guards::lowered_to_zero(turn, rollout);
        }
        None if guards::is_lowered_by_another(turn, rollout) => {}
        None => guards::enforce(turn, rollout),
    }
}

/// Whether `new` is worth a write: anything but bare readings differs, or readings do and enough time has passed.
#[must_use]
pub fn worth_writing(
    old: &BirdWatchStatus,
    new: &BirdWatchStatus,
    last_write: Timestamp,
    now: Timestamp,
) -> bool {
    if without_readings(old) != without_readings(new) {
        return true;
    }
    old != new && (last_write > now || Span::between(last_write, now) >= READINGS_EVERY)
}

/// A good check after no check, or after another good one, is a bare reading too.
fn without_readings(status: &BirdWatchStatus) -> BirdWatchStatus {
    let unless_good = |verdict: Option<Verdict>| verdict.filter(|v| *v != Verdict::Good);
    let mut status = status.clone();
    (status.current, status.reading) = (None, None);
    if let Some(rollout) = &mut status.rollout {
        rollout.last_check = None;
        rollout.verdict = unless_good(rollout.verdict);
        for metric in &mut rollout.metrics {
            metric.last = None;
            metric.production = None;
            metric.history.clear();
            metric.verdict = unless_good(metric.verdict);
            if !metric.window.contains('b') {
                metric.window.clear();
            }
        }
    }
    status
}
