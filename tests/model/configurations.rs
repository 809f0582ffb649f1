//! The configurations that are explored. Each bound of `docs/proof.md` is reached in one of them at least.

use super::configuration::{Configuration, Delays, FOUR_STEPS, LONG_STEP, LONG_STEPS, ONE_STEP, TWO_STEPS};
use super::state::Edit;

/// The spec, paused, and with other steps.
fn forms(spec: &str) -> Vec<String> {
    let other_steps = spec.replacen("{weight: 50, hold: 10s}", "{weight: 30, hold: 10s}", 1);
    vec![spec.to_owned(), format!("{spec}paused: true\n"), other_steps]
}

const VERBS: [&str; 5] = ["", "promote/1", "rollback/1", "resume/1", "retry/1"];

/// Everything that people do, with a spec of [`forms`] and a verb of [`VERBS`].
fn everything() -> Vec<Edit> {
    let mut edits = vec![
        Edit::Form(0, 1),
        Edit::Form(0, 0),
        Edit::Form(0, 2),
        Edit::Weight(0),
        Edit::Weight(20),
        Edit::Weight(100),
        Edit::Available(0, 0),
        Edit::Available(1, 0),
        Edit::Available(1, 1),
        Edit::Revise(1),
        Edit::Delete(0),
    ];
    edits.extend((1..5).map(|verb| Edit::Verb(0, verb)));
    edits
}

fn people(name: &'static str, spec: &str, edits: (u8, Vec<Edit>)) -> Configuration {
    Configuration {
        forms: forms(spec),
        verbs: VERBS.to_vec(),
        edits,
        ..Configuration::new(name, spec)
    }
}

/// The spec of one who does not wait for ever to know something.
fn impatient(spec: &str) -> String {
    spec.replacen("max: 1", "max: 1, ifUnknown: unhealthy, unknownFor: 20s", 1)
}

fn frozen(name: &'static str) -> Configuration {
    let spec = format!("{TWO_STEPS}ifUnhealthy: freeze\n");
    let verbs = (1..5).map(|verb| Edit::Verb(0, verb));
    Configuration {
        forms: vec![spec],
        verbs: VERBS.to_vec(),
        edits: (1, verbs.chain([Edit::Weight(100)]).collect()),
        ..Configuration::new(name, TWO_STEPS)
    }
}

/// Those that a minute is enough for.
pub(crate) fn quick() -> Vec<Configuration> {
    let sudden = everything()
        .into_iter()
        .filter(|edit| !matches!(edit, Edit::Verb(..)));
    let mut all = vec![
        Configuration::new("four steps", FOUR_STEPS),
        Configuration {
            releases: vec![1, 2],
            ..Configuration::new("three versions", TWO_STEPS)
        },
        Configuration {
            unknown: false,
            ..people("people, once, no verb", TWO_STEPS, (1, sudden.collect()))
        },
        frozen("freeze, and one edit"),
        Configuration {
            bad: false,
            ..Configuration::new("unknown for long is as good as bad", &impatient(LONG_STEP))
        },
        Configuration {
            birds: 2,
            edits: (1, vec![Edit::Delete(0)]),
            ..Configuration::new("two BirdWatches, one goes", TWO_STEPS)
        },
        Configuration {
            lossy: true,
            ..Configuration::new("calls and answers lost", TWO_STEPS)
        },
        Configuration {
            outage: true,
            bad: false,
            ..Configuration::new("no status is written for long", LONG_STEP)
        },
        Configuration {
            crashes: true,
            unknown: false,
            ..Configuration::new("killed at any call", ONE_STEP)
        },
        Configuration {
            delays: Delays::Raises,
            bad: false,
            unknown: false,
            verbs: vec!["", "rollback/1"],
            edits: (2, vec![Edit::Verb(0, 1), Edit::Weight(100)]),
            ..Configuration::new("a raise comes late, and a hand", ONE_STEP)
        },
        Configuration {
            delays: Delays::Labels,
            unknown: false,
            ..Configuration::new("a label comes late", ONE_STEP)
        },
    ];
    all.extend(seen_late());
    all
}

/// What watches show late.
fn seen_late() -> [Configuration; 2] {
    [
        Configuration {
            stale: true,
            lossy: true,
            unknown: false,
            ..Configuration::new("answers lost, and a late watch", ONE_STEP)
        },
        Configuration {
            stale: true,
            unknown: false,
            edits: (1, vec![Edit::Revise(1)]),
            ..Configuration::new("a late watch, and other pods", ONE_STEP)
        },
    ]
}

