//! Many releases, good and bad, while everything around the operator is stopped, slowed and killed at random, and an
//! independent checker that reads what came of it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

mod audit;
mod chaos;
mod check;
mod eyes;
mod history;
mod ledger;
mod release;
mod report;
mod soak;
mod store;
#[path = "../support/mod.rs"]
#[allow(unused_imports, reason = "its services are of another kind")]
mod support;
mod window;

use support::{install, on_bed};

/// The soak installs the operator itself.
fn soak(minutes: u64) {
    install(None);
    on_bed(async |bed| soak::run(bed, minutes).await);
}

#[test]
fn three_minutes_of_chaos_break_no_promise() {
    soak(3);
}

#[test]
#[ignore = "as long as SOAK_MINUTES says: make soak"]
fn as_many_minutes_as_asked_break_no_promise() {
    let minutes = std::env::var("SOAK_MINUTES").ok();
    soak(minutes.map_or(30, |minutes| minutes.parse().unwrap()));
}
