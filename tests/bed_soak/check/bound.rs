//! How long a bad canary kept its traffic while everything that finds and ends it was there.

use jiff::{SignedDuration, Timestamp};

use super::{Found, Story, minus};
use crate::history::{Part, What};

/// What must be there to find a bad canary and to take its traffic. Not Slack, and not istiod: the traffic is there, and
/// what is measured is when the store says 0.
const NEEDED: [Part; 4] = [Part::ApiServer, Part::Prometheus, Part::Gateway, Part::Operator];

/// How long after a disturbance all is as it was: both replicas may have died and wait 10 s for their restart, then
/// for a lease of 6 s, and read everything again (2 s).
const MENDED: SignedDuration = SignedDuration::from_secs(18);

/// The query looks back 5 s, over scrapes of 1 s, is asked every second and answered within another; then come three
/// calls of the API server of at most 2 s each. Half as much again, for a machine that is busy with the bed itself.
pub(crate) const BOUND: SignedDuration = SignedDuration::from_secs(21);

/// A bad canary with traffic.
#[derive(Clone, Debug)]
pub(crate) struct Exposure {
    pub(crate) version: String,
    pub(crate) from: Timestamp,
    /// When the store said 0.
    pub(crate) to: Timestamp,
    /// The longest time in one piece in which nothing was disturbed that was needed.
    pub(crate) calm: SignedDuration,
}

pub(super) fn broken(story: &Story<'_>) -> Found {
    let late = exposed(story)
        .into_iter()
        .filter(|exposure| exposure.calm > BOUND);
    late.map(|late| {
        let Exposure {
            version,
            from,
            to,
            calm,
        } = late;
        let what = format!(
            "{version} was bad and had traffic from {from} to {to}, {} s with all at hand",
            calm.as_secs()
        );
        (to, what)
    })
    .collect()
}

/// All of them, of all services.
pub(crate) fn exposures(history: &crate::history::History) -> Vec<Exposure> {
    let stories = history.plans.iter().map(|(name, plan)| Story {
        history,
        plan,
        events: history.of(name),
    });
    stories.flat_map(|story| exposed(&story)).collect()
}

fn exposed(story: &Story<'_>) -> Vec<Exposure> {
    let mut found = Vec::new();
    let (mut sick, mut canary) = (Vec::<&str>::new(), "");
    let (mut weight, mut in_envoy) = (0, false);
    // The present exposure and the present piece of calm in it.
    let mut open: Option<Exposure> = None;
    let mut calm_since: Option<Timestamp> = None;
    for event in &story.events {
        match &event.what {
            What::Sick { version } => sick.push(version),
            What::Labels { canary: c, .. } => canary = c,
            What::Weights { canary: w, .. } => weight = *w,
            What::Envoy { weights, .. } => in_envoy = weights.is_some_and(|(_, canary)| canary > 0),
            _ => continue,
        }
        let disturbed = story
            .history
            .disturbed(&NEEDED, minus(event.at, MENDED), event.at);
        if let Some(exposure) = &mut open {
            exposure.to = event.at;
            if let Some(since) = calm_since {
                exposure.calm = exposure.calm.max(event.at.duration_since(since));
            }
        }
        let exposed = weight > 0 && in_envoy && sick.contains(&canary);
        calm_since = calm_since.filter(|_| exposed && !disturbed);
        if exposed && !disturbed && calm_since.is_none() {
            calm_since = Some(event.at);
        }
        if exposed && open.is_none() {
            open = Some(Exposure {
                version: canary.to_owned(),
                from: event.at,
                to: event.at,
                calm: SignedDuration::ZERO,
            });
        }
        if weight == 0 {
            found.extend(open.take());
        }
    }
    found.extend(open);
    found
}
