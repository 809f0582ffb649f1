//! Time passes, and versions keep their order: what makes the number of states finite.

use super::state::*;
use super::tables::Tables;

fn older(age: Ticks) -> Ticks {
    (age + 1).min(LONG)
}

/// Everything is a tick older.
pub(crate) fn tick(tables: &mut Tables, world: &mut World) {
    hold_longer(tables, world);
    for bird in world.server.birds.iter_mut().flatten() {
        bird.is.status = tables.later(bird.is.status);
    }
    for operator in &mut world.operators {
        for bird in operator.sees.birds.iter_mut().flatten() {
            bird.is.status = tables.later(bird.is.status);
        }
        operator
            .memos
            .iter_mut()
            .for_each(|memo| remember_longer(tables, memo));
        operator
            .jobs
            .iter_mut()
            .flatten()
            .for_each(|job| wait_longer(tables, job));
        operator.waits = Default::default();
        for b in 0..BIRDS {
            match operator.wake[b] {
                Some(0 | 1) => (operator.wake[b], operator.due[b]) = (None, true),
                wake => operator.wake[b] = wake.map(|wake| wake - 1),
            }
        }
    }
    if let Some(late) = &mut world.late {
        wait_longer(tables, &mut late.job);
    }
    let rest = &mut world.rest;
    rest.is_free = rest.leader.is_none();
    rest.absences = (rest.absences << 1 | u8::from(rest.is_free)) & ((1 << LONG) - 1);
}

/// The weights that the canary has, and those above its own that it no longer has.
fn hold_longer(tables: &Tables, world: &mut World) {
    let weight = tables.weight(world.server.route.is);
    let mut ghost = world.rest.ghost;
    let longer = |held: Ticks| (held + 1).min(tables.longest_hold);
    for (place, level) in tables.levels.iter().enumerate() {
        let has = *level <= weight;
        ghost.held[place] = if has { longer(ghost.held[place]) } else { 0 };
        for b in 0..tables.configuration.birds {
            let known = &mut ghost.known[b][place];
            *known = match (has, counts(tables, world, b, *level)) {
                (true, true) => longer(*known),
                (true, false) => *known,
                (false, _) => 0,
            };
        }
    }
    world.rest.ghost = ghost;
}

/// Whether the tick that passes may count as held: somebody leads, there is no pause that it sees, and the last that it has heard of this weight
/// is not that nothing is known. Before the first answer nothing is unknown: a hold begins when its weight is confirmed.
/// What the leader before has heard and could not write down dies with it; that is the one check that promise 7 allows.
fn counts(tables: &Tables, world: &World, b: usize, level: i64) -> bool {
    let Some(leader) = world.rest.leader else {
        return false;
    };
    let operator = &world.operators[usize::from(leader)];
    // A pause that is over was none, and one that nobody has heard of is none yet.
    let is_paused = [operator.sees.birds[b], world.server.birds[b]]
        .iter()
        .all(|bird| {
            let form = bird.map_or(0, |bird| bird.is.form);
            tables.configuration.mended(form) != form
        });
    let heard = operator.memos[b].heard;
    let is_blind = heard.is_some_and(|heard| {
        heard.said == Said::Unknown && i64::from(tables.asked_at(heard.request)) == level
    });
    !is_paused && !is_blind
}

fn remember_longer(tables: &mut Tables, memo: &mut Memo) {
    if let Some(held) = &mut memo.held {
        held.based_on = tables.later(held.based_on);
        held.status = tables.later(held.status);
    }
    memo.last_write = memo.last_write.map(older);
    memo.blind = memo.blind.map(older);
    memo.zero = memo.zero.map(|age| older(age).min(1));
    memo.check
        .iter_mut()
        .for_each(|check| check.asked = older(check.asked));
    memo.asking
        .iter_mut()
        .for_each(|(_, asked)| *asked = older(*asked));
}

fn wait_longer(tables: &mut Tables, job: &mut Job) {
    job.bird.is.status = tables.later(job.bird.is.status);
    job.next = tables.later(job.next);
    job.wake = job.wake.map(|wake| wake.saturating_sub(1));
}

/// Gives every resource version that somebody holds its rank among those of its object.
pub(crate) fn renumber(world: &mut World) {
    for b in 0..BIRDS {
        ranks(
            world,
            |objects| objects.birds[b].as_mut().map(|o| &mut o.version),
            |of, job| (of == b).then_some(vec![&mut job.bird.version]),
        );
    }
    ranks(
        world,
        |objects| Some(&mut objects.route.version),
        |_, job| Some(vec![&mut job.route.version, &mut job.sent.version]),
    );
    ranks(
        world,
        |objects| Some(&mut objects.rule.version),
        |_, job| Some(vec![&mut job.rule.version]),
    );
    ranks(world, |objects| Some(&mut objects.pods.version), |_, _| None);
}

fn ranks(
    world: &mut World,
    of_objects: impl Fn(&mut Objects) -> Option<&mut u8>,
    of_job: impl Fn(usize, &mut Job) -> Option<Vec<&mut u8>>,
) {
    let mut versions: Vec<&mut u8> = Vec::with_capacity(8);
    versions.extend(of_objects(&mut world.server));
    for operator in &mut world.operators {
        versions.extend(of_objects(&mut operator.sees));
        for (b, job) in operator.jobs.iter_mut().enumerate() {
            versions.extend(job.as_mut().and_then(|job| of_job(b, job)).into_iter().flatten());
        }
    }
    if let Some(late) = &mut world.late {
        let b = usize::from(late.bird);
        versions.extend(of_job(b, &mut late.job).into_iter().flatten());
    }
    let mut order: Vec<u8> = versions.iter().map(|version| **version).collect();
    order.sort_unstable();
    order.dedup();
    for version in versions {
        let rank = order.iter().position(|known| known == version).unwrap();
        *version = u8::try_from(rank).unwrap();
    }
}
