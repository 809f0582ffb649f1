//! What keeps a raise from being written, and what people see of it.

use crate::api::Span;
use crate::api::conditions::ConditionType;
use crate::api::status::{NoticeKind, Rollout, Verdict};

use super::counting;
use super::end;
use super::progress;
use super::turn::Turn;
use super::verdict;
use super::weights::share;

/// After so long people are told that a step waits for requests.
const LONG_WAIT: Span = Span::secs(600);

/// What keeps a raise from being written.
pub(super) struct Block {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether people should hear of it; a few seconds' wait is no news.
    pub(super) news: bool,
    /// Whether what has been written of the raise stays, and only the rest of it waits.
    pub(super) withholds: bool,
}

/// Says so; in a condition too, and to people where it is news.
pub(super) fn held(turn: &mut Turn<'_>, rollout: &Rollout, block: &Block) {
    turn.say(block.message.clone());
    if block.news {
        turn.alarm(
            rollout,
            ConditionType::Held,
            block.reason,
            &block.message,
            NoticeKind::Held,
        );
    } else {
        turn.condition(ConditionType::Held, true, block.reason, &block.message);
    }
}

/// The promotion waits for routes that do not give the canary everything.
pub(super) fn held_for_routes(turn: &mut Turn<'_>, rollout: &Rollout) {
    let other = turn.seen.routes.iter().find(|r| !r.is_at(100));
    let Some(key) = other.map(|r| &r.key) else {
        held_for_objects(turn, rollout);
        return;
    };
    let message = format!("{key} gives production something at 100 %: set it to 0/100");
    held_for(turn, rollout, "RouteAdded", message);
}

/// What is under way waits until our objects are mended.
pub(super) fn held_for_objects(turn: &mut Turn<'_>, rollout: &Rollout) {
    let message = problem(turn).unwrap_or_default();
    held_for(turn, rollout, "ObjectsMissing", message);
}

fn held_for(turn: &mut Turn<'_>, rollout: &Rollout, reason: &'static str, message: String) {
    let block = Block {
        reason,
        message,
        news: true,
        withholds: false,
    };
    held(turn, rollout, &block);
}

/// The promotion waits for pods that production's subset would find.
pub(super) fn held_for_subset(turn: &mut Turn<'_>, rollout: &Rollout, message: String) {
    held_for(turn, rollout, "SubsetLabels", message);
}

/// Why one of the two subsets finds no pod of the canary.
pub(super) fn left_out(turn: &Turn<'_>, rollout: &Rollout) -> Option<String> {
    let target = &rollout.plan.target;
    let own = turn
        .seen
        .deployments
        .iter()
        .find(|d| d.uid == rollout.canary.uid)?;
    let of = |subset: &str, lacked: &Option<String>| {
        let lacked = lacked.as_ref()?;
        Some(format!(
            "subset {subset} of DestinationRule {} asks for {lacked} besides the version, which the pods of Deployment {} lack: make \
             them agree",
            target.destination_rule, own.name
        ))
    };
    of(&target.canary_subset, &own.lacks.canary)
        .or_else(|| of(&target.production_subset, &own.lacks.production))
}

/// The route on which a weight below 100 would give the canary everything, for its weights are too small to be parted so.
fn coarse(turn: &Turn<'_>, weight: u8) -> Option<String> {
    let mut routes = turn.seen.routes.iter();
    let route = routes.find(|route| weight < 100 && share(route.total, weight) >= route.total)?;
    Some(format!(
        "production and canary hold {} of {} together, of which {weight} % would be all: give production 100 and the canary 0 there",
        route.total, route.key
    ))
}

/// The hold is over, and a version still has had no request in it. Seldom traffic is no news for a while.
pub(super) fn awaited(turn: &mut Turn<'_>, rollout: &Rollout) -> Option<Block> {
    let over = rollout.clock.ends(rollout.hold.unwrap_or_default())?;
    let is_over = rollout.last_check.is_some_and(|at| at >= over);
    if !is_over || rollout.verdict != Some(Verdict::Good) || progress::is_paused(turn) {
        return None;
    }
    let message = counting::awaits(rollout)?;
    Some(Block {
        reason: "Requests",
        message,
        news: turn.has_come(Turn::after(over, LONG_WAIT)),
        withholds: false,
    })
}

/// Why an intended raise that is not written yet has lost its ground: the evidence is old or gone, or the plan changed.
pub(super) fn outdated(turn: &Turn<'_>, rollout: &Rollout) -> Option<Block> {
    let planned = rollout.plan.steps.iter().any(|s| s.weight == rollout.intended);
    let proven = match rollout.confirmed {
        0 => verdict::has_baselines(rollout),
        _ => rollout.promote_asked || progress::is_proven(turn, rollout),
    };
    // A first raise that is there in part is looked at: the rest of it waits while what is there is not well.
    let withholds = rollout.confirmed == 0
        && rollout.step > 0
        && rollout.verdict.is_some_and(|verdict| verdict != Verdict::Good);
    let stands = proven && (planned || rollout.promote_asked);
    if stands && !withholds {
        return None;
    }
    let message = format!(
        "the raise to {} % waits for a new healthy check",
        rollout.intended
    );
    Some(Block {
        reason: "Outdated",
        message,
        news: false,
        withholds: stands,
    })
}

