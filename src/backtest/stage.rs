//! The stage of a replayed rollout: objects that do at once what is asked of them, and a Prometheus that knows the past.

use jiff::Timestamp;

use crate::api::status::Phase;
use crate::api::{BirdWatchStatus, Span};
use crate::core::decide::decide_on;
use crate::core::decision::{CheckRequest, Decision, Effect};
use crate::core::observation::{
    Answer, Check, DeploymentSeen, Lacks, OURSELVES, ObjectName, Observation, Outcome, Point, Question,
    RouteSeen, RuleSeen, Settings, Side,
};
use crate::core::sequential::counts::Counts;
use crate::core::weights::share;

use super::history::{History, QueryHistory};
use super::live::Live;
use super::policy::Policy;
use super::trial::{Trial, instant};
use super::weights::Weights;

/// Milliseconds until a check is answered.
const ANSWERED: i64 = 100;
/// The two versions' names; which they are makes no difference.
const PRODUCTION: &str = "production";
const CANARY: &str = "canary";

pub(super) struct Stage<'a> {
    policy: &'a Policy,
    history: &'a History,
    fault: f64,
    pub(super) now: i64,
    pub(super) status: BirdWatchStatus,
    seen: Observation,
    live: Vec<Live<'a>>,
    weights: Weights,
    wake: Option<Timestamp>,
    flight: Option<(i64, CheckRequest)>,
    pub(super) checks: u32,
}

impl<'a> Stage<'a> {
    pub(super) fn new(policy: &'a Policy, history: &'a History, trial: &Trial) -> Self {
        let scrape = i64::try_from(history.scrape.std().as_millis()).unwrap_or(i64::MAX);
        let live = history.counters.iter().enumerate().map(|(i, counters)| {
            Live::new(
                counters,
                scrape,
                trial.start,
                trial.canary,
                trial.chance(i),
                trial.fault,
            )
        });
        let mut stage = Self {
            policy,
            history,
            fault: trial.fault,
            now: trial.start,
            status: BirdWatchStatus::default(),
            seen: observation(policy, history.scrape),
            live: live.collect(),
            weights: Weights::default(),
            wake: None,
            flight: None,
            checks: 0,
        };
        stage.rest();
        let created = instant(stage.now);
        stage.seen.deployments.push(deployment(CANARY, created));
        stage.rest();
        stage
    }

    /// Bad and all requests of the canary, by the first counters there are.
    pub(super) fn done(&self) -> Option<Counts> {
        self.live.first().map(|live| live.done)
    }

    /// Lets time pass to the next thing that happens. Returns whether there is one.
    pub(super) fn next(&mut self) -> bool {
        let landing = self.flight.as_ref().map(|(asked, _)| asked + ANSWERED);
        let wake = self.wake.map(Timestamp::as_millisecond);
        let Some(next) = [wake, landing].into_iter().flatten().min() else {
            return false;
        };
        self.now = next.max(self.now);
        self.rest();
        true
    }

    /// Decides until nothing changes at this instant.
    fn rest(&mut self) {
        self.land();
        for _ in 0..20 {
            if !self.pass() {
                return;
            }
        }
        // Something is asked for again and again at the same instant: let time pass.
        self.now += 1000;
    }

    /// One decision and its effects. Returns whether another one may find more to do.
    fn pass(&mut self) -> bool {
        let now = instant(self.now);
        let zero = self.seen.routes.iter().all(|route| route.is_at(0));
        self.seen.canary_zero_since = zero.then(|| self.seen.canary_zero_since.unwrap_or(now));
        self.seen.asking = self.flight.as_ref().map(|(_, request)| request.id.clone());
        let Decision {
            next,
            effects,
            check,
            wake,
            events: _,
        } = decide_on(&self.status, &self.seen, Ok(self.policy.plan.clone()), now);
        let place = |status: &BirdWatchStatus| {
            let weights = status.rollout.as_ref().map(|r| (r.step, r.intended, r.confirmed));
            (status.phase, weights)
        };
        let moved = place(&next) != place(&self.status);
        self.status = next;
        self.wake = wake;
        let asks = check.is_some();
        if let Some(request) = check {
            self.checks = self.checks.saturating_add(1);
            self.flight = Some((self.now, request));
        }
        let mut changed = false;
        for effect in &effects {
            changed |= self.apply(effect);
        }
        self.weights.set(self.now, self.canary_share());
        moved || changed || (asks && self.wake.is_none_or(|wake| wake <= now))
    }

    /// The canary's share of the traffic, 0 to 1.
    fn canary_share(&self) -> f64 {
        let percent = self.seen.routes.first().map_or(0, RouteSeen::canary_share);
        f64::from(u8::try_from(percent).unwrap_or(0)) / 100.0
    }

    /// An effect on the stage. Returns whether it changed anything.
    fn apply(&mut self, effect: &Effect) -> bool {
        let seen = &mut self.seen;
        let mut set = |percent: u8, only_down: bool| {
            let mut changed = false;
            for route in &mut seen.routes {
                let canary = share(route.total, percent);
                let moves = !only_down || route.canary_share() > canary;
                if moves && route.canary_share() != canary {
                    (route.production, route.canary) = (Some(route.total - canary), Some(canary));
                    changed = true;
                }
            }
            changed
        };
        match effect {
            Effect::Lower { percent } => set(*percent, true),
            Effect::Raise { percent } => set(*percent, false),
            Effect::RestoreWeights | Effect::TakeBack => set(0, false),
            Effect::Label { subset, version } => {
                let Ok(rule) = &mut seen.rule else { return false };
                let label = match subset {
                    Side::Production => &mut rule.production,
                    Side::Canary => &mut rule.canary,
                };
                label.replace(version.clone()).as_ref() != Some(version)
            }
            Effect::RestoreLabel { kept, .. } => {
                let Ok(rule) = &mut seen.rule else { return false };
                let changed = rule.canary != *kept;
                rule.canary.clone_from(kept);
                changed
            }
            Effect::AddFinalizer => !std::mem::replace(&mut seen.finalizer, true),
            Effect::RemoveFinalizer => std::mem::replace(&mut seen.finalizer, false),
            Effect::ReadRoutes | Effect::IdentifyRuleWriter => false,
        }
    }

