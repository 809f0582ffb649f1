//! A `BirdWatch` names objects of its own namespace and no others, whatever it writes into its spec.

use birdwatch::api::status::Phase;
use birdwatch::core::plan;
use serde_json::{Value, json};

use super::*;
use crate::controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, NS, RULES, SERVICES, bird_watch, deployment, rule, virtual_service,
};

const OTHER: &str = "payroll";

/// The service `aleph` with two versions in another namespace.
fn neighbour(kit: &Kit) {
    for (resource, mut object) in [
        (DEPLOYMENTS, deployment("aleph", "v1", 2)),
        (DEPLOYMENTS, deployment("aleph", "v2", 2)),
        (RULES, rule("aleph")),
        (SERVICES, virtual_service("aleph")),
    ] {
        object["metadata"]["namespace"] = json!(OTHER);
        kit.api.put(resource, object);
    }
}

fn of_neighbour(kit: &Kit) -> Vec<Value> {
    let objects = [DEPLOYMENTS, RULES, SERVICES]
        .iter()
        .flat_map(|resource| kit.api.all(resource));
    objects
        .filter(|object| object["metadata"]["namespace"] == OTHER)
        .collect()
}

/// Ways to say "the one next door".
const NAMES: [&str; 9] = [
    "payroll/aleph",
    "../payroll/aleph",
    "aleph.payroll",
    "aleph.payroll.svc.cluster.local",
    "aleph?namespace=payroll",
    "aleph/../../../namespaces/payroll/virtualservices/aleph",
    "%2e%2e%2fpayroll%2faleph",
    "aleph\u{0}",
    "*",
];

