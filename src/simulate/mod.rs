//! A rollout in the head: from assumed traffic and shares of bad requests, how often and how soon a canary is rolled back by
//! the sequential test, and how many people see an error until then. The counts are drawn at random from a seed; what
//! judges them is the code that judges in production ([`Evidence`], [`Alarm`]), unchanged.
//!
//! Steps are kept and counted as the operator does in a cluster of that [`Pace`](crate::core::sequential::pace::Pace). Assumed:
//! requests arrive and fail independently, each version is scraped as one target, a share of the traffic is that share of
//! the requests. `docs/mathematics.md` says what reality adds.

pub mod picture;
pub mod report;
mod rollout;
mod summary;
pub(crate) mod words;
mod world;

pub use rollout::Outcome;
pub use summary::{Cell, Quantiles, Share};
pub use world::{Setup, SetupError};

use crate::core::sequential::{alarm::Alarm, evidence::Evidence};
