//! The duties of the process: time, leadership, health, metrics, logs and an orderly end. Knows nothing of rollouts.

pub mod admin;
pub mod clock;
pub mod lease;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
