//! Writing the decided status: the intent, before anything but a lowering is done. The only writer of status.

use jiff::Timestamp;

use crate::api::BirdWatchStatus;
use crate::core::decide;
use crate::core::decision::Event;
use crate::runtime::metrics::NoticeResult;

use super::context::Scope;
use super::errors::{Error, Fault};
use super::look::Look;
use super::memory::{Entry, Held};

/// What became of a decided status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Nothing but bare readings differs: it is kept in memory.
    Kept,
    /// It is written.
    Written,
    /// The object has changed since it was read: nothing else of this decision may be done.
    Overtaken,
    /// The server does not take it, as where the stored spec breaks a rule of the schema: it is kept in memory.
    Refused(String),
    /// The object is gone.
    Gone,
}

/// What a decision is to leave behind.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The status to write.
    pub status: BirdWatchStatus,
    /// What to tell once it is written.
    pub events: Vec<Event>,
    /// Traffic was lowered for it already: it stays in memory, and its write is retried if this one fails.
    pub acted_upon: bool,
}

/// Writes the status of `intent`, where it is worth it, and publishes its Events: once, whichever write brings it.
///
/// # Errors
/// It was not written, and not because the object had changed.
pub async fn commit(
    scope: &Scope,
    look: &Look,
    entry: &Entry,
    intent: Intent,
    now: Timestamp,
) -> Result<Committed, Error> {
    let Intent {
        status: next,
        events,
        acted_upon,
    } = intent;
    let tell = |events| {
        let all = entry.lock().told_with(events);
        scope.context.events.publish(&look.object, all);
    };
    let last_write = entry.lock().last_write.unwrap_or(now);
    if !decide::worth_writing(&look.stored, &next, last_write, now) {
        keep(look, entry, next, false);
        entry.lock().acknowledged(look.seen.acks.len());
        return Ok(Committed::Kept);
    }
    let body = look.object.with_status(&next)?;
    match scope.put_status(&look.name, &body).await {
        Ok(answer) => {
            let mut remembered = entry.lock();
            let lost = next.notices.lost.saturating_sub(look.stored.notices.lost);
            let lost = u64::try_from(lost).unwrap_or(0);
            scope.context.metrics.notices(NoticeResult::Lost, lost);
            remembered.written(answer.metadata.resource_version, next, now);
            remembered.acknowledged(look.seen.acks.len());
            drop(remembered);
            tell(events);
            Ok(Committed::Written)
        }
        Err(Fault::Gone) => Ok(Committed::Gone),
        Err(Fault::Refused { message, .. }) => {
            keep(look, entry, next, acted_upon);
            entry.lock().acknowledged(look.seen.acks.len());
            tell(events);
            Ok(Committed::Refused(message))
        }
        Err(fault) => {
            entry.lock().not_written(next.clone(), events, acted_upon);
            if acted_upon {
                keep(look, entry, next, true);
            }
            if fault.asks_for_a_read() {
                match scope.read_bird_watch(&look.name).await {
                    Ok(()) if matches!(fault, Fault::Conflict) => return Ok(Committed::Overtaken),
                    Err(Fault::Gone) => return Ok(Committed::Gone),
                    Ok(()) | Err(_) => {}
                }
            }
            Err(Error::Call {
                what: "writing status".to_owned(),
                fault,
                lowering: acted_upon,
            })
        }
    }
}

fn keep(look: &Look, entry: &Entry, status: BirdWatchStatus, acted_upon: bool) {
    let based_on = look.stored.clone();
    let differs = based_on != status;
    let mut remembered = entry.lock();
    let before = remembered.held.take().filter(|held| held.based_on == based_on);
    remembered.held = differs.then_some(Held {
        acted_upon: acted_upon || before.is_some_and(|held| held.acted_upon),
        based_on,
        status,
    });
}
