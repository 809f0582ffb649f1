//! A small world for tests of the core: it carries out decisions as the shell would, and lets time pass.

use jiff::{SignedDuration, Timestamp};

use crate::api::status::Phase;
use crate::api::{BirdWatchSpec, BirdWatchStatus, Span};

use super::decide::{decide, target};
use super::decision::{CheckRequest, Decision, Effect, Event};
use super::observation::*;
use super::weights::share;
use traffic::Traffic;

pub(crate) mod traffic;

/// What Prometheus answers to a question at canary weight `percent`.
pub(crate) type Oracle = fn(&Question, u8) -> (Outcome, f64);

/// What a test says in Prometheus's place: the answer, and what the version's traffic is looked up to be.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) outcome: Outcome,
    pub(crate) traffic: Result<f64, String>,
}

impl Said {
    /// One request a second was served.
    pub(crate) fn outcome(outcome: Outcome) -> Self {
        Self {
            outcome,
            traffic: Ok(1.0),
        }
    }

    /// One series.
    pub(crate) fn one(value: f64) -> Self {
        Self::outcome(number(value))
    }

    /// Several series by their labels.
    pub(crate) fn many(series: impl IntoIterator<Item = (impl ToString, f64)>) -> Self {
        let point = |(labels, value): (_, f64)| Point {
            labels: ToString::to_string(&labels),
            value,
        };
        Self::outcome(Outcome::Series(series.into_iter().map(point).collect()))
    }

    /// No series, and every name is known.
    pub(crate) fn empty() -> Self {
        Self::outcome(Outcome::Empty {
            unknown_names: Ok(Vec::new()),
        })
    }

    pub(crate) fn failed(why: &str) -> Self {
        Self::outcome(Outcome::Failed(why.to_owned()))
    }

    /// The same with another traffic.
    pub(crate) fn at_rate(mut self, rate: f64) -> Self {
        self.traffic = Ok(rate);
        self
    }
}

/// As an [`Oracle`], with a memory of its own.
type Script = Box<dyn FnMut(&Question, u8) -> Said>;

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) spec: Result<BirdWatchSpec, String>,
    pub(crate) status: BirdWatchStatus,
    pub(crate) seen: Observation,
    pub(crate) oracle: Oracle,
    pub(crate) traffic: Traffic,
    /// Goes before the oracle.
    script: Option<Script>,
    pub(crate) events: Vec<Event>,
    /// Every weight in percent the first route had, with its time.
    pub(crate) weights: Vec<(Timestamp, i64)>,
    /// Effects carried out, lowest first.
    pub(crate) effects: Vec<Effect>,
    pub(crate) checks: usize,
    /// Whether the API server takes patches of routes.
    pub(crate) routes_writable: bool,
    /// The fields of `spec` that can be read one by one where the whole cannot: `paused`.
    pub(crate) raw_paused: Option<bool>,
    /// What people last said of it, and could be read.
    pub(crate) paused: bool,
    /// Rollout and confirmed weight, and since when by the true time.
    confirmed: Option<(String, u8, Timestamp)>,
    /// How far the operator's clock is behind the true time.
    behind: SignedDuration,
    wake: Option<Timestamp>,
    flight: Option<Flight>,
}

