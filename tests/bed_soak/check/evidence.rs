//! No weight rises but on a healthy reading, and nobody becomes production without one. What Prometheus said is known
//! by what it answered, and not by what the operator says of it.

use jiff::Timestamp;

use super::{Found, SEEN, Story, minus};
use crate::history::{Says, What};

/// An answer about a version.
struct Reading<'a> {
    version: &'a str,
    asked: Timestamp,
    given: Timestamp,
    says: Says,
}

pub(super) fn broken(story: &Story<'_>) -> Found {
    let mut found = Found::new();
    let mut readings: Vec<Reading<'_>> = Vec::new();
    let (mut weight, mut since) = (0, Timestamp::MIN);
    let (mut production, mut canary) = ("", "");
    // When status first meant the weight that it means now.
    let mut intent = (0, Timestamp::MIN);
    for event in &story.events {
        match &event.what {
            What::Reading { version, asked, says } => readings.push(Reading {
                version,
                asked: *asked,
                given: event.at,
                says: *says,
            }),
            What::Status(status) => {
                let rollout = status.rollout.as_ref();
                let means = rollout.map_or(0, |rollout| i64::from(rollout.intended));
                if means != intent.0 {
                    intent = (means, event.at);
                }
            }
            What::Weights { canary: now, .. } => {
                // Status says so before the weight does; an intent that was not seen is not waited for.
                let meant = if intent.0 == *now { intent.1 } else { event.at };
                if weight > 0 && *now > weight && meant.duration_since(since) < story.plan.hold - SEEN {
                    let what =
                        format!("{now} % were meant at {meant} already, {weight} % stood since {since}");
                    found.push((event.at, what));
                }
                if *now > weight {
                    let of = if weight == 0 { production } else { canary };
                    if !is_backed(&readings, of, since, meant, weight == 0) {
                        let what = format!(
                            "{canary} rose from {weight} to {now} % without a healthy reading of {of}"
                        );
                        found.push((event.at, what));
                    }
                }
                if *now != weight {
                    (weight, since) = (*now, event.at);
                }
            }
            What::Labels {
                production: p,
                canary: c,
            } => {
                if !production.is_empty()
                    && p != production
                    && !is_backed(&readings, p, since, event.at, false)
                {
                    found.push((
                        event.at,
                        format!("{p} became production without a healthy reading"),
                    ));
                }
                (production, canary) = (p, c);
            }
            _ => {}
        }
    }
    found
}

/// Whether a version had a healthy answer between two instants and nothing else came after it. An answer that came so
/// shortly before the decision that it may have come after it may be of any kind.
fn is_backed(
    readings: &[Reading<'_>],
    version: &str,
    since: Timestamp,
    decided: Timestamp,
    is_baseline: bool,
) -> bool {
    let good = |r: &Reading<'_>| r.says == Says::Healthy || (is_baseline && r.says == Says::Empty);
    let (earliest, surely) = (minus(since, SEEN), minus(decided, SEEN));
    let of_step = readings
        .iter()
        .filter(|r| r.version == version && r.asked >= earliest);
    let mut fresh = of_step
        .clone()
        .filter(|r| r.given > surely && r.given <= decided + SEEN);
    let before = of_step.rev().find(|r| r.given <= surely);
    fresh.any(good) || before.is_some_and(good)
}
