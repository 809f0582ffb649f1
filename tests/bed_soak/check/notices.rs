//! People are told of every end once, and twice only where promise 10 allows it.

use birdwatch::api::status::Outcome;
use jiff::SignedDuration;

use super::{Found, Story, minus};
use crate::history::{End, Part, What, ended};

/// A message may be told again when the operator could not record that it was told. That is so while it or the API
/// server is disturbed, and for as long as a call, a lease and a restart take.
const UNRECORDED: SignedDuration = SignedDuration::from_secs(30);

pub(super) fn broken(story: &Story<'_>) -> Found {
    let Some(last) = story.events.last() else {
        return Found::new();
    };
    let mut found = Found::new();
    for End { version, outcome, .. } in ended(&story.events) {
        let words = match outcome {
            Outcome::Promoted => format!("{version} is production now"),
            Outcome::RolledBack => format!("{version} rolled back to "),
            Outcome::Superseded => format!("{version} given up "),
        };
        let told: Vec<_> = story
            .events
            .iter()
            .filter(|event| matches!(&event.what, What::Told(text) if text.starts_with(&words)))
            .collect();
        if told.is_empty() {
            found.push((last.at, format!("nobody was told that {words:?}")));
        }
        for pair in told.windows(2) {
            let from = minus(pair[0].at, UNRECORDED);
            let excused = story
                .history
                .disturbed(&[Part::Operator, Part::ApiServer], from, pair[1].at);
            if !excused {
                found.push((
                    pair[1].at,
                    format!("told twice, and nothing was disturbed: {words:?}"),
                ));
            }
        }
        if told.len() > 2 {
            found.push((told[2].at, format!("told {} times: {words:?}", told.len())));
        }
    }
    let dropped = story.events.iter().rev().find_map(|event| match &event.what {
        What::Status(status) => Some(status.notices.lost),
        _ => None,
    });
    if dropped.unwrap_or(0) > 0 {
        found.push((last.at, format!("status says that {dropped:?} notices were lost")));
    }
    found
}
