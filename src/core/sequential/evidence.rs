//! Evidence that the canary fails more often than tolerated: the e-process of the analysis, section 2.
//!
//! While the canary's bad share is at most r times production's in every interval, the evidence E starts at 1 and its
//! expectation never grows, so it ever reaches 1/alpha with probability at most alpha (Ville's inequality), however
//! many checks there are, whatever the weights, and however the shared share of bad requests drifts. All of it is kept
//! as logarithms: E itself leaves the range of a float within minutes of a bad release.
//!
//! Two rules that callers rely on. An interval counts through its bad requests and the *ratio* of its requests alone:
//! cutting it into parts of the same ratio (and adding the bad ones up) changes nothing but rounding. An interval
//! during which the weight moved mixes two ratios, and a fault shared by both sides can then look like the canary's
//! (Simpson's paradox): cut intervals at weight changes.

pub use crate::api::evidence::Evidence;

use super::counts::{CountError, Counts, Stratum};
use super::design::{Design, Parts};
use super::recorded::Recorded;
use super::sums::log_sum_exp;

/// Why a check is no evidence. The evidence is then left as it was.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum EvidenceError {
    /// Counts that cannot be counts.
    #[error(transparent)]
    Count(#[from] CountError),
    /// The evidence read back does not fit the design, or holds what is no number.
    #[error("the recorded evidence does not fit the test it belongs to")]
    Misfit,
    /// No traffic in the recorded baseline, or more bad requests than its limit can be computed for.
    #[error("the recorded baseline cannot be used")]
    Baseline,
    /// Shares of a budget that are below 0 or do not add up to 1.
    #[error("the shares of the metrics in the budget do not add up to 1")]
    Shares,
}

impl EvidenceError {
    /// A word for metrics and events; there are as many as variants.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Count(count) => count.category(),
            Self::Misfit => "evidence-misfit",
            Self::Baseline => "evidence-baseline",
            Self::Shares => "evidence-shares",
        }
    }
}

impl Evidence {
    /// Takes in one check: the strata observed since the previous one, during step `step` (from 0).
    /// Returns whether the check said anything, which takes traffic on both sides in one stratum.
    ///
    /// # Errors
    /// Counts that are no counts, or recorded evidence of another design; nothing is taken in then.
    pub fn add(&mut self, design: &Design, step: usize, strata: &[Stratum]) -> Result<bool, EvidenceError> {
        for stratum in strata {
            stratum.checked()?;
        }
        let parts = design.parts();
        let told = strata.iter().any(Stratum::compares);
        let growth = parts.multipliers.iter().map(|m| {
            let of = |stratum| growth(parts, *m, stratum);
            strata.iter().map(of).sum()
        });
        let growth: Vec<f64> = growth.collect();
        self.grow(parts, step, told, &growth)?;
        for stratum in strata {
            self.canary = self.canary.plus(stratum.canary);
            self.production = self.production.plus(stratum.production);
        }
        Ok(told)
    }

    /// Takes in one check of a canary that has no production beside it, against a baseline recorded before:
    /// `x_c ln m - (m - 1) r U n_c`, divided by phi as well, which keeps the promise for phi >= 1 (Jensen).
    /// Its evidence has to reach 2/alpha: see [`Recorded::log_penalty`].
    ///
    /// # Errors
    /// As [`Evidence::add`], or a baseline without a limit.
    pub fn add_against(
        &mut self,
        design: &Design,
        step: usize,
        baseline: &Recorded,
        canary: Counts,
    ) -> Result<bool, EvidenceError> {
        let Counts { requests, bad } = canary.checked()?;
        let parts = design.parts();
        let upper = baseline.upper(parts.false_alarm)?;
        let told = requests > 0.0;
        let growth =
            |m: &f64| (bad * m.ln() - (m - 1.0) * parts.tolerance * upper * requests) / parts.dispersion;
        let growth: Vec<f64> = parts.multipliers.iter().map(growth).collect();
        self.grow(parts, step, told, &growth)?;
        self.canary = self.canary.plus(canary);
        Ok(told)
    }