/// Why the weight cannot go up to `weight` now, whatever the metrics say.
pub(super) fn block(turn: &mut Turn<'_>, rollout: &Rollout, weight: u8) -> Option<Block> {
    let block = |reason, message, news| {
        Some(Block {
            reason,
            message,
            news,
            withholds: false,
        })
    };
    if progress::is_paused(turn) {
        return block("Paused", progress::paused_at(rollout), false);
    }
    if let Some(problem) = problem(turn) {
        return block("ObjectsMissing", problem, true);
    }
    if let Some(lost) = end::lost_routes(turn, rollout) {
        let message = format!(
            "{lost} no longer holds production and canary once each, or has another name now: mend it, or roll back by hand and use the verb rollback"
        );
        return block("RouteLost", message, true);
    }
    if turn.seen.routes.iter().any(|r| r.total == 0) {
        let message = "production and canary hold 0 of a route together: give them weight there".to_owned();
        return block("NoWeight", message, true);
    }
    if let Some(message) = coarse(turn, weight) {
        return block("WeightCoarse", message, true);
    }
    if let Some(message) = left_out(turn, rollout) {
        return block("SubsetLabels", message, true);
    }
    if rollout.confirmed == 0 {
        let delay = turn.seen.settings.propagation_delay;
        let label_at = rollout.canary_label_at.unwrap_or(turn.now);
        if !turn.has_come(Turn::after(label_at, delay)) {
            return block(
                "Propagating",
                "the mesh is learning of the canary's subset".to_owned(),
                false,
            );
        }
    }
    if !rollout.promote_asked
        && let Some(lacking) = counting::lacks(rollout)
    {
        return block("Evidence", lacking, false);
    }
    if let Some(few) = capacity(turn, rollout, weight) {
        return Some(few);
    }
    // Last, for each scaling makes it so for a moment: what people were told of before stays what they see.
    Some(Block {
        reason: "Unobserved",
        message: unobserved(turn, rollout)?,
        news: false,
        withholds: true,
    })
}

/// Canary pods needed for a weight: its share of production's replicas, times `minCapacity`, and at least one.
pub(super) fn pods_needed(weight: u8, replicas: f64, min_capacity: f64) -> f64 {
    let needed = f64::from(weight) / 100.0 * replicas.max(1.0) * min_capacity;
    // A product that should be whole may come out a little above.
    (needed - 1e-9).ceil().max(1.0)
}

fn capacity(turn: &Turn<'_>, rollout: &Rollout, weight: u8) -> Option<Block> {
    let of_production = turn
        .seen
        .deployments
        .iter()
        .filter(|d| d.version.as_ref() == Some(&rollout.production.version));
    let replicas = of_production.map(|d| f64::from(d.replicas)).sum();
    // Of a small total a weight is rounded up.
    let of_routes = turn
        .seen
        .routes
        .iter()
        .map(|route| route.percent_at(weight))
        .max();
    let needed = pods_needed(
        of_routes.map_or(weight, |most| most.max(weight)),
        replicas,
        rollout.plan.min_capacity,
    );
    let pods = end::canary_pods(turn, rollout);
    (f64::from(pods) < needed).then(|| Block {
        reason: "Capacity",
        message: format!(
            "weight {weight} % needs {needed} available pods of {} and there are {pods}: scale Deployment {} up, or lower minCapacity",
            rollout.canary.version, rollout.canary.deployment
        ),
        news: true,
        withholds: false,
    })
}

/// What keeps us from knowing that the canary's Deployment is still what was watched.
pub(super) fn unobserved(turn: &Turn<'_>, rollout: &Rollout) -> Option<String> {
    let own = turn
        .seen
        .deployments
        .iter()
        .find(|d| d.uid == rollout.canary.uid)?;
    own.candidate().is_none().then(|| own.missing())
}

/// What is wrong with our objects.
pub(super) fn problem(turn: &Turn<'_>) -> Option<String> {
    if let Err(problem) = &turn.seen.rule {
        return Some(problem.clone());
    }
    if turn.seen.rule_outdone.is_some() {
        return turn.seen.rule_outdone.clone();
    }
    if !turn.seen.route_problems.is_empty() {
        return Some(turn.seen.route_problems.join("; "));
    }
    turn.seen
        .routes
        .is_empty()
        .then(|| "no route holds both subsets".to_owned())
}
