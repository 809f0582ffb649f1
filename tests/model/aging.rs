//! Time without numbers that grow. It is always the same instant; what has happened grows older by ticks, and what is older
//! than every threshold grows no older. What is only shown to people keeps no time at all.

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::spec::IfUnknown;
use birdwatch::api::status::{HoldClock, Notices, Rollout};
use jiff::Timestamp;

use super::objects::{TICK, ago};
use super::state::{LONG, Ticks};

/// Ages at which an instant counts no more for what waits for the mesh to learn, or for the next check.
const SHORT: Ticks = 1;

/// A status in which nothing is left that grows for ever or is only shown: notices, histories, and the instants of both.
pub(crate) fn canonical(mut status: BirdWatchStatus) -> BirdWatchStatus {
    status.notices = Notices::default();
    status.previous = None;
    if let Some(rollout) = &mut status.rollout {
        for metric in &mut rollout.metrics {
            metric.history.clear();
        }
        let longest = TICK.times(u32::from(LONG));
        rollout.clock.served = rollout.clock.served.min(longest);
        if rollout.ended.is_some() {
            rollout.clock = HoldClock::default();
        }
    }
    instants(&mut status, &mut |at, most| *at = (*at).max(ago(most)));
    shown(&mut status, &mut |at| *at = ago(LONG));
    status
}

/// The same status a tick later.
pub(crate) fn a_tick_later(mut status: BirdWatchStatus) -> BirdWatchStatus {
    instants(&mut status, &mut |at, _| {
        *at = at.checked_sub(TICK.signed()).unwrap();
    });
    canonical(status)
}

/// Every instant that something is decided from, and the age that is as good as any above it.
fn instants(status: &mut BirdWatchStatus, visit: &mut dyn FnMut(&mut Timestamp, Ticks)) {
    let Some(rollout) = status.rollout.as_mut().filter(|r| r.ended.is_none()) else {
        return;
    };
    let impatient = rollout
        .plan
        .metrics
        .iter()
        .any(|m| m.if_unknown == IfUnknown::Unhealthy);
    let Rollout {
        clock,
        canary_label_at,
        production_label_at,
        confirmed_at,
        last_check,
        metrics,
        ..
    } = rollout;
    let learnt = [canary_label_at, production_label_at, confirmed_at];
    learnt.into_iter().flatten().for_each(|at| visit(at, SHORT));
    let long = [&mut clock.since, last_check];
    long.into_iter().flatten().for_each(|at| visit(at, LONG));
    let unknown = metrics.iter_mut().filter_map(|m| m.unknown_since.as_mut());
    unknown.for_each(|at| visit(at, if impatient { LONG } else { 0 }));
}

/// Every instant that is only shown, or only tells whether something is news.
fn shown(status: &mut BirdWatchStatus, visit: &mut dyn FnMut(&mut Timestamp)) {
    for ended in &mut status.ended {
        visit(&mut ended.at);
        // With `settle: 0s` the queries see nothing of it.
        ended.had_weight_until.iter_mut().for_each(&mut *visit);
    }
    status.verb.iter_mut().for_each(|verb| visit(&mut verb.at));
    let conditions = status.conditions.iter_mut();
    conditions
        .filter_map(|c| c.last_transition_time.as_mut())
        .for_each(&mut *visit);
    let Some(rollout) = &mut status.rollout else {
        return;
    };
    visit(&mut rollout.started);
    rollout
        .failure
        .iter_mut()
        .for_each(|failure| visit(&mut failure.at));
    for metric in &mut rollout.metrics {
        metric
            .baseline
            .iter_mut()
            .for_each(|baseline| visit(&mut baseline.at));
        metric.last.iter_mut().for_each(|reading| visit(&mut reading.at));
    }
    if rollout.ended.is_some() {
        let Rollout {
            ended,
            canary_label_at,
            production_label_at,
            confirmed_at,
            last_check,
            metrics,
            ..
        } = rollout;
        let all = [
            ended,
            canary_label_at,
            production_label_at,
            confirmed_at,
            last_check,
        ];
        let unknown = metrics.iter_mut().filter_map(|m| m.unknown_since.as_mut());
        all.into_iter().flatten().chain(unknown).for_each(visit);
    }
}
