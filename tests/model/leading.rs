//! Who leads: operators end, take over, and leave behind what they had on its way.

use super::server::{Landed, land};
use super::state::*;
use super::tables::Tables;

/// What an operator forgets that ends, or no longer leads.
fn forget(operator: &mut Operator) {
    operator.memos = Default::default();
    operator.due = Default::default();
    operator.waits = Default::default();
    operator.wake = Default::default();
}

/// An operator is killed and started again; `keeps`: what it had on its way may still arrive.
pub(crate) fn crash(world: &mut World, o: u8, keeps: bool) {
    let operator = &mut world.operators[usize::from(o)];
    forget(operator);
    let jobs = std::mem::take(&mut operator.jobs);
    if keeps && let Some((bird, job)) = (0_u8..).zip(jobs).find_map(|(b, job)| Some((b, job?))) {
        world.late = Some(Late { bird, job });
    }
    if world.rest.leader == Some(o) {
        (world.rest.leader, world.rest.is_free) = (None, false);
    }
}

/// An operator begins to lead.
pub(crate) fn lead(world: &mut World, o: u8) {
    (world.rest.leader, world.rest.is_free) = (Some(o), false);
    let operator = &mut world.operators[usize::from(o)];
    for b in 0..BIRDS {
        operator.due[b] = operator.sees.birds[b].is_some();
    }
}

/// It leads no longer: what it has on its way goes on.
pub(crate) fn lose(world: &mut World, o: u8) {
    world.rest.moves -= 1;
    let operator = &mut world.operators[usize::from(o)];
    forget(operator);
    operator
        .jobs
        .iter_mut()
        .flatten()
        .for_each(|job| job.orphan = true);
    (world.rest.leader, world.rest.is_free) = (None, false);
}

/// What nobody waits for any more arrives, or does not.
pub(crate) fn arrive(tables: &mut Tables, world: &mut World, arrives: bool) -> Option<()> {
    let Late { bird, job } = world.late.take()?;
    let b = usize::from(bird);
    if arrives && land(tables, world, 0, b, &job, true) == Landed::Done {
        let under_way = world.operators.iter_mut().filter_map(|o| o.jobs[b].as_mut());
        under_way.for_each(|job| job.crossed = true);
    }
    Some(())
}
