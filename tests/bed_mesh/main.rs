//! Other hands and other services on the same mesh objects, and the order of what is written to them, on real parts
//! (behaviours g, h, q, r and s). Names of tests carry the letter of the behaviour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at what it cannot do"
)]

mod capacity;
mod git;
mod hands;
mod order;
mod recorded;
mod several;
mod stalled;
#[path = "../support/mod.rs"]
mod support;
mod written;

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::conditions::{Condition, ConditionType};
use birdwatch_bed::Bed;
use serde_json::{Value, json};

use support::Service;

/// A hold that a test does not wait out.
const FOR_EVER: &str = "1h";

/// For helm.
const CHANNELS: &[&str] = &["--set", "slackAllowedChannels={*}"];

/// Runs a test beside others, or alone, on a bed whose operator lets a `BirdWatch` choose its channel.
fn on_bed<F: Future<Output = ()>>(test: impl FnOnce(&'static Bed) -> F) {
    support::install(Some(CHANNELS));
    support::on_bed(test);
}

fn alone_on_bed<F: Future<Output = ()>>(test: impl FnOnce(&'static Bed) -> F) {
    support::install(Some(CHANNELS));
    support::alone_on_bed(test);
}

/// A condition that is true.
fn condition(status: &BirdWatchStatus, kind: ConditionType) -> Option<&Condition> {
    let of_kind = |c: &&Condition| c.kind == kind.as_str() && c.status == "True";
    status.conditions.iter().find(of_kind)
}

impl Service {
    /// Applies a `BirdWatch` with this spec, waits until it is seen, then deploys v2.
    async fn release(&self, spec: Value) {
        self.watch_for(spec).await;
        self.deploy("v2", &[]).await;
    }

    /// Applies a `BirdWatch` with this spec and waits until it is seen.
    async fn watch_for(&self, mut spec: Value) {
        // A channel each: none takes more than a message a second.
        spec["notify"] = json!({"channel": self.app.namespace});
        self.watch_seen(spec).await;
    }
}
