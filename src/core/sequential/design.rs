//! What a sequential test promises, fixed when the rollout starts (analysis, section 2). Changing any of it in flight
//! would break the promise, so it is kept with the evidence and read back through the same checks.

use serde::{Deserialize, Serialize};

pub use crate::api::evidence::TestDesign as Parts;

use super::sums::are_shares;

/// How many times worse than tolerated the canary may be, as the mixture assumes it.
pub const MULTIPLIERS: [f64; 10] = [1.25, 1.6, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0];

/// The most steps of a rollout that get a component of their own; a status has to stay small.
pub const MAX_STEPS: usize = 100;

/// The most multipliers of a design.
const MAX_MULTIPLIERS: usize = 50;

/// A checked set of [`Parts`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Design(Parts);

/// Why parts are no design.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DesignError {
    /// r is not a ratio above 0.
    #[error("the tolerance is {0}; it is a ratio above 0")]
    Tolerance(f64),
    /// alpha is not a probability strictly between 0 and 1.
    #[error("the probability of a false alarm is {0}; it lies between 0 and 1")]
    FalseAlarm(f64),
    /// phi is below 1.
    #[error("the dispersion is {0}; it is at least 1")]
    Dispersion(f64),
    /// The share nobody cares about is no share.
    #[error("the bad share that nobody cares about is 0 to 1")]
    AtLeast,
    /// No multipliers, too many, or one that is not above 1.
    #[error("multipliers are 1 to 50 factors above 1")]
    Multipliers,
    /// Weights of multipliers that do not match them or do not add up to 1.
    #[error("each multiplier has one weight, and the weights add up to 1")]
    MultiplierWeights,
    /// No steps, too many, or weights that do not add up to 1.
    #[error("1 to 100 steps have a weight, and the weights add up to 1")]
    StepWeights,
}

impl DesignError {
    /// A word for metrics and events; there are as many as variants.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Tolerance(_) => "tolerance",
            Self::FalseAlarm(_) => "false-alarm",
            Self::Dispersion(_) => "dispersion",
            Self::AtLeast => "at-least",
            Self::Multipliers => "multipliers",
            Self::MultiplierWeights => "multiplier-weights",
            Self::StepWeights => "step-weights",
        }
    }
}

impl TryFrom<Parts> for Design {
    type Error = DesignError;

    fn try_from(parts: Parts) -> Result<Self, DesignError> {
        let Parts {
            tolerance,
            false_alarm,
            dispersion,
            multipliers,
            multiplier_weights,
            step_weights,
            at_least,
        } = &parts;
        if at_least.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(DesignError::AtLeast);
        }
        // Bounds far beyond use keep every product below finite.
        if !(*tolerance >= 1e-6 && *tolerance <= 1e6) {
            return Err(DesignError::Tolerance(*tolerance));
        }
        if !(*false_alarm >= 1e-300 && *false_alarm < 1.0) {
            return Err(DesignError::FalseAlarm(*false_alarm));
        }
        if !(*dispersion >= 1.0 && dispersion.is_finite()) {
            return Err(DesignError::Dispersion(*dispersion));
        }
        let above_1 = multipliers.iter().all(|m| *m > 1.0 && *m <= 1e9);
        if !above_1 || multipliers.is_empty() || multipliers.len() > MAX_MULTIPLIERS {
            return Err(DesignError::Multipliers);
        }
        if multiplier_weights.len() != multipliers.len() || !are_shares(multiplier_weights) {
            return Err(DesignError::MultiplierWeights);
        }
        if step_weights.len() > MAX_STEPS || !are_shares(step_weights) {
            return Err(DesignError::StepWeights);
        }
        Ok(Self(parts))
    }
}

impl From<Design> for Parts {
    fn from(design: Design) -> Self {
        design.0
    }
}

impl Design {
    /// The design of the analysis for a plan of `steps` steps: ten multipliers of equal weight, half the weight on
    /// the first step and the rest shared equally; a plan of one step gives it all.
    pub fn new(tolerance: f64, false_alarm: f64, dispersion: f64, steps: usize) -> Result<Self, DesignError> {
        if steps > MAX_STEPS {
            return Err(DesignError::StepWeights);
        }
        Self::try_from(Parts {
            tolerance,
            false_alarm,
            dispersion,
            at_least: None,
            multipliers: MULTIPLIERS.to_vec(),
            multiplier_weights: MULTIPLIERS.map(|_| 0.1).to_vec(),
            step_weights: step_weights(steps),
        })
    }

