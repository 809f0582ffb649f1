//! Two `BirdWatch`es for the same objects: the older one acts.

use jiff::Timestamp;

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
    // The oldest first: what it is about has to be read, which takes long, and of the others nothing need be.
    let older = sight.index().sharing_and_older(&rule, &Age::of(object));
    let acts = |other: &ObjectName| {
        let theirs = sight.bird_watch(other).and_then(|other| target_of(&other));
        theirs.is_some_and(|theirs| are_same(&theirs, target))
    };
    older.into_iter().find(acts).map(|other| other.name)
}

fn target_of(object: &RawBirdWatch) -> Option<Target> {
    decide::target(&object.read_status().ok()?, &object.read_spec())
}

/// Of two targets for the same host.
fn are_same(a: &Target, b: &Target) -> bool {
    let subsets = |target: &Target| (target.production_subset.clone(), target.canary_subset.clone());
    a.destination_rule == b.destination_rule || subsets(a) == subsets(b)
}

/// When an object was made, the older first; of two made in the same second, the one with the smaller UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    made: Option<Timestamp>,
    uid: Option<String>,
}

impl Age {
    /// That of an object.
    #[must_use]
    pub fn of(object: &RawBirdWatch) -> Self {
        Self {
            made: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            uid: object.metadata.uid.clone(),
        }
    }
}
