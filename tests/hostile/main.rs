//! Input that nobody meant, from a printed seed: specs, stored statuses, a cluster's objects, answers of the API
//! server, bodies of Prometheus and Slack.
//! Nothing panics, nothing grows without bound, no weight is raised by it, and neighbours are not harmed.
//!
//! `HOSTILE_INPUTS=100000 HOSTILE_SEED=7 cargo test --test hostile -- --nocapture` tries others, and more of each kind. Those
//! that once failed are kept in `corpus`, and tried first.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

mod answers;
mod bodies;
mod checks;
mod cluster;
mod corpus;
mod deep;
mod mutate;
mod specs;
mod statuses;
mod weights;

#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../bad_specs/mod.rs"]
mod bad_specs;
#[path = "../controller_kit/mod.rs"]
mod controller_kit;
#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../bad_specs/offline.rs"]
mod offline;

use mutate::Mutator;

/// How many inputs of each kind.
fn inputs() -> u64 {
    number("HOSTILE_INPUTS").unwrap_or(1000)
}

/// What chance begins with: the same in every `cargo test`, another in every `make prove-hostile`.
fn seed() -> u64 {
    number("HOSTILE_SEED").unwrap_or(1)
}

/// Changes things by chance; what it begins with is printed, so that a failure can be had again.
fn mutator(what: &str) -> Mutator {
    println!("{what}: {} inputs, seed {}", inputs(), seed());
    Mutator::new(seed())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What people are shown is short, and has no line breaks and nothing that a terminal obeys.
#[track_caller]
fn is_fit_to_show(text: &str, most: usize) {
    assert!(!text.trim().is_empty(), "nothing is said");
    let chars = text.chars().count();
    assert!(chars <= most, "{chars} characters: {text:.300}");
    let odd = text.chars().find(|c| c.is_control());
    assert_eq!(odd, None, "{text:?}");
}
