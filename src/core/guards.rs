//! What can end a rollout at any moment, before anything else is looked at: deletion, a bad canary, a newer version,
//! another hand on our objects.

use crate::api::conditions::{self, ConditionType};
use crate::api::status::{
    Failure, FailureReason, MetricStatus, NoticeKind, Outcome as End, Phase, Rollout, Verdict,
};

use super::candidates;
use super::counting;
use super::decision::Effect;
use super::end;
use super::instants;
use super::late;
use super::observation::{Answer, Check, CheckId, OURSELVES, Outcome, RouteSeen};
use super::questions;
use super::replan;
use super::start;
use super::turn::Turn;
use super::verdict;

/// Why somebody's weight is lowered again.
const RAISED: &str = "WeightRaised";

/// Looks after everything that goes before the phase's own work. `true`: the phase is over, or must wait.
pub(super) fn interrupt(turn: &mut Turn<'_>, rollout: &mut Rollout) -> bool {
    // An answer that is there was asked for by the plan that was in force.
    let failure = given_up(turn).or_else(|| unhealthy(turn, rollout));
    replan::replan(turn, rollout);
    if let Some((reason, why)) = failure.or_else(|| another_hand(turn, rollout)) {
        if reason == FailureReason::LabelChanged && late::label(turn, rollout, &rollout.production.version) {
            return true;
        }
        if reason == FailureReason::LabelChanged && turn.seen.rule_writer.is_none() {
            turn.effect(Effect::IdentifyRuleWriter);
        } else {
            end::fail(turn, rollout, reason, &why);
        }
        return true;
    }
    start::is_lost(turn, rollout) || is_lowered_by_another(turn, rollout)
}

/// Another hand on what the attempt is about.
fn another_hand(turn: &Turn<'_>, rollout: &Rollout) -> Option<(FailureReason, String)> {
    if let Some(failure) = conflict(turn) {
        return Some(failure);
    }
    if let Some(why) = label_changed(turn, rollout) {
        return Some((FailureReason::LabelChanged, why));
    }
    superseded(turn, rollout)
}

/// An older `BirdWatch` on the same objects.
pub(super) fn conflict(turn: &Turn<'_>) -> Option<(FailureReason, String)> {
    let other = turn.seen.conflict.as_ref()?;
    Some((
        FailureReason::Conflict,
        format!("BirdWatch {other} is older and acts on the same objects"),
    ))
}

/// Deletion where traffic is shifted, and drain.
pub(super) fn given_up(turn: &Turn<'_>) -> Option<(FailureReason, String)> {
    if turn.seen.deleting {
        Some((
            FailureReason::Deleted,
            "the BirdWatch is being deleted".to_owned(),
        ))
    } else if turn.seen.draining {
        Some((FailureReason::Deleted, "the operator is being removed".to_owned()))
    } else {
        None
    }
}

/// Takes in the latest check of this step, and looks at the canary's pods.
fn unhealthy(turn: &mut Turn<'_>, rollout: &mut Rollout) -> Option<(FailureReason, String)> {
    if rollout.intended > 0 && rollout.step > 0 && end::canary_pods(turn, rollout) == 0 {
        let why = format!(
            "{} has no available pod while it takes traffic",
            rollout.canary.version
        );
        return Some((FailureReason::CanaryUnavailable, why));
    }
    let check = turn.seen.check.as_ref().filter(|check| {
        check.id == CheckId::of(rollout) && rollout.step > 0 && instants::is_new(check, rollout, turn.now)
    })?;
    let verdict = verdict::take_in(rollout, check);
    if verdict == Verdict::Unknown {
        rollout.clock.stop(check.asked_at);
        if is_too_early(turn, rollout, check) {
            return None;
        }
        let text = format!(
            "the weight stays at {} % and the hold stands still, because nothing is known: {}",
            rollout.reached(),
            words(rollout, Verdict::Unknown)
        );
        turn.alarm(rollout, ConditionType::Blind, "Unknown", &text, NoticeKind::Blind);
    } else {
        turn.end(ConditionType::Blind);
    }
    (verdict == Verdict::Unhealthy).then(|| {
        let known = rollout
            .metrics
            .iter()
            .any(|m| m.verdict == Some(Verdict::Unhealthy) && m.unknown_since.is_none());
        let reason = if known {
            FailureReason::MetricUnhealthy
        } else {
            FailureReason::MetricUnknown
        };
        (reason, words(rollout, Verdict::Unhealthy))
    })
}

