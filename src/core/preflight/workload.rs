//! What the Deployments say: which versions there are, whether they run, and whether the canary can carry its share.

use crate::api::plan::{Plan, Target};
use crate::core::blocks;
use crate::core::number::human;

use super::inventory::{DeploymentFacts, Inventory, SubsetFacts};
use super::{Report, codes};

/// The Deployments of a service by the part they play.
pub(super) struct Parts<'a> {
    /// Production's version, where it is known.
    pub(super) production: Option<&'a str>,
    /// Those of production's version.
    pub(super) of_production: Vec<&'a DeploymentFacts>,
    /// The one that is or will be the canary.
    pub(super) canary: Option<&'a DeploymentFacts>,
}

/// Production's version, as the production subset says.
pub(super) fn production(inventory: &Inventory) -> Option<&str> {
    match inventory.rule.as_ref().ok()?.as_ref()?.production {
        SubsetFacts::Version(ref version) => Some(version),
        SubsetFacts::Missing | SubsetFacts::Unlabelled => None,
    }
}

pub(super) fn parts<'a>(inventory: &'a Inventory, plan: &Plan) -> Parts<'a> {
    let production = production(inventory);
    let all = &inventory.deployments.found;
    let version = |d: &DeploymentFacts| d.seen.version.clone();
    let of_production = all
        .iter()
        .filter(|d| production.is_some() && d.seen.version.as_deref() == production);
    let is_canary = |d: &&DeploymentFacts| match &plan.canary_version {
        Some(asked) => d.seen.version.as_ref() == Some(asked) && d.seen.version.as_deref() != production,
        None => production.is_some() && d.seen.version.is_some() && version(d).as_deref() != production,
    };
    Parts {
        production,
        of_production: of_production.collect(),
        canary: all
            .iter()
            .filter(is_canary)
            .max_by_key(|d| (d.seen.created, d.seen.name.clone())),
    }
}

pub(super) fn deployments(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let target = &plan.target;
    let listed = &inventory.deployments;
    if listed.found.is_empty() {
        let what = format!("Deployments with {}", selector(target));
        if report.look(&what, &listed.whole).is_some() {
            report.error(
                codes::DEPLOYMENT_MISSING,
                &what,
                format!(
                    "there is none in namespace {} whose pods carry these labels",
                    inventory.name.namespace
                ),
                "Nothing can be released: versions are told apart by the Deployments of a service.",
                "Label the pod templates so, or say how they are labelled in spec.workload.selector.",
            );
        }
        return;
    }
    for deployment in listed.found.iter().filter(|d| d.seen.version.is_none()) {
        report.warning(
            codes::LABEL_MISSING,
            &format!("Deployment {}, pod template", deployment.seen.name),
            format!("it has no label {}", target.version_label),
            "Without a version it is neither production nor a canary, and no subset selects its pods.",
            format!(
                "Add the label {} to its pod template, or name another label in spec.workload.versionLabel.",
                target.version_label
            ),
        );
    }
    let parts = parts(inventory, plan);
    missing(report, inventory, plan, &parts);
    left_out(report, plan, &parts);
    for deployment in &parts.of_production {
        available(report, deployment, true);
        images(report, deployment);
    }
    if let Some(canary) = parts.canary {
        available(report, canary, false);
        capacity(report, plan, &parts, canary);
        images(report, canary);
    }
}

/// Pods that a subset does not find, whatever its version: production's own, and the canary's in both, for it is to be production.
fn left_out(report: &mut Report, plan: &Plan, parts: &Parts<'_>) {
    let target = &plan.target;
    let production = parts.of_production.iter();
    let production = production.map(|d| (*d, &target.production_subset, &d.seen.lacks.production));
    let canary = parts.canary.into_iter().flat_map(|d| {
        let lacks = &d.seen.lacks;
        [
            (d, &target.canary_subset, &lacks.canary),
            (d, &target.production_subset, &lacks.production),
        ]
    });
    for (deployment, subset, lacked) in production.chain(canary) {
        let Some(lacked) = lacked else { continue };
        report.error(
            codes::SUBSET_LABELS,
            &format!("DestinationRule {}, subset {subset}", target.destination_rule),
            format!(
                "it asks for {lacked} besides the version, which the pods of Deployment {} lack",
                deployment.seen.name
            ),
            "The subset is empty while it points at their version: its share of the traffic is answered with 503.",
            "Take that label out of the subset, or give it to the pods of every version.",
        );
    }
}

