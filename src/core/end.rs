//! How a rollout ends before promotion: judged, stopped, on its way back, back.

use crate::api::conditions::ConditionType;
use crate::api::spec::IfUnhealthy;
use crate::api::status::{
    Ended, Failure, FailureReason, HoldClock, KeptRoute, NoticeKind, Outcome, Phase, Rollout,
};
use crate::api::{BirdWatchStatus, Span};

use super::candidates;
use super::counting;
use super::decision::Effect;
use super::guards;
use super::late;
use super::line::{LONGEST, fit};
use super::observation::DeploymentSeen;
use super::turn::Turn;

/// How long a deletion waits for people to be told of it.
const LAST_WORDS: Span = Span::secs(15);

impl FailureReason {
    /// Judged by the operator: it waits where production has no pod to go back to.
    const fn is_judged(self) -> bool {
        matches!(
            self,
            Self::MetricUnhealthy | Self::MetricUnknown | Self::DeadlineExceeded | Self::CanaryUnavailable
        )
    }

    /// May leave traffic as it is, where the policy is freeze.
    const fn may_freeze(self) -> bool {
        matches!(self, Self::MetricUnhealthy | Self::MetricUnknown)
    }

    /// Only what was judged, or happens for a newer version's sake, waits for production's pods.
    const fn spares_traffic(self) -> bool {
        self.is_judged()
            || matches!(
                self,
                Self::Superseded
                    | Self::SpecChanged
                    | Self::RetryAsked
                    | Self::Conflict
                    | Self::LabelChanged
                    // By ourselves, in a rollback that another operator had begun.
                    | Self::WeightLowered
            )
    }

    /// People gave it up: it waits neither for pods nor for objects.
    pub(super) const fn waits_for_nothing(self) -> bool {
        matches!(self, Self::Deleted | Self::RollbackAsked)
    }

    const fn outcome(self) -> Outcome {
        match self {
            Self::Superseded | Self::SpecChanged | Self::RetryAsked => Outcome::Superseded,
            _ => Outcome::RolledBack,
        }
    }
}

/// The rollout fails: traffic goes back, or stays where the policy is freeze.
pub(super) fn fail(turn: &mut Turn<'_>, rollout: &mut Rollout, reason: FailureReason, why: &str) {
    rollout.failure = Some(Failure {
        reason,
        message: fit(why, LONGEST).into_owned(),
        at: turn.now,
    });
    rollout.clock.stop(turn.now);
    rollout.promote_asked = false;
    turn.clear(ConditionType::Blind);
    if reason.is_judged() {
        let text = format!(
            "{} unhealthy at weight {} %: {why}",
            rollout.canary.version,
            rollout.reached()
        );
        turn.tell(rollout, NoticeKind::Unhealthy, text);
    }
    let freezes = rollout.plan.if_unhealthy == IfUnhealthy::Freeze
        && reason.may_freeze()
        && rollout.confirmed > 0
        && canary_pods(turn, rollout) > 0;
    if freezes {
        freeze(turn, rollout, why);
    } else {
        rollout.intended = 0;
        turn.enter(
            Phase::RollingBack,
            format!("going back to {}: {why}", rollout.production.version),
        );
    }
}

/// Traffic stays as it is.
pub(super) fn freeze(turn: &mut Turn<'_>, rollout: &mut Rollout, why: &str) {
    rollout.intended = rollout.confirmed;
    rollout.clock.stop(turn.now);
    let text = format!("frozen at weight {} %: {why}", rollout.confirmed);
    turn.tell(rollout, NoticeKind::Frozen, text.clone());
    turn.enter(Phase::Frozen, text);
}

