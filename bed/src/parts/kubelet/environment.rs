//! A container's environment and arguments, resolved as Kubernetes does: envFrom, env in order, `$(NAME)`. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource, Pod};

use super::{object::Objects, problem::Problem};

/// Names and values.
pub(super) type Env = BTreeMap<String, String>;

/// What a container's env and envFrom say. `resourceFieldRef` is left out: there are no resources here.
///
/// # Errors
/// When something named is missing and not optional.
pub(super) fn of_container(
    container: &Container,
    pod: &Pod,
    ip: &str,
    objects: &Objects,
) -> Result<Env, Problem> {
    let mut env = Env::new();
    for source in container.env_from.iter().flatten() {
        add_all(&mut env, source, objects)?;
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => referenced(source, pod, ip, objects)?,
            (value, None) => Some(expand(value.as_deref().unwrap_or_default(), &env)),
        };
        if let Some(value) = value {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

/// `text` with each `$(NAME)` of a known name replaced; `$$` is a dollar, everything else stays.
pub(super) fn expand(text: &str, env: &Env) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = from.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&from[..name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &from[1..];
        }
    }
    out + rest
}

/// The field of a pod that a fieldRef names.
///
/// # Errors
/// When there is no such field, or none that the toy kubelet knows.
pub(super) fn field(pod: &Pod, ip: &str, path: &str) -> Result<String, Problem> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => Ok(lines(meta.labels.as_ref())),
        "metadata.annotations" => Ok(lines(meta.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.podIP" | "status.podIPs" => Ok(ip.to_owned()),
        "status.hostIP" | "status.hostIPs" => Ok("127.0.0.1".to_owned()),
        _ => {
            let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
            if let Some(key) = keyed("metadata.labels['") {
                return text(meta.labels.as_ref().and_then(|labels| labels.get(key)));
            }
            if let Some(key) = keyed("metadata.annotations['") {
                return text(
                    meta.annotations
                        .as_ref()
                        .and_then(|annotations| annotations.get(key)),
                );
            }
            Err(Problem::config(format!(
                "the toy kubelet knows no field {path:?}"
            )))
        }
    }
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={value:?}\n");
    map.into_iter().flatten().map(line).collect()
}

/// The value a valueFrom names; none when it may be missing and is.
fn referenced(
    source: &EnvVarSource,
    pod: &Pod,
    ip: &str,
    objects: &Objects,
) -> Result<Option<String>, Problem> {
    if let Some(wanted) = &source.field_ref {
        return field(pod, ip, &wanted.field_path).map(Some);
    }
    if source.resource_field_ref.is_some() {
        return Ok(None);
    }
    let (kind, data, key, optional) = if let Some(wanted) = &source.secret_key_ref {
        (
            "secret",
            objects.secrets.get(&wanted.name),
            (&wanted.name, &wanted.key),
            wanted.optional,
        )
    } else if let Some(wanted) = &source.config_map_key_ref {
        (
            "configmap",
            objects.config_maps.get(&wanted.name),
            (&wanted.name, &wanted.key),
            wanted.optional,
        )
    } else {
        return Err(Problem::config(
            "the toy kubelet does not know this source of an env variable",
        ));
    };
    let (name, key) = key;
    match data.map(|data| data.get(key)) {
        Some(Some(value)) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        _ if optional == Some(true) => Ok(None),
        None => Err(Problem::config(format!("{kind} {name:?} not found"))),
        Some(None) => Err(Problem::config(format!(
            "couldn't find key {key} in {kind} {name}"
        ))),
    }
}

