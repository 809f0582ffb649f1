//! The sign e-value, for gauges that count nothing: over blocks of time, in how many was the canary above production?
//! Approximate at best, as blocks of a gauge are not independent (analysis, section 2).

/// The most blocks that are summed over.
pub const MAX_BLOCKS: u32 = 1_000_000;

/// ln E for `above` blocks with the canary above production and `below` with it below; ties count as neither.
/// E is the likelihood of a uniform prior over shares above one half against one half itself:
/// `2^(n+1) B(h+1, t+1) (1 - I_half(h+1, t+1))` with h above, t below and n = h + t. None beyond [`MAX_BLOCKS`].
///
/// For whole numbers it is the finite sum 1/(t+1) * (1 + h/(t+2) + h (h-1)/((t+2) (t+3)) + ...), of positive terms.
#[must_use]
pub fn log_evidence(above: u32, below: u32) -> Option<f64> {
    if above.checked_add(below)? > MAX_BLOCKS {
        return None;
    }
    let mut divisor = f64::from(below) + 1.0;
    let (mut scale, mut sum, mut term) = (-divisor.ln(), 1.0, 1.0);
    for left in (1..=above).rev() {
        divisor += 1.0;
        term *= f64::from(left) / divisor;
        sum += term;
        if sum > LARGE {
            scale += sum.ln();
            term /= sum;
            sum = 1.0;
        }
        if term < 1e-18 * sum {
            break;
        }
    }
    Some(scale + sum.ln())
}

/// Where the running sum is scaled down, far from overflow.
const LARGE: f64 = 1e200;

#[cfg(test)]
mod tests {
    use super::*;

    fn e(above: u32, below: u32) -> f64 {
        log_evidence(above, below).unwrap().exp()
    }

    #[test]
    fn no_blocks_are_no_evidence() {
        assert!((e(0, 0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_expectation_under_even_odds_is_one() {
        for blocks in [1_u32, 2, 9, 40] {
            let mut chance = 0.5_f64.powi(i32::try_from(blocks).unwrap());
            let mut mean = 0.0;
            for above in 0..=blocks {
                mean += chance * e(above, blocks - above);
                chance *= f64::from(blocks - above) / f64::from(above + 1);
            }
            assert!((mean - 1.0).abs() < 1e-12, "{blocks}: {mean}");
        }
    }

    #[test]
    fn more_blocks_above_are_more_evidence_and_below_less() {
        for above in 0..60 {
            for below in 0..60 {
                let here = log_evidence(above, below).unwrap();
                assert!(log_evidence(above + 1, below).unwrap() > here, "{above} {below}");
                assert!(log_evidence(above, below + 1).unwrap() < here, "{above} {below}");
            }
        }
    }

    #[test]
    fn many_blocks_neither_overflow_nor_hang() {
        // h of h: E = (2^(h+1) - 1) / (h+1).
        let h = MAX_BLOCKS;
        let exact = f64::from(h + 1) * 2.0_f64.ln() - f64::from(h + 1).ln();
        assert!((log_evidence(h, 0).unwrap() / exact - 1.0).abs() < 1e-12);
        assert!(log_evidence(0, h).unwrap() < -13.0);
        assert_eq!(log_evidence(h, 1), None);
        assert_eq!(log_evidence(u32::MAX, u32::MAX), None);
    }
}
