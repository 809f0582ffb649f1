//! One case for each message: how it comes about. What is expected of it is its text in the docs.

mod before;
mod ended;
mod people;
mod start;
mod still;
mod unknown;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::stage::Stage;

pub(crate) use before::before;
pub(crate) use ended::ended;
pub(crate) use people::{people, stuck};
pub(crate) use start::start;
pub(crate) use still::still;
pub(crate) use unknown::unknown;

type Happens = Box<dyn for<'s> Fn(&'s Stage) -> BoxFuture<'s, ()> + Send + Sync>;

/// Where a message is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// In the line of `kubectl get -o wide`.
    Get,
    /// In `kubectl describe`: a condition, a warning, an event.
    Describe,
    /// In status, for a moment.
    Once,
    /// Nowhere: that is the symptom.
    Nothing,
    /// Nowhere either: it is deleted, and stays.
    Stays,
}

/// One message.
pub(crate) struct Case {
    /// As the docs have it.
    pub(crate) text: &'static str,
    pub(crate) seen: Seen,
    /// Whether an operator looks there.
    pub(crate) is_watched: bool,
    /// Whether Slack has it too.
    pub(crate) is_told: bool,
    pub(crate) happens: Happens,
}

/// What cannot be had in seconds on an API server alone: the message, and the test that has it.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    (
        "samples of other checks, of this namespace or of all, take the 40 MiB or 64 MiB that there are for them",
        "samples_that_wait_to_be_judged_leave_room_until_they_are_let_go",
    ),
    (
        "for 5s there was no room to read the answer, because of other large answers",
        "a_large_answer_waits_for_another_and_small_ones_do_not",
    ),
    (
        "holding 1 % for about 1m (at least 5s, and until its requests were scraped and counted)",
        "a_step_is_said_to_be_held_as_long_as_it_is_kept",
    ),
    (
        "waiting for the canary's first requests at 1 %: the hold is over, and without any there is nothing to compare",
        "a_step_without_requests_says_what_it_waits_for_and_people_are_told_once",
    ),
    // The label stands alone for two seconds.
    (
        "argocd-controller turned subset production of DestinationRule shop back during the promotion; resume or rollback",
        "a_promotion_whose_label_is_turned_back_freezes_and_names_who_did_it",
    ),
];

fn case(
    text: &'static str,
    happens: impl for<'s> Fn(&'s Stage) -> BoxFuture<'s, ()> + Send + Sync + 'static,
) -> Case {
    Case {
        text,
        seen: Seen::Get,
        is_watched: true,
        is_told: false,
        happens: Box::new(happens),
    }
}

impl Case {
    fn seen(self, seen: Seen) -> Self {
        Self { seen, ..self }
    }

    /// Where no operator looks.
    fn unwatched(self) -> Self {
        Self {
            is_watched: false,
            ..self
        }
    }

    fn told(self) -> Self {
        Self {
            is_told: true,
            ..self
        }
    }
}

/// All of them.
pub(crate) fn every() -> Vec<Case> {
    [start(), before(), still(), unknown(), ended(), people(), stuck()]
        .into_iter()
        .flatten()
        .collect()
}

/// With this spec, while v2 is deployed.
fn released(text: &'static str, spec: String) -> Case {
    case(text, move |stage| {
        let spec = spec.clone();
        async move {
            stage.watch(&spec).await;
            stage.deploy("v2", crate::stage::TWO).await;
        }
        .boxed()
    })
}
