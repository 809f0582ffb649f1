//! From raw counter samples to requests counted since the last check, series by series (analysis, section 3).
//! `rate()` and `increase()` lose a new series' first events and extrapolate; this neither loses nor invents any: what
//! cannot be told is left out on both sides of a share, or makes the check unknown by name.
//!
//! Counters are not stored. Both ends of an interval are asked again at instants of a fixed grid, and each event belongs
//! to the sample that first shows it, so that intervals that follow each other neither overlap nor leave a gap.

mod blind;
mod grown;
mod scrapes;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use crate::core::observation::Side;

use super::counts::{CountError, Counts, MAX_COUNT, Stratum};
pub use grown::{Grown, growth};
use scrapes::{Growth, Line, Target};

/// The most samples of all series together that are read, so that a wrong query costs no memory.
pub const MAX_SAMPLES: usize = 2_000_000;

/// What a series counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counted {
    /// All requests.
    All,
    /// The part of them that the metric's [`Part`] names.
    Part,
}

/// Which part of all requests the second counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Bad ones. Their series appear with the first bad request, so none is 0 where all requests are counted.
    Bad,
    /// Good ones, or those within a histogram's bound. A version without any such series is unknown and not all bad: a
    /// misspelt selector looks the same.
    Good,
}

/// A counter's value at one scrape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was scraped, as Prometheus says.
    pub at: Timestamp,
    /// The counter.
    pub value: f64,
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which version it is about.
    pub side: Side,
    /// What it counts.
    pub counted: Counted,
    /// What was scraped: the pod or instance that keeps the counter. Its series restart together.
    pub target: String,
    /// The labels that tell this series from the target's others; the same series given twice is read once.
    pub labels: String,
    /// Samples in any order. They have to reach back [`Window::range`] from the window's end.
    pub samples: Vec<Sample>,
}

/// The interval between two checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    previous: Timestamp,
    now: Timestamp,
    scrape: Duration,
}

impl Window {
    /// From the last judged instant, exclusive, to this one, inclusive, with samples every `scrape`. None when no time has
    /// passed, or none passes between scrapes.
    #[must_use]
    pub fn new(previous: Timestamp, now: Timestamp, scrape: Duration) -> Option<Self> {
        let proper = previous < now && !scrape.is_zero() && scrape <= LONGEST_SCRAPE;
        proper.then_some(Self {
            previous,
            now,
            scrape,
        })
    }

    /// How far back from its end samples have to be asked for: its own length and three scrapes, so that a counter's
    /// value at the start is known even when a scrape was lost, and that its target was scraped then.
    #[must_use]
    pub fn range(&self) -> Duration {
        let length = self.now.duration_since(self.previous).unsigned_abs();
        length.saturating_add(self.scrape.saturating_mul(3))
    }

    fn age(&self, at: Timestamp) -> SignedDuration {
        self.now.duration_since(at)
    }
}

/// Slower scrapes than this are a mistake.
const LONGEST_SCRAPE: Duration = Duration::from_hours(24);

/// The instant to judge at: one scrape ago, as samples arrive late, on the grid of multiples of `every` since 1970, so that
/// an operator that restarts lands on the same instants. None for an interval of 0 or instants beyond what is kept.
#[must_use]
pub fn grid_instant(now: Timestamp, scrape: Duration, every: Duration) -> Option<Timestamp> {
    let settled = now
        .as_millisecond()
        .checked_sub(i64::try_from(scrape.as_millis()).ok()?)?;
    let every = i64::try_from(every.as_millis()).ok()?;
    let past = settled.checked_rem_euclid(every)?;
    Timestamp::from_millisecond(settled.checked_sub(past)?).ok()
}

/// The bound to count slow requests above: the smallest upper bound, at least `wanted`, that both versions' histograms have.
///
/// # Errors
/// No such bound.
pub fn common_bound(canary: &[f64], production: &[f64], wanted: f64) -> Result<f64, Unknown> {
    let both = canary.iter().filter(|bound| production.contains(bound));
    let usable = both.filter(|bound| bound.is_finite() && **bound >= wanted);
    usable
        .copied()
        .min_by(f64::total_cmp)
        .ok_or(Unknown::NoCommonBound)
}

/// What one target saw in the window.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The target.
    pub target: String,
    /// Requests of each version since the previous check.
    pub stratum: Stratum,
}

