//! Weights of our two destinations: what they should be, and the guarded patches that make them so.

use std::cmp::Ordering;

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{Patch, PatchOperation};

pub use crate::core::weights::share;

use super::patch::{below, pointer, same_version, set, test};
use super::raw::VirtualService;
use super::routes::{Route, Side};

/// Where the canary of `route` stands compared with its share at `percent`: below it, on it or above it.
#[must_use]
pub fn compare(route: &Route, percent: u8) -> Ordering {
    route.canary_weight().cmp(&share(route.total, percent))
}

/// What must still be as we read it for a patch to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Only that our two destinations stand at their places, so that the server itself retries a conflict, and that a
    /// canary that keeps some weight has what was read: somebody may have lowered it further, while 0 is right
    /// whatever it has. For lowering; a patch that raises any canary is guarded by the resource version whatever is
    /// asked for.
    DestinationsOnly,
    /// The whole object, by its resource version.
    ResourceVersion,
}

/// Gives the canary its share at `percent` on every route of `virtual_service` among `routes`.
///
/// Both weights of a route change in the one patch and their sum stays. `None` where nothing differs.
#[must_use]
pub fn weight_patch(
    virtual_service: &VirtualService,
    routes: &[Route],
    percent: u8,
    guard: Guard,
) -> Option<Patch> {
    let shares: Vec<_> = routes
        .iter()
        .map(|route| (route, share(route.total, percent)))
        .collect();
    shares_patch(virtual_service, &shares, guard)
}

/// Lowers the canary to its share at `max_percent` where it has more, and touches no other route.
#[must_use]
pub fn lower_patch(virtual_service: &VirtualService, routes: &[Route], max_percent: u8) -> Option<Patch> {
    let shares: Vec<_> = routes
        .iter()
        .filter(|route| compare(route, max_percent) == Ordering::Greater)
        .map(|route| (route, share(route.total, max_percent)))
        .collect();
    shares_patch(virtual_service, &shares, Guard::DestinationsOnly)
}

/// Gives each canary the weight beside it, and production the rest of that route's total.
///
/// A weight outside 0 to the total counts as the nearest inside. Routes of other objects are passed over. `None`
/// where nothing differs.
#[must_use]
pub fn shares_patch(
    virtual_service: &VirtualService,
    shares: &[(&Route, i64)],
    guard: Guard,
) -> Option<Patch> {
    let name = virtual_service.metadata.name.as_deref();
    let changes: Vec<(&Route, i64)> = shares
        .iter()
        .filter(|(route, _)| name == Some(route.virtual_service.as_str()))
        .map(|&(route, canary)| (route, canary.clamp(0, route.total.max(0))))
        .filter(|(route, canary)| route.canary_weight() != *canary)
        .collect();
    if changes.is_empty() {
        return None;
    }
    let raises = changes
        .iter()
        .any(|(route, canary)| *canary > route.canary_weight());
    let mut operations = Vec::new();
    let is_fenced = raises || guard == Guard::ResourceVersion;
    if is_fenced {
        operations.push(same_version(&virtual_service.metadata));
    }
    for (route, canary) in &changes {
        operations.extend(stand_where_found(route));
        if let (false, Some(weight), 1..) = (is_fenced, route.canary.weight, *canary) {
            operations.push(test(weight_at(route, &route.canary), weight));
        }
    }
    for (route, canary) in &changes {
        operations.push(set(weight_at(route, &route.production), route.total - canary));
        operations.push(set(weight_at(route, &route.canary), *canary));
    }
    Some(Patch(operations))
}

/// Tests that our two destinations are the ones that were read at their places.
fn stand_where_found(route: &Route) -> impl Iterator<Item = PatchOperation> {
    [&route.production, &route.canary]
        .into_iter()
        .flat_map(move |side| {
            let entry = entry_at(route, side);
            [
                test(below(&entry, ["destination", "host"]), side.host.as_str()),
                test(below(&entry, ["destination", "subset"]), side.subset.as_str()),
            ]
        })
}

