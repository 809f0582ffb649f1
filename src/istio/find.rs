//! Finding our routes in a `VirtualService`: those that hold both subsets of our host. Reads, never writes.

use serde_json::Value;

use super::host::resolve;
use super::problem::{ObjectName, Problem};
use super::raw::VirtualService;
use super::routes::{Found, Holds, Kind, OtherRoute, Pair, Route, Side, parts};

/// The largest weight Istio takes (its weights are int32).
const MAX_WEIGHT: i64 = i32::MAX as i64;

/// Finds our routes in one `VirtualService`; hosts are resolved in its namespace.
///
/// Where none is ours, `problems` says why.
#[must_use]
pub fn find(virtual_service: &VirtualService, pair: &Pair, cluster_domain: &str) -> Found {
    let mut finder = Finder {
        object: virtual_service.object_name(),
        namespace: virtual_service.namespace(),
        pair,
        cluster_domain,
        found: Found::default(),
    };
    match &virtual_service.spec {
        Value::Object(spec) => {
            for kind in Kind::ALL {
                finder.list(kind, spec.get(kind.field()));
            }
        }
        Value::Null => {
            let field = "spec".to_owned();
            finder.found.problems.push(Problem::MissingField {
                object: finder.object.clone(),
                field,
            });
        }
        other => finder.wrong_type("spec", "an object", other),
    }
    finder.finish()
}

/// Carries the search through the lists of one object.
struct Finder<'a> {
    object: ObjectName,
    namespace: &'a str,
    pair: &'a Pair,
    cluster_domain: &'a str,
    found: Found,
}

/// Where in the object a route stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    kind: Kind,
    index: usize,
    name: Option<&'a str>,
}

impl Place<'_> {
    fn field(self) -> String {
        format!("spec.{}[{}].route", self.kind, self.index)
    }
}

