//! How clumpy production's bad requests are, estimated before the rollout from its own pods (analysis, section 2).
//! An approximation: it only sees clumps that hit one pod more than another within a minute.

use super::counts::{CountError, Counts};

/// What the counts of several minutes say about clumps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dispersion {
    /// phi: what to divide the log evidence by, at least 1.
    pub phi: f64,
    /// The mean over the minutes; 1 is what independent requests give.
    pub mean: f64,
    /// Minutes with at least one bad request and two pods with traffic; the others say nothing.
    pub minutes: usize,
}

/// phi from counts of each pod in each minute: the upper 90 % limit (one-sided, Student's t) of the mean over the
/// minutes of `sum_pods (x_i - m q_i)^2 / (m q_i) / (pods - 1)`, at least 1, where m is the minute's bad requests and
/// `q_i` the pod's share of its requests. None with fewer than two minutes that say something: then phi is a guess of the
/// caller's.
///
/// # Errors
/// Counts that are no counts.
pub fn dispersion(minutes: &[Vec<Counts>]) -> Result<Option<Dispersion>, CountError> {
    let mut ratios = Vec::new();
    for pods in minutes {
        ratios.extend(ratio(pods)?);
    }
    let told = ratios.len();
    if told < 2 {
        return Ok(None);
    }
    #[expect(clippy::cast_precision_loss, reason = "minutes of history")]
    let count = told as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let variance = ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let limit = mean + t_90(count - 1.0) * (variance / count).sqrt();
    Ok(Some(Dispersion {
        phi: limit.max(1.0),
        mean,
        minutes: told,
    }))
}

/// The 90 % quantile of the normal distribution.
const Z: f64 = 1.281_551_565_545;

/// Pearson's statistic of one minute by its degrees of freedom; none when there is nothing to tell apart.
fn ratio(pods: &[Counts]) -> Result<Option<f64>, CountError> {
    let mut all = Counts::default();
    for pod in pods {
        all = all.plus(pod.checked()?);
    }
    let busy = || pods.iter().filter(|pod| pod.requests > 0.0);
    let freedom = busy().skip(1).map(|_| 1.0).sum::<f64>();
    if all.bad <= 0.0 || freedom < 1.0 {
        return Ok(None);
    }
    let excess = busy().map(|pod| {
        let expected = all.bad * pod.requests / all.requests;
        (pod.bad - expected).powi(2) / expected
    });
    Ok(Some(excess.sum::<f64>() / freedom))
}

/// The 90 % quantile of Student's t: exact for 1 and 2 degrees of freedom, then the expansion about the normal
/// quantile (Abramowitz and Stegun 26.7.5), within 1 % from 3 degrees on.
fn t_90(freedom: f64) -> f64 {
    if freedom < 1.5 {
        return 3.077_683_537;
    }
    if freedom < 2.5 {
        return 1.885_618_083;
    }
    let (z3, z5) = (Z.powi(3), Z.powi(5));
    let first = (z3 + Z) / 4.0;
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / 96.0;
    Z + (first + second / freedom) / freedom
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(pods: &[(f64, f64)]) -> Vec<Counts> {
        pods.iter()
            .map(|(requests, bad)| Counts {
                requests: *requests,
                bad: *bad,
            })
            .collect()
    }

    #[test]
    fn the_quantile_agrees_with_tables() {
        for (freedom, table) in [
            (1.0, 3.0777),
            (2.0, 1.8856),
            (3.0, 1.6377),
            (4.0, 1.5332),
            (9.0, 1.3830),
            (29.0, 1.3114),
            (1e6, 1.2816),
        ] {
            assert!((t_90(freedom) / table - 1.0).abs() < 0.01, "{freedom}");
        }
    }

    #[test]
    fn the_formula_by_hand() {
        // m = 4, q = 1/2 each: (3-2)^2/2 + (1-2)^2/2 = 1, one degree of freedom. Then 8 of 8 on one pod: 8.
        let two = [
            minute(&[(100.0, 3.0), (100.0, 1.0)]),
            minute(&[(50.0, 8.0), (50.0, 0.0)]),
        ];
        let found = dispersion(&two).unwrap().unwrap();
        assert_eq!(found.minutes, 2);
        assert!((found.mean - 4.5).abs() < 1e-12);
        // s = 7/sqrt 2, so s/sqrt 2 = 3.5.
        assert!((found.phi - (4.5 + 3.077_683_537 * 3.5)).abs() < 1e-9);
    }

    #[test]
    fn clumps_raise_it_and_evenness_does_not_lower_it_below_one() {
        let even = vec![minute(&[(100.0, 2.0), (100.0, 2.0), (100.0, 2.0)]); 10];
        assert_eq!(
            dispersion(&even).unwrap().unwrap().phi.to_bits(),
            1.0_f64.to_bits()
        );
        let clumped = vec![minute(&[(100.0, 6.0), (100.0, 0.0), (100.0, 0.0)]); 10];
        let found = dispersion(&clumped).unwrap().unwrap();
        assert!((found.phi - 6.0).abs() < 1e-9, "{found:?}");
    }

    /// What the help of `simulate --dispersion` says: the median of ten minutes each, with ten bad requests a pod and minute.
    #[test]
    fn independent_errors_look_a_little_clumpy_and_less_so_the_more_pods_there_are() {
        use rand::SeedableRng as _;
        use rand_distr::{Distribution as _, Poisson};
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let poisson = Poisson::new(10.0_f64).unwrap();
        let mut median = |pods: usize| {
            let mut one = || {
                let mut pod = || (1000.0, poisson.sample(&mut rng));
                let minutes: Vec<_> = (0..10)
                    .map(|_| minute(&(0..pods).map(|_| pod()).collect::<Vec<_>>()))
                    .collect();
                dispersion(&minutes).unwrap().unwrap().phi
            };
            let mut all: Vec<f64> = (0..500).map(|_| one()).collect();
            all.sort_by(f64::total_cmp);
            all[250]
        };
        let found = [3, 10, 30].map(&mut median);
        for (found, told) in found.iter().zip([1.35, 1.2, 1.1]) {
            assert!((found - told).abs() < 0.03, "{found} {told}");
        }
    }

    #[test]
    fn minutes_that_say_nothing_are_left_out() {
        let quiet = [
            minute(&[]),
            minute(&[(100.0, 3.0)]),
            minute(&[(100.0, 0.0), (100.0, 0.0)]),
            minute(&[(100.0, 3.0), (0.0, 0.0)]),
        ];
        assert_eq!(dispersion(&quiet), Ok(None));
        assert_eq!(dispersion(&[]), Ok(None));
        let one_tells = [minute(&[(100.0, 3.0), (100.0, 1.0)]), minute(&[])];
        assert_eq!(dispersion(&one_tells), Ok(None));
        let idle_pod = vec![minute(&[(100.0, 3.0), (100.0, 1.0), (0.0, 0.0)]); 2];
        assert!((dispersion(&idle_pod).unwrap().unwrap().mean - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_count_is_refused() {
        assert!(dispersion(&[minute(&[(f64::NAN, 0.0), (1.0, 0.0)])]).is_err());
        assert!(dispersion(&[minute(&[(1.0, 2.0), (1.0, 0.0)])]).is_err());
        assert!(dispersion(&[minute(&[(1.0, -2.0), (1.0, 0.0)])]).is_err());
    }
}
