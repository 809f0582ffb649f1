//! Bounds of histograms: which one divides slow requests from the others, and what to do with a target that lacks it.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::plan::{Counters, SequentialPlan};
use crate::core::observation::{SampleAnswer, Side};
use crate::core::sequential::counters::{self, Counted, Series, Unknown};

use super::{POD, all, label};

/// The bound to count production's slow requests above, as its label has it.
///
/// # Errors
/// No bound is as high as the one asked for.
pub(super) fn productions(answers: &[&SampleAnswer], milliseconds: f64) -> Result<Option<String>, String> {
    let production = bounds(answers, Side::Production)?;
    chosen(&production, &production, milliseconds)
        .map_err(|_| format!("no bound of the histogram is {milliseconds} ms or more"))
}

/// The bound that both versions' histograms have; none where no bound is needed.
///
/// # Errors
/// They have none in common.
pub(in super::super) fn common_bound(
    test: &SequentialPlan,
    answers: &[&SampleAnswer],
) -> Result<Option<String>, String> {
    let Counters::Slow { milliseconds } = test.counters else {
        return Ok(None);
    };
    let (canary, production) = (bounds(answers, Side::Canary)?, bounds(answers, Side::Production)?);
    chosen(&canary, &production, milliseconds).map_err(|error| error.to_string())
}

/// A bound that most targets of both have, else one that some of both have.
fn chosen(canary: &Bounds, production: &Bounds, milliseconds: f64) -> Result<Option<String>, Unknown> {
    let of = |canary: &BTreeSet<String>, production: &BTreeSet<String>| {
        let bound = counters::common_bound(&numbers(canary), &numbers(production), milliseconds)?;
        Ok(text_of(production, bound))
    };
    of(&canary.of_most, &production.of_most).or_else(|_: Unknown| of(&canary.of_any, &production.of_any))
}

/// The bounds of a version's targets.
struct Bounds {
    of_most: BTreeSet<String>,
    of_any: BTreeSet<String>,
}

fn bounds(answers: &[&SampleAnswer], side: Side) -> Result<Bounds, String> {
    let mut targets: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (_, one) in all(answers, side)? {
        if let Some(bound) = label(one, "le") {
            let target = (label(one, "reporter"), POD.map(|name| label(one, name)));
            targets.entry(target).or_default().insert(bound.to_owned());
        }
    }
    let of_any: BTreeSet<String> = targets.values().flatten().cloned().collect();
    let is_of_most = |bound: &&String| {
        let with = targets.values().filter(|target| target.contains(*bound));
        2 * with.count() > targets.len()
    };
    Ok(Bounds {
        of_most: of_any.iter().filter(is_of_most).cloned().collect(),
        of_any,
    })
}

fn numbers(bounds: &BTreeSet<String>) -> Vec<f64> {
    bounds.iter().filter_map(|text| text.parse().ok()).collect()
}

fn text_of(bounds: &BTreeSet<String>, bound: f64) -> Option<String> {
    let is = |text: &&String| {
        text.parse::<f64>()
            .is_ok_and(|number| number.total_cmp(&bound).is_eq())
    };
    bounds.iter().find(is).cloned()
}

/// A target whose histogram lacks the bound would seem to serve slow requests only: it is left out where another of its version
/// has the bound. Where none has it the version is unknown.
pub(super) fn with_bound(found: Vec<Series>) -> Vec<Series> {
    let parts = found.iter().filter(|one| one.counted == Counted::Part);
    let known: BTreeSet<(Side, String)> = parts.map(|one| (one.side, one.target.clone())).collect();
    let is_known = |one: &Series| {
        let mut of_side = known.iter().filter(|(side, _)| *side == one.side).peekable();
        of_side.peek().is_none() || of_side.any(|(_, target)| *target == one.target)
    };
    found.into_iter().filter(is_known).collect()
}
