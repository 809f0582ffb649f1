//! The promises on real parts (behaviours c, d, e, f, k, l and t): a rollback wins whatever else is broken, blind is
//! not sick, notices are not lost, and one bad object harms nobody. Names of tests carry the letter of the behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod blind;
mod kit;
mod prometheus;
mod rollback;
mod schema;
mod slack;
#[path = "../support/mod.rs"]
mod support;
