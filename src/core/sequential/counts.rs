//! Counts of requests, and the only gate through which they reach the evidence.

pub use crate::api::evidence::Counts;

/// The largest count that is believed: beyond it a float no longer tells one request from none.
pub const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

/// What canary and production did in one interval, as one observer saw it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stratum {
    /// Requests that the canary answered.
    pub canary: Counts,
    /// Requests that production answered.
    pub production: Counts,
}

/// Why counts are no counts.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum CountError {
    /// NaN or an infinity.
    #[error("a count is {0}, which is no number of requests")]
    NotFinite(f64),
    /// Below zero.
    #[error("a count is {0}, below zero")]
    Negative(f64),
    /// Beyond [`MAX_COUNT`].
    #[error("a count is {0}, too large to be exact")]
    TooLarge(f64),
    /// More bad requests than requests.
    #[error("{bad} bad requests of {requests}")]
    MoreBadThanAll {
        /// Requests.
        requests: f64,
        /// Bad ones.
        bad: f64,
    },
}

impl CountError {
    /// A word for metrics and events; there are as many as variants.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::NotFinite(_) => "count-not-finite",
            Self::Negative(_) => "count-negative",
            Self::TooLarge(_) => "count-too-large",
            Self::MoreBadThanAll { .. } => "count-more-bad-than-all",
        }
    }
}

impl Counts {
    /// These counts if they can be counts.
    pub fn checked(self) -> Result<Self, CountError> {
        let Self { requests, bad } = self;
        for count in [requests, bad] {
            if !count.is_finite() {
                return Err(CountError::NotFinite(count));
            }
            if count < 0.0 {
                return Err(CountError::Negative(count));
            }
            if count > MAX_COUNT {
                return Err(CountError::TooLarge(count));
            }
        }
        if bad > requests {
            return Err(CountError::MoreBadThanAll { requests, bad });
        }
        Ok(self)
    }

    /// Both counts added up.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            bad: self.bad + other.bad,
        }
    }

    /// The bad share, 0 to 1; none without requests.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.bad / self.requests)
    }
}

impl Stratum {
    /// This stratum if its counts can be counts.
    pub fn checked(self) -> Result<Self, CountError> {
        self.canary.checked()?;
        self.production.checked()?;
        Ok(self)
    }

    /// Whether both versions had traffic: otherwise there is nothing to compare.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.canary.requests > 0.0 && self.production.requests > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(requests: f64, bad: f64) -> Option<&'static str> {
        Counts { requests, bad }.checked().err().map(|e| e.category())
    }

    #[test]
    fn what_is_no_count_is_refused_by_name() {
        for (requests, bad, why) in [
            (f64::NAN, 0.0, Some("count-not-finite")),
            (1.0, f64::NAN, Some("count-not-finite")),
            (f64::INFINITY, 0.0, Some("count-not-finite")),
            (1.0, f64::NEG_INFINITY, Some("count-not-finite")),
            (-1.0, 0.0, Some("count-negative")),
            (1.0, -1e-9, Some("count-negative")),
            (1e300, 0.0, Some("count-too-large")),
            (1.0, 2.0, Some("count-more-bad-than-all")),
            (0.0, 0.0, None),
            (-0.0, 0.0, None),
            (MAX_COUNT, MAX_COUNT, None),
            (2.5, 0.5, None),
        ] {
            assert_eq!(refusal(requests, bad), why, "{requests} {bad}");
        }
    }

    #[test]
    fn no_traffic_has_no_share() {
        assert_eq!(Counts::default().share(), None);
        let some = Counts {
            requests: 200.0,
            bad: 3.0,
        };
        assert_eq!(some.share(), Some(0.015));
    }
}
