//! `BirdWatch`: a Kubernetes operator that releases a new version of a service little by little.
//!
//! A functional core (`core`, `istio`) decides; an imperative shell (`clients`, `controller`, `runtime`) acts.

pub mod api;
pub mod cli;
pub mod clients;
pub mod controller;
pub mod core;
pub mod istio;
pub mod runtime;
