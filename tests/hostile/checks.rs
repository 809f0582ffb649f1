//! Answers of Prometheus to what a decision asks, drawn by dice.

use birdwatch::api::plan::{Plan, TestPlan};
use birdwatch::api::rollout::Rollout;
use birdwatch::api::spec::{CompareTo, Direction};
use birdwatch::core::decision::CheckRequest;
use birdwatch::core::observation::{Answer, Check, CheckId, Outcome, Point, SampleAnswer, Side};
use jiff::Timestamp;

/// What a canary measures that is not well.
const BAD: f64 = 1e12;

/// What Prometheus finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Both versions are well.
    Good,
    /// The canary is not.
    Bad,
    /// Every question gets an error.
    Failure,
    /// Nothing is answered yet.
    Nothing,
}

pub(crate) const ALL: [Found; 4] = [Found::Good, Found::Bad, Found::Failure, Found::Nothing];

/// The one that is written so.
pub(crate) fn named(name: &str) -> Found {
    let is_it = |found: &Found| format!("{found:?}") == name;
    ALL.into_iter().find(is_it).expect(name)
}

/// The finished check. Of counters nothing is known, whatever is found.
pub(crate) fn answered(request: CheckRequest, found: Found, asked_at: Timestamp) -> Option<Check> {
    if found == Found::Nothing {
        return None;
    }
    let answers = request.questions.iter().map(|question| {
        let is_bad = found == Found::Bad && question.side == Side::Canary;
        let point = Point {
            labels: String::new(),
            value: if is_bad { BAD } else { 0.0 },
        };
        Answer {
            metric: question.metric.clone(),
            side: question.side,
            outcome: if found == Found::Failure {
                Outcome::Failed("no answer".to_owned())
            } else {
                Outcome::Series(vec![point])
            },
            traffic: Some(Ok(1.0)),
        }
    });
    let samples = request.samples.iter().map(|question| SampleAnswer {
        metric: question.metric.clone(),
        side: question.side,
        counted: question.counted,
        from: question.from,
        at: question.at,
        outcome: Err("no answer".to_owned()),
        unknown_names: Ok(Vec::new()),
    });
    Some(Check {
        asked_at,
        answers: answers.collect(),
        samples: samples.collect(),
        scrape: request.scrape,
        id: request.id,
    })
}

/// Whether a check is one of this rollout, as it stands, and one of its metrics is beyond a limit whatever else the status
/// says. `at_once`: one bad check is enough, too.
pub(crate) fn is_bad_for(rollout: &Rollout, check: &Check, at_once: bool) -> bool {
    check.id == CheckId::of(rollout)
        && check.answers.iter().any(|answer| {
            let is_beyond = |point: &Point| point.value >= BAD;
            let bad = matches!(&answer.outcome, Outcome::Series(points) if points.iter().any(is_beyond));
            bad && answer.side == Side::Canary && is_limited(&rollout.plan, rollout, &answer.metric, at_once)
        })
}

/// Whether a check is one of this rollout, as it stands, and of one of its metrics nothing is known.
pub(crate) fn is_blind_for(rollout: &Rollout, check: &Check) -> bool {
    let is_failure = |answer: &Answer| matches!(answer.outcome, Outcome::Failed(_));
    check.id == CheckId::of(rollout)
        && (check.samples.iter().any(|answer| answer.outcome.is_err())
            || check.answers.iter().any(is_failure))
}

fn is_limited(plan: &Plan, rollout: &Rollout, metric: &str, at_once: bool) -> bool {
    let Some(metric) = plan.metrics.iter().find(|one| one.name == metric) else {
        return false;
    };
    let TestPlan::Threshold(test) = &metric.test else {
        return false;
    };
    let recorded = rollout.metrics.iter().find(|one| one.name == metric.name);
    let baseline = recorded
        .and_then(|one| one.baseline.as_ref())
        .map(|one| one.value);
    let is_far = test.compare_to == CompareTo::Baseline
        && test.direction != Direction::Decrease
        && baseline.is_some_and(|baseline| baseline.abs() < 1e6)
        && test
            .deviation
            .as_ref()
            .is_some_and(|by| by.amount < 1e3 && by.min_absolute.is_none_or(|least| least < 1e6));
    let is_above = test.max.is_some_and(|max| max < 1e6);
    (is_far || is_above) && (!at_once || test.failures <= 1)
}
