//! What a preflight needs to know of Istio's objects, as plain data: routes with what may blur their readings, subsets,
//! and who has left marks. Reads, never writes.

use kube::core::ObjectMeta;
use serde_json::Value;

use crate::core::observation::ObjectName;
use crate::core::preflight::inventory::{
    Holds, Meta, OtherRoute, Retries, RouteFacts, RouteProblem, RouteProblemKind, RuleFacts, RuleProblem,
    SubsetFacts, VirtualServiceFacts,
};

use super::destination_rule::{Rule, SubsetLabel};
use super::routes::{self, Kind, Pair, Route};
use super::{DestinationRule, Problem, VirtualService, owner};

/// A `VirtualService`, as far as it concerns the host of `pair`.
#[must_use]
pub fn virtual_service(object: &VirtualService, pair: &Pair, cluster_domain: &str) -> VirtualServiceFacts {
    let found = routes::find(object, pair, cluster_domain);
    let other = |other: &routes::OtherRoute| OtherRoute {
        label: label(other.kind, other.index, other.name.as_deref()),
        holds: match other.holds {
            routes::Holds::ProductionOnly => Holds::ProductionOnly,
            routes::Holds::CanaryOnly => Holds::CanaryOnly,
            routes::Holds::NoSubset => Holds::NoSubset,
            routes::Holds::CanaryMirror => Holds::CanaryMirror,
        },
    };
    VirtualServiceFacts {
        name: name(&object.metadata),
        routes: found.ours.iter().map(|ours| route(object, ours)).collect(),
        others: found.others.iter().map(other).collect(),
        problems: found.problems.iter().map(route_problem).collect(),
        gateways: texts(&object.spec["gateways"]),
        meta: meta(&object.metadata, Some(&owner::WEIGHTS)),
    }
}

/// A `DestinationRule`; `read` is what [`super::destination_rule::read`] gives for it.
#[must_use]
pub fn destination_rule(object: &DestinationRule, read: &Rule) -> RuleFacts {
    let subset = |label: &SubsetLabel| match label {
        SubsetLabel::Missing => SubsetFacts::Missing,
        SubsetLabel::Unlabelled => SubsetFacts::Unlabelled,
        SubsetLabel::Version(version) => SubsetFacts::Version(version.clone()),
    };
    let problem = |problem: &Problem| RuleProblem {
        of_subset: matches!(
            problem,
            Problem::MissingSubset { .. } | Problem::RepeatedSubset { .. }
        ),
        text: problem.to_string(),
    };
    RuleFacts {
        host: read.host.clone(),
        production: subset(&read.production),
        canary: subset(&read.canary),
        problems: read.problems.iter().map(problem).collect(),
        beside: Vec::new(),
        meta: meta(&object.metadata, Some(&owner::SUBSETS)),
    }
}

/// Metadata in which others leave marks; of managers those of `fields`, or all of them.
#[must_use]
pub fn meta(metadata: &ObjectMeta, fields: Option<&[&[&str]]>) -> Meta {
    let owners = metadata.owner_references.iter().flatten();
    let owners = owners.map(|owner| format!("{} {} \"{}\"", owner.api_version, owner.kind, owner.name));
    let all: &[&[&str]] = &[&[]];
    let managers = owner::managers(metadata, fields.unwrap_or(all));
    Meta {
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        owners: owners.collect(),
        managers: managers.into_iter().map(|manager| manager.name).collect(),
    }
}

