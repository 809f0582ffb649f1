//! The canary takes traffic step by step: a raise is intended, written, confirmed, held and judged; then the next.

use jiff::Timestamp;

use crate::api::Span;
use crate::api::conditions::ConditionType;
use crate::api::status::{HoldClock, KeptRoute, NoticeKind, Phase, Rollout, Verdict};

use super::blocks::{self, Block, held};
use super::counting;
use super::decision::{CheckRequest, Effect};
use super::guards;
use super::messages;
use super::observation::{CheckId, RouteSeen};
use super::questions;
use super::turn::Turn;
use super::verdict;

/// The end of a hold is near within this part of the interval between checks.
const NEAR: u32 = 10;

/// The phase Progressing.
pub(super) fn progress(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    if rollout.confirmed > 0 {
        // A status that says otherwise contradicts itself: only the first raise needs no check.
        rollout.step = rollout.step.max(1);
    }
    let is_new_step = confirm(turn, rollout);
    begin(turn, rollout);
    if rollout.step == 0 {
        heed_pause(turn, rollout);
    }
    if rollout.intended == 0 && !verdict::has_baselines(rollout) {
        turn.enter(
            Phase::Baseline,
            "the metrics have changed: recording the baseline again",
        );
        return;
    }
    if rollout.intended > rollout.confirmed {
        if rollout.step > 0 {
            tick(turn, rollout);
            ask(turn, rollout, next_check(turn, rollout));
        }
        // First: what we take back ourselves is nobody's interference.
        guards::enforce(turn, rollout);
        raise(turn, rollout);
        return;
    }
    guards::enforce(turn, rollout);
    if rollout.step > 0 {
        tick(turn, rollout);
        let due = next_check(turn, rollout);
        if is_new_step {
            // Only what is asked of a step that is stored is heard.
            turn.wake_at(due.max(turn.now));
        } else {
            ask(turn, rollout, due);
        }
        if turn.seen.routes.iter().any(|r| r.is_above(rollout.intended)) {
            // What is seen now is of no step.
            return;
        }
        if !rollout.promote_asked && !is_served(rollout) {
            if let Some(block) = blocks::awaited(turn, rollout) {
                held(turn, rollout, &block);
                return;
            }
            turn.end(ConditionType::Held);
            let paused = is_paused(turn);
            turn.say(if paused {
                paused_at(rollout)
            } else {
                messages::holding(rollout, counting::lasts(rollout, &turn.seen.settings))
            });
            return;
        }
    }
    step_on(turn, rollout);
}

/// The weight intended becomes confirmed when every route has it. Returns whether it does so now.
fn confirm(turn: &mut Turn<'_>, rollout: &mut Rollout) -> bool {
    let routes = &turn.seen.routes;
    if rollout.intended <= rollout.confirmed
        || routes.is_empty()
        || !routes.iter().all(|r| r.is_at(rollout.intended))
    {
        return false;
    }
    let before = if rollout.confirmed == 0 { 0 } else { rollout.step };
    let lasted = (before > 0)
        .then(|| counting::lasted(rollout, turn.now))
        .flatten();
    rollout.confirmed = rollout.intended;
    rollout.confirmed_at = Some(turn.now);
    rollout.step = rollout.plan.steps_begun(rollout.confirmed).max(before + 1);
    rollout.clock = HoldClock::started(turn.now);
    rollout.verdict = None;
    if before == 0 {
        // What was asked before says nothing of the canary's first traffic. Afterwards checks keep their pace.
        rollout.last_check = Some(turn.now);
    }
    rollout.promote_asked &= rollout.confirmed < 100;
    counting::new_step(rollout);
    questions::set_hold(rollout, &turn.seen.settings);
    turn.clear(ConditionType::Held);
    keep_joined(turn, rollout);
    let lasts = counting::lasts(rollout, &turn.seen.settings);
    turn.tell(
        rollout,
        NoticeKind::Step,
        messages::step(rollout, lasts, lasted.as_deref()),
    );
    counting::tell_sight(turn, rollout);
    true
}

