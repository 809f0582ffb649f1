//! What a fault is expected to show: the log evidence that counts come to when the canary is as bad as they say. Of a calm
//! service, and for the best multiplier; what the mixture of them costs is the planner's to add.

use super::counts::Stratum;

/// Halvings between two multipliers: enough for every digit that anyone prints.
const HALVINGS: usize = 60;

/// Beyond every multiplier that means anything.
const FAR: f64 = 1e9;

/// The log evidence to expect of these counts: `(n_c p_c + n_p p_p) kl(theta || q0) / phi` (analysis, section 2, the planner).
/// With `at_least` (a bad share that is nobody's concern, 0 to 1) the lesser of that and `(x_c ln m - (m - 1) s n_c) / phi`, as
/// the test has it, at the multiplier m that is best for the lesser. 0 within tolerance.
#[must_use]
pub fn expected(counts: &Stratum, tolerance: f64, at_least: Option<f64>, dispersion: f64) -> f64 {
    let ratio = Ratio { counts, tolerance };
    let found = match at_least {
        None => ratio.best(),
        Some(share) => lesser(&ratio, share),
    };
    found / dispersion
}

/// The canary beside production.
struct Ratio<'a> {
    counts: &'a Stratum,
    tolerance: f64,
}

impl Ratio<'_> {
    /// Of the bad requests the canary has theta, and within tolerance at most q0. None where nothing is beyond tolerance: at
    /// weight 0 or 100 the two are the same, and without any bad request theta is no number.
    fn shares(&self) -> Option<(f64, f64)> {
        let Stratum { canary, production } = self.counts;
        let theta = canary.bad / (canary.bad + production.bad);
        let tolerated = self.tolerance * canary.requests;
        let q0 = tolerated / (tolerated + production.requests);
        (theta > q0).then_some((theta, q0))
    }

    /// At the best multiplier of all: `x_c ln(theta / q0) + x_p ln((1 - theta) / (1 - q0))`.
    fn best(&self) -> f64 {
        let Some((theta, q0)) = self.shares() else {
            return 0.0;
        };
        let Stratum { canary, production } = self.counts;
        let other = if production.bad > 0.0 {
            production.bad * ((1.0 - theta) / (1.0 - q0)).ln()
        } else {
            0.0
        };
        canary.bad * (theta / q0).ln() + other
    }

    /// The best multiplier: how many times worse than tolerated the canary is.
    fn multiplier(&self) -> f64 {
        let Stratum { canary, production } = self.counts;
        let times = canary.bad * production.requests / (production.bad * self.tolerance * canary.requests);
        if times.is_nan() {
            1.0
        } else {
            times.clamp(1.0, FAR)
        }
    }

    fn at(&self, m: f64) -> f64 {
        let Stratum { canary, production } = self.counts;
        let d = -((m - 1.0) * self.tolerance * canary.requests
            / (self.tolerance * canary.requests + production.requests))
            .ln_1p();
        canary.bad * (m.ln() + d) + production.bad * d
    }
}

/// The largest value of the lesser of both evidences. Each is concave in ln m, so that it lies at the one's best multiplier
/// where the other is larger, or where they cross between the two.
fn lesser(ratio: &Ratio<'_>, share: f64) -> f64 {
    let Stratum { canary, production } = ratio.counts;
    let of_share = |m: f64| canary.bad * m.ln() - (m - 1.0) * share * canary.requests;
    let beyond = canary.bad > share * canary.requests;
    if ratio.shares().is_none() || !beyond || production.requests <= 0.0 {
        return 0.0;
    }
    let best = ratio.multiplier();
    let best_of_share = (canary.bad / (share * canary.requests)).clamp(1.0, FAR);
    if of_share(best) >= ratio.at(best) {
        return ratio.best();
    }
    if ratio.at(best_of_share) >= of_share(best_of_share) {
        return of_share(best_of_share);
    }
    let (mut low, mut high) = (best.min(best_of_share).ln(), best.max(best_of_share).ln());
    let is_larger_below = ratio.at(low.exp()) >= of_share(low.exp());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if (ratio.at(middle.exp()) >= of_share(middle.exp())) == is_larger_below {
            low = middle;
        } else {
            high = middle;
        }
    }
    of_share(low.exp()).min(ratio.at(low.exp())).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sequential::counts::Counts;

    fn stratum(canary: (f64, f64), production: (f64, f64)) -> Stratum {
        let counts = |(requests, bad)| Counts { requests, bad };
        Stratum {
            canary: counts(canary),
            production: counts(production),
        }
    }

    /// By trying every multiplier.
    fn tried(counts: &Stratum, share: Option<f64>) -> f64 {
        let ratio = Ratio {
            counts,
            tolerance: 1.5,
        };
        let of = |step: u32| {
            let m = (f64::from(step) * 1e-4).exp();
            let of_share = |share| counts.canary.bad * m.ln() - (m - 1.0) * share * counts.canary.requests;
            ratio.at(m).min(share.map_or(f64::INFINITY, of_share))
        };
        (0..200_000).map(of).fold(0.0, f64::max)
    }

    #[test]
    fn it_is_the_best_that_any_multiplier_gives() {
        for (canary, production) in [
            ((100.0, 5.0), (1900.0, 2.0)),
            ((100.0, 50.0), (100.0, 1.0)),
            ((1000.0, 2.0), (9000.0, 9.0)),
            ((500.0, 20.0), (500.0, 1e-3)),
        ] {
            let counts = stratum(canary, production);
            for share in [None, Some(1e-6), Some(0.005), Some(0.02), Some(0.04), Some(0.4)] {
                let (found, tried) = (expected(&counts, 1.5, share, 1.0), tried(&counts, share));
                assert!(
                    (found - tried).abs() <= 1e-4 * tried.max(1.0),
                    "{counts:?} {share:?}: {found} {tried}"
                );
            }
        }
    }

    #[test]
    fn within_either_bound_nothing_is_expected() {
        let counts = stratum((1000.0, 10.0), (1000.0, 1.0));
        assert!(expected(&counts, 1.5, None, 1.0) > 1.0);
        assert!(expected(&counts, 1.5, Some(0.01), 1.0) <= 0.0);
        assert!(expected(&counts, 10.0, None, 1.0) <= 0.0);
        assert!(expected(&counts, 1.5, Some(0.005), 1.0) < expected(&counts, 1.5, None, 1.0));
        let half = expected(&counts, 1.5, Some(0.001), 2.0) * 2.0;
        assert!((half - expected(&counts, 1.5, Some(0.001), 1.0)).abs() < 1e-12);
    }

    #[test]
    fn without_a_bad_request_of_production_or_without_production_it_is_a_number() {
        let clean = stratum((100.0, 5.0), (900.0, 0.0));
        for share in [None, Some(0.0), Some(0.01)] {
            assert!(expected(&clean, 1.5, share, 1.0) > 1.0, "{share:?}");
            for other in [
                stratum((100.0, 5.0), (0.0, 0.0)),
                stratum((0.0, 0.0), (900.0, 3.0)),
                Stratum::default(),
            ] {
                assert!(
                    expected(&other, 1.5, share, 1.0).abs() < 1e-12,
                    "{other:?} {share:?}"
                );
            }
        }
    }
}