fn name(metadata: &ObjectMeta) -> ObjectName {
    ObjectName {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn route(object: &VirtualService, found: &Route) -> RouteFacts {
    let written = &object.spec[found.kind.field()][found.index];
    let retries = &written["retries"];
    let injected = ["abort", "delay"].into_iter().filter(|kind| {
        let fault = &written["fault"][kind];
        !fault.is_null() && fault["percentage"]["value"].as_f64() != Some(0.0)
    });
    RouteFacts {
        label: label(found.kind, found.index, found.name.as_deref()),
        is_http: found.kind == Kind::Http,
        canary: found.canary_weight(),
        total: found.total,
        retries: retries.is_object().then(|| Retries {
            attempts: retries["attempts"].as_i64().unwrap_or(0),
            on: retries["retryOn"].as_str().unwrap_or_default().to_owned(),
        }),
        faults: injected.map(str::to_owned).collect(),
    }
}

fn route_problem(problem: &Problem) -> RouteProblem {
    RouteProblem {
        kind: match problem {
            Problem::NoRoute { .. } => RouteProblemKind::NoRoute,
            Problem::MissingDestination { .. } => RouteProblemKind::OneSubset,
            _ => RouteProblemKind::Unusable,
        },
        text: problem.to_string(),
    }
}

/// `http[main]`, or by its place as in `tcp[0]`.
fn label(kind: Kind, index: usize, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{kind}[{name}]"),
        None => format!("{kind}[{index}]"),
    }
}

fn texts(value: &Value) -> Vec<String> {
    let entries = value.as_array().into_iter().flatten();
    entries.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::istio::destination_rule::read;
    use crate::istio::test_support::{
        DOMAIN, all_virtual_services, destination_rule as rule, destination_rules, pair, to,
        virtual_service as service,
    };
    use proptest::prelude::*;

    #[test]
    fn routes_are_told_with_what_blurs_them() {
        let object = service(json!({"gateways": ["istio-system/public"], "http": [
            {
                "name": "main", "route": [to("production", 90), to("canary", 10)],
                "retries": {"attempts": 3, "retryOn": "5xx,reset"},
                "fault": {"abort": {"httpStatus": 500}, "delay": {"percentage": {"value": 0}}},
            },
            {"route": [to("canary", 100)]},
        ], "tcp": [{"route": [to("production", 1), to("canary", 0)]}]}));
        let facts = virtual_service(&object, &pair(), DOMAIN);
        assert_eq!(facts.gateways, ["istio-system/public"]);
        let main = RouteFacts {
            label: "http[main]".into(),
            is_http: true,
            canary: 10,
            total: 100,
            retries: Some(Retries {
                attempts: 3,
                on: "5xx,reset".into(),
            }),
            faults: vec!["abort".into()],
        };
        assert_eq!(facts.routes[0], main);
        assert_eq!(
            (facts.routes[1].label.as_str(), facts.routes[1].is_http),
            ("tcp[0]", false)
        );
        assert_eq!(
            facts.others,
            [OtherRoute {
                label: "http[1]".into(),
                holds: Holds::CanaryOnly
            }]
        );
        assert!(facts.problems.is_empty() && facts.sends());
    }

    #[test]
    fn problems_are_told_by_their_kind() {
        let kind = |spec| virtual_service(&service(spec), &pair(), DOMAIN).problems[0].kind;
        assert_eq!(kind(json!({})), RouteProblemKind::NoRoute);
        assert_eq!(
            kind(json!({"http": [{"route": [to("canary", 1)]}]})),
            RouteProblemKind::OneSubset
        );
        assert_eq!(kind(json!({"http": 1})), RouteProblemKind::Unusable);
        let object = rule(json!({"host": "aleph", "subsets": [{"name": "production"}]}));
        let facts = destination_rule(&object, &read(&object, "production", "canary", "version", DOMAIN));
        assert_eq!(facts.production, SubsetFacts::Unlabelled);
        assert!(facts.problems[0].of_subset, "{facts:?}");
    }

    #[test]
    fn owners_and_managers_are_kept_for_their_marks() {
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "aleph", "ownerReferences": [
                {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "aleph", "uid": "u"}
            ],
            "managedFields": [
                {"manager": "flagger", "fieldsV1": {"f:spec": {"f:http": {}}}},
                {"manager": "kubectl", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
            ],
        }))
        .unwrap();
        let facts = meta(&metadata, Some(&owner::WEIGHTS));
        assert_eq!(facts.owners, ["flagger.app/v1beta1 Canary \"aleph\""]);
        assert_eq!(facts.managers, ["flagger"]);
        assert_eq!(meta(&metadata, None).managers.len(), 2);
    }

    proptest! {
        #[test]
        fn no_object_makes_it_panic(object in all_virtual_services(), odd in destination_rules()) {
            let _ = virtual_service(&object, &pair(), DOMAIN);
            let _ = destination_rule(&odd, &read(&odd, "production", "canary", "version", DOMAIN));
        }
    }
}
