//! The objects that a check looks at, as JSON by kind, whether they come from files or from a cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::controller::objects::RawBirdWatch;
use crate::core::observation::ObjectName;
use crate::core::preflight::{self, Finding};

use super::CheckError;
use crate::cli::manifest;

/// The kinds that a check knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    BirdWatch,
    VirtualService,
    DestinationRule,
    Deployment,
    Service,
    Namespace,
    Pod,
}

impl Kind {
    /// The kind of a document; none for one that does not concern us.
    pub(super) fn of(document: &Value) -> Option<Self> {
        if manifest::is_bird_watch(document) {
            return Some(Self::BirdWatch);
        }
        let version = document["apiVersion"].as_str()?;
        let group = version.split_once('/').map_or("", |(group, _)| group);
        Some(match (group, document["kind"].as_str()?) {
            ("networking.istio.io", "VirtualService") => Self::VirtualService,
            ("networking.istio.io", "DestinationRule") => Self::DestinationRule,
            ("apps", "Deployment") => Self::Deployment,
            ("", "Service") => Self::Service,
            ("", "Namespace") => Self::Namespace,
            ("", "Pod") => Self::Pod,
            _ => return None,
        })
    }
}

/// Objects by kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    found: BTreeMap<Kind, Vec<Value>>,
    /// Why there may be others of a kind.
    others: BTreeMap<Kind, String>,
    /// The same for kinds that `others` does not name; empty: there are none.
    elsewhere: String,
    /// What came more than once.
    twice: Vec<(Kind, ObjectName)>,
}

impl Objects {
    /// None yet, and why there may be some.
    pub(super) fn none(elsewhere: &str) -> Self {
        Self {
            elsewhere: elsewhere.to_owned(),
            ..Self::default()
        }
    }

    /// Those of a kind.
    pub(super) fn of(&self, kind: Kind) -> &[Value] {
        self.found.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// One of a kind, by its name.
    pub(super) fn named(&self, kind: Kind, name: &ObjectName) -> Option<&Value> {
        self.of(kind).iter().find(|object| name_of(object) == *name)
    }

    /// Whether these are all of a kind; else why there may be others.
    pub(super) fn whole(&self, kind: Kind) -> Result<(), String> {
        match (self.others.get(&kind), self.elsewhere.as_str()) {
            (Some(why), _) => Err(why.clone()),
            (None, "") => Ok(()),
            (None, why) => Err(why.to_owned()),
        }
    }

    /// Adds one, in the place of one of the same name.
    pub(super) fn put(&mut self, kind: Kind, object: Value) {
        let kept = self.found.entry(kind).or_default();
        let name = name_of(&object);
        match kept.iter_mut().find(|other| name_of(other) == name) {
            Some(other) => *other = object,
            None => kept.push(object),
        }
    }

    /// The same, and remembers if it was there before.
    pub(super) fn put_once(&mut self, kind: Kind, object: Value) {
        let name = name_of(&object);
        if self.named(kind, &name).is_some() {
            self.twice.push((kind, name));
        }
        self.put(kind, object);
    }

    /// Notes that there may be others of a kind, and why.
    pub(super) fn incomplete(&mut self, kind: Kind, why: String) {
        self.others.insert(kind, why);
    }

    /// Adds all of another, in the place of those of the same name. Who else there may be is as it was.
    pub(super) fn put_all(&mut self, other: Self) {
        for (kind, objects) in other.found {
            for object in objects {
                self.put(kind, object);
            }
        }
    }

    /// The `BirdWatch`es, which came from `file`, and what is wrong with them as documents.
    pub(super) fn bird_watches(&self, file: &str) -> Result<Vec<(RawBirdWatch, Vec<Finding>)>, CheckError> {
        let read = |object: &Value| {
            let name = name_of(object);
            let read = serde_json::from_value(object.clone()).map_err(|error| CheckError::File {
                file: file.to_owned(),
                problem: format!("BirdWatch {}: {error}", name.name),
            })?;
            let mut findings = preflight::document(object);
            if self.twice.contains(&(Kind::BirdWatch, name.clone())) {
                findings.push(preflight::twice(&name.name));
            }
            Ok((read, findings))
        };
        let found = self.of(Kind::BirdWatch);
        if found.is_empty() {
            return Err(CheckError::NoBirdWatch {
                file: file.to_owned(),
            });
        }
        found.iter().map(read).collect()
    }
}

/// Namespace and name of an object; empty where there is none.
pub(super) fn name_of(object: &Value) -> ObjectName {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    ObjectName {
        namespace: text("namespace"),
        name: text("name"),
    }
}
