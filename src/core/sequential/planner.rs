//! What a policy can see, told before a rollout: how long a fault of a given size goes unnoticed, and the smallest
//! fault that is noticed in time (analysis, section 2). Expectations of a calm service, not promises.

use std::time::Duration;

use super::counts::{Counts, Stratum};
use super::expected::expected;
use super::pace::Pace;

/// What the mixture over multipliers and steps costs, in log evidence; fitted by simulation in the analysis.
const MIXTURE_COST: f64 = 2.5;

/// Halvings when searching for the smallest fault: enough for every digit that anyone prints.
const HALVINGS: usize = 60;

/// Less and more traffic than anybody has, requests per second.
const LEAST_LOAD: f64 = 1e-9;
const MOST_LOAD: f64 = 1e12;

/// A step of a rollout as the planner sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The canary's share of the traffic, percent, 0 to 100.
    pub weight: f64,
    /// How long the step is held at least.
    pub hold: Duration,
}

/// Steps and test of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The steps in order.
    pub steps: Vec<Step>,
    /// The time between two checks.
    pub every: Duration,
    /// r: the tolerated ratio of bad shares, above 0.
    pub tolerance: f64,
    /// The bad share that is nobody's concern, whatever production's, 0 to 1.
    pub at_least: Option<f64>,
    /// alpha: the probability of a false alarm, between 0 and 1; of a metric that shares it with others, its part.
    pub false_alarm: f64,
    /// phi: the dispersion, at least 1.
    pub dispersion: f64,
    /// C: further checks at the limit before the canary is unhealthy.
    pub confirmations: u32,
    /// What the cluster adds to the steps.
    pub pace: Pace,
}

/// The traffic that a policy is asked about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// L: requests per second to both versions together.
    pub requests_per_second: f64,
    /// `p_p`: production's bad share, 0 to 1.
    pub production_bad: f64,
}

/// Why there is nothing to plan.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PlannerError {
    /// No steps, or a weight that is no percentage.
    #[error("a policy has steps, and their weights are 0 to 100 percent")]
    Steps,
    /// No time between checks.
    #[error("checks need time between them")]
    Every,
    /// Tolerance, `atLeast`, false alarm or dispersion out of range.
    #[error("tolerance is above 0, the false alarm between 0 and 1, dispersion at least 1, atLeast 0 to 1")]
    Test,
    /// Traffic that is no number, below 0, or a share that is none.
    #[error("traffic is at least 0 requests per second, and bad shares are 0 to 1")]
    Traffic,
}

impl PlannerError {
    /// A word for metrics and events; there are as many as variants.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Steps => "plan-steps",
            Self::Every => "plan-every",
            Self::Test => "plan-test",
            Self::Traffic => "plan-traffic",
        }
    }
}

impl Policy {
    /// The check at which a canary of bad share `canary_bad` (0 to 1) is expected to be unhealthy, as time since the
    /// first step began; none when the steps end before that.
    pub fn time_to_detect(
        &self,
        traffic: Traffic,
        canary_bad: f64,
    ) -> Result<Option<Duration>, PlannerError> {
        self.proper()?;
        traffic.proper(canary_bad)?;
        Ok(self.walk(traffic, canary_bad))
    }