/// Path of the weight of one of our destinations.
pub(super) fn weight_at(route: &Route, side: &Side) -> PointerBuf {
    below(&entry_at(route, side), ["weight"])
}

fn entry_at(route: &Route, side: &Side) -> PointerBuf {
    let list = Token::new(route.kind.field());
    pointer([
        Token::new("spec"),
        list,
        route.index.into(),
        Token::new("route"),
        side.index.into(),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::istio::test_support::{
        all_virtual_services, apply, changed_virtual_services, found, simple, to, virtual_service, weights,
        without_weights,
    };

    fn to_percent(object: &VirtualService, percent: u8, guard: Guard) -> Option<Patch> {
        weight_patch(object, &found(object).ours, percent, guard)
    }

    fn tests_version(patch: &Patch) -> bool {
        patch
            .iter()
            .any(|op| op.path().as_str() == "/metadata/resourceVersion")
    }

    #[test]
    fn shares_are_rounded_down_but_never_to_nothing() {
        for (total, percent, part) in [
            (100, 0, 0),
            (100, 1, 1),
            (100, 99, 99),
            (100, 100, 100),
            (60, 10, 6),
            (33, 50, 16),
            (10, 1, 1),
            (3, 10, 1),
            (1, 50, 1),
            (0, 50, 0),
            (-5, 50, 0),
            (7, 255, 7),
            (i64::MAX, 100, i64::MAX),
        ] {
            assert_eq!(share(total, percent), part, "{percent} % of {total}");
        }
    }

    #[test]
    fn a_raise_tests_the_resource_version_whatever_is_asked_for() {
        for guard in [Guard::DestinationsOnly, Guard::ResourceVersion] {
            let patch = to_percent(&simple(90, 10), 20, guard).unwrap();
            assert_eq!(
                serde_json::to_value(&patch).unwrap(),
                json!([
                    {"op": "test", "path": "/metadata/resourceVersion", "value": "41"},
                    {"op": "test", "path": "/spec/http/0/route/0/destination/host", "value": "aleph"},
                    {"op": "test", "path": "/spec/http/0/route/0/destination/subset", "value": "production"},
                    {"op": "test", "path": "/spec/http/0/route/1/destination/host", "value": "aleph"},
                    {"op": "test", "path": "/spec/http/0/route/1/destination/subset", "value": "canary"},
                    {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 80},
                    {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 20},
                ])
            );
        }
    }

    #[test]
    fn lowering_tests_the_destinations_alone() {
        let object = simple(80, 20);
        let lowered = lower_patch(&object, &found(&object).ours, 0).unwrap();
        assert!(!tests_version(&lowered));
        assert_eq!(lowered, to_percent(&object, 0, Guard::DestinationsOnly).unwrap());
        assert!(tests_version(
            &to_percent(&object, 0, Guard::ResourceVersion).unwrap()
        ));
    }

    #[test]
    fn lowering_still_applies_after_others_changed_weights_labels_and_fields() {
        let seen = simple(80, 20);
        let patch = lower_patch(&seen, &found(&seen).ours, 0).unwrap();
        let mut moved_on = simple(Value::Null, 60);
        moved_on.metadata.resource_version = Some("99".into());
        moved_on.metadata.labels = Some([("team".to_owned(), "blue".to_owned())].into());
        moved_on.spec["http"][0]["retries"] = json!({"attempts": 3});
        let after = apply(&moved_on, &patch).unwrap();
        assert_eq!(weights(&after), [(Some(100), Some(0))]);
        assert_eq!(after.spec["http"][0]["retries"], json!({"attempts": 3}));
    }

    #[test]
    fn lowering_to_more_than_0_is_not_taken_by_a_canary_that_somebody_lowered_meanwhile() {
        let (seen, met) = (simple(10, 90), simple(100, 0));
        let lowered = |percent| lower_patch(&seen, &found(&seen).ours, percent).unwrap();
        assert!(apply(&met, &lowered(50)).is_err());
        assert!(apply(&met, &lowered(1)).is_err());
        for (percent, expected) in [(50, (Some(50), Some(50))), (0, (Some(100), Some(0)))] {
            assert_eq!(weights(&apply(&seen, &lowered(percent)).unwrap()), [expected]);
        }
        assert_eq!(
            weights(&apply(&met, &lowered(0)).unwrap()),
            [(Some(100), Some(0))]
        );
    }

    #[test]
    fn a_raise_fails_on_any_newer_version_of_the_object() {
        let seen = simple(100, 0);
        let patch = to_percent(&seen, 10, Guard::ResourceVersion).unwrap();
        let mut moved_on = seen;
        moved_on.metadata.resource_version = Some("42".into());
        assert!(apply(&moved_on, &patch).is_err());
    }

    #[test]
    fn a_raise_of_an_object_without_version_is_never_taken() {
        let mut seen = simple(100, 0);
        seen.metadata.resource_version = None;
        let patch = to_percent(&seen, 10, Guard::ResourceVersion).unwrap();
        assert!(apply(&simple(100, 0), &patch).is_err());
    }

    #[test]
    fn every_patch_fails_when_the_destinations_have_moved() {
        let seen = virtual_service(json!({"http": [
            {"route": [to("canary", 5)]},
            {"route": [to("production", 80), to("canary", 20)]},
        ]}));
        let patch = lower_patch(&seen, &found(&seen).ours, 0).unwrap();
        assert!(apply(&seen, &patch).is_ok());
        let reorders: [fn(&mut Value); 5] = [
            |spec| spec["http"][1]["route"].as_array_mut().unwrap().reverse(),
            |spec| spec["http"].as_array_mut().unwrap().reverse(),
            |spec| spec["http"][1]["route"].as_array_mut().unwrap().truncate(1),
            |spec| spec["http"].as_array_mut().unwrap().truncate(1),
            |spec| spec["http"][1]["route"][0]["destination"]["host"] = "beth".into(),
        ];
        for reorder in reorders {
            let mut moved = seen.clone();
            reorder(&mut moved.spec);
            assert!(apply(&moved, &patch).is_err(), "{}", moved.spec);
        }
    }

    #[test]
    fn nothing_to_change_makes_no_patch() {
        assert_eq!(to_percent(&simple(80, 20), 20, Guard::ResourceVersion), None);
        assert_eq!(
            to_percent(&simple(Value::Null, Value::Null), 0, Guard::ResourceVersion),
            None
        );
        assert_eq!(
            to_percent(&simple(0, 0), 50, Guard::ResourceVersion),
            None,
            "a total of 0 is held"
        );
        assert_eq!(
            to_percent(&virtual_service(json!({})), 50, Guard::ResourceVersion),
            None
        );
    }

    #[test]
    fn absent_weights_are_written_when_they_must_differ() {
        let object = simple(Value::Null, Value::Null);
        let after = apply(&object, &to_percent(&object, 10, Guard::ResourceVersion).unwrap()).unwrap();
        assert_eq!(weights(&after), [(Some(90), Some(10))]);
    }

    #[test]
    fn lowering_touches_only_routes_above() {
        let object = virtual_service(json!({"http": [
            {"route": [to("production", 95), to("canary", 5)]},
            {"route": [to("production", 20), to("canary", 40), {"destination": {"host": "beth"}, "weight": 40}]},
        ]}));
        let after = apply(&object, &lower_patch(&object, &found(&object).ours, 10).unwrap()).unwrap();
        assert_eq!(weights(&after), [(Some(95), Some(5)), (Some(54), Some(6))]);
        assert_eq!(after.spec["http"][1]["route"][2]["weight"], 40);
        assert_eq!(lower_patch(&after, &found(&after).ours, 10), None);
    }

    #[test]
    fn explicit_shares_are_kept_within_the_total() {
        let object = virtual_service(json!({"http": [
            {"route": [to("production", 60), to("canary", 0)]},
            {"route": [to("production", 60), to("canary", 0)]},
            {"route": [to("production", 60), to("canary", 10)]},
        ]}));
        let ours = found(&object).ours;
        let shares = [(&ours[0], 15), (&ours[1], 1000), (&ours[2], -1)];
        let after = apply(
            &object,
            &shares_patch(&object, &shares, Guard::ResourceVersion).unwrap(),
        )
        .unwrap();
        assert_eq!(
            weights(&after),
            [(Some(45), Some(15)), (Some(0), Some(60)), (Some(70), Some(0))]
        );
    }

    #[test]
    fn routes_of_other_objects_are_passed_over() {
        let object = simple(80, 20);
        let mut other = object.clone();
        other.metadata.name = Some("other".into());
        assert_eq!(lower_patch(&other, &found(&object).ours, 0), None);
    }

    proptest! {
        #[test]
        fn shares_stay_within_the_total_and_rise_with_the_percent(total in 0..=4_294_967_294_i64, percent in 0..100_u8) {
            let part = share(total, percent);
            prop_assert!((0..=total).contains(&part));
            prop_assert!(part <= share(total, percent + 1));
            prop_assert_eq!(share(total, 0), 0);
            prop_assert_eq!(share(total, 100), total);
            prop_assert_eq!(part > 0, total > 0 && percent > 0);
            let exact = total * i64::from(percent) / 100;
            prop_assert!(part == exact || (exact == 0 && part == 1));
        }

        #[test]
        fn a_patch_changes_our_weights_and_nothing_else(object in all_virtual_services(), percent in 0..=100_u8) {
            let before = found(&object);
            let Some(patch) = to_percent(&object, percent, Guard::DestinationsOnly) else {
                prop_assert!(before.ours.iter().all(|route| compare(route, percent) == Ordering::Equal));
                return Ok(());
            };
            let after = apply(&object, &patch).unwrap();
            prop_assert_eq!(without_weights(&after, &before.ours), without_weights(&object, &before.ours));
            let now = found(&after);
            prop_assert_eq!(now.ours.len(), before.ours.len());
            prop_assert_eq!(&now.others, &before.others);
            prop_assert_eq!(&now.problems, &before.problems);
            for (old, new) in before.ours.iter().zip(&now.ours) {
                prop_assert_eq!(new.total, old.total);
                prop_assert_eq!(new.canary_weight(), share(old.total, percent));
            }
            prop_assert_eq!(to_percent(&after, percent, Guard::DestinationsOnly), None);
        }

        #[test]
        fn lowering_never_raises_anything(object in all_virtual_services(), percent in 0..=100_u8) {
            let before = found(&object).ours;
            let Some(patch) = lower_patch(&object, &before, percent) else { return Ok(()) };
            prop_assert!(!tests_version(&patch));
            let after = found(&apply(&object, &patch).unwrap()).ours;
            for (old, new) in before.iter().zip(&after) {
                prop_assert_eq!(new.total, old.total);
                prop_assert_eq!(new.canary_weight(), old.canary_weight().min(share(old.total, percent)));
            }
        }

        #[test]
        fn a_patch_on_a_changed_object_fails_or_changes_our_weights_alone(
            (seen, met) in changed_virtual_services(), percent in 0..=100_u8,
        ) {
            let ours = found(&seen).ours;
            let Some(patch) = lower_patch(&seen, &ours, percent) else { return Ok(()) };
            let Ok(after) = apply(&met, &patch) else { return Ok(()) };
            let written: Vec<_> =
                ours.into_iter().filter(|route| compare(route, percent) == Ordering::Greater).collect();
            prop_assert_eq!(without_weights(&after, &written), without_weights(&met, &written));
            for route in &written {
                let list = &met.spec[route.kind.field()][route.index]["route"];
                for side in [&route.production, &route.canary] {
                    prop_assert_eq!(&list[side.index]["destination"]["host"], &side.host);
                    prop_assert_eq!(&list[side.index]["destination"]["subset"], &side.subset);
                }
            }
        }
    }
}
