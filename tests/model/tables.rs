//! What is large, kept once: statuses, routes, rules, decisions. And what is pure, computed once: a decision on the same
//! status, sight and memory is the same decision.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use birdwatch::api::plan::Plan;
use birdwatch::api::status::Rollout;
use birdwatch::api::{BirdWatchSpec, BirdWatchStatus};
use birdwatch::controller::look;
use birdwatch::controller::objects::Deployment;
use birdwatch::controller::patches;
use birdwatch::core::decision::{CheckRequest, Effect};
use birdwatch::core::plan;
use birdwatch::istio::routes::{self, Pair};
use birdwatch::istio::{DestinationRule, VirtualService};
use json_patch::Patch;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::aging;
use super::configuration::Configuration;
use super::objects::{self, DOMAIN};
use super::state::*;
use super::thinking::Thought;

/// Each value once, named by its place.
pub(crate) struct Kept<T> {
    places: HashMap<String, Id>,
    all: Vec<Arc<T>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            all: Vec::new(),
        }
    }
}

impl<T> Kept<T> {
    /// The place of a value; `text` tells it from every other.
    pub(crate) fn place(&mut self, text: String, value: T) -> Id {
        let next = Id::try_from(self.all.len()).unwrap();
        let place = *self.places.entry(text).or_insert(next);
        if place == next {
            self.all.push(Arc::new(value));
        }
        place
    }

    pub(crate) fn at(&self, place: Id) -> &Arc<T> {
        &self.all[place as usize]
    }
}

/// The same for small values.
pub(crate) struct Copies<T> {
    places: HashMap<T, Id>,
    all: Vec<T>,
}

impl<T> Default for Copies<T> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            all: Vec::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Copies<T> {
    pub(crate) fn place(&mut self, value: T) -> Id {
        let next = Id::try_from(self.all.len()).unwrap();
        let place = *self.places.entry(value).or_insert(next);
        if place == next {
            self.all.push(value);
        }
        place
    }

    pub(crate) fn at(&self, place: Id) -> T {
        self.all[place as usize]
    }
}

/// What a patch comes to on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patched {
    /// There was nothing to patch.
    Nothing,
    /// A guard failed.
    Conflict,
    /// The object is this one now.
    Now(Id),
}

/// What a patch depends on: the call, what it was made of, what it meets, and whether that is the same version.
type PatchKey = (Id, u8, Id, Id, bool);

/// Everything that states name by numbers.
pub(crate) struct Tables {
    pub(crate) configuration: Configuration,
    /// The specs, and their plans.
    pub(crate) specs: Vec<(BirdWatchSpec, Plan)>,
    pub(crate) levels: Vec<i64>,
    /// How many ticks the longest hold has: no more of them matter.
    pub(crate) longest_hold: Ticks,
    pub(crate) statuses: Kept<BirdWatchStatus>,
    later: HashMap<Id, Id>,
    pub(crate) routes: Kept<VirtualService>,
    pub(crate) rules: Kept<DestinationRule>,
    /// With the canary's weight at which each was asked.
    requests: Vec<(CheckRequest, u8)>,
    pub(crate) deployments: HashMap<(usize, Pods), Arc<Deployment>>,
    pub(crate) attempts: Kept<String>,
    pub(crate) thoughts: Vec<Arc<Thought>>,
    pub(crate) thought_of: HashMap<super::thinking::Key, Id>,
    patched_routes: HashMap<PatchKey, Patched>,
    patched_rules: HashMap<PatchKey, Patched>,
    pub(crate) settled: HashMap<super::thinking::SettleKey, Option<Held>>,
    servers: Copies<Objects>,
    operators: Copies<Operator>,
    lates: Copies<Late>,
    pub(crate) pair: Pair,
    not_ours: (Value, Value),
}

impl Tables {
    pub(crate) fn new(configuration: Configuration) -> Self {
        let forms = 0..configuration.forms.len();
        let specs = forms.map(|form| configuration.spec(u8::try_from(form).unwrap()));
        let specs = specs.map(|spec| {
            let plan = plan::resolve(&spec).unwrap();
            (spec, plan)
        });
        let specs: Vec<_> = specs.collect();
        let steps = specs.iter().flat_map(|(_, plan)| &plan.steps);
        let longest_hold = steps.map(|step| objects::ticks(step.hold)).max();
        Self {
            longest_hold: longest_hold.unwrap(),
            specs,
            levels: configuration.levels(),
            configuration,
            statuses: Kept::default(),
            later: HashMap::new(),
            routes: Kept::default(),
            rules: Kept::default(),
            requests: Vec::new(),
            deployments: HashMap::new(),
            attempts: Kept::default(),
            thoughts: Vec::new(),
            thought_of: HashMap::new(),
            patched_routes: HashMap::new(),
            patched_rules: HashMap::new(),
            settled: HashMap::new(),
            servers: Copies::default(),
            operators: Copies::default(),
            lates: Copies::default(),
            pair: Pair {
                host: format!("shop.default.svc.{DOMAIN}"),
                production: "production".to_owned(),
                canary: "canary".to_owned(),
            },
            not_ours: objects::not_ours(&objects::route(), &objects::rule()),
        }
    }

    pub(crate) fn pack(&mut self, world: &World) -> State {
        State {
            server: self.servers.place(world.server),
            operators: world.operators.map(|operator| self.operators.place(operator)),
            late: world.late.map(|late| self.lates.place(late)),
            rest: world.rest,
        }
    }

