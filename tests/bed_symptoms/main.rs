//! What fails says so: every message that docs/operations.md explains is brought about on the real API server, with the
//! real operator, and read as a user reads it, by `kubectl get` and `describe`, in metrics and in Slack.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

mod cases;
mod ground;
mod policy;
mod prometheus;
mod rows;
mod slack;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod surfaces;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use cases::{Case, ELSEWHERE};
use futures::FutureExt as _;
use futures::future::join_all;
use ground::{Ground, on_ground};
use stage::Stage;

/// Side by side: most of a case is waiting.
async fn all(ground: &'static Ground, cases: Vec<Case>) {
    let failed: Vec<String> = join_all(cases.into_iter().map(async |case| {
        let _place = ground.places.acquire().await.unwrap();
        let stage = if case.is_watched {
            Stage::set(ground).await
        } else {
            Stage::set_unwatched(ground).await
        };
        let run = async {
            (case.happens)(&stage).await;
            stage.shows(&case).await?;
            surfaces::agree(&stage, &case).await
        };
        // One that fails keeps no other from being shown.
        let outcome = AssertUnwindSafe(run).catch_unwind().await;
        let outcome =
            outcome.unwrap_or_else(|why| Err(why.downcast_ref::<String>().cloned().unwrap_or_default()));
        outcome.err().map(|why| format!("{}: {why}", case.text))
    }))
    .await
    .into_iter()
    .flatten()
    .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn what_does_not_start_says_why() {
    on_ground(async |ground| all(ground, cases::start()).await);
}

#[test]
fn what_waits_before_the_first_step_says_for_what() {
    on_ground(async |ground| all(ground, cases::before()).await);
}

#[test]
fn what_stands_still_says_why() {
    on_ground(async |ground| all(ground, cases::still()).await);
}

#[test]
fn when_nothing_is_known_the_reason_is_told() {
    on_ground(async |ground| {
        all(ground, cases::unknown()).await;
        let metrics = ground.metrics().await;
        let outcomes = [
            "empty",
            "nan",
            "refused",
            "status_4xx",
            "timeout",
            "too_large",
            "too_many_series",
            "unsupported",
            "warnings",
        ];
        for outcome in outcomes {
            let counted = metrics.lines().any(|line| {
                line.starts_with("birdwatch_queries_total")
                    && line.contains(&format!("outcome=\"{outcome}\""))
            });
            assert!(counted, "{outcome} is not counted:\n{metrics}");
        }
    });
}

#[test]
fn what_ended_says_why() {
    on_ground(async |ground| all(ground, cases::ended()).await);
}

#[test]
fn whom_slack_refuses_and_what_cannot_go_says_why() {
    on_ground(async |ground| {
        let cases = cases::people().into_iter().chain(cases::stuck());
        all(ground, cases.collect()).await;
    });
}

#[test]
fn every_row_of_the_troubleshooting_tables_has_its_case() {
    let cases: BTreeSet<&str> = cases::every().iter().map(|case| case.text).collect();
    let sources = rows::sources();
    for (text, name) in ELSEWHERE {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "{text}: there is no test {name}"
        );
    }
    let known = |text: &str| cases.contains(text) || ELSEWHERE.iter().any(|(row, _)| *row == text);
    let rows = rows::rows();
    assert!(rows.len() > 50, "{} rows are too few to be all", rows.len());
    let missing: Vec<_> = rows.iter().filter(|row| !known(row)).collect();
    assert!(missing.is_empty(), "no case: {missing:#?}");
    let stale: Vec<_> = cases
        .iter()
        .filter(|text| !rows.iter().any(|row| row == *text))
        .collect();
    assert!(stale.is_empty(), "not in docs/operations.md: {stale:#?}");
}
