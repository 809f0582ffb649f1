//! Conditions of a BirdWatch: their types, and how they are set. Time is passed in.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::timestamp_schema;

/// One condition, as `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A word for programs.
    #[serde(default)]
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// Since when the status is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp_schema")]
    pub last_transition_time: Option<Timestamp>,
    /// The generation of the spec it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The conditions a BirdWatch can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The spec is understood, its objects are there, and no attempt is under way or broken off.
    Ready,
    /// A rollout is under way.
    Reconciling,
    /// Nothing goes on until a person does something.
    Stalled,
    /// A person paused the rollout.
    Paused,
    /// Prometheus gives no answer that says something; the clock of the hold is stopped.
    Blind,
    /// The next raise waits for something; the message says for what.
    Held,
    /// The spec cannot be used; a running rollout keeps its plan.
    SpecInvalid,
    /// Another BirdWatch acts on the same objects.
    Conflict,
    /// Somebody else wrote what a rollout of ours had written.
    Interference,
    /// The production label was turned back after a promotion.
    ProductionReverted,
    /// Notices wait for Slack, which does not take them.
    NotifyFailing,
}

impl ConditionType {
    /// The type as written in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Paused => "Paused",
            Self::Blind => "Blind",
            Self::Held => "Held",
            Self::SpecInvalid => "SpecInvalid",
            Self::Conflict => "Conflict",
            Self::Interference => "Interference",
            Self::ProductionReverted => "ProductionReverted",
            Self::NotifyFailing => "NotifyFailing",
        }
    }
}

/// Sets a condition; its transition time moves only when its status does.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    holds: bool,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let since = conditions
        .iter()
        .find(|c| c.kind == kind.as_str() && c.status == status)
        .and_then(|c| c.last_transition_time);
    let new = Condition {
        kind: kind.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        last_transition_time: Some(since.unwrap_or(now)),
        observed_generation: generation,
    };
    match conditions.iter_mut().find(|c| c.kind == kind.as_str()) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// Removes a condition that no longer has anything to say.
pub fn clear(conditions: &mut Vec<Condition>, kind: ConditionType) {
    conditions.retain(|c| c.kind != kind.as_str());
}

/// Whether the condition is there and true.
#[must_use]
pub fn holds(conditions: &[Condition], kind: ConditionType) -> bool {
    conditions
        .iter()
        .any(|c| c.kind == kind.as_str() && c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut all = Vec::new();
        set(&mut all, ConditionType::Ready, true, "Idle", "a", Some(1), at(1));
        set(
            &mut all,
            ConditionType::Ready,
            true,
            "Promoted",
            "b",
            Some(2),
            at(2),
        );
        assert_eq!((all.len(), all[0].last_transition_time), (1, Some(at(1))));
        set(
            &mut all,
            ConditionType::Ready,
            false,
            "Progressing",
            "c",
            Some(2),
            at(3),
        );
        assert_eq!(all[0].last_transition_time, Some(at(3)));
        assert!(!holds(&all, ConditionType::Ready));
    }
}
