//! Istio objects for tests: fixed ones, and generators of every shape that Istio allows and of some it does not.

use json_patch::{Patch, PatchError};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::raw::{DestinationRule, VirtualService};
use super::routes::{Found, Pair, Route, find};

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const DOMAIN: &str = "cluster.local";

/// The pair that the generators write for: subsets `production` and `canary` of `aleph` in `shop`.
pub(crate) fn pair() -> Pair {
    Pair {
        host: "aleph.shop.svc.cluster.local".into(),
        production: "production".into(),
        canary: "canary".into(),
    }
}

/// A `VirtualService` "aleph" in `shop`, at resource version 41.
pub(crate) fn virtual_service(spec: Value) -> VirtualService {
    object("VirtualService", spec)
}

/// A `DestinationRule` "aleph" in `shop`, at resource version 41.
pub(crate) fn destination_rule(spec: Value) -> DestinationRule {
    object("DestinationRule", spec)
}

fn object<T: DeserializeOwned>(kind: &str, spec: Value) -> T {
    let mut object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": "aleph", "namespace": NAMESPACE, "resourceVersion": "41"},
    });
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}

/// A destination of ours; `null` for no weight.
pub(crate) fn to(subset: &str, weight: impl Into<Value>) -> Value {
    let mut entry = json!({"destination": {"host": "aleph", "subset": subset}});
    match weight.into() {
        Value::Null => {}
        weight => entry["weight"] = weight,
    }
    entry
}

/// A `VirtualService` with one nameless http route of ours with these weights.
pub(crate) fn simple(production: impl Into<Value>, canary: impl Into<Value>) -> VirtualService {
    virtual_service(json!({"http": [{"route": [to("production", production), to("canary", canary)]}]}))
}

pub(crate) fn found(object: &VirtualService) -> Found {
    find(object, &pair(), DOMAIN)
}

/// The object after the patch, as a server would have it.
pub(crate) fn apply<T: Serialize + DeserializeOwned>(object: &T, patch: &Patch) -> Result<T, PatchError> {
    let mut document = serde_json::to_value(object).unwrap();
    json_patch::patch(&mut document, patch)?;
    Ok(serde_json::from_value(document).unwrap())
}

/// The object as JSON without the weights of these routes: all that we must never change.
pub(crate) fn without_weights(object: &VirtualService, routes: &[Route]) -> Value {
    let mut document = serde_json::to_value(object).unwrap();
    for route in routes {
        for side in [&route.production, &route.canary] {
            let entry = &mut document["spec"][route.kind.field()][route.index]["route"][side.index];
            entry.as_object_mut().unwrap().remove("weight");
        }
    }
    document
}

/// The weights of each route, production first.
pub(crate) fn weights(object: &VirtualService) -> Vec<(Option<i64>, Option<i64>)> {
    found(object)
        .ours
        .iter()
        .map(|route| (route.production.weight, route.canary.weight))
        .collect()
}

/// Any JSON, a few levels deep.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Quarters, which survive being printed and read.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        (-3..200_i64).prop_map(Value::from),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        ".{0,12}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key(), inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Keys that our code looks at, and others.
fn key() -> impl Strategy<Value = String> {
    let ours = [
        "http",
        "tcp",
        "tls",
        "route",
        "destination",
        "host",
        "subset",
        "weight",
        "name",
        "labels",
    ];
    prop_oneof![select(ours.map(str::to_owned).to_vec()), "[a-z~/]{1,6}"]
}

/// Objects as users have them: routes of all three kinds, of ours and not, with fields we have never heard of.
pub(crate) fn virtual_services() -> impl Strategy<Value = VirtualService> {
    let lists = (
        vec(http_route(), 0..5),
        vec(stream_route(), 0..3),
        vec(stream_route(), 0..3),
    );
    (lists, unknown()).prop_map(|((http, tcp, tls), mut spec)| {
        for (field, routes) in [("http", http), ("tcp", tcp), ("tls", tls)] {
            if !routes.is_empty() {
                spec.insert(field.into(), routes.into());
            }
        }
        virtual_service(spec.into())
    })
}

