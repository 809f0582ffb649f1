//! The weights in the store: their sum, their order, how long each was held, and what may follow 100 %.

use super::{Found, SEEN, Story};
use crate::history::What;

pub(super) fn broken(story: &Story<'_>) -> Found {
    let mut found = Found::new();
    let mut weight = 0;
    let mut since = None;
    let (mut production, mut canary_label) = (String::new(), String::new());
    for event in &story.events {
        match &event.what {
            What::Weights { production, canary } => {
                if production + canary != 100 {
                    found.push((
                        event.at,
                        format!("the weights {production} and {canary} are not 100"),
                    ));
                }
                if *canary == weight {
                    continue;
                }
                if !may_follow(&story.plan.steps, weight, *canary) {
                    found.push((
                        event.at,
                        format!("the canary's weight went from {weight} to {canary}"),
                    ));
                }
                if let Some(since) = since.filter(|_| *canary > weight && weight > 0) {
                    let held = event.at.duration_since(since);
                    if held < story.plan.hold - SEEN {
                        found.push((event.at, format!("{weight} % was held for {held:?} only")));
                    }
                }
                (weight, since) = (*canary, Some(event.at));
            }
            What::Labels {
                production: p,
                canary: c,
            } => {
                if !production.is_empty() && *p != production {
                    let held = since.map_or_else(Default::default, |since| event.at.duration_since(since));
                    if weight != 100 || *p != canary_label || held < story.plan.hold - SEEN {
                        let what =
                            format!("{p} became production after {held:?} of {canary_label} at {weight} %");
                        found.push((event.at, what));
                    }
                }
                if !canary_label.is_empty() && *c != canary_label && weight != 0 {
                    found.push((event.at, format!("the canary became {c} at {weight} %")));
                }
                (production, canary_label) = (p.clone(), c.clone());
            }
            _ => {}
        }
    }
    found
}

/// The next step, or nothing.
fn may_follow(steps: &[i64], from: i64, to: i64) -> bool {
    let next = steps.iter().find(|step| **step > from);
    to == 0 || next == Some(&to)
}