/// Routes that came in since the rollout began, and that it moves from now on as the others.
fn keep_joined(turn: &Turn<'_>, rollout: &mut Rollout) {
    let kept = &mut rollout.kept.routes;
    for route in &turn.seen.routes {
        if kept.iter().all(|before| before.route != route.key) {
            kept.push(KeptRoute {
                route: route.key.clone(),
                production: Some(route.total),
                canary: Some(0),
                joined: true,
            });
        }
    }
}

/// The first raise has reached one route, and another not yet: who has traffic is judged.
fn begin(turn: &Turn<'_>, rollout: &mut Rollout) {
    let routes = &turn.seen.routes;
    let has_landed = |route: &RouteSeen| route.is_above(0) && !route.is_below(rollout.intended);
    let is_partial =
        routes.iter().any(has_landed) && routes.iter().any(|route| route.is_below(rollout.intended));
    if rollout.step > 0 || rollout.intended == 0 || !is_partial {
        return;
    }
    rollout.step = 1;
    rollout.confirmed_at = Some(turn.now);
    rollout.last_check = Some(turn.now);
    rollout.clock = HoldClock::started(turn.now);
    counting::new_step(rollout);
    questions::set_hold(rollout, &turn.seen.settings);
}

/// Writes the intended raise, or takes it back where something has come between.
fn raise(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    // What takes all of it back goes before what makes the rest of it wait.
    let block = match blocks::outdated(turn, rollout) {
        Some(block) if !block.withholds => Some(block),
        waits => blocks::block(turn, rollout, rollout.intended).or(waits),
    };
    match block {
        None => {
            rollout.raised = true;
            if !turn.seen.finalizer {
                turn.effect(Effect::AddFinalizer);
            }
            turn.effect(Effect::Raise {
                percent: rollout.intended,
            });
            turn.say(format!(
                "raising the weight from {} % to {} %",
                rollout.confirmed, rollout.intended
            ));
        }
        Some(block) if block.withholds => held(turn, rollout, &block),
        Some(block) => {
            rollout.intended = rollout.confirmed;
            if rollout.confirmed == 0 {
                rollout.step = 0;
                (rollout.confirmed_at, rollout.verdict) = (None, None);
                rollout.had_weight_at = Some(turn.now);
                // What was asked before is no answer about the next try.
                rollout.last_check = Some(turn.now);
            }
            if turn.seen.routes.iter().any(|r| r.is_above(rollout.confirmed)) {
                turn.effect(Effect::Lower {
                    percent: rollout.confirmed,
                });
            }
            held(turn, rollout, &block);
        }
    }
}

/// Lets the clock of the hold run, unless somebody paused it or nothing is known.
fn tick(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    if heed_pause(turn, rollout) || rollout.verdict == Some(Verdict::Unknown) {
        rollout.clock.stop(turn.now);
    } else {
        rollout.clock.run(turn.now);
    }
}

pub(super) fn is_paused(turn: &Turn<'_>) -> bool {
    match &turn.seen.spec {
        Ok(spec) => spec.paused == Some(true),
        // Only what can be read ends a pause.
        Err(_) => turn
            .seen
            .paused
            .unwrap_or_else(|| turn.holds(ConditionType::Paused)),
    }
}

/// Shows whether somebody has paused the rollout, and notes when that changes. Returns it.
pub(super) fn heed_pause(turn: &mut Turn<'_>, rollout: &Rollout) -> bool {
    const PAUSED: &str = "spec.paused is true: no raise, and the hold stands still";
    let (was, is) = (turn.holds(ConditionType::Paused), is_paused(turn));
    match (was, is) {
        (false, true) => turn.note(rollout, "Paused", &paused_at(rollout)),
        (true, false) => turn.note(
            rollout,
            "Resumed",
            &format!("going on at {} %", rollout.confirmed),
        ),
        _ => {}
    }
    if is {
        turn.condition(ConditionType::Paused, true, "SpecPaused", PAUSED);
    } else {
        turn.clear(ConditionType::Paused);
    }
    is
}

