//! The promises that only the model's own eyes can tell: what was heard, what the server says, and how long it has had a weight.

use birdwatch::api::status::{Phase, Rollout};
use birdwatch::core::decision::Effect;
use birdwatch::core::observation::Side;

use super::objects::ticks;
use super::promises::{
    ANNOUNCED, NO_BASELINE, NO_EVIDENCE, NOT_HELD, NOT_KNOWN, NOT_OURS, PROMOTED, RAISED_AGAIN, SUM, running,
};
use super::state::*;
use super::tables::Tables;
use super::thinking::Thought;

/// The canary's weight by our own hand: what a person adds to it is none of ours.
pub(crate) fn own_weight(tables: &Tables, world: &World) -> u8 {
    let weight = tables.weight(world.server.route.is);
    u8::try_from(weight).unwrap_or(0).min(world.rest.ghost.level)
}

/// A person who gives the canary the weight that status announces, before or after, does as we would: nobody can tell.
pub(crate) fn adopt(tables: &Tables, world: &mut World) {
    let weight = tables.weight(world.server.route.is);
    let announces = |bird: &Seen<Bird>| {
        let status = tables.statuses.at(bird.is.status);
        running(status.rollout.as_ref()).is_some_and(|attempt| i64::from(attempt.intended) == weight)
    };
    if world.server.birds.iter().flatten().any(announces) {
        world.rest.ghost.level = u8::try_from(weight).unwrap();
    }
}

/// What a status rests on that has landed: the last answer in its attempt that its writer had heard. A successor may rely on it.
pub(crate) fn rests_on(tables: &Tables, before: Option<Heard>, thought: &Thought) -> Option<Heard> {
    let attempt = running(thought.after.as_ref())?;
    last_heard(tables, before, thought, attempt)
}

fn last_heard(tables: &Tables, landed: Option<Heard>, thought: &Thought, attempt: &Rollout) -> Option<Heard> {
    let of_attempt = |heard: &Heard| tables.asked(heard.request).id.rollout == attempt.id;
    let landed = landed.filter(of_attempt);
    let own = thought.memo.heard.filter(of_attempt);
    own.map(|own| latest(tables, landed, own)).or(landed)
}

/// The latest of two answers. What is heard of production, or before any weight has moved, takes no baseline back, and says nothing of
/// a canary that has weight.
pub(crate) fn latest(tables: &Tables, before: Option<Heard>, now: Heard) -> Heard {
    let attempt = |heard: Heard| &tables.asked(heard.request).id.rollout;
    let stays = |before: &Heard| now.at == 0 && (before.at > 0 || before.said == Said::Good);
    let before = before.filter(stays);
    before
        .filter(|before| attempt(*before) == attempt(now))
        .unwrap_or(now)
}

/// What a raise or production's label breaks when it is sent. What the server is going to refuse breaks nothing; nor does what
/// one who leads no longer has crossed meanwhile.
pub(crate) fn of_sent(tables: &Tables, world: &World, b: usize, job: &Job, thought: &Thought) -> Option<u8> {
    if job.crossed || job.route.version != world.server.route.version {
        return None;
    }
    let after = running(thought.after.as_ref())?;
    match thought.effect(job.at)? {
        Effect::Raise { percent } => {
            let announced = is_announced(tables, world, b, after, *percent);
            let unproven = || evidence(tables, world, b, thought, after);
            (!announced).then_some(ANNOUNCED).or_else(unproven)
        }
        Effect::Label {
            subset: Side::Production,
            version,
        } if *version == after.canary.version => {
            let held = not_held(tables, world.rest.ghost, b, 100, hold(after, 100));
            let held = held.map(|broken| if broken == NOT_HELD { PROMOTED } else { broken });
            let proven = is_proven(tables, world, b, thought, after);
            held.or((!proven).then_some(PROMOTED))
        }
        _ => None,
    }
}

/// Whether the status on the server says that the canary is being raised to that weight.
fn is_announced(tables: &Tables, world: &World, b: usize, attempt: &Rollout, percent: u8) -> bool {
    let Some(bird) = world.server.birds[b] else {
        return false;
    };
    let status = tables.statuses.at(bird.is.status);
    let says = |stored: &Rollout| stored.id == attempt.id && stored.intended == percent;
    status.phase == Phase::Progressing && running(status.rollout.as_ref()).is_some_and(says)
}

