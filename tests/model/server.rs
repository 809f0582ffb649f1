//! The API server: what becomes of a call that reaches it.

use birdwatch::api::status::Candidate;
use birdwatch::core::decision::Effect;
use birdwatch::core::observation::Side;

use super::objects;
use super::promises;
use super::state::*;
use super::tables::{Patched, Tables};
use super::thinking::Call;
use super::witness;

/// What a call comes to at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    Done,
    Conflict,
    Gone,
}

/// The server does what a call says, or refuses.
pub(crate) fn land(
    tables: &mut Tables,
    world: &mut World,
    o: usize,
    b: usize,
    job: &Job,
    is_stale: bool,
) -> Landed {
    let thought = tables.thought(job.thought);
    let Some(call) = thought.call(job.at) else {
        return Landed::Gone;
    };
    let sees = world.operators[o].sees;
    match call {
        Call::Status => {
            let next = job.next;
            let landed = put_bird(world, b, Some(job.bird.version), |bird| bird.status = next);
            if landed == Landed::Done {
                let rests_on = &mut world.rest.ghost.landed[b];
                *rests_on = witness::rests_on(tables, *rests_on, &thought);
                witness::adopt(tables, world);
            }
            if is_stale && landed == Landed::Done {
                let others = world.operators.iter_mut().filter_map(|o| o.jobs[b].as_mut());
                others.for_each(|other| other.crossed |= !other.orphan);
            }
            landed
        }
        Call::Read => match world.server.birds[b] {
            None => Landed::Gone,
            Some(bird) if bird.version == job.bird.version => Landed::Done,
            Some(_) => Landed::Conflict,
        },
        Call::Effect(effect) => match effect {
            Effect::Lower { .. } | Effect::RestoreWeights => patch_route(tables, world, job, job.sent),
            Effect::Raise { percent } => {
                let condemned = world.operators[o].memos[b].condemned;
                let again = condemned.is_some() && condemned == thought.attempt;
                let is_stale = is_stale || job.crossed;
                let broken = witness::of_raise(tables, world, b, &thought, *percent, again, is_stale);
                let landed = patch_route(tables, world, job, job.route);
                let ghost = &mut world.rest.ghost;
                ghost.broken = ghost.broken.or(broken.filter(|_| landed == Landed::Done));
                landed
            }
            Effect::TakeBack => take_back(tables, world, job),
            Effect::Label { subset, version } => {
                let gives_back = *subset == Side::Production && thought.gives_back(version);
                let canary = thought.after.as_ref().map(|after| &after.canary);
                match canary.filter(|_| *subset == Side::Production && !gives_back && !is_stale) {
                    Some(canary) => promote(tables, world, job, canary),
                    None => label(tables, world, job, *subset, is_stale, is_stale || gives_back),
                }
            }
            Effect::RestoreLabel { .. } => patch_rule(tables, world, job),
            Effect::AddFinalizer | Effect::RemoveFinalizer => {
                let wanted = *effect == Effect::AddFinalizer;
                let newest = sees.birds[b].filter(|_| !is_stale);
                let version = newest.map(|bird| bird.version);
                put_bird(world, b, version, |bird| bird.finalizer = wanted)
            }
            Effect::ReadRoutes | Effect::IdentifyRuleWriter => Landed::Done,
        },
    }
}

fn take_back(tables: &mut Tables, world: &mut World, job: &Job) -> Landed {
    let by_hand = world.rest.by_hand;
    let landed = patch_route(tables, world, job, job.route);
    let ghost = &mut world.rest.ghost;
    let broken = (landed == Landed::Done && by_hand).then_some(promises::BY_HAND);
    ghost.broken = ghost.broken.or(broken);
    landed
}

