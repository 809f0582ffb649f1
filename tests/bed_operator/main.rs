//! The operator's own life on real parts: killed, replaced, at rest (behaviours i, j, p); and what the API server refuses
//! for it (m). Names of tests carry the letter of the behaviour.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

#[path = "../bad_specs/mod.rs"]
mod bad_specs;
mod idle;
mod killed;
mod leaders;
mod refused;
mod replicas;
#[path = "../support/mod.rs"]
mod support;
