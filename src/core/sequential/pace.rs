//! How a step goes in a cluster: how long the operator keeps it, and how much of that is counted. A manifest's hold is the
//! least of it: nothing is counted while a weight spreads, nor before each target was scraped twice, and what the last
//! scrape did not show is lost to the next step. `core::counting` keeps these rules; here they are foretold, on average.

use std::time::Duration;

use super::planner::{Policy, Step, Traffic};

/// What a cluster adds to a policy. Nothing by default, without scrapes: each check counts everything up to its own instant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// The time between two scrapes.
    pub scrape: Duration,
    /// How long a change of weight takes to be known everywhere; what happens until then is not counted.
    pub propagation: Duration,
    /// No step is kept shorter than this.
    pub least_hold: Duration,
    /// With `advance: evidence` the bad share of a canary, 0 to 1, that each step waits to have been able to show.
    pub fault: Option<f64>,
}

/// A step as it is kept, in seconds since its weight was confirmed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// The first check that counts anything.
    pub first: f64,
    /// The check that ends it.
    pub lasts: f64,
    /// How much of it is counted by then.
    pub counted: f64,
}

impl Policy {
    /// A step as it is expected to be kept under this traffic: means, since the grid of judged instants lies anywhere. Without
    /// traffic it would never end; then it is as if requests were not waited for.
    #[must_use]
    pub fn kept(&self, step: &Step, traffic: Traffic) -> Kept {
        let hold = step.hold.max(self.pace.least_hold).as_secs_f64();
        let (grain, every) = (self.grain(), self.every.as_secs_f64());
        let scrape = self.pace.scrape.as_secs_f64();
        if scrape <= 0.0 {
            return Kept {
                first: every.min(hold),
                lasts: hold,
                counted: hold,
            };
        }
        // Two scrapes after the change and one before the check; the grid and the checks cost half an interval each.
        let first = self.uncounted() + scrape + every / 2.0;
        let waits = self.look(first, self.waits(step.weight / 100.0, traffic));
        let lasts = waits.max(hold);
        let last = if grain > every {
            first + ((lasts - first) / grain + 1e-9).floor() * grain
        } else {
            lasts
        };
        Kept {
            first,
            lasts,
            counted: last - self.uncounted(),
        }
    }

    /// How long all steps together are expected to be kept under this traffic.
    #[must_use]
    pub fn length(&self, traffic: Traffic) -> Duration {
        let lasts = |step: &Step| self.kept(step, traffic).lasts;
        Duration::try_from_secs_f64(self.steps.iter().map(lasts).sum()).unwrap_or(Duration::MAX)
    }

    /// The check of a step by which `seconds` of it are counted, if it lasts that long.
    pub(super) fn look(&self, first: f64, seconds: f64) -> f64 {
        let beyond = self.uncounted() + seconds - first;
        // A crossing on a check is that check's, whatever rounding says.
        first + (beyond / self.grain() - 1e-9).ceil().max(0.0) * self.grain()
    }

    /// Seconds between two checks that count: a window is not taken in before every target was scraped in it.
    pub(super) fn grain(&self) -> f64 {
        let (every, scrape) = (self.every.as_secs_f64(), self.pace.scrape.as_secs_f64());
        (scrape / every - 1e-9).ceil().max(1.0) * every
    }

    /// What of a step is not counted at a check, seconds: while its weight spreads, until the first scrape and since the last
    /// (half a scrape each), a scrape in which samples arrive, and half an interval, for instants lie on a grid.
    fn uncounted(&self) -> f64 {
        if self.pace.scrape.is_zero() {
            return 0.0;
        }
        let scrapes = self.pace.scrape.as_secs_f64() * 2.0;
        self.pace.propagation.as_secs_f64() + scrapes + self.every.as_secs_f64() / 2.0
    }

