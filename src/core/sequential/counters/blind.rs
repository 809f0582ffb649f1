//! Times of which no target knows anything of a version. What the other version did then is not counted either: an outage
//! of both that only one of them shows would be held against it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::scrapes::{Growth, Step, Target, gap};
use super::{Side, Window};

/// A time, its end included.
type Time = (Timestamp, Timestamp);

/// Each target's growth in the window, as far as something is known of both versions at the time.
pub(super) fn walk_both<'a>(
    targets: &BTreeMap<&'a str, Target>,
    window: &Window,
) -> BTreeMap<&'a str, Growth> {
    let steps: Vec<(&'a str, &Target, Vec<Step>)> = targets
        .iter()
        .map(|(name, target)| (*name, target, target.steps(window)))
        .collect();
    let of_side = |side| -> Vec<(&'a str, &Step)> {
        let targets = steps.iter().filter(|(_, target, _)| target.counts(side));
        let each = targets.flat_map(|(name, _, steps)| steps.iter().map(|step| (*name, step)));
        each.collect()
    };
    let known = known_to_both([of_side(Side::Canary), of_side(Side::Production)], window);
    let mut grown: BTreeMap<&str, Growth> = targets.keys().map(|name| (*name, Growth::new())).collect();
    for (side, steps) in [Side::Canary, Side::Production].into_iter().zip(known) {
        for (name, step) in steps.into_iter().filter(|(_, step)| step.at > window.previous) {
            let of_target = grown.entry(name).or_default();
            for (key, more) in step.grown.iter().filter(|((of, _), _)| *of == side) {
                *of_target.entry(*key).or_default() += more;
            }
        }
    }
    grown
}

/// Leaves out what lies where the other version is blind, which makes its own version blind there, until nothing more is.
fn known_to_both<'a, 's>(
    [mut canary, mut production]: [Vec<(&'a str, &'s Step)>; 2],
    window: &Window,
) -> [Vec<(&'a str, &'s Step)>; 2] {
    loop {
        let before = canary.len() + production.len();
        let (of_canary, of_production) = (blind(&canary, window), blind(&production, window));
        canary.retain(|(_, step)| !step.is_in(&of_production, window));
        production.retain(|(_, step)| !step.is_in(&of_canary, window));
        if canary.len() + production.len() == before {
            return [canary, production];
        }
    }
}

impl Step {
    /// Whether more than half a scrape of it lies in these times. Less is nothing: no two targets are scraped at the same
    /// instant.
    fn is_in(&self, times: &[Time], window: &Window) -> bool {
        let within = |(from, to): &Time| {
            let overlap = self.at.min(*to).duration_since(self.from.max(*from));
            overlap.max(SignedDuration::ZERO)
        };
        times.iter().map(within).sum::<SignedDuration>().unsigned_abs() > window.scrape / 2
    }
}

/// What lies between the known times. At the window's end a time is blind only where it is too long to be counted across: what
/// the last scrape did not show yet, the next one does.
fn blind(steps: &[(&str, &Step)], window: &Window) -> Vec<Time> {
    let mut known: Vec<Time> = steps.iter().map(|(_, step)| (step.from, step.at)).collect();
    known.sort_unstable();
    let first = known.first().map_or(window.previous, |(from, _)| *from);
    let (mut blind, mut until) = (Vec::new(), first.min(window.previous));
    for (from, to) in known {
        if from > until {
            blind.push((until, from));
        }
        until = until.max(to);
    }
    if window.now.duration_since(until).unsigned_abs() > gap(window) {
        blind.push((until, window.now));
    }
    blind
}
