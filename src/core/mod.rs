//! The functional core: what a rollout does next, given what is seen. No async, no I/O, no clock, no client:
//! time is an argument, and `tests/arch.rs` guards that.

pub mod candidates;
pub mod clock;
pub mod decide;
pub mod decision;
pub mod history;
pub mod line;
pub mod messages;
pub mod notices;
pub mod number;
pub mod observation;
pub mod plan;
pub mod preflight;
pub mod query;
pub mod questions;
pub mod sequential;
pub mod tally;
pub mod verbs;
pub mod verdict;
pub mod weights;

mod answers;
mod baseline;
mod blocks;
mod counting;
mod end;
mod guards;
mod instants;
mod late;
mod preset;
mod progress;
mod promote;
mod replan;
mod rest;
mod samples;
mod start;
mod turn;
mod view;

pub use counting::past;

#[cfg(test)]
mod promises;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod world;
