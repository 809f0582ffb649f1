//! One run: a rollout to its end, with at most one fault on the way.

use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch_bed::clock::Stopwatch;
use tokio::time::{sleep_until, timeout};

use crate::calls::Place;
use crate::end::End;
use crate::fault::Injection;
use crate::ground::Ground;
use crate::hold::rushed;
use crate::meddler::Meddler;
use crate::stage::{LOOK, Stage};
use crate::verdict::Seen;

/// A run that has not ended after so long without a call, besides what its fault takes, does not end: what is retried is
/// retried within a minute.
const STUCK: Duration = Duration::from_secs(75);
/// However busy the machine is with others, and whatever is tried again and again.
const LIMIT: Duration = Duration::from_mins(10);
/// Nothing more comes after so long without a call.
const SILENCE: Duration = Duration::from_secs(3);
/// A process that came after the end has seen that there is nothing to do.
const SETTLED: Duration = Duration::from_millis(500);

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    /// Every call that counts.
    pub(crate) places: Vec<Place>,
    /// Every change of phase.
    pub(crate) phases: Vec<Phase>,
    /// Whether the fault befell.
    pub(crate) struck: bool,
    /// Every promise that is broken.
    pub(crate) broken: Vec<String>,
    /// How many notices were told twice.
    pub(crate) twice: usize,
    pub(crate) took: Duration,
    /// The end of the operator's log.
    pub(crate) log: String,
}

/// Runs to `end`. Without `expected` it is the run that others are measured by: it goes on until nothing happens any more.
pub(crate) async fn run(
    ground: &'static Ground,
    end: End,
    injection: Option<Injection>,
    expected: Option<&Seen>,
) -> Outcome {
    let watch = Stopwatch::start();
    let lasts = injection.as_ref().map_or(Duration::ZERO, Injection::lasts);
    let keeps_label = injection.as_ref().is_some_and(|one| one.keeps_label(end));
    let other = expected.filter(|_| keeps_label).map(Seen::with_its_label);
    let expected = other.as_ref().or(expected);
    let may_lose_reason = injection.as_ref().is_some_and(Injection::may_lose_reason);
    let stage = Stage::set(ground, end, Meddler::new(injection)).await;
    let disturbing = async {
        if let Some(fault) = stage.meddler.time_for_watches().await {
            fault
                .disturbance()
                .into_iter()
                .for_each(|how| stage.proxy.disturb(how));
        }
        std::future::pending::<()>().await;
    };
    let playing = async {
        end.play(&stage).await;
        rest(&stage, expected, may_lose_reason).await;
        if let Some(landing) = stage.meddler.lands_at() {
            sleep_until(landing + SETTLED).await;
            rest(&stage, expected, may_lose_reason).await;
        }
        // What it does on its way out counts, too.
        stage.operator.stop(|| has_settled(&stage)).await;
    };
    let stuck = async {
        while stage.meddler.silent_for() < STUCK + lasts {
            tokio::time::sleep(LOOK * 2).await;
        }
    };
    let in_time = tokio::select! {
        in_time = timeout(LIMIT, playing) => in_time.is_ok(),
        () = stuck => false,
        () = disturbing => false,
    };
    let mut seen = Seen::of(&stage);
    seen.may_lose_reason = may_lose_reason;
    let mut broken = expected.map_or_else(Vec::new, |expected| seen.broken(end, expected));
    broken.extend(rushed(end, &stage.meddler.moves()));
    if !in_time {
        broken.push(format!("not at its end after {:.1?}", watch.elapsed()));
    }
    let twice = expected.map_or(0, |expected| seen.twice(expected).len());
    Outcome {
        seen,
        twice,
        places: stage.meddler.places(),
        phases: stage.meddler.phases(),
        struck: stage.meddler.has_struck(),
        broken,
        took: watch.elapsed(),
        log: stage.operator.log(60),
    }
}

/// Waits until all is done and told.
async fn rest(stage: &Stage, expected: Option<&Seen>, may_lose_reason: bool) {
    let (mut told, mut since) = (0, Stopwatch::start());
    loop {
        let calls = stage.slack.calls().len();
        if calls != told {
            (told, since) = (calls, Stopwatch::start());
        }
        // Nothing that comes makes it good again.
        if expected.is_some() && stage.end.went_astray(&stage.weights()) {
            return;
        }
        let ended = match stage.end.phase() {
            Some(phase) => {
                let status = stage.status();
                status["phase"] == phase.as_str() && status["notices"].get("pending").is_none()
            }
            None => stage.is_gone().await,
        };
        let done = match expected {
            Some(expected) => {
                has_settled(stage) && {
                    let mut seen = Seen::of(stage);
                    seen.may_lose_reason = may_lose_reason;
                    let told = !seen.lost_its_reason() || since.elapsed() > SILENCE;
                    told && seen.is_like(expected)
                }
            }
            None => stage.meddler.silent_for().min(since.elapsed()) > SILENCE,
        };
        if ended && done {
            return;
        }
        tokio::time::sleep(LOOK * 2).await;
    }
}

/// Whether the present process leads, has its stores filled, and has nothing to do.
fn has_settled(stage: &Stage) -> bool {
    let lives = stage.operator.lives();
    let leads = lives
        .last()
        .is_some_and(|life| life.to.is_none() && stage.meddler.leads_since(life.from));
    leads && stage.meddler.silent_for() > SETTLED
}
