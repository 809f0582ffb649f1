//! One rollout: traffic drawn check by check, counted and judged as in production, until it is rolled back or its steps
//! end. What is counted when, and when a step may be passed, is what `core::counting` and `core::progress` do.

use rand::{RngExt as _, rngs::StdRng};
use rand_distr::{Distribution as _, Poisson};

use crate::core::sequential::counts::{Counts, Stratum};
use crate::core::sequential::expected::expected;
use crate::core::sequential::planner::{Policy, Step, Traffic};

use super::world::{Setup, SetupError};
use super::{Alarm, Evidence};

/// A rollout that takes so many times as long as expected is given up: it waits for what will not come.
const PATIENCE: f64 = 10.0;

/// How one rollout went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// When it was rolled back: seconds since the first step began, and the step, from 0. None: its steps ended.
    pub found: Option<(f64, usize)>,
    /// Bad requests that the canary answered until then.
    pub errors: f64,
    /// Neither rolled back nor at its end: it still waited for requests.
    pub given_up: bool,
}

/// When things happen in one rollout, seconds. Where scrapes and the grid of instants lie is chance.
struct Clock {
    scrape: f64,
    every: f64,
    propagation: f64,
    /// Where the grid of judged instants begins.
    grid: f64,
    /// When canary and production are first scraped.
    phases: [f64; 2],
}

/// The versions in the order of [`Clock::phases`].
const CANARY: usize = 0;
const PRODUCTION: usize = 1;

impl Clock {
    fn draw(policy: &Policy, rng: &mut StdRng) -> Self {
        let scrape = policy.pace.scrape.as_secs_f64();
        let every = policy.every.as_secs_f64();
        let mut clock = Self {
            scrape,
            every,
            propagation: policy.pace.propagation.as_secs_f64(),
            grid: 0.0,
            phases: [0.0; 2],
        };
        if !clock.is_ideal() {
            clock.grid = rng.random_range(0.0..every);
            clock.phases = [rng.random_range(0.0..scrape), rng.random_range(0.0..scrape)];
            if policy.confirmations == 0 {
                // One exporter sees both.
                clock.phases[PRODUCTION] = clock.phases[CANARY];
            }
        }
        clock
    }

    /// Counters are read at the instant of the check.
    fn is_ideal(&self) -> bool {
        self.scrape <= 0.0
    }

    /// The instant that a check judges: a scrape ago, on the grid.
    fn judged(&self, now: f64) -> f64 {
        if self.is_ideal() {
            return now;
        }
        let settled = now - self.scrape - self.grid;
        (settled / self.every + 1e-9).floor() * self.every + self.grid
    }

    /// Up to where what a version did until `at` was scraped.
    fn scraped(&self, version: usize, at: f64) -> f64 {
        let Some(phase) = self.phases.get(version).filter(|_| !self.is_ideal()) else {
            return at;
        };
        ((at - phase) / self.scrape).floor() * self.scrape + phase
    }

    /// From where a version is counted in a step that is known everywhere since `settled`: its first scrape.
    fn begins(&self, version: usize, settled: f64) -> f64 {
        let last = self.scraped(version, settled);
        if last < settled {
            last + self.scrape
        } else {
            settled
        }
    }
}

/// A step that is under way.
struct Under<'a> {
    step: &'a Step,
    begin: f64,
    /// The last judged instant; none before the first.
    judged: Option<f64>,
    /// Up to where each version was counted.
    until: [f64; 2],
    /// What was counted in it.
    seen: Stratum,
    /// For how long the canary was counted.
    counted: f64,
}

impl<'a> Under<'a> {
    fn new(step: &'a Step, begin: f64, clock: &Clock) -> Self {
        let settled = begin + clock.propagation;
        Self {
            step,
            begin,
            judged: None,
            until: [CANARY, PRODUCTION].map(|version| clock.begins(version, settled)),
            seen: Stratum::default(),
            counted: 0.0,
        }
    }

    fn share(&self) -> f64 {
        self.step.weight / 100.0
    }

