//! The imperative shell: watches, and one reconcile of a `BirdWatch` after the other. What is decided is decided in
//! `core`; what is written is written in `calls`.

mod calls;
pub mod census;
mod checks;
mod commit;
mod conflict;
pub mod context;
pub mod deliver;
pub mod drain;
pub mod errors;
pub mod events;
mod execute;
mod index;
pub mod look;
mod memory;
mod objects;
mod overlay;
pub mod reconcile;
mod route_key;
pub mod scope;
pub mod watch;

pub use context::{Context, Scope};
pub use scope::{Prepared, await_istio, client_config, find_istio, prepare};
