//! Reading a `DestinationRule`, and the guarded patches of one thing in it: the version label of a subset.

use std::collections::BTreeMap;

use json_patch::Patch;
use json_patch::jsonptr::{PointerBuf, Token};
use serde_json::{Map, Value};

use super::host::resolve;
use super::patch::{below, pointer, remove, same_version, set, test};
use super::problem::{ObjectName, Problem};
use super::raw::DestinationRule;
use crate::core::observation::Lacks;

/// What a subset says of the version it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubsetLabel {
    /// There is no such subset, or it cannot be read.
    Missing,
    /// The subset does not have the version label.
    Unlabelled,
    /// The value of the version label.
    Version(String),
}

impl SubsetLabel {
    /// The version, where the subset names one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Version(version) => Some(version),
            Self::Missing | Self::Unlabelled => None,
        }
    }
}

/// What a rollout needs to know of a `DestinationRule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Full name of the host; `None` where it cannot be read.
    pub host: Option<String>,
    /// The host as written.
    pub written_host: Option<String>,
    /// The production subset.
    pub production: SubsetLabel,
    /// The canary subset.
    pub canary: SubsetLabel,
    /// What they ask for besides the version.
    pub besides: Besides,
    /// Why one of the above is missing.
    pub problems: Vec<Problem>,
}

/// Labels that two subsets ask for besides the version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// Of the production subset.
    pub production: BTreeMap<String, String>,
    /// Of the canary subset.
    pub canary: BTreeMap<String, String>,
}

impl Besides {
    /// Those that pods with these labels lack.
    #[must_use]
    pub fn lacked_by(&self, pod_labels: &BTreeMap<String, String>) -> Lacks {
        // What both ask for alike, and no template says, the canary's traffic shows to be there.
        let is_given = |key: &String| {
            let is_alike = self.production.get(key) == self.canary.get(key);
            is_alike && is_meshs(key) && !pod_labels.contains_key(key)
        };
        let first = |asked: &BTreeMap<String, String>| {
            let differs = |(key, value): &(&String, &String)| pod_labels.get(*key) != Some(*value);
            let mut lacked = asked.iter().filter(differs).filter(|(key, _)| !is_given(key));
            lacked.next().map(|(key, value)| format!("{key}={value}"))
        };
        Lacks {
            production: first(&self.production),
            canary: first(&self.canary),
        }
    }
}

/// Reads host and subsets; `version_label` is the key of the label that tells versions apart, and the host is
/// resolved in the rule's namespace.
#[must_use]
pub fn read(
    rule: &DestinationRule,
    production: &str,
    canary: &str,
    version_label: &str,
    cluster_domain: &str,
) -> Rule {
    let mut problems = Vec::new();
    let mut keep = |problem: Problem| {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    let host = match host(rule) {
        Ok(host) => Some(host),
        Err(problem) => {
            keep(problem);
            None
        }
    };
    let mut label = |subset: &str| {
        let subset = subset_named(rule, subset).and_then(|found| found.label(version_label));
        match subset {
            Ok(None) => SubsetLabel::Unlabelled,
            Ok(Some(version)) => SubsetLabel::Version(version.to_owned()),
            Err(problem) => {
                keep(problem);
                SubsetLabel::Missing
            }
        }
    };
    let besides = |subset| {
        let found = subset_named(rule, subset);
        found
            .map(|found| found.besides(version_label))
            .unwrap_or_default()
    };
    let besides = Besides {
        production: besides(production),
        canary: besides(canary),
    };
    let production = label(production);
    let canary = label(canary);
    Rule {
        host: host.map(|host| resolve(host, rule.namespace(), cluster_domain)),
        written_host: host.map(str::to_owned),
        production,
        canary,
        besides,
        problems,
    }
}

/// Whether a rule has a subset of that name, for pods by their labels alone.
#[must_use]
pub fn has_subset(rule: &DestinationRule, subset: &str) -> bool {
    let mut entries = rule.spec["subsets"].as_array().into_iter().flatten();
    rule.spec["workloadSelector"].is_null() && entries.any(|entry| entry["name"] == subset)
}

/// Points `subset` at `version`. `None` where it is already so.
///
/// Guarded by the resource version and the name of the subset at its place.
///
/// # Errors
/// The subset is missing, named twice or cannot be read.
pub fn label_patch(
    rule: &DestinationRule,
    subset: &str,
    version_label: &str,
    version: &str,
) -> Result<Option<Patch>, Problem> {
    let found = subset_named(rule, subset)?;
    if found.label(version_label)? == Some(version) {
        return Ok(None);
    }
    let mut operations = found.guards(rule);
    if found.labels.is_some() {
        operations.push(set(found.label_at(version_label), version));
    } else {
        let labels = Map::from_iter([(version_label.to_owned(), version.into())]);
        operations.push(set(below(&found.at, ["labels"]), labels));
    }
    Ok(Some(Patch(operations)))
}

/// Gives `subset` back the version it had before we wrote `written`: `kept`, or no label where it had none.
///
/// `None` where it no longer has what we wrote: then somebody else has decided since. Guarded as [`label_patch`].
///
/// # Errors
/// The subset is missing, named twice or cannot be read.
pub fn restore_label_patch(
    rule: &DestinationRule,
    subset: &str,
    version_label: &str,
    kept: Option<&str>,
    written: &str,
) -> Result<Option<Patch>, Problem> {
    let found = subset_named(rule, subset)?;
    if found.label(version_label)? != Some(written) || kept == Some(written) {
        return Ok(None);
    }
    let path = found.label_at(version_label);
    let mut operations = found.guards(rule);
    operations.push(match kept {
        Some(version) => set(path, version),
        None => remove(path),
    });
    Ok(Some(Patch(operations)))
}

fn host(rule: &DestinationRule) -> Result<&str, Problem> {
    let object = rule.object_name();
    match &rule.spec["host"] {
        Value::String(host) if !host.is_empty() => Ok(host),
        Value::Null | Value::String(_) => Err(Problem::MissingField {
            object,
            field: "spec.host".to_owned(),
        }),
        other => Err(Problem::wrong_type(&object, "spec.host", "a string", other)),
    }
}

/// A subset and where it stands.
struct Subset<'a> {
    object: ObjectName,
    index: usize,
    at: PointerBuf,
    name: &'a str,
    labels: Option<&'a Map<String, Value>>,
}

