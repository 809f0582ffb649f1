//! What can happen in a state, by what the configuration allows.

use birdwatch::core::decision::Effect;

use super::acting::unseen;
use super::configuration::{Configuration, Delays};
use super::state::*;
use super::tables::Tables;
use super::thinking::Call;

/// What can happen now.
pub(crate) fn possible(tables: &Tables, world: &World, actions: &mut Vec<Action>) {
    let configuration = &tables.configuration;
    for o in 0..configuration.operators {
        of_operator(tables, world, o, actions);
    }
    if world.late.is_some() {
        actions.extend([Action::Arrive(true), Action::Arrive(false)]);
    }
    let known =
        |bird: &Option<Seen<Bird>>| bird.is_none_or(|b| tables.statuses.at(b.is.status).known.is_some());
    let seen_first = world.server.birds.iter().all(known);
    if seen_first && usize::from(world.rest.released) < configuration.releases.len() {
        actions.push(Action::Release);
    }
    if world.rest.edits > 0 {
        actions.extend(configuration.edits.1.iter().map(|edit| Action::Edit(*edit)));
    }
    let is_paused = |bird: &Seen<Bird>| configuration.mended(bird.is.form) != bird.is.form;
    let lacks_pods = world
        .server
        .pods
        .is
        .iter()
        .flatten()
        .any(|pods| pods.available < 2);
    if lacks_pods || world.server.birds.iter().flatten().any(is_paused) {
        actions.push(Action::Mend);
    }
    if may_pass(configuration, world) {
        actions.push(Action::Tick);
    }
}

/// Whether the call that a job has on its way may arrive when nobody waits for it any more.
fn may_delay(tables: &Tables, world: &World, job: &Job) -> bool {
    let may = match tables.configuration.delays {
        Delays::Nothing => false,
        Delays::Labels => matches!(
            tables.thought(job.thought).effect(job.at),
            Some(Effect::Label { .. })
        ),
        Delays::Raises => matches!(
            tables.thought(job.thought).effect(job.at),
            Some(Effect::Raise { .. })
        ),
        Delays::Anything => true,
    };
    may && world.late.is_none()
}

fn of_operator(tables: &Tables, world: &World, o: usize, actions: &mut Vec<Action>) {
    let configuration = &tables.configuration;
    let operator = &world.operators[o];
    let place = u8::try_from(o).unwrap();
    let leads = world.rest.leader == Some(place);
    for b in 0..configuration.birds {
        let bird = u8::try_from(b).unwrap();
        if let Some(job) = operator.jobs[b] {
            actions.push(Action::Call(place, bird, Fate::Answered));
            let thought = tables.thought(job.thought);
            let is_status = thought.call(job.at) == Some(&Call::Status);
            let may_be_lost = configuration.lossy || configuration.outage && is_status;
            if may_be_lost || configuration.crashes {
                actions.push(Action::Call(place, bird, Fate::Unanswered));
            }
            if may_be_lost || job.orphan {
                actions.push(Action::Call(place, bird, Fate::Lost));
            }
            if may_delay(tables, world, &job) {
                actions.push(Action::Call(place, bird, Fate::Delayed));
            }
        } else if leads && operator.due[b] && operator.sees.birds[b].is_some() {
            actions.push(Action::Reconcile(place, bird));
        }
        if leads && operator.memos[b].asking.is_some() {
            let sayings = [
                (true, Said::Good),
                (configuration.bad, Said::Bad),
                (configuration.unknown, Said::Unknown),
            ];
            let possible = sayings.into_iter().filter(|(may, _)| *may);
            actions.extend(possible.map(|(_, said)| Action::Answer(place, bird, said)));
        }
    }
    actions.extend(unseen(world, o).into_iter().map(|kind| Action::See(place, kind)));
    if configuration.crashes && leads {
        actions.push(Action::Crash(place, false));
        let keeps = |job: &Job| may_delay(tables, world, job);
        if operator.jobs.iter().flatten().any(keeps) {
            actions.push(Action::Crash(place, true));
        }
    }
    if world.rest.moves > 0 && leads {
        actions.push(Action::Lose(place));
    }
    // A lease must have run out before it is taken.
    let jobs = world.operators.iter().flat_map(|operator| operator.jobs);
    if world.rest.is_free && jobs.flatten().next().is_none() {
        actions.push(Action::Lead(place));
    }
}

/// Whether a tick may pass: an operator that does not sleep has done by then what it can do now, and Prometheus answers
/// within a tick.
fn may_pass(configuration: &Configuration, world: &World) -> bool {
    let patient = |operator: &Operator| {
        operator
            .memos
            .iter()
            .filter_map(|m| m.asking)
            .all(|(_, asked)| asked < 1)
    };
    if !world.operators.iter().all(patient) {
        return false;
    }
    let Some(leader) = world.rest.leader else {
        return true;
    };
    let operator = &world.operators[usize::from(leader)];
    let must_look = |b: usize| operator.due[b] && !operator.waits[b] && operator.sees.birds[b].is_some();
    if configuration.slow {
        // Of two checks that are older than any age here nobody knows which came first: none is heard so late.
        let is_young = |b: usize| operator.memos[b].check.is_none_or(|check| check.asked + 1 < LONG);
        return (0..BIRDS).all(|b| is_young(b) || !must_look(b));
    }
    let is_idle = |b: usize| operator.jobs[b].is_none() && !must_look(b);
    (0..BIRDS).all(is_idle)
}
