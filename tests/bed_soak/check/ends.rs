//! After the chaos: every release came to its end, and the objects are as the ends say.

use birdwatch::api::status::Outcome;

use super::{Found, Story};
use crate::history::{Nature, What, ended};

pub(super) fn broken(story: &Story<'_>) -> Found {
    let Some(last) = story.events.last() else {
        return Found::new();
    };
    let ends = ended(&story.events);
    let outcomes = |version: &str| -> Vec<Outcome> {
        ends.values()
            .filter(|(v, _)| v == version)
            .map(|(_, outcome)| *outcome)
            .collect()
    };
    let mut found = Found::new();
    let mut deployed: Vec<(&str, Nature)> = Vec::new();
    for event in &story.events {
        if let What::Deployed { version, nature } = &event.what {
            deployed.push((version, *nature));
        }
    }
    for (version, nature) in &deployed {
        match (outcomes(version).as_slice(), nature) {
            ([Outcome::Superseded], _)
            | ([Outcome::Promoted], Nature::Good)
            | ([Outcome::RolledBack], Nature::Bad | Nature::Never) => {}
            (ends, nature) => found.push((last.at, format!("{version} is {nature:?}, and ended {ends:?}"))),
        }
    }
    found.extend(state(story, &deployed).map(|what| (last.at, what)));
    found
}

/// What is wrong with the objects as they are in the end.
fn state(story: &Story<'_>, deployed: &[(&str, Nature)]) -> Option<String> {
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
    let promoted = ended(&story.events);
    let is_promoted = |version: &str| {
        promoted
            .values()
            .any(|(v, o)| v == version && *o == Outcome::Promoted)
    };
    let production = events().find_map(|event| match &event.what {
        What::Labels { production, .. } => Some(production.as_str()),
        _ => None,
    })?;
    let latest = deployed
        .iter()
        .rev()
        .map(|(version, _)| *version)
        .find(|v| is_promoted(v));
    let expected = latest.unwrap_or("v1");
    (production != expected).then(|| format!("production is {production}, and {expected} was promoted last"))
}