/// Right after a change of weight Prometheus cannot yet have seen the canary's requests: no news.
fn is_too_early(turn: &Turn<'_>, rollout: &Rollout, check: &Check) -> bool {
    let settle = questions::settle(&rollout.plan, turn.seen.settings.scrape_interval);
    let settled = rollout.confirmed_at.map(|at| Turn::after(at, settle));
    let answered = |answer: &Answer| !matches!(answer.outcome, Outcome::Failed(_));
    settled.is_some_and(|at| check.asked_at < at) && check.answers.iter().all(answered)
}

/// What the metrics with that verdict say.
pub(super) fn words(rollout: &Rollout, verdict: Verdict) -> String {
    let with = |m: &&MetricStatus| m.verdict == Some(verdict);
    let words = rollout.metrics.iter().filter(with).filter_map(|m| {
        let message = &m.last.as_ref()?.message;
        Some(if message.starts_with(&m.name) {
            message.clone()
        } else {
            format!("{}: {message}", m.name)
        })
    });
    words.collect::<Vec<_>>().join("; ")
}

fn label_changed(turn: &Turn<'_>, rollout: &Rollout) -> Option<String> {
    let rule = turn.seen.rule.as_ref().ok()?;
    let (present, expected) = (&rule.production, &rollout.production.version);
    let is_promoted =
        turn.next.phase == Phase::Promoting && present.as_ref() == Some(&rollout.canary.version);
    if present.as_ref() == Some(expected) || is_promoted {
        return canary_label_changed(turn, rollout);
    }
    let subset = &rollout.plan.target.production_subset;
    Some(changed(turn, rollout, subset, present.as_ref(), expected))
}

/// The canary's subset means other pods than those of the canary, or none.
pub(super) fn canary_label_changed(turn: &Turn<'_>, rollout: &Rollout) -> Option<String> {
    let rule = turn.seen.rule.as_ref().ok()?;
    let (present, expected) = (&rule.canary, &rollout.canary.version);
    if rollout.canary_label_at.is_none() || present.as_ref() == Some(expected) {
        return None;
    }
    let subset = &rollout.plan.target.canary_subset;
    Some(changed(turn, rollout, subset, present.as_ref(), expected))
}

fn changed(
    turn: &Turn<'_>,
    rollout: &Rollout,
    subset: &str,
    present: Option<&String>,
    expected: &str,
) -> String {
    let target = &rollout.plan.target;
    let writer = turn.seen.rule_writer.as_deref().unwrap_or("somebody");
    format!(
        "{writer} changed subset {subset} of DestinationRule {}: its {} is {}, not {expected}",
        target.destination_rule,
        target.version_label,
        present.map_or("absent", String::as_str),
    )
}

