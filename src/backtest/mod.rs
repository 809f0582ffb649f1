//! Rollouts in the past: production's own history plays production and canary, and the operator's own decisions
//! ([`decide`](crate::core::decide::decide)) judge it, from the first look to the end of the rollout. Nothing is fetched here and no
//! clock is read: history comes in, outcomes go out, and chance comes from a seed.
//!
//! What is made up: routes, labels and Deployments do at once what is asked of them; the canary is a share of production's
//! requests, or some of its pods. `docs/backtest.md` says what that leaves out.

pub mod chunks;
pub mod history;
mod live;
pub mod noise;
pub mod picture;
pub mod policy;
mod replay;
pub mod report;
pub mod search;
mod stage;
pub mod summary;
mod text;
pub mod trial;
mod weights;

pub use replay::replay;

#[cfg(test)]
mod tests;
