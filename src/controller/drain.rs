//! What is still to be given back when the operator is removed.

use super::context::Scope;
use super::objects::RawBirdWatch;

/// Whether its end is decided and carried out, though the server takes no status that says so.
fn is_given_back(scope: &Scope, object: &RawBirdWatch) -> bool {
    let Some(entry) = scope.memory.get(&object.name()) else {
        return false;
    };
    let remembered = entry.lock();
    let unwritten = remembered
        .held
        .as_ref()
        .and_then(|held| held.status.rollout.as_ref());
    unwritten.is_some_and(|rollout| rollout.ended.is_some()) && !object.has_finalizer()
}

/// How many notices are still to be delivered.
#[must_use]
pub fn untold(scope: &Scope) -> usize {
    let names = scope.stores.bird_watches.names();
    let pending = names.iter().filter_map(|name| {
        let status = scope.bird_watch(name)?.read_status().ok()?;
        Some(status.notices.pending.len())
    });
    pending.sum()
}

/// Each `BirdWatch` that still shifts traffic, or still has our finalizer, as `namespace/name: why`. Nothing before
/// the scope is filled means nothing: see [`Scope::is_acting`].
#[must_use]
pub fn remaining(scope: &Scope) -> Vec<String> {
    let names = scope.stores.bird_watches.names();
    let mut left: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let object = scope.bird_watch(name)?;
            let why = match object.read_status() {
                Err(error) => error.to_string(),
                Ok(status) => match &status.rollout {
                    Some(rollout) if rollout.ended.is_none() && !is_given_back(scope, &object) => {
                        format!(
                            "{} at {} %: {}",
                            status.phase.as_str(),
                            rollout.confirmed,
                            status.message
                        )
                    }
                    _ if object.has_finalizer() => "the finalizer is still there".to_owned(),
                    _ => return None,
                },
            };
            Some(format!("{}/{}: {why}", name.namespace, name.name))
        })
        .collect();
    left.sort();
    left
}