/// Production is pointed at the canary, whose Deployment is read once more, too.
fn promote(tables: &mut Tables, world: &mut World, job: &Job, canary: &Candidate) -> Landed {
    let pods = world.server.pods.is;
    if !tables.is_there(&pods, canary) {
        return Landed::Conflict;
    }
    let landed = label(tables, world, job, Side::Production, false, false);
    let is_wrong = landed == Landed::Done && !objects::has_pods_of(&pods, canary);
    let ghost = &mut world.rest.ghost;
    ghost.broken = ghost.broken.or(is_wrong.then_some(promises::ANALYSED));
    landed
}

fn label(
    tables: &mut Tables,
    world: &mut World,
    job: &Job,
    subset: Side,
    is_stale: bool,
    may_cross: bool,
) -> Landed {
    // The routes are read once more before production's label is sent.
    let is_old = subset == Side::Production && job.route.version != world.server.route.version;
    if is_old && !is_stale {
        return Landed::Conflict;
    }
    let weight = tables.weight(world.server.route.is);
    let is_idle = weight == if subset == Side::Production { 100 } else { 0 };
    // One who leads no longer, or a person, may have moved the weights at the same moment; for production's they are read.
    let by_hand = subset == Side::Canary && world.rest.by_hand;
    let may_cross = may_cross || job.crossed || by_hand;
    let landed = patch_rule(tables, world, job);
    let is_wrong = landed == Landed::Done && !is_idle && !may_cross;
    let ghost = &mut world.rest.ghost;
    ghost.broken = ghost.broken.or(is_wrong.then_some(promises::LABELLED));
    landed
}

fn put_bird(world: &mut World, b: usize, version: Option<u8>, put: impl FnOnce(&mut Bird)) -> Landed {
    let Some(bird) = &mut world.server.birds[b] else {
        return Landed::Gone;
    };
    if Some(bird.version) != version {
        return Landed::Conflict;
    }
    put(&mut bird.is);
    bird.version += 1;
    if bird.is.deleting && !bird.is.finalizer {
        world.server.birds[b] = None;
    }
    Landed::Done
}

fn patch_route(tables: &mut Tables, world: &mut World, job: &Job, from: Seen<Id>) -> Landed {
    let route = world.server.route;
    let same = from.version == route.version;
    match tables.patch_route(job.thought, job.at, from.is, route.is, same) {
        Patched::Nothing => Landed::Done,
        Patched::Conflict => Landed::Conflict,
        Patched::Now(after) => {
            world.server.route = Seen {
                is: after,
                version: route.version + 1,
            };
            world.rest.by_hand = false;
            let ghost = &mut world.rest.ghost;
            ghost.level = u8::try_from(tables.weight(after)).unwrap();
            begin(tables, ghost, route.is, after);
            ghost.broken = ghost.broken.or(witness::of_write(tables, &world.server));
            Landed::Done
        }
    }
}

/// A level that we raise the weight to is held from now on. A weight that is below it when time passes ends that too; what a
/// person puts back before then nobody has seen.
fn begin(tables: &Tables, ghost: &mut Ghost, before: Id, after: Id) {
    let raised = tables.weight(before) + 1..=tables.weight(after);
    for (level, held) in tables.levels.iter().zip(&mut ghost.held) {
        *held = if raised.contains(level) { 0 } else { *held };
    }
    for known in &mut ghost.known {
        for (level, known) in tables.levels.iter().zip(known) {
            *known = if raised.contains(level) { 0 } else { *known };
        }
    }
}

fn patch_rule(tables: &mut Tables, world: &mut World, job: &Job) -> Landed {
    let rule = world.server.rule;
    let same = job.rule.version == rule.version;
    match tables.patch_rule(job.thought, job.at, job.rule.is, rule.is, same) {
        Patched::Nothing => Landed::Done,
        Patched::Conflict => Landed::Conflict,
        Patched::Now(after) => {
            world.server.rule = Seen {
                is: after,
                version: rule.version + 1,
            };
            let ghost = &mut world.rest.ghost;
            ghost.broken = ghost.broken.or(witness::of_write(tables, &world.server));
            Landed::Done
        }
    }
}
