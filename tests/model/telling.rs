//! A way through the model, in words.

use std::fmt::Write as _;

use super::objects::labels;
use super::promises::PROMISES;
use super::state::*;
use super::tables::Tables;
use super::thinking::Call;

/// A way to a state, and what is broken there.
pub(crate) fn way(tables: &Tables, path: Vec<(State, Option<Action>)>) -> String {
    let mut text = String::new();
    let broken = path.last().and_then(|(last, _)| last.rest.ghost.broken);
    for (state, action) in path {
        let world = tables.unpack(&state);
        let _ = writeln!(text, "  {}", describe(tables, &world));
        if let Some(action) = action {
            let _ = writeln!(text, "{}", told(tables, &world, action));
        }
    }
    if let Some(broken) = broken {
        let (promise, words) = PROMISES[usize::from(broken)];
        let _ = writeln!(text, "promise {promise} is broken: {words}");
    }
    text
}

fn told(tables: &Tables, world: &World, action: Action) -> String {
    if let Action::Call(o, b, fate) = action
        && let Some(job) = world.operators[usize::from(o)].jobs[usize::from(b)]
        && let Some(call) = tables.thought(job.thought).call(job.at)
    {
        let call = match call {
            Call::Status => "status".to_owned(),
            Call::Read => "is the status the newest?".to_owned(),
            Call::Effect(effect) => format!("{effect:?}"),
        };
        return format!("operator {o}: {call} {fate:?}");
    }
    format!("{action:?}")
}

fn describe(tables: &Tables, world: &World) -> String {
    let (production, _) = labels(tables.rules.at(world.server.rule.is));
    let production = production.unwrap_or_default();
    let weight = tables.weight(world.server.route.is);
    let mut text = format!("production {production}, weight {weight}");
    for bird in world.server.birds.iter().flatten() {
        let status = tables.statuses.at(bird.is.status);
        let _ = write!(text, " | {} \"{}\"", status.phase.as_str(), status.message);
        if let Some(rollout) = &status.rollout {
            let _ = write!(
                text,
                " {} step {} intended {} confirmed {} {:?}",
                rollout.id, rollout.step, rollout.intended, rollout.confirmed, rollout.verdict
            );
        }
    }
    text
}
