//! Nothing is under way: weights are the user's, reported and never written. A candidate that appears starts a rollout.

use crate::api::BirdWatchStatus;
use crate::api::conditions::{self, ConditionType};
use crate::api::plan::{Plan, Target};
use crate::api::status::{Candidate, NoticeKind, Outcome, Phase, Rollout};

use super::blocks;
use super::candidates;
use super::counting;
use super::decision::Effect;
use super::end;
use super::late;
use super::line;
use super::observation::{DeploymentSeen, RuleSeen};
use super::start;
use super::turn::Turn;

/// Why nothing begins where the canary has weight that nobody released.
const WEIGHT_NOT_ZERO: &str = "WeightNotZero";

/// The most characters of a version in a message: a subset may be labelled with any text.
const LONGEST_VERSION: usize = 200;

/// The phases `Idle`, `Promoted` and `RolledBack`, and Pending while the version asked for is not there.
pub(super) fn rest(turn: &mut Turn<'_>, last: Option<&mut Rollout>) -> Option<Rollout> {
    end::let_go(turn);
    let last = last.map(|last| {
        late::take_back(turn, last);
        &*last
    });
    let label_comes_first = last.is_some_and(|last| late::label(turn, last, &last.production.version));
    // What came late was never in production.
    let instead = last
        .filter(|_| label_comes_first)
        .map(|last| last.production.version.as_str());
    note_known(turn, last, instead);
    if turn.seen.deleting || turn.seen.draining {
        return None;
    }
    match ready(turn) {
        Ok(_) if label_comes_first => None,
        Ok((plan, rule)) => look_for_candidate(turn, last, plan, &rule),
        Err((phase, reason, why)) => {
            wait(turn, phase, reason, &why);
            None
        }
    }
}

/// Takes note of the Deployments that are no candidates; `production`: what counts as such, whatever the label says.
fn note_known(turn: &mut Turn<'_>, last: Option<&Rollout>, production: Option<&str>) {
    // Without a spec that names them, the Deployments of the service were not looked for.
    let Ok(plan) = &turn.desired else { return };
    let deployments = &turn.seen.deployments;
    let pods = candidates::pods_of(&plan.target);
    if turn.next.known_of.as_ref().is_some_and(|of| *of != pods) {
        // Of other pods nothing is known; what has ended stays with the Deployments that are among them still.
        let is_there = |uid: &str| deployments.iter().any(|d| d.uid == uid);
        let ended = &mut turn.next.ended;
        ended.retain(|ended| ended.retried || is_there(&ended.canary.uid));
        turn.next.known = None;
    }
    turn.next.known_of = Some(pods);
    if last.is_some_and(|last| !names_the_same_production(&last.plan.target, &plan.target)) {
        turn.next.promoted_version = None;
    }
    let rule = turn.seen.rule.as_ref().ok();
    let production = production.or_else(|| rule?.production.as_deref());
    let is_first_sight = turn.next.known.is_none();
    let mut known = candidates::known(&turn.next, deployments, production.as_slice());
    if is_first_sight {
        known.retain(|known| !candidates::may_start_again(&turn.next, known));
    }
    // Where all of a service is made at once, what is seen first is not all that was there.
    if !is_first_sight || rule.is_some() {
        turn.next.known = Some(known);
    }
}

/// Whether the same subset says what is in production.
fn names_the_same_production(a: &Target, b: &Target) -> bool {
    (&a.destination_rule, &a.production_subset, &a.version_label)
        == (&b.destination_rule, &b.production_subset, &b.version_label)
}

