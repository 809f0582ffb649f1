//! What the binary does when it is not the operator: commands that print.

pub mod crd;
pub mod reference;
