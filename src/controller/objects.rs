//! The watched kinds as we keep them: only what decisions need, and decoded so that no field can stall a watch.
//! Types and decoding only; nothing here talks to a server.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::api::{ObjectMeta, TypeMeta};
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::api::{BirdWatchSpec, BirdWatchStatus, FINALIZER, VERB_ANNOTATION};
use crate::clients::depth::{INSTEAD, MOST};
use crate::core::line::tidy;
use crate::core::observation::{DeploymentSeen, Lacks, ObjectName};

use super::json::Json;
use super::unknown;

/// Which revision of its pod template a Deployment runs.
const REVISION: &str = "deployment.kubernetes.io/revision";

macro_rules! static_resource {
    ($name:ident, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// A `BirdWatch` as stored: spec and status are any JSON, and decoded apart, so that one that cannot be read hides
/// neither the other nor any other object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawBirdWatch {
    /// Group, version and kind; only there where the object is sent.
    #[serde(flatten, skip_deserializing)]
    pub types: Option<TypeMeta>,
    /// Name, namespace, resource version and so on.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Any JSON; null where there is none.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub spec: Json,
    /// Any JSON; null before the first write.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub status: Json,
}

static_resource!(
    RawBirdWatch,
    "otomato.link",
    "v1alpha1",
    "BirdWatch",
    "birdwatches"
);

/// Why a status cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("status{}{field} cannot be read: {reason}", if .field.is_empty() { "" } else { "." })]
pub struct UnreadableStatus {
    /// The field below `status`; empty: all of it.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What is wrong quotes what is there, which may be of any length.
const MOST_SAID: usize = 400;

/// Fields of status without which a rollout cannot be carried on safely. Others are dropped when they cannot be read.
const VITAL: [&str; 5] = ["phase", "rollout", "known", "ended", "verb"];

impl RawBirdWatch {
    /// Namespace and name; empty where there is none, which no object from a server is.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        name_of(&self.metadata)
    }

    /// The spec, or why it cannot be read.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn read_spec(&self) -> Result<BirdWatchSpec, String> {
        let spec = self.spec.read();
        spec.map_err(|error| format!("spec cannot be read: {}", tidy(&error.to_string(), MOST_SAID)))
    }

    /// `spec.paused`, even where the spec cannot be read.
    #[must_use]
    pub fn paused(&self) -> Option<bool> {
        /// The field alone.
        #[derive(Deserialize)]
        struct Pause {
            #[serde(default, deserialize_with = "lenient")]
            paused: Option<bool>,
        }
        let is_object = self.spec.text().starts_with('{');
        is_object.then(|| self.spec.read::<Pause>().ok()?.paused)?
    }

    /// The status; what is not vital and cannot be read (written by a newer operator, or by hand) is left out.
    ///
    /// # Errors
    /// A vital field cannot be read: deciding without it could do harm. Or something is nested so deeply that only a part
    /// was read: whoever wrote the status back would write that part over the whole.
    pub fn read_status(&self) -> Result<BirdWatchStatus, UnreadableStatus> {
        if self.status.is_null() {
            return Ok(BirdWatchStatus::default());
        }
        if self.status.text().contains(INSTEAD)
            && let Some(field) = too_deep(&self.status.read().map_err(|error| unreadable("", &error))?)
        {
            return Err(unreadable(field, &"it is nested too deeply"));
        }
        if let Ok(status) = self.status.read() {
            return Ok(status);
        }
        let fields = match self.status.read() {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(unreadable("", &"it is not an object")),
            Err(error) => return Err(unreadable("", &error)),
        };
        let mut readable = Map::new();
        for (field, value) in &fields {
            let alone = Value::Object(Map::from_iter([(field.clone(), value.clone())]));
            match BirdWatchStatus::deserialize(&alone) {
                Ok(_) => {
                    readable.insert(field.clone(), value.clone());
                }
                Err(error) if VITAL.contains(&field.as_str()) => {
                    return Err(unreadable(field, &error));
                }
                Err(_) => {}
            }
        }
        BirdWatchStatus::deserialize(&Value::Object(readable)).map_err(|error| unreadable("", &error))
    }

    /// Whether our finalizer is there.
    #[must_use]
    pub fn has_finalizer(&self) -> bool {
        self.metadata
            .finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == FINALIZER)
    }

    /// The verb annotation, as written.
    #[must_use]
    pub fn verb(&self) -> Option<String> {
        self.metadata.annotations.as_ref()?.get(VERB_ANNOTATION).cloned()
    }

    /// The object to send for its status to become `status`, if it is still the version that was read; what a newer operator
    /// wrote into the present one stays.
    ///
    /// # Errors
    /// The status cannot be written as JSON, which only a number that is none can cause.
    pub fn with_status(&self, status: &BirdWatchStatus) -> Result<Self, serde_json::Error> {
        let ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            ..
        } = self.metadata.clone();
        let mut next = serde_json::to_value(status)?;
        // Where only parts could be read, nobody can tell what is unknown from what is wrong.
        if let Ok(understood) = self.status.read::<BirdWatchStatus>() {
            unknown::keep(
                &self.status.read()?,
                &serde_json::to_value(understood)?,
                &mut next,
            );
        }
        Ok(Self {
            types: Some(TypeMeta::resource::<Self>()),
            metadata: ObjectMeta {
                name,
                namespace,
                uid,
                resource_version,
                ..ObjectMeta::default()
            },
            spec: self.spec.clone(),
            status: Json::of(&next)?,
        })
    }

    /// Drops what no decision needs.
    pub fn trim(&mut self) {
        trim(&mut self.metadata, VERB_ANNOTATION);
    }
}

