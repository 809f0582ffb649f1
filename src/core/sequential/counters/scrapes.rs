//! One target's scrapes in order: which growth is real, which is a restart, and which is an older scrape seen again.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Counted, Side, Window};

/// One series of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line<'a> {
    pub(super) side: Side,
    pub(super) counted: Counted,
    pub(super) labels: &'a str,
}

/// What a target's counters grew by.
pub(super) type Growth = BTreeMap<(Side, Counted), f64>;

/// From one scrape of a target to the next.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) from: Timestamp,
    pub(super) at: Timestamp,
    pub(super) grown: Growth,
}

/// The scrapes of one target. Counters of one scrape carry the same instant.
#[derive(Debug, Default)]
pub(super) struct Target<'a> {
    scrapes: BTreeMap<Timestamp, BTreeMap<Line<'a>, f64>>,
}

/// How a scrape follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// The first after a gap: where to count from.
    AfterGap,
    /// Older than what was seen already: as good as lost.
    Behind,
    /// The next one; what fell did so because it began again, and so did what is not there any more.
    Restarted,
    /// The next one.
    Next,
}

impl<'a> Target<'a> {
    /// Takes in a sample. Of two values for one instant the larger counts, so that order does not matter.
    pub(super) fn put(&mut self, at: Timestamp, line: Line<'a>, value: f64) {
        let seen = self.scrapes.entry(at).or_default().entry(line).or_insert(value);
        *seen = seen.max(value);
    }

    /// Whether a series of this kind was scraped in the last two scrapes of the window.
    pub(super) fn lives(&self, side: Side, counted: Counted, window: &Window) -> bool {
        let is = |line: &Line| line.side == side && line.counted == counted;
        let recent = |at: &Timestamp| window.age(*at).unsigned_abs() <= window.scrape.saturating_mul(2);
        let mut scrapes = self.scrapes.iter().filter(|(at, _)| recent(at));
        scrapes.any(|(_, values)| values.keys().any(is))
    }

    /// Whether it has counted a part of requests that it does not count: they belong to another target.
    pub(super) fn strays(&self, side: Side, window: &Window) -> bool {
        let is = |line: &&Line| line.side == side && line.counted == Counted::Part;
        let last = self
            .scrapes
            .values()
            .rev()
            .find(|values| values.keys().any(|line| is(&line)));
        let has_counted =
            last.is_some_and(|values| values.iter().any(|(line, value)| is(&line) && *value > 0.0));
        has_counted && self.lives(side, Counted::Part, window) && !self.lives(side, Counted::All, window)
    }

    /// Whether its requests of this version were scraped within the window.
    pub(super) fn is_scraped(&self, side: Side, window: &Window) -> bool {
        let is = |line: &Line| line.side == side && line.counted == Counted::All;
        let mut scrapes = self.scrapes.iter().filter(|(at, _)| **at > window.previous);
        scrapes.any(|(_, values)| values.keys().any(is))
    }

    /// Whether what happened since the previous check is known: it was scraped about then, or twice since.
    pub(super) fn reaches_back(&self, window: &Window) -> bool {
        let about = |at: &Timestamp| {
            *at <= window.previous && window.previous.duration_since(*at).unsigned_abs() <= gap(window)
        };
        let two = self.scrapes.range(window.previous..).nth(1).is_some();
        self.scrapes.keys().any(about) || two
    }

    /// Whether any of its series is about this version.
    pub(super) fn counts(&self, side: Side) -> bool {
        let mut lines = self.scrapes.values().flat_map(BTreeMap::keys);
        lines.any(|line| line.side == side)
    }

    /// Counts what grew after the window's start.
    pub(super) fn walk(&self, window: &Window) -> Growth {
        let mut grown = Growth::new();
        let steps = self.steps(window).into_iter();
        for (key, more) in steps
            .filter(|step| step.at > window.previous)
            .flat_map(|step| step.grown)
        {
            *grown.entry(key).or_default() += more;
        }
        grown
    }

    /// From scrape to scrape, in order. The first one, and one after a gap, begin where they end: nothing is known of before.
    pub(super) fn steps(&self, window: &Window) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut marks: BTreeMap<Line, f64> = BTreeMap::new();
        let mut last = None;
        for (at, values) in &self.scrapes {
            let follows = Self::follows(*at, values, last, &marks, window);
            match follows {
                Follows::Behind => continue,
                Follows::AfterGap => marks.clear(),
                // What has vanished comes back from 0. Were its old value kept, this scrape's meaning would depend on how far back
                // the samples reach, and two windows could count the same event.
                Follows::Restarted => marks.retain(|line, _| values.contains_key(line)),
                Follows::Next => {}
            }
            let mut grown = Growth::new();
            for (line, value) in values {
                let mark = marks.insert(*line, *value).filter(|mark| mark <= value);
                if follows != Follows::AfterGap {
                    *grown.entry((line.side, line.counted)).or_default() += value - mark.unwrap_or(0.0);
                }
            }
            let before = last.filter(|_| follows != Follows::AfterGap);
            steps.push(Step {
                from: before.unwrap_or(*at),
                at: *at,
                grown,
            });
            last = Some(*at);
        }
        steps
    }

    fn follows(
        at: Timestamp,
        values: &BTreeMap<Line, f64>,
        last: Option<Timestamp>,
        marks: &BTreeMap<Line, f64>,
        window: &Window,
    ) -> Follows {
        if last.is_none_or(|last| at.duration_since(last).unsigned_abs() > gap(window)) {
            return Follows::AfterGap;
        }
        // Of the counters that fell the largest decides: after a restart it is far below, while small ones fall to less than
        // half between two scrapes of a healthy target.
        let fell = marks.iter().filter_map(|(line, mark)| {
            let value = values.get(line)?;
            (value < mark).then_some((*mark, *value))
        });
        let largest = fell.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        match largest {
            Some((mark, value)) if value >= mark / 2.0 => Follows::Behind,
            Some(_) => Follows::Restarted,
            None => Follows::Next,
        }
    }
}

/// The longest time between two scrapes over which a difference still counts: one lost scrape and the jitter of the others.
pub(super) fn gap(window: &Window) -> std::time::Duration {
    window.scrape.saturating_mul(5) / 2
}
