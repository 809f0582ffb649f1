//! The weights from before we came: taking note of them, and putting back those that are still as we left them.

use json_patch::{Patch, PatchOperation};

use super::patch::{remove, same_version, set};
use super::raw::VirtualService;
use super::routes::{Kind, Route, Side, parts};
use super::weights::{share, weight_at};

/// The weights of one route before we first wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWeights {
    /// Name of the `VirtualService`.
    pub virtual_service: String,
    /// Which list the route is in.
    pub kind: Kind,
    /// The route's name, where it has one.
    pub name: Option<String>,
    /// Production's weight as it was written; `None` where there was none.
    pub production: Option<i64>,
    /// The canary's weight as it was written; `None` where there was none.
    pub canary: Option<i64>,
}

/// Takes note of the weights of `routes`, one entry for each, in their order.
#[must_use]
pub fn keep(routes: &[Route]) -> Vec<KeptWeights> {
    routes
        .iter()
        .map(|route| KeptWeights {
            virtual_service: route.virtual_service.clone(),
            kind: route.kind,
            name: route.name.clone(),
            production: route.production.weight,
            canary: route.canary.weight,
        })
        .collect()
}

/// Puts the kept weights back on the routes of `virtual_service` that still have what we wrote last, which is the
/// canary's share at `written` percent. A key is removed where there was none.
///
/// Left alone are routes that somebody else has changed since, routes that `kept` does not know, and routes where
/// putting back would give the canary more than it has or change what the two hold together. `None` where nothing
/// is to be done. Guarded by the resource version: a failed guard means to read again.
#[must_use]
pub fn restore_patch(
    virtual_service: &VirtualService,
    routes: &[Route],
    kept: &[KeptWeights],
    written: u8,
) -> Option<Patch> {
    let name = virtual_service.metadata.name.as_deref()?;
    let routes: Vec<&Route> = routes
        .iter()
        .filter(|route| route.virtual_service == name)
        .collect();
    let kept: Vec<&KeptWeights> = kept.iter().filter(|kept| kept.virtual_service == name).collect();
    let mut operations = vec![same_version(&virtual_service.metadata)];
    for route in &routes {
        let before = counterpart(route, &routes, &kept).filter(|before| may_go_back(route, before, written));
        let Some(before) = before else { continue };
        for (side, before) in [
            (&route.production, before.production),
            (&route.canary, before.canary),
        ] {
            if side.weight != before {
                operations.push(put_back(route, side, before));
            }
        }
    }
    (operations.len() > 1).then_some(Patch(operations))
}

fn put_back(route: &Route, side: &Side, before: Option<i64>) -> PatchOperation {
    let path = weight_at(route, side);
    match before {
        Some(weight) => set(path, weight),
        None => remove(path),
    }
}

/// The route is as we left it, and going back neither raises the canary nor changes the total.
fn may_go_back(route: &Route, before: &KeptWeights, written: u8) -> bool {
    let (production, canary) = parts(before.production, before.canary, route.shared);
    let now = route.canary_weight();
    now == share(route.total, written) && canary <= now && production + canary == route.total
}

