//! What happens when something happens: the server, the watches, what operators send and what becomes of it.

use std::time::Duration;

use birdwatch::controller::commit::Committed;
use birdwatch::controller::errors::Fault;
use birdwatch::core::decision::Effect;
use birdwatch::core::observation::Side;

use super::leading::{arrive, crash, lead, lose};
use super::passing::{renumber, tick};
use super::people::{change, mend, release};
use super::server::{Landed, land};
use super::state::*;
use super::tables::{Patched, Tables};
use super::thinking::{Call, Thought};
use super::witness;

/// Happens, where it can.
pub(crate) fn happen(tables: &mut Tables, world: &World, action: Action) -> Option<World> {
    let mut next = *world;
    match action {
        Action::See(o, kind) => see(&mut next, usize::from(o), kind),
        Action::Reconcile(o, b) => reconcile(tables, &mut next, usize::from(o), usize::from(b)),
        Action::Call(o, b, fate) => call(tables, &mut next, usize::from(o), usize::from(b), fate)?,
        Action::Answer(o, b, said) => answer(tables, &mut next, usize::from(o), usize::from(b), said)?,
        Action::Crash(o, keeps) => crash(&mut next, o, keeps),
        Action::Lead(o) => lead(&mut next, o),
        Action::Lose(o) => lose(&mut next, o),
        Action::Arrive(arrives) => arrive(tables, &mut next, arrives)?,
        Action::Release => release(tables, &mut next)?,
        Action::Edit(edit) => {
            next.rest.edits -= 1;
            change(tables, &mut next, edit)?;
        }
        Action::Mend => mend(tables, &mut next),
        Action::Tick => tick(tables, &mut next),
    }
    show(tables, &mut next);
    renumber(&mut next);
    (next != *world).then_some(next)
}

/// An operator's watch shows the newest object of a kind.
fn see(world: &mut World, o: usize, kind: Kind) {
    let server = world.server;
    let operator = &mut world.operators[o];
    let sees = &mut operator.sees;
    match kind {
        Kind::Bird(b) => {
            let b = usize::from(b);
            operator.memos[b].wrote_it &= sees.birds[b] == server.birds[b];
            sees.birds[b] = server.birds[b];
            if sees.birds[b].is_none() {
                (operator.memos[b], operator.wake[b]) = (Memo::default(), None);
            }
        }
        Kind::Route => {
            sees.route = server.route;
            operator
                .memos
                .iter_mut()
                .for_each(|memo| memo.routes_writer = None);
        }
        Kind::Rule => {
            sees.rule = server.rule;
            operator
                .memos
                .iter_mut()
                .for_each(|memo| memo.rule_writer = false);
        }
        Kind::Pods => sees.pods = server.pods,
    }
    for b in 0..BIRDS {
        operator.due[b] = operator.sees.birds[b].is_some();
    }
    operator.waits = Default::default();
}

/// The kinds of which an operator sees something old.
pub(crate) fn unseen(world: &World, o: usize) -> Vec<Kind> {
    let (server, sees) = (&world.server, &world.operators[o].sees);
    let birds = (0..BIRDS).filter(|b| server.birds[*b] != sees.birds[*b]);
    let mut kinds: Vec<Kind> = birds.map(|b| Kind::Bird(u8::try_from(b).unwrap())).collect();
    kinds.extend((server.route.version != sees.route.version).then_some(Kind::Route));
    kinds.extend((server.rule.version != sees.rule.version).then_some(Kind::Rule));
    kinds.extend((server.pods.version != sees.pods.version).then_some(Kind::Pods));
    kinds
}

/// Operators that see everything at once do.
fn show(tables: &Tables, world: &mut World) {
    for o in 0..tables.configuration.operators {
        let may_be_stale = tables.configuration.stale && o + 1 == tables.configuration.operators;
        if !may_be_stale {
            for kind in unseen(world, o) {
                see(world, o, kind);
            }
        }
    }
}

