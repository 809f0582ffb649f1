//! The explicit-state search, by `stateright`; and what it cannot say of graphs with cycles, by our own search backwards:
//! from every state an end is reached.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::Phase;
use stateright::{Checker, Model, Property};

use super::acting::happen;
use super::configuration::Configuration;
use super::objects::{labels, route, rule};
use super::possible::possible;
use super::promises::{is_given_up, running};
use super::state::*;
use super::tables::Tables;
use super::telling;

/// The one property of safety: a state says itself which promise was broken.
const KEPT: &str = "every promise is kept";

/// What liveness says where it is broken: all is well, and nothing ends; all is bad, and nothing goes back.
pub(crate) const LIVENESS: [&str; 2] = [
    "no decided end is reached, though all is well and Prometheus says good",
    "the canary keeps its traffic, though Prometheus says bad",
];

/// A fair environment, in which Prometheus answers, and always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fair {
    /// Whatever it says.
    Always,
    Good,
    Bad,
}

/// What the search backwards needs: states, which of them are ends, and the steps of a fair environment.
#[derive(Default)]
struct Graph {
    /// Fingerprint, whether it is a decided end, and whether a bad canary has no traffic there.
    states: Vec<(u64, bool, bool)>,
    /// From, to, and in which environment.
    steps: Vec<(u64, u64, Fair)>,
    /// Every phase that was there: a search that goes nowhere proves nothing.
    phases: BTreeSet<Phase>,
}

/// The model of one configuration.
struct Small {
    tables: Mutex<Tables>,
    graph: Mutex<Graph>,
    /// A state to be shown the way to.
    wanted: Option<u64>,
}

/// What the check of a configuration came to.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) name: &'static str,
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) depth: usize,
    pub(crate) decisions: usize,
    pub(crate) took: Duration,
    pub(crate) phases: BTreeSet<Phase>,
    /// What is wrong, with the way there.
    pub(crate) wrong: Option<String>,
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            states,
            steps,
            depth,
            decisions,
            took,
            wrong,
            phases: _,
        } = self;
        let verdict = if wrong.is_some() { "BROKEN" } else { "kept" };
        write!(
            f,
            "{name:<34} {states:>9} states {steps:>10} steps  depth {depth:>3}  {decisions:>7} decisions  {:>6.1} s  {verdict}",
            took.as_secs_f64()
        )
    }
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

