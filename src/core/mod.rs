//! The functional core: what a rollout does next, given what is seen. No async, no I/O, no clock, no client:
//! time is an argument, and `tests/arch.rs` guards that.

pub mod decision;
pub mod observation;
