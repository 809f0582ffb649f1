//! The operator is killed at every call of the API server, and every call and watch is disturbed in every way: rollouts
//! end as if nothing had happened. The real operator, the real API server, and a proxy between them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

mod calls;
mod end;
mod fault;
mod ground;
mod hold;
mod meddler;
mod operator;
mod points;
mod run;
mod series;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod verdict;
