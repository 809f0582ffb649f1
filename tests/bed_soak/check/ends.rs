//! After the chaos: every release came to its end, and the objects are as the ends say.

use birdwatch::api::status::Outcome;
use jiff::Timestamp;

use super::{Found, Story};
use crate::history::{End, Nature, What, ended};

pub(super) fn broken(story: &Story<'_>) -> Found {
    let Some(last) = story.events.last() else {
        return Found::new();
    };
    let ends = ended(&story.events);
    let mut found = Found::new();
    let mut deployed: Vec<(Timestamp, &str, Nature)> = Vec::new();
    for event in &story.events {
        if let What::Deployed { version, nature } = &event.what {
            deployed.push((event.at, version, *nature));
        }
    }
    for (index, (_, version, nature)) in deployed.iter().enumerate() {
        let next = deployed.get(index + 1).map(|(at, ..)| *at);
        let ends: Vec<_> = ends.iter().filter(|end| end.version == *version).collect();
        let is_earned = match ends[..] {
            [end] => match end.outcome {
                Outcome::Promoted => *nature == Nature::Good,
                Outcome::RolledBack => *nature != Nature::Good,
                Outcome::Superseded => next.is_some_and(|next| next < end.seen),
            },
            _ => false,
        };
        if !is_earned {
            let ends: Vec<_> = ends.iter().map(|end| end.outcome).collect();
            found.push((last.at, format!("{version} is {nature:?}, and ended {ends:?}")));
        }
    }
    found.extend(state(story, &ends).map(|what| (last.at, what)));
    found
}

/// What is wrong with the objects as they are in the end.
fn state(story: &Story<'_>, ends: &[End]) -> Option<String> {
    let events = || story.events.iter().rev();
    let status = events().find_map(|event| match &event.what {
        What::Status(status) => Some(status),
        _ => None,
    })?;
    if status.phase.is_active() {
        return Some(format!("still {}: {}", status.phase.as_str(), status.message));
    }
    let weights = events().find_map(|event| match event.what {
        What::Weights { production, canary } => Some((production, canary)),
        _ => None,
    });
    if weights != Some((100, 0)) {
        return Some(format!("the weights are {weights:?} in the end"));
    }
    let production = events().find_map(|event| match &event.what {
        What::Labels { production, .. } => Some(production.as_str()),
        _ => None,
    })?;
    let promoted = ends.iter().rfind(|end| end.outcome == Outcome::Promoted);
    let expected = promoted.map_or("v1", |end| &end.version);
    (production != expected).then(|| format!("production is {production}, and {expected} was promoted last"))
}