/// Which of a route's destinations are to our host, by position.
#[derive(Default)]
struct Ours<'a> {
    production: Vec<(usize, &'a Value)>,
    canary: Vec<(usize, &'a Value)>,
    without_subset: usize,
}

impl Finder<'_> {
    fn list(&mut self, kind: Kind, routes: Option<&Value>) {
        let routes = match routes {
            None | Some(Value::Null) => return,
            Some(Value::Array(routes)) => routes,
            Some(other) => return self.wrong_type(&format!("spec.{kind}"), "a list", other),
        };
        for (index, route) in routes.iter().enumerate() {
            let name = route
                .get("name")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty());
            let place = Place { kind, index, name };
            if self.mirrors(route) {
                self.other(place, Holds::CanaryMirror);
            }
            match route.get("route") {
                // A redirect, a direct response or a delegate: nothing here has weights.
                None | Some(Value::Null) => {}
                Some(Value::Array(destinations)) => self.route(place, destinations),
                Some(other) => self.wrong_type(&place.field(), "a list", other),
            }
        }
    }

    /// Whether a copy of its requests goes to the canary subset.
    fn mirrors(&self, route: &Value) -> bool {
        let listed = route["mirrors"].as_array().into_iter().flatten();
        let all = listed
            .map(|mirror| &mirror["destination"])
            .chain([&route["mirror"]]);
        let host = |mirror: &Value| {
            Some(resolve(
                mirror["host"].as_str()?,
                self.namespace,
                self.cluster_domain,
            ))
        };
        let mut ours = all.filter(|mirror| host(mirror).as_ref() == Some(&self.pair.host));
        ours.any(|mirror| mirror["subset"] == self.pair.canary.as_str())
    }

    fn route(&mut self, place: Place<'_>, destinations: &[Value]) {
        let ours = self.sort_out(destinations);
        match (ours.production.as_slice(), ours.canary.as_slice()) {
            ([], []) if ours.without_subset == 0 => {}
            ([], []) => self.other(place, Holds::NoSubset),
            ([_, ..], []) => self.other(place, Holds::ProductionOnly),
            ([], [_, ..]) => self.other(place, Holds::CanaryOnly),
            ([production], [canary]) => self.ours(place, destinations.len() > 2, *production, *canary),
            ([_], _) => self.repeated(place, &self.pair.canary.clone()),
            _ => self.repeated(place, &self.pair.production.clone()),
        }
    }

    fn sort_out<'v>(&self, destinations: &'v [Value]) -> Ours<'v> {
        let mut ours = Ours::default();
        for (index, entry) in destinations.iter().enumerate() {
            let destination = &entry["destination"];
            let Some(host) = destination["host"].as_str() else {
                continue;
            };
            if resolve(host, self.namespace, self.cluster_domain) != self.pair.host {
                continue;
            }
            match destination["subset"].as_str() {
                None | Some("") => ours.without_subset += 1,
                Some(subset) if subset == self.pair.production => ours.production.push((index, entry)),
                Some(subset) if subset == self.pair.canary => ours.canary.push((index, entry)),
                Some(_) => {}
            }
        }
        ours
    }

    fn ours(&mut self, place: Place<'_>, shared: bool, production: (usize, &Value), canary: (usize, &Value)) {
        let production = self.side(place, production);
        let canary = self.side(place, canary);
        let (Some(production), Some(canary)) = (production, canary) else {
            return;
        };
        let (for_production, for_canary) = parts(production.weight, canary.weight, shared);
        let total = for_production + for_canary;
        if total > MAX_WEIGHT {
            let (object, field, host) = (self.object.clone(), place.field(), self.pair.host.clone());
            return self.found.problems.push(Problem::TotalTooLarge {
                object,
                field,
                host,
                total,
            });
        }
        self.found.ours.push(Route {
            virtual_service: self.object.name.clone(),
            kind: place.kind,
            index: place.index,
            name: place.name.map(str::to_owned),
            production,
            canary,
            shared,
            total,
        });
    }

    /// One destination with its weight, or none and a problem.
    fn side(&mut self, place: Place<'_>, (index, entry): (usize, &Value)) -> Option<Side> {
        let destination = &entry["destination"];
        let text = |field: &str| destination[field].as_str().unwrap_or_default().to_owned();
        match weight(entry) {
            Ok(weight) => Some(Side {
                index,
                host: text("host"),
                subset: text("subset"),
                weight,
            }),
            Err(found) => {
                let field = format!("{}[{index}].weight", place.field());
                self.found
                    .problems
                    .push(Problem::bad_weight(&self.object, &field, found));
                None
            }
        }
    }

    fn other(&mut self, place: Place<'_>, holds: Holds) {
        self.found.others.push(OtherRoute {
            virtual_service: self.object.name.clone(),
            kind: place.kind,
            index: place.index,
            name: place.name.map(str::to_owned),
            holds,
        });
    }

    fn repeated(&mut self, place: Place<'_>, subset: &str) {
        self.found.problems.push(Problem::RepeatedDestination {
            object: self.object.clone(),
            field: place.field(),
            subset: subset.to_owned(),
            host: self.pair.host.clone(),
        });
    }

    fn wrong_type(&mut self, field: &str, expected: &'static str, found: &Value) {
        self.found
            .problems
            .push(Problem::wrong_type(&self.object, field, expected, found));
    }

    /// Where nothing is ours and nothing has said why, says what would make it so.
    fn finish(mut self) -> Found {
        if self.found.ours.is_empty() && self.found.problems.is_empty() {
            let missing = self
                .missing(Holds::ProductionOnly, &self.pair.canary)
                .or_else(|| self.missing(Holds::CanaryOnly, &self.pair.production));
            self.found
                .problems
                .push(missing.unwrap_or_else(|| Problem::NoRoute {
                    object: self.object.clone(),
                    host: self.pair.host.clone(),
                    production: self.pair.production.clone(),
                    canary: self.pair.canary.clone(),
                }));
        }
        self.found
    }

    /// The first route that would be ours if it had a destination for `subset` as well.
    fn missing(&self, holds: Holds, subset: &str) -> Option<Problem> {
        let route = self.found.others.iter().find(|other| other.holds == holds)?;
        Some(Problem::MissingDestination {
            object: self.object.clone(),
            field: Place {
                kind: route.kind,
                index: route.index,
                name: None,
            }
            .field(),
            subset: subset.to_owned(),
            host: self.pair.host.clone(),
        })
    }
}