/// Ends a freeze: the step's hold begins again.
///
/// # Errors
/// Why this attempt cannot go on.
pub(super) fn thaw(turn: &mut Turn<'_>, rollout: &mut Rollout) -> Result<(), String> {
    if rollout
        .failure
        .as_ref()
        .is_some_and(|f| f.reason == FailureReason::WeightLowered)
    {
        return Err(
            "somebody lowered the weight: it is not raised again in this attempt; use retry".to_owned(),
        );
    }
    rollout.failure = None;
    rollout.production_label_at = None;
    rollout.confirmed_at = Some(turn.now);
    rollout.clock = HoldClock::started(turn.now);
    rollout.verdict = None;
    // What was asked before counts no more.
    rollout.last_check = Some(turn.now);
    for metric in &mut rollout.metrics {
        metric.window.clear();
        metric.unknown_since = None;
    }
    counting::forget(rollout);
    turn.enter(
        Phase::Progressing,
        format!("going on at weight {} %", rollout.confirmed),
    );
    Ok(())
}

/// Available pods of the canary.
pub(super) fn canary_pods(turn: &Turn<'_>, rollout: &Rollout) -> i32 {
    let of_canary = turn
        .seen
        .deployments
        .iter()
        .filter(|d| d.uid == rollout.canary.uid);
    of_canary.map(|d| d.available.max(0)).sum()
}

/// Whether a version has a pod that can take traffic.
pub(super) fn has_pods(turn: &Turn<'_>, version: &str) -> bool {
    let deployments = turn.seen.deployments.iter();
    let mut of_version = deployments.filter(|d| d.version.as_deref() == Some(version));
    of_version.any(|d| d.available > 0)
}

/// Whether production is known to have no pod that could take the traffic.
fn production_is_gone(turn: &Turn<'_>, rollout: &Rollout) -> bool {
    let version = &rollout.production.version;
    // One that is given another version keeps pods of the former until those of the new one are ready.
    let has_former = |d: &DeploymentSeen| d.uid == rollout.production.uid && d.updated < d.current;
    let deployments = turn.seen.deployments.iter();
    let of_production = deployments.filter(|d| d.version.as_ref() == Some(version) || has_former(d));
    let pods: Vec<i32> = of_production.map(|d| d.available).collect();
    let was_there = !rollout.production.uid.is_empty();
    pods.iter().all(|available| *available <= 0) && (was_there || !pods.is_empty())
}

/// The phase `RollingBack`: nothing else comes before the write that gives production its traffic back.
pub(super) fn roll_back(turn: &mut Turn<'_>, rollout: &mut Rollout) {
    if let Some((reason, _)) = guards::given_up(turn)
        && let Some(failure) = &mut rollout.failure
    {
        failure.reason = reason;
    }
    let reason = rollout
        .failure
        .as_ref()
        .map_or(FailureReason::RollbackAsked, |f| f.reason);
    // Whatever keeps a route from going back keeps no label.
    let label_comes_first = late::label(turn, rollout, &rollout.production.version);
    if !turn.canary_is_at_zero() {
        if reason.spares_traffic() && production_is_gone(turn, rollout) {
            let text = format!(
                "{} has no available pod: traffic stays at weight {} % until one is back; `rollback/<token>` does not wait",
                rollout.production.version,
                rollout.reached()
            );
            turn.alarm(
                rollout,
                ConditionType::Held,
                "ProductionUnavailable",
                &text,
                NoticeKind::ProductionUnavailable,
            );
            turn.say(text);
            return;
        }
        turn.effect(Effect::Lower { percent: 0 });
        return;
    }
    if had_weight(rollout) && !are_live(turn) {
        return;
    }
    if waits_for_objects(turn, rollout, reason) || label_comes_first {
        return;
    }
    if reason == FailureReason::Deleted && !is_restored(turn, rollout) {
        return;
    }
    conclude(turn, rollout, reason.outcome());
}

/// Whether routes and rule are known to be as the server has them; asks for both where they are not.
fn are_live(turn: &mut Turn<'_>) -> bool {
    let (routes, rule) = (turn.routes_are_live(), turn.rule_is_live());
    routes && rule
}

