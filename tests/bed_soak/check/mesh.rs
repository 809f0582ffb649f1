//! What Envoy really does, and who answers: what the store says, after a moment. Every look and every request is judged by all
//! that the store said in the time in which Envoy may have learned of it. A disturbance excuses only what was changed so that
//! it may not have got through, and a mesh that is away itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Found, SEEN, Story};
use crate::history::{Event, Fault, History, Kind, Part, What};

/// How long a change may take from the store to Envoy while nothing between them is disturbed: a tenth of a second was
/// measured where nothing else went on.
const REACHED: SignedDuration = SignedDuration::from_secs(3);

/// A time in which a change may not get through to Envoy.
struct Shadow {
    from: Timestamp,
    to: Timestamp,
}

impl Shadow {
    /// None of what does not stand between the store and Envoy.
    fn of(fault: &Fault) -> Option<Self> {
        let seconds = match (fault.part, fault.kind) {
            // istiod waits 30 s, and by chance twice that, before it watches again (client-go's reflector).
            (Part::ApiServer, Kind::Killed) => 60,
            // So long Envoy may wait before it connects again.
            (Part::Istiod, Kind::Killed) => 30,
            // Connections stay, but for those whose keepalive ran out meanwhile.
            (Part::ApiServer | Part::Istiod | Part::Gateway, _) => 10,
            (Part::Prometheus | Part::Slack | Part::Operator, _) => return None,
        };
        Some(Self {
            from: fault.from,
            to: fault.to + SignedDuration::from_secs(seconds),
        })
    }

    fn falls_on(&self, from: Timestamp, to: Timestamp) -> bool {
        self.from <= to && self.to >= from
    }
}

/// When a change has got through to Envoy, for sure: where it or the way is disturbed, a moment after that.
fn reached(shadows: &[Shadow], at: Timestamp) -> Timestamp {
    let later = |by: Timestamp, shadow: &Shadow| {
        let late = shadow.falls_on(at, by);
        if late { by.max(shadow.to + REACHED) } else { by }
    };
    shadows.iter().fold(at + REACHED, later)
}

/// Something that the store says, by and by.
struct Track<T>(Vec<Change<T>>);

struct Change<T> {
    at: Timestamp,
    reached: Timestamp,
    value: T,
}

impl<T: Copy + PartialEq> Track<T> {
    /// So it is before anything is written.
    fn beginning_with(value: T) -> Self {
        let (at, reached) = (Timestamp::MIN, Timestamp::MIN);
        Self(vec![Change { at, reached, value }])
    }

    fn put(&mut self, at: Timestamp, value: T, shadows: &[Shadow]) {
        if self.0.last().is_none_or(|last| last.value != value) {
            let reached = reached(shadows, at);
            self.0.push(Change { at, reached, value });
        }
    }

    /// Everything by which Envoy may have gone at some time between two instants: what is new by then, though it may have been
    /// seen late in the store, and what is old until the change has got through.
    fn between(&self, from: Timestamp, to: Timestamp) -> Vec<T> {
        let next = self.0.iter().skip(1).map(Some).chain([None]);
        let may = |(change, next): (&Change<T>, Option<&Change<T>>)| {
            let is_old = next.is_some_and(|next| next.reached < from);
            (change.at <= to + SEEN && !is_old).then_some(change.value)
        };
        self.0.iter().zip(next).filter_map(may).collect()
    }
}

/// What the store says of a service.
struct Mesh<'a> {
    shadows: Vec<Shadow>,
    /// The canary's; none while there is no route.
    weights: Track<Option<i64>>,
    /// Of production and of the canary.
    labels: Track<(&'a str, &'a str)>,
}

impl<'a> Mesh<'a> {
    fn of(story: &Story<'a>) -> Self {
        let mut shadows: Vec<_> = story.history.faults.iter().filter_map(Shadow::of).collect();
        shadows.sort_by_key(|shadow| shadow.from);
        let (mut weights, mut labels) = (Track::beginning_with(None), Track::beginning_with(("", "")));
        for event in &story.events {
            match &event.what {
                What::Weights { canary, .. } => weights.put(event.at, Some(*canary), &shadows),
                What::Labels { production, canary } => {
                    labels.put(event.at, (production.as_str(), canary.as_str()), &shadows);
                }
                _ => {}
            }
        }
        Self {
            shadows,
            weights,
            labels,
        }
    }

