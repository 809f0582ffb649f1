//! Before any traffic moves: Pending, until the canary is available and its subset points at it, and Baseline, until
//! there is something to compare with.

use jiff::Timestamp;

use crate::api::conditions::ConditionType;
use crate::api::evidence::Alarm;
use crate::api::plan::Plan;
use crate::api::status::{Candidate, FailureReason, HoldClock, Kept, KeptRoute, NoticeKind, Phase, Rollout};

use super::baseline::{self, Lack};
use super::blocks;
use super::candidates;
use super::counting;
use super::decision::Effect;
use super::end;
use super::guards;
use super::instants;
use super::messages;
use super::number::human;
use super::observation::{CheckId, DeploymentSeen, RuleSeen, Side};
use super::progress;
use super::questions;
use super::turn::Turn;

/// What is done in the phase Baseline.
const RECORDING: &str = "recording the baseline";

/// A new rollout, from 0.
pub(super) fn begin(
    turn: &mut Turn<'_>,
    plan: Plan,
    rule: &RuleSeen,
    production: &str,
    canary: Candidate,
) -> Rollout {
    let rollout = fresh(turn, plan, rule, production, canary);
    turn.next.attempts = turn.next.attempts.saturating_add(1);
    turn.clear(ConditionType::Interference);
    turn.next.notices.told.clear();
    turn.enter(
        Phase::Pending,
        format!(
            "{} is to replace {}",
            rollout.canary.version, rollout.production.version
        ),
    );
    turn.tell(&rollout, NoticeKind::Started, messages::started(&rollout));
    rollout
}

/// A rollout in which nothing has happened.
pub(super) fn fresh(
    turn: &Turn<'_>,
    plan: Plan,
    rule: &RuleSeen,
    production: &str,
    canary: Candidate,
) -> Rollout {
    let of_production = turn
        .seen
        .deployments
        .iter()
        .filter(|d| d.version.as_deref() == Some(production));
    let deployment = of_production.max_by_key(|d| d.available);
    let production = deployment
        .and_then(DeploymentSeen::as_seen)
        // Its Deployment is gone, or has another version by now.
        .or_else(|| candidates::last_of_production(&turn.next, &turn.seen.deployments, production))
        .unwrap_or_else(|| Candidate {
            version: production.to_owned(),
            ..Candidate::default()
        });
    Rollout {
        kept: Kept {
            routes: turn.seen.routes.iter().map(kept_route).collect(),
            canary_label: rule.canary.clone(),
            host: rule.host.clone(),
        },
        ..Rollout::unbegun(id(turn, &canary.version), plan, production, canary, turn.now)
    }
}

impl Rollout {
    /// The weight that a route of ours has at least once: of a first raise, as soon as one of them has it.
    pub(crate) const fn reached(&self) -> u8 {
        if self.confirmed == 0 && self.step > 0 {
            self.intended
        } else {
            self.confirmed
        }
    }

    /// Nothing has happened in it, and it knows of no object.
    pub(in crate::core) fn unbegun(
        id: String,
        plan: Plan,
        production: Candidate,
        canary: Candidate,
        started: Timestamp,
    ) -> Self {
        Self {
            id,
            canary,
            production,
            plan,
            started,
            ended: None,
            clock: HoldClock::started(started),
            had_weight_at: None,
            canary_label_at: None,
            production_label_at: None,
            step: 0,
            alarm: Alarm::default(),
            intended: 0,
            confirmed: 0,
            confirmed_at: None,
            raised: false,
            relabelled: false,
            hold: None,
            hold_reason: None,
            metrics: Vec::new(),
            last_check: None,
            verdict: None,
            promote_asked: false,
            failure: None,
            kept: Kept::default(),
            rest: serde_json::Map::new(),
        }
    }
}

/// Names a rollout for good: also after its `BirdWatch` was deleted and made again.
fn id(turn: &Turn<'_>, version: &str) -> String {
    let seconds = turn.now.as_second().unsigned_abs();
    let mut ids = (seconds..).map(|seconds| format!("{version}-{}", in_base_36(seconds)));
    // A clock that was set back shows the same second again.
    let is_free = |id: &String| turn.next.ended.iter().all(|ended| ended.id != *id);
    ids.find(is_free).unwrap_or_default()
}

fn in_base_36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.extend(char::from_digit(u32::try_from(number % 36).unwrap_or(0), 36));
        number /= 36;
    }
    digits.iter().rev().collect()
}

fn kept_route(route: &super::observation::RouteSeen) -> KeptRoute {
    KeptRoute {
        route: route.key.clone(),
        production: route.production,
        canary: route.canary,
        joined: false,
    }
}

