//! Writing the decided status: the intent, before anything but a lowering is done. The only writer of status.

use jiff::Timestamp;

use crate::api::BirdWatchStatus;
use crate::core::decide;
use crate::core::decision::{Effect, Event};

use super::context::Scope;
use super::errors::{Error, Fault};
use super::look::Look;
use super::memory::{Entry, Held, Remembered};
use super::objects::RawBirdWatch;

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

impl Committed {
    /// Whether an effect may be carried out now. Lowering is not asked for here: it needs no written status. `leaving`: the
    /// object is being deleted, or everything is given back.
    #[must_use]
    pub const fn permits(&self, effect: &Effect, leaving: bool) -> bool {
        match self {
            Self::Kept | Self::Written => !matches!(effect, Effect::Lower { .. }),
            Self::Refused(_) => effect.only_asks() || leaving && effect.gives_back(),
            Self::Overtaken | Self::Gone => false,
        }
    }

    /// Those of `effects` that may be carried out now.
    #[must_use]
    pub fn permitted(&self, mut effects: Vec<Effect>, leaving: bool) -> Vec<Effect> {
        effects.retain(|effect| self.permits(effect, leaving));
        effects
    }
}

/// What a decision is to leave behind.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The status to write.
    pub status: BirdWatchStatus,
    /// What to tell once it is written.
    pub events: Vec<Event>,
    /// Traffic was lowered for it already: it stays in memory even if the object was changed by somebody else.
    pub acted_upon: bool,
    /// One of its effects may only follow the newest status.
    pub needs_newest: bool,
}

/// What is left of an intent once its write is answered, or nobody answers.
#[derive(Debug)]
pub struct Settled {
    /// What became of the status; a fault where that is not known, or where it was not written.
    pub committed: Result<Committed, Fault>,
    /// What to tell now.
    pub events: Vec<Event>,
}

impl Intent {
    /// What a decision with these effects is to leave behind.
    #[must_use]
    pub fn of(status: BirdWatchStatus, events: Vec<Event>, effects: &[Effect]) -> Self {
        let is_lowering = |effect: &Effect| matches!(effect, Effect::Lower { .. });
        Self {
            status,
            events,
            acted_upon: effects.iter().any(is_lowering),
            needs_newest: effects.iter().any(Effect::needs_newest_status),
        }
    }

    /// Whether it is to be written: anything but bare readings differs, or they are old enough.
    #[must_use]
    pub fn is_worth_writing(
        &self,
        remembered: &Remembered,
        stored: &BirdWatchStatus,
        now: Timestamp,
    ) -> bool {
        let last_write = remembered.last_write.unwrap_or(now);
        decide::worth_writing(stored, &self.status, last_write, now)
    }

    /// Keeps in memory what is not worth a write.
    pub fn keep(self, remembered: &mut Remembered, stored: &BirdWatchStatus, acks: usize) -> Committed {
        keep(remembered, stored, self.status, false);
        remembered.acknowledged(acks);
        Committed::Kept
    }

    /// Takes note of what its write was answered: `Ok` is the resource version it got.
    pub fn settle(
        self,
        remembered: &mut Remembered,
        stored: &BirdWatchStatus,
        acks: usize,
        answer: Result<Option<String>, Fault>,
        now: Timestamp,
    ) -> Settled {
        let Self {
            status: next,
            events,
            acted_upon,
            needs_newest: _,
        } = self;
        match answer {
            Ok(version) => {
                remembered.written(version, next, now);
                remembered.acknowledged(acks);
                Settled {
                    committed: Ok(Committed::Written),
                    events: remembered.told_with(events),
                }
            }
            Err(Fault::Gone) => Settled {
                committed: Ok(Committed::Gone),
                events: Vec::new(),
            },
            Err(Fault::Refused { message, .. }) => {
                keep(remembered, stored, next, acted_upon);
                remembered.refusals = remembered.refusals.saturating_add(1);
                remembered.acknowledged(acks);
                Settled {
                    committed: Ok(Committed::Refused(message)),
                    events: remembered.told_with(events),
                }
            }
            Err(fault) => {
                // What was judged stays judged while the server is in trouble; on an object that changed it is judged anew.
                let stays = acted_upon || matches!(fault, Fault::Failed(_) | Fault::NoAnswer(_));
                remembered.not_written(stored.clone(), next.clone(), events, stays);
                if stays {
                    keep(remembered, stored, next, acted_upon);
                }
                Settled {
                    committed: Err(fault),
                    events: Vec::new(),
                }
            }
        }
    }
}

fn keep(remembered: &mut Remembered, stored: &BirdWatchStatus, status: BirdWatchStatus, acted_upon: bool) {
    let differs = *stored != status;
    let before = remembered.held.take().filter(|held| held.based_on == *stored);
    let acted_upon = acted_upon || before.is_some_and(|held| held.acted_upon);
    remembered.held = differs.then(|| {
        Box::new(Held {
            based_on: stored.clone(),
            status,
            acted_upon,
        })
    });
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
    let (stored, acks) = (&look.stored, look.seen.acks.len());
    let worth = intent.is_worth_writing(&entry.lock(), stored, now);
    if !worth {
        let is_own = entry.lock().wrote_it();
        if intent.needs_newest && !is_own && !is_newest(scope, look).await? {
            return Ok(Committed::Overtaken);
        }
        return Ok(intent.keep(&mut entry.lock(), stored, acks));
    }
    let body = look.object.with_status(&intent.status)?;
    let acted_upon = intent.acted_upon;
    let answer = scope.put_status(&look.name, &body).await;
    let answer = answer.map(|written| written.metadata.resource_version);
    let Settled { committed, events } = intent.settle(&mut entry.lock(), stored, acks, answer, now);
    match committed {
        Ok(committed) => {
            if committed != Committed::Gone {
                scope.context.events.publish(&look.object, events);
            }
            Ok(committed)
        }
        Err(fault) => {
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

/// Whether what was decided on is what the server has. A write of status would tell; where there is none, only reading does.
async fn is_newest(scope: &Scope, look: &Look) -> Result<bool, Error> {
    match scope.read_bird_watch(&look.name).await {
        Ok(()) => {}
        Err(Fault::Gone) => return Ok(false),
        Err(fault) => {
            return Err(Error::Call {
                what: "reading the status that a raise follows".to_owned(),
                fault,
                lowering: false,
            });
        }
    }
    let version = |object: &RawBirdWatch| object.metadata.resource_version.clone();
    let newest = scope.bird_watch(&look.name);
    Ok(newest.is_some_and(|newest| version(&newest) == version(&look.object)))
}