/// Why another candidate, or a changed one, takes over.
pub(super) fn superseded(turn: &Turn<'_>, rollout: &Rollout) -> Option<(FailureReason, String)> {
    let wanted = match &turn.desired {
        Ok(plan) if plan.target != rollout.plan.target => {
            return Some((
                FailureReason::SpecChanged,
                "the spec names other objects now".to_owned(),
            ));
        }
        Ok(plan) => plan.canary_version.as_deref(),
        Err(_) => rollout.plan.canary_version.as_deref(),
    };
    if let Some(version) = wanted.filter(|v| *v != rollout.canary.version) {
        return Some((
            FailureReason::SpecChanged,
            format!("spec.canaryVersion is {version} now"),
        ));
    }
    let own = turn.seen.deployments.iter().find(|d| d.uid == rollout.canary.uid);
    if let Some(own) = own
        && let Some(present) = own.candidate().filter(|c| !candidates::same(c, &rollout.canary))
    {
        let why = format!(
            "Deployment {} changed: version {}, revision {} instead of version {}, revision {}",
            own.name, present.version, present.revision, rollout.canary.version, rollout.canary.revision
        );
        return Some((FailureReason::Superseded, why));
    }
    let production = Some(rollout.production.version.as_str());
    let (deployment, candidate) = candidates::choose(&turn.next, &turn.seen.deployments, production, wanted)?;
    let newer = candidate.uid != rollout.canary.uid && own.is_none_or(|own| deployment.created > own.created);
    newer.then(|| {
        let why = format!(
            "version {} (Deployment {}) is newer",
            candidate.version, candidate.deployment
        );
        (FailureReason::Superseded, why)
    })
}

/// A route below the weight that was reached was lowered by somebody, us before a crash or a person in an emergency: it is
/// not raised again. `true`: the attempt is over, or waits to learn who it was.
pub(super) fn is_lowered_by_another(turn: &mut Turn<'_>, rollout: &mut Rollout) -> bool {
    let reached = rollout.reached();
    let Some(route) = lowered(&turn.seen.routes, rollout) else {
        return false;
    };
    let highest = turn.seen.routes.iter().map(RouteSeen::percent).max();
    let left = highest.unwrap_or(0).min(reached);
    let is_told = rollout
        .failure
        .as_ref()
        .is_some_and(|failure| failure.reason == FailureReason::WeightLowered);
    if is_told {
        (rollout.intended, rollout.confirmed) = (left, left);
        return false;
    }
    let Some(writer) = &turn.seen.routes_writer else {
        turn.effect(Effect::ReadRoutes);
        return true;
    };
    let why = format!(
        "{writer} lowered {} from {reached} % to {} of {}",
        route.key,
        route.canary_share(),
        route.total
    );
    let notice = format!("{why}: it is not raised again in this attempt");
    blame(turn, rollout, &why, notice);
    if turn.canary_is_at_zero() {
        conclude_lowered(turn, rollout, &why);
    } else if writer == OURSELVES {
        // Below a weight that was reached we write nothing but 0: one route took it, and who sent it came no further.
        rollout.intended = 0;
        turn.enter(
            Phase::RollingBack,
            format!("going back to {}: {why}", rollout.production.version),
        );
    } else {
        rollout.confirmed = left;
        end::freeze(turn, rollout, &why);
    }
    true
}

/// The first route of the start that is below the weight that was reached. Routes without a name are told apart by their
/// place, which another one before them changes: of those it is the number at that weight that counts. A first raise
/// that has not reached all of them was lowered where none has it any more.
fn lowered<'r>(routes: &'r [RouteSeen], rollout: &Rollout) -> Option<&'r RouteSeen> {
    let reached = rollout.reached();
    let kept: Vec<&str> = rollout
        .kept
        .routes
        .iter()
        .map(|kept| kept.route.as_str())
        .collect();
    let alike = |a: &str, b: &str| without_place(a) == without_place(b);
    let is_lowered = |route: &&RouteSeen| {
        let before = kept.iter().filter(|key| alike(key, &route.key)).count();
        let still = routes
            .iter()
            .filter(|other| alike(&other.key, &route.key) && !other.is_below(reached));
        still.count() < before
    };
    let mut below = routes
        .iter()
        .filter(|r| kept.contains(&r.key.as_str()) && r.is_below(reached));
    if rollout.confirmed == 0 {
        let all = !routes.is_empty() && routes.iter().all(|route| route.is_below(reached));
        return below.next().filter(|_| all);
    }
    below.find(is_lowered)
}

