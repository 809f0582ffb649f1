//! Leadership of two and three replicas of the real operator on the real API server: stopped, killed, cut off, with clocks
//! that jump and a Lease that people edit. One writes at a time, and rollouts reach their end.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

mod book;
mod disturbances;
mod door;
#[path = "../bed_crash/ground.rs"]
mod ground;
mod hands;
mod late_raises;
mod replica;
mod shards;
mod shift;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod take_overs;