    /// For how long each version was newly counted by a check at `now`; none where it does not count yet.
    fn look(&mut self, clock: &Clock, now: f64) -> Option<[f64; 2]> {
        let at = clock.judged(now);
        let from = match self.judged {
            Some(judged) => judged + clock.scrape,
            None => self.begin + clock.propagation + 2.0 * clock.scrape,
        };
        if at + 1e-9 < from {
            return None;
        }
        self.judged = Some(at);
        let mut seconds = [0.0; 2];
        for (version, seconds) in seconds.iter_mut().enumerate() {
            let until = clock.scraped(version, at).max(self.until[version]);
            *seconds = until - self.until[version];
            self.until[version] = until;
        }
        self.counted += seconds[CANARY];
        Some(seconds)
    }

    /// Whether what was seen of the step is enough to go on.
    fn has_seen_enough(&self, policy: &Policy, traffic: Traffic) -> bool {
        let alone = self.step.weight >= 100.0;
        let Stratum { canary, production } = self.seen;
        let compared =
            alone || policy.pace.scrape.is_zero() || canary.requests.min(production.requests) > 0.0;
        self.judged.is_some() && compared && (alone || !self.lacks(policy, traffic))
    }

    /// With `advance: evidence`: too few requests to have shown the fault.
    fn lacks(&self, policy: &Policy, traffic: Traffic) -> bool {
        let beyond = |fault: &f64| *fault > policy.tolerated(traffic);
        let Some(fault) = policy.pace.fault.filter(beyond) else {
            return false;
        };
        let canary = Counts {
            bad: self.seen.canary.requests * fault,
            ..self.seen.canary
        };
        let seen = Stratum { canary, ..self.seen };
        expected(&seen, policy.tolerance, policy.at_least, policy.dispersion) < policy.needed()
    }
}

/// One rollout of a canary with this bad share; `see` is given time and log evidence after each check that counts.
pub(super) fn rollout(
    setup: &Setup,
    canary_bad: f64,
    rng: &mut StdRng,
    mut see: impl FnMut(f64, f64),
) -> Result<Outcome, SetupError> {
    let (policy, traffic) = (setup.policy(), setup.traffic());
    let clock = Clock::draw(policy, rng);
    let patience = policy.length(traffic).as_secs_f64() * PATIENCE + 3600.0;
    let (mut evidence, mut alarm) = (Evidence::default(), Alarm::default());
    let (mut log, mut errors, mut begin) = (0.0, 0.0, 0.0);
    for (index, step) in policy.steps.iter().enumerate() {
        let mut under = Under::new(step, begin, &clock);
        let rates = [under.share(), 1.0 - under.share()].map(|share| traffic.requests_per_second * share);
        for check in checks(policy, step) {
            let now = begin + check;
            if let Some(seconds) = under.look(&clock, now) {
                let stratum = Stratum {
                    canary: counts(rates[CANARY] * seconds[CANARY], canary_bad, rng),
                    production: counts(
                        rates[PRODUCTION] * seconds[PRODUCTION],
                        traffic.production_bad,
                        rng,
                    ),
                };
                errors += stratum.canary.bad;
                under.seen.canary = under.seen.canary.plus(stratum.canary);
                under.seen.production = under.seen.production.plus(stratum.production);
                let told = evidence.add(setup.design(), index, &[stratum])?;
                if told {
                    log = evidence.log(setup.design())?;
                }
                see(now, log);
                if alarm.note(log, told, setup.design().log_limit(), policy.confirmations) {
                    errors += uncounted(&under, check, rates[CANARY] * canary_bad, rng);
                    return Ok(Outcome {
                        found: Some((now, index)),
                        errors,
                        given_up: false,
                    });
                }
            }
            let held = check + 1e-9 >= hold(policy, step);
            // Nothing is raised while a crossing waits to be confirmed.
            if held && alarm.streak == 0 && under.has_seen_enough(policy, traffic) {
                errors += uncounted(&under, check, rates[CANARY] * canary_bad, rng);
                begin = now;
                break;
            }
            if now > patience {
                return Ok(Outcome {
                    found: None,
                    errors,
                    given_up: true,
                });
            }
        }
    }
    Ok(Outcome {
        found: None,
        errors,
        given_up: false,
    })
}

fn hold(policy: &Policy, step: &Step) -> f64 {
    step.hold.max(policy.pace.least_hold).as_secs_f64()
}

/// The checks of a step, seconds since it began: one each interval, one at the end of the hold, and so on from there.
fn checks(policy: &Policy, step: &Step) -> impl Iterator<Item = f64> {
    let (every, hold) = (policy.every.as_secs_f64(), hold(policy, step));
    let mut last = 0.0;
    std::iter::from_fn(move || {
        // What rounding leaves of a hold is no interval.
        let ends = last < hold && hold - last - every <= 1e-9 * hold;
        last = if ends { hold } else { last + every };
        Some(last)
    })
}