type Waits = (Phase, &'static str, String);

/// What a rollout needs before it can start.
fn ready(turn: &mut Turn<'_>) -> Result<(Plan, RuleSeen), Waits> {
    let resting = resting_phase(&turn.next);
    let plan = turn
        .desired
        .clone()
        .map_err(|why| (resting, "SpecInvalid", why))?;
    if let Some(other) = &turn.seen.conflict {
        let why = format!("BirdWatch {other} is older and acts on the same objects: delete one of the two");
        return Err((resting, "Conflict", why));
    }
    if let Some(problem) = blocks::problem(turn) {
        return Err((resting, "ObjectsMissing", problem));
    }
    let rule = turn
        .seen
        .rule
        .clone()
        .map_err(|why| (resting, "ObjectsMissing", why))?;
    Ok((plan, rule))
}

fn look_for_candidate(
    turn: &mut Turn<'_>,
    last: Option<&Rollout>,
    plan: Plan,
    rule: &RuleSeen,
) -> Option<Rollout> {
    let resting = resting_phase(&turn.next);
    let target = &plan.target;
    let Some(production) = rule.production.clone() else {
        let why = format!(
            "subset {} of DestinationRule {} has no label {}: set it to the version in production",
            target.production_subset, target.destination_rule, target.version_label
        );
        wait(turn, resting, "ObjectsMissing", &why);
        return None;
    };
    report_reverted(turn, last, &production);
    let wanted = plan.canary_version.as_deref();
    let deployments = &turn.seen.deployments;
    let Some((deployment, canary)) = candidates::choose(&turn.next, deployments, Some(&production), wanted)
    else {
        let (phase, why) = nothing_to_release(turn, &plan, &production);
        wait(turn, phase, "AtRest", &why);
        foresee(turn, plan, rule, &production);
        return None;
    };
    if let Some(route) = turn.seen.routes.iter().find(|r| !r.is_at(0)) {
        let why = format!(
            "{} waits: {} gives the canary {} of {} while nothing is released; set it to 0",
            canary.version,
            route.key,
            route.canary_share(),
            route.total
        );
        wait(turn, resting, WEIGHT_NOT_ZERO, &why);
        return None;
    }
    candidates::pass_over(&mut turn.next, deployments, deployment);
    let had_weight = conditions::holds_for(&turn.next.conditions, ConditionType::Held, WEIGHT_NOT_ZERO);
    let mut begun = start::begin(turn, plan, rule, &production, canary);
    begun.had_weight_at = had_weight.then_some(turn.now);
    Some(begun)
}

/// Says once what a rollout by this plan could find. It has no time and no version, so that each look names the same one.
fn foresee(turn: &mut Turn<'_>, plan: Plan, rule: &RuleSeen, production: &str) {
    let nobody = Candidate::default();
    let rollout = Rollout {
        id: "foreseen".to_owned(),
        ..start::fresh(turn, plan, rule, production, nobody)
    };
    counting::foresee(turn, rollout);
}

fn wait(turn: &mut Turn<'_>, phase: Phase, reason: &'static str, why: &str) {
    turn.enter(phase, why);
    let condition = match reason {
        "AtRest" => None,
        "SpecInvalid" => Some(ConditionType::SpecInvalid),
        "Conflict" => Some(ConditionType::Conflict),
        _ => Some(ConditionType::Held),
    };
    if condition != Some(ConditionType::Held) {
        turn.clear(ConditionType::Held);
    }
    if let Some(condition) = condition {
        turn.condition(condition, true, reason, why);
    }
}

/// The phase that tells how the last rollout ended.
fn resting_phase(status: &BirdWatchStatus) -> Phase {
    match status.ended.last().map(|e| e.outcome) {
        Some(Outcome::Promoted) => Phase::Promoted,
        Some(Outcome::RolledBack) => Phase::RolledBack,
        Some(Outcome::Superseded) | None => Phase::Idle,
    }
}

/// Why nothing starts, and how to start something.
fn nothing_to_release(turn: &Turn<'_>, plan: &Plan, production: &str) -> (Phase, String) {
    let resting = resting_phase(&turn.next);
    let deployments = &turn.seen.deployments;
    match &plan.canary_version {
        Some(version) if version == production => (resting, format!("{version} is in production")),
        Some(version) => match deployments.iter().find(|d| d.version.as_ref() == Some(version)) {
            None => {
                let labels = plan.target.selector.iter().map(|(k, v)| format!("{k}={v}"));
                let labels = labels.collect::<Vec<_>>().join(",");
                let label = &plan.target.version_label;
                (
                    Phase::Pending,
                    format!("waiting for a Deployment with pod labels {labels},{label}={version}"),
                )
            }
            Some(deployment) if deployment.candidate().is_none() => (Phase::Pending, deployment.missing()),
            Some(_) => (resting, ended_before(turn, version, production)),
        },
        None => (resting, nothing_new(turn, production)),
    }
}

/// How the last rollout ended, and which version would start by its name only.
fn nothing_new(turn: &Turn<'_>, production: &str) -> String {
    let last = turn.next.ended.last();
    let back = last.filter(|last| last.outcome != Outcome::Superseded && last.production == production);
    let why = back.map(|last| ended_before(turn, &last.canary.version, production));
    match (why, by_name_only(turn, production)) {
        (Some(why), Some(other)) => format!("{why}; {other}"),
        (Some(why), None) => why,
        (None, Some(other)) => format!("{production} is in production; {other}"),
        (None, None) => {
            format!("{production} is in production; a Deployment with a new version starts a rollout")
        }
    }
}

/// A Deployment with a version that was there already, and how to release it. After a rollback a former production
/// is no news.
fn by_name_only(turn: &Turn<'_>, production: &str) -> Option<String> {
    let running = turn.seen.deployments.iter().filter(|d| d.replicas > 0);
    let others = running
        .filter_map(DeploymentSeen::candidate)
        .filter(|c| c.version != production && !candidates::has_ended(&turn.next, c));
    let (former, others): (Vec<_>, Vec<_>) = others.partition(|c| candidates::ran_production(&turn.next, c));
    let last = turn.next.ended.last();
    let (other, there) = match (others.last(), former.last(), last) {
        (Some(other), _, None) => (other, "was there before this BirdWatch".to_owned()),
        (Some(other), _, Some(last)) => {
            let there = format!("was there before {} and passed over", last.canary.version);
            (other, there)
        }
        (None, Some(former), last) if last.is_none_or(|last| last.outcome != Outcome::RolledBack) => {
            (former, "was in production before".to_owned())
        }
        _ => return None,
    };
    Some(format!(
        "{} (Deployment {}) {there}: to release it set spec.canaryVersion: {}",
        other.version, other.deployment, other.version
    ))
}

fn ended_before(turn: &Turn<'_>, version: &str, production: &str) -> String {
    let end = turn.next.ended.iter().rev().find(|e| e.canary.version == version);
    match end {
        Some(end) if end.outcome == Outcome::RolledBack => format!(
            "{version} was rolled back to {production}: {}; it starts again when it changes, or on otomato.link/verb=retry/<token>",
            end.reason
        ),
        _ => format!(
            "{version} was released before and {production} is in production now; otomato.link/verb=retry/<token> starts it again"
        ),
    }
}

/// Another hand turned production's label back after a promotion: said, with its name, and nothing starts for it.
fn report_reverted(turn: &mut Turn<'_>, last: Option<&Rollout>, production: &str) {
    let promoted = turn.next.promoted_version.clone();
    let Some(promoted) = promoted.filter(|version| version != production) else {
        turn.clear(ConditionType::ProductionReverted);
        return;
    };
    let to = line::tidy(production, LONGEST_VERSION);
    let what = format!("set production to {to}, after {promoted} was promoted; nothing is started for it");
    let what = line::tidy(&what, line::LONGEST / 2);
    let told = conditions::message(&turn.next.conditions, ConditionType::ProductionReverted);
    if told.is_some_and(|told| told.ends_with(&what)) {
        return;
    }
    let Some(writer) = &turn.seen.rule_writer else {
        turn.effect(Effect::IdentifyRuleWriter);
        return;
    };
    let text = format!("{writer} {what}");
    // Another version is news.
    turn.clear(ConditionType::ProductionReverted);
    match last {
        Some(last) => turn.alarm(
            last,
            ConditionType::ProductionReverted,
            "LabelReverted",
            &text,
            NoticeKind::ProductionReverted,
        ),
        None => turn.condition(ConditionType::ProductionReverted, true, "LabelReverted", &text),
    }
}