fn selector(target: &Target) -> String {
    let labels = target
        .selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

/// Says which of the two versions no Deployment is of.
fn missing(report: &mut Report, inventory: &Inventory, plan: &Plan, parts: &Parts<'_>) {
    let target = &plan.target;
    let whole = &inventory.deployments.whole;
    if let Some(version) = parts.production.filter(|_| parts.of_production.is_empty()) {
        let what = format!("the Deployment of production's version {version}");
        if report.look(&what, whole).is_some() {
            report.error(
                codes::PRODUCTION_MISSING,
                &format!(
                    "DestinationRule {}, subset {}",
                    target.destination_rule, target.production_subset
                ),
                format!(
                    "it points at {version}, and no Deployment with {} is of that version",
                    selector(target)
                ),
                "All traffic goes to a subset without pods, and a rollback would lead there.",
                format!(
                    "Point its label {} at the version that runs, or deploy {version}.",
                    target.version_label
                ),
            );
        }
    }
    let asked = plan.canary_version.as_deref();
    if let Some(asked) = asked.filter(|asked| parts.canary.is_none() && parts.production != Some(asked)) {
        let what = format!("the Deployment of the canary's version {asked}");
        if report.look(&what, whole).is_some() {
            report.hint(
                codes::DEPLOYMENT_MISSING,
                &format!("BirdWatch {}, spec.canaryVersion", inventory.name.name),
                format!("no Deployment with {} is of version {asked}", selector(target)),
                "The rollout starts when there is one, and not before.",
                format!("Deploy {asked}, or mend spec.canaryVersion."),
            );
        }
    }
}

fn available(report: &mut Report, deployment: &DeploymentFacts, is_production: bool) {
    let seen = &deployment.seen;
    let object = format!("Deployment {}", seen.name);
    if !deployment.has_status {
        return report.unseen(
            "whether the Deployments are available",
            "they have no status in the files",
        );
    }
    let what = format!(
        "{} of {} pods are available",
        seen.available.max(0),
        seen.replicas
    );
    if is_production && seen.available <= 0 {
        report.error(
            codes::NOT_AVAILABLE,
            &object,
            what,
            "It is production: while it has no pod, a rollback has nowhere to send traffic, and waits.",
            "Find out why its pods do not become ready before you release anything.",
        );
    } else if seen.available < seen.replicas || seen.replicas < 1 {
        let why = if is_production {
            "It is production: a rollback would send all traffic to fewer pods than it wants."
        } else {
            "A canary starts when all of its pods are available, and fails when that takes longer than progressDeadline."
        };
        report.warning(
            codes::NOT_AVAILABLE,
            &object,
            what,
            why,
            "Find out why its pods do not become ready: kubectl describe its pods.",
        );
    }
}

fn capacity(report: &mut Report, plan: &Plan, parts: &Parts<'_>, canary: &DeploymentFacts) {
    if parts.of_production.is_empty() {
        return;
    }
    let replicas = parts.of_production.iter().map(|d| f64::from(d.seen.replicas));
    let production = replicas.sum();
    let pods = canary.seen.replicas;
    let short = plan.steps.iter().find_map(|step| {
        let needed = blocks::pods_needed(step.weight, production, plan.min_capacity);
        (f64::from(pods) < needed).then_some((step.weight, needed))
    });
    if let Some((weight, needed)) = short {
        report.warning(
            codes::CANARY_TOO_SMALL,
            &format!("Deployment {}, spec.replicas", canary.seen.name),
            format!(
                "it wants {pods} of the {needed} pods that weight {weight} % takes: {} of its share of production's {production}",
                human(plan.min_capacity)
            ),
            "The rollout holds before that step until the canary is scaled up, so that few pods do not get the traffic of many.",
            format!("Scale it to at least {needed} (an autoscaler may do so), or lower spec.minCapacity."),
        );
    }
}

/// Whether an image can become another under the same name.
enum Tag {
    Latest,
    Absent,
    Movable,
    Digest,
}

fn tag(image: &str) -> Tag {
    if image.contains('@') {
        return Tag::Digest;
    }
    // A colon before the last slash is a registry's port.
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        None | Some((_, "")) => Tag::Absent,
        Some((_, "latest")) => Tag::Latest,
        Some(_) => Tag::Movable,
    }
}

fn images(report: &mut Report, deployment: &DeploymentFacts) {
    let mut movable = Vec::new();
    for (container, image) in &deployment.images {
        let what = match tag(image) {
            Tag::Digest => continue,
            Tag::Movable => {
                movable.push(image.as_str());
                continue;
            }
            Tag::Latest => format!("its image {image} has the tag latest"),
            Tag::Absent => format!("its image {image} has no tag, which means latest"),
        };
        report.warning(
            codes::IMAGE_MUTABLE,
            &format!("Deployment {}, container {container}", deployment.seen.name),
            what,
            "A pod that starts later may run other code than the pods that were judged, under the same version.",
            "Give it a tag of its own for each build, or better a digest.",
        );
    }
    if !movable.is_empty() {
        report.hint(
            codes::IMAGE_MUTABLE,
            &format!("Deployment {}", deployment.seen.name),
            format!("named by tag and not by digest: {}", movable.join(", ")),
            "A tag can be pushed again: what is promoted is then not what was judged.",
            "Write image: name@sha256:…, or have the registry refuse to overwrite tags.",
        );
    }
}
