//! Production's growth scrape by scrape, for whoever replays the past: nothing is judged here, so that a replay finds unknown
//! what a check would have.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Counted, Part, Series, Side, Unknown, Window, counts, gather};
use crate::core::sequential::counts::Counts;

/// What one target counted at one scrape since the scrape before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grown {
    /// When it was scraped.
    pub at: Timestamp,
    /// What was new then; nothing after a gap, of which nothing is known. It may contradict itself, as its counters do.
    pub counts: Counts,
    /// Whether its good requests were counted as well as all; true where bad ones are, of which none is 0.
    pub is_divided: bool,
}

/// Production's growth scrape by scrape, that of each target.
///
/// # Errors
/// A sample that no counter can have, or too many.
pub fn growth(
    series: &[Series],
    part: Part,
    window: &Window,
) -> Result<BTreeMap<String, Vec<Grown>>, Vec<Unknown>> {
    let mut all = BTreeMap::new();
    for (name, target) in gather(series, window)? {
        let steps = target.steps(window);
        let scrapes = steps.iter().filter(|step| step.at > window.previous).map(|step| {
            let has = |counted| step.grown.contains_key(&(Side::Production, counted));
            Grown {
                at: step.at,
                counts: counts(&step.grown, Side::Production, part).unwrap_or_else(|odd| odd),
                is_divided: part == Part::Bad || !has(Counted::All) || has(Counted::Part),
            }
        });
        all.insert(name.to_owned(), scrapes.collect());
    }
    Ok(all)
}
