//! The functional core: it decides and does nothing. No async, no I/O, no clock, no client.

pub mod query;