/// A `VirtualService` that was moved and is not there may come back as it was: nobody is told that traffic went back before it
/// has. One that the spec names no longer is gone on purpose.
fn waits_for_objects(turn: &mut Turn<'_>, rollout: &Rollout, reason: FailureReason) -> bool {
    if !had_weight(rollout) || reason.waits_for_nothing() {
        return false;
    }
    let is_named = |name: &String| {
        let desired = turn.desired.as_ref();
        desired.map_or(true, |plan| plan.target.virtual_services.contains(name))
    };
    let of_absent = |route: &str| {
        let mut absent = turn.seen.absent.iter().filter(|name| is_named(name));
        absent.find(|name| route.split('/').next() == Some(name))
    };
    let mut moved = rollout.kept.routes.iter().map(|kept| kept.route.as_str());
    let Some(name) = moved.find_map(of_absent) else {
        return false;
    };
    let text = format!(
        "going back to {} waits for VirtualService {name}, which is not there and may come back with weight for {}; the \
         verb rollback does not wait",
        rollout.production.version, rollout.canary.version
    );
    turn.say(&text);
    turn.alarm(
        rollout,
        ConditionType::Held,
        "ObjectsMissing",
        &text,
        NoticeKind::Held,
    );
    true
}

/// Gives our objects what they held before the rollout, once the mesh no longer sends the canary anything; what the
/// server refuses to take back stays.
fn is_restored(turn: &mut Turn<'_>, rollout: &Rollout) -> bool {
    let refused = turn.seen.restore_refused;
    let mut routes = turn.seen.routes.iter();
    let weights = routes.any(|route| {
        rollout.kept.routes.iter().any(|kept| {
            kept.route == route.key
                && (kept.production, kept.canary) != (route.production, route.canary)
                && is_ours(route.production, kept.production)
                && is_ours(route.canary, kept.canary)
        })
    });
    let weights = weights && !refused.weights;
    if weights {
        turn.effect(Effect::RestoreWeights);
    }
    let written = &rollout.canary.version;
    let kept = &rollout.kept.canary_label;
    let label = turn
        .seen
        .rule
        .as_ref()
        .is_ok_and(|rule| rule.canary.as_ref() == Some(written))
        && kept.as_ref() != Some(written);
    if label && rollout.canary_label_at.is_some() && !refused.label {
        if !turn.canary_is_quiet() {
            return false;
        }
        turn.effect(Effect::RestoreLabel {
            written: written.clone(),
            kept: kept.clone(),
        });
        return false;
    }
    !weights
}