    /// The smallest bad share of the canary that is expected to be noticed within `within` of the first step's start;
    /// none when even a canary that fails every request is not.
    pub fn smallest_seen(&self, traffic: Traffic, within: Duration) -> Result<Option<f64>, PlannerError> {
        self.proper()?;
        traffic.proper(1.0)?;
        let seen = |bad| self.walk(traffic, bad).is_some_and(|time| time <= within);
        if !seen(1.0) {
            return Ok(None);
        }
        let (mut unseen, mut smallest) = (self.tolerated(traffic), 1.0);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(unseen, smallest);
            if seen(middle) {
                smallest = middle;
            } else {
                unseen = middle;
            }
        }
        Ok(Some(smallest))
    }

    /// Requests per second from which a canary of bad share `canary_bad` is expected to be noticed within `within`;
    /// none when no traffic suffices, as within tolerance.
    pub fn least_traffic(
        &self,
        production_bad: f64,
        canary_bad: f64,
        within: Duration,
    ) -> Result<Option<f64>, PlannerError> {
        self.proper()?;
        let traffic = |requests_per_second| Traffic {
            requests_per_second,
            production_bad,
        };
        traffic(1.0).proper(canary_bad)?;
        let seen = |log: f64| {
            let time = self.walk(traffic(log.exp()), canary_bad);
            time.is_some_and(|time| time <= within)
        };
        let (mut unseen, mut least) = (LEAST_LOAD.ln(), MOST_LOAD.ln());
        if !seen(least) {
            return Ok(None);
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(unseen, least);
            if seen(middle) {
                least = middle;
            } else {
                unseen = middle;
            }
        }
        Ok(Some(least.exp()))
    }

    /// g: the log evidence that a canary of bad share `canary_bad` is expected to gather per second at `weight` percent;
    /// 0 within tolerance.
    pub fn evidence_rate(&self, traffic: Traffic, weight: f64, canary_bad: f64) -> Result<f64, PlannerError> {
        self.proper()?;
        traffic.proper(canary_bad)?;
        if !(0.0..=100.0).contains(&weight) {
            return Err(PlannerError::Steps);
        }
        Ok(self.rate(traffic, weight / 100.0, canary_bad))
    }

    pub(super) fn rate(&self, traffic: Traffic, share: f64, canary_bad: f64) -> f64 {
        let counts = |share: f64, bad: f64| {
            let requests = traffic.requests_per_second * share;
            Counts {
                requests,
                bad: requests * bad,
            }
        };
        let second = Stratum {
            canary: counts(share, canary_bad),
            production: counts(1.0 - share, traffic.production_bad),
        };
        expected(&second, self.tolerance, self.at_least, self.dispersion)
    }

    fn walk(&self, traffic: Traffic, canary_bad: f64) -> Option<Duration> {
        let needed = self.needed();
        let (mut gathered, mut start) = (0.0, 0.0);
        for step in &self.steps {
            let kept = self.kept(step, traffic);
            let rate = self.rate(traffic, step.weight / 100.0, canary_bad);
            if gathered + rate * kept.counted >= needed {
                let crossing = self.look(kept.first, (needed - gathered) / rate).min(kept.lasts);
                // Nothing is raised while a crossing waits to be confirmed.
                let confirmed = crossing + f64::from(self.confirmations) * self.grain();
                return Duration::try_from_secs_f64(start + confirmed).ok();
            }
            gathered += rate * kept.counted;
            start += kept.lasts;
        }
        None
    }

    /// The largest bad share of a canary that is within bounds, 0 to 1.
    #[must_use]
    pub fn tolerated(&self, traffic: Traffic) -> f64 {
        let ratio = self.tolerance * traffic.production_bad;
        ratio.max(self.at_least.unwrap_or(0.0)).min(1.0)
    }

    /// The log evidence that is expected to be enough.
    #[must_use]
    pub fn needed(&self) -> f64 {
        MIXTURE_COST - self.false_alarm.ln()
    }

    fn proper(&self) -> Result<(), PlannerError> {
        let percentages = self.steps.iter().all(|s| (0.0..=100.0).contains(&s.weight));
        if self.steps.is_empty() || !percentages {
            return Err(PlannerError::Steps);
        }
        if self.every.is_zero() {
            return Err(PlannerError::Every);
        }
        let tolerance = self.tolerance > 0.0 && self.tolerance.is_finite();
        let alpha = self.false_alarm > 0.0 && self.false_alarm < 1.0;
        let phi = self.dispersion >= 1.0 && self.dispersion.is_finite();
        let share = self.at_least.is_none_or(|share| (0.0..=1.0).contains(&share));
        if tolerance && alpha && phi && share {
            Ok(())
        } else {
            Err(PlannerError::Test)
        }
    }
}