fn subset_named<'a>(rule: &'a DestinationRule, name: &'a str) -> Result<Subset<'a>, Problem> {
    let object = rule.object_name();
    let entries = match &rule.spec["subsets"] {
        Value::Array(entries) => entries.as_slice(),
        Value::Null => &[],
        other => return Err(Problem::wrong_type(&object, "spec.subsets", "a list", other)),
    };
    let mut named = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry["name"].as_str() == Some(name));
    let Some((index, entry)) = named.next() else {
        return Err(Problem::MissingSubset {
            object,
            subset: name.to_owned(),
        });
    };
    if named.next().is_some() {
        return Err(Problem::RepeatedSubset {
            object,
            subset: name.to_owned(),
        });
    }
    let labels = match &entry["labels"] {
        Value::Object(labels) => Some(labels),
        Value::Null => None,
        other => {
            let field = format!("spec.subsets[{index}].labels");
            return Err(Problem::wrong_type(&object, &field, "an object", other));
        }
    };
    let at = pointer([Token::new("spec"), Token::new("subsets"), index.into()]);
    Ok(Subset {
        object,
        index,
        at,
        name,
        labels,
    })
}

/// Whether Istio gives endpoints such a label by itself, or a webhook of its, where the pod template has none. What it makes of a
/// version is no such label.
fn is_meshs(key: &str) -> bool {
    let (domain, name) = key.split_once('/').unwrap_or(("", key));
    let of_place = matches!(
        (domain, name),
        ("topology.kubernetes.io", _) | ("kubernetes.io", "hostname")
    );
    let of_istio = domain == "istio.io" || domain.ends_with(".istio.io");
    of_place || of_istio && name != "canonical-revision"
}

