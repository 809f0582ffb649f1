//! What there is of a service whoever releases it: labels, a container, the mesh's two objects. Data only.

use serde_json::{Value, json};

/// Where all services live.
pub(crate) const NAMESPACE: &str = "bench";

/// A kind of object, as the API server knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the API's own names")]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
}

/// The mesh's routes.
pub(crate) const VIRTUAL_SERVICE: Kind = Kind {
    group: "networking.istio.io",
    version: "v1",
    kind: "VirtualService",
    plural: "virtualservices",
};

/// What makes pods.
pub(crate) const DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
};

/// An object of the services' namespace.
pub(crate) fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    })
}

/// The pod of a version, with these labels. Nobody runs it.
pub(crate) fn pod(labels: &Value, version: &str) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": containers(version)}})
}

/// Its containers.
pub(crate) fn containers(version: &str) -> Value {
    json!([{"name": "app", "image": format!("bench/app:{version}"), "ports": [{"name": "http", "containerPort": 8080}]}])
}

/// A Deployment of one pod.
pub(crate) fn deployment(name: &str, labels: &Value, version: &str) -> Value {
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": pod(labels, version)});
    object("apps/v1", "Deployment", name, &spec)
}

/// Two weighted destinations, `production` and `canary`, all to the first.
pub(crate) fn routes(service: &str) -> Value {
    let to = |subset: &str, weight: u32| json!({"destination": {"host": service, "subset": subset}, "weight": weight});
    let route = json!({"name": "primary", "route": [to("production", 100), to("canary", 0)]});
    let spec = json!({"hosts": [service], "http": [route]});
    object("networking.istio.io/v1", "VirtualService", service, &spec)
}

/// The two subsets, told apart by these labels.
pub(crate) fn subsets(service: &str, production: &Value, canary: &Value) -> Value {
    let subsets = json!([{"name": "production", "labels": production}, {"name": "canary", "labels": canary}]);
    let spec = json!({"host": service, "subsets": subsets});
    object("networking.istio.io/v1", "DestinationRule", service, &spec)
}

/// The weight of the destination of which `is_canary` is true on the first http route; None without one.
pub(crate) fn weight_of(spec: &Value, is_canary: impl Fn(&Value) -> bool) -> Option<i64> {
    let destinations = spec.pointer("/http/0/route")?.as_array()?;
    let canary = destinations.iter().find(|to| is_canary(&to["destination"]))?;
    // A destination without a weight that is alone has all; ours are never alone.
    Some(canary["weight"].as_i64().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canarys_weight_is_that_of_its_destination() {
        let mut service = routes("one");
        let weight = |service: &Value| weight_of(&service["spec"], |to| to["subset"] == "canary");
        assert_eq!(weight(&service), Some(0));
        service["spec"]["http"][0]["route"][1]["weight"] = json!(12);
        assert_eq!(weight(&service), Some(12));
        assert_eq!(weight(&json!({"spec": {}})), None);
    }
}
