//! What many values come to: quantiles of one cell, medians and spread of several rounds. Pure.

use serde::{Deserialize, Serialize};

use crate::number::{real_len, to_thousandths};

/// When so many of a number of objects had come so far, in seconds: the 0th to the 100th percentile, each the smallest
/// value that so many do not exceed. Absent: so many never did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles(Vec<Option<f64>>);

impl Quantiles {
    /// Of `of` objects; those without a value never came so far.
    pub(crate) fn new(values: &[f64], of: usize) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let all = of.max(sorted.len());
        let at = |percent: usize| {
            let rank = (all * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().map(to_thousandths)
        };
        Self((0..=100).map(at).collect())
    }

    /// That percentile, 0 to 100.
    pub(crate) fn at(&self, percent: usize) -> Option<f64> {
        self.0.get(percent).copied().flatten()
    }

    /// Seconds, and the share that had come so far by then.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        let points = self.0.iter().enumerate();
        let reached = points.filter_map(|(percent, value)| Some(((*value)?, real_len(percent) / 100.0)));
        reached.collect()
    }
}

/// The values of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            *sorted.get(middle)?
        } else {
            f64::midpoint(*sorted.get(middle - 1)?, *sorted.get(middle)?)
        };
        Some(Self {
            median,
            low,
            high,
            rounds: sorted.len(),
        })
    }

    /// How this one stands beside that one, over the same number of rounds and more.
    pub(crate) fn beside(self, other: Self) -> Beside {
        let apart = self.low > other.high || other.low > self.high;
        if self.rounds < 2 || other.rounds < 2 {
            Beside::OneRound
        } else if !apart {
            Beside::Noise
        } else if other.median == 0.0 {
            Beside::FromNothing
        } else {
            Beside::Times(self.median / other.median)
        }
    }
}

/// How the values of one stand beside those of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Beside {
    /// Their ranges overlap: no difference was measured.
    Noise,
    /// So many times the other's median; the ranges do not overlap.
    Times(f64),
    /// The other has none at all.
    FromNothing,
    /// There is no range to tell noise by.
    OneRound,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let quantiles = Quantiles::new(&values, 200);
        assert_eq!(
            [0, 1, 50, 99, 100].map(|percent| quantiles.at(percent)),
            [Some(1.0), Some(2.0), Some(100.0), Some(198.0), Some(200.0)]
        );
        assert_eq!(quantiles.at(101), None);
    }

    #[test]
    fn of_three_the_99th_percentile_is_the_last() {
        let quantiles = Quantiles::new(&[0.5, 0.9, 0.1], 3);
        assert_eq!(quantiles.at(99), Some(0.9));
        assert_eq!(quantiles.at(50), Some(0.5));
    }

    #[test]
    fn who_never_came_counts() {
        let quantiles = Quantiles::new(&[1.0, 2.0], 4);
        assert_eq!(quantiles.at(50), Some(2.0));
        assert_eq!(quantiles.at(51), None);
        assert_eq!(Quantiles::new(&[], 4).at(0), None);
        let last = quantiles.curve().pop().unwrap();
        assert_eq!(last, (2.0, 0.5));
    }

    #[test]
    fn rounds_have_a_median_and_a_range() {
        let three = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((three.median, three.low, three.high), (2.0, 1.0, 3.0));
        let two = Spread::of(&[1.0, 4.0]).unwrap();
        assert_eq!((two.median, two.rounds), (2.5, 2));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ranges_that_overlap_tell_no_difference() {
        let of = |values: &[f64]| Spread::of(values).unwrap();
        assert_eq!(of(&[1.0, 3.0]).beside(of(&[2.0, 9.0])), Beside::Noise);
        assert_eq!(of(&[10.0, 10.0]).beside(of(&[2.0, 2.0])), Beside::Times(5.0));
        assert_eq!(of(&[1.0, 1.0]).beside(of(&[2.0, 2.0])), Beside::Times(0.5));
        assert_eq!(of(&[1.0]).beside(of(&[2.0, 2.0])), Beside::OneRound);
        assert_eq!(of(&[1.0, 1.0]).beside(of(&[0.0, 0.0])), Beside::FromNothing);
    }
}