fn evidence(tables: &Tables, world: &World, b: usize, thought: &Thought, after: &Rollout) -> Option<u8> {
    if is_proven(tables, world, b, thought, after) {
        return None;
    }
    match after.confirmed {
        0 => Some(NO_BASELINE),
        _ => (!is_asked(world, after)).then_some(NO_EVIDENCE),
    }
}

/// Whether a person asked for 100 %.
fn is_asked(world: &World, after: &Rollout) -> bool {
    after.promote_asked && world.rest.ghost.promote
}

/// Whether the last that was heard in this attempt is good, and was asked since our raise to the weight that the canary has; for
/// the first raise before any.
fn is_proven(tables: &Tables, world: &World, b: usize, thought: &Thought, after: &Rollout) -> bool {
    let landed = world.rest.ghost.landed[b];
    let last = last_heard(tables, landed, thought, after);
    let is_good = |heard: Option<Heard>, at: u8| {
        let of_attempt = |heard: &Heard| tables.asked(heard.request).id.rollout == after.id;
        let is_good = |heard: Heard| heard.said == Said::Good && heard.at == at;
        heard.filter(of_attempt).is_some_and(is_good)
    };
    match after.confirmed {
        // The baseline may be the one before's.
        0 => is_good(last, 0) || is_good(landed, 0),
        _ => is_good(last, own_weight(tables, world)),
    }
}

/// How many ticks a weight is to be held: as the plan says, or longer where the queries need it.
fn hold(rollout: &Rollout, weight: i64) -> Ticks {
    let mut steps = rollout.plan.steps.iter();
    let planned = steps.find(|step| i64::from(step.weight) == weight);
    let planned = planned.map(|step| step.hold).unwrap_or_default();
    ticks(rollout.hold.unwrap_or_default().max(planned))
}

/// What a raise breaks that has reached the server.
pub(crate) fn of_raise(
    tables: &Tables,
    world: &World,
    b: usize,
    thought: &Thought,
    percent: u8,
    again: bool,
    is_stale: bool,
) -> Option<u8> {
    let after = running(thought.after.as_ref())?;
    // Whoever no longer leads may land one raise, and so may the leader whom the last status of such a one crosses. It is
    // lowered again; that is asked of the ends.
    if !is_stale && (again || is_over(tables, world, b, after)) {
        return Some(RAISED_AGAIN);
    }
    if !is_stale && !is_announced(tables, world, b, after, percent) {
        return Some(ANNOUNCED);
    }
    if after.confirmed == 0 || is_asked(world, after) {
        return None;
    }
    let from = i64::from(own_weight(tables, world).max(after.confirmed));
    not_held(tables, world.rest.ghost, b, from, hold(after, from))
}

/// Whether the status on the server says that the attempt is taken back, or over.
fn is_over(tables: &Tables, world: &World, b: usize, attempt: &Rollout) -> bool {
    world.server.birds[b].is_some_and(|bird| {
        let status = tables.statuses.at(bird.is.status);
        let rollout = status.rollout.as_ref().filter(|r| r.id == attempt.id);
        rollout.is_some_and(|r| r.ended.is_some() || status.phase == Phase::RollingBack)
    })
}

/// Whether the canary has not had a weight, or more than it, for that long; or some of it does not count.
fn not_held(tables: &Tables, ghost: Ghost, b: usize, weight: i64, hold: Ticks) -> Option<u8> {
    let Some(level) = tables.levels.iter().position(|level| *level == weight) else {
        return Some(NOT_HELD);
    };
    if ghost.held[level] < hold {
        return Some(NOT_HELD);
    }
    (ghost.known[b][level] < hold).then_some(NOT_KNOWN)
}

/// What any write of ours breaks.
pub(crate) fn of_write(tables: &Tables, server: &Objects) -> Option<u8> {
    match tables.is_intact(server.route.is, server.rule.is) {
        (true, true) => None,
        (false, _) => Some(NOT_OURS),
        (_, false) => Some(SUM),
    }
}