/// An operator begins a reconcile: it looks, decides, asks, and sends its first call.
fn reconcile(tables: &mut Tables, world: &mut World, o: usize, b: usize) {
    let (absences, own_weight) = (world.rest.absences, witness::own_weight(tables, world));
    let operator = &mut world.operators[o];
    (operator.due[b], operator.waits[b], operator.wake[b]) = (false, false, None);
    let sees = operator.sees;
    let Some(bird) = sees.birds[b] else { return };
    let key = (
        u8::try_from(b).unwrap(),
        sees.birds.map(|bird| bird.map(|bird| bird.is)),
        sees.route.is,
        sees.rule.is,
        sees.pods.is,
        operator.memos[b],
        absences,
    );
    let place = tables.think(key);
    let thought = tables.thought(place);
    operator.memos[b] = thought.memo;
    if thought.asks {
        // What is lowered is lowered first.
        operator.memos[b].asked_at = thought.lowers_to().map_or(own_weight, |to| to.min(own_weight));
    }
    operator.jobs[b] = Some(Job {
        thought: place,
        at: 0,
        bird,
        route: sees.route,
        rule: sees.rule,
        sent: sees.route,
        next: thought.next,
        wake: thought.wake,
        changed: false,
        failed: false,
        orphan: false,
        crossed: false,
    });
    world.rest.ghost.broken = world.rest.ghost.broken.or(thought.broken);
    condemn(tables, world, o, b);
    go_on(tables, world, o, b);
}

/// An attempt is taken back once its rollback has left nothing on the canary. One that finds nothing there is taken back with its
/// status: if that is refused, as where somebody has edited the spec, it may be decided anew.
fn condemn(tables: &Tables, world: &mut World, o: usize, b: usize) {
    let operator = &mut world.operators[o];
    let Some(job) = operator.jobs[b].filter(|job| !job.orphan) else {
        return;
    };
    let thought = tables.thought(job.thought);
    if thought.is_rolling_back && thought.acted_upon && tables.weight(world.server.route.is) == 0 {
        operator.memos[b].condemned = thought.attempt;
    }
}

/// Sends the next call that there is something to send for, or ends the reconcile.
fn go_on(tables: &mut Tables, world: &mut World, o: usize, b: usize) {
    while let Some(mut job) = world.operators[o].jobs[b] {
        let thought = tables.thought(job.thought);
        let Some(call) = thought.call(job.at) else {
            return finish(world, o, b, job.changed);
        };
        if job.failed && matches!(call, Call::Effect(effect) if !matches!(effect, Effect::Lower { .. })) {
            return finish(world, o, b, true);
        }
        let operator = &mut world.operators[o];
        if is_needed(tables, operator, b, &job, call) {
            job.sent = operator.sees.route;
            operator.jobs[b] = Some(job);
            let broken = witness::of_sent(tables, world, b, &job, &thought);
            world.rest.ghost.broken = world.rest.ghost.broken.or(broken);
            return;
        }
        job.at += 1;
        operator.jobs[b] = Some(job);
    }
}

fn is_needed(tables: &mut Tables, operator: &Operator, b: usize, job: &Job, call: &Call) -> bool {
    let bird = operator.sees.birds[b];
    let (thought, at) = (job.thought, job.at);
    let mut patches = |of: Id| tables.patch_route(thought, at, of, of, true) != Patched::Nothing;
    match call {
        Call::Status | Call::Read | Call::Effect(Effect::ReadRoutes | Effect::IdentifyRuleWriter) => true,
        Call::Effect(Effect::Lower { .. } | Effect::RestoreWeights) => patches(operator.sees.route.is),
        Call::Effect(Effect::Raise { .. } | Effect::TakeBack) => patches(job.route.is),
        Call::Effect(Effect::Label { .. } | Effect::RestoreLabel { .. }) => {
            let of = job.rule.is;
            tables.patch_rule(thought, at, of, of, true) != Patched::Nothing
        }
        Call::Effect(Effect::AddFinalizer) => bird.is_some_and(|bird| !bird.is.finalizer),
        Call::Effect(Effect::RemoveFinalizer) => bird.is_some_and(|bird| bird.is.finalizer),
    }
}