/// The name of a `BirdWatch`, by which reconciles are queued.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Named {
    metadata: ObjectMeta,
}

static_resource!(Named, "otomato.link", "v1alpha1", "BirdWatch", "birdwatches");

impl Named {
    /// The name of an object.
    #[must_use]
    pub fn of(object: &RawBirdWatch) -> Self {
        let ObjectMeta { name, namespace, .. } = &object.metadata;
        Self {
            metadata: ObjectMeta {
                name: name.clone(),
                namespace: namespace.clone(),
                ..ObjectMeta::default()
            },
        }
    }

    /// Namespace and name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        name_of(&self.metadata)
    }
}

/// Of an answer, what a status has around it at most: a list, its items and the object.
const AROUND: usize = 3;

/// The field of a status of which not all was read. What says so stands as deep as anything that is read, where no text of
/// people's comes to stand: elsewhere it is their text.
fn too_deep(status: &Value) -> Option<&str> {
    fn holds(value: &Value, depth: usize) -> bool {
        match value {
            Value::String(text) => depth + AROUND >= MOST && text == INSTEAD,
            Value::Array(entries) => entries.iter().any(|entry| holds(entry, depth + 1)),
            Value::Object(fields) => fields.values().any(|field| holds(field, depth + 1)),
            _ => false,
        }
    }
    let mut fields = status.as_object()?.iter();
    fields.find_map(|(name, value)| holds(value, 1).then_some(name.as_str()))
}

fn unreadable(field: &str, reason: &impl ToString) -> UnreadableStatus {
    UnreadableStatus {
        field: field.to_owned(),
        reason: tidy(&reason.to_string(), MOST_SAID),
    }
}

/// A Deployment: what tells versions and their readiness. What has an odd type counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Name, namespace, UID, generation, creation time and revision.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Replicas and the pod template's labels.
    #[serde(default, deserialize_with = "lenient")]
    pub spec: DeploymentSpec,
    /// Replica counts.
    #[serde(default, deserialize_with = "lenient")]
    pub status: DeploymentStatus,
}

static_resource!(Deployment, "apps", "v1", "Deployment", "deployments");