    /// Whether the mesh is there, and has nothing to learn.
    fn is_settled(&self, from: Timestamp, to: Timestamp) -> bool {
        let mut shadows = self.shadows.iter();
        let is_whole = !shadows.any(|shadow| shadow.falls_on(from, to));
        is_whole && self.weights.between(from, to).len() == 1 && self.labels.between(from, to).len() == 1
    }

    /// What is wrong with the answer of a version.
    fn answer(&self, asked: Timestamp, at: Timestamp, version: &str) -> Option<String> {
        let (labels, weights) = (self.labels.between(asked, at), self.weights.between(asked, at));
        let may_answer = labels.iter().any(|(production, canary)| {
            let mut weights = weights.iter().flatten();
            weights.any(|weight| version == *production && *weight < 100 || version == *canary && *weight > 0)
        });
        (!may_answer).then(|| format!("{version} answered, the store says {labels:?} and {weights:?}"))
    }

    /// What is wrong with what Envoy does.
    fn routes(&self, asked: Timestamp, at: Timestamp, weights: Option<(u32, u32)>) -> Option<String> {
        let meant = self.weights.between(asked, at);
        match weights {
            Some((production, canary)) if production + canary != 100 => {
                Some(format!("Envoy's weights are {production} and {canary}"))
            }
            Some((_, canary)) if !meant.contains(&Some(i64::from(canary))) => Some(format!(
                "Envoy gives the canary {canary} %, the store says {meant:?}"
            )),
            None if !meant.contains(&None) && self.is_settled(asked, at) => {
                Some("Envoy has no route to it".to_owned())
            }
            _ => None,
        }
    }
}

pub(super) fn broken(story: &Story<'_>) -> Found {
    let (mesh, mut found) = (Mesh::of(story), Found::new());
    // In the beginning everything is made at once, and takes as long as it likes.
    let (mut is_routed, mut is_served) = (false, false);
    for Event { at, what, .. } in story.events.iter().copied() {
        let objection = match what {
            What::Envoy { asked, weights } => {
                is_routed |= weights.is_some();
                mesh.routes(*asked, *at, *weights).filter(|_| is_routed)
            }
            What::Request {
                asked,
                version: Some(version),
                ..
            } => {
                is_served = true;
                mesh.answer(*asked, *at, version)
            }
            What::Request {
                asked,
                version: None,
                status,
            } if is_served && mesh.is_settled(*asked, *at) => {
                Some(status.map_or("nobody answered".to_owned(), |code| {
                    format!("Envoy answered {code} itself")
                }))
            }
            _ => None,
        };
        found.extend(objection.map(|what| (*at, what)));
    }
    found
}

/// How many looks at Envoy there were at which it had to have one weight and no other, by that weight.
pub(crate) fn judged(history: &History) -> BTreeMap<i64, usize> {
    let mut judged = BTreeMap::new();
    for (name, plan) in &history.plans {
        let events = history.of(name);
        let story = Story {
            history,
            plan,
            events,
        };
        let mesh = Mesh::of(&story);
        for Event { at, what, .. } in story.events {
            if let What::Envoy { asked, weights } = what
                && let [Some(weight)] = mesh.weights.between(*asked, *at)[..]
                && weights.is_some()
            {
                *judged.entry(weight).or_default() += 1;
            }
        }
    }
    judged
}

/// The weights of all plans at which Envoy was never judged.
pub(crate) fn unjudged(history: &History) -> BTreeSet<i64> {
    let steps = history.plans.values().flat_map(|plan| plan.steps.clone());
    let mut planned: BTreeSet<i64> = steps.chain([0]).collect();
    let judged = judged(history);
    planned.retain(|weight| !judged.contains_key(weight));
    planned
}