fn add_all(env: &mut Env, source: &EnvFromSource, objects: &Objects) -> Result<(), Problem> {
    let (kind, name, data, optional) = if let Some(wanted) = &source.secret_ref {
        (
            "secret",
            &wanted.name,
            objects.secrets.get(&wanted.name),
            wanted.optional,
        )
    } else if let Some(wanted) = &source.config_map_ref {
        (
            "configmap",
            &wanted.name,
            objects.config_maps.get(&wanted.name),
            wanted.optional,
        )
    } else {
        return Ok(());
    };
    let Some(data) = data else {
        let missing = Problem::config(format!("{kind} {name:?} not found"));
        return if optional == Some(true) {
            Ok(())
        } else {
            Err(missing)
        };
    };
    let prefix = source.prefix.as_deref().unwrap_or_default();
    for (key, value) in data {
        env.insert(
            format!("{prefix}{key}"),
            String::from_utf8_lossy(value).into_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn objects() -> Objects {
        let data = |key: &str, value: &str| {
            let entry = BTreeMap::from([(key.to_owned(), value.as_bytes().to_vec())]);
            BTreeMap::from([("there".to_owned(), entry)])
        };
        Objects {
            config_maps: data("colour", "blue"),
            secrets: data("token", "xoxb"),
        }
    }

    fn resolve(container: Value) -> Result<Env, Problem> {
        let mut container = container;
        container["name"] = "c".into();
        let container: Container = serde_json::from_value(container).unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"version": "v04"}},
            "spec": {"containers": [], "serviceAccountName": "sa", "nodeName": "bed"},
        }))
        .unwrap();
        of_container(&container, &pod, "127.7.9.1", &objects())
    }

    #[test]
    fn variables_are_expanded_as_kubernetes_does() {
        let env = env(&[("A", "1"), ("EMPTY", "")]);
        for (text, wanted) in [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(EMPTY)", ""),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
        ] {
            assert_eq!(expand(text, &env), wanted, "{text}");
        }
    }

    #[test]
    fn a_variable_sees_those_before_it_and_not_those_after() {
        let resolved = resolve(json!({"env": [
            {"name": "B", "value": "$(A)"}, {"name": "A", "value": "1"}, {"name": "C", "value": "$(A)2"},
        ]}))
        .unwrap();
        assert_eq!(resolved, env(&[("A", "1"), ("B", "$(A)"), ("C", "12")]));
    }

    #[test]
    fn secrets_config_maps_and_fields_are_resolved() {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let resolved = resolve(json!({
            "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "there"}}, {"secretRef": {"name": "there"}}],
            "env": [
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "there", "key": "token"}}},
                {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "there", "key": "colour"}}},
                {"name": "NAME", "valueFrom": field("metadata.name")},
                {"name": "NAMESPACE", "valueFrom": field("metadata.namespace")},
                {"name": "IP", "valueFrom": field("status.podIP")},
                {"name": "VERSION", "valueFrom": field("metadata.labels['version']")},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            ],
        }))
        .unwrap();
        let wanted = env(&[
            ("CM_colour", "blue"),
            ("token", "xoxb"),
            ("TOKEN", "xoxb"),
            ("COLOUR", "blue"),
            ("NAME", "p"),
            ("NAMESPACE", "n"),
            ("IP", "127.7.9.1"),
            ("VERSION", "v04"),
        ]);
        assert_eq!(resolved, wanted);
    }

    #[test]
    fn what_is_missing_is_named_unless_it_is_optional() {
        let key = |name: &str, key: &str, optional: bool| {
            resolve(json!({"env": [{"name": "X", "valueFrom":
                {"secretKeyRef": {"name": name, "key": key, "optional": optional}}}]}))
        };
        assert!(
            key("gone", "token", false)
                .unwrap_err()
                .message
                .contains("\"gone\" not found")
        );
        assert!(
            key("there", "tokn", false)
                .unwrap_err()
                .message
                .contains("key tokn")
        );
        assert_eq!(key("gone", "token", true), Ok(Env::new()));
        assert_eq!(key("there", "tokn", true), Ok(Env::new()));
        assert!(resolve(json!({"envFrom": [{"configMapRef": {"name": "gone"}}]})).is_err());
        assert!(
            resolve(json!({"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}))
                .is_err()
        );
    }
}