/// The key of a route without its place among others that are alike.
fn without_place(key: &str) -> &str {
    let placed = key.strip_suffix(']').and_then(|inside| inside.rsplit_once('#'));
    let is_place = |place: &str| place.bytes().all(|b| b.is_ascii_digit());
    placed
        .filter(|(_, place)| is_place(place))
        .map_or(key.trim_end_matches(']'), |(alike, _)| alike)
}

/// A frozen canary whose routes somebody set to 0: the attempt is over.
pub(super) fn lowered_to_zero(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    let Some(writer) = &turn.seen.routes_writer else {
        turn.effect(Effect::ReadRoutes);
        return;
    };
    let why = format!(
        "{writer} lowered the frozen canary from {} % to 0",
        rollout.confirmed
    );
    blame(turn, rollout, &why, why.clone());
    conclude_lowered(turn, rollout, &why);
}

/// Says who lowered a weight, and that the attempt fails by it.
fn blame(turn: &mut Turn<'_>, rollout: &mut Rollout, why: &str, notice: String) {
    turn.condition(ConditionType::Interference, true, "WeightLowered", why);
    turn.tell(rollout, NoticeKind::Conflict, notice);
    rollout.failure = Some(Failure {
        reason: FailureReason::WeightLowered,
        message: why.to_owned(),
        at: turn.now,
    });
}

/// Ends an attempt whose weight somebody lowered to 0; who it was stays in sight.
fn conclude_lowered(turn: &mut Turn<'_>, rollout: &mut Rollout, why: &str) {
    end::conclude(turn, rollout, End::RolledBack);
    turn.condition(ConditionType::Interference, true, "WeightLowered", why);
}

/// A route above the intended weight is lowered, every time. What is read meanwhile is of neither weight: the step is looked at
/// from now on, as after a change of weight of our own.
pub(super) fn enforce(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    let stands = conditions::holds_for(&turn.next.conditions, ConditionType::Interference, RAISED);
    let Some(route) = turn.seen.routes.iter().find(|r| r.is_above(rollout.intended)) else {
        let is_frozen = turn.next.phase == Phase::Frozen;
        if stands && !is_frozen {
            look_anew(turn, rollout);
        }
        // Who lowered a canary, and froze it by that, stays in sight.
        if stands || !is_frozen {
            turn.clear(ConditionType::Interference);
        }
        return;
    };
    let text = format!(
        "{} had {} of {} for the canary, more than the {} % of this rollout: lowered again",
        route.key,
        route.canary_share(),
        route.total,
        rollout.intended
    );
    turn.effect(Effect::Lower {
        percent: rollout.intended,
    });
    if !(stands && instants::is_recent(turn, rollout.confirmed_at.or(rollout.had_weight_at))) {
        look_anew(turn, rollout);
    }
    turn.alarm(
        rollout,
        ConditionType::Interference,
        RAISED,
        &text,
        NoticeKind::Conflict,
    );
}

/// What was seen while the canary had another weight counts no more.
fn look_anew(turn: &Turn<'_>, rollout: &mut Rollout) {
    if rollout.confirmed_at.is_some() {
        rollout.confirmed_at = Some(turn.now);
        counting::new_step(rollout);
        settle_again(turn, rollout);
    } else {
        rollout.had_weight_at = Some(turn.now);
        // Nor does what is being asked.
        rollout.last_check = Some(turn.now);
        forget_samples(rollout);
    }
}

/// As much of the hold is left, at least, as queries look back.
fn settle_again(turn: &Turn<'_>, rollout: &mut Rollout) {
    let settle = questions::settle(&rollout.plan, turn.seen.settings.scrape_interval);
    let most = rollout.hold.unwrap_or_default().minus(settle);
    let runs = rollout.clock.since.is_some();
    rollout.clock.stop(turn.now);
    rollout.clock.served = rollout.clock.served.min(most);
    if runs {
        rollout.clock.run(turn.now);
    }
}

/// Samples of a baseline that is still to be recorded are taken anew.
pub(super) fn forget_samples(rollout: &mut Rollout) {
    for metric in &mut rollout.metrics {
        metric.samples.clear();
    }
}
