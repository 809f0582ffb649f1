//! A baseline of counts recorded before the rollout, for a service whose production cannot be watched beside the
//! canary. Valid only while the environment has not changed since (analysis, section 2).

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::evidence::EvidenceError;

/// The most bad requests of a baseline; the limit's sum takes time with their square root.
const MAX_BAD: f64 = 1e10;

/// Where the factorial's series takes over from its product.
const SMALL: f64 = 32.0;

/// Newton's method needs about six steps; this bounds it.
const MAX_STEPS: usize = 64;

/// What production did while the baseline was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// `n_b` requests, of which `x_b` were bad.
    pub counts: Counts,
}

impl Recorded {
    /// U: the upper 1 - alpha/2 limit of the bad share, bad requests per request
    /// (Garwood 1936: `chi2inv(1 - alpha/2; 2 (x_b + 1)) / (2 n_b)`). It may exceed 1 for a tiny baseline.
    ///
    /// # Errors
    /// A baseline without traffic, or with counts that are no counts; alpha outside 0 to 1.
    pub fn upper(&self, alpha: f64) -> Result<f64, EvidenceError> {
        let Counts { requests, bad } = self.counts.checked()?;
        let proper = alpha > 0.0 && alpha < 1.0;
        if requests <= 0.0 || bad > MAX_BAD || !proper {
            return Err(EvidenceError::Baseline);
        }
        // A fraction of a bad request counts as a whole one: the limit may only become wider.
        Ok(poisson_upper(bad.ceil(), (alpha / 2.0).ln()) / requests)
    }

    /// What to subtract from the log evidence before it is compared with ln(1/alpha) or shares a budget: half of alpha
    /// went into the limit, so that the other half has to be beaten, E >= 2/alpha.
    #[must_use]
    pub const fn log_penalty() -> f64 {
        std::f64::consts::LN_2
    }
}

/// The mean of a Poisson variable that is at most `x` with probability `exp(log_tail)`; `x` is a whole number.
/// It is half the chi-square quantile of the formula.
fn poisson_upper(x: f64, log_tail: f64) -> f64 {
    // ln P(at most x) falls and is concave in the mean, so that Newton's steps land right of the root once and then
    // come down to it, from anywhere.
    let mut mean = x + 1.0;
    for _ in 0..MAX_STEPS {
        let sum = terms_below(x, mean);
        let step = (log_term(x, mean) + sum.ln() - log_tail) * sum;
        mean = (mean + step).max(f64::MIN_POSITIVE);
        if step.abs() <= 1e-14 * mean {
            break;
        }
    }
    mean
}

/// P(at most x) / P(exactly x) = 1 + x/mean + x (x-1)/mean^2 + ...
fn terms_below(x: f64, mean: f64) -> f64 {
    let (mut sum, mut term, mut left) = (1.0, 1.0, x);
    while left > 0.0 && term > 1e-18 * sum {
        term *= left / mean;
        sum += term;
        left -= 1.0;
    }
    sum
}

/// ln P(exactly x) = x ln mean - mean - ln x!
fn log_term(x: f64, mean: f64) -> f64 {
    if x < SMALL {
        let (mut product, mut factor) = (1.0_f64, 2.0);
        while factor <= x {
            product *= factor;
            factor += 1.0;
        }
        return x * mean.ln() - mean - product.ln();
    }
    // Stirling's series around the mean x, so that large numbers do not cancel.
    let away = (mean - x) / x;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * x * x)) / (x * x)) / x;
    x * (away.ln_1p() - away) - 0.5 * (std::f64::consts::TAU * x).ln() - series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upper(requests: f64, bad: f64, alpha: f64) -> Result<f64, EvidenceError> {
        let counts = Counts { requests, bad };
        Recorded { counts }.upper(alpha)
    }

    #[test]
    fn without_bad_requests_the_limit_is_a_logarithm() {
        for alpha in [0.9, 0.1, 0.01, 1e-6, 1e-300] {
            let exact = -(alpha / 2.0_f64).ln();
            let limit = upper(1.0, 0.0, alpha).unwrap();
            assert!((limit / exact - 1.0).abs() < 1e-13, "{alpha}: {limit} {exact}");
        }
    }

    #[test]
    fn the_tail_at_the_limit_is_half_of_alpha() {
        for bad in [0_u32, 1, 5, 31, 32, 33, 100, 170] {
            for alpha in [0.2, 0.01, 1e-8] {
                let x = f64::from(bad);
                let mean = poisson_upper(x, (alpha / 2.0_f64).ln());
                let (mut tail, mut term) = (0.0, (-mean).exp());
                for k in 0..=bad {
                    tail += term;
                    term *= mean / f64::from(k + 1);
                }
                assert!((tail / (alpha / 2.0) - 1.0).abs() < 1e-10, "{bad} {alpha}");
            }
        }
    }

    #[test]
    fn the_limit_is_smooth_where_the_series_takes_over_and_stays_quick_for_large_counts() {
        // Normal approximation of the quantile with its skewness, good to about 1e-3 of the width.
        for x in [1e4, 1e6, 1e8, 1e10] {
            let mean = poisson_upper(x, 0.005_f64.ln());
            let z = 2.575_829_3_f64;
            let near = x + 1.0 + z * (x + 1.0).sqrt() + (z * z - 1.0) / 3.0;
            assert!((mean - near).abs() < 1e-3 * x.sqrt(), "{x}: {mean} {near}");
        }
        for x in [SMALL, SMALL + 1.0, 60.0] {
            let direct: f64 = x * 40.0_f64.ln()
                - 40.0
                - (2..=60)
                    .map(f64::from)
                    .filter(|k| *k <= x)
                    .map(f64::ln)
                    .sum::<f64>();
            assert!((log_term(x, 40.0) - direct).abs() < 1e-11, "{x}");
        }
    }

    #[test]
    fn what_is_no_baseline_has_no_limit() {
        assert_eq!(upper(0.0, 0.0, 0.01), Err(EvidenceError::Baseline));
        assert_eq!(upper(1e12, 1e11, 0.01), Err(EvidenceError::Baseline));
        for alpha in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(upper(10.0, 1.0, alpha), Err(EvidenceError::Baseline));
        }
        assert!(upper(f64::NAN, 0.0, 0.01).is_err() && upper(1.0, 2.0, 0.01).is_err());
        assert!(upper(100.0, 0.5, 0.01) == upper(100.0, 1.0, 0.01));
    }
}