/// A reconcile is over. `again`: something is known that was not.
fn finish(world: &mut World, o: usize, b: usize, again: bool) {
    let operator = &mut world.operators[o];
    let Some(job) = operator.jobs[b].take() else {
        return;
    };
    if job.orphan {
        return;
    }
    match job.wake {
        _ if again => operator.due[b] = true,
        Some(0) => operator.due[b] = true,
        wake => operator.wake[b] = wake,
    }
}

/// The call on its way meets its fate.
fn call(tables: &mut Tables, world: &mut World, o: usize, b: usize, fate: Fate) -> Option<()> {
    let job = world.operators[o].jobs[b]?;
    let landed = match fate {
        Fate::Answered | Fate::Unanswered => Some(land(tables, world, o, b, &job, job.orphan)),
        Fate::Lost => None,
        Fate::Delayed => {
            let bird = u8::try_from(b).unwrap();
            world.late = Some(Late { bird, job });
            None
        }
    };
    if fate == Fate::Unanswered && landed != Some(Landed::Done) {
        return None;
    }
    if job.orphan {
        world.operators[o].jobs[b] = None;
        return Some(());
    }
    condemn(tables, world, o, b);
    let answer = landed.filter(|_| fate == Fate::Answered);
    let thought = tables.thought(job.thought);
    match thought.call(job.at)? {
        Call::Status => after_status(tables, world, o, b, &thought, answer),
        Call::Effect(Effect::Lower { .. }) => after_lowering(tables, world, o, b, answer),
        Call::Read => after_reading(tables, world, o, b, answer),
        Call::Effect(_) => after_effect(tables, world, o, b, answer),
    }
    let operator = &mut world.operators[o];
    operator.waits[b] =
        tables.configuration.outage && answer.is_none() && operator.due[b] && operator.jobs[b].is_none();
    Some(())
}

/// The answer to an operator's own call shows it the object, without a watch.
fn shown(world: &mut World, o: usize, kind: Kind) {
    let Operator { due, waits, .. } = world.operators[o];
    see(world, o, kind);
    (world.operators[o].due, world.operators[o].waits) = (due, waits);
}

fn kind_of(effect: &Effect, b: usize) -> Kind {
    match effect {
        Effect::Lower { .. }
        | Effect::Raise { .. }
        | Effect::TakeBack
        | Effect::RestoreWeights
        | Effect::ReadRoutes => Kind::Route,
        Effect::Label { .. } | Effect::RestoreLabel { .. } | Effect::IdentifyRuleWriter => Kind::Rule,
        Effect::AddFinalizer | Effect::RemoveFinalizer => Kind::Bird(u8::try_from(b).unwrap()),
    }
}

fn after_lowering(tables: &mut Tables, world: &mut World, o: usize, b: usize, answer: Option<Landed>) {
    let Some(mut job) = world.operators[o].jobs[b] else {
        return;
    };
    match answer {
        // Read again, and tried again at once: `go_on` makes another patch, if there is still something to lower.
        Some(Landed::Conflict) => {}
        Some(Landed::Done | Landed::Gone) => (job.changed, job.at) = (true, job.at + 1),
        None => (job.failed, job.changed, job.at) = (true, true, job.at + 1),
    }
    world.operators[o].jobs[b] = Some(job);
    if answer.is_some() {
        shown(world, o, Kind::Route);
    }
    go_on(tables, world, o, b);
}

