//! Who else has a hand in it: other `BirdWatch`es, other operators, and what ours is allowed.

use std::collections::BTreeMap;

use crate::api::plan::Plan;

use super::inventory::{Inventory, Meta, Peer};
use super::{Report, codes};

/// Marks in keys of labels and annotations, and in API versions of owners.
const MARKS: [(&str, &str); 4] = [
    ("flagger.app/", "Flagger"),
    ("argo-rollouts.argoproj.io/", "Argo Rollouts"),
    ("rollout.argoproj.io/", "Argo Rollouts"),
    ("rollouts-pod-template-hash", "Argo Rollouts"),
];

/// Names under which they write.
const MANAGERS: [(&str, &str); 3] = [
    ("flagger", "Flagger"),
    ("rollouts-controller", "Argo Rollouts"),
    ("argo-rollouts", "Argo Rollouts"),
];

pub(super) fn peers(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let host = || inventory.rule.as_ref().ok()?.as_ref()?.host.as_deref();
    let is_same = |peer: &&Peer| {
        let one_rule = peer.target.destination_rule == plan.target.destination_rule;
        let one_host = peer.host.is_some() && peer.host.as_deref() == host();
        let subsets = peer.target.production_subset == plan.target.production_subset
            && peer.target.canary_subset == plan.target.canary_subset;
        one_rule || (one_host && subsets)
    };
    for peer in inventory.peers.found.iter().filter(is_same) {
        let object = format!("BirdWatch {}", peer.name);
        let what = format!("it acts on the same host and subsets as {}", inventory.name.name);
        let remedy = "Delete one of the two, or give them different subsets and DestinationRules.";
        match peer.is_older {
            Some(false) => report.warning(
                codes::SECOND_BIRDWATCH,
                &object,
                what,
                "It is the younger one: it waits for this one to be deleted.",
                remedy,
            ),
            Some(true) => report.error(
                codes::SECOND_BIRDWATCH,
                &object,
                what,
                "It is the older one: it acts, and this one does nothing.",
                remedy,
            ),
            None => report.error(
                codes::SECOND_BIRDWATCH,
                &object,
                what,
                "Of two the older one acts, and the other does nothing.",
                remedy,
            ),
        }
    }
    if let Err(why) = &inventory.peers.whole {
        report.unseen("other BirdWatches", why);
    }
}

pub(super) fn marks(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let rule = inventory.rule.as_ref().ok().and_then(Option::as_ref);
    if let Some(rule) = rule {
        mark(
            report,
            &format!("DestinationRule {}", plan.target.destination_rule),
            &rule.meta,
        );
    }
    for service in inventory.virtual_services.found.iter().filter(|s| s.sends()) {
        mark(
            report,
            &format!("VirtualService {}", service.name.name),
            &service.meta,
        );
    }
    for deployment in &inventory.deployments.found {
        mark(
            report,
            &format!("Deployment {}", deployment.seen.name),
            &deployment.meta,
        );
    }
}

fn mark(report: &mut Report, object: &str, meta: &Meta) {
    if let Some((who, what)) = foreign(meta) {
        report.error(
            codes::OTHER_OPERATOR,
            object,
            format!("{what} is a mark of {who}"),
            "Two operators that write the same weights and labels undo each other's work in the middle of a release.",
            format!("Take the service out of {who} first (docs/migration.md says how), and remove its marks."),
        );
    }
}

/// Whose mark it is, and what the mark is.
fn foreign(meta: &Meta) -> Option<(&'static str, String)> {
    let of_key = |kind: &str, keys: &BTreeMap<String, String>| {
        keys.keys().find_map(|key| {
            let (_, who) = MARKS.iter().find(|(mark, _)| key.starts_with(mark))?;
            Some((*who, format!("its {kind} {key}")))
        })
    };
    let of_owner = || {
        meta.owners.iter().find_map(|owner| {
            let is_rollout = owner.starts_with("argoproj.io/") && owner.contains(" Rollout ");
            let marked = || {
                MARKS
                    .iter()
                    .find(|(mark, _)| owner.starts_with(mark))
                    .map(|(_, who)| *who)
            };
            let who = if is_rollout { "Argo Rollouts" } else { marked()? };
            Some((who, format!("its owner {owner}")))
        })
    };
    let of_manager = || {
        meta.managers.iter().find_map(|manager| {
            let (_, who) = MANAGERS.iter().find(|(name, _)| manager == name)?;
            Some((*who, format!("the manager {manager} of its fields")))
        })
    };
    of_key("annotation", &meta.annotations)
        .or_else(|| of_key("label", &meta.labels))
        .or_else(of_owner)
        .or_else(of_manager)
}

pub(super) fn rights(report: &mut Report, inventory: &Inventory) {
    let Some(rights) = report.look("what the operator is allowed", &inventory.rights) else {
        return;
    };
    let mut missing: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for right in rights.iter().filter(|right| !right.allowed) {
        missing
            .entry((&right.user, &right.resource))
            .or_default()
            .push(&right.verb);
    }
    for ((user, resource), verbs) in missing {
        report.error(
            codes::RIGHT_MISSING,
            &format!("{user}, {resource}"),
            format!("it may not {} {resource} in namespace {}", verbs.join(", "), inventory.name.namespace),
            "The operator needs each of its rights: without one it does not see a change, or cannot carry out what it decided.",
            "Install the chart with this namespace in `namespaces` (or none), or name the operator's account with --as-operator.",
        );
    }
}