    /// A check under way is answered.
    fn land(&mut self) {
        let due = |(asked, _): &mut (i64, CheckRequest)| *asked + ANSWERED <= self.now;
        let Some((asked, request)) = self.flight.take_if(due) else {
            return;
        };
        for live in &mut self.live {
            live.flow(&self.weights, self.now);
        }
        let percent = self.canary_share();
        let answers = request
            .questions
            .iter()
            .map(|question| self.answer(question, asked, percent));
        let samples = request.samples.iter().map(|question| {
            let found = self.policy.counters(&question.metric).and_then(|counters| {
                let mut all = self.history.counters.iter().zip(&self.live);
                all.find(|(history, _)| history.counters == *counters)
            });
            found.map_or_else(
                || crate::core::observation::SampleAnswer {
                    metric: question.metric.clone(),
                    side: question.side,
                    counted: question.counted,
                    from: question.from,
                    at: question.at,
                    unknown_names: Ok(Vec::new()),
                    outcome: Err("the past of this metric is not known".to_owned()),
                },
                |(_, live)| live.answer(question),
            )
        });
        self.seen.check = Some(Check {
            id: request.id,
            asked_at: instant(asked),
            answers: answers.collect(),
            samples: samples.collect(),
            scrape: request.scrape,
        });
    }

    /// What production's own query answered then. The canary's is the same, in proportion to its traffic where it grows with
    /// that, and spoiled where it is a share of bad requests.
    fn answer(&self, question: &Question, at: i64, percent: f64) -> Answer {
        let asked = self.policy.threshold(&question.metric);
        let past = asked.and_then(|asked| self.history.query_of(asked));
        let side = question.side;
        let weight = if side == Side::Canary {
            percent
        } else {
            1.0 - percent
        };
        let (outcome, traffic) = match past {
            None => (
                Outcome::Failed("the past of this query is not known".to_owned()),
                None,
            ),
            Some(past) => self.remembered(past, side, at, weight),
        };
        Answer {
            metric: question.metric.clone(),
            side,
            outcome,
            traffic: Some(traffic.ok_or_else(|| "it is not known how much there was".to_owned())),
        }
    }

    fn remembered(&self, past: &QueryHistory, side: Side, at: i64, weight: f64) -> (Outcome, Option<f64>) {
        let step = i64::try_from(past.step.std().as_millis()).unwrap_or(i64::MAX);
        let reach = step.saturating_add(step / 2);
        let scaled = past.past.grows_with_traffic && past.past.of_version && !past.past.question.per_request;
        let spoiled = past.past.is_error_share && side == Side::Canary;
        let value = |value: f64| {
            let value = if scaled { value * weight } else { value };
            if spoiled {
                value + (1.0 - value).max(0.0) * self.fault
            } else {
                value
            }
        };
        let points: Vec<Point> = past
            .series
            .iter()
            .enumerate()
            .filter_map(|(i, series)| {
                Some(Point {
                    labels: if past.series.len() > 1 {
                        i.to_string()
                    } else {
                        String::new()
                    },
                    value: value(series.at(at, reach)?),
                })
            })
            .collect();
        // What is divided by the traffic is divided by production's, as it was read.
        let traffic = past.traffic.at(at, reach);
        if points.is_empty() {
            let unknown_names = Ok(Vec::new());
            (Outcome::Empty { unknown_names }, traffic.map(|t| t * weight))
        } else {
            (Outcome::Series(points), traffic)
        }
    }

    /// Whether the rollout is over.
    pub(super) fn is_over(&self) -> bool {
        matches!(
            self.status.phase,
            Phase::Promoted | Phase::RolledBack | Phase::Frozen
        )
    }
}

fn deployment(version: &str, created: Timestamp) -> DeploymentSeen {
    DeploymentSeen {
        name: version.to_owned(),
        uid: version.to_owned(),
        version: Some(version.to_owned()),
        revision: Some("1".to_owned()),
        created: Some(created),
        replicas: 1,
        current: 1,
        updated: 1,
        available: 1,
        lacks: Lacks::default(),
    }
}

fn observation(policy: &Policy, scrape: Span) -> Observation {
    let name = ObjectName {
        namespace: "default".to_owned(),
        name: policy.plan.target.service.clone(),
    };
    Observation {
        deployments: vec![deployment(PRODUCTION, Timestamp::UNIX_EPOCH)],
        rule: Ok(RuleSeen {
            production: Some(PRODUCTION.to_owned()),
            canary: None,
            host: None,
        }),
        routes: vec![RouteSeen {
            key: "route".to_owned(),
            production: Some(100),
            canary: Some(0),
            total: 100,
        }],
        // Nobody else is there, and nothing is late.
        routes_writer: Some(OURSELVES.to_owned()),
        ..Observation::bare(name, policy.spec.clone(), settings(scrape))
    }
}

/// The settings that the operator has where nothing else is said, with the scrape interval of the history.
pub(super) const fn settings(scrape: Span) -> Settings {
    Settings {
        scrape_interval: scrape,
        propagation_delay: Span::secs(5),
        query_timeout: Span::secs(5),
        notify: None,
    }
}
