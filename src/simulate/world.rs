//! What is simulated: a policy with its test, on assumed traffic.

use rand::{SeedableRng as _, rngs::StdRng};

use crate::core::sequential::design::{Design, DesignError};
use crate::core::sequential::evidence::EvidenceError;
use crate::core::sequential::planner::{PlannerError, Policy, Traffic};
use crate::core::sequential::policy;

use super::rollout::{Outcome, rollout};

/// More checks than this in one rollout are refused: it would take minutes a rollout.
const MAX_CHECKS: f64 = 1_000_000.0;

/// The most requests per second that are simulated.
const MAX_LOAD: f64 = 1e7;

/// A policy with its test, and the traffic it is tried on.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    policy: Policy,
    design: Design,
    traffic: Traffic,
}

/// Why there is nothing to simulate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SetupError {
    /// A policy or traffic that is none.
    #[error(transparent)]
    Planner(#[from] PlannerError),
    /// A test that is none.
    #[error(transparent)]
    Design(#[from] DesignError),
    /// No step leaves traffic to production.
    #[error("every step gives the canary all traffic: there is nothing to compare it with")]
    NothingToCompare,
    /// More than a million checks.
    #[error(
        "{0:.0} checks in one rollout are too many to simulate; at most 1000000: let checkInterval be longer, or assume more traffic"
    )]
    TooLong(f64),
    /// More than ten million requests per second.
    #[error("{0} requests/s are more than the 10000000 that are simulated")]
    TooMuch(f64),
    /// The test refused what was drawn for it; a bug.
    #[error("simulated counts are refused: {0}; this is a bug")]
    Refused(#[from] EvidenceError),
}

impl SetupError {
    /// A word for metrics and events; there are as many as variants.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Planner(error) => error.category(),
            Self::Design(error) => error.category(),
            Self::NothingToCompare => "nothing-to-compare",
            Self::TooLong(_) => "too-long",
            Self::TooMuch(_) => "too-much",
            Self::Refused(error) => error.category(),
        }
    }
}

impl Setup {
    /// A policy and the traffic it is tried on.
    ///
    /// # Errors
    /// What is no policy, no traffic, or too much to simulate.
    pub fn new(policy: Policy, traffic: Traffic) -> Result<Self, SetupError> {
        policy.time_to_detect(traffic, 1.0)?;
        if policy.steps.iter().all(|step| step.weight >= 100.0) {
            return Err(SetupError::NothingToCompare);
        }
        if traffic.requests_per_second > MAX_LOAD {
            return Err(SetupError::TooMuch(traffic.requests_per_second));
        }
        let every = policy.every.as_secs_f64();
        let lasts = |step| policy.kept(step, traffic).lasts;
        let checks: f64 = policy.steps.iter().map(|step| (lasts(step) / every).ceil()).sum();
        if checks > MAX_CHECKS {
            return Err(SetupError::TooLong(checks));
        }
        let design = policy::design(&policy)?;
        Ok(Self {
            policy,
            design,
            traffic,
        })
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The test that the policy asks for.
    #[must_use]
    pub const fn design(&self) -> &Design {
        &self.design
    }

    /// The traffic.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The canaries to try, rising, each once: those asked for, one as good as production, and the worst that is tolerated, on
    /// which false alarms are counted.
    #[must_use]
    pub fn canaries(&self, asked: &[f64]) -> Vec<f64> {
        let production = self.traffic.production_bad;
        let mut all = asked.to_vec();
        all.extend([production, exact(self.policy.tolerated(self.traffic))]);
        all.sort_by(f64::total_cmp);
        all.dedup_by(|a, b| (*a - *b).abs() <= 1e-12);
        all
    }

    /// Rollouts of a canary with this bad share (0 to 1). What is drawn follows from seed, share and `chunk` alone, whatever
    /// else is simulated beside it and on how many threads.
    ///
    /// # Errors
    /// A share that is none.
    pub fn rollouts(
        &self,
        canary_bad: f64,
        runs: u32,
        seed: u64,
        chunk: u64,
    ) -> Result<Vec<Outcome>, SetupError> {
        let mut rng = self.rng(canary_bad, seed, chunk)?;
        (0..runs)
            .map(|_| rollout(self, canary_bad, &mut rng, |_, _| ()))
            .collect()
    }

    /// The log evidence after each check of one rollout, with seconds since the first step, as [`Setup::rollouts`] would
    /// have drawn it first; it begins with 0 at 0 and ends where the canary is rolled back.
    ///
    /// # Errors
    /// A share that is none.
    pub fn trace(&self, canary_bad: f64, seed: u64, chunk: u64) -> Result<Vec<(f64, f64)>, SetupError> {
        let mut rng = self.rng(canary_bad, seed, chunk)?;
        let mut trace = vec![(0.0, 0.0)];
        rollout(self, canary_bad, &mut rng, |time, log| trace.push((time, log)))?;
        Ok(trace)
    }

    fn rng(&self, canary_bad: f64, seed: u64, chunk: u64) -> Result<StdRng, SetupError> {
        // Refuses a share that is none.
        self.policy.time_to_detect(self.traffic, canary_bad)?;
        let key = mix(mix(mix(seed) ^ canary_bad.to_bits()) ^ chunk);
        Ok(StdRng::seed_from_u64(key))
    }
}

/// A share without the noise of the product that it is: 1.5 times 0.001 is 0.0015.
fn exact(share: f64) -> f64 {
    if share <= 0.0 {
        return 0.0;
    }
    let digits = 10.0_f64.powf(11.0 - share.log10().floor());
    (share * digits).round() / digits
}

/// Spreads neighbouring numbers over all bits (the finaliser of `SplitMix64`).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sequential::pace::Pace;
    use crate::core::sequential::planner::Step;
    use std::time::Duration;

