//! One rollout in the past: what it is tried on, and how it went.

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::history::History;
use super::policy::Policy;

/// Who plays the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Each of production's requests with the probability of the weight.
    Share,
    /// One of production's pods picked at random, and as many more as the weight needs; where one exporter sees all pods
    /// alike, or there is one pod only, as [`Canary::Share`].
    Pod,
}

/// A rollout to replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Its number, from 0: the same number has the same start and the same dice.
    pub number: u32,
    /// When the canary is deployed, milliseconds since 1970.
    pub start: i64,
    /// The part of the canary's good requests that are turned bad, 0 to 1.
    pub fault: f64,
    /// Who plays it.
    pub canary: Canary,
    /// Where random numbers begin.
    pub seed: u64,
}

/// Where the random numbers of one kind of counters begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chance {
    /// Those that say which request is the canary's.
    pub(super) split: u64,
    /// Those that say which good one turns bad.
    pub(super) spoil: u64,
}

impl Trial {
    pub(super) fn chance(&self, counters: usize) -> Chance {
        let counters = u64::try_from(counters).unwrap_or_default();
        let split = mix(mix(mix(self.seed) ^ u64::from(self.number)) ^ counters);
        Chance {
            split,
            spoil: mix(split ^ self.fault.to_bits()),
        }
    }
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The canary got all traffic for its whole time, or as much as `maxWeight` allows.
    Passed,
    /// A metric found it unhealthy: rolled back, or frozen.
    Caught,
    /// It was ended because nothing was known of it, or never came to an end for that.
    Blind,
    /// The history ended first.
    Unfinished,
}

/// How a rollout went.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// When: seconds since the canary got its first traffic; 0 where it got none.
    pub seconds: f64,
    /// The step at that time, from 0.
    pub step: usize,
    /// The metric that ended it.
    pub metric: Option<String>,
    /// What the operator said of the end.
    pub message: String,
    /// For how long nothing was known while it had to be, seconds.
    pub blind: f64,
    /// Bad requests that the canary answered.
    pub errors: f64,
    /// All requests that it answered.
    pub requests: f64,
    /// The largest evidence against it, as a natural logarithm; 0 where none is gathered.
    pub peak: f64,
    /// What the evidence of its first counted metric was divided by, 1 or more; none where nothing was counted.
    pub dispersion: Option<f64>,
    /// How many checks were made.
    pub checks: u32,
}

/// Starts within a history, drawn from a seed, for policies of which the longest takes `longest` milliseconds. Empty where the
/// history is too short.
#[must_use]
pub fn starts(history: &History, longest: i64, count: u32, seed: u64) -> Vec<i64> {
    let (from, last) = (
        history.from.as_millisecond(),
        history.until.as_millisecond().saturating_sub(longest),
    );
    // Production is counted for ten minutes before, or as long as there is.
    let before = 600_000 + 5 * history.scrape.signed().as_millis_i64();
    let first = from + before.min((last - from) / 2);
    if last <= first {
        return Vec::new();
    }
    let mut rng = StdRng::seed_from_u64(mix(seed));
    (0..count).map(|_| rng.random_range(first..=last)).collect()
}

/// How long a policy's rollout may take where nothing holds it up, with room for what the mesh needs, milliseconds.
#[must_use]
pub fn longest(policy: &Policy, history: &History) -> i64 {
    let steps = i64::try_from(policy.plan.steps.len()).unwrap_or(i64::MAX);
    let scrape = history.scrape.signed().as_millis_i64();
    // A check more at the end of each step, two scrapes until the first of it counts, and some seconds for weights to spread.
    let a_step = 4 * scrape + 30_000;
    policy
        .length()
        .signed()
        .as_millis_i64()
        .saturating_add(steps.saturating_mul(a_step))
        .saturating_add(120_000)
}

/// Milliseconds, as far as they go.
pub(super) trait Millis {
    /// The same in milliseconds.
    fn as_millis_i64(&self) -> i64;
}

impl Millis for jiff::SignedDuration {
    fn as_millis_i64(&self) -> i64 {
        i64::try_from(self.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The instant of so many milliseconds since 1970; the epoch where there is none.
pub(super) fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// Spreads neighbouring numbers over all bits (the finaliser of `SplitMix64`).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