/// The part of a Deployment's spec that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentSpec {
    /// Pods wanted; 1 where absent.
    #[serde(deserialize_with = "lenient")]
    pub replicas: Option<i32>,
    /// The pod template.
    #[serde(deserialize_with = "lenient")]
    pub template: PodTemplate,
}

/// The part of a pod template that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// Its metadata.
    #[serde(deserialize_with = "lenient")]
    pub metadata: PodMeta,
}

/// The part of a pod template's metadata that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodMeta {
    /// Its labels.
    #[serde(deserialize_with = "lenient")]
    pub labels: BTreeMap<String, String>,
}

/// The part of a Deployment's status that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// The generation this status speaks of.
    #[serde(deserialize_with = "lenient")]
    pub observed_generation: Option<i64>,
    /// All pods.
    #[serde(deserialize_with = "lenient")]
    pub replicas: i32,
    /// Pods of the present template.
    #[serde(deserialize_with = "lenient")]
    pub updated_replicas: i32,
    /// Pods that are ready for long enough.
    #[serde(deserialize_with = "lenient")]
    pub available_replicas: i32,
}

impl Deployment {
    /// Labels of its pods.
    #[must_use]
    pub fn pod_labels(&self) -> &BTreeMap<String, String> {
        &self.spec.template.metadata.labels
    }

    /// What a decision sees of it; `version_label` is the key of the label that tells versions apart.
    #[must_use]
    pub fn seen(&self, version_label: &str) -> DeploymentSeen {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let observed = metadata.generation.is_some() && metadata.generation == status.observed_generation;
        let revision = metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(REVISION));
        DeploymentSeen {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: self.pod_labels().get(version_label).cloned(),
            revision: revision.filter(|_| observed).cloned(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            replicas: spec.replicas.unwrap_or(1),
            current: status.replicas,
            updated: status.updated_replicas,
            available: status.available_replicas,
            lacks: Lacks::default(),
        }
    }

    /// Drops what no decision needs.
    pub fn trim(&mut self) {
        trim(&mut self.metadata, REVISION);
    }
}

