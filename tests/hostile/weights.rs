//! Whether the weights of somebody's `VirtualService` went as a plan says. It reads objects only, and knows nothing of how the
//! operator finds its routes.

use birdwatch::api::plan::Plan;
use birdwatch::controller::objects::RawBirdWatch;
use birdwatch::core::plan;
use serde_json::Value;

/// The plan of a `BirdWatch`, where it has one.
pub(crate) fn plan_of(bird_watch: &Value) -> Option<Plan> {
    let raw: RawBirdWatch = serde_json::from_value(bird_watch.clone()).ok()?;
    plan::resolve(&raw.read_spec().ok()?).ok()
}

/// How often a route's weights changed from one version of an object to the next.
///
/// # Errors
/// A change that no plan knows: to another step than the next, of another sum, or of a destination that is none of the two.
pub(crate) fn moves(versions: &[Value], plans: &[&Plan]) -> Result<usize, String> {
    let mut moves = 0;
    for (old, new) in versions.iter().zip(versions.iter().skip(1)) {
        let (old, new) = (routes(old), routes(new));
        if old.len() != new.len() {
            return Err("routes came or went".to_owned());
        }
        for (old, new) in old.iter().zip(&new).filter(|(old, new)| old != new) {
            if !plans.iter().any(|plan| is_move(old, new, plan)) {
                return Err(format!("{old:?} became {new:?}"));
            }
            moves += 1;
        }
    }
    Ok(moves)
}

/// The destinations of every route.
fn routes(service: &Value) -> Vec<&[Value]> {
    let of_kind = |kind: &str| service["spec"][kind].as_array().into_iter().flatten();
    let all = ["http", "tcp", "tls"].into_iter().flat_map(of_kind);
    all.filter_map(|route| Some(route["route"].as_array()?.as_slice()))
        .collect()
}

/// Whether two destinations, production's and the canary's, went to the next step or back to the beginning.
fn is_move(old: &[Value], new: &[Value], plan: &Plan) -> bool {
    let places = |subset: &str| {
        let is_of = |place: &usize| old[*place]["destination"]["subset"] == subset;
        (0..old.len()).filter(is_of).collect::<Vec<_>>()
    };
    let target = &plan.target;
    places(&target.canary_subset).into_iter().any(|canary| {
        places(&target.production_subset).into_iter().any(|production| {
            let is_other = |place: &usize| ![production, canary].contains(place);
            old.len() == new.len()
                && (0..old.len())
                    .filter(is_other)
                    .all(|place| old[place] == new[place])
                && goes_on(held(old, production, canary), held(new, production, canary), plan)
        })
    })
}

fn goes_on(before: (i128, i128), after: (i128, i128), plan: &Plan) -> bool {
    let whole = before.0 + before.1;
    let share = |percent: u8| (whole * i128::from(percent) / 100).max(1);
    let mut shares = vec![0];
    shares.extend(plan.steps.iter().map(|step| share(step.weight)));
    shares.dedup();
    let is_next = shares.windows(2).any(|pair| pair == [before.1, after.1]);
    after.0 + after.1 == whole && (is_next || after.1 == 0)
}

/// What the two hold. Two without weights that stand alone are all the traffic, on production.
fn held(route: &[Value], production: usize, canary: usize) -> (i128, i128) {
    let weight = |place: usize| route[place]["weight"].as_i64().map(i128::from);
    match (weight(production), weight(canary)) {
        (None, None) if route.len() == 2 => (100, 0),
        (production, canary) => (production.unwrap_or(0), canary.unwrap_or(0)),
    }
}

#[test]
fn only_the_next_step_or_the_beginning_is_where_weights_go() {
    use crate::controller_kit::{bird_watch, virtual_service};
    use serde_json::json;

    let plan = plan_of(&bird_watch("shop", &json!({}))).unwrap();
    let at = |production: i64, canary: i64, other: i64| {
        let mut service = virtual_service("shop");
        let route = &mut service["spec"]["http"][0]["route"];
        route[0]["weight"] = json!(production);
        route[1]["weight"] = json!(canary);
        let other = json!({"destination": {"host": "other"}, "weight": other});
        route.as_array_mut().unwrap().push(other);
        service
    };
    let of = |path: &[Value]| moves(path, &[&plan]);
    assert_eq!(
        of(&[at(80, 0, 20), at(40, 40, 20), at(0, 80, 20), at(80, 0, 20)]),
        Ok(3)
    );
    assert_eq!(of(&[at(80, 0, 20), at(40, 40, 20), at(80, 0, 20)]), Ok(2));
    for wrong in [
        at(0, 80, 20),
        at(50, 40, 10),
        at(40, 50, 20),
        at(70, 10, 20),
        at(40, 40, 10),
    ] {
        assert!(of(&[at(80, 0, 20), wrong.clone()]).is_err(), "{wrong}");
    }
    assert!(
        moves(&[at(80, 0, 20), at(40, 40, 20)], &[]).is_err(),
        "nobody's plan"
    );
}
