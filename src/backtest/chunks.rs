//! How a long time is cut, so that no answer has more points a series than Prometheus gives.

use jiff::Timestamp;

/// Prometheus refuses answers of more than 11,000 points a series; some room is left for its own rounding.
pub const MOST_POINTS: i64 = 10_900;

/// Stretches of time, in order, that follow each other from `from` to `until`, each of at most `points` points (brought within
/// 1 and [`MOST_POINTS`]) one `step` (milliseconds) apart. None where no time has passed.
#[must_use]
pub fn chunks(from: Timestamp, until: Timestamp, step: i64, points: i64) -> Vec<(Timestamp, Timestamp)> {
    let (from, until) = (from.as_millisecond(), until.as_millisecond());
    let length = step.max(1).saturating_mul(points.clamp(1, MOST_POINTS));
    let instant = |millis| Timestamp::from_millisecond(millis).ok();
    let mut chunks = Vec::new();
    let mut start = from;
    while start < until {
        let end = start.saturating_add(length).min(until);
        chunks.extend(instant(start).zip(instant(end)));
        start = end;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn they_follow_each_other_and_none_has_too_many_points() {
        for (length, step, points) in [
            (864_000, 60_000, 20_000),
            (864_000, 15_000, 10_900),
            (7, 1000, 3),
            (1, 60_000, 5),
            (864_000, 1, 500),
        ] {
            let until = at(length.min(864_000));
            let found = chunks(at(0), if step == 1 { at(20) } else { until }, step, points);
            assert_eq!(found.first().unwrap().0, at(0));
            for pair in found.windows(2) {
                assert_eq!(pair[0].1, pair[1].0);
            }
            for (start, end) in &found {
                let inside = (end.as_millisecond() - start.as_millisecond()) / step;
                assert!(
                    inside <= points.min(MOST_POINTS) && inside + 4 < 11_000,
                    "{inside}"
                );
            }
        }
        let ten_days = chunks(at(0), at(864_000), 60_000, MOST_POINTS);
        assert_eq!(ten_days.len(), 2);
        assert_eq!(ten_days.last().unwrap().1, at(864_000));
    }

    #[test]
    fn without_time_there_is_nothing() {
        assert_eq!(chunks(at(5), at(5), 1000, 10), []);
        assert_eq!(chunks(at(5), at(4), 1000, 10), []);
        assert_eq!(chunks(at(0), at(1), 0, 0).len(), 1000);
    }
}
