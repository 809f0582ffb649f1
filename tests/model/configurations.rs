//! The configurations that are explored.

use super::configuration::{Configuration, FOUR_STEPS, ONE_STEP, TWO_STEPS};
use super::state::Edit;

fn with(spec: &str, more: &str) -> String {
    format!("{spec}{more}\n")
}

/// Those that a minute is enough for.
pub(crate) fn quick() -> Vec<Configuration> {
    vec![
        Configuration::new("four steps", FOUR_STEPS),
        Configuration {
            releases: vec![1, 2],
            ..Configuration::new("three versions", TWO_STEPS)
        },
        Configuration {
            crashes: true,
            ..Configuration::new("killed at any call", TWO_STEPS)
        },
        Configuration {
            lossy: true,
            ..Configuration::new("calls and answers lost", TWO_STEPS)
        },
        Configuration {
            forms: vec![with(TWO_STEPS, "ifUnhealthy: freeze")],
            verbs: vec!["", "resume/1", "retry/1", "rollback/1", "promote/1"],
            edits: (1, (1..5).map(|verb| Edit::Verb(0, verb)).collect()),
            ..Configuration::new("freeze, and one verb", TWO_STEPS)
        },
    ]
}

/// Those that take longer.
pub(crate) fn long() -> Vec<Configuration> {
    let paused = with(TWO_STEPS, "paused: true");
    let other_steps = TWO_STEPS.replace("{weight: 50, hold: 10s}", "{weight: 30, hold: 10s}");
    let people = vec![
        Edit::Form(0, 1),
        Edit::Form(0, 0),
        Edit::Form(0, 2),
        Edit::Verb(0, 1),
        Edit::Verb(0, 2),
        Edit::Verb(0, 3),
        Edit::Verb(0, 4),
        Edit::Weight(0),
        Edit::Weight(20),
        Edit::Weight(100),
        Edit::Available(0, 0),
        Edit::Available(1, 0),
        Edit::Revise(1),
        Edit::Delete(0),
    ];
    let with_people = |name, times| Configuration {
        forms: vec![TWO_STEPS.to_owned(), paused.clone(), other_steps.clone()],
        verbs: vec!["", "promote/1", "rollback/1", "resume/1", "retry/1"],
        edits: (times, people.clone()),
        ..Configuration::new(name, TWO_STEPS)
    };
    vec![
        with_people("people, once", 1),
        Configuration {
            operators: 2,
            moves: true,
            stale: true,
            ..Configuration::new("two operators, one stale", TWO_STEPS)
        },
        Configuration {
            delays: true,
            unknown: false,
            verbs: vec!["", "rollback/1"],
            edits: (1, vec![Edit::Verb(0, 1)]),
            ..Configuration::new("a write that comes later, a verb", ONE_STEP)
        },
        Configuration {
            delays: true,
            crashes: true,
            unknown: false,
            ..Configuration::new("writes that arrive late", TWO_STEPS)
        },
        Configuration {
            birds: 2,
            edits: (1, vec![Edit::Delete(0)]),
            ..Configuration::new("two BirdWatches, one deleted", TWO_STEPS)
        },
        Configuration {
            slow: true,
            ..Configuration::new("slow", TWO_STEPS)
        },
        with_people("people, twice", 2),
    ]
}