    /// ln E, the mixture over steps and multipliers; 0 before the first check.
    ///
    /// # Errors
    /// Recorded evidence of another design.
    pub fn log(&self, design: &Design) -> Result<f64, EvidenceError> {
        let parts = design.parts();
        self.fits(parts)?;
        let waiting = parts.step_weights.iter().skip(self.components.len());
        let waiting = waiting.map(|weight| (*weight, 0.0));
        let started = parts.step_weights.iter().zip(&self.components);
        let started = started.flat_map(|(step, component)| {
            let weights = parts.multiplier_weights.iter();
            weights
                .zip(component)
                .map(move |(weight, log)| (step * weight, *log))
        });
        Ok(log_sum_exp(started.chain(waiting)))
    }

    /// Starts the components due and lets those of this step and of earlier ones grow.
    fn grow(&mut self, parts: &Parts, step: usize, told: bool, growth: &[f64]) -> Result<(), EvidenceError> {
        self.fits(parts)?;
        if !told {
            return Ok(());
        }
        // An edit of the steps may lower the step's number; what has begun goes on.
        let begun = self.components.len().max(step.saturating_add(1));
        let due = parts.step_weights.len().min(begun);
        if self.components.len() < due {
            self.components.resize(due, vec![0.0; growth.len()]);
        }
        for component in self.components.iter_mut().take(due) {
            for (log, more) in component.iter_mut().zip(growth) {
                *log += more;
            }
        }
        Ok(())
    }

    fn fits(&self, parts: &Parts) -> Result<(), EvidenceError> {
        let steps = self.components.len() <= parts.step_weights.len();
        let shape = self.components.iter().all(|c| c.len() == parts.multipliers.len());
        let finite = self.components.iter().flatten().all(|log| log.is_finite());
        if steps && shape && finite {
            Ok(())
        } else {
            Err(EvidenceError::Misfit)
        }
    }
}

/// `l_jk`: how much one stratum adds to the log evidence for "`m` times beyond tolerance".
fn growth(parts: &Parts, m: f64, stratum: &Stratum) -> f64 {
    if !stratum.compares() {
        return 0.0;
    }
    let Stratum { canary, production } = stratum;
    let r = parts.tolerance;
    // d(R) = ln(r n_c + n_p) - ln(R n_c + n_p), written so that a small canary costs no digits.
    let excess = (m - 1.0) * r * canary.requests;
    let d = -(excess / (r * canary.requests + production.requests)).ln_1p();
    let beyond_tolerance = (canary.bad * (m.ln() + d) + production.bad * d) / parts.dispersion;
    // The canary is within bounds where its share is below either limit, so that the lesser evidence counts: whichever of
    // the two holds in this interval, the expectation of the lesser one is at most 1.
    parts.at_least.map_or(beyond_tolerance, |share| {
        let beyond_share = (canary.bad * m.ln() - (m - 1.0) * share * canary.requests) / parts.dispersion;
        beyond_tolerance.min(beyond_share)
    })
}

/// ln of several metrics' evidence under one budget: E is the sum of `share * E_i`, with the shares fixed at the start.
/// `metrics` holds each one's share and log evidence; a metric that joined later has share 0.
///
/// # Errors
/// Shares that do not add up to 1, or a log evidence that is NaN.
pub fn together(metrics: &[(f64, f64)]) -> Result<f64, EvidenceError> {
    let shares: Vec<f64> = metrics.iter().map(|(share, _)| *share).collect();
    if !super::sums::are_shares(&shares) {
        return Err(EvidenceError::Shares);
    }
    if metrics.iter().any(|(_, log)| log.is_nan()) {
        return Err(EvidenceError::Misfit);
    }
    Ok(log_sum_exp(metrics.iter().copied()))
}

#[cfg(test)]
mod tests;
