//! The chart on a real cluster: installed in its several ways, uninstalled in the middle of a rollout, and its rights
//! held against what the operator asks for (behaviours n and o). Names of tests carry the letter of the behaviour.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

mod drained;
mod installed;
mod release;
mod restricted;
mod rights;
#[path = "../support/mod.rs"]
mod support;