/// The weight of a destination, if it has one; the value where it is none that Istio takes.
fn weight(entry: &Value) -> Result<Option<i64>, &Value> {
    match entry.get("weight") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let weight = value.as_i64().filter(|weight| (0..=MAX_WEIGHT).contains(weight));
            weight.map(Some).ok_or(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::istio::test_support::{
        DOMAIN, all_virtual_services, any_json, found, pair, simple, to, virtual_service,
    };

    fn messages(found: &Found) -> Vec<String> {
        found.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_route_with_both_subsets_is_ours() {
        let found = found(&simple(90, 10));
        assert_eq!(found.problems, []);
        assert_eq!(found.others, []);
        let side = |index, subset: &str, weight| Side {
            index,
            host: "aleph".into(),
            subset: subset.into(),
            weight: Some(weight),
        };
        assert_eq!(
            found.ours,
            [Route {
                virtual_service: "aleph".into(),
                kind: Kind::Http,
                index: 0,
                name: None,
                production: side(0, "production", 90),
                canary: side(1, "canary", 10),
                shared: false,
                total: 100,
            }]
        );
    }

    #[test]
    fn http_tcp_and_tls_routes_are_found() {
        let both = json!([{"route": [to("canary", 1), to("production", 3)]}]);
        let found = found(&virtual_service(json!({"http": both, "tcp": both, "tls": both})));
        let seen: Vec<_> = found
            .ours
            .iter()
            .map(|r| (r.label(), r.canary.index, r.total))
            .collect();
        assert_eq!(
            seen,
            [
                ("http[0]".into(), 0, 4),
                ("tcp[0]".into(), 0, 4),
                ("tls[0]".into(), 0, 4)
            ]
        );
    }

    #[test]
    fn the_host_may_be_written_short_or_in_full() {
        let full = "aleph.shop.svc.cluster.local";
        for (production, canary, ours) in [
            ("aleph", full, true),
            (full, full, true),
            ("aleph", "aleph.shop", false),
            ("aleph", "aleph.other.svc.cluster.local", false),
            ("aleph", "*", false),
        ] {
            let object = virtual_service(json!({"http": [{"route": [
                {"destination": {"host": production, "subset": "production"}, "weight": 100},
                {"destination": {"host": canary, "subset": "canary"}, "weight": 0},
            ]}]}));
            assert_eq!(!found(&object).ours.is_empty(), ours, "{production} and {canary}");
        }
    }

    #[test]
    fn short_hosts_belong_to_the_namespace_of_the_virtual_service() {
        let mut object = simple(100, 0);
        object.metadata.namespace = Some("elsewhere".into());
        assert_eq!(found(&object).ours, []);
    }

    #[test]
    fn routes_with_one_of_ours_are_named_and_left_alone() {
        let found = found(&virtual_service(json!({"http": [
            {"name": "header", "match": [{}], "route": [to("canary", Value::Null)]},
            {"route": [to("production", 100), to("canary", 0)]},
            {"route": [to("production", Value::Null)]},
            {"name": "", "route": [{"destination": {"host": "aleph"}}]},
            {"route": [{"destination": {"host": "aleph", "subset": ""}}]},
            {"route": [{"destination": {"host": "beth"}}]},
            {"redirect": {"uri": "/"}},
            {"delegate": {"name": "inner"}},
            {"route": [{"destination": {"host": "beth"}}], "mirror": {"host": "aleph", "subset": "canary"}},
            {"route": [{"destination": {"host": "beth"}}],
             "mirrors": [{"destination": {"host": "aleph", "subset": "production"}}, {"destination": {"host": "aleph", "subset": "canary"}}]},
            {"route": [{"destination": {"host": "beth"}}], "mirror": {"host": "beth", "subset": "canary"}},
        ]})));
        assert_eq!(found.ours.len(), 1);
        let others: Vec<_> = found
            .others
            .iter()
            .map(|other| (other.label(), other.holds))
            .collect();
        assert_eq!(
            others,
            [
                ("header".into(), Holds::CanaryOnly),
                ("http[2]".into(), Holds::ProductionOnly),
                ("http[3]".into(), Holds::NoSubset),
                ("http[4]".into(), Holds::NoSubset),
                ("http[8]".into(), Holds::CanaryMirror),
                ("http[9]".into(), Holds::CanaryMirror),
            ]
        );
        assert_eq!(
            found.problems,
            [],
            "a route of ours is there, so nothing is amiss"
        );
    }

    #[test]
    fn absent_weights_count_as_istio_counts_them() {
        let foreign = |weight: i64| json!({"destination": {"host": "beth"}, "weight": weight});
        for (list, production, canary) in [
            (
                json!([to("production", Value::Null), to("canary", Value::Null)]),
                100,
                0,
            ),
            (json!([to("production", 100), to("canary", Value::Null)]), 100, 0),
            (json!([to("production", Value::Null), to("canary", 7)]), 0, 7),
            (json!([to("production", 0), to("canary", 0)]), 0, 0),
            (json!([to("production", Value::Null), to("canary", 0)]), 0, 0),
            (
                json!([to("production", 50), to("canary", 10), foreign(40)]),
                50,
                10,
            ),
            (
                json!([
                    to("production", Value::Null),
                    to("canary", Value::Null),
                    foreign(100)
                ]),
                0,
                0,
            ),
        ] {
            let found = found(&virtual_service(json!({"http": [{"route": list}]})));
            let route = &found.ours[0];
            assert_eq!(
                (route.total, route.canary_weight()),
                (production + canary, canary),
                "{list}"
            );
        }
    }

    #[test]
    fn a_weight_that_is_no_whole_number_in_range_is_named_and_the_route_not_ours() {
        for weight in [
            json!(50.5),
            json!(50.0),
            json!(-1),
            json!("50"),
            json!(2_147_483_648_u64),
            json!(u64::MAX),
            json!([]),
        ] {
            let found = found(&simple(100, weight.clone()));
            assert_eq!(found.ours, [], "{weight}");
            assert_eq!(found.problems.len(), 1, "{weight}");
            let Problem::BadWeight { field, .. } = &found.problems[0] else {
                panic!("{:?}", found.problems)
            };
            assert_eq!(field, "spec.http[0].route[1].weight");
        }
    }

    #[test]
    fn two_weights_that_no_single_weight_could_hold_are_refused() {
        let most = MAX_WEIGHT;
        assert_eq!(found(&simple(most, 0)).ours.len(), 1);
        let found = found(&simple(most, 1));
        assert_eq!(found.ours, []);
        assert_eq!(
            messages(&found),
            [
                "VirtualService \"aleph\": the weights for aleph.shop.svc.cluster.local in spec.http[0].route add up to \
              2147483648, which is more than 2147483647"
            ]
        );
    }

    #[test]
    fn a_subset_named_twice_in_a_route_is_ambiguous() {
        let list = json!([to("production", 50), to("canary", 25), to("canary", 25)]);
        let found = found(&virtual_service(json!({"tcp": [{"route": list}]})));
        assert_eq!(found.ours, []);
        assert_eq!(
            messages(&found),
            [
                "VirtualService \"aleph\": spec.tcp[0].route has more than one destination for subset \"canary\" of \
              aleph.shop.svc.cluster.local"
            ]
        );
    }

    #[test]
    fn where_nothing_is_ours_the_missing_destination_is_named() {
        let object = virtual_service(json!({"http": [
            {"route": [to("canary", Value::Null)]},
            {"route": [to("production", 100)]},
        ]}));
        assert_eq!(
            messages(&found(&object)),
            [
                "VirtualService \"aleph\": spec.http[1].route has no destination for subset \"canary\" of \
              aleph.shop.svc.cluster.local"
            ]
        );
        assert_eq!(
            messages(&found(&virtual_service(json!({"hosts": ["aleph"]})))),
            [
                "VirtualService \"aleph\" has no route to the subsets \"production\" and \"canary\" of \
              aleph.shop.svc.cluster.local"
            ]
        );
    }

    #[test]
    fn wrong_types_are_named() {
        for (spec, message) in [
            (json!(null), "VirtualService \"aleph\" has no spec"),
            (
                json!([]),
                "VirtualService \"aleph\": spec must be an object, not a list",
            ),
            (
                json!({"http": {}}),
                "VirtualService \"aleph\": spec.http must be a list, not an object",
            ),
            (
                json!({"tls": [{"route": 5}]}),
                "VirtualService \"aleph\": spec.tls[0].route must be a list, not a number",
            ),
        ] {
            assert_eq!(messages(&found(&virtual_service(spec))), [message]);
        }
    }

    #[test]
    fn a_broken_list_does_not_hide_routes_elsewhere() {
        let found = found(&virtual_service(json!({
            "http": "broken",
            "tcp": [7, {"route": [to("production", 100), to("canary", 0)]}],
        })));
        assert_eq!(found.ours.len(), 1);
        assert_eq!(found.problems.len(), 1);
    }

    #[test]
    fn one_name_for_both_subsets_gives_no_route() {
        let same = Pair {
            canary: "production".into(),
            ..pair()
        };
        let object = virtual_service(json!({"http": [{"route": [to("production", 100)]}]}));
        assert_eq!(find(&object, &same, DOMAIN).ours, []);
    }

    proptest! {
        #[test]
        fn any_json_at_all_gives_an_answer(spec in any_json()) {
            let found = found(&virtual_service(spec));
            prop_assert!(!found.ours.is_empty() || !found.problems.is_empty());
        }

        #[test]
        fn every_route_of_ours_really_holds_both(object in all_virtual_services()) {
            for route in found(&object).ours {
                let list = &object.spec[route.kind.field()][route.index]["route"];
                for (side, subset) in [(&route.production, "production"), (&route.canary, "canary")] {
                    let entry = &list[side.index];
                    prop_assert_eq!(&entry["destination"]["subset"], subset);
                    prop_assert_eq!(&entry["destination"]["host"], &side.host);
                    prop_assert_eq!(entry.get("weight").and_then(Value::as_i64), side.weight);
                }
                prop_assert!((0..=route.total).contains(&route.canary_weight()));
            }
        }
    }
}
