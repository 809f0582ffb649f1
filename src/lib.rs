//! `BirdWatch`: a Kubernetes operator that releases a new version of a service little by little.
//!
//! A functional core (`core`, `istio`) decides; an imperative shell (`clients`, `controller`, `runtime`) acts. What a policy
//! can see is told beforehand by `simulate`, and shown by `plot`; both are pure too.

pub mod api;
pub mod backtest;
pub mod cli;
pub mod clients;
pub mod controller;
pub mod core;
pub mod istio;
pub mod plot;
pub mod runtime;
pub mod simulate;
