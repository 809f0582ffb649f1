//! Two `BirdWatch`es for the same objects: the older one acts.

use std::cmp::Ordering;

use crate::api::plan::Target;
use crate::core::decide;
use crate::core::observation::ObjectName;

use super::look::Sight;
use super::objects::RawBirdWatch;

/// Name of the oldest `BirdWatch`, older than `object`, that acts on the same rule, or on the same host and subsets.
pub fn older(sight: &impl Sight, object: &RawBirdWatch, target: &Target) -> Option<String> {
    let name = object.name();
    let rule = ObjectName {
        namespace: name.namespace.clone(),
        name: target.destination_rule.clone(),
    };
    let peers = sight.index().sharing(&rule);
    let others = peers
        .iter()
        .filter(|peer| **peer != name)
        .filter_map(|peer| sight.bird_watch(peer));
    let mut older: Vec<_> = others
        .filter(|other| by_age(other, object) == Ordering::Less)
        .collect();
    // The oldest first: what it is about has to be read, which takes long, and of the others nothing need be.
    older.sort_by(|a, b| by_age(a, b));
    older
        .iter()
        .find(|other| target_of(other).is_some_and(|theirs| are_same(&theirs, target)))
        .map(|other| other.name().name)
}

fn target_of(object: &RawBirdWatch) -> Option<Target> {
    decide::target(&object.read_status().ok()?, &object.read_spec())
}

/// Of two targets for the same host.
fn are_same(a: &Target, b: &Target) -> bool {
    let subsets = |target: &Target| (target.production_subset.clone(), target.canary_subset.clone());
    a.destination_rule == b.destination_rule || subsets(a) == subsets(b)
}

/// The older first; of two made in the same second, the one with the smaller UID.
#[must_use]
pub fn by_age(a: &RawBirdWatch, b: &RawBirdWatch) -> Ordering {
    let age = |object: &RawBirdWatch| {
        (
            object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            object.metadata.uid.clone(),
        )
    };
    age(a).cmp(&age(b))
}
