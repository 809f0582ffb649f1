//! The clock of a hold: it follows from recorded instants, so a restarted operator reads the same time from it.

use jiff::Timestamp;

use crate::api::Span;
use crate::api::status::HoldClock;

use super::observation::Gap;

impl HoldClock {
    /// A clock that starts now, with nothing served.
    #[must_use]
    pub const fn started(now: Timestamp) -> Self {
        Self {
            served: Span::ZERO,
            since: Some(now),
        }
    }

    /// Time served by `at`.
    #[must_use]
    pub fn served_at(&self, at: Timestamp) -> Span {
        self.since
            .map_or(self.served, |since| self.served.plus(Span::between(since, at)))
    }

    /// When `hold` will be served if the clock goes on running; `None` while it stands.
    #[must_use]
    pub fn ends(&self, hold: Span) -> Option<Timestamp> {
        let since = self.since?;
        since.checked_add(hold.minus(self.served).signed()).ok()
    }

    /// Lets the clock stand.
    pub fn stop(&mut self, at: Timestamp) {
        self.served = self.served_at(at);
        self.since = None;
    }

    /// Lets the clock run, if it does not.
    pub fn run(&mut self, at: Timestamp) {
        self.since.get_or_insert(at);
    }

    /// Takes out the times without an operator. Doing so twice changes nothing more.
    pub fn skip(&mut self, gaps: &[Gap]) {
        for gap in gaps {
            if let Some(since) = self.since.filter(|since| *since < gap.to) {
                self.served = self.served.plus(Span::between(since, gap.from));
                self.since = Some(gap.to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_pause_takes_nothing_and_gives_nothing() {
        let mut clock = HoldClock::started(at(100));
        clock.stop(at(110));
        assert_eq!(clock.served_at(at(500)), Span::secs(10));
        clock.run(at(500));
        clock.run(at(505));
        assert_eq!(clock.ends(Span::secs(30)), Some(at(520)));
    }

    #[test]
    fn time_without_an_operator_is_not_served_however_often_it_is_taken_out() {
        let mut clock = HoldClock::started(at(100));
        let gaps = [
            Gap {
                from: at(104),
                to: at(150),
            },
            Gap {
                from: at(160),
                to: at(200),
            },
        ];
        clock.skip(&gaps);
        clock.skip(&gaps);
        assert_eq!(clock.served_at(at(203)), Span::secs(4 + 10 + 3));
    }

    #[test]
    fn a_gap_that_began_before_the_clock_takes_only_what_the_clock_ran() {
        let mut clock = HoldClock::started(at(100));
        clock.skip(&[
            Gap {
                from: at(50),
                to: at(120),
            },
            Gap {
                from: at(10),
                to: at(20),
            },
        ]);
        assert_eq!(clock.served_at(at(125)), Span::secs(5));
    }

    #[test]
    fn a_standing_clock_does_not_care_about_gaps() {
        let mut clock = HoldClock::started(at(100));
        clock.stop(at(110));
        clock.skip(&[Gap {
            from: at(104),
            to: at(150),
        }]);
        assert_eq!(
            clock,
            HoldClock {
                served: Span::secs(10),
                since: None
            }
        );
    }
}