impl Traffic {
    fn proper(self, canary_bad: f64) -> Result<(), PlannerError> {
        let rate = self.requests_per_second >= 0.0 && self.requests_per_second.is_finite();
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if rate && share(self.production_bad) && share(canary_bad) {
            Ok(())
        } else {
            Err(PlannerError::Traffic)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let step = |weight| Step {
            weight,
            hold: Duration::from_mins(5),
        };
        Policy {
            steps: [5.0, 10.0, 20.0, 50.0].map(step).into(),
            every: Duration::from_secs(15),
            tolerance: 1.5,
            at_least: None,
            false_alarm: 0.01,
            dispersion: 1.0,
            confirmations: 0,
            pace: Pace::default(),
        }
    }

    const fn traffic(requests_per_second: f64, production_bad: f64) -> Traffic {
        Traffic {
            requests_per_second,
            production_bad,
        }
    }

    fn seconds(policy: &Policy, traffic: Traffic, bad: f64) -> Option<u64> {
        policy.time_to_detect(traffic, bad).unwrap().map(|t| t.as_secs())
    }

    #[test]
    fn within_tolerance_nothing_is_ever_seen() {
        for bad in [0.0, 0.001, 0.0015] {
            assert_eq!(seconds(&policy(), traffic(1e6, 0.001), bad), None, "{bad}");
        }
        assert_eq!(seconds(&policy(), traffic(1e6, 0.0), 0.0), None);
        assert_eq!(seconds(&policy(), traffic(0.0, 0.001), 1.0), None);
    }

    #[test]
    fn production_without_bad_requests_makes_every_fault_visible_sooner() {
        let clean = seconds(&policy(), traffic(10.0, 0.0), 0.02).unwrap();
        let usual = seconds(&policy(), traffic(10.0, 0.001), 0.02).unwrap();
        assert!(clean < usual, "{clean} {usual}");
    }

    #[test]
    fn at_full_weight_the_test_is_blind() {
        let alone = Policy {
            steps: vec![Step {
                weight: 100.0,
                hold: Duration::from_hours(1),
            }],
            ..policy()
        };
        assert_eq!(seconds(&alone, traffic(1e6, 0.001), 1.0), None);
    }

    #[test]
    fn confirmations_add_checks_and_dispersion_divides_evidence() {
        let usual = seconds(&policy(), traffic(100.0, 0.001), 0.02);
        let confirmed = Policy {
            confirmations: 2,
            ..policy()
        };
        assert_eq!(
            seconds(&confirmed, traffic(100.0, 0.001), 0.02),
            usual.map(|s| s + 30)
        );
        let clumped = Policy {
            dispersion: 4.0,
            ..policy()
        };
        assert_eq!(seconds(&clumped, traffic(400.0, 0.001), 0.02), usual);
        // The last step is held until it is confirmed.
        let late = Policy {
            confirmations: 80,
            ..policy()
        };
        assert_eq!(seconds(&late, traffic(1e6, 0.001), 1.0), Some(81 * 15));
    }

    #[test]
    fn a_share_that_is_nobodys_concern_and_a_shared_budget_take_longer() {
        let usual = seconds(&policy(), traffic(100.0, 0.001), 0.02).unwrap();
        let careless = |share| Policy {
            at_least: Some(share),
            ..policy()
        };
        assert_eq!(seconds(&careless(1e-4), traffic(100.0, 0.001), 0.02), Some(usual));
        assert!(seconds(&careless(0.015), traffic(100.0, 0.001), 0.02).is_none_or(|s| s > usual));
        assert_eq!(seconds(&careless(0.02), traffic(1e6, 0.001), 0.02), None);
        assert_eq!(
            careless(0.02).tolerated(traffic(1.0, 0.001)).to_bits(),
            0.02_f64.to_bits()
        );
        let edge = careless(0.02).smallest_seen(traffic(1e5, 0.001), Duration::from_mins(20));
        assert!((0.02..0.03).contains(&edge.unwrap().unwrap()), "{edge:?}");
        let shared = Policy {
            false_alarm: 0.01 / 20.0,
            ..policy()
        };
        assert!(
            seconds(&shared, traffic(10.0, 0.001), 0.02).unwrap()
                > seconds(&policy(), traffic(10.0, 0.001), 0.02).unwrap()
        );
    }

    #[test]
    fn holds_need_not_be_multiples_of_the_interval() {
        let odd = Policy {
            steps: vec![
                Step {
                    weight: 5.0,
                    hold: Duration::from_secs(7),
                },
                Step {
                    weight: 50.0,
                    hold: Duration::from_secs(40),
                },
            ],
            ..policy()
        };
        assert_eq!(seconds(&odd, traffic(1e4, 0.001), 0.5), Some(7));
        let slow = odd
            .least_traffic(0.001, 0.5, Duration::from_hours(1))
            .unwrap()
            .unwrap();
        assert_eq!(seconds(&odd, traffic(slow * 1.000_001, 0.001), 0.5), Some(47));
        assert_eq!(seconds(&odd, traffic(slow * 0.999_999, 0.001), 0.5), None);
    }

    #[test]
    fn the_smallest_fault_seen_is_the_edge_of_what_is_seen_in_time() {
        for rps in [1.0, 10.0, 100.0, 1000.0] {
            for minutes in [1, 5, 20] {
                let within = Duration::from_mins(minutes);
                let Some(edge) = policy().smallest_seen(traffic(rps, 0.001), within).unwrap() else {
                    assert!(seconds(&policy(), traffic(rps, 0.001), 1.0).is_none_or(|s| s > minutes * 60));
                    continue;
                };
                let at =
                    |bad| seconds(&policy(), traffic(rps, 0.001), bad).is_some_and(|s| s <= minutes * 60);
                assert!(at(edge) && !at(edge * 0.999), "{rps} {minutes} {edge}");
            }
        }
    }

    #[test]
    fn what_is_no_policy_or_traffic_is_refused_by_name() {
        let refused =
            |policy: Policy, traffic, bad| policy.time_to_detect(traffic, bad).unwrap_err().category();
        let fine = traffic(1.0, 0.001);
        assert_eq!(
            refused(
                Policy {
                    steps: vec![],
                    ..policy()
                },
                fine,
                0.1
            ),
            "plan-steps"
        );
        assert_eq!(
            refused(
                Policy {
                    every: Duration::ZERO,
                    ..policy()
                },
                fine,
                0.1
            ),
            "plan-every"
        );
        assert_eq!(
            refused(
                Policy {
                    tolerance: f64::NAN,
                    ..policy()
                },
                fine,
                0.1
            ),
            "plan-test"
        );
        for (rps, production, bad) in [
            (f64::NAN, 0.1, 0.1),
            (-1.0, 0.1, 0.1),
            (1.0, 1.1, 0.1),
            (1.0, 0.1, f64::NAN),
        ] {
            assert_eq!(refused(policy(), traffic(rps, production), bad), "plan-traffic");
        }
        assert!(policy().evidence_rate(fine, f64::NAN, 0.1).is_err());
    }
}
