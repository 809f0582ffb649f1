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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
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
    /// False while nothing is released and something would keep a release from working or from meaning what it seems to
    /// mean; `birdwatch check` looks further. Absent where nothing is.
    Preflight,
    /// Somebody else wrote what a rollout of ours had written.
    Interference,
    /// The production label was turned back after a promotion.
    ProductionReverted,
    /// The declared fault of the canary would be found before the steps end; the message says what would not.
    Detection,
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
            Self::Preflight => "Preflight",
            Self::Interference => "Interference",
            Self::ProductionReverted => "ProductionReverted",
            Self::Detection => "Detection",
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

/// A condition that holds becomes false; its reason stays.
pub fn end(conditions: &mut [Condition], kind: ConditionType, generation: Option<i64>, now: Timestamp) {
    let is_it = |c: &&mut Condition| c.kind == kind.as_str() && c.status == "True";
    for condition in conditions.iter_mut().filter(is_it) {
        "False".clone_into(&mut condition.status);
        "it is over".clone_into(&mut condition.message);
        condition.last_transition_time = Some(now);
        condition.observed_generation = generation;
    }
}

/// Since when the condition is false.
#[must_use]
pub fn quiet_since(conditions: &[Condition], kind: ConditionType) -> Option<Timestamp> {
    since(conditions, kind).filter(|_| !holds(conditions, kind))
}

/// Since when the condition is what it is.
#[must_use]
pub fn since(conditions: &[Condition], kind: ConditionType) -> Option<Timestamp> {
    let found = conditions.iter().find(|c| c.kind == kind.as_str());
    found?.last_transition_time
}

/// Whether the condition is there and true.
#[must_use]
pub fn holds(conditions: &[Condition], kind: ConditionType) -> bool {
    conditions
        .iter()
        .any(|c| c.kind == kind.as_str() && c.status == "True")
}

/// Whether the condition is there and true, for this reason.
#[must_use]
pub fn holds_for(conditions: &[Condition], kind: ConditionType, reason: &str) -> bool {
    let is_it = |c: &Condition| c.kind == kind.as_str() && c.status == "True" && c.reason == reason;
    conditions.iter().any(is_it)
}

/// What a condition says, where it is there and true.
#[must_use]
pub fn message(conditions: &[Condition], kind: ConditionType) -> Option<&str> {
    let is_it = |c: &&Condition| c.kind == kind.as_str() && c.status == "True";
    conditions.iter().find(is_it).map(|c| c.message.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn set_ready(all: &mut Vec<Condition>, holds: bool, reason: &str, generation: i64, second: i64) {
        let message = format!("it is {reason}");
        set(
            all,
            ConditionType::Ready,
            holds,
            reason,
            message,
            Some(generation),
            at(second),
        );
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut all = Vec::new();
        set_ready(&mut all, true, "Idle", 1, 1);
        set_ready(&mut all, true, "Promoted", 2, 2);
        assert_eq!(all[0].last_transition_time, Some(at(1)));
        set_ready(&mut all, false, "Progressing", 2, 3);
        assert_eq!(all[0].last_transition_time, Some(at(3)));
        set_ready(&mut all, true, "Idle", 2, 4);
        assert_eq!(all[0].last_transition_time, Some(at(4)));
    }

    #[test]
    fn the_latest_reason_message_and_generation_stand_in_the_place_of_the_old_ones() {
        let mut all = Vec::new();
        set_ready(&mut all, true, "Idle", 1, 1);
        set(
            &mut all,
            ConditionType::Paused,
            true,
            "Asked",
            "paused",
            Some(1),
            at(1),
        );
        set_ready(&mut all, true, "Promoted", 2, 2);
        let kinds: Vec<_> = all.iter().map(|c| c.kind.as_str()).collect();
        assert_eq!(kinds, ["Ready", "Paused"]);
        let ready = (
            all[0].reason.as_str(),
            all[0].message.as_str(),
            all[0].observed_generation,
        );
        assert_eq!(ready, ("Promoted", "it is Promoted", Some(2)));
    }

    #[test]
    fn a_condition_holds_only_while_it_is_there_and_true() {
        let mut all = Vec::new();
        assert!(!holds(&all, ConditionType::Ready));
        set_ready(&mut all, true, "Idle", 1, 1);
        assert!(holds(&all, ConditionType::Ready) && !holds(&all, ConditionType::Paused));
        set_ready(&mut all, false, "Progressing", 1, 2);
        assert!(!holds(&all, ConditionType::Ready));
        set_ready(&mut all, true, "Idle", 1, 3);
        clear(&mut all, ConditionType::Ready);
        assert!(all.is_empty());
    }

    #[test]
    fn a_condition_is_written_and_read_as_kubernetes_has_it() {
        let mut all = Vec::new();
        set_ready(&mut all, true, "Idle", 7, 0);
        let written = serde_json::to_value(&all[0]).unwrap();
        let wanted = serde_json::json!({
            "type": "Ready", "status": "True", "reason": "Idle", "message": "it is Idle",
            "lastTransitionTime": "1970-01-01T00:00:00Z", "observedGeneration": 7,
        });
        assert_eq!(written, wanted);
        assert_eq!(serde_json::from_value::<Condition>(written).unwrap(), all[0]);
        let bare = serde_json::json!({ "type": "Ready", "status": "Unknown" });
        assert!(serde_json::from_value::<Condition>(bare).is_ok());
    }

    #[test]
    fn the_name_of_a_type_is_the_name_people_read() {
        let schema = schemars::schema_for!(ConditionType);
        let words = schema.get("oneOf").and_then(|v| v.as_array()).unwrap();
        assert!(
            words
                .iter()
                .any(|w| w["const"] == ConditionType::NotifyFailing.as_str())
        );
        assert_eq!(words.len(), 13);
    }
}
