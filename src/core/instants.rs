//! Recorded instants under a clock that is behind the one they were recorded by: another leader's, or the same one set
//! back. What would lie in the future lies at `now` instead; else everything would wait for that instant to come.

use jiff::Timestamp;

use crate::api::BirdWatchStatus;
use crate::api::status::{MetricStatus, Rollout, Verdict};

use super::observation::{Check, Gap};

/// Every instant that a running rollout works with, no later than `now`. (The rest, of verbs and notices, is only shown.)
/// A check that lies in the future proves nothing, and what was held until then is held.
pub(super) fn recall(status: &mut BirdWatchStatus, rollout: &mut Rollout, now: Timestamp) {
    let not_after_now = |at: &mut Timestamp| *at = (*at).min(now);
    let Rollout {
        id: _,
        canary: _,
        production: _,
        plan: _,
        started,
        ended: _,
        clock,
        canary_label_at,
        production_label_at,
        step: _,
        intended: _,
        confirmed: _,
        confirmed_at,
        raised: _,
        hold: _,
        hold_reason: _,
        metrics,
        last_check,
        verdict,
        promote_asked: _,
        failure,
        kept: _,
        rest: _,
    } = rollout;
    if let Some(last) = last_check.take_if(|last| *last > now) {
        *verdict = verdict.filter(|verdict| *verdict == Verdict::Unknown);
        if clock.since.is_some() {
            clock.stop(last);
            clock.run(now);
        }
    }
    not_after_now(started);
    let instants = [
        &mut clock.since,
        canary_label_at,
        production_label_at,
        confirmed_at,
    ];
    instants.into_iter().flatten().for_each(not_after_now);
    failure
        .iter_mut()
        .for_each(|failure| not_after_now(&mut failure.at));
    for metric in metrics {
        let MetricStatus {
            name: _,
            baseline,
            production: _,
            samples: _,
            last,
            verdict: _,
            window: _,
            unknown_since,
        } = metric;
        unknown_since.iter_mut().for_each(not_after_now);
        baseline.iter_mut().for_each(|b| not_after_now(&mut b.at));
        last.iter_mut().for_each(|reading| not_after_now(&mut reading.at));
    }
    let had_weight = status
        .ended
        .iter_mut()
        .filter_map(|e| e.had_weight_until.as_mut());
    had_weight.for_each(not_after_now);
    let conditions = status.conditions.iter_mut();
    conditions
        .filter_map(|c| c.last_transition_time.as_mut())
        .for_each(not_after_now);
}

/// The times without an operator that lie in the past, as far as they do.
pub(super) fn past(gaps: &[Gap], now: Timestamp) -> Vec<Gap> {
    let begun = gaps.iter().filter(|gap| gap.from < now);
    let until_now = |gap: &Gap| Gap {
        from: gap.from,
        to: gap.to.min(now),
    };
    begun.map(until_now).collect()
}

/// Whether a check was asked after the last one that was taken in. One that lies in the future was taken in before the
/// clock was set back.
pub(super) fn is_new(check: &Check, rollout: &Rollout, now: Timestamp) -> bool {
    check.asked_at <= now && rollout.last_check.is_none_or(|last| check.asked_at > last)
}