/// The phase Pending.
pub(super) fn pend(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    guards::enforce(turn, rollout);
    if progress::heed_pause(turn, rollout) {
        rollout.clock.stop(turn.now);
    } else {
        rollout.clock.run(turn.now);
    }
    if let Some(missing) = missing(turn, rollout) {
        await_canary(turn, rollout, &missing);
    } else if let Some(problem) = blocks::problem(turn) {
        turn.say(problem);
    } else if turn
        .seen
        .rule
        .as_ref()
        .is_ok_and(|rule| rule.canary.as_ref() == Some(&rollout.canary.version))
    {
        rollout.canary_label_at.get_or_insert(turn.now);
        rollout.clock.stop(turn.now);
        turn.enter(Phase::Baseline, RECORDING);
    } else {
        turn.say(format!(
            "waiting to point subset {} at {}",
            rollout.plan.target.canary_subset, rollout.canary.version
        ));
        if turn.canary_is_quiet() {
            turn.effect(Effect::Label {
                subset: Side::Canary,
                version: rollout.canary.version.clone(),
            });
        }
    }
}

/// Whether the canary has gone before it had any traffic: it is waited for again, and the deadline's clock runs on.
pub(super) fn is_lost(turn: &mut Turn<'_>, rollout: &mut Rollout) -> bool {
    let before_traffic = matches!(turn.next.phase, Phase::Baseline | Phase::Progressing)
        && (rollout.confirmed, rollout.intended) == (0, 0);
    if !before_traffic || end::canary_pods(turn, rollout) > 0 {
        return false;
    }
    rollout.clock.run(turn.now);
    turn.clear(ConditionType::Blind);
    turn.enter(Phase::Pending, "waiting for the canary");
    true
}

/// What the canary's Deployment lacks before it can start.
fn missing(turn: &Turn<'_>, rollout: &Rollout) -> Option<String> {
    match turn.seen.deployments.iter().find(|d| d.uid == rollout.canary.uid) {
        None => Some(format!("Deployment {} is gone", rollout.canary.deployment)),
        Some(deployment) => (!deployment.is_ready()).then(|| deployment.missing()),
    }
}

fn await_canary(turn: &mut Turn<'_>, rollout: &mut Rollout, missing: &str) {
    let deadline = rollout.plan.progress_deadline;
    match rollout.clock.ends(deadline) {
        Some(at) if turn.has_come(at) => {
            let why = format!("{missing}, after {deadline}");
            end::fail(turn, rollout, FailureReason::DeadlineExceeded, &why);
        }
        _ => turn.say(format!("waiting for the canary: {missing}")),
    }
}

/// The phase Baseline.
pub(super) fn record(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    guards::enforce(turn, rollout);
    progress::heed_pause(turn, rollout);
    let check = turn.seen.check.as_ref().filter(|check| {
        check.id == CheckId::of(rollout) && rollout.step == 0 && instants::is_new(check, rollout, turn.now)
    });
    if let Some(check) = check {
        match baseline::record(rollout, check) {
            Ok(true) => {
                turn.clear(ConditionType::Blind);
                counting::tell_sight(turn, rollout);
                rollout.last_check = None;
                turn.enter(Phase::Progressing, messages::baseline(rollout));
                return;
            }
            Ok(false) => turn.end(ConditionType::Blind),
            Err(lack) => without_baseline(turn, rollout, &lack),
        }
    }
    let first = first_look(turn, rollout);
    if !turn.has_come(first) {
        turn.say(format!(
            "the baseline waits until {first:.0}: before that the queries see what a canary did with weight"
        ));
    } else if turn.next.message.starts_with("the baseline waits") {
        turn.say(RECORDING);
    }
    let due = first.max(match rollout.last_check {
        Some(last) => Turn::after(last, questions::interval(rollout)),
        None => turn.now,
    });
    progress::ask(turn, rollout, due);
}

fn without_baseline(turn: &mut Turn<'_>, rollout: &Rollout, lack: &Lack) {
    let text = format!("no traffic moves before there is a baseline: {}", lack.why);
    if turn.is_news(ConditionType::Blind, "NoBaseline", &text) {
        let value = lack.value.map(|value| format!("; it is at {}", human(value)));
        turn.tell(
            rollout,
            NoticeKind::Blind,
            text.clone() + &value.unwrap_or_default(),
        );
    }
    turn.say(text);
}

/// Before this the queries still see what the version did when it last had weight; those that are asked of no version, what any
/// canary did, whoever gave it weight: it is at 0 for as long as we have seen it there.
fn first_look(turn: &Turn<'_>, rollout: &Rollout) -> jiff::Timestamp {
    let sees_all = questions::sees_every_version(&rollout.plan);
    // No rollout begins with weight for the canary, and what comes before its first step is noted.
    let seen_at_zero = turn
        .seen
        .canary_zero_since
        .map(|since| since.min(rollout.started));
    let seen_at_zero = seen_at_zero.filter(|_| sees_all);
    let had_weight = turn
        .next
        .ended
        .iter()
        .filter(|e| sees_all || e.canary.version == rollout.canary.version);
    let had_weight = had_weight.filter_map(|ended| ended.had_weight_until);
    match had_weight.chain(rollout.had_weight_at).chain(seen_at_zero).max() {
        Some(until) => Turn::after(
            until,
            questions::settle(&rollout.plan, turn.seen.settings.scrape_interval),
        ),
        None => turn.now,
    }
}
