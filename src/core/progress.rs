//! The canary takes traffic step by step: a raise is intended, written, confirmed, held and judged; then the next.

use jiff::Timestamp;

use crate::api::Span;
use crate::api::conditions::ConditionType;
use crate::api::status::{HoldClock, NoticeKind, Phase, Rollout, Verdict};

use super::counting;
use super::decision::{CheckRequest, Effect};
use super::end;
use super::guards;
use super::messages;
use super::observation::CheckId;
use super::questions;
use super::turn::Turn;
use super::verdict;

/// After so long people are told that a step waits for requests.
const LONG_WAIT: Span = Span::secs(600);

/// What keeps a raise from being written.
struct Block {
    reason: &'static str,
    message: String,
    /// Whether people should hear of it; a few seconds' wait is no news.
    news: bool,
}

/// The phase Progressing.
pub(super) fn progress(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    if rollout.confirmed > 0 {
        // A status that says otherwise contradicts itself: only the first raise needs no check.
        rollout.step = rollout.step.max(1);
    }
    confirm(turn, rollout);
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
        raise(turn, rollout);
        guards::enforce(turn, rollout);
        return;
    }
    guards::enforce(turn, rollout);
    if rollout.step > 0 {
        tick(turn, rollout);
        ask(turn, rollout, next_check(turn, rollout));
        if !rollout.promote_asked && !is_served(rollout) {
            if let Some(block) = awaited(turn, rollout) {
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

/// The weight intended becomes confirmed when every route has it.
fn confirm(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    let routes = &turn.seen.routes;
    if rollout.intended <= rollout.confirmed
        || routes.is_empty()
        || !routes.iter().all(|r| r.is_at(rollout.intended))
    {
        return;
    }
    let lasted = (rollout.step > 0)
        .then(|| counting::lasted(rollout, turn.now))
        .flatten();
    rollout.confirmed = rollout.intended;
    rollout.confirmed_at = Some(turn.now);
    rollout.step = rollout.plan.steps_begun(rollout.confirmed).max(rollout.step + 1);
    rollout.clock = HoldClock::started(turn.now);
    rollout.verdict = None;
    rollout.last_check = None;
    rollout.promote_asked &= rollout.confirmed < 100;
    counting::new_step(rollout);
    questions::set_hold(rollout, &turn.seen.settings);
    turn.clear(ConditionType::Held);
    let lasts = counting::lasts(rollout, &turn.seen.settings);
    turn.tell(
        rollout,
        NoticeKind::Step,
        messages::step(rollout, lasts, lasted.as_deref()),
    );
    counting::tell_sight(turn, rollout);
}

/// Writes the intended raise, or takes it back where something has come between.
fn raise(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    match outdated(turn, rollout).or_else(|| block(turn, rollout, rollout.intended)) {
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
        Some(block) => {
            rollout.intended = rollout.confirmed;
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

fn paused_at(rollout: &Rollout) -> String {
    format!("paused at weight {} %", rollout.confirmed)
}

/// The hold is served when a healthy check was asked at its end or later.
fn is_served(rollout: &Rollout) -> bool {
    let hold = rollout.hold.unwrap_or_default();
    rollout.verdict == Some(Verdict::Good)
        && counting::has_looked(rollout)
        && rollout
            .last_check
            .is_some_and(|at| rollout.clock.served_at(at) >= hold)
}

/// The hold is over, and a version still has had no request in it. Seldom traffic is no news for a while.
fn awaited(turn: &mut Turn<'_>, rollout: &Rollout) -> Option<Block> {
    let over = rollout.clock.ends(rollout.hold.unwrap_or_default())?;
    let is_over = rollout.last_check.is_some_and(|at| at >= over);
    if !is_over || rollout.verdict != Some(Verdict::Good) || is_paused(turn) {
        return None;
    }
    let message = counting::awaits(rollout)?;
    Some(Block {
        reason: "Requests",
        message,
        news: turn.has_come(Turn::after(over, LONG_WAIT)),
    })
}

/// When the next check is due: an interval after the last, and at the end of the hold.
pub(super) fn next_check(turn: &Turn<'_>, rollout: &Rollout) -> Timestamp {
    let hold = rollout.hold.unwrap_or_default();
    let interval = questions::interval(rollout);
    let last = rollout.last_check.or(rollout.confirmed_at).unwrap_or(turn.now);
    let regular = Turn::after(last, interval);
    match rollout.clock.ends(hold) {
        Some(end) if end > last => regular.min(end),
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
            },
        );
        return;
    };
    if let Some(block) = block(turn, rollout, weight) {
        held(turn, rollout, &block);
        return;
    }
    rollout.intended = weight;
    turn.clear(ConditionType::Held);
    raise(turn, rollout);
}

fn held(turn: &mut Turn<'_>, rollout: &Rollout, block: &Block) {
    turn.say(block.message.clone());
    if block.news {
        turn.alarm(
            rollout,
            ConditionType::Held,
            block.reason,
            &block.message,
            NoticeKind::Held,
        );
    } else {
        turn.condition(ConditionType::Held, true, block.reason, &block.message);
    }
}

/// Why an intended raise that is not written yet has lost its ground: the evidence is old or gone, or the plan changed.
fn outdated(turn: &Turn<'_>, rollout: &Rollout) -> Option<Block> {
    let planned = rollout.plan.steps.iter().any(|s| s.weight == rollout.intended);
    let proven = match rollout.step {
        0 => verdict::has_baselines(rollout),
        _ => rollout.promote_asked || is_proven(turn, rollout),
    };
    if proven && (planned || rollout.promote_asked) {
        return None;
    }
    let message = format!(
        "the raise to {} % waits for a new healthy check",
        rollout.intended
    );
    Some(Block {
        reason: "Outdated",
        message,
        news: false,
    })
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

/// What keeps us from knowing that the canary's Deployment is still what was watched.
pub(super) fn unobserved(turn: &Turn<'_>, rollout: &Rollout) -> Option<String> {
    let own = turn
        .seen
        .deployments
        .iter()
        .find(|d| d.uid == rollout.canary.uid)?;
    own.candidate().is_none().then(|| own.missing())
}

/// The promotion waits for routes that do not give the canary everything.
pub(super) fn held_for_routes(turn: &mut Turn<'_>, rollout: &Rollout) {
    let other = turn.seen.routes.iter().find(|r| !r.is_at(100));
    let (reason, message) = match other.map(|r| &r.key) {
        Some(key) => (
            "RouteAdded",
            format!("{key} gives production something at 100 %: set it to 0/100"),
        ),
        None => ("ObjectsMissing", problem(turn).unwrap_or_default()),
    };
    held(
        turn,
        rollout,
        &Block {
            reason,
            message,
            news: true,
        },
    );
}

/// Why the weight cannot go up to `weight` now, whatever the metrics say.
fn block(turn: &mut Turn<'_>, rollout: &Rollout, weight: u8) -> Option<Block> {
    let block = |reason, message, news| {
        Some(Block {
            reason,
            message,
            news,
        })
    };
    if is_paused(turn) {
        return block("Paused", paused_at(rollout), false);
    }
    if let Some(problem) = problem(turn) {
        return block("ObjectsMissing", problem, true);
    }
    if let Some(lost) = end::lost_routes(turn, rollout) {
        let message = format!(
            "{lost} no longer holds production and canary once each: mend it, or roll back by hand and use the verb rollback"
        );
        return block("RouteLost", message, true);
    }
    if turn.seen.routes.iter().any(|r| r.total == 0) {
        let message = "production and canary hold 0 of a route together: give them weight there".to_owned();
        return block("NoWeight", message, true);
    }
    if rollout.confirmed == 0 {
        let delay = turn.seen.settings.propagation_delay;
        let label_at = rollout.canary_label_at.unwrap_or(turn.now);
        if !turn.has_come(Turn::after(label_at, delay)) {
            return block(
                "Propagating",
                "the mesh is learning of the canary's subset".to_owned(),
                false,
            );
        }
    }
    if !rollout.promote_asked
        && let Some(lacking) = counting::lacks(rollout)
    {
        return block("Evidence", lacking, false);
    }
    if let Some(few) = capacity(turn, rollout, weight) {
        return Some(few);
    }
    // Last, for each scaling makes it so for a moment: what people were told of before stays what they see.
    block("Unobserved", unobserved(turn, rollout)?, false)
}

/// Canary pods needed for a weight: its share of production's replicas, times `minCapacity`, and at least one.
pub(super) fn pods_needed(weight: u8, replicas: i32, min_capacity: f64) -> f64 {
    let needed = f64::from(weight) / 100.0 * f64::from(replicas.max(1)) * min_capacity;
    // A product that should be whole may come out a little above.
    (needed - 1e-9).ceil().max(1.0)
}

fn capacity(turn: &Turn<'_>, rollout: &Rollout, weight: u8) -> Option<Block> {
    let of_production = turn
        .seen
        .deployments
        .iter()
        .filter(|d| d.version.as_ref() == Some(&rollout.production.version));
    let replicas = of_production.map(|d| d.replicas).sum();
    let needed = pods_needed(weight, replicas, rollout.plan.min_capacity);
    let pods = end::canary_pods(turn, rollout);
    (f64::from(pods) < needed).then(|| Block {
        reason: "Capacity",
        message: format!(
            "weight {weight} % needs {needed} available pods of {} and there are {pods}: scale Deployment {} up, or lower minCapacity",
            rollout.canary.version, rollout.canary.deployment
        ),
        news: true,
    })
}

/// What is wrong with our objects.
pub(super) fn problem(turn: &Turn<'_>) -> Option<String> {
    if let Err(problem) = &turn.seen.rule {
        return Some(problem.clone());
    }
    if !turn.seen.route_problems.is_empty() {
        return Some(turn.seen.route_problems.join("; "));
    }
    turn.seen
        .routes
        .is_empty()
        .then(|| "no route holds both subsets".to_owned())
}