/// At weight 0 only the presence of a key can differ from what was kept, unless a person changed the value.
fn is_ours(present: Option<i64>, kept: Option<i64>) -> bool {
    match (present, kept) {
        (Some(present), Some(kept)) => present == kept,
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

/// Routes that this rollout moved and that are ours no longer: their weights are out of its hands.
fn lost(turn: &Turn<'_>, rollout: &Rollout, is_meant: fn(&KeptRoute) -> bool) -> Option<String> {
    let is_here = |key: &str| turn.seen.routes.iter().any(|route| route.key == key);
    let kept = rollout.kept.routes.iter().filter(|kept| is_meant(kept));
    let lost = kept.filter(|kept| !is_here(&kept.route));
    let names = lost.map(|kept| kept.route.as_str()).collect::<Vec<_>>();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Those of the start: one that came in later may go again.
pub(super) fn lost_routes(turn: &Turn<'_>, rollout: &Rollout) -> Option<String> {
    lost(turn, rollout, |kept| !kept.joined)
}

/// Why the rollout ended, and what it leaves to people.
fn why_ended(turn: &Turn<'_>, rollout: &Rollout) -> String {
    let why = rollout
        .failure
        .as_ref()
        .map(|f| f.message.clone())
        .unwrap_or_default();
    match lost(turn, rollout, |_| true) {
        Some(lost) if rollout.confirmed > 0 => {
            format!("{why}; {lost} could not be moved: look at the weights there")
        }
        _ => why,
    }
}

/// Whether its canary may have been given weight.
const fn had_weight(rollout: &Rollout) -> bool {
    rollout.raised || rollout.step > 0
}

/// The rollout is over, and the canary has no weight.
pub(super) fn conclude(turn: &mut Turn<'_>, rollout: &mut Rollout, outcome: Outcome) {
    let why = why_ended(turn, rollout);
    let asked_again = rollout
        .failure
        .as_ref()
        .is_some_and(|f| matches!(f.reason, FailureReason::RetryAsked | FailureReason::SpecChanged));
    turn.next.ended.push(Ended {
        id: rollout.id.clone(),
        canary: rollout.canary.clone(),
        production: rollout.production.version.clone(),
        outcome,
        reason: why.clone(),
        at: turn.now,
        had_weight_until: had_weight(rollout).then_some(turn.now),
        relabelled: rollout.relabelled,
        retried: asked_again,
    });
    if outcome == Outcome::Promoted {
        let versions = [
            rollout.production.version.as_str(),
            rollout.canary.version.as_str(),
        ];
        turn.next.known = Some(candidates::known(&turn.next, &turn.seen.deployments, &versions));
    }
    candidates::forget(&mut turn.next, &turn.seen.deployments);
    let (from, to) = (&rollout.production.version, &rollout.canary.version);
    let (phase, kind, text) = match outcome {
        Outcome::Promoted => (
            Phase::Promoted,
            NoticeKind::Promoted,
            format!("{to} is production now, instead of {from}"),
        ),
        Outcome::RolledBack => (
            Phase::RolledBack,
            NoticeKind::RolledBack,
            format!("{to} rolled back to {from}: {why}"),
        ),
        Outcome::Superseded => (
            Phase::Idle,
            NoticeKind::Superseded,
            format!("{to} given up at weight 0: {why}"),
        ),
    };
    (rollout.intended, rollout.confirmed) = (0, 0);
    rollout.ended = Some(turn.now);
    rollout.clock.stop(turn.now);
    turn.enter(phase, text.clone());
    turn.tell(rollout, kind, text);
    for over in [
        ConditionType::Blind,
        ConditionType::Held,
        ConditionType::Interference,
        ConditionType::Paused,
    ] {
        turn.clear(over);
    }
    let_go(turn);
}

/// While the canary may have traffic its `BirdWatch` does not go without us: a finalizer that somebody took off is put on again.
pub(super) fn keep_finalizer(turn: &mut Turn<'_>, rollout: &Rollout) {
    if had_weight(rollout) && !turn.seen.finalizer && guards::given_up(turn).is_none() {
        turn.effect(Effect::AddFinalizer);
    }
}

/// Takes the finalizer off. One that is being deleted is gone with it, and so is what was not yet told: that is waited
/// for, a little.
pub(super) fn let_go(turn: &mut Turn<'_>) {
    if !turn.seen.finalizer {
        return;
    }
    let last = turn.next.ended.last().filter(|_| turn.seen.deleting);
    let waits = last.filter(|last| !is_told(&turn.next, last));
    // While nobody was there, nobody could be told.
    let back = turn.seen.gaps.last().map(|gap| gap.to.min(turn.now));
    let until = waits.map(|last| Turn::after(back.unwrap_or(last.at).max(last.at), LAST_WORDS));
    if until.is_none_or(|until| turn.has_come(until)) {
        turn.effect(Effect::RemoveFinalizer);
    }
}

/// Whether nobody is left to be told of an end, and its parent message shows it.
fn is_told(status: &BirdWatchStatus, last: &Ended) -> bool {
    let shown = format!("*{:?}*", last.outcome);
    let mut threads = status
        .notices
        .threads
        .iter()
        .filter(|thread| thread.rollout == last.id);
    status.notices.pending.is_empty() && threads.all(|thread| thread.shown.contains(&shown))
}