/// The same with one value, anywhere in `spec`, replaced by any JSON.
pub(crate) fn twisted_virtual_services() -> impl Strategy<Value = VirtualService> {
    (virtual_services(), any::<Index>(), any_json()).prop_map(|(mut object, place, value)| {
        twist(&mut object.spec, place, value);
        object
    })
}

/// The objects of both generators above.
pub(crate) fn all_virtual_services() -> impl Strategy<Value = VirtualService> {
    prop_oneof![virtual_services(), twisted_virtual_services()]
}

/// An object as it was read, and as it is by the time our patch arrives: routes or destinations in another order,
/// or one value changed.
pub(crate) fn changed_virtual_services() -> impl Strategy<Value = (VirtualService, VirtualService)> {
    virtual_services().prop_flat_map(|seen| {
        let routes = seen.spec["http"].as_array().cloned().unwrap_or_default();
        let destinations = routes
            .first()
            .and_then(|route| route["route"].as_array())
            .cloned()
            .unwrap_or_default();
        let change = prop_oneof![
            Just(routes).prop_shuffle().prop_map(Change::Routes),
            Just(destinations).prop_shuffle().prop_map(Change::Destinations),
            (any::<Index>(), any_json()).prop_map(|(place, value)| Change::Value(place, value)),
        ];
        (Just(seen), change).prop_map(|(seen, change)| {
            let mut met = seen.clone();
            match change {
                Change::Routes(routes) => met.spec["http"] = routes.into(),
                Change::Destinations(list) if !list.is_empty() => met.spec["http"][0]["route"] = list.into(),
                Change::Destinations(_) => {}
                Change::Value(place, value) => twist(&mut met.spec, place, value),
            }
            (seen, met)
        })
    })
}

#[derive(Clone, Debug)]
enum Change {
    Routes(Vec<Value>),
    Destinations(Vec<Value>),
    Value(Index, Value),
}

/// `DestinationRule` objects, some with one value replaced by any JSON.
pub(crate) fn destination_rules() -> impl Strategy<Value = DestinationRule> {
    let name = select(vec!["production", "canary", "spare"]);
    let labels = option::of(vec(
        (select(vec!["version", "app", "a/b~c"]), "v[0-9]{1,2}"),
        0..3,
    ));
    let subset = (name, labels, unknown()).prop_map(|(name, labels, mut subset)| {
        subset.insert("name".into(), name.into());
        if let Some(labels) = labels {
            let labels: Map<_, _> = labels
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.into()))
                .collect();
            subset.insert("labels".into(), labels.into());
        }
        Value::Object(subset)
    });
    let twisted = option::of((any::<Index>(), any_json()));
    (vec(subset, 0..4), unknown(), twisted).prop_map(|(subsets, mut spec, twisted)| {
        spec.insert("host".into(), "aleph".into());
        spec.insert("subsets".into(), subsets.into());
        let mut rule = destination_rule(spec.into());
        if let Some((place, value)) = twisted {
            twist(&mut rule.spec, place, value);
        }
        rule
    })
}

fn twist(spec: &mut Value, place: Index, value: Value) {
    let mut paths = Vec::new();
    collect(spec, String::new(), &mut paths);
    let path = &paths[place.index(paths.len())];
    *spec.pointer_mut(path).unwrap() = value;
}

/// The pointer of every value in a document.
fn collect(value: &Value, at: String, paths: &mut Vec<String>) {
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(key, below)| collect(below, format!("{at}/{}", escape(key)), paths));
        }
        Value::Array(entries) => {
            entries
                .iter()
                .enumerate()
                .for_each(|(i, below)| collect(below, format!("{at}/{i}"), paths));
        }
        _ => {}
    }
    paths.push(at);
}

