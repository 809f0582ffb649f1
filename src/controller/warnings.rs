//! What status itself cannot say of a reconcile, as Events: it cannot be read, or the server refuses what is written.

use std::fmt::Display;

use crate::core::decision::Event;

use super::errors::{Error, Fault};
use super::memory::Entry;
use super::objects::UnreadableStatus;

/// Of failures in a row the first is told, and then one in so many.
const ONE_IN: u32 = 100;

/// What is to be told of a reconcile now: `Ok` says why its status was refused, where it was.
pub(super) fn of(result: Result<Option<&str>, &Error>, entry: &Entry) -> Option<Event> {
    let is_news = |before: u32| before.is_multiple_of(ONE_IN);
    match result {
        Err(Error::Status(unreadable)) => Some(status_unreadable(unreadable)),
        Err(Error::Call {
            what,
            fault: fault @ Fault::Refused { .. },
            lowering,
        }) => is_news(entry.lock().retries).then(|| {
            let action = if *lowering { "Lower" } else { "Write" };
            refused(action, format_args!("{what}: {fault}; it is tried again"))
        }),
        Ok(Some(why)) => {
            let before = entry.lock().refusals.saturating_sub(1);
            is_news(before).then(|| {
                tracing::warn!(
                    why,
                    "the server refuses the status: it is kept in memory, nothing is raised"
                );
                refused(
                    "Write",
                    format_args!("writing status: refused: {why}; nothing is raised, and it is tried again"),
                )
            })
        }
        Ok(None) | Err(_) => None,
    }
}

/// What the server did not let us give back, which is not tried again.
pub(super) fn not_given_back(what: &str, fault: &Fault) -> Event {
    refused(
        "GiveBack",
        format_args!("{what}: {fault}; former values stay changed"),
    )
}

/// A right is missing, or a policy of the cluster forbids it.
fn refused(action: &str, note: impl Display) -> Event {
    Event {
        warning: true,
        reason: "WriteRefused",
        action: action.to_owned(),
        note: note.to_string(),
    }
}

fn status_unreadable(why: &UnreadableStatus) -> Event {
    Event {
        warning: true,
        reason: "StatusUnreadable",
        action: "ReadStatus".to_owned(),
        note: format!("{why}: nothing is done until it is mended or removed"),
    }
}
