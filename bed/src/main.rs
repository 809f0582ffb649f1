//! The bed binary.
fn main() {}
