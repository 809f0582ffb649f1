//! What production did: counters target by target and scrape by scrape, and the answers to queries. Columns of plain
//! numbers, so that ten days fit into a few megabytes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::Span;
use crate::api::plan::{Counters, ThresholdPlan};
use crate::core::past::Source;
use crate::core::questions::Past;
use crate::core::sequential::counters::Grown;
use crate::core::sequential::counts::Counts;

/// What one target's counters grew by, scrape by scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// When it was scraped, milliseconds since 1970, rising.
    pub at: Vec<i64>,
    /// Requests since the scrape before.
    pub requests: Vec<f64>,
    /// The bad ones among them.
    pub bad: Vec<f64>,
}

/// Production's counters for one kind of bad request.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterHistory {
    /// What is counted.
    pub counters: Counters,
    /// By which exporter, with which bound.
    pub source: Source,
    /// Its targets, by name.
    pub targets: BTreeMap<String, Target>,
    /// What production's pods report for themselves where somebody else counts (callers, a waypoint): how clumpy errors are
    /// shows in it alone. Empty where the targets are the pods, and where nobody knows.
    pub pods: BTreeMap<String, Target>,
}

/// What each target's counters grew by in a stretch.
pub type Growth = BTreeMap<String, Vec<Grown>>;

/// One series of a query's answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// Milliseconds since 1970, rising.
    pub at: Vec<i64>,
    /// The values; may be NaN or infinite.
    pub value: Vec<f64>,
}

/// What a query answered over time, asked of production.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryHistory {
    /// The metric's query, limits and all.
    pub asked: ThresholdPlan,
    /// What was asked, and what the answers mean.
    pub past: Past,
    /// Time between two answers.
    pub step: Span,
    /// The query's series.
    pub series: Vec<Points>,
    /// Production's requests per second.
    pub traffic: Points,
}

/// Everything that is known of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Where it begins.
    pub from: Timestamp,
    /// Where it ends.
    pub until: Timestamp,
    /// Time between two scrapes.
    pub scrape: Span,
    /// Counters, one of each kind that a policy asks for.
    pub counters: Vec<CounterHistory>,
    /// Queries, one of each that a policy asks for.
    pub queries: Vec<QueryHistory>,
}

impl Target {
    /// Adds scrapes; those that are not later than the last are left out.
    pub fn extend(&mut self, grown: &[Grown]) {
        for Grown { at, counts } in grown {
            let at = at.as_millisecond();
            if self.at.last().is_none_or(|last| *last < at) {
                self.at.push(at);
                self.requests.push(counts.requests);
                self.bad.push(counts.bad);
            }
        }
    }

    /// Index of the first scrape later than `millis`.
    #[must_use]
    pub fn after(&self, millis: i64) -> usize {
        self.at.partition_point(|at| *at <= millis)
    }
}

impl CounterHistory {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new(counters: Counters, source: Source) -> Self {
        Self {
            counters,
            source,
            targets: BTreeMap::new(),
            pods: BTreeMap::new(),
        }
    }

    /// Adds what each target counted; or (`own`) what pods reported for themselves where others count.
    pub fn extend(&mut self, grown: &Growth, own: bool) {
        let known = if own { &mut self.pods } else { &mut self.targets };
        for (name, scrapes) in grown {
            known.entry(name.clone()).or_default().extend(scrapes);
        }
    }

    /// Everything that was counted.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut all = Counts::default();
        for target in self.targets.values() {
            all.requests += target.requests.iter().sum::<f64>();
            all.bad += target.bad.iter().sum::<f64>();
        }
        all
    }

    /// How many scrapes are known.
    #[must_use]
    pub fn scrapes(&self) -> usize {
        self.targets.values().map(|target| target.at.len()).sum()
    }

    /// Whether one exporter sees canary and production, so that both are scraped at the same instants.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.source.reporter.as_deref(), Some("source" | "waypoint"))
    }

    /// Production's pods as far as they are known; none where only others count.
    #[must_use]
    pub fn own(&self) -> &BTreeMap<String, Target> {
        if self.is_shared() {
            &self.pods
        } else {
            &self.targets
        }
    }
}

impl Points {
    /// Adds answers; those that are not later than the last are left out.
    pub fn extend(&mut self, more: impl IntoIterator<Item = (i64, f64)>) {
        for (at, value) in more {
            if self.at.last().is_none_or(|last| *last < at) {
                self.at.push(at);
                self.value.push(value);
            }
        }
    }

    /// The last value at `millis` or before it, not older than `step` milliseconds.
    #[must_use]
    pub fn at(&self, millis: i64, step: i64) -> Option<f64> {
        let index = self.at.partition_point(|at| *at <= millis).checked_sub(1)?;
        let at = self.at.get(index)?;
        (millis - at <= step).then(|| self.value.get(index).copied())?
    }
}

impl History {
    /// The counters of that kind.
    #[must_use]
    pub fn counters_of(&self, counters: &Counters) -> Option<&CounterHistory> {
        self.counters.iter().find(|history| history.counters == *counters)
    }

    /// The answers to that query.
    #[must_use]
    pub fn query_of(&self, asked: &ThresholdPlan) -> Option<&QueryHistory> {
        self.queries.iter().find(|history| history.same_query(asked))
    }

    /// How long it is, seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        Span::between(self.from, self.until).as_secs_f64()
    }

    /// Where requests are counted: the first counters there are.
    #[must_use]
    pub fn requests(&self) -> Option<&CounterHistory> {
        self.counters.first()
    }
}

impl QueryHistory {
    /// Whether its answers are those to `asked`, whatever the limits.
    #[must_use]
    pub fn same_query(&self, asked: &ThresholdPlan) -> bool {
        let key = |plan: &ThresholdPlan| (plan.query.clone(), plan.window, plan.traffic.clone());
        key(&self.asked) == key(asked)
    }
}