/// Those that take longer; the longest first.
pub(crate) fn long() -> Vec<Configuration> {
    [late(), leaders(), others()].concat()
}

/// Five minutes each.
pub(crate) fn largest() -> Vec<Configuration> {
    vec![
        Configuration {
            delays: Delays::Raises,
            crashes: true,
            unknown: false,
            ..Configuration::new("killed, a raise late, and bad", ONE_STEP)
        },
        Configuration {
            operators: 2,
            moves: 1,
            stale: true,
            bad: false,
            unknown: false,
            forms: forms(ONE_STEP),
            verbs: vec!["", "rollback/1"],
            edits: (1, vec![Edit::Form(0, 1), Edit::Verb(0, 1), Edit::Weight(0)]),
            ..Configuration::new("two operators, one stale, and people", ONE_STEP)
        },
    ]
}

/// Writes that arrive when nobody waits for them any more.
fn late() -> Vec<Configuration> {
    vec![
        Configuration {
            delays: Delays::Anything,
            bad: false,
            unknown: false,
            verbs: vec!["", "rollback/1"],
            edits: (2, vec![Edit::Verb(0, 1), Edit::Weight(100)]),
            ..Configuration::new("a write comes late, and a hand", ONE_STEP)
        },
        Configuration {
            delays: Delays::Raises,
            crashes: true,
            bad: false,
            unknown: false,
            ..Configuration::new("killed, and a raise comes late", ONE_STEP)
        },
        Configuration {
            delays: Delays::Anything,
            unknown: false,
            verbs: vec!["", "rollback/1"],
            edits: (1, vec![Edit::Verb(0, 1)]),
            ..Configuration::new("a write comes late, and a verb", ONE_STEP)
        },
        Configuration {
            delays: Delays::Raises,
            unknown: false,
            verbs: vec!["", "rollback/1"],
            edits: (2, vec![Edit::Verb(0, 1), Edit::Weight(0), Edit::Weight(50)]),
            ..Configuration::new("a raise comes late, two steps", TWO_STEPS)
        },
    ]
}

/// Two operators, of which one leads, and the calls of the other may still be on their way.
fn leaders() -> Vec<Configuration> {
    let two = |name: &'static str| Configuration {
        operators: 2,
        moves: 1,
        unknown: false,
        ..Configuration::new(name, ONE_STEP)
    };
    // What is undone before anybody has looked nobody can know.
    let undoes = |edit: &Edit| matches!(edit, Edit::Weight(20 | 100));
    let seen_by_all = everything().into_iter().filter(|edit| !undoes(edit)).collect();
    vec![
        Configuration {
            stale: true,
            delays: Delays::Raises,
            bad: false,
            ..two("two leaders, one stale, a raise late")
        },
        Configuration {
            delays: Delays::Anything,
            ..two("two leaders, a write comes late")
        },
        Configuration {
            moves: 2,
            stale: true,
            bad: false,
            ..two("two operators, there and back")
        },
        Configuration {
            stale: true,
            ..two("two operators, one stale")
        },
        Configuration {
            forms: forms(ONE_STEP),
            verbs: VERBS.to_vec(),
            edits: (1, seen_by_all),
            ..two("two operators, and people")
        },
        Configuration {
            crashes: true,
            unknown: true,
            ..two("two operators, killed at any call")
        },
        Configuration {
            delays: Delays::Raises,
            ..two("two leaders, a raise comes late")
        },
        Configuration {
            forms: vec![TWO_STEPS.to_owned()],
            delays: Delays::Raises,
            ..two("two leaders, two steps, a raise late")
        },
    ]
}

fn others() -> Vec<Configuration> {
    vec![
        Configuration {
            unknown: false,
            ..people("people, twice", ONE_STEP, (2, everything()))
        },
        Configuration {
            birds: 2,
            releases: vec![1, 2],
            edits: (1, vec![Edit::Delete(0)]),
            ..Configuration::new("two BirdWatches, three versions", TWO_STEPS)
        },
        people("people, once", TWO_STEPS, (1, everything())),
        Configuration {
            crashes: true,
            ..Configuration::new("killed at any call, two steps", TWO_STEPS)
        },
        Configuration {
            unknown: false,
            ..people("four steps, people once", FOUR_STEPS, (1, everything()))
        },
        Configuration {
            lossy: true,
            outage: true,
            ..Configuration::new("calls lost for long", LONG_STEPS)
        },
        Configuration {
            slow: true,
            ..Configuration::new("an operator that sleeps", TWO_STEPS)
        },
    ]
}