/// Up to two members with keys that Istio does not have.
fn unknown() -> impl Strategy<Value = Map<String, Value>> {
    let key = select(vec!["x-new", "timeout", "a/b~c"]);
    let value = select(vec![
        json!(null),
        json!(2.5),
        json!("10s"),
        json!({"weight": [1, {"deep": true}]}),
    ]);
    vec((key, value), 0..3).prop_map(|members| {
        members
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    })
}

fn weight() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(0)),
        1 => Just(Some(100)),
        4 => (0..=100_i64).prop_map(Some),
        1 => (0..=i64::from(i32::MAX)).prop_map(Some),
    ]
}

fn our_host() -> impl Strategy<Value = &'static str> {
    select(vec!["aleph", "aleph.shop.svc.cluster.local"])
}

fn destination(
    host: impl Strategy<Value = &'static str>,
    subset: Option<&'static str>,
) -> impl Strategy<Value = Value> {
    (host, weight(), unknown(), option::of(1..65_536)).prop_map(move |(host, weight, mut entry, port)| {
        let mut destination = json!({"host": host});
        if let Some(subset) = subset {
            destination["subset"] = subset.into();
        }
        if let Some(port) = port {
            destination["port"] = json!({"number": port});
        }
        entry.insert("destination".into(), destination);
        if let Some(weight) = weight {
            entry.insert("weight".into(), weight.into());
        }
        entry.into()
    })
}

/// Destinations of other hosts, of other subsets, and of our subsets' names on another host.
fn foreign() -> impl Strategy<Value = Value> {
    let other = || select(vec!["beth", "aleph.other.svc.cluster.local", "aleph.shop"]);
    prop_oneof![
        destination(other(), Some("canary")),
        destination(other(), Some("production")),
        destination(other(), None),
        destination(our_host(), Some("spare")),
    ]
}

/// The list of one route: ours in either order, one of ours, ours without subset, ours twice, or none of ours; with
/// foreign ones anywhere between.
fn destinations() -> impl Strategy<Value = Vec<Value>> {
    let ours = select(vec![
        vec![Some("production"), Some("canary")],
        vec![Some("production"), Some("canary")],
        vec![Some("production"), Some("canary")],
        vec![Some("canary")],
        vec![Some("production")],
        vec![None],
        vec![Some("production"), Some("canary"), Some("canary")],
        vec![],
    ])
    .prop_flat_map(|subsets| {
        subsets
            .into_iter()
            .map(|subset| destination(our_host(), subset))
            .collect::<Vec<_>>()
    });
    (ours, vec(foreign(), 0..3))
        .prop_map(|(mut entries, foreign)| {
            entries.extend(foreign);
            entries
        })
        .prop_shuffle()
}

fn http_route() -> impl Strategy<Value = Value> {
    let action = prop_oneof![
        8 => destinations().prop_map(|list| json!({"route": list})),
        1 => Just(json!({"redirect": {"uri": "/new"}})),
        1 => Just(json!({"delegate": {"name": "inner"}})),
        1 => destinations().prop_map(|list| json!({"route": list, "mirror": {"host": "aleph", "subset": "canary"}})),
    ];
    let name = option::of(select(vec!["main", "header", "api"]));
    (action, name, unknown(), any::<bool>()).prop_map(|(action, name, mut route, matched)| {
        if let Value::Object(action) = action {
            route.extend(action);
        }
        if let Some(name) = name {
            route.insert("name".into(), name.into());
        }
        if matched {
            route.insert(
                "match".into(),
                json!([{"headers": {"x-canary": {"exact": "yes"}}}]),
            );
        }
        route.into()
    })
}

fn stream_route() -> impl Strategy<Value = Value> {
    (destinations(), unknown()).prop_map(|(list, mut route)| {
        route.insert(
            "match".into(),
            json!([{"port": 5432, "sniHosts": ["aleph.example"]}]),
        );
        route.insert("route".into(), list.into());
        route.into()
    })
}
