//! One reconcile: look, decide, lower, commit, execute, wake.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use tokio::sync::{Mutex, MutexGuard};
use tracing::Instrument;

use crate::api::BirdWatchStatus;
use crate::api::status::Phase;
use crate::core::decide::decide;
use crate::core::decision::{Decision, Effect};
use crate::core::observation::ObjectName;

use super::checks;
use super::commit::{Committed, Intent, commit};
use super::context::Scope;
use super::errors::{Error, backoff};
use super::execute::{Done, Executor};
use super::exhibit;
use super::look::{Look, look};
use super::memory::{Entry, Landed};
use super::objects::{Named, RawBirdWatch};
use super::warnings;

/// Overtaken so often in a row, a reconcile waits a little before it looks again.
const PATIENCE: u32 = 3;

/// A refused status is tried again at every look, and after this long.
const REFUSED: Duration = Duration::from_mins(1);

/// How long after a look that could not begin the next one does.
const SHUT_OUT: Duration = Duration::from_secs(1);

/// What is due is looked at no sooner than this after a failure: what was refused is tried again by then, too.
const DUE: Duration = Duration::from_secs(5);

/// More samples than these are judged alone.
const MANY_SAMPLES: usize = 20_000;

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// At once: something was changed, and its answer is known.
    Now,
    /// At once, unless that happens again and again: somebody else was faster.
    Overtaken,
    /// At that time, or never.
    At(Option<Timestamp>),
}

/// A pass in which nothing failed.
struct Passed {
    again: Again,
    /// Why the server does not take the status, where it does not.
    refused: Option<String>,
}

impl From<Again> for Passed {
    fn from(again: Again) -> Self {
        Self { again, refused: None }
    }
}

/// Reconciles one `BirdWatch`; a standby does nothing.
///
/// # Errors
/// What kept it from its end; see [`error_policy`].
pub async fn reconcile(object: Arc<Named>, scope: Arc<Scope>) -> Result<Action, Error> {
    let name = object.name();
    let Some(_at_work) = scope.enter(&name.namespace) else {
        return Ok(shut_out(&scope, &name));
    };
    let Some(object) = scope.bird_watch(&name) else {
        return Ok(Action::await_change());
    };
    let span = tracing::info_span!(
        "reconcile",
        namespace = name.namespace,
        name = name.name,
        rollout = tracing::field::Empty
    );
    let entry = scope.memory.entry(&object);
    let (now, begun) = (scope.context.clock.now(), scope.context.clock.monotonic());
    let pass = Box::pin(pass(Arc::clone(&object), &scope, &entry, now));
    let result = pass.instrument(span).await;
    let event = warnings::of(result.as_ref().map(|passed| passed.refused.as_deref()), &entry);
    scope.context.events.publish(&object, Vec::from_iter(event));
    let category = match &result {
        Ok(Passed { refused: None, .. }) => "ok",
        Ok(Passed { refused: Some(_), .. }) => "refused",
        Err(error) => error.category(),
    };
    let lasted = scope.context.clock.monotonic() - begun;
    scope.context.metrics.reconciled(category, lasted);
    // The clock may have been set meanwhile: how long it takes until then does not depend on it.
    result.map(|passed| action(passed.again, &entry, now + lasted))
}

async fn pass(
    object: Arc<RawBirdWatch>,
    scope: &Arc<Scope>,
    entry: &Arc<Entry>,
    now: Timestamp,
) -> Result<Passed, Error> {
    let look = look(scope, object, &mut entry.lock(), now)?;
    if let Some(rollout) = &look.status.rollout {
        tracing::Span::current().record("rollout", &rollout.id);
    }
    catch_up(scope, &look, entry, now);
    let judged_alone = alone(&look).await;
    let Decision {
        next,
        effects,
        check,
        wake,
        events,
    } = decide(&look.status, &look.seen, now);
    drop(judged_alone);
    entry.lock().wake = wake;
    let executor = Executor {
        scope,
        look: &look,
        entry,
    };

    let lowered = executor.lower(&effects).await;
    // A question changes nothing: a canary is judged even while no status can be written.
    if let Some(request) = check {
        checks::start(scope, &look.name, entry, request);
    }
    let intent = Intent::of(next.clone(), events, &effects);
    let committed = commit(scope, &look, entry, intent, now).await?;
    exhibit::show(scope, &look, &next, &committed, now);
    let leaving = look.seen.deleting || look.seen.draining;
    let mut permitted = committed.permitted(effects, leaving);
    if lowered.is_err() {
        keep_what_goes_beside(&mut permitted, next.phase);
    }
    match committed {
        Committed::Gone => return Ok(Again::At(None).into()),
        Committed::Refused(why) => {
            scope.context.deliver.committed(&look.name, &look.status, &next);
            let_go_of_what_is_gone(scope, &look);
            let later = now + REFUSED;
            let later = Again::At(Some(wake.map_or(later, |wake| wake.min(later))));
            let done = executor.rest(&permitted).await;
            let (lowered, done) = (lowered?, done?);
            return Ok(Passed {
                again: again(if leaving { lowered.max(done) } else { done }, later),
                refused: Some(why),
            });
        }
        Committed::Overtaken => return lowered.map(|_| Again::Overtaken.into()),
        Committed::Written => {
            scope.context.deliver.committed(&look.name, &look.stored, &next);
            stands(scope, &look, entry, &next);
        }
        Committed::Kept => {
            scope.context.deliver.pending(&look.name, &look.stored);
            stands(scope, &look, entry, &look.stored);
        }
    }
    let done = executor.rest(&permitted).await;
    Ok(again(lowered?.max(done?), Again::At(wake)).into())
}

