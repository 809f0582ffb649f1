//! The clock: the only place that reads time. Everything else is handed the instant it works with.

use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use tokio::time::Instant;

/// Tells the time of day and the monotonic time. Cheap to clone; clones agree.
///
/// Every timestamp is cut to whole microseconds, the finest that the Kubernetes API keeps (`MicroTime`), so that
/// an instant written to an object equals itself when it is read back. (`Time` keeps whole seconds only.)
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The wall clock of the machine, read each time: it follows every adjustment, as people's clocks do.
    Wall,
    /// A fixed start plus what tokio's clock has counted since, so that paused tests move both together.
    Since { base: Timestamp, start: Instant },
}

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub fn real() -> Self {
        Self(Source::Wall)
    }

    /// For tests: reads `base` now and goes on with tokio's clock, paused or not.
    #[must_use]
    pub fn paused(base: Timestamp) -> Self {
        let start = Instant::now();
        Self(Source::Since { base, start })
    }

    /// The time of day, in whole microseconds. It may go back when the machine's clock is set back.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.0 {
            Source::Wall => whole_micros(wall()),
            Source::Since { base, start } => {
                let elapsed = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX);
                whole_micros(base.saturating_add(elapsed).unwrap_or(Timestamp::MAX))
            }
        }
    }

    /// The monotonic time: never goes back, unaffected by adjustments; comparable within this process only.
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
fn wall() -> Timestamp {
    Timestamp::now()
}

/// Cuts rather than rounds: a timestamp never lies in the future of the instant it was read.
fn whole_micros(at: Timestamp) -> Timestamp {
    let to_micros = TimestampRound::new()
        .smallest(Unit::Microsecond)
        .mode(jiff::RoundMode::Trunc);
    at.round(to_micros).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use std::time::Duration;

    fn base() -> Timestamp {
        "2026-03-01T12:00:00.123456789Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_with_tokio_time() {
        let clock = Clock::paused(base());
        let (wall, mono) = (clock.now(), clock.monotonic());
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().duration_since(wall), SignedDuration::from_secs(90));
        assert_eq!(clock.monotonic() - mono, Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timestamp_equals_itself_after_a_trip_through_the_api() {
        let now = Clock::paused(base()).now();
        assert_eq!(now.to_string(), "2026-03-01T12:00:00.123456Z");
        let text = serde_json::to_string(&MicroTime(now)).unwrap();
        assert_eq!(serde_json::from_str::<MicroTime>(&text).unwrap().0, now);
    }

    #[test]
    fn the_real_clock_reads_whole_microseconds_and_moves_on() {
        let clock = Clock::real();
        let first = clock.now();
        assert_eq!(first.as_nanosecond() % 1000, 0);
        assert!(first > "2025-01-01T00:00:00Z".parse().unwrap());
        let mono = clock.monotonic();
        while clock.now() == first {}
        assert!(clock.monotonic() > mono);
    }
}