/// Bad requests of the canary in `lasted` seconds of a step that no check counted.
fn uncounted(under: &Under<'_>, lasted: f64, bad_per_second: f64, rng: &mut StdRng) -> f64 {
    let seconds = lasted - under.counted;
    // What rounding leaves is no time.
    if seconds > 1e-6 {
        poisson(seconds * bad_per_second, rng)
    } else {
        0.0
    }
}

/// Requests of one version, of which `share` are bad: two independent Poisson counts, which is what a random split and
/// independent failures make of Poisson traffic.
fn counts(requests: f64, share: f64, rng: &mut StdRng) -> Counts {
    let bad = poisson(requests * share, rng);
    let good = poisson(requests * (1.0 - share), rng);
    Counts {
        requests: good + bad,
        bad,
    }
}

fn poisson(mean: f64, rng: &mut StdRng) -> f64 {
    // A mean of 0 has no distribution in the crate, and means nothing happens.
    Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(rng))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng as _;

    use super::*;
    use crate::core::sequential::pace::Pace;
    use crate::core::sequential::planner::Traffic;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const USUAL: Pace = Pace {
        scrape: secs(15),
        propagation: secs(5),
        least_hold: secs(15),
        fault: None,
    };

    fn setup(rps: f64, every: u64, steps: &[(f64, u64)], pace: Pace) -> Setup {
        let steps = steps.iter().map(|(weight, hold)| Step {
            weight: *weight,
            hold: secs(*hold),
        });
        let policy = Policy {
            steps: steps.collect(),
            every: secs(every),
            tolerance: 1.5,
            at_least: None,
            false_alarm: 0.01,
            dispersion: 1.0,
            confirmations: 0,
            pace,
        };
        let traffic = Traffic {
            requests_per_second: rps,
            production_bad: 0.001,
        };
        Setup::new(policy, traffic).unwrap()
    }

    /// The times of a rollout's looks.
    fn looks(setup: &Setup, canary_bad: f64, seed: u64) -> Vec<f64> {
        let trace = setup.trace(canary_bad, seed, 0).unwrap();
        trace.into_iter().skip(1).map(|(time, _)| time).collect()
    }

    #[test]
    fn intervals_are_cut_where_the_weight_changes_and_cover_the_rollout() {
        let setup = setup(100.0, 15, &[(5.0, 40), (10.0, 30), (20.0, 7)], Pace::default());
        assert_eq!(looks(&setup, 0.0, 1), [15.0, 30.0, 40.0, 55.0, 70.0, 77.0]);
    }

    /// The targets of the analysis, which has no cluster in it: 100 % of 2 % bad canaries at 100 requests/s after 60 s, and of
    /// 20 % bad ones after 15 s.
    #[test]
    fn without_a_cluster_what_is_found_is_what_the_analysis_promises() {
        let steps = [(5.0, 300), (10.0, 300), (20.0, 300), (50.0, 300)];
        let setup = setup(100.0, 15, &steps, Pace::default());
        for (bad, seconds) in [(0.005, 450.0), (0.02, 60.0), (0.2, 15.0)] {
            let found = setup.rollouts(bad, 300, 1, 0).unwrap();
            let mut times: Vec<f64> = found.iter().filter_map(|o| Some(o.found?.0)).collect();
            times.sort_by(f64::total_cmp);
            assert_eq!(times.len(), 300);
            let median = times.get(150).unwrap();
            assert!((median - seconds).abs() <= 15.0, "{bad}: {median}");
        }
    }

    #[test]
    fn in_a_cluster_a_step_is_kept_until_it_was_scraped_twice() {
        let mut ends = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let looks = looks(&setup(100.0, 10, &[(1.0, 5), (2.0, 5)], USUAL), 0.0, seed);
            assert_eq!(looks.len(), 2, "one look a step");
            ends.extend(looks.into_iter().map(|time| format!("{time}")));
        }
        // Checks at 10, 15, 25, … s: those at 55 or 65 judge an instant 35 s after the change.
        let possible = ["110", "120", "130", "55", "65"];
        assert!(
            ends.iter().all(|end| possible.contains(&end.as_str())),
            "{ends:?}"
        );
        assert!(ends.contains("55") && ends.contains("65"), "{ends:?}");
        // Windows shorter than a scrape wait: of every 10 s every other check counts.
        let long = looks(&setup(100.0, 10, &[(5.0, 120)], USUAL), 0.0, 1);
        assert_eq!(long, [60.0, 80.0, 100.0, 120.0]);
    }

    #[test]
    fn what_is_counted_is_what_is_foretold_on_average() {
        for (hold, every) in [(5, 10), (60, 15), (300, 15), (52, 10), (300, 60)] {
            let setup = setup(1000.0, every, &[(50.0, hold)], USUAL);
            let (step, policy) = (setup.policy().steps.first().unwrap(), setup.policy());
            let (mut counted, mut lasted) = (0.0, 0.0);
            for seed in 0..1000 {
                let clock = Clock::draw(policy, &mut StdRng::seed_from_u64(seed));
                let mut under = Under::new(step, 0.0, &clock);
                under.seen.canary.requests = 1.0;
                under.seen.production.requests = 1.0;
                let last = checks(policy, step).find(|check| {
                    under.look(&clock, *check);
                    *check >= super::hold(policy, step) && under.has_seen_enough(policy, setup.traffic())
                });
                lasted += last.unwrap() / 1000.0;
                counted += under.counted / 1000.0;
            }
            let kept = policy.kept(step, setup.traffic());
            assert!((lasted - kept.lasts).abs() < 1.5, "{hold}: {lasted} {kept:?}");
            assert!((counted - kept.counted).abs() < 1.5, "{hold}: {counted} {kept:?}");
        }
    }

    #[test]
    fn what_is_not_counted_meets_people_all_the_same() {
        let setup = setup(100.0, 15, &[(50.0, 300)], USUAL);
        let outcomes = setup.rollouts(0.001, 200, 1, 0).unwrap();
        let mean = outcomes.iter().map(|o| o.errors).sum::<f64>() / 200.0;
        assert!((mean - 15.0).abs() < 4.0 * (15.0_f64 / 200.0).sqrt(), "{mean}");
    }

    #[test]
    fn a_step_waits_for_requests_and_for_the_fault_to_show() {
        let rare = setup(0.5, 10, &[(1.0, 5), (2.0, 5)], USUAL);
        let ends = |setup: &Setup| {
            let mut all = (0..50).map(|seed| *looks(setup, 0.0, seed).last().unwrap());
            all.by_ref().sum::<f64>() / 50.0
        };
        assert!(ends(&rare) > 240.0, "{}", ends(&rare));
        let patient = Pace {
            fault: Some(0.02),
            ..USUAL
        };
        let steps = [(5.0, 60), (50.0, 60)];
        let (quick, patient) = (setup(100.0, 15, &steps, USUAL), setup(100.0, 15, &steps, patient));
        let foretold = patient.policy().length(patient.traffic()).as_secs_f64();
        let found = ends(&patient);
        assert!(found > ends(&quick), "{found}");
        assert!((found / foretold - 1.0).abs() < 0.2, "{found} {foretold}");
    }

    #[test]
    fn nothing_is_raised_while_a_crossing_waits_to_be_confirmed() {
        let mut setup = setup(1000.0, 15, &[(5.0, 60), (10.0, 60)], USUAL);
        let late = Policy {
            confirmations: 2,
            ..setup.policy().clone()
        };
        setup = Setup::new(late, setup.traffic()).unwrap();
        for outcome in setup.rollouts(0.5, 20, 1, 0).unwrap() {
            let (time, step) = outcome.found.unwrap();
            assert!((90.0..=105.0).contains(&time) && step == 0, "{time} {step}");
        }
    }

    #[test]
    fn without_traffic_a_rollout_comes_to_an_end() {
        let idle = setup(0.0, 10, &[(1.0, 5), (2.0, 5)], USUAL);
        let outcomes = idle.rollouts(0.5, 3, 1, 0).unwrap();
        let waits = |o: &Outcome| o.found.is_none() && o.given_up && o.errors < 1.0;
        assert!(outcomes.iter().all(waits));
        let busy = setup(1000.0, 10, &[(1.0, 5), (2.0, 5)], USUAL);
        let outcomes = busy.rollouts(0.001, 3, 1, 0).unwrap();
        assert!(outcomes.iter().all(|o| !o.given_up));
    }
}
