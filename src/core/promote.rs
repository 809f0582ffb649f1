//! The canary becomes production. The label is the point of no return: before it a rollback is weights only; after it
//! the promotion is finished first.

use crate::api::conditions::ConditionType;
use crate::api::status::{FailureReason, Outcome, Phase, Rollout};

use super::blocks;
use super::decision::Effect;
use super::end;
use super::guards;
use super::observation::Side;
use super::progress;
use super::turn::Turn;

/// Notes that production's label is written: from then on nothing but the end of the promotion counts.
pub(super) fn note_label(turn: &Turn<'_>, rollout: &mut Rollout) {
    if turn.next.phase == Phase::Promoting && production(turn) == Some(&rollout.canary.version) {
        rollout.production_label_at.get_or_insert(turn.now);
    }
}

/// The phase Promoting, before production's label is written.
pub(super) fn relabel(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    guards::enforce(turn, rollout);
    let paused = progress::heed_pause(turn, rollout);
    // Whatever is wrong with our objects: who has traffic is judged.
    progress::ask(turn, rollout, progress::next_check(turn, rollout));
    if turn.seen.rule.is_err() || turn.seen.rule_outdone.is_some() {
        blocks::held_for_objects(turn, rollout);
        return;
    }
    if !turn.seen.routes.iter().all(|r| r.is_at(100)) || turn.seen.routes.is_empty() {
        blocks::held_for_routes(turn, rollout);
        return;
    }
    if let Some(message) = blocks::left_out(turn, rollout) {
        blocks::held_for_subset(turn, rollout, message);
        return;
    }
    if turn.holds(ConditionType::Held) {
        turn.clear(ConditionType::Held);
        rollout.confirmed_at = Some(turn.now);
    }
    let quiet_since = rollout.confirmed_at.unwrap_or(turn.now);
    if paused {
        turn.say("paused before production's label is written");
    } else if !progress::is_proven(turn, rollout) {
        turn.say("production's label waits for a healthy check");
    } else if let Some(unobserved) = blocks::unobserved(turn, rollout) {
        turn.say(format!("production's label waits: {unobserved}"));
    } else if turn.has_come(Turn::after(quiet_since, turn.seen.settings.propagation_delay)) {
        rollout.relabelled = true;
        turn.effect(Effect::Label {
            subset: Side::Production,
            version: rollout.canary.version.clone(),
        });
        turn.say(format!(
            "pointing subset {} at {}",
            rollout.plan.target.production_subset, rollout.canary.version
        ));
    }
}

/// The phase Promoting, once the label stands: 100/0 is the goal, whoever writes it.
pub(super) fn finish(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    let Some(label_at) = rollout.production_label_at else {
        return;
    };
    if waits(turn) {
        blocks::held_for_objects(turn, rollout);
        return;
    }
    let production = production(turn);
    let is_reverted = production != Some(&rollout.canary.version);
    if is_reverted && (production.is_some() || turn.seen.rule.is_ok()) {
        reverted(turn, rollout);
        return;
    }
    turn.clear(ConditionType::Held);
    if turn.canary_is_at_zero() {
        if !turn.routes_are_live() {
            return;
        }
        end::conclude(turn, rollout, Outcome::Promoted);
        turn.next.promoted_version = Some(rollout.canary.version.clone());
    } else if turn.has_come(Turn::after(label_at, turn.seen.settings.propagation_delay)) {
        rollout.intended = 0;
        turn.effect(Effect::Lower { percent: 0 });
        turn.say(format!(
            "giving subset {} all traffic",
            rollout.plan.target.production_subset
        ));
    }
}

/// Whether the end of the promotion waits until our objects are mended: all traffic would go to a subset that nobody sees. Who leaves
/// waits for nobody.
pub(super) fn waits(turn: &Turn<'_>) -> bool {
    turn.seen.rule.is_err() && production(turn).is_none() && guards::given_up(turn).is_none()
}

/// What production's subset points at, as far as it is seen.
pub(super) fn production<'a>(turn: &Turn<'a>) -> Option<&'a String> {
    match &turn.seen.rule {
        Ok(rule) => rule.production.as_ref(),
        Err(_) => turn.seen.production_despite.as_ref(),
    }
}

/// Another hand turned the label back while all traffic was on the canary: it stays there, and people decide.
fn reverted(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    let Some(writer) = &turn.seen.rule_writer else {
        turn.effect(Effect::IdentifyRuleWriter);
        return;
    };
    let why = format!(
        "{writer} turned subset {} of DestinationRule {} back during the promotion; resume or rollback",
        rollout.plan.target.production_subset, rollout.plan.target.destination_rule
    );
    rollout.production_label_at = None;
    match guards::canary_label_changed(turn, rollout) {
        // Both of them: the traffic is not on the canary any more.
        Some(why) => end::fail(turn, rollout, FailureReason::LabelChanged, &why),
        None => end::freeze(turn, rollout, &why),
    }
}
