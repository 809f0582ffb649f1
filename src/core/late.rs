//! What reaches the server after the attempt that sent it has ended: whoever sent it led no longer, or had given up waiting. It is
//! taken back where nobody but us wrote it.

use crate::api::conditions::{self, ConditionType};
use crate::api::plan::Target;
use crate::api::status::{NoticeKind, Outcome, Rollout};

use super::decision::Effect;
use super::end;
use super::instants;
use super::observation::{OURSELVES, RouteSeen, Side};
use super::promote;
use super::turn::Turn;

/// The reasons why something is taken back that nobody asked for.
const RAISE: &str = "LateRaise";
const LABEL: &str = "LateLabel";

/// A raise may reach the server after the end of its attempt, when nothing was lowered since that would have refused it: whoever
/// sent it led no longer, or had given up waiting. What is written by nobody but us is no person's wish.
pub(super) fn take_back(turn: &mut Turn<'_>, last: &mut Rollout) {
    let late = late_raise(turn, last);
    let (Some(route), None | Some(OURSELVES)) = (late, turn.seen.routes_writer.as_deref()) else {
        // What a person has set here stays theirs, though we may write the same list for another service and then own all of
        // it. What is still on its way does not find what it was made for.
        last.raised &= late.is_none();
        forget(turn, RAISE);
        return;
    };
    if turn.seen.routes_writer.is_none() {
        turn.effect(Effect::ReadRoutes);
        return;
    }
    let text = format!(
        "a raise of {} reached {} after its end: the canary's {} of {} go back",
        last.canary.version,
        route.key,
        route.canary_share(),
        route.total
    );
    turn.effect(Effect::TakeBack);
    let of_last = turn.next.ended.iter().position(|ended| ended.id == last.id);
    if let Some(at) = of_last
        && !instants::is_recent(turn, turn.next.ended[at].had_weight_until)
    {
        turn.next.ended[at].had_weight_until = Some(turn.now);
    }
    turn.alarm(
        last,
        ConditionType::Interference,
        RAISE,
        &text,
        NoticeKind::Conflict,
    );
}

/// A route that stands where a raise of the last attempt would bring it, as all do that are not at 0. Mostly it is the first one:
/// what follows a confirmed weight is lowered at the end, and refused after that.
fn late_raise<'s>(turn: &Turn<'s>, last: &Rollout) -> Option<&'s RouteSeen> {
    let is_ours = turn.seen.conflict.is_none() && is_same_target(turn, last);
    if !is_ours || last.ended.is_none() || !last.raised {
        return None;
    }
    let moved = turn.seen.routes.iter().filter(|route| !route.is_at(0));
    let late = moved.clone().next()?;
    // To 100 where a person asked for it.
    let mut raises = last.plan.steps.iter().map(|step| step.weight).chain([100]);
    raises
        .any(|percent| moved.clone().all(|route| route.is_at(percent)))
        .then_some(late)
}

/// Of two targets whose weights are the same weights.
fn are_same_routes(a: &Target, b: &Target) -> bool {
    let routes = |target: &Target| {
        let subsets = (target.production_subset.clone(), target.canary_subset.clone());
        (
            target.virtual_services.clone(),
            target.destination_rule.clone(),
            subsets,
        )
    };
    routes(a) == routes(b)
}

/// Production's label names the canary of an attempt that was not promoted, where it named `production` before: the promotion had
/// sent it when the canary was judged. It goes back, though `production` has weight: what has it now was found to be bad. A person
/// may promote by hand. `true`: that comes first, and is waited for unless people have given the attempt up.
pub(super) fn label(turn: &mut Turn<'_>, told: &Rollout, production: &str) -> bool {
    let late = late_label(turn, told, production);
    let (Some(late), None | Some(OURSELVES)) = (late, turn.seen.rule_writer.as_deref()) else {
        forget(turn, LABEL);
        return false;
    };
    if turn.seen.rule_writer.is_none() {
        turn.effect(Effect::IdentifyRuleWriter);
        return true;
    }
    let subset = &told.plan.target.production_subset;
    let has_pods = end::has_pods(turn, production);
    let is_given_up = told.ended.is_none()
        && told
            .failure
            .as_ref()
            .is_some_and(|f| f.reason.waits_for_nothing());
    let text = if has_pods {
        turn.effect(Effect::Label {
            subset: Side::Production,
            version: production.to_owned(),
        });
        format!("the promotion of {late} reached subset {subset} after it was given up: back to {production}")
    } else {
        let way_out = if told.ended.is_none() {
            "; the verb rollback does not wait"
        } else {
            ""
        };
        format!(
            "the promotion of {late} reached subset {subset} after it was given up, and {production} has no available \
             pod: back to it when it has one{way_out}"
        )
    };
    turn.say(&text);
    turn.alarm(
        told,
        ConditionType::Interference,
        LABEL,
        &text,
        NoticeKind::Conflict,
    );
    has_pods || !is_given_up
}

/// The version that stands in production's label without having been promoted.
fn late_label(turn: &Turn<'_>, told: &Rollout, production: &str) -> Option<String> {
    let label = promote::production(turn)?.clone();
    let is_running = told.ended.is_none();
    let is_ours = turn.seen.conflict.is_none() && (is_running || is_same_target(turn, told));
    if label == production || !is_ours {
        return None;
    }
    let ended = turn
        .next
        .ended
        .iter()
        .rev()
        .find(|ended| ended.canary.version == label);
    let was_given_up = ended.is_some_and(|end| {
        end.relabelled && end.outcome != Outcome::Promoted && end.production == production
    });
    (was_given_up || is_running && told.relabelled && told.canary.version == label).then_some(label)
}

/// Whether what is seen is what the attempt changed.
fn is_same_target(turn: &Turn<'_>, last: &Rollout) -> bool {
    let desired = turn.desired.as_ref();
    desired.is_ok_and(|plan| are_same_routes(&plan.target, &last.plan.target))
}

fn forget(turn: &mut Turn<'_>, reason: &str) {
    if conditions::holds_for(&turn.next.conditions, ConditionType::Interference, reason) {
        turn.clear(ConditionType::Interference);
    }
}
