//! Time passes, and versions keep their order: what makes the number of states finite.

use super::state::*;
use super::tables::Tables;

fn older(age: Ticks) -> Ticks {
    (age + 1).min(LONG)
}

/// Everything is a tick older.
pub(crate) fn tick(tables: &mut Tables, world: &mut World) {
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
    if rest.leader.is_none() {
        rest.absent = older(rest.absent);
    }
    rest.gap = rest
        .gap
        .map(|(from, to)| (older(from), older(to)))
        .filter(|(_, to)| *to < LONG);
    let weight = tables.weight(world.server.route.is);
    for (level, held) in tables.levels.iter().zip(&mut rest.ghost.held) {
        *held = if *level <= weight { older(*held) } else { 0 };
    }
}

fn remember_longer(tables: &mut Tables, memo: &mut Memo) {
    if let Some(held) = &mut memo.held {
        held.based_on = tables.later(held.based_on);
        held.status = tables.later(held.status);
    }
    memo.last_write = memo.last_write.map(older);
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
