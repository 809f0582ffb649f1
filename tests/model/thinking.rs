//! What production does between what it sees and what it sends: `look_from`, `decide`, and what a commit leaves in memory.
//! Nothing of it is written again here.

use std::sync::{Arc, LazyLock};

use birdwatch::api::status::{Candidate, Phase, Rollout};
use birdwatch::controller::commit::Intent;
use birdwatch::controller::errors::Fault;
use birdwatch::controller::look::{self, look_from};
use birdwatch::controller::memory::{self, Asking, Identified, Remembered};
use birdwatch::controller::objects::Deployment;
use birdwatch::core::decide::decide_on;
use birdwatch::core::decision::{CheckRequest, Decision, Effect};
use birdwatch::core::observation::{Answer, Check, OURSELVES, Outcome, Point, Side};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::AbortHandle;

use super::configuration::Configuration;
use super::objects::{self, TICK, View, ago, now};
use super::promises;
use super::state::*;
use super::tables::Tables;

/// What a decision depends on: whose it is, what is seen, what is remembered, and when nobody has led.
pub(crate) type Key = (u8, [Option<Bird>; BIRDS], Id, Id, AllPods, Memo, u8);

/// What the memory of a commit depends on, at last on the fault: none, a conflict, or another.
pub(crate) type SettleKey = (Option<Held>, Id, Id, bool, Option<bool>);

/// A call of the API server that a decision leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    /// The status is written.
    Status,
    /// The `BirdWatch` is read, to see that what was decided on is the newest.
    Read,
    /// An effect is carried out.
    Effect(Effect),
}

/// A decision, and what it leads to, in this order: lowering, the status where it is worth a write, everything else.
pub(crate) struct Thought {
    pub(crate) calls: Vec<Call>,
    pub(crate) next: Id,
    /// What is remembered once the check is asked, before the status is settled.
    pub(crate) memo: Memo,
    pub(crate) acted_upon: bool,
    pub(crate) wake: Option<Ticks>,
    /// What effects are made of.
    pub(crate) objects: look::Objects,
    pub(crate) rollout: Option<Rollout>,
    /// The rollout that the next status has.
    pub(crate) after: Option<Rollout>,
    pub(crate) attempt: Option<Id>,
    pub(crate) is_rolling_back: bool,
    /// A check is asked.
    pub(crate) asks: bool,
    pub(crate) broken: Option<u8>,
}

impl Thought {
    /// What was given up goes back to what was there, whatever has weight.
    pub(crate) fn gives_back(&self, version: &str) -> bool {
        let before = self.rollout.as_ref();
        before.is_some_and(|rollout| rollout.production.version == version)
    }

    pub(crate) fn call(&self, at: u8) -> Option<&Call> {
        self.calls.get(usize::from(at))
    }

    pub(crate) fn lowers_to(&self) -> Option<u8> {
        let lowered = self.calls.iter().filter_map(|call| match call {
            Call::Effect(Effect::Lower { percent }) => Some(*percent),
            _ => None,
        });
        lowered.min()
    }

    pub(crate) fn effect(&self, at: u8) -> Option<&Effect> {
        match self.call(at)? {
            Call::Effect(effect) => Some(effect),
            Call::Status | Call::Read => None,
        }
    }
}

/// The handle of a task that does nothing: no check of the model is a task.
static NOBODY: LazyLock<AbortHandle> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.spawn(std::future::ready(())).abort_handle()
});

fn ticks(from: Timestamp, to: Timestamp) -> Ticks {
    let seconds = to.duration_since(from).as_secs().max(0);
    let tick = TICK.signed().as_secs();
    u8::try_from((seconds + tick - 1) / tick)
        .unwrap_or(LONG)
        .min(LONG)
}

/// Lowering first, then the status, written or at least read where something may only follow the newest and others may have
/// written it; then all else.
fn calls(lower: Vec<Effect>, is_written: bool, is_own: bool, rest: Vec<Effect>) -> Vec<Call> {
    let reads = !is_own && rest.iter().any(Effect::needs_newest_status);
    let status = if is_written {
        Some(Call::Status)
    } else {
        reads.then_some(Call::Read)
    };
    let lower = lower.into_iter().map(Call::Effect);
    lower
        .chain(status)
        .chain(rest.into_iter().map(Call::Effect))
        .collect()
}

