//! The wall clock of the parts; nothing else in them reads it. Spans of time are measured with tokio's clock.

use jiff::Timestamp;

/// The present instant.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the parts that reads the wall clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