pub(super) fn paused_at(rollout: &Rollout) -> String {
    format!("paused at weight {} %", rollout.confirmed)
}

/// The hold is served when a healthy check was asked at its end or later: after a time without an operator, or in which nothing was
/// known, since that was over.
fn is_served(rollout: &Rollout) -> bool {
    let hold = rollout.hold.unwrap_or_default();
    let is_over_at = |at: Timestamp| match rollout.clock.ends(hold) {
        Some(end) => at >= end,
        None => rollout.clock.served >= hold,
    };
    rollout.verdict == Some(Verdict::Good)
        && counting::has_looked(rollout)
        && rollout.last_check.is_some_and(is_over_at)
}

/// When the next check is due: an interval after the last, also across a raise, and at the end of the hold, which is waited for where
/// it is near; at once where none counts.
pub(super) fn next_check(turn: &Turn<'_>, rollout: &Rollout) -> Timestamp {
    let hold = rollout.hold.unwrap_or_default();
    let interval = questions::interval(rollout);
    let Some(last) = rollout.last_check else {
        // The plan or the clock is another: what was asked before counts no more.
        return turn.now;
    };
    let regular = Turn::after(last, interval);
    match rollout.clock.ends(hold) {
        Some(end) if end > last && Span::between(regular, end).times(NEAR) <= interval => end,
        _ => regular,
    }
}

/// Asks a check when it is due and none is under way.
pub(super) fn ask(turn: &mut Turn<'_>, rollout: &Rollout, due: Timestamp) {
    let id = CheckId::of(rollout);
    if turn.seen.asking.as_ref() == Some(&id) || !turn.has_come(due) {
        return;
    }
    let settings = &turn.seen.settings;
    let interval = questions::interval(rollout);
    turn.check = Some(CheckRequest {
        id,
        server: rollout.plan.prometheus.clone(),
        deadline: interval.min(settings.query_timeout),
        questions: questions::of_check(&turn.seen.name, rollout, settings, rollout.step == 0),
        samples: counting::samples_of_check(&turn.seen.name, rollout, settings, turn.now, rollout.step == 0),
        scrape: settings.scrape_interval,
    });
}

/// The evidence is there: on to the next weight, to promotion, or to waiting for what is missing.
fn step_on(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    if rollout.confirmed == 100 {
        rollout.clock.stop(turn.now);
        turn.enter(
            Phase::Promoting,
            format!("{} has served 100 % for its whole hold", rollout.canary.version),
        );
        return;
    }
    let next = if rollout.promote_asked {
        Some(100)
    } else {
        rollout
            .plan
            .steps
            .iter()
            .map(|s| s.weight)
            .find(|weight| *weight > rollout.confirmed)
    };
    let Some(weight) = next else {
        let message = format!(
            "at maxWeight, {} %: to go to 100 % annotate otomato.link/verb=promote/<token>",
            rollout.confirmed
        );
        held(
            turn,
            rollout,
            &Block {
                reason: "WaitsForPromote",
                message,
                news: true,
                withholds: false,
            },
        );
        return;
    };
    if let Some(block) = blocks::block(turn, rollout, weight) {
        held(turn, rollout, &block);
        return;
    }
    rollout.intended = weight;
    turn.clear(ConditionType::Held);
    raise(turn, rollout);
}

/// Whether the last check was healthy and is not old.
pub(super) fn is_proven(turn: &Turn<'_>, rollout: &Rollout) -> bool {
    let fresh = questions::interval(rollout)
        .plus(turn.seen.settings.query_timeout)
        .times(2);
    let is_fresh = |at: Timestamp| Span::between(at, turn.now) <= fresh;
    rollout.verdict == Some(Verdict::Good)
        && counting::has_looked(rollout)
        && rollout.last_check.is_some_and(is_fresh)
}