    /// The same where a bad share of up to `share` (0 to 1) is nobody's concern, whatever production's.
    ///
    /// # Errors
    /// A share that is none.
    pub fn at_least(self, share: Option<f64>) -> Result<Self, DesignError> {
        Self::try_from(Parts {
            at_least: share,
            ..self.0
        })
    }

    /// ln(1/alpha): the log evidence at which the canary is unhealthy.
    #[must_use]
    pub fn log_limit(&self) -> f64 {
        -self.0.false_alarm.ln()
    }

    /// The checked parts.
    #[must_use]
    pub const fn parts(&self) -> &Parts {
        &self.0
    }
}

fn step_weights(steps: usize) -> Vec<f64> {
    match steps {
        0 => Vec::new(),
        1 => vec![1.0],
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "at most MAX_STEPS")]
            let rest = 0.5 / (steps - 1) as f64;
            let mut weights = vec![rest; steps];
            if let Some(first) = weights.first_mut() {
                *first = 0.5;
            }
            weights
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_weight_is_on_the_first_step() {
        assert_eq!(step_weights(1), [1.0]);
        assert_eq!(step_weights(2), [0.5, 0.5]);
        assert_eq!(step_weights(4), [0.5, 0.5 / 3.0, 0.5 / 3.0, 0.5 / 3.0]);
        for steps in 1..=MAX_STEPS {
            assert!(Design::new(1.5, 0.01, 1.0, steps).is_ok(), "{steps}");
        }
        assert_eq!(Design::new(1.5, 0.01, 1.0, 0), Err(DesignError::StepWeights));
        assert_eq!(
            Design::new(1.5, 0.01, 1.0, usize::MAX),
            Err(DesignError::StepWeights)
        );
    }

    #[test]
    fn what_is_no_design_is_refused_by_name() {
        for (tolerance, alpha, phi, why) in [
            (0.0, 0.01, 1.0, "tolerance"),
            (f64::NAN, 0.01, 1.0, "tolerance"),
            (f64::INFINITY, 0.01, 1.0, "tolerance"),
            (1.5, 0.0, 1.0, "false-alarm"),
            (1.5, 1.0, 1.0, "false-alarm"),
            (1.5, f64::NAN, 1.0, "false-alarm"),
            (1.5, 0.01, 0.99, "dispersion"),
            (1.5, 0.01, f64::NAN, "dispersion"),
            (1.5, 0.01, f64::INFINITY, "dispersion"),
        ] {
            let refused = Design::new(tolerance, alpha, phi, 4).unwrap_err();
            assert_eq!(refused.category(), why);
        }
        let parts = || Parts::from(Design::new(1.5, 0.01, 1.0, 4).unwrap());
        let refused = |parts: Parts| Design::try_from(parts).unwrap_err().category();
        assert_eq!(
            refused(Parts {
                multipliers: vec![1.0; 10],
                ..parts()
            }),
            "multipliers"
        );
        assert_eq!(
            refused(Parts {
                multipliers: vec![],
                ..parts()
            }),
            "multipliers"
        );
        assert_eq!(
            refused(Parts {
                multiplier_weights: vec![0.2; 10],
                ..parts()
            }),
            "multiplier-weights"
        );
        assert_eq!(
            refused(Parts {
                multiplier_weights: vec![1.0],
                ..parts()
            }),
            "multiplier-weights"
        );
        assert_eq!(
            refused(Parts {
                step_weights: vec![0.5, 0.4],
                ..parts()
            }),
            "step-weights"
        );
    }

    #[test]
    fn a_design_read_back_is_checked_again() {
        let design = Design::new(1.5, 0.01, 1.25, 4).unwrap();
        let written = serde_json::to_string(&design).unwrap();
        assert_eq!(serde_json::from_str::<Design>(&written).unwrap(), design);
        let forged = written.replace("\"falseAlarm\":0.01", "\"falseAlarm\":7");
        assert_ne!(forged, written);
        assert!(serde_json::from_str::<Design>(&forged).is_err());
    }
}
