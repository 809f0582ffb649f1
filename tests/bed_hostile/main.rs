//! Manifests that nobody meant, made by chance from a printed seed, through the real API server: each is refused by the
//! name of a field, or explained in status, and none harms a release beside it. And objects deeper than anybody reads.
//!
//! `HOSTILE_MANIFESTS=10000 HOSTILE_SEED=7 cargo test --test bed_hostile -- --nocapture` tries others, and more.
//! Specs of tests/hostile/corpus are sent each time.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../bad_specs/mod.rs"]
mod bad_specs;
#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../hostile/corpus.rs"]
mod corpus;
mod deep;
#[path = "../bed_crash/ground.rs"]
mod ground;
mod manifests;
#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../hostile/mutate.rs"]
mod mutate;
mod named;
mod neighbour;
#[path = "../support/mod.rs"]
mod support;
