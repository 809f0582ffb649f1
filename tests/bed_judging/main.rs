//! Judging by evidence on real parts: the default manifest, a fault of both versions, a killed operator, a Prometheus
//! that has forgotten everything.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod backtest;
mod dashboard;
mod evidence;
#[path = "../support/mod.rs"]
mod support;
