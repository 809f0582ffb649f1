//! Shares of a route: how a weight in percent becomes numbers on the two destinations.

use super::observation::RouteSeen;

/// The canary's part of `total` at `percent` (0 to 100; more counts as 100): rounded down, but at least 1 where
/// both are above 0, and all of it at 100. The rest is production's, so that what they hold together never changes.
#[must_use]
pub fn share(total: i64, percent: u8) -> i64 {
    if total <= 0 || percent == 0 {
        return 0;
    }
    let part = i128::from(total) * i128::from(percent.min(100)) / 100;
    i64::try_from(part).unwrap_or(total).max(1)
}

impl RouteSeen {
    /// The canary's present share; an absent weight counts as what the rest leaves.
    #[must_use]
    pub fn canary_share(&self) -> i64 {
        self.canary
            .unwrap_or_else(|| self.production.map_or(0, |p| self.total - p))
            .max(0)
    }

    /// The canary's present share in percent, rounded up.
    #[must_use]
    pub fn percent(&self) -> u8 {
        self.percent_of(self.canary_share())
    }

    /// What `percent` gives it, in percent, rounded up: more, where the total is small.
    #[must_use]
    pub fn percent_at(&self, percent: u8) -> u8 {
        self.percent_of(share(self.total, percent))
    }

    fn percent_of(&self, part: i64) -> u8 {
        let part = i128::from(part) * 100;
        let whole = i128::from(self.total.max(1));
        u8::try_from((part + whole - 1) / whole).map_or(100, |percent| percent.min(100))
    }

    /// Whether the canary has more than `percent` gives it.
    #[must_use]
    pub fn is_above(&self, percent: u8) -> bool {
        self.canary_share() > share(self.total, percent)
    }

    /// Whether the canary has less than `percent` gives it.
    #[must_use]
    pub fn is_below(&self, percent: u8) -> bool {
        self.canary_share() < share(self.total, percent)
    }

    /// Whether the canary has what `percent` gives it.
    #[must_use]
    pub fn is_at(&self, percent: u8) -> bool {
        !self.is_above(percent) && !self.is_below(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_canary_gets_the_floor_but_at_least_one() {
        for (total, percent, expected) in [
            (100, 10, 10),
            (100, 0, 0),
            (100, 100, 100),
            (60, 10, 6),
            (3, 50, 1),
            (3, 1, 1),
            (0, 50, 0),
            (1, 99, 1),
            (7, 100, 7),
        ] {
            assert_eq!(share(total, percent), expected, "{percent} % of {total}");
        }
    }

    proptest! {
        #[test]
        fn a_share_is_within_the_total_and_rises_with_the_weight(total in 0_i64..=1_000_000, percent in 0_u8..=100) {
            let now = share(total, percent);
            prop_assert!((0..=total).contains(&now));
            prop_assert!(percent == 100 || share(total, percent + 1) >= now);
        }

        #[test]
        fn any_number_is_survived(total in any::<i64>(), percent in any::<u8>()) {
            let _ = share(total, percent);
        }
    }
}