/// Why a check is unknown.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unknown {
    /// A sample that no counter can have.
    #[error("{labels} of {target} is no counter: {error}")]
    NoCounter {
        /// The target that was scraped.
        target: String,
        /// The series.
        labels: String,
        /// What is wrong with its value.
        error: CountError,
    },
    /// More samples than [`MAX_SAMPLES`].
    #[error("the answer has {0} samples; at most {MAX_SAMPLES} are read")]
    TooMany(usize),
    /// No living series counts all requests of this version.
    #[error("no series counts the requests of {0}, or none was scraped lately")]
    NoTotal(Side),
    /// No living series counts the good requests of this version.
    #[error("no series counts the good requests of {0}")]
    NoGood(Side),
    /// The series begin after the previous check.
    #[error("the series of {0} do not reach back to the previous check")]
    NoHistory(Side),
    /// A target's counters contradict each other.
    #[error("{target}: {side} has more bad or good requests than requests")]
    Contradiction {
        /// The target that was scraped.
        target: String,
        /// The version.
        side: Side,
    },
    /// A target counts the part and nothing counts the whole there.
    #[error(
        "{target}: the bad or good requests of {side} are counted there and its total is not; both counters have to be one \
         target's"
    )]
    NoTotalThere {
        /// The target that was scraped.
        target: String,
        /// The version.
        side: Side,
    },
    /// No bucket bound is present on both sides.
    #[error("canary and production have no histogram bound in common")]
    NoCommonBound,
}

impl Unknown {
    /// A word for metrics and events; there are as many as variants.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::NoCounter { .. } => "no-counter",
            Self::TooMany(_) => "too-many-samples",
            Self::NoTotal(_) => "no-total",
            Self::NoGood(_) => "no-good",
            Self::NoHistory(_) => "no-history",
            Self::Contradiction { .. } => "contradiction",
            Self::NoTotalThere { .. } => "no-total-there",
            Self::NoCommonBound => "no-common-bound",
        }
    }
}

/// Whether to wait with this window: one of the targets that live, of either version, was not scraped in it yet. What the others
/// show would be compared with less than belongs to it, or with nothing. After two scrapes nobody is waited for.
#[must_use]
pub fn is_awaited(series: &[Series], window: &Window) -> bool {
    let length = window.now.duration_since(window.previous).unsigned_abs();
    let Ok(targets) = gather(series, window) else {
        return false;
    };
    let is_late = |target: &Target| {
        let is_late = |side| target.lives(side, Counted::All, window) && !target.is_scraped(side, window);
        [Side::Canary, Side::Production].into_iter().any(is_late)
    };
    length < window.scrape.saturating_mul(2) && targets.values().any(is_late)
}