fn after_status(
    tables: &mut Tables,
    world: &mut World,
    o: usize,
    b: usize,
    thought: &Thought,
    answer: Option<Landed>,
) {
    let Some(mut job) = world.operators[o].jobs[b] else {
        return;
    };
    let fault = match answer {
        Some(Landed::Done) => None,
        Some(Landed::Conflict) => Some(Fault::Conflict),
        Some(Landed::Gone) => Some(Fault::Gone),
        None => Some(Fault::late(Duration::from_secs(4))),
    };
    let committed = match &fault {
        None => Committed::Written,
        Some(Fault::Gone) => Committed::Gone,
        Some(_) => Committed::Overtaken,
    };
    let written = fault.is_none();
    if committed != Committed::Gone {
        let memo = &mut world.operators[o].memos[b];
        memo.held = tables.settle(memo, &job, thought.acted_upon, fault);
        if written {
            memo.last_write = Some(0);
        }
    }
    if answer.is_some() {
        shown(world, o, Kind::Bird(u8::try_from(b).unwrap()));
    }
    world.operators[o].memos[b].wrote_it |= written;
    let leaving = job.bird.is.deleting;
    let goes_on = |call: &Call| matches!(call, Call::Effect(effect) if committed.permits(effect, leaving));
    job.at += 1;
    let permitted = thought.call(job.at).is_none_or(goes_on);
    world.operators[o].jobs[b] = Some(job);
    if !written || job.failed || !permitted {
        return finish(world, o, b, true);
    }
    go_on(tables, world, o, b);
}

fn after_reading(tables: &mut Tables, world: &mut World, o: usize, b: usize, answer: Option<Landed>) {
    let Some(mut job) = world.operators[o].jobs[b] else {
        return;
    };
    if answer.is_some() {
        shown(world, o, Kind::Bird(u8::try_from(b).unwrap()));
    }
    if job.failed || answer != Some(Landed::Done) {
        return finish(world, o, b, true);
    }
    job.at += 1;
    world.operators[o].jobs[b] = Some(job);
    go_on(tables, world, o, b);
}

fn after_effect(tables: &mut Tables, world: &mut World, o: usize, b: usize, answer: Option<Landed>) {
    let Some(mut job) = world.operators[o].jobs[b] else {
        return;
    };
    let thought = tables.thought(job.thought);
    let Some(effect) = thought.effect(job.at) else {
        return;
    };
    if answer.is_some() {
        shown(world, o, kind_of(effect, b));
        if matches!(effect, Effect::Label { .. }) {
            shown(world, o, Kind::Route);
        }
    }
    let by_hand = world.rest.by_hand;
    let memo = &mut world.operators[o].memos[b];
    match (effect, answer) {
        (Effect::ReadRoutes, Some(_)) => memo.routes_writer = Some(by_hand),
        (Effect::IdentifyRuleWriter, Some(_)) => memo.rule_writer = true,
        _ => {}
    }
    // What has no finalizer any more needs none removed; nothing else is done for what is gone.
    let is_done = match answer {
        Some(Landed::Gone) => *effect == Effect::RemoveFinalizer,
        answer => answer == Some(Landed::Done),
    };
    if job.failed || !is_done {
        return finish(world, o, b, true);
    }
    (job.changed, job.at) = (true, job.at + 1);
    world.operators[o].jobs[b] = Some(job);
    go_on(tables, world, o, b);
}

fn answer(tables: &Tables, world: &mut World, o: usize, b: usize, said: Said) -> Option<()> {
    let operator = &mut world.operators[o];
    let memo = &mut operator.memos[b];
    let (request, asked) = memo.asking.take()?;
    memo.check = Some(Answered { request, asked, said });
    let asked_at = std::mem::take(&mut memo.asked_at);
    let of_canary = tables
        .asked(request)
        .questions
        .iter()
        .all(|q| q.side == Side::Canary);
    let at = if of_canary { asked_at } else { 0 };
    memo.heard = Some(witness::latest(tables, memo.heard, Heard { request, said, at }));
    let is_blind = said == Said::Unknown && tables.asked_at(request) > 0;
    let counts = is_blind && tables.configuration.is_impatient();
    memo.blind = counts.then(|| memo.blind.unwrap_or(asked));
    (operator.due[b], operator.waits[b]) = (true, false);
    Some(())
}