    fn setup(rps: f64, every: u64, holds: &[u64]) -> Setup {
        let weights = [5.0, 10.0, 20.0, 50.0, 100.0];
        let steps = weights.into_iter().zip(holds).map(|(weight, hold)| Step {
            weight,
            hold: Duration::from_secs(*hold),
        });
        let policy = Policy {
            steps: steps.collect(),
            every: Duration::from_secs(every),
            tolerance: 1.5,
            at_least: None,
            false_alarm: 0.01,
            dispersion: 1.0,
            confirmations: 0,
            pace: Pace::default(),
        };
        let traffic = Traffic {
            requests_per_second: rps,
            production_bad: 0.001,
        };
        Setup::new(policy, traffic).unwrap()
    }

    #[test]
    fn production_itself_and_the_edge_of_tolerance_are_tried_besides() {
        let setup = setup(1.0, 15, &[300; 4]);
        assert_eq!(setup.canaries(&[0.2, 0.001, 0.02]), [0.001, 0.0015, 0.02, 0.2]);
        for (share, clean) in [(3.0 * 0.1, 0.3), (1.5 * 0.001, 0.0015), (1.0, 1.0), (0.0, 0.0)] {
            assert!((exact(share) - clean).abs() < 1e-15, "{share}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let setup = setup(100.0, 15, &[300; 4]);
        let draw = |bad, seed, chunk| setup.rollouts(bad, 20, seed, chunk).unwrap();
        assert_eq!(draw(0.005, 1, 0), draw(0.005, 1, 0));
        assert_ne!(draw(0.005, 1, 0), draw(0.005, 2, 0));
        assert_ne!(draw(0.005, 1, 0), draw(0.005, 1, 1));
    }

    #[test]
    fn a_trace_is_the_first_rollout_of_its_chunk() {
        let setup = setup(100.0, 15, &[300; 4]);
        let first = *setup.rollouts(0.02, 3, 7, 2).unwrap().first().unwrap();
        let trace = setup.trace(0.02, 7, 2).unwrap();
        let (time, log) = *trace.last().unwrap();
        assert_eq!(first.found.map(|(time, _)| time), Some(time));
        assert!(log >= setup.design().log_limit());
        assert!(
            trace
                .iter()
                .rev()
                .skip(1)
                .all(|(_, log)| *log < setup.design().log_limit())
        );
    }

    #[test]
    fn requests_and_errors_come_at_the_rate_assumed() {
        let setup = setup(100.0, 15, &[300; 5]);
        // Within tolerance hardly anything is rolled back: (5 + 10 + 20 + 50 + 100) % of 30,000 requests each, 0.1 % of them bad.
        let outcomes = setup.rollouts(0.001, 200, 1, 0).unwrap();
        let mean = outcomes.iter().map(|o| o.errors).sum::<f64>() / 200.0;
        assert!((mean - 55.5).abs() < 4.0 * (55.5_f64 / 200.0).sqrt(), "{mean}");
    }

    #[test]
    fn all_traffic_on_the_canary_says_nothing() {
        let setup = setup(1000.0, 15, &[15, 15, 15, 15, 3000]);
        let late = setup.rollouts(0.0016, 50, 1, 0).unwrap();
        assert!(
            late.iter()
                .all(|o| o.found.is_none_or(|(time, step)| time <= 60.0 && step < 4))
        );
    }

    #[test]
    fn what_cannot_be_simulated_is_refused_by_name() {
        let refused = |change: fn(&mut Policy, &mut Traffic)| {
            let setup = setup(1.0, 15, &[300; 4]);
            let (mut policy, mut traffic) = (setup.policy, setup.traffic);
            change(&mut policy, &mut traffic);
            Setup::new(policy, traffic).unwrap_err().category()
        };
        assert_eq!(refused(|p, _| p.steps.clear()), "plan-steps");
        assert_eq!(refused(|p, _| p.tolerance = f64::NAN), "plan-test");
        assert_eq!(refused(|_, t| t.production_bad = 2.0), "plan-traffic");
        assert_eq!(refused(|_, t| t.requests_per_second = 2e7), "too-much");
        assert_eq!(refused(|p, _| p.every = Duration::from_micros(1)), "too-long");
        assert_eq!(
            refused(|p, _| p.steps.iter_mut().for_each(|s| s.weight = 100.0)),
            "nothing-to-compare"
        );
        assert!(setup(1.0, 15, &[300; 4]).rollouts(f64::NAN, 1, 1, 0).is_err());
    }
}