/// Counts and tells what a write brought that was never answered.
fn catch_up(scope: &Scope, look: &Look, entry: &Entry, now: Timestamp) {
    let landed = entry.lock().found_written(&look.stored);
    if let Some(Landed { before, events }) = landed {
        exhibit::count(scope, &before, &look.stored, now);
        scope.context.events.publish(&look.object, events);
    }
}

/// Traffic could not be lowered: of everything else only what a rollback does besides.
fn keep_what_goes_beside(permitted: &mut Vec<Effect>, phase: Phase) {
    permitted.retain(|effect| phase == Phase::RollingBack && effect.goes_beside_a_lowering());
}

/// Samples, when they are judged, are in memory several times over: many of them one `BirdWatch` after the other, in the whole
/// process.
async fn alone(look: &Look) -> Option<MutexGuard<'static, ()>> {
    static JUDGING: Mutex<()> = Mutex::const_new(());
    let answers = look.seen.check.iter().flat_map(|check| &check.samples);
    let series = answers
        .filter_map(|answer| answer.outcome.as_ref().ok())
        .flatten();
    let samples: usize = series.map(|one| one.samples.len()).sum();
    if samples <= MANY_SAMPLES {
        return None;
    }
    Some(JUDGING.lock().await)
}

fn again(done: Done, otherwise: Again) -> Again {
    match done {
        Done::Nothing => otherwise,
        Done::Changed => Again::Now,
        Done::Overtaken => Again::Overtaken,
    }
}

/// A decision stands: what it was made from is let go, and what people see is brought up to date, once in a term.
fn stands(scope: &Scope, look: &Look, entry: &Entry, written: &BirdWatchStatus) {
    entry.lock().drop_samples(look.seen.check.as_ref());
    if entry.lock().is_first_look() {
        scope.context.deliver.taken_over(&look.name, written);
    }
    let_go_of_what_is_gone(scope, look);
}

/// The watch may have seen the object go while people were being told of it: what has been kept for later since waits for nobody.
fn let_go_of_what_is_gone(scope: &Scope, look: &Look) {
    if !scope.stores.bird_watches.has(&look.name) {
        scope.context.deliver.released(&look.name);
    }
}

fn action(again: Again, entry: &Entry, now: Timestamp) -> Action {
    let mut remembered = entry.lock();
    remembered.retries = match again {
        Again::Overtaken => remembered.retries.saturating_add(1),
        Again::Now | Again::At(_) => 0,
    };
    match again {
        Again::Overtaken if remembered.retries > PATIENCE => {
            Action::requeue(backoff(remembered.retries - PATIENCE, Duration::from_secs(1)))
        }
        Again::Now | Again::Overtaken => Action::requeue(Duration::ZERO),
        Again::At(Some(at)) => {
            Action::requeue(Duration::try_from(at.duration_since(now)).unwrap_or_default())
        }
        Again::At(None) => Action::await_change(),
    }
}

/// When to try again after an error.
pub fn error_policy(object: &Named, error: &Error, scope: &Scope) -> Action {
    let (tries, wake) = scope.memory.get(&object.name()).map_or((0, None), |entry| {
        let mut remembered = entry.lock();
        remembered.retries = remembered.retries.saturating_add(1);
        (remembered.retries - 1, remembered.wake)
    });
    // What is due meanwhile does not wait for what failed.
    let due = wake.map(|at| at.duration_since(scope.context.clock.now()));
    let due = due.map(|left| Duration::try_from(left).unwrap_or_default().max(DUE));
    match error.retry_after(tries) {
        Some(wait) => Action::requeue(due.map_or(wait, |due| wait.min(due))),
        None if error.is_standby() => shut_out(scope, &object.name()),
        None => Action::await_change(),
    }
}

/// When to look again where this process may not act. With a term it soon may again, or the term soon ends: its renewal is late, or
/// what was remembered of a former one is being forgotten. Nobody says when that is over.
fn shut_out(scope: &Scope, name: &ObjectName) -> Action {
    if scope.context.gate.has_term(&name.namespace) {
        Action::requeue(SHUT_OUT)
    } else {
        Action::await_change()
    }
}
