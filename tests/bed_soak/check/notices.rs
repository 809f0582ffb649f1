//! People are told of every end once, and twice only where promise 10 allows it.

use std::collections::BTreeMap;

use birdwatch::api::status::{Notices, Outcome};
use jiff::{SignedDuration, Timestamp};

use super::{Found, Story, minus};
use crate::history::{End, Fault, Part, What, ended};

/// A message may be told again when the operator could not record that it was told. That is so while it or the API
/// server is disturbed, and for as long as a call, a lease and a restart take.
const UNRECORDED: SignedDuration = SignedDuration::from_secs(30);
/// How late a process that gave its lease up is seen again: after 10 s at most, by somebody who looks every 2 s.
const RESTARTED: SignedDuration = SignedDuration::from_secs(15);

/// How often, between two messages, an operator may have forgotten what it told: by disturbances, or by starts of its
/// processes, which a busy machine brings about too when a lease is not renewed in time.
fn excuses(story: &Story<'_>, first: Timestamp, last: Timestamp) -> usize {
    let (from, to) = (minus(first, UNRECORDED), last + RESTARTED);
    let disturbing = |fault: &&Fault| {
        let part = matches!(fault.part, Part::Operator | Part::ApiServer);
        part && fault.from <= last && fault.to >= from
    };
    let mut lives = BTreeMap::new();
    for rss in &story.history.memory {
        lives.entry(rss.pid).or_insert(rss.at);
    }
    let starts = lives.values().filter(|start| **start >= from && **start <= to);
    let disturbances = story.history.faults.iter().filter(disturbing);
    starts.count().max(disturbances.count())
}

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
        if let [first, .., last] = told[..] {
            let (copies, excuses) = (told.len() - 1, excuses(story, first.at, last.at));
            if copies > excuses {
                let what = format!("told {} times, with {excuses} excuses: {words:?}", copies + 1);
                found.push((last.at, what));
            }
        }
    }
    let in_the_end = story.events.iter().rev().find_map(|event| match &event.what {
        What::Status(status) => Some(&status.notices),
        _ => None,
    });
    if let Some(notices) = in_the_end {
        // Steps and alarms, whose words are not looked at, among them.
        for (how_many, what) in [(notices.lost, "were lost"), (waiting(notices), "still wait")] {
            if how_many > 0 {
                found.push((last.at, format!("status says that {how_many} notices {what}")));
            }
        }
    }
    found
}

fn waiting(notices: &Notices) -> i64 {
    i64::try_from(notices.pending.len()).unwrap_or(i64::MAX)
}
