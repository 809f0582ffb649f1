//! The clock: the only place that reads time. Everything else is handed the instant it works with.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use tokio::time::Instant;

/// Tells the time of day and the monotonic time. Cheap to clone; clones agree.
///
/// Every timestamp is cut to whole microseconds, the finest that the Kubernetes API keeps (`MicroTime`), so that
/// an instant written to an object equals itself when it is read back. (`Time` keeps whole seconds only.)
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    jumps: Arc<Mutex<Jumps>>,
}

/// A time of day that never was: the clock was set forward over it, or the machine slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What the clock would have said.
    pub from: Timestamp,
    /// What it said.
    pub to: Timestamp,
}

/// What is no jump: a clock that is slewed, or read by two at once.
const UNNOTICED: SignedDuration = SignedDuration::from_secs(1);

/// Whoever needs an older jump has written down what follows from it.
const KEPT: usize = 32;

/// Every jump forward that later readings may still need.
#[derive(Debug, Default)]
struct Jumps {
    last: Option<(Timestamp, Instant)>,
    all: Vec<Jump>,
}

impl Jumps {
    /// Takes note of a reading of both clocks.
    fn read(&mut self, wall: Timestamp, monotonic: Instant) {
        // Set back below it, the time between will be.
        self.all.retain(|jump| jump.to <= wall);
        if let Some((last, read_at)) = self.last.replace((wall, monotonic)) {
            let passed = monotonic.saturating_duration_since(read_at);
            let meant = last.saturating_add(passed).unwrap_or(Timestamp::MAX);
            if wall.duration_since(meant) > UNNOTICED {
                self.all.push(Jump {
                    from: meant,
                    to: wall,
                });
            }
        }
        let surplus = self.all.len().saturating_sub(KEPT);
        self.all.drain(..surplus);
    }
}

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
        Self::of(Source::Wall)
    }

    /// For tests: reads `base` now and goes on with tokio's clock, paused or not.
    #[must_use]
    pub fn paused(base: Timestamp) -> Self {
        let start = Instant::now();
        Self::of(Source::Since { base, start })
    }

    fn of(source: Source) -> Self {
        let jumps = Arc::default();
        Self { source, jumps }
    }

    /// The time of day, in whole microseconds. It may go back when the machine's clock is set back.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.source {
            Source::Wall => {
                let mut jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
                let now = whole_micros(wall());
                jumps.read(now, Instant::now());
                now
            }
            Source::Since { base, start } => {
                let elapsed = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX);
                whole_micros(base.saturating_add(elapsed).unwrap_or(Timestamp::MAX))
            }
        }
    }

    /// Times of day that never were, oldest first, as far as a reading showed them: nobody can have waited through them.
    #[must_use]
    pub fn jumps(&self) -> Vec<Jump> {
        let jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        jumps.all.clone()
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
    fn a_clock_that_is_set_forward_says_which_time_never_was_until_it_is_set_back_before_it() {
        let (mut jumps, start) = (Jumps::default(), Clock::real().monotonic());
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut read = |wall: i64, monotonic| {
            jumps.read(at(wall), start + Duration::from_secs(monotonic));
            jumps.all.clone()
        };
        assert_eq!(read(100, 0), []);
        assert_eq!(read(111, 10), [], "slewed");
        let hour = Jump {
            from: at(116),
            to: at(3716),
        };
        assert_eq!(read(3716, 15), [hour]);
        assert_eq!(read(3726, 25), [hour]);
        assert_eq!(read(200, 30), [], "the hour is still to come");
        for step in 1..=100 {
            read(200 + step * 100, 30 + step.unsigned_abs());
        }
        assert_eq!(jumps.all.len(), KEPT);
        assert_eq!(jumps.all.last().map(|jump| jump.to), Some(at(10_200)));
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
