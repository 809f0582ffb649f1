//! The one place of this crate that reads a clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The time of day.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the bed's only clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the bed's only clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