impl Model for Small {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut tables = self.tables.lock().unwrap();
        let world = beginning(&mut tables);
        vec![tables.pack(&world)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.rest.ghost.broken.is_some() {
            return;
        }
        let tables = self.tables.lock().unwrap();
        let world = tables.unpack(state);
        possible(&tables, &world, actions);
        if self.wanted.is_none() {
            let mut graph = self.graph.lock().unwrap();
            let birds = world.server.birds.iter().flatten();
            graph
                .phases
                .extend(birds.map(|bird| tables.statuses.at(bird.is.status).phase));
            graph.states.push((
                fingerprint(state),
                is_end(&tables, &world),
                is_safe(&tables, &world),
            ));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut tables = self.tables.lock().unwrap();
        let world = tables.unpack(state);
        let next = happen(&mut tables, &world, action)?;
        let next = tables.pack(&next);
        if let Some(fair) = fairness(&world, action).filter(|_| self.wanted.is_none()) {
            let step = (fingerprint(state), fingerprint(&next), fair);
            self.graph.lock().unwrap().steps.push(step);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(
            "every promise is kept",
            |model: &Self, state: &State| {
                let is_wanted = || model.wanted.is_some_and(|wanted| wanted == fingerprint(state));
                state.rest.ghost.broken.is_none() && !is_wanted()
            },
        )]
    }
}

/// Version v1 in production, and operators that have just begun.
fn beginning(tables: &mut Tables) -> World {
    let status = tables.status(BirdWatchStatus::default());
    let first = |is| Seen { is, version: 0 };
    let bird = Seen {
        is: Bird {
            status,
            form: 0,
            verb: 0,
            deleting: false,
            finalizer: false,
        },
        version: 0,
    };
    let mut birds = [None; BIRDS];
    birds[..tables.configuration.birds].fill(Some(bird));
    let mut pods = [None; VERSIONS];
    pods[0] = Some(Pods {
        revision: 1,
        available: 2,
    });
    let server = Objects {
        birds,
        route: first(tables.route(route())),
        rule: first(tables.rule(rule())),
        pods: Seen { is: pods, version: 0 },
    };
    let operator = Operator {
        sees: server,
        memos: Default::default(),
        due: Default::default(),
        waits: Default::default(),
        wake: Default::default(),
        jobs: Default::default(),
    };
    let mut operators = [operator; OPERATORS];
    operators[0].due = server.birds.map(|bird| bird.is_some());
    let rest = Rest {
        leader: Some(0),
        by_hand: true,
        edits: tables.configuration.edits.0,
        moves: tables.configuration.moves,
        ..Rest::default()
    };
    World {
        server,
        operators,
        late: None,
        rest,
    }
}

/// Whether a fair environment does this, in the end: and in which one.
fn fairness(world: &World, action: Action) -> Option<Fair> {
    match action {
        Action::Answer(_, _, Said::Good) => Some(Fair::Good),
        Action::Answer(_, _, Said::Bad) => Some(Fair::Bad),
        Action::Lead(_) => world.rest.leader.is_none().then_some(Fair::Always),
        Action::See(..)
        | Action::Reconcile(..)
        | Action::Call(_, _, Fate::Answered)
        | Action::Mend
        | Action::Tick => Some(Fair::Always),
        _ => None,
    }
}

/// A decided end: no rollout is under way, or it is frozen for people to decide; nothing of ours is left on the canary
/// otherwise, and what is being deleted is gone.
fn is_end(tables: &Tables, world: &World) -> bool {
    let is_decided = |bird: &Seen<Bird>| {
        let status = tables.statuses.at(bird.is.status);
        let is_over = running(status.rollout.as_ref()).is_none();
        !bird.is.deleting && (is_over || status.phase == Phase::Frozen)
    };
    let settled = world
        .operators
        .iter()
        .all(|o| o.jobs.iter().all(|job| job.is_none_or(|j| j.orphan)));
    settled
        && world.server.birds.iter().flatten().all(is_decided)
        && may_stay(tables, world)
        && !is_mislabelled(tables, world)
}

/// Whether production's label names a version that was given up: that comes late at most, and is no end.
fn is_mislabelled(tables: &Tables, world: &World) -> bool {
    let (production, _) = labels(tables.rules.at(world.server.rule.is));
    let mut birds = world.server.birds.iter().flatten();
    birds.any(|bird| production.is_some_and(|label| is_given_up(tables.statuses.at(bird.is.status), label)))
}

/// Whether the canary's weight may stay: there is none; or it is that of a frozen attempt; or, at rest, a person's, who set it last.
fn may_stay(tables: &Tables, world: &World) -> bool {
    let weight = tables.weight(world.server.route.is);
    let statuses = world.server.birds.iter().flatten();
    let statuses = statuses.map(|bird| tables.statuses.at(bird.is.status));
    let mut attempts = statuses.filter_map(|status| Some((status.phase, running(status.rollout.as_ref())?)));
    let own = match attempts.next() {
        None => world.rest.by_hand,
        Some((phase, attempt)) => phase == Phase::Frozen && weight == i64::from(attempt.intended),
    };
    weight == 0 || own
}

/// A canary that Prometheus calls bad has no traffic: or it is frozen, or in production already.
fn is_safe(tables: &Tables, world: &World) -> bool {
    let (production, canary) = labels(tables.rules.at(world.server.rule.is));
    !is_mislabelled(tables, world) && (production == canary || may_stay(tables, world))
}

impl Graph {
    /// The first state from which no end is reached in a fair environment, in the order of discovery; and how many there are.
    fn stuck(&self, fair: Fair) -> Option<(u64, usize)> {
        let place: HashMap<u64, u32> = (0_u32..)
            .zip(&self.states)
            .map(|(place, state)| (state.0, place))
            .collect();
        let mut back: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for (from, to, environment) in &self.steps {
            if [Fair::Always, fair].contains(environment)
                && let (Some(from), Some(to)) = (place.get(from), place.get(to))
            {
                back[*to as usize].push(*from);
            }
        }
        let is_goal = |state: &(u64, bool, bool)| if fair == Fair::Good { state.1 } else { state.2 };
        let mut reaches: Vec<bool> = self.states.iter().map(is_goal).collect();
        let mut next: Vec<u32> = (0_u32..)
            .zip(&reaches)
            .filter_map(|(place, goal)| goal.then_some(place))
            .collect();
        while let Some(state) = next.pop() {
            for from in &back[state as usize] {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    next.push(*from);
                }
            }
        }
        let stuck = reaches.iter().filter(|reaches| !**reaches).count();
        let first = reaches.iter().position(|reaches| !reaches)?;
        Some((self.states[first].0, stuck))
    }
}

/// Explores a configuration whole.
#[expect(
    clippy::disallowed_methods,
    reason = "how long the search took is what is asked"
)]
pub(crate) fn explore(configuration: &Configuration) -> Findings {
    let begun = Instant::now();
    let checker = search(configuration, None);
    let broken = way(&checker);
    let model = checker.model();
    let graph = std::mem::take(&mut *model.graph.lock().unwrap());
    let mut wrong = broken;
    for (fair, what) in [Fair::Good, Fair::Bad].into_iter().zip(LIVENESS) {
        if wrong.is_none()
            && (fair == Fair::Good || configuration.bad)
            && let Some((state, count)) = graph.stuck(fair)
        {
            let there = way(&search(configuration, Some(state))).unwrap_or_default();
            wrong = Some(format!(
                "from {count} states {what}; the way to the first:\n{there}"
            ));
        }
    }
    let decisions = model.tables.lock().unwrap().thoughts.len();
    Findings {
        name: configuration.name,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        decisions,
        took: begun.elapsed(),
        phases: graph.phases,
        wrong,
    }
}

fn search(configuration: &Configuration, wanted: Option<u64>) -> impl Checker<Small> {
    let model = Small {
        tables: Mutex::new(Tables::new(configuration.clone())),
        graph: Mutex::default(),
        wanted,
    };
    // One thread: breadth first, so that the way to what is wrong is a shortest one, and the same each time.
    model.checker().threads(1).spawn_bfs().join()
}

/// The way to the state that was found.
fn way(checker: &impl Checker<Small>) -> Option<String> {
    let path = checker.discovery(KEPT)?;
    let tables = checker.model().tables.lock().unwrap();
    Some(telling::way(&tables, path.into_vec()))
}
