//! The state machine, model-checked: `core::decide` and the pure parts of the controller around it, driven through every
//! order of events that the bounds of a configuration allow. See `docs/proof.md`.

#![expect(clippy::unwrap_used, reason = "the model fails where it cannot go on")]

mod acting;
mod aging;
mod configuration;
mod configurations;
mod exploring;
mod leading;
mod mutants;
mod mutations;
mod objects;
mod passing;
mod people;
mod possible;
mod promises;
mod server;
mod state;
mod tables;
mod telling;
mod thinking;
mod witness;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use birdwatch::api::status::Phase;
use configuration::Configuration;

/// How many are explored at a time: each takes one processor and up to five gigabytes.
const AT_ONCE: usize = 2;

/// Explores them, prints what was found, and fails where anything is wrong.
fn prove(configurations: &[Configuration]) {
    let only = std::env::var("ONLY").ok();
    let wanted = |c: &&Configuration| only.as_ref().is_none_or(|only| c.name.contains(only.as_str()));
    let left = Mutex::new(configurations.iter().filter(wanted));
    let next = || left.lock().unwrap().next();
    let (explored, states) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(configuration) = next() {
                    let found = prove_one(configuration);
                    explored.fetch_add(1, Ordering::Relaxed);
                    states.fetch_add(found, Ordering::Relaxed);
                }
            });
        }
    });
    let (explored, states) = (explored.into_inner(), states.into_inner());
    assert!(explored > 0, "none of these configurations is called {only:?}");
    println!("proved: {explored} configurations, {states} states");
}

/// Explores one, and returns how many states it has.
fn prove_one(configuration: &Configuration) -> usize {
    let findings = exploring::explore(configuration);
    println!("{findings}");
    assert!(findings.wrong.is_none(), "{}", findings.wrong.unwrap_or_default());
    // A search that goes nowhere proves nothing.
    let mut ends = vec![Phase::Promoted];
    if configuration.can_go_wrong() {
        ends.push(Phase::RolledBack);
    }
    for phase in ends {
        let name = configuration.name;
        assert!(
            findings.phases.contains(&phase),
            "{name}: {phase:?} is never reached"
        );
    }
    findings.states
}

#[test]
fn every_promise_is_kept_in_every_state_and_an_end_is_reached_from_it() {
    prove(&configurations::quick());
}

#[test]
#[ignore = "many minutes: docs/proof.md"]
fn every_promise_is_kept_in_the_large_configurations_too() {
    prove(&configurations::long());
}

#[test]
#[ignore = "ten minutes: docs/proof.md"]
fn and_in_the_largest() {
    prove(&configurations::largest());
}
