//! Whole lives of rollouts on real parts (behaviours a and b). Names of tests carry the letter of the behaviour.

mod lives;
#[path = "../support/mod.rs"]
mod support;