    pub(crate) fn unpack(&self, state: &State) -> World {
        World {
            server: self.servers.at(state.server),
            operators: state.operators.map(|place| self.operators.at(place)),
            late: state.late.map(|place| self.lates.at(place)),
            rest: state.rest,
        }
    }

    pub(crate) fn status(&mut self, status: BirdWatchStatus) -> Id {
        let status = aging::canonical(status);
        self.statuses
            .place(serde_json::to_string(&status).unwrap(), status)
    }

    /// The same status a tick later.
    pub(crate) fn later(&mut self, status: Id) -> Id {
        if let Some(later) = self.later.get(&status) {
            return *later;
        }
        let later = aging::a_tick_later((**self.statuses.at(status)).clone());
        let later = self.status(later);
        self.later.insert(status, later);
        later
    }

    pub(crate) fn route(&mut self, route: VirtualService) -> Id {
        self.routes
            .place(serde_json::to_string(&route.spec).unwrap(), route)
    }

    pub(crate) fn rule(&mut self, rule: DestinationRule) -> Id {
        self.rules.place(serde_json::to_string(&rule.spec).unwrap(), rule)
    }

    /// The canary's weight.
    pub(crate) fn weight(&self, route: Id) -> i64 {
        objects::weights(self.routes.at(route)).1
    }

    /// Whether all that is not ours is as it was, and ours hold together what they held.
    pub(crate) fn is_intact(&self, route: Id, rule: Id) -> (bool, bool) {
        let (route, rule) = (self.routes.at(route), self.rules.at(rule));
        let (production, canary) = objects::weights(route);
        let sum = production + canary == 100 && production >= 0 && canary >= 0;
        (objects::not_ours(route, rule) == self.not_ours, sum)
    }

    /// The place of a request; there are few.
    pub(crate) fn request(&mut self, request: CheckRequest, weight: u8) -> Id {
        let request = (request, weight);
        let known = self.requests.iter().position(|known| *known == request);
        let place = known.unwrap_or_else(|| {
            self.requests.push(request);
            self.requests.len() - 1
        });
        Id::try_from(place).unwrap()
    }

    pub(crate) fn asked(&self, request: Id) -> &CheckRequest {
        &self.requests[request as usize].0
    }

    /// The canary's weight when it was asked.
    pub(crate) fn asked_at(&self, request: Id) -> u8 {
        self.requests[request as usize].1
    }

    pub(crate) fn thought(&self, place: Id) -> Arc<Thought> {
        Arc::clone(&self.thoughts[place as usize])
    }

    /// What an effect on the routes comes to: `from` is what its patch is made of, `to` what it meets, `same` whether that is
    /// the same version.
    pub(crate) fn patch_route(&mut self, thought: Id, at: u8, from: Id, to: Id, same: bool) -> Patched {
        let key = (thought, at, from, to, same);
        if let Some(known) = self.patched_routes.get(&key) {
            return *known;
        }
        let decided = self.thought(thought);
        let object = Arc::clone(self.routes.at(from));
        let patch = match decided.effect(at) {
            Some(Effect::Lower { percent }) => patches::lowering(&object, &self.pair, DOMAIN, *percent),
            Some(effect @ (Effect::Raise { .. } | Effect::TakeBack)) => {
                let routes = routes::find(&object, &self.pair, DOMAIN).ours;
                let percent = match effect {
                    Effect::Raise { percent } => *percent,
                    _ => 0,
                };
                patches::bringing_to(&look::Service { object, routes }, percent)
            }
            Some(Effect::RestoreWeights) => restoring(&object, &self.pair, decided.rollout.as_ref()),
            _ => None,
        };
        let patched = match patch {
            None => Patched::Nothing,
            Some(patch) => match applied(&**self.routes.at(to), &patch, same) {
                None => Patched::Conflict,
                Some(route) => Patched::Now(self.route(route)),
            },
        };
        self.patched_routes.insert(key, patched);
        patched
    }

    /// The same for an effect on the rule, whose patch is made of what was decided on.
    pub(crate) fn patch_rule(&mut self, thought: Id, at: u8, from: Id, to: Id, same: bool) -> Patched {
        let key = (thought, at, from, to, same);
        if let Some(known) = self.patched_rules.get(&key) {
            return *known;
        }
        let decided = self.thought(thought);
        let patch = match decided.effect(at) {
            Some(Effect::Label { subset, version }) => decided.objects.labelling(*subset, version),
            Some(Effect::RestoreLabel { written, kept }) => {
                decided.objects.restoring_label(written, kept.as_deref())
            }
            _ => Ok(None),
        };
        let patched = match patch {
            Ok(Some((_, patch))) => match applied(&**self.rules.at(to), &patch, same) {
                None => Patched::Conflict,
                Some(rule) => Patched::Now(self.rule(rule)),
            },
            Ok(None) | Err(_) => Patched::Nothing,
        };
        self.patched_rules.insert(key, patched);
        patched
    }
}

fn restoring(object: &VirtualService, pair: &Pair, rollout: Option<&Rollout>) -> Option<Patch> {
    patches::restoring_weights(object, pair, DOMAIN, rollout?)
}

/// What a server makes of a patch; none where one of its tests fails. What was read is at version 1.
fn applied<T: Serialize + DeserializeOwned>(object: &T, patch: &Patch, same: bool) -> Option<T> {
    let mut document = serde_json::to_value(object).unwrap();
    document["metadata"]["resourceVersion"] = json!(if same { "1" } else { "2" });
    json_patch::patch(&mut document, patch).ok()?;
    document["metadata"]["resourceVersion"] = json!("1");
    Some(serde_json::from_value(document).unwrap())
}