impl<'a> Subset<'a> {
    fn label(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        match self.labels.and_then(|labels| labels.get(key)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(version)) => Ok(Some(version)),
            Some(other) => {
                let field = format!("spec.subsets[{}].labels[{key}]", self.index);
                Err(Problem::wrong_type(&self.object, &field, "a string", other))
            }
        }
    }

    fn besides(&self, version_label: &str) -> BTreeMap<String, String> {
        let labels = self.labels.into_iter().flatten();
        let others = labels.filter(|(key, _)| *key != version_label);
        others
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    fn label_at(&self, key: &str) -> PointerBuf {
        below(&self.at, ["labels", key])
    }

    fn guards(&self, rule: &DestinationRule) -> Vec<json_patch::PatchOperation> {
        vec![
            same_version(&rule.metadata),
            test(below(&self.at, ["name"]), self.name),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::istio::test_support::{DOMAIN, apply, destination_rule, destination_rules};

    fn rule() -> DestinationRule {
        destination_rule(json!({"host": "aleph", "subsets": [
            {"name": "production", "labels": {"version": "v03", "app": "aleph"}, "trafficPolicy": {"x": 1}},
            {"name": "canary"},
        ]}))
    }

    fn seen(rule: &DestinationRule) -> Rule {
        read(rule, "production", "canary", "version", DOMAIN)
    }

    fn messages(rule: &Rule) -> Vec<String> {
        rule.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_subsets_ask_for_besides_the_version_is_held_against_pods() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let asked = seen(&rule()).besides;
        assert_eq!(asked.lacked_by(&labels(&[("app", "aleph")])), Lacks::default());
        // What Istio itself gives endpoints stands in no template.
        let of_place = [
            "topology.istio.io/cluster",
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ];
        let of_place = Value::from_iter(of_place.map(|key| (key, "here")));
        let besides = |production: Value, canary: Value| {
            let subset = |name: &str, labels| json!({"name": name, "labels": labels});
            let subsets = [subset("production", production), subset("canary", canary)];
            seen(&destination_rule(json!({"host": "aleph", "subsets": subsets}))).besides
        };
        let both = besides(of_place.clone(), of_place.clone());
        assert_eq!(both.lacked_by(&labels(&[])), Lacks::default());
        // The template says another, or only one of the two asks for it, or it is made of the version.
        let elsewhere = labels(&[("topology.kubernetes.io/zone", "there")]);
        assert!(both.lacked_by(&elsewhere).production.is_some());
        assert!(
            besides(of_place, json!({}))
                .lacked_by(&labels(&[]))
                .production
                .is_some()
        );
        let revision = json!({"service.istio.io/canonical-revision": "v1"});
        assert!(
            besides(revision.clone(), revision)
                .lacked_by(&labels(&[]))
                .canary
                .is_some()
        );
        for pods in [labels(&[("version", "v03")]), labels(&[("app", "beth")])] {
            let lacks = asked.lacked_by(&pods);
            assert_eq!(
                (lacks.production.as_deref(), lacks.canary),
                (Some("app=aleph"), None)
            );
        }
    }

    #[test]
    fn a_subset_of_all_pods_with_its_labels_is_told_from_one_of_a_workload() {
        assert!(has_subset(&rule(), "canary") && !has_subset(&rule(), "next"));
        let mut of_workload = rule();
        of_workload.spec["workloadSelector"] = json!({"matchLabels": {"app": "web"}});
        assert!(!has_subset(&of_workload, "canary"));
    }

    #[test]
    fn host_and_subsets_are_read() {
        assert_eq!(
            seen(&rule()),
            Rule {
                host: Some("aleph.shop.svc.cluster.local".into()),
                written_host: Some("aleph".into()),
                production: SubsetLabel::Version("v03".into()),
                canary: SubsetLabel::Unlabelled,
                besides: Besides {
                    production: [("app".to_owned(), "aleph".to_owned())].into(),
                    canary: BTreeMap::new(),
                },
                problems: vec![],
            }
        );
    }

    #[test]
    fn problems_name_the_object_and_the_field() {
        let named = |entries| json!({"host": "aleph", "subsets": entries});
        for (spec, expected) in [
            (
                json!(null),
                vec![
                    "DestinationRule \"aleph\" has no spec.host",
                    "DestinationRule \"aleph\" has no subset \"production\" in spec.subsets",
                    "DestinationRule \"aleph\" has no subset \"canary\" in spec.subsets",
                ],
            ),
            (
                json!({"host": 1, "subsets": {}}),
                vec![
                    "DestinationRule \"aleph\": spec.host must be a string, not a number",
                    "DestinationRule \"aleph\": spec.subsets must be a list, not an object",
                ],
            ),
            (
                named(
                    json!([{"name": "production", "labels": []}, {"name": "canary", "labels": {"version": 4}}]),
                ),
                vec![
                    "DestinationRule \"aleph\": spec.subsets[0].labels must be an object, not a list",
                    "DestinationRule \"aleph\": spec.subsets[1].labels[version] must be a string, not a number",
                ],
            ),
            (
                named(json!([{"name": "production"}, {"name": "canary"}, {"name": "canary"}])),
                vec!["DestinationRule \"aleph\" has more than one subset \"canary\" in spec.subsets"],
            ),
        ] {
            assert_eq!(messages(&seen(&destination_rule(spec))), expected);
        }
    }

    #[test]
    fn a_label_is_written_beside_the_others_under_guard() {
        let patch = label_patch(&rule(), "production", "version", "v04")
            .unwrap()
            .unwrap();
        assert_eq!(
            serde_json::to_value(&patch).unwrap(),
            json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": "41"},
                {"op": "test", "path": "/spec/subsets/0/name", "value": "production"},
                {"op": "add", "path": "/spec/subsets/0/labels/version", "value": "v04"},
            ])
        );
        let mut expected = rule();
        expected.spec["subsets"][0]["labels"]["version"] = "v04".into();
        assert_eq!(apply(&rule(), &patch).unwrap(), expected);
    }

    #[test]
    fn labels_are_made_where_there_were_none() {
        let patch = label_patch(&rule(), "canary", "app.kubernetes.io/version~x", "v04")
            .unwrap()
            .unwrap();
        let mut expected = rule();
        expected.spec["subsets"][1]["labels"] = json!({"app.kubernetes.io/version~x": "v04"});
        assert_eq!(apply(&rule(), &patch).unwrap(), expected);
    }

    #[test]
    fn a_key_with_slash_and_tilde_is_escaped() {
        let mut rule = rule();
        rule.spec["subsets"][1]["labels"] = json!({"a": {"b~c": "trap"}});
        let patch = label_patch(&rule, "canary", "a/b~c", "v04").unwrap().unwrap();
        let after = apply(&rule, &patch).unwrap();
        assert_eq!(
            after.spec["subsets"][1]["labels"],
            json!({"a": {"b~c": "trap"}, "a/b~c": "v04"})
        );
    }

    #[test]
    fn a_label_that_is_right_already_needs_no_patch() {
        assert_eq!(label_patch(&rule(), "production", "version", "v03"), Ok(None));
    }

    #[test]
    fn a_missing_subset_is_never_added() {
        let problem = label_patch(&rule(), "blue", "version", "v04").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "DestinationRule \"aleph\" has no subset \"blue\" in spec.subsets"
        );
    }

    #[test]
    fn a_label_patch_fails_on_a_newer_version_and_on_moved_subsets() {
        let patch = label_patch(&rule(), "production", "version", "v04")
            .unwrap()
            .unwrap();
        let mut newer = rule();
        newer.metadata.resource_version = Some("42".into());
        assert!(apply(&newer, &patch).is_err());
        let mut moved = rule();
        moved.spec["subsets"].as_array_mut().unwrap().reverse();
        assert!(apply(&moved, &patch).is_err());
    }

    #[test]
    fn a_label_goes_back_unless_somebody_changed_it_since() {
        let wrote = |version: &str| {
            let patch = label_patch(&rule(), "production", "version", version)
                .unwrap()
                .unwrap();
            apply(&rule(), &patch).unwrap()
        };
        let back = |rule: &DestinationRule, kept, written| {
            restore_label_patch(rule, "production", "version", kept, written).unwrap()
        };
        assert_eq!(
            apply(&wrote("v04"), &back(&wrote("v04"), Some("v03"), "v04").unwrap()).unwrap(),
            rule()
        );
        assert_eq!(back(&wrote("v05"), Some("v03"), "v04"), None);
        assert_eq!(back(&rule(), Some("v03"), "v03"), None);
        let unlabelled = apply(&wrote("v04"), &back(&wrote("v04"), None, "v04").unwrap()).unwrap();
        assert_eq!(unlabelled.spec["subsets"][0]["labels"], json!({"app": "aleph"}));
    }

    proptest! {
        #[test]
        fn writing_and_restoring_change_the_one_label_and_nothing_else(
            rule in destination_rules(), key in prop::sample::select(vec!["version", "a/b~c"]),
        ) {
            let before = read(&rule, "production", "canary", key, DOMAIN);
            match label_patch(&rule, "canary", key, "new") {
                Err(_) => prop_assert_eq!(before.canary, SubsetLabel::Missing),
                Ok(None) => prop_assert_eq!(before.canary, SubsetLabel::Version("new".into())),
                Ok(Some(patch)) => {
                    let after = apply(&rule, &patch).unwrap();
                    let now = read(&after, "production", "canary", key, DOMAIN);
                    prop_assert_eq!(now.canary, SubsetLabel::Version("new".into()));
                    prop_assert_eq!(now.production, before.production);
                    let kept = before.canary.version();
                    let back = restore_label_patch(&after, "canary", key, kept, "new").unwrap().unwrap();
                    let back = apply(&after, &back).unwrap();
                    // What stays behind means the same to Istio: labels that were not there are empty now, and a
                    // null is gone.
                    let mut expected = rule.clone();
                    let subsets = expected.spec["subsets"].as_array_mut().unwrap();
                    let labels = &mut subsets.iter_mut().find(|s| s["name"] == "canary").unwrap()["labels"];
                    if labels.is_null() {
                        *labels = json!({});
                    }
                    labels.as_object_mut().unwrap().retain(|name, value| name != key || !value.is_null());
                    prop_assert_eq!(back, expected);
                }
            }
        }
    }
}
