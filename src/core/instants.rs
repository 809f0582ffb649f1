//! Recorded instants under a clock that is behind the one they were recorded by: another leader's, or the same one set
//! back. What would lie in the future lies at `now` instead; else everything would wait for that instant to come.

use jiff::Timestamp;

use crate::api::status::{MetricStatus, Rollout, Verdict};
use crate::api::{BirdWatchStatus, Span};

use super::counting;
use super::observation::{Check, Gap};
use super::turn::Turn;

/// Whether that was less than a scrape ago: what goes on is noted no more often, so that a status that says nothing else is not
/// written at every look.
pub(super) fn is_recent(turn: &Turn<'_>, at: Option<Timestamp>) -> bool {
    let scrape = turn.seen.settings.scrape_interval;
    at.is_some_and(|at| at <= turn.now && Span::between(at, turn.now) < scrape)
}

/// Brings what a running rollout works with to `now`. (The instants of verbs and notices are only shown.)
pub(super) fn recall(status: &mut BirdWatchStatus, rollout: &mut Rollout, now: Timestamp) {
    disown_check(rollout, now);
    counting::set_back(rollout, now);
    let ended = status.ended.iter_mut();
    let conditions = status.conditions.iter_mut();
    let of_status = ended
        .filter_map(|ended| ended.had_weight_until.as_mut())
        .chain(conditions.filter_map(|condition| condition.last_transition_time.as_mut()));
    let told = status.notices.told.values_mut();
    for at in of_status.chain(told).chain(of_rollout(rollout)) {
        *at = (*at).min(now);
    }
}

/// A check that lies in the future proves nothing, but what was held until then is held.
fn disown_check(rollout: &mut Rollout, now: Timestamp) {
    let Some(last) = rollout.last_check.take_if(|last| *last > now) else {
        return;
    };
    rollout.verdict = rollout.verdict.filter(|verdict| *verdict == Verdict::Unknown);
    if rollout.clock.since.is_some() {
        rollout.clock.stop(last);
        rollout.clock.run(now);
    }
}

/// Every instant that a rollout keeps, but those of its end and its last check.
fn of_rollout(rollout: &mut Rollout) -> impl Iterator<Item = &mut Timestamp> {
    let Rollout {
        id: _,
        canary: _,
        production: _,
        plan: _,
        started,
        ended: _,
        clock,
        had_weight_at,
        canary_label_at,
        production_label_at,
        step: _,
        alarm: _,
        intended: _,
        confirmed: _,
        confirmed_at,
        raised: _,
        relabelled: _,
        hold: _,
        hold_reason: _,
        metrics,
        last_check: _,
        verdict: _,
        promote_asked: _,
        failure,
        kept: _,
        rest: _,
    } = rollout;
    let optional = [
        Some(started),
        clock.since.as_mut(),
        had_weight_at.as_mut(),
        canary_label_at.as_mut(),
        production_label_at.as_mut(),
        confirmed_at.as_mut(),
        failure.as_mut().map(|failure| &mut failure.at),
    ];
    optional
        .into_iter()
        .flatten()
        .chain(metrics.iter_mut().flat_map(of_metric))
}

fn of_metric(metric: &mut MetricStatus) -> impl Iterator<Item = &mut Timestamp> {
    let MetricStatus {
        name: _,
        baseline,
        production: _,
        samples: _,
        verdict: _,
        window: _,
        // Only shown, and whether a check is new.
        last: _,
        history: _,
        // What is counted lies on Prometheus's time.
        counted: _,
        unknown_since,
    } = metric;
    let optional = [
        baseline.as_mut().map(|baseline| &mut baseline.at),
        unknown_since.as_mut(),
    ];
    optional.into_iter().flatten()
}

/// The times without an operator that are over. One that is not was left out already, before the clock was set back: now
/// there is an operator.
pub(super) fn past(gaps: &[Gap], now: Timestamp) -> Vec<Gap> {
    gaps.iter().filter(|gap| gap.to <= now).copied().collect()
}

/// Whether a check was asked after the last one that was taken in: that of a plan which was in force before, too. One that lies
/// in the future was taken in before the clock was set back.
pub(super) fn is_new(check: &Check, rollout: &Rollout, now: Timestamp) -> bool {
    let readings = rollout.metrics.iter().filter_map(|metric| metric.last.as_ref());
    let known = readings.map(|reading| reading.at).filter(|at| *at <= now);
    let mut last = known.chain(rollout.last_check);
    check.asked_at <= now && last.all(|last| check.asked_at > last)
}
