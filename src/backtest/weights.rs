//! How much of the traffic was the canary's, and when.

/// The canary's share of the traffic over time, 0 to 1.
#[derive(Default)]
pub(super) struct Weights(Vec<(i64, f64)>);

impl Weights {
    pub(super) fn set(&mut self, at: i64, share: f64) {
        if self.0.last().is_none_or(|last| (last.1 - share).abs() > 0.0) {
            self.0.push((at, share));
        }
    }

    /// The share at an instant.
    pub(super) fn at(&self, at: i64) -> f64 {
        let known = self.0.partition_point(|(since, _)| *since <= at);
        let last = known.checked_sub(1).and_then(|last| self.0.get(last));
        last.map_or(0.0, |(_, share)| *share)
    }

    /// The mean share from `from` to `until`.
    pub(super) fn mean(&self, from: i64, until: i64) -> f64 {
        let (mut sum, mut end) = (0.0, until);
        for (at, share) in self.0.iter().rev() {
            let start = (*at).max(from);
            if start < end {
                sum += share * number(end - start);
                end = start;
            }
            if *at <= from {
                break;
            }
        }
        if until > from {
            (sum / number(until - from)).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
const fn number(whole: i64) -> f64 {
    whole as f64
}
