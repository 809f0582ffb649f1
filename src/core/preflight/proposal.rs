//! The questions of a baseline, as a rollout would ask them: a preflight asks the very same.

use jiff::Timestamp;

use crate::api::plan::Plan;
use crate::api::status::{Candidate, HoldClock, Kept, Rollout};
use crate::core::observation::{ObjectName, Question, Settings};
use crate::core::questions as core_questions;

/// What a baseline of `plan` would ask, of these two versions.
#[must_use]
pub fn questions(
    name: &ObjectName,
    plan: &Plan,
    production: &str,
    canary: &str,
    settings: &Settings,
) -> Vec<Question> {
    core_questions::of_check(name, &rollout(plan, production, canary), settings, true)
}

fn rollout(plan: &Plan, production: &str, canary: &str) -> Rollout {
    let candidate = |version: &str| Candidate {
        version: version.to_owned(),
        ..Candidate::default()
    };
    Rollout {
        id: String::new(),
        canary: candidate(canary),
        production: candidate(production),
        plan: plan.clone(),
        started: Timestamp::UNIX_EPOCH,
        ended: None,
        clock: HoldClock::default(),
        canary_label_at: None,
        production_label_at: None,
        step: 0,
        intended: 0,
        confirmed: 0,
        confirmed_at: None,
        hold: None,
        hold_reason: None,
        metrics: Vec::new(),
        last_check: None,
        verdict: None,
        promote_asked: false,
        failure: None,
        kept: Kept::default(),
        rest: serde_json::Map::new(),
    }
}
