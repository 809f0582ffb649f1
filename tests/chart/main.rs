//! What the chart renders, for values right and wrong. It runs `helm`, and never touches a cluster.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod contract;
mod dashboard;
mod defaults;
mod helm;
mod options;
mod outside;
mod ranges;
mod rbac;
mod refusals;