/// Namespace and name of an object.
#[must_use]
pub fn name_of(metadata: &ObjectMeta) -> ObjectName {
    ObjectName {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

/// Keeps what a decision may need, and of the annotations one.
fn trim(metadata: &mut ObjectMeta, annotation: &str) {
    let ObjectMeta {
        name,
        namespace,
        uid,
        generation,
        resource_version,
        creation_timestamp,
        deletion_timestamp,
        finalizers,
        mut annotations,
        ..
    } = std::mem::take(metadata);
    if let Some(all) = &mut annotations {
        all.retain(|name, _| name == annotation);
    }
    *metadata = ObjectMeta {
        name,
        namespace,
        uid,
        generation,
        resource_version,
        creation_timestamp,
        deletion_timestamp,
        finalizers,
        annotations,
        ..ObjectMeta::default()
    };
}

/// Takes the default where the value has another type than ours.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::status::Phase;

    fn raw(status: &Value) -> RawBirdWatch {
        RawBirdWatch {
            status: Json::of(status).unwrap(),
            ..RawBirdWatch::default()
        }
    }

    #[test]
    fn a_bird_watch_with_nonsense_in_spec_and_status_still_decodes() {
        let object: RawBirdWatch = serde_json::from_value(json!({
            "metadata": {"name": "aleph", "namespace": "shop"},
            "spec": {"service": 5, "paused": true}, "status": "none",
        }))
        .unwrap();
        assert!(object.read_spec().unwrap_err().contains("spec cannot be read"));
        assert_eq!(object.paused(), Some(true));
        assert!(object.read_status().is_err());
    }

    #[test]
    fn a_pause_is_a_field_of_an_object() {
        for (spec, paused) in [
            (json!({"paused": false}), Some(false)),
            (json!({"paused": "yes"}), None),
            (json!({"service": "aleph"}), None),
            (json!([true]), None),
            (json!(true), None),
            (Value::Null, None),
        ] {
            let spec = Json::of(&spec).unwrap();
            let object = RawBirdWatch {
                spec,
                ..RawBirdWatch::default()
            };
            assert_eq!(object.paused(), paused, "{}", object.spec.text());
        }
    }

    #[test]
    fn a_number_that_is_none_hides_no_other_part() {
        let text =
            r#"{"metadata": {"name": "aleph"}, "spec": {"paused": true}, "status": {"weight": 1e999}}"#;
        let object: RawBirdWatch = serde_json::from_str(text).unwrap();
        assert_eq!(object.paused(), Some(true));
        assert!(object.read_status().unwrap_err().reason.contains("out of range"));
    }

    #[test]
    fn a_status_that_only_says_that_it_is_nested_too_deeply_is_read() {
        let verb =
            json!({"value": INSTEAD, "accepted": false, "message": INSTEAD, "at": "2026-01-01T00:00:00Z"});
        let shallow =
            json!({"phase": "Progressing", "message": INSTEAD, "verb": verb, "fromTheFuture": [[INSTEAD]]});
        assert_eq!(raw(&shallow).read_status().unwrap().message, INSTEAD);
        // As it comes in a list, in an event and alone.
        for around in 1..=AROUND {
            let cut = (around + 1..MOST).fold(json!(INSTEAD), |inner, _| json!([inner]));
            assert!(
                raw(&json!({"fromTheFuture": cut})).read_status().is_err(),
                "{around}"
            );
        }
    }

    #[test]
    fn a_status_field_of_a_newer_operator_does_not_hide_the_rollout() {
        let status =
            json!({"phase": "Promoted", "notices": {"pending": [{"kind": "FromTheFuture"}]}, "weight": 7});
        let read = raw(&status).read_status().unwrap();
        assert_eq!(
            (read.phase, read.weight, read.notices.pending.len()),
            (Phase::Promoted, Some(7), 0)
        );
    }

    #[test]
    fn a_phase_that_cannot_be_read_is_an_error_and_not_idle() {
        let error = raw(&json!({"phase": "Mirroring"})).read_status().unwrap_err();
        assert_eq!(error.field, "phase");
    }

    #[test]
    fn no_status_is_an_empty_one() {
        assert_eq!(
            raw(&Value::Null).read_status().unwrap(),
            BirdWatchStatus::default()
        );
        assert_eq!(raw(&json!({})).read_status().unwrap(), BirdWatchStatus::default());
    }

    #[test]
    fn a_deployment_with_odd_types_counts_as_one_without_pods() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "aleph", "generation": 2},
            "spec": {"replicas": "three", "template": {"metadata": {"labels": {"app": "aleph"}}}},
            "status": [1, 2],
        }))
        .unwrap();
        let seen = deployment.seen("version");
        assert_eq!((seen.replicas, seen.available, seen.version), (1, 0, None));
        assert_eq!(deployment.pod_labels()["app"], "aleph");
    }

    #[test]
    fn a_revision_counts_only_once_the_deployment_is_observed() {
        let deployment = |observed: i64| -> Deployment {
            let mut deployment: Deployment = serde_json::from_value(json!({
                "metadata": {"name": "aleph-v2", "namespace": "shop", "uid": "u", "generation": 3,
                    "managedFields": [{}], "ownerReferences": [],
                    "annotations": {"deployment.kubernetes.io/revision": "4", "note": "long"}},
                "spec": {"replicas": 0, "template": {"metadata": {"labels": {"version": "v2"}}}},
                "status": {"observedGeneration": observed, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1},
            }))
            .unwrap();
            deployment.trim();
            deployment
        };
        let seen = deployment(3).seen("version");
        assert_eq!(
            (seen.revision.as_deref(), seen.version.as_deref(), seen.replicas),
            (Some("4"), Some("v2"), 0)
        );
        assert_eq!((seen.current, seen.updated, seen.available), (2, 1, 1));
        assert_eq!(deployment(2).seen("version").revision, None);
        assert_eq!(deployment(3).metadata.annotations.unwrap().len(), 1);
    }
}