/// The kept weights of `route`: by its name, or else by its place among the nameless ones of ours, which header
/// routes and others that come and go do not move. Where routes of ours came or went, nobody can tell any more.
fn counterpart<'k>(route: &Route, routes: &[&Route], kept: &[&'k KeptWeights]) -> Option<&'k KeptWeights> {
    let alike: Vec<&&Route> = routes
        .iter()
        .filter(|other| other.kind == route.kind && other.name == route.name)
        .collect();
    let kept: Vec<&&KeptWeights> = kept
        .iter()
        .filter(|kept| kept.kind == route.kind && kept.name == route.name)
        .collect();
    if alike.len() != kept.len() {
        return None;
    }
    let place = alike.iter().position(|other| other.index == route.index)?;
    kept.get(place).map(|kept| **kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::istio::test_support::{apply, found, simple, to, virtual_service, virtual_services, weights};
    use crate::istio::weights::{Guard, lower_patch, weight_patch};

    fn written(object: &VirtualService, percent: u8) -> VirtualService {
        match weight_patch(object, &found(object).ours, percent, Guard::ResourceVersion) {
            Some(patch) => apply(object, &patch).unwrap(),
            None => object.clone(),
        }
    }

    fn restored(object: &VirtualService, kept: &[KeptWeights], percent: u8) -> VirtualService {
        match restore_patch(object, &found(object).ours, kept, percent) {
            Some(patch) => apply(object, &patch).unwrap(),
            None => object.clone(),
        }
    }

    #[test]
    fn weights_go_back_to_what_they_were_and_keys_to_none() {
        for (production, canary) in [
            (json!(100), json!(0)),
            (json!(100), json!(null)),
            (json!(null), json!(null)),
            (json!(7), json!(0)),
        ] {
            let before = simple(production, canary);
            let kept = keep(&found(&before).ours);
            let shifted = written(&before, 30);
            assert_ne!(shifted, before);
            assert_eq!(restored(&shifted, &kept, 30), before);
            let lowered = apply(
                &shifted,
                &lower_patch(&shifted, &found(&shifted).ours, 0).unwrap(),
            )
            .unwrap();
            assert_eq!(restored(&lowered, &kept, 0), before);
        }
    }

    #[test]
    fn restoring_is_guarded_by_the_resource_version() {
        let before = simple(100, Value::Null);
        let shifted = written(&before, 30);
        let patch = restore_patch(&shifted, &found(&shifted).ours, &keep(&found(&before).ours), 30).unwrap();
        let mut moved_on = shifted;
        moved_on.metadata.resource_version = Some("42".into());
        assert!(apply(&moved_on, &patch).is_err());
    }

    #[test]
    fn weights_that_somebody_changed_are_left() {
        let kept = keep(&found(&simple(100, 0)).ours);
        for changed in [simple(60, 40), simple(80, 0), simple(35, 15), simple(100, 0)] {
            assert_eq!(restored(&changed, &kept, 30), changed);
        }
    }

    #[test]
    fn restoring_never_gives_the_canary_more_than_it_has() {
        let kept = keep(&found(&simple(50, 50)).ours);
        let lowered = simple(100, 0);
        assert_eq!(restored(&lowered, &kept, 0), lowered);
    }

    #[test]
    fn keys_stay_where_a_newcomer_would_take_all_the_traffic() {
        let before = simple(Value::Null, Value::Null);
        let kept = keep(&found(&before).ours);
        let mut shifted = written(&before, 30);
        let newcomer = json!({"destination": {"host": "beth"}, "weight": 10});
        shifted.spec["http"][0]["route"]
            .as_array_mut()
            .unwrap()
            .push(newcomer);
        assert_eq!(restored(&shifted, &kept, 30), shifted);
    }

    #[test]
    fn routes_are_known_again_after_a_header_route_came_before_them() {
        let before = virtual_service(json!({"http": [
            {"route": [to("production", 60), to("canary", Value::Null), {"destination": {"host": "beth"}, "weight": 40}]},
            {"name": "rest", "route": [to("production", 100), to("canary", Value::Null)]},
        ]}));
        let kept = keep(&found(&before).ours);
        let add_header = |object: &VirtualService| {
            let mut object = object.clone();
            let header = json!({"name": "header", "route": [to("canary", Value::Null)]});
            object.spec["http"].as_array_mut().unwrap().insert(0, header);
            object
        };
        assert_eq!(
            restored(&add_header(&written(&before, 50)), &kept, 50),
            add_header(&before)
        );
    }

    #[test]
    fn where_routes_of_ours_came_or_went_only_named_ones_go_back() {
        let main = |weights: (i64, Value)| json!({"name": "main", "route": [to("production", weights.0), to("canary", weights.1)]});
        let nameless =
            |weights: (i64, i64)| json!({"route": [to("production", weights.0), to("canary", weights.1)]});
        let before = virtual_service(json!({"http": [main((100, Value::Null)), nameless((100, 0))]}));
        let kept = keep(&found(&before).ours);
        let mut shifted = written(&before, 30);
        shifted.spec["http"]
            .as_array_mut()
            .unwrap()
            .push(nameless((70, 30)));
        let after = restored(&shifted, &kept, 30);
        assert_eq!(
            weights(&after),
            [(Some(100), None), (Some(70), Some(30)), (Some(70), Some(30))]
        );
    }

    proptest! {
        #[test]
        fn a_whole_rollout_and_its_undoing_leave_no_trace(object in virtual_services(), steps in prop::collection::vec(0..=100_u8, 1..4)) {
            let kept = keep(&found(&object).ours);
            let mut now = object.clone();
            for step in &steps {
                now = written(&now, *step);
            }
            let last = *steps.last().unwrap();
            let after = restored(&now, &kept, last);
            for ((old, shifted), new) in found(&object).ours.iter().zip(&found(&now).ours).zip(&found(&after).ours) {
                if old.canary_weight() <= shifted.canary_weight() {
                    prop_assert_eq!(old, new);
                } else {
                    prop_assert_eq!(shifted, new);
                }
            }
        }
    }
}