    /// How many seconds have to be counted before a step at this share of the traffic may be passed: until both versions had a
    /// request, and with `advance: evidence` until the fault could have shown.
    fn waits(&self, share: f64, traffic: Traffic) -> f64 {
        let rarer = traffic.requests_per_second * share.min(1.0 - share);
        if self.pace.scrape.is_zero() || rarer <= 0.0 {
            return 0.0;
        }
        let shown = self.pace.fault.map_or(0.0, |fault| {
            let rate = self.rate(traffic, share, fault);
            if rate > 0.0 { self.needed() / rate } else { 0.0 }
        });
        shown.max(1.0 / rarer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn policy(weight: f64, hold: u64, every: u64, pace: Pace) -> Policy {
        Policy {
            steps: vec![Step {
                weight,
                hold: secs(hold),
            }],
            every: secs(every),
            tolerance: 1.5,
            at_least: None,
            false_alarm: 0.01,
            dispersion: 1.0,
            confirmations: 0,
            pace,
        }
    }

    const fn traffic(requests_per_second: f64) -> Traffic {
        Traffic {
            requests_per_second,
            production_bad: 0.001,
        }
    }

    const USUAL: Pace = Pace {
        scrape: secs(15),
        propagation: secs(5),
        least_hold: secs(15),
        fault: None,
    };

    fn kept(policy: &Policy, rps: f64) -> (f64, f64, f64) {
        let kept = policy.kept(policy.steps.first().unwrap(), traffic(rps));
        (kept.first, kept.lasts, kept.counted)
    }

    #[test]
    fn without_a_cluster_a_step_is_its_hold_and_all_of_it_counts() {
        assert_eq!(
            kept(&policy(5.0, 300, 15, Pace::default()), 1.0),
            (15.0, 300.0, 300.0)
        );
        assert_eq!(kept(&policy(5.0, 7, 15, Pace::default()), 1.0), (7.0, 7.0, 7.0));
        assert_eq!(
            kept(&policy(5.0, 40, 15, Pace::default()), 1e-9),
            (15.0, 40.0, 40.0)
        );
    }

    /// A service name alone: the judged instant is a scrape and up to 10 s old, and has to be 35 s after the change.
    #[test]
    fn five_seconds_are_a_minute_in_a_cluster_and_a_third_of_it_counts() {
        assert_eq!(kept(&policy(1.0, 5, 10, USUAL), 100.0), (60.0, 60.0, 20.0));
    }

    #[test]
    fn a_long_hold_is_kept_as_it_is_and_loses_its_ends() {
        assert_eq!(kept(&policy(5.0, 300, 15, USUAL), 100.0), (65.0, 300.0, 257.5));
        // Windows shorter than a scrape wait for the next check: of 60, 80, 100, … the last is at 300.
        assert_eq!(kept(&policy(5.0, 300, 10, USUAL), 100.0), (60.0, 300.0, 260.0));
        assert_eq!(kept(&policy(5.0, 310, 10, USUAL), 100.0), (60.0, 310.0, 260.0));
    }

    /// A check at 52 s is late enough for a fifth of all grids, and the next one at 62 s for all.
    #[test]
    fn checks_go_on_from_the_end_of_the_hold() {
        assert_eq!(kept(&policy(5.0, 52, 10, USUAL), 100.0), (60.0, 60.0, 20.0));
    }

    #[test]
    fn a_step_waits_for_requests_of_both_versions() {
        let (_, lasts, counted) = kept(&policy(1.0, 5, 10, USUAL), 0.5);
        assert!(lasts >= 240.0 && counted >= 200.0, "{lasts} {counted}");
        assert_eq!(
            kept(&policy(99.0, 5, 10, USUAL), 0.5).1.to_bits(),
            lasts.to_bits()
        );
        assert_eq!(
            kept(&policy(100.0, 5, 10, USUAL), 0.5).1.to_bits(),
            60.0_f64.to_bits()
        );
        assert_eq!(
            kept(&policy(1.0, 5, 10, USUAL), 0.0).1.to_bits(),
            60.0_f64.to_bits()
        );
    }

    #[test]
    fn with_advance_evidence_a_step_waits_until_the_fault_could_have_shown() {
        let waiting = |fault| Pace {
            fault: Some(fault),
            ..USUAL
        };
        let policy = |fault| policy(5.0, 60, 15, waiting(fault));
        let (small, large) = (policy(0.02), policy(0.5));
        assert_eq!(kept(&large, 100.0).1.to_bits(), 65.0_f64.to_bits());
        let (_, lasts, counted) = kept(&small, 100.0);
        let gathered = small.evidence_rate(traffic(100.0), 5.0, 0.02).unwrap() * counted;
        assert!(lasts > 60.0 && gathered >= small.needed(), "{lasts} {gathered}");
        assert_eq!(kept(&policy(0.001), 100.0).1.to_bits(), 65.0_f64.to_bits());
    }
}
