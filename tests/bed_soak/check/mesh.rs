//! What Envoy really does, and who answers: what the store says, after a moment.

use jiff::{SignedDuration, Timestamp};

use super::{Found, Story, minus};
use crate::history::{Part, What};

/// How long a change may take from the store to Envoy while nothing between them is disturbed, on a busy machine.
const REACHED: SignedDuration = SignedDuration::from_secs(20);
/// How long after a disturbance all is as it was.
const MENDED: SignedDuration = SignedDuration::from_secs(20);
/// The same after one of the API server: istiod waits 30 s, and by chance twice that, before it watches again (client-go's
/// reflector).
const WATCHED: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn broken(story: &Story<'_>) -> Found {
    let mut found = Found::new();
    let (mut weight, mut since) = (0, Timestamp::MIN);
    let (mut production, mut canary, mut labelled) = ("", "", Timestamp::MIN);
    for event in &story.events {
        let long_ago = minus(event.at, REACHED);
        let disturbed = |part, ago| story.history.disturbed(&[part], minus(long_ago, ago), event.at);
        let settled = || {
            since < long_ago
                && labelled < long_ago
                && !disturbed(Part::ApiServer, WATCHED)
                && !disturbed(Part::Istiod, MENDED)
                && !disturbed(Part::Gateway, MENDED)
        };
        match &event.what {
            What::Weights { canary: w, .. } if *w != weight => (weight, since) = (*w, event.at),
            What::Labels {
                production: p,
                canary: c,
            } => (production, canary, labelled) = (p, c, event.at),
            What::Envoy(Some((production, canary))) => {
                if production + canary != 100 {
                    found.push((event.at, format!("Envoy's weights are {production} and {canary}")));
                } else if i64::from(*canary) != weight && settled() {
                    let what =
                        format!("Envoy gives the canary {canary} %, the store says {weight} since {since}");
                    found.push((event.at, what));
                }
            }
            What::Request {
                version: Some(version),
                ..
            } => {
                let may_answer = version == production || (version == canary && weight > 0);
                if !may_answer && settled() {
                    let what = format!(
                        "{version} answered, with production {production}, canary {canary} at {weight} %"
                    );
                    found.push((event.at, what));
                }
            }
            What::Request {
                version: None,
                status: Some(code),
            } if settled() => found.push((event.at, format!("Envoy answered {code} itself"))),
            _ => {}
        }
    }
    found
}
