//! The operator's real test bed: etcd, API server, controller manager, istiod, Envoy and Prometheus as plain processes
//! on loopback, without a container engine and without root.
//!
//! [`Bed::start`] builds what is missing, starts everything and returns when it is ready. Several beds run side by
//! side. Nothing of a bed stays when it is dropped, nor when its process is killed.

pub mod audit;
pub mod bed;
pub(crate) mod certs;
pub mod clock;
pub(crate) mod cluster;
mod command;
pub mod demo;
pub(crate) mod guard;
pub mod infra;
pub mod mesh;
pub mod operator;
pub mod part;
pub mod parts;
pub mod process;
pub(crate) mod prometheus;
pub(crate) mod run_dir;
pub mod slot;
pub mod tools;
pub mod up;

pub use bed::{Bed, Error, Options};
pub use infra::Infra;
