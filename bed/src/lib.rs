//! The test bed.

pub mod parts;
