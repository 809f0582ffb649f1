//! Exactly the rights the operator uses, in each of the two modes.

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, RELEASE, render, try_render};

/// The rights in a watched namespace.
fn release_rules() -> Value {
    json!([
        {"apiGroups": ["otomato.link"], "resources": ["birdwatches"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["otomato.link"], "resources": ["birdwatches/status"], "verbs": ["update"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": ["networking.istio.io"],
            "resources": ["virtualservices", "destinationrules"],
            "verbs": ["get", "list", "watch", "patch"],
        },
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ])
}

#[test]
fn cluster_wide_it_is_one_cluster_role_and_the_lease() {
    let rendered = render("{}");
    assert_eq!(rendered.get("ClusterRole", RELEASE)["rules"], release_rules());
    assert_bound(
        rendered.get("ClusterRoleBinding", RELEASE),
        "ClusterRole",
        RELEASE,
    );
    assert_eq!(rendered.of("ClusterRole").count(), 1);
    assert_eq!(rendered.of("Role").count(), 1);
    assert_lease(&rendered);
}

#[test]
fn with_namespaces_it_is_a_role_in_each_and_no_cluster_role() {
    let rendered = render("namespaces: [shop, pay]");
    assert_eq!(rendered.of("ClusterRole").count(), 0);
    assert_eq!(rendered.of("ClusterRoleBinding").count(), 0);
    for kind in ["Role", "RoleBinding"] {
        let mut places: Vec<_> = rendered
            .of(kind)
            .map(|object| object["metadata"]["namespace"].as_str().unwrap())
            .collect();
        places.sort_unstable();
        assert_eq!(places, [NAMESPACE, "pay", "shop"], "{kind}");
    }
    for role in rendered
        .of("Role")
        .filter(|role| role["metadata"]["namespace"] != NAMESPACE)
    {
        assert_eq!(role["rules"], release_rules());
    }
    for binding in rendered
        .of("RoleBinding")
        .filter(|binding| binding["metadata"]["namespace"] != NAMESPACE)
    {
        assert_bound(binding, "Role", RELEASE);
    }
    assert_lease(&rendered);
}

#[test]
fn a_namespace_named_twice_gets_one_role() {
    assert_eq!(
        render("namespaces: [shop, shop]").of("Role").count(),
        2,
        "shop's and the lease's"
    );
}

#[test]
fn the_release_namespace_may_be_watched_too() {
    let rendered = render(&format!("namespaces: [{NAMESPACE}]"));
    assert_eq!(rendered.get("Role", RELEASE)["rules"], release_rules());
    assert_lease(&rendered);
}

#[test]
fn nothing_is_granted_by_wildcard_and_no_secret_can_be_read() {
    for values in ["{}", "namespaces: [shop]", "rbac: {aggregateToUserRoles: true}"] {
        for role in render(values)
            .objects
            .iter()
            .filter(|object| object["rules"].is_array())
        {
            for rule in role["rules"].as_array().unwrap() {
                let text = rule.to_string();
                assert!(!text.contains('*'), "{text}");
                assert!(!text.contains("secrets"), "{text}");
            }
        }
    }
}

#[test]
fn people_get_their_rights_through_the_standard_roles_when_asked_and_the_operator_none_of_them() {
    let rendered = render("rbac: {aggregateToUserRoles: true}");
    let edit = rendered.get("ClusterRole", "birdwatch-edit");
    let view = rendered.get("ClusterRole", "birdwatch-view");
    let into = |role: &Value, standard: &str| {
        role["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{standard}")] == "true"
    };
    assert!(into(edit, "admin") && into(edit, "edit") && !into(edit, "view"));
    assert!(into(view, "view") && !into(view, "edit"));
    // Nobody but the operator writes a status: what it says of weights and messages is believed.
    for role in [edit, view] {
        assert_eq!(role["rules"].as_array().unwrap().len(), 1);
        assert_eq!(role["rules"][0]["resources"], json!(["birdwatches"]));
    }
    let bound: Vec<_> = rendered
        .of("ClusterRoleBinding")
        .map(|binding| &binding["roleRef"]["name"])
        .collect();
    assert_eq!(bound, [RELEASE]);
    assert_eq!(rendered.get("ClusterRole", RELEASE)["rules"], release_rules());
}

#[test]
fn of_several_shards_each_lease_may_be_held_and_that_of_a_single_one_while_pods_are_replaced() {
    let rendered = render("shards: 3");
    let rules = &rendered.get("Role", "birdwatch-lease")["rules"];
    let leases = [
        "birdwatch",
        "birdwatch-0-of-3",
        "birdwatch-1-of-3",
        "birdwatch-2-of-3",
    ];
    assert_eq!(rules[1]["resourceNames"], json!(leases));
    assert_eq!(rendered.env("SHARDS"), "3");
    for wrong in ["0", "65", "many"] {
        let error = try_render(&format!("shards: {wrong}")).err().unwrap_or_default();
        assert!(error.contains("shards"), "{error}");
    }
}

fn assert_lease(rendered: &crate::helm::Rendered) {
    let name = "birdwatch-lease";
    assert_eq!(
        rendered.get("Role", name)["rules"],
        json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "list"]},
            {
                "apiGroups": ["coordination.k8s.io"],
                "resources": ["leases"],
                "resourceNames": [RELEASE],
                "verbs": ["get", "watch", "update"],
            },
        ])
    );
    assert_eq!(rendered.env("LEASE_NAME"), RELEASE);
    assert_eq!(rendered.get("Role", name)["metadata"]["namespace"], NAMESPACE);
    assert_bound(rendered.get("RoleBinding", name), "Role", name);
}

/// The binding gives that role to the operator's account and to nobody else.
fn assert_bound(binding: &Value, kind: &str, role: &str) {
    assert_eq!(
        binding["roleRef"],
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role})
    );
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}])
    );
}
