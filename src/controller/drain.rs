//! What is still to be given back when the operator is removed.

use super::context::Scope;

/// How many notices are still to be delivered.
#[must_use]
pub fn untold(scope: &Scope) -> usize {
    let objects = scope.stores.bird_watches.state();
    let pending = objects.iter().filter_map(|object| {
        let status = scope.bird_watch(&object.name())?.read_status().ok()?;
        Some(status.notices.pending.len())
    });
    pending.sum()
}

/// Each `BirdWatch` that still shifts traffic, or still has our finalizer, as `namespace/name: why`. Nothing before
/// the scope is filled means nothing: see [`Scope::is_acting`].
#[must_use]
pub fn remaining(scope: &Scope) -> Vec<String> {
    let objects = scope.stores.bird_watches.state();
    let mut left: Vec<String> = objects
        .iter()
        .filter_map(|object| {
            let name = object.name();
            let object = scope.bird_watch(&name)?;
            let why = match object.read_status() {
                Err(error) => error.to_string(),
                Ok(status) => match &status.rollout {
                    // Without the finalizer no traffic is shifted, whatever a status that cannot be written says.
                    Some(rollout) if rollout.ended.is_none() && object.has_finalizer() => {
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