/// Every field of the spec that names an object, with such a name.
fn naming(name: &str) -> [(&'static str, Value); 6] {
    [
        ("service", json!({"service": name})),
        ("virtualServices", json!({"virtualServices": [name]})),
        ("virtualServices", json!({"virtualServices": ["aleph", name]})),
        ("destinationRule", json!({"destinationRule": name})),
        ("selector", json!({"workload": {"selector": {"app": name}}})),
        ("subsets", json!({"subsets": {"production": name}})),
    ]
}

/// Fails where anything was called but the objects that are ours by namespace and name, or asked for another namespace.
fn assert_called_ours_alone(kit: &Kit, what: &str) {
    for call in kit.calls() {
        assert_eq!(call.namespace.as_deref(), Some(NS), "{what}: {call:?}");
        let ours = if call.resource == DEPLOYMENTS {
            "aleph-v2"
        } else {
            "aleph"
        };
        assert_eq!(call.name.as_deref(), Some(ours), "{what}: {call:?}");
        assert!(["", "status"].contains(&&*call.subresource), "{what}: {call:?}");
        assert!(!call.query.contains_key("namespace"), "{what}: {call:?}");
    }
    for question in kit.prometheus.questions() {
        assert_eq!(question.namespace, NS, "{what}");
    }
}

/// The schema is not asked here: what it lets in is refused by the plan, or looked for in the own namespace.
#[tokio::test(start_paused = true)]
async fn nothing_that_a_spec_names_is_read_or_written_in_another_namespace() {
    let mut looked_for = 0;
    for (name, (field, spec)) in NAMES.iter().flat_map(|name| naming(name).map(|one| (*name, one))) {
        let kit = Kit::new();
        neighbour(&kit);
        let before = of_neighbour(&kit);
        let object = bird_watch("aleph", &spec);
        let could_be = plan::resolve(&serde_json::from_value(object["spec"].clone()).unwrap()).is_ok();
        looked_for += usize::from(could_be);
        kit.api.put(BIRD_WATCHES, object);
        let _operator = kit.operator("one");
        tokio::time::sleep(std::time::Duration::from_mins(3)).await;
        let said = kit.status("aleph").message;
        assert!(
            said.contains(if could_be { name } else { field }),
            "{spec}: {said:?}"
        );
        assert_called_ours_alone(&kit, &spec.to_string());
        assert_eq!(of_neighbour(&kit), before, "{spec}");
    }
    assert_eq!(looked_for, 8, "two that can be names, in four fields");
}

/// A rollout has its plan with it in status, and what stands there is not judged again: the shell itself does not look
/// beyond the namespace.
#[tokio::test(start_paused = true)]
async fn nothing_that_a_stored_plan_names_is_read_or_written_in_another_namespace() {
    for name in NAMES {
        let kit = Kit::new();
        neighbour(&kit);
        let before = of_neighbour(&kit);
        kit.bird_watch();
        let first = kit.operator("one");
        kit.until_weight(50).await;
        drop(first);
        kit.api
            .edit(BIRD_WATCHES, (NS, "aleph"), "tenant", |object: &mut Value| {
                let target = &mut object["status"]["rollout"]["plan"]["target"];
                assert_eq!(target["destinationRule"], "aleph");
                target["virtualServices"] = json!(["aleph", name]);
                target["destinationRule"] = json!(name);
            });
        let _second = kit.operator("two");
        // The spec names others than this plan: weights go back, and the release begins again.
        kit.until("it is promoted, by no other call", |kit| {
            assert_called_ours_alone(kit, name);
            kit.phase() == Phase::Promoted
        })
        .await;
        assert_eq!(kit.raised_to(), [50, 0, 50, 100, 0], "{name}");
        assert_eq!(of_neighbour(&kit), before, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_ours_that_names_a_host_next_door_moves_no_route_there() {
    let kit = Kit::new();
    neighbour(&kit);
    let before = of_neighbour(&kit);
    let host = "aleph.payroll.svc.cluster.local";
    kit.api
        .edit(RULES, (NS, "aleph"), "tenant", |object: &mut Value| {
            object["spec"]["host"] = json!(host);
        });
    kit.api
        .edit(SERVICES, (NS, "aleph"), "tenant", |object: &mut Value| {
            for n in 0..2 {
                object["spec"]["http"][0]["route"][n]["destination"]["host"] = json!(host);
            }
        });
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.raised_to(), [50, 100, 0]);
    assert_eq!(of_neighbour(&kit), before);
    assert_called_ours_alone(&kit, host);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_not_looked_for_next_door() {
    for resource in [RULES, SERVICES] {
        let kit = Kit::new();
        neighbour(&kit);
        let before = of_neighbour(&kit);
        kit.api.delete(resource, (NS, "aleph"));
        kit.bird_watch();
        let _operator = kit.operator("one");
        kit.until("it is missed", |kit| {
            kit.status("aleph")
                .message
                .contains("\"aleph\" in namespace shop")
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_mins(3)).await;
        let ours = kit.api.get(BIRD_WATCHES, (NS, "aleph")).unwrap().to_string();
        assert!(!ours.contains(OTHER), "{ours}");
        assert_eq!(of_neighbour(&kit), before);
    }
}

/// Both act on the same host and subsets; in one namespace the older would keep the younger from acting.
#[tokio::test(start_paused = true)]
async fn an_older_neighbour_that_claims_our_host_neither_stops_us_nor_is_named() {
    let kit = Kit::new();
    neighbour(&kit);
    let host = json!("aleph.shop.svc.cluster.local");
    kit.api
        .edit(RULES, (OTHER, "aleph"), "tenant", |object: &mut Value| {
            object["spec"]["host"] = host.clone();
        });
    kit.api
        .edit(SERVICES, (OTHER, "aleph"), "tenant", |object: &mut Value| {
            for n in 0..2 {
                object["spec"]["http"][0]["route"][n]["destination"]["host"] = host.clone();
            }
        });
    let mut theirs = bird_watch("aleph", &json!({}));
    theirs["metadata"]["namespace"] = json!(OTHER);
    theirs["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    kit.api.put(BIRD_WATCHES, theirs);
    kit.bird_watch();
    let _operator = kit.operator("one");
    kit.until_phase(Phase::Promoted).await;
    let ours = kit.api.get(BIRD_WATCHES, (NS, "aleph")).unwrap().to_string();
    assert!(!ours.contains(OTHER), "{ours}");
    let events = kit.api.all("events.k8s.io/events").into_iter();
    let of_ours = events.filter(|event| event["metadata"]["namespace"] == NS);
    assert!(of_ours.clone().count() > 0);
    assert!(!text(&of_ours.collect::<Vec<_>>()).contains(OTHER));
}

#[test]
fn a_name_that_could_be_a_path_is_refused_by_the_plan() {
    for (field, value) in [
        ("service", json!("payroll/aleph")),
        ("service", json!("aleph.payroll")),
        ("virtualServices", json!(["payroll/aleph"])),
        ("virtualServices", json!(["../aleph"])),
        ("destinationRule", json!("payroll/aleph")),
        ("destinationRule", json!("%2e%2e")),
    ] {
        let mut spec = json!({"service": "aleph", "metric": "sum(up)", "deviation": 1, "interval": 5});
        spec[field] = value.clone();
        let spec = serde_json::from_value(spec).unwrap();
        let problems = plan::resolve(&spec).expect_err(&format!("{field}: {value} is let in"));
        assert!(format!("{problems:?}").contains(field), "{field}: {problems:?}");
    }
}