/// How far apart the samples of a target are: the median; none where no series has two.
#[must_use]
pub fn spacing(series: &[Series]) -> Option<Duration> {
    let apart = |pair: &[Sample]| pair[1].at.duration_since(pair[0].at).unsigned_abs();
    let all = series.iter().flat_map(|one| one.samples.windows(2).map(apart));
    let mut all: Vec<Duration> = all.collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// Counts what each target saw in the window. The order of series and samples does not matter, nor do repeated ones.
///
/// # Errors
/// Every reason for which the check is unknown.
pub fn observe(series: &[Series], part: Part, window: &Window) -> Result<Vec<Observed>, Vec<Unknown>> {
    let targets = gather(series, window)?;
    let mut unknown = Vec::new();
    for side in [Side::Canary, Side::Production] {
        unknown.extend(missing(&targets, side, part, window));
    }
    let mut all = Vec::new();
    for (name, grown) in blind::walk_both(&targets, window) {
        match stratum(name, &grown, part) {
            Ok(stratum) => all.push(Observed {
                target: name.to_owned(),
                stratum,
            }),
            Err(why) if unknown.contains(&why) => {}
            Err(why) => unknown.push(why),
        }
    }
    if unknown.is_empty() { Ok(all) } else { Err(unknown) }
}

/// Production's counts alone, those of each target, before there is a canary.
///
/// # Errors
/// As [`observe`].
pub fn production(series: &[Series], part: Part, window: &Window) -> Result<Vec<Counts>, Vec<Unknown>> {
    let targets = gather(series, window)?;
    let mut unknown: Vec<Unknown> = missing(&targets, Side::Production, part, window)
        .into_iter()
        .collect();
    let mut all = Vec::new();
    for (name, target) in &targets {
        match stratum(name, &target.walk(window), part) {
            Ok(stratum) => all.push(stratum.production),
            Err(why) if unknown.contains(&why) => {}
            Err(why) => unknown.push(why),
        }
    }
    if unknown.is_empty() { Ok(all) } else { Err(unknown) }
}

/// Each target's counts on their own, for an exporter that sees both versions: what it saw, it saw at the same instant.
#[must_use]
pub fn by_target(observed: &[Observed]) -> Vec<Stratum> {
    observed.iter().map(|o| o.stratum).collect()
}

/// All targets' counts in one, for versions that are scraped in their own pods.
#[must_use]
pub fn pooled(observed: &[Observed]) -> Stratum {
    observed.iter().fold(Stratum::default(), |all, o| Stratum {
        canary: all.canary.plus(o.stratum.canary),
        production: all.production.plus(o.stratum.production),
    })
}

/// The targets with their series, sorted, each sample once.
fn gather<'a>(series: &'a [Series], window: &Window) -> Result<BTreeMap<&'a str, Target<'a>>, Vec<Unknown>> {
    let samples: usize = series.iter().map(|s| s.samples.len()).sum();
    if samples > MAX_SAMPLES {
        return Err(vec![Unknown::TooMany(samples)]);
    }
    let mut targets: BTreeMap<&str, Target> = BTreeMap::new();
    let mut unknown = Vec::new();
    for one in series {
        let target = targets.entry(&one.target).or_default();
        let line = Line {
            side: one.side,
            counted: one.counted,
            labels: &one.labels,
        };
        for sample in one.samples.iter().filter(|s| s.at <= window.now) {
            match counter(sample.value) {
                Ok(value) => target.put(sample.at, line, value),
                Err(error) => {
                    unknown.push(Unknown::NoCounter {
                        target: one.target.clone(),
                        labels: one.labels.clone(),
                        error,
                    });
                    break;
                }
            }
        }
    }
    if unknown.is_empty() {
        Ok(targets)
    } else {
        Err(unknown)
    }
}

fn counter(value: f64) -> Result<f64, CountError> {
    match value {
        v if !v.is_finite() => Err(CountError::NotFinite(v)),
        v if v < 0.0 => Err(CountError::Negative(v)),
        v if v > MAX_COUNT => Err(CountError::TooLarge(v)),
        v => Ok(v),
    }
}

/// What keeps a version from being known, whatever its counters say.
fn missing(targets: &BTreeMap<&str, Target>, side: Side, part: Part, window: &Window) -> Option<Unknown> {
    let counting = |counted| {
        let of = move |target: &&Target| target.lives(side, counted, window);
        targets.values().filter(of)
    };
    if counting(Counted::All).next().is_none() {
        return Some(Unknown::NoTotal(side));
    }
    if part == Part::Good && counting(Counted::Part).next().is_none() {
        return Some(Unknown::NoGood(side));
    }
    let mut strays = targets.iter().filter(|(_, target)| target.strays(side, window));
    if let Some((target, _)) = strays.next() {
        let target = (*target).to_owned();
        return Some(Unknown::NoTotalThere { target, side });
    }
    let known = counting(Counted::All).any(|target| target.reaches_back(window));
    (!known).then_some(Unknown::NoHistory(side))
}

/// The counts of both versions by one target.
fn stratum(target: &str, grown: &Growth, part: Part) -> Result<Stratum, Unknown> {
    let of = |side| {
        let target = target.to_owned();
        counts(grown, side, part).map_err(|_| match grown.get(&(side, Counted::All)) {
            Some(_) => Unknown::Contradiction { target, side },
            None => Unknown::NoTotalThere { target, side },
        })
    };
    Ok(Stratum {
        canary: of(Side::Canary)?,
        production: of(Side::Production)?,
    })
}

/// One version's counts, or as an error what its counters say where that contradicts itself.
fn counts(grown: &Growth, side: Side, part: Part) -> Result<Counts, Counts> {
    let counted = |counted| grown.get(&(side, counted)).copied().unwrap_or_default();
    let requests = counted(Counted::All);
    let bad = match part {
        Part::Bad => counted(Counted::Part),
        Part::Good => requests - counted(Counted::Part),
    };
    // Counters that count in fractions do not subtract exactly.
    let rounding = 1e-9 * requests.max(1.0);
    let near = bad >= -rounding && bad <= requests + rounding;
    let bad = if near { bad.clamp(0.0, requests) } else { bad };
    let counts = Counts { requests, bad };
    counts.checked().map_err(|_| counts)
}

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod tests;
