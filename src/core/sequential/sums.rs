//! Sums of exponentials that overflow nothing.

/// ln of the sum of `weight * exp(log)` over the terms; terms of weight 0 are skipped, no terms give -infinity.
/// The largest term is factored out, so that evidence beyond what a float holds stays comparable.
pub(super) fn log_sum_exp(terms: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let terms = terms.filter(|(weight, _)| *weight > 0.0);
    let top = terms
        .clone()
        .map(|(_, log)| log)
        .fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return top;
    }
    let sum: f64 = terms.map(|(weight, log)| weight * (log - top).exp()).sum();
    top + sum.ln()
}

/// Whether weights are weights: none below zero, together 1 within rounding.
pub(super) fn are_shares(weights: &[f64]) -> bool {
    let each = weights.iter().all(|w| w.is_finite() && *w >= 0.0);
    each && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_exponentials_hold_beyond_the_range_of_a_float() {
        let same = log_sum_exp([(0.5, 5000.0), (0.5, 5000.0)].into_iter());
        assert!((same - 5000.0).abs() < 1e-9);
        assert!((log_sum_exp([(0.25, -2000.0), (0.75, 0.0)].into_iter()) - 0.75_f64.ln()).abs() < 1e-12);
        assert!(log_sum_exp([(0.0, 3.0)].into_iter()).is_infinite());
    }

    #[test]
    fn shares_add_up_to_one() {
        assert!(are_shares(&[0.5, 0.25, 0.25]) && are_shares(&[1.0]) && are_shares(&[0.1; 10]));
        for bad in [&[][..], &[0.5], &[1.5, -0.5], &[f64::NAN, 1.0], &[f64::INFINITY]] {
            assert!(!are_shares(bad), "{bad:?}");
        }
    }
}