impl Tables {
    /// What an operator decides that sees and remembers this.
    pub(crate) fn think(&mut self, key: Key) -> Id {
        if let Some(known) = self.thought_of.get(&key) {
            return *known;
        }
        let thought = self.think_anew(&key);
        let place = Id::try_from(self.thoughts.len()).unwrap();
        self.thoughts.push(Arc::new(thought));
        self.thought_of.insert(key, place);
        place
    }

    fn think_anew(&mut self, key: &Key) -> Thought {
        let (place, birds, _, _, _, memo, _) = key;
        let bird = birds[usize::from(*place)].unwrap();
        let (spec, plan) = self.specs[usize::from(bird.form)].clone();
        let stored = (**self.statuses.at(bird.status)).clone();
        let object = self.object(*place, bird, &Value::Null);
        let mut remembered = self.remembered(memo, bird);
        let view = self.view(key);
        let look = look_from(&view, object, Ok(spec), stored, &mut remembered, now());
        let same_plan = look.status.rollout.as_ref().is_some_and(|r| r.plan == plan);
        let decision = decide_on(&look.status, &look.seen, Ok(plan), now());
        let broken = promises::of_decision(self, key, same_plan, &look, &decision);
        let attempt = decision.next.rollout.as_ref().map(|r| r.id.clone());
        let attempt = attempt.map(|id| self.attempts.place(id.clone(), id));
        let Decision {
            next,
            effects,
            check,
            wake,
            ..
        } = decision;
        let (after, is_rolling_back) = (next.rollout.clone(), next.phase == Phase::RollingBack);
        let next = self.status(next);
        let is_lowering = |effect: &Effect| matches!(effect, Effect::Lower { .. });
        let (lower, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(is_lowering);
        let intent = Intent {
            status: (**self.statuses.at(next)).clone(),
            events: Vec::new(),
            acted_upon: !lower.is_empty(),
            needs_newest: false,
        };
        let acted_upon = intent.acted_upon;
        let is_written = intent.is_worth_writing(&remembered, &look.stored, now());
        if !is_written {
            intent.keep(&mut remembered, &look.stored, 0);
        }
        let weight = after.as_ref().map_or(0, |rollout| rollout.confirmed);
        let asked = check.map(|request| (self.request(request, weight), 0));
        let after_look = Memo {
            held: self.held(remembered.held.take()),
            last_write: remembered.last_write.map(|at| ticks(at, now())),
            zero: look.seen.canary_zero_since.map(|at| ticks(at, now()).min(1)),
            check: memo.check.filter(|_| remembered.check.is_some()),
            asking: asked.or(memo.asking),
            ..*memo
        };
        Thought {
            calls: calls(lower, is_written, memo.wrote_it, rest),
            next,
            memo: after_look,
            acted_upon,
            wake: wake.map(|at| ticks(now(), at)),
            objects: look.objects,
            rollout: look.status.rollout,
            after,
            attempt,
            is_rolling_back,
            asks: asked.is_some(),
            broken,
        }
    }

    /// What is held once the write of a status has met its fate.
    pub(crate) fn settle(
        &mut self,
        memo: &Memo,
        job: &Job,
        acted_upon: bool,
        fault: Option<Fault>,
    ) -> Option<Held> {
        let stored = job.bird.is.status;
        let is_conflict = fault.as_ref().map(|fault| matches!(fault, Fault::Conflict));
        let key = (memo.held, stored, job.next, acted_upon, is_conflict);
        if let Some(known) = self.settled.get(&key) {
            return *known;
        }
        let mut remembered = self.remembered_held(memo);
        let intent = Intent {
            status: (**self.statuses.at(job.next)).clone(),
            events: Vec::new(),
            acted_upon,
            needs_newest: false,
        };
        let stored = Arc::clone(self.statuses.at(stored));
        let answer = fault.map_or_else(|| Ok(Some("2".to_owned())), Err);
        intent.settle(&mut remembered, &stored, 0, answer, now());
        let held = self.held(remembered.held.take());
        self.settled.insert(key, held);
        held
    }

    fn held(&mut self, held: Option<Box<memory::Held>>) -> Option<Held> {
        let memory::Held {
            based_on,
            status,
            acted_upon,
        } = *held?;
        Some(Held {
            based_on: self.status(based_on),
            status: self.status(status),
            acted_upon,
        })
    }

    fn object(
        &self,
        place: u8,
        bird: Bird,
        status: &Value,
    ) -> Arc<birdwatch::controller::objects::RawBirdWatch> {
        let (spec, _) = &self.specs[usize::from(bird.form)];
        let verb = self.configuration.verbs[usize::from(bird.verb)];
        Arc::new(objects::bird(usize::from(place), bird, spec, verb, status))
    }

    fn deployments(&mut self, pods: &AllPods) -> Vec<Arc<Deployment>> {
        let there = (0..VERSIONS).filter_map(|number| Some((number, pods[number]?)));
        let known = &mut self.deployments;
        let deployment = |(number, pods)| {
            let make = || Arc::new(objects::deployment(number, pods));
            Arc::clone(known.entry((number, pods)).or_insert_with(make))
        };
        there.map(deployment).collect()
    }

    /// Whether such a canary is among these Deployments.
    pub(crate) fn is_there(&mut self, pods: &AllPods, canary: &Candidate) -> bool {
        let deployments = self.deployments(pods);
        deployments
            .iter()
            .any(|deployment| deployment.seen("version").is(canary))
    }

    fn view(&mut self, key: &Key) -> View {
        let (_, birds, route, rule, pods, _, absences) = key;
        let deployments = self.deployments(pods);
        let there = (0_u8..)
            .zip(birds)
            .filter_map(|(place, bird)| Some((place, (*bird)?)));
        let objects = there.map(|(place, bird)| {
            let status = match self.configuration.birds {
                1 => Value::Null,
                _ => objects::status_json(self.statuses.at(bird.status)),
            };
            self.object(place, bird, &status)
        });
        let objects = objects.collect();
        View::new(
            objects,
            &self.specs[0].1.target,
            deployments,
            Arc::clone(self.routes.at(*route)),
            Arc::clone(self.rules.at(*rule)),
            objects::gaps(*absences),
            Configuration::settings(),
        )
    }

    fn remembered_held(&self, memo: &Memo) -> Remembered {
        let held = memo.held.map(|held| memory::Held {
            based_on: (**self.statuses.at(held.based_on)).clone(),
            status: (**self.statuses.at(held.status)).clone(),
            acted_upon: held.acted_upon,
        });
        let mut remembered = Remembered::default();
        remembered.held = held.map(Box::new);
        remembered.last_write = memo.last_write.map(ago);
        remembered
    }

    /// What is remembered, as production keeps it.
    fn remembered(&self, memo: &Memo, bird: Bird) -> Remembered {
        let mut remembered = self.remembered_held(memo);
        remembered.check = memo.check.map(|answered| self.check(answered));
        remembered.asking = memo.asking.map(|(request, _)| Asking {
            id: self.asked(request).id.clone(),
            task: NOBODY.clone(),
        });
        let found = |by_hand| Identified {
            versions: vec![Some("1".to_owned())],
            name: if by_hand { "kubectl-edit" } else { OURSELVES }.to_owned(),
        };
        remembered.routes_writer = memo.routes_writer.map(found);
        remembered.rule_writer = memo.rule_writer.then(|| found(false));
        if let Some(zero) = memo.zero {
            let (_, plan) = &self.specs[usize::from(bird.form)];
            remembered.zero_since(&plan.target, true, ago(zero));
        }
        remembered
    }

    /// A check as Prometheus answered it.
    pub(crate) fn check(&self, answered: Answered) -> Check {
        let CheckRequest {
            id,
            questions,
            scrape,
            ..
        } = self.asked(answered.request);
        let one = |value| {
            Outcome::Series(vec![Point {
                labels: String::new(),
                value,
            }])
        };
        let outcome = match answered.said {
            Said::Good => one(0.0),
            Said::Bad => one(9.0),
            Said::Unknown => Outcome::Failed("no answer".to_owned()),
        };
        let answer = |(metric, side): (&String, Side)| Answer {
            metric: metric.clone(),
            side,
            outcome: outcome.clone(),
            traffic: Some(Ok(1.0)),
        };
        Check {
            id: id.clone(),
            asked_at: ago(answered.asked),
            answers: questions.iter().map(|q| answer((&q.metric, q.side))).collect(),
            samples: Vec::new(),
            scrape: *scrape,
        }
    }
}
