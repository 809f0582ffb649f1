//! Reading and patching `VirtualService` and `DestinationRule` objects as raw JSON. Pure: no client, no clock.
//!
//! Of the user's objects this module changes two things only, and always by guarded JSON Patch: the weights of
//! the two destinations of a route of ours, and the version label of a subset. Every function is total: any JSON
//! gives an answer or a [`Problem`], never a panic.

pub mod destination_rule;
mod find;
pub mod host;
pub mod owner;
mod patch;
pub mod preflight;
pub mod problem;
pub mod raw;
pub mod restore;
pub mod routes;
#[cfg(test)]
pub(crate) mod test_support;
pub mod weights;

pub use problem::{ObjectName, Problem};
pub use raw::{DestinationRule, VirtualService};