/// A check under way.
struct Flight {
    asked_at: Timestamp,
    lands: Timestamp,
    request: CheckRequest,
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

pub(crate) fn number(value: f64) -> Outcome {
    Outcome::Series(vec![Point {
        labels: String::new(),
        value,
    }])
}

pub(crate) fn deployment(version: &str, created: i64) -> DeploymentSeen {
    DeploymentSeen {
        name: format!("aleph-{version}"),
        uid: format!("uid-{version}"),
        version: Some(version.to_owned()),
        revision: Some("1".to_owned()),
        created: Some(at(created)),
        replicas: 2,
        current: 2,
        updated: 2,
        available: 2,
        ..DeploymentSeen::default()
    }
}

pub(crate) fn spec(yaml: &str) -> BirdWatchSpec {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Three steps of 10 s, a metric that depends on the version.
pub(crate) const STEPS: &str = r#"
service: aleph
metrics: [{name: errors, query: 'errors{version="$(version)"}', deviation: 0.5}]
steps: [{weight: 10, hold: 10s}, {weight: 50, hold: 10s}, {weight: 100, hold: 10s}]
settle: 0s
"#;

/// Production v1 with two pods, and nothing else.
fn first_sight(spec: BirdWatchSpec) -> Observation {
    let name = ObjectName {
        namespace: "default".into(),
        name: "aleph".into(),
    };
    let settings = Settings {
        scrape_interval: Span::secs(1),
        propagation_delay: Span::secs(2),
        query_timeout: Span::secs(5),
        notify: Some(crate::api::spec::Level::Steps),
    };
    Observation {
        deployments: vec![deployment("v1", -1000)],
        rule: Ok(RuleSeen {
            production: Some("v1".into()),
            canary: None,
            host: None,
        }),
        routes: vec![RouteSeen {
            key: "aleph/http[0]".into(),
            production: Some(100),
            canary: Some(0),
            total: 100,
        }],
        ..Observation::bare(name, spec, settings)
    }
}

impl World {
    /// Production v1 with two pods; the `BirdWatch` was there before any canary.
    pub(crate) fn new(yaml: &str) -> Self {
        let mut world = Self {
            now: at(0),
            spec: Ok(spec(yaml)),
            status: BirdWatchStatus::default(),
            seen: first_sight(spec(yaml)),
            oracle: |_, _| (number(0.0), 1.0),
            traffic: Traffic::default(),
            script: None,
            events: Vec::new(),
            weights: Vec::new(),
            effects: Vec::new(),
            checks: 0,
            routes_writable: true,
            raw_paused: None,
            paused: false,
            confirmed: None,
            behind: SignedDuration::ZERO,
            wake: None,
            flight: None,
        };
        world.pass();
        world
    }

    /// The same with canary v2 just deployed.
    pub(crate) fn with_canary(yaml: &str) -> Self {
        let mut world = Self::new(yaml);
        world.deploy("v2");
        world
    }

    pub(crate) fn deploy(&mut self, version: &str) {
        let created = (self.true_time().as_second() - at(0).as_second()) + 1;
        self.seen.deployments.push(deployment(version, created));
    }

    pub(crate) fn pods(&mut self, version: &str, available: i32) {
        let named = self
            .seen
            .deployments
            .iter_mut()
            .find(|d| d.version.as_deref() == Some(version));
        named.unwrap().available = available;
    }

    /// Has every question answered by `script` from now on.
    pub(crate) fn answer(&mut self, script: impl FnMut(&Question, u8) -> Said + 'static) {
        self.script = Some(Box::new(script));
    }

    /// The check under way.
    pub(crate) fn asked(&self) -> Option<&CheckRequest> {
        self.flight.as_ref().map(|flight| &flight.request)
    }

    /// The time by a clock that nobody sets.
    pub(crate) fn true_time(&self) -> Timestamp {
        self.now.checked_add(self.behind).unwrap()
    }

    /// How long the confirmed weight of the running rollout is confirmed already, by the true time.
    pub(crate) fn held(&self) -> Span {
        let since = self.confirmed.as_ref().map(|(_, _, since)| *since);
        since.map_or(Span::ZERO, |since| Span::between(since, self.true_time()))
    }

    /// A version's Deployment asks for so many pods, and has them.
    pub(crate) fn scale(&mut self, version: &str, pods: i32) {
        let of_version = |d: &&mut DeploymentSeen| d.version.as_deref() == Some(version);
        let named = self.seen.deployments.iter_mut().find(of_version).unwrap();
        (named.replicas, named.current, named.updated, named.available) = (pods, pods, pods, pods);
    }

    /// A further route of ours appears, which gives production everything.
    pub(crate) fn add_route(&mut self, key: &str) {
        let mut late = self.seen.routes[0].clone();
        key.clone_into(&mut late.key);
        (late.production, late.canary) = (Some(late.total), Some(0));
        self.seen.routes.push(late);
    }

    /// Whether production's subset points at that version.
    pub(crate) fn is_production(&self, version: &str) -> bool {
        self.seen.rule.as_ref().unwrap().production.as_deref() == Some(version)
    }

    /// Weight 0..100 of the canary on the first route.
    pub(crate) fn weight(&self) -> i64 {
        self.seen.routes.first().map_or(0, RouteSeen::canary_share)
    }

    pub(crate) fn set_weight(&mut self, canary: i64) {
        let route = &mut self.seen.routes[0];
        (route.production, route.canary) = (Some(route.total - canary), Some(canary));
        self.seen.routes_writer = None;
    }

    /// One decision and its effects. Returns whether anything was done.
    pub(crate) fn pass(&mut self) -> bool {
        self.land();
        let zero = self.seen.routes.iter().all(|r| r.is_at(0));
        self.seen.canary_zero_since = if zero {
            let since = self.seen.canary_zero_since.filter(|since| *since <= self.now);
            since.or(Some(self.now))
        } else {
            None
        };
        self.seen.spec = self.spec.clone();
        self.seen.paused = match &self.spec {
            Ok(spec) => spec.paused,
            Err(_) => self.raw_paused,
        };
        self.paused = match (&self.spec, self.seen.paused) {
            (Err(_), None) => self.paused,
            (_, paused) => paused == Some(true),
        };
        // It proves nothing, now or later.
        self.seen.check.take_if(|check| check.asked_at > self.now);
        self.seen.asking = self.flight.as_ref().map(|flight| flight.request.id.clone());
        let _ = target(&self.status, &self.spec);
        let decision = decide(&self.status, &self.seen, self.now);
        assert_eq!(
            decision,
            decide(&self.status, &self.seen, self.now),
            "a decision is deterministic"
        );
        self.seen.acks.clear();
        self.carry_out(decision)
    }

    fn carry_out(&mut self, decision: Decision) -> bool {
        let Decision {
            next,
            effects,
            check,
            wake,
            events,
        } = decision;
        let json = serde_json::to_value(&next).unwrap();
        assert_eq!(
            serde_json::from_value::<BirdWatchStatus>(json).unwrap(),
            next,
            "status survives being stored"
        );
        let changed = next != self.status || check.is_some();
        self.status = next;
        self.note_confirmed();
        self.events.extend(events);
        if let Some(request) = check {
            self.checks += 1;
            self.flight = Some(Flight {
                asked_at: self.now,
                lands: self.now.checked_add(Span::millis(100).signed()).unwrap(),
                request,
            });
        }
        let done = effects.iter().filter(|effect| self.apply(effect)).count() > 0;
        self.weights.push((self.now, self.weight()));
        self.wake = wake;
        changed || done
    }

    fn note_confirmed(&mut self) {
        let running = self.status.rollout.as_ref().filter(|r| r.ended.is_none());
        let now = running.map(|r| (r.id.clone(), r.confirmed));
        let before = self.confirmed.take();
        self.confirmed = now.map(|(id, confirmed)| match before {
            Some(before) if (&before.0, before.1) == (&id, confirmed) => before,
            _ => (id, confirmed, self.true_time()),
        });
    }

    /// An effect on the world. Returns whether it changed anything.
    fn apply(&mut self, effect: &Effect) -> bool {
        let outside = |seen: &Observation| {
            let Observation {
                rule,
                routes,
                finalizer,
                routes_writer,
                rule_writer,
                ..
            } = seen.clone();
            (rule, routes, finalizer, routes_writer, rule_writer)
        };
        let before = outside(&self.seen);
        match effect {
            Effect::Lower { percent } => self.write_routes(*percent, true),
            Effect::Raise { percent } => self.write_routes(*percent, false),
            Effect::TakeBack => self.write_routes(0, false),
            Effect::Label { subset, version } => {
                let rule = self.seen.rule.as_mut().unwrap();
                match subset {
                    Side::Production => rule.production = Some(version.clone()),
                    Side::Canary => rule.canary = Some(version.clone()),
                }
            }
            Effect::RestoreWeights => {
                let kept = self.status.rollout.as_ref().unwrap().kept.routes.clone();
                for (route, kept) in self.seen.routes.iter_mut().zip(kept) {
                    (route.production, route.canary) = (kept.production, kept.canary);
                }
            }
            Effect::RestoreLabel { kept, .. } => self.seen.rule.as_mut().unwrap().canary.clone_from(kept),
            Effect::AddFinalizer => self.seen.finalizer = true,
            Effect::RemoveFinalizer => self.seen.finalizer = false,
            Effect::ReadRoutes => self.seen.routes_writer = Some("kubectl-edit".into()),
            Effect::IdentifyRuleWriter => self.seen.rule_writer = Some("argocd-controller".into()),
        }
        let changed = before != outside(&self.seen);
        if changed {
            self.effects.push(effect.clone());
        }
        changed
    }

    fn write_routes(&mut self, percent: u8, only_down: bool) {
        if !self.routes_writable {
            return;
        }
        for route in &mut self.seen.routes {
            let canary = share(route.total, percent);
            if !only_down || route.canary_share() > canary {
                (route.production, route.canary) = (Some(route.total - canary), Some(canary));
                self.seen.routes_writer = None;
            }
        }
    }

    /// A check under way is answered a tenth of a second after it was asked.
    fn land(&mut self) {
        let Some(Flight {
            asked_at, request, ..
        }) = self.flight.take_if(|flight| flight.lands <= self.now)
        else {
            return;
        };
        let percent = u8::try_from(self.weight()).unwrap();
        let oracle = self.oracle;
        let script = &mut self.script;
        let answer = |question: &Question| {
            let said = if let Some(script) = script {
                script(question, percent)
            } else {
                let (outcome, traffic) = oracle(question, percent);
                Said::outcome(outcome).at_rate(traffic)
            };
            Answer {
                metric: question.metric.clone(),
                side: question.side,
                outcome: said.outcome,
                traffic: Some(said.traffic),
            }
        };
        let answers = request.questions.iter().map(answer).collect();
        self.traffic.flow(&self.weights, self.now);
        let samples = request.samples.iter().map(|asked| self.traffic.answer(asked));
        let samples = samples.collect();
        self.seen.check = Some(Check {
            id: request.id,
            asked_at: asked_at.min(self.now),
            answers,
            samples,
            scrape: request.scrape,
        });
    }

    /// Passes until nothing changes at this instant.
    pub(crate) fn calm_down(&mut self) {
        for _ in 0..20 {
            if !self.pass() {
                return;
            }
        }
        panic!("no rest at {}: {:?}", self.now, self.status);
    }

    /// When the next thing happens.
    fn upcoming(&self) -> Option<Timestamp> {
        let landing = self.flight.as_ref().map(|flight| flight.lands);
        self.wake.into_iter().chain(landing).min()
    }

    /// Lets time pass to the next thing that happens. Returns whether there is one.
    pub(crate) fn next(&mut self) -> bool {
        self.calm_down();
        let Some(next) = self.upcoming() else {
            return false;
        };
        self.now = next.max(self.now);
        self.calm_down();
        true
    }

    /// Lets `seconds` pass.
    pub(crate) fn run(&mut self, seconds: i64) {
        self.run_with(seconds, Self::calm_down);
    }

    /// The same, with another way to come to rest at each instant.
    pub(crate) fn run_with(&mut self, seconds: i64, calm_down: impl Fn(&mut Self)) {
        let end = self
            .now
            .checked_add(Span::millis(seconds * 1000).signed())
            .unwrap();
        calm_down(self);
        while let Some(next) = self.upcoming().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            calm_down(self);
        }
        self.now = end;
        calm_down(self);
    }

    /// Runs to a phase; fails when it is not reached.
    pub(crate) fn run_to(&mut self, phase: Phase) -> &mut Self {
        self.until(|world| world.status.phase == phase)
    }

    /// Runs until something holds; fails when it never does.
    pub(crate) fn until(&mut self, holds: impl Fn(&Self) -> bool) -> &mut Self {
        for _ in 0..5_000 {
            if holds(self) {
                return self;
            }
            if !self.next() {
                break;
            }
        }
        assert!(
            holds(self),
            "stands still in {:?}: {}",
            self.status.phase,
            self.status.message
        );
        self
    }

    /// The operator is killed and another takes over after `seconds`: what was only in memory is gone. Below 0 it takes
    /// over at once, and its clock is that far behind.
    pub(crate) fn crash(&mut self, seconds: i64) {
        let from = self.now;
        self.flight = None;
        self.seen.check = None;
        self.seen.canary_zero_since = None;
        (self.seen.routes_writer, self.seen.rule_writer) = (None, None);
        let to = from.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        self.now = to;
        if seconds < 0 {
            self.behind += SignedDuration::from_secs(-seconds);
        }
        // As the lease remembers them.
        match self.seen.gaps.last_mut() {
            Some(last) if from <= last.to => last.to = last.to.max(to),
            _ if from < to => self.seen.gaps.push(Gap { from, to }),
            _ => {}
        }
    }

    /// The clock of the machine is set back.
    pub(crate) fn set_back(&mut self, seconds: i64) {
        let by = SignedDuration::from_secs(seconds);
        let back = |at: Timestamp| at.checked_sub(by).unwrap();
        self.now = back(self.now);
        self.behind += by;
        self.wake = self.wake.map(back);
        if let Some(flight) = &mut self.flight {
            flight.lands = back(flight.lands);
        }
    }

    pub(crate) fn reasons(&self) -> Vec<&'static str> {
        self.events.iter().map(|e| e.reason).collect()
    }

    /// The different weights the first route had, in order.
    pub(crate) fn path(&self) -> Vec<i64> {
        let mut path: Vec<i64> = self.weights.iter().map(|(_, weight)| *weight).collect();
        path.dedup();
        path
    }
}
