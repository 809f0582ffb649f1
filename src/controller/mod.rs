//! The imperative shell: watches, and one reconcile of a `BirdWatch` after the other. What is decided is decided in
//! `core`; what is written is written in `calls`.

pub mod calls;
pub mod census;
pub mod channels;
pub mod checks;
pub mod commit;
pub mod conflict;
pub mod context;
pub mod deliver;
pub mod drain;
pub mod errors;
pub mod events;
pub mod execute;
mod exhibit;
mod gather;
pub mod index;
pub mod json;
pub mod later;
pub mod look;
pub mod memory;
pub mod objects;
pub mod overlay;
pub mod patches;
pub mod reconcile;
pub mod route_key;
pub mod scope;
pub mod shelf;
mod unknown;
mod warnings;
pub mod watch;

pub use context::{Context, Scope};
pub use scope::{Prepared, await_istio, find_istio, prepare};
