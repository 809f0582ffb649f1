//! Whole lives of rollouts on real parts (behaviours a and b). Names of tests carry the letter of the behaviour, and
//! after a b the number of the scenario.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod a_poc;
mod again;
mod examples;
mod lives;
mod people;
mod shapes;
mod story;
#[path = "../support/mod.rs"]
mod support;
