//! What `kubectl get` and kstatus-style tools read: columns and conditions, derived from the rest of status.

use crate::api::conditions::{self, ConditionType};
use crate::api::status::{NoticeKind, Phase, Rollout};

use super::line::{LONGEST, fit};
use super::messages;
use super::notices::Delivery;
use super::preflight::{self, Severity};
use super::questions;
use super::turn::Turn;

/// Findings of a preflight that the condition shows.
const FINDINGS_SHOWN: usize = 5;

pub(super) fn describe(turn: &mut Turn<'_>, rollout: Option<&mut Rollout>, delivery: &Delivery) {
    let rollout = rollout.map(|r| &*r);
    spec_condition(turn, rollout);
    if turn.seen.conflict.is_none() {
        turn.clear(ConditionType::Conflict);
    }
    notify_condition(turn, delivery);
    life_conditions(turn);
    preflight_condition(turn, rollout);
    turn.next.warnings = warnings(turn, rollout);
    columns(turn, rollout);
}

/// Warnings that status has; of more it has the number.
const MOST_WARNINGS: usize = 20;

/// What people should know of the routes and is not ours to change.
fn warnings(turn: &Turn<'_>, rollout: Option<&Rollout>) -> Vec<String> {
    // What another acts on is the other's to explain.
    let at_rest = turn.seen.conflict.is_none() && rollout.is_none_or(|rollout| rollout.ended.is_some());
    let by_hand = turn.seen.routes.iter().filter(|route| at_rest && !route.is_at(0));
    let by_hand = by_hand.map(|route| {
        format!(
            "{} gives the canary {} of {} while nothing is released",
            route.key,
            route.canary_share(),
            route.total
        )
    });
    let seen = turn.seen.other_routes.iter().chain(&turn.seen.warnings);
    let metrics = turn.desired.iter().flat_map(|plan| &plan.metrics);
    let incomparable = metrics.filter_map(questions::grows_across_versions);
    let mut all = by_hand.chain(seen.cloned()).chain(incomparable);
    let shown = all.by_ref().take(MOST_WARNINGS);
    let mut shown: Vec<_> = shown.map(|text| fit(&text, LONGEST).into_owned()).collect();
    match all.count() {
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    shown
}

fn spec_condition(turn: &mut Turn<'_>, rollout: Option<&Rollout>) {
    match turn.desired.clone() {
        Ok(_) => turn.clear(ConditionType::SpecInvalid),
        Err(why) => match rollout.filter(|r| r.ended.is_none()) {
            Some(rollout) => {
                let text = format!("the spec cannot be used, the running plan stays in force: {why}");
                turn.alarm(
                    rollout,
                    ConditionType::SpecInvalid,
                    "SpecInvalid",
                    &text,
                    NoticeKind::SpecInvalid,
                );
            }
            None => turn.condition(ConditionType::SpecInvalid, true, "SpecInvalid", &why),
        },
    }
}

/// What stands in the way of the next release. While one is under way it is left as it was.
fn preflight_condition(turn: &mut Turn<'_>, rollout: Option<&Rollout>) {
    if rollout.is_some_and(|rollout| rollout.ended.is_none()) {
        return;
    }
    let findings = match &turn.desired {
        Ok(plan) if turn.seen.conflict.is_none() => preflight::watched(turn.seen, plan),
        // The condition Conflict says so, or SpecInvalid.
        Ok(_) | Err(_) => Vec::new(),
    };
    let Some(first) = findings.first() else {
        return turn.clear(ConditionType::Preflight);
    };
    let shown = findings.iter().take(FINDINGS_SHOWN);
    let shown = shown.map(|f| format!("{} ({}): {}", f.object, f.code, f.what));
    let more = match findings.len().saturating_sub(FINDINGS_SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let text = format!(
        "{}{more}; `birdwatch check` says what to do",
        shown.collect::<Vec<_>>().join("; ")
    );
    let reason = match first.severity {
        Severity::Error => "Errors",
        Severity::Warning | Severity::Hint => "Warnings",
    };
    turn.condition(ConditionType::Preflight, false, reason, &text);
}

fn notify_condition(turn: &mut Turn<'_>, delivery: &Delivery) {
    match delivery {
        Delivery::Fails(why) => {
            let text = format!(
                "Slack does not take notices: {why}; {} wait",
                turn.next.notices.pending.len()
            );
            turn.condition(ConditionType::NotifyFailing, true, "SlackRefuses", &text);
        }
        Delivery::Works => turn.clear(ConditionType::NotifyFailing),
        Delivery::Unheard if turn.seen.settings.notify.is_none() => turn.clear(ConditionType::NotifyFailing),
        Delivery::Unheard => {}
    }
}

fn life_conditions(turn: &mut Turn<'_>) {
    let phase = turn.next.phase;
    let message = turn.next.message.clone();
    let is_waiting = [
        ConditionType::SpecInvalid,
        ConditionType::Conflict,
        ConditionType::Held,
    ]
    .into_iter()
    .any(|kind| conditions::holds(&turn.next.conditions, kind));
    let ready = matches!(phase, Phase::Idle | Phase::Promoted) && !is_waiting;
    turn.condition(ConditionType::Ready, ready, phase.as_str(), &message);
    if phase.is_active() {
        turn.condition(ConditionType::Reconciling, true, phase.as_str(), &message);
    } else {
        turn.clear(ConditionType::Reconciling);
    }
    if matches!(phase, Phase::Frozen | Phase::RolledBack) {
        turn.condition(ConditionType::Stalled, true, phase.as_str(), &message);
    } else {
        turn.clear(ConditionType::Stalled);
    }
}

fn columns(turn: &mut Turn<'_>, rollout: Option<&Rollout>) {
    let status = &mut turn.next;
    status.step = rollout.map(|r| format!("{}/{}", r.step, messages::steps(r)));
    status.weight = rollout.map(|r| i32::from(r.confirmed));
    status.canary = rollout.map(|r| r.canary.version.clone());
    let metric = rollout.and_then(messages::foremost);
    status.baseline = metric.and_then(|m| Some(messages::shown(m, m.baseline.as_ref()?.value)));
    status.reading = metric.and_then(|m| Some(m.last.as_ref()?.message.clone()));
    status.current = metric.and_then(|m| Some(messages::shown(m, m.last.as_ref()?.value?)));
}
