//! Which version is which: the candidates among the Deployments of a service, and the one to release.

use crate::api::BirdWatchStatus;
use crate::api::plan::Target;
use crate::api::status::{Candidate, Ended};

use super::observation::DeploymentSeen;

/// Ended rollouts that are remembered, and Deployments that ran production and are gone.
pub const REMEMBERED: usize = 50;

impl DeploymentSeen {
    /// The candidate this Deployment is, once its controller has observed it.
    #[must_use]
    pub fn candidate(&self) -> Option<Candidate> {
        Some(Candidate {
            revision: self.revision.clone()?,
            ..self.unobserved()?
        })
    }

    /// Whether it is that candidate, and its controller has observed it.
    #[must_use]
    pub fn is(&self, candidate: &Candidate) -> bool {
        self.candidate().as_ref() == Some(candidate)
    }

    /// The same without a revision.
    #[must_use]
    pub fn unobserved(&self) -> Option<Candidate> {
        Some(Candidate {
            version: self.version.clone()?,
            deployment: self.name.clone(),
            uid: self.uid.clone(),
            revision: String::new(),
        })
    }

    /// The candidate it is as far as it is observed: without a revision until its controller has seen it.
    #[must_use]
    pub fn as_seen(&self) -> Option<Candidate> {
        self.candidate().or_else(|| self.unobserved())
    }

    /// Whether it is the Deployment of that candidate, or one that was made again under its name, whatever version it has.
    #[must_use]
    pub fn is_deployment_of(&self, candidate: &Candidate) -> bool {
        self.uid == candidate.uid || self.name == candidate.deployment
    }

    /// Ready to start: observed, at least one replica, all of them updated and available.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.revision.is_some()
            && self.replicas >= 1
            && self.current == self.replicas
            && self.updated == self.replicas
            && self.available >= self.replicas
    }

    /// What keeps it from being ready, for people.
    #[must_use]
    pub fn missing(&self) -> String {
        if self.version.is_none() {
            format!("the pods of Deployment {} have no version label", self.name)
        } else if self.revision.is_none() {
            format!("Deployment {} was not yet observed by its controller", self.name)
        } else if self.replicas < 1 {
            format!("Deployment {} has 0 replicas: scale it up", self.name)
        } else {
            format!(
                "Deployment {} has {} of {} pods updated and {} available",
                self.name, self.updated, self.replicas, self.available
            )
        }
    }
}

/// The revision of one that ran production: what it becomes by a restart, or by being made again, is no new version either.
const ANY_REVISION: &str = "*";

/// Whether two name the same thing: a revision not yet known matches any.
#[must_use]
pub fn same(a: &Candidate, b: &Candidate) -> bool {
    let is_made_again = (is_former(a) || is_former(b)) && a.deployment == b.deployment;
    let is_revision = a.revision == b.revision || matches_any(a) || matches_any(b);
    a.version == b.version && (a.uid == b.uid || is_made_again) && is_revision
}

fn matches_any(candidate: &Candidate) -> bool {
    candidate.revision.is_empty() || is_former(candidate)
}

/// Whether it ran production.
fn is_former(candidate: &Candidate) -> bool {
    candidate.revision == ANY_REVISION
}

/// The Deployment that last ran production with that version, where it was given another one since. One that is gone may have been
/// replaced by pods that are no Deployment's.
#[must_use]
pub fn last_of_production(
    status: &BirdWatchStatus,
    deployments: &[DeploymentSeen],
    version: &str,
) -> Option<Candidate> {
    let is_there = |known: &Candidate| deployments.iter().any(|d| d.is_deployment_of(known));
    let mut known = status.known.iter().flatten().rev();
    known
        .find(|known| known.version == version && is_former(known) && is_there(known))
        .cloned()
}

/// The youngest Deployment with a version to release: not production's, not one that ended already, and either
/// the version asked for or one that was not there when the `BirdWatch` was first seen.
#[must_use]
pub fn choose<'a>(
    status: &BirdWatchStatus,
    deployments: &'a [DeploymentSeen],
    production: Option<&str>,
    wanted: Option<&str>,
) -> Option<(&'a DeploymentSeen, Candidate)> {
    deployments
        .iter()
        .filter_map(|deployment| Some((deployment, deployment.candidate()?)))
        .filter(|(_, candidate)| Some(candidate.version.as_str()) != production)
        .filter(|(_, candidate)| match wanted {
            Some(version) => candidate.version == version,
            None => !was_there(status, candidate),
        })
        .filter(|(_, candidate)| !has_ended(status, candidate))
        .max_by(|(a, _), (b, _)| a.created.cmp(&b.created).then_with(|| b.name.cmp(&a.name)))
}

/// Whether the candidate was there when the `BirdWatch` was first seen, or was passed over since.
#[must_use]
pub fn was_there(status: &BirdWatchStatus, candidate: &Candidate) -> bool {
    status.known.iter().flatten().any(|known| same(known, candidate))
}

/// Whether the candidate ran production before.
#[must_use]
pub fn ran_production(status: &BirdWatchStatus, candidate: &Candidate) -> bool {
    let known = status.known.iter().flatten();
    known
        .filter(|known| is_former(known))
        .any(|known| same(known, candidate))
}

/// Of several candidates the youngest is released. Those that are there and are not younger than the `chosen` one are
/// passed over: the end of its rollout is no reason to release them, so that from now on they count as known.
pub fn pass_over(status: &mut BirdWatchStatus, deployments: &[DeploymentSeen], chosen: &DeploymentSeen) {
    let others = deployments
        .iter()
        .filter(|d| d.uid != chosen.uid && d.created <= chosen.created);
    for other in others.filter_map(DeploymentSeen::as_seen) {
        if !was_there(status, &other) {
            status.known.get_or_insert_default().push(other);
        }
    }
}

/// Whether a rollout of the candidate has ended already.
#[must_use]
pub fn has_ended(status: &BirdWatchStatus, candidate: &Candidate) -> bool {
    status
        .ended
        .iter()
        .any(|ended| !ended.retried && same(&ended.canary, candidate))
}

/// Whether a rollout of the candidate was given up for no fault of its own, so that it may start again.
#[must_use]
pub fn may_start_again(status: &BirdWatchStatus, candidate: &Candidate) -> bool {
    let last = status
        .ended
        .iter()
        .rev()
        .find(|ended| same(&ended.canary, candidate));
    last.is_some_and(|ended| ended.retried)
}

/// The Deployments that are no candidates for having been there before: those of first sight or passed over, with the revisions that
/// have since become known, and whatever runs or ran production. Of the former those are forgotten that are gone or have changed, of
/// the latter the oldest beyond [`REMEMBERED`].
#[must_use]
pub fn known(
    status: &BirdWatchStatus,
    deployments: &[DeploymentSeen],
    production: &[&str],
) -> Vec<Candidate> {
    let complete = |old: &Candidate| {
        if is_former(old) {
            return Some(old.clone());
        }
        let present = deployments.iter().find(|d| d.uid == old.uid)?;
        match present.candidate() {
            Some(candidate) if same(&candidate, old) => Some(candidate),
            Some(_) => None,
            None => Some(old.clone()),
        }
    };
    let mut known: Vec<Candidate> = match &status.known {
        None => deployments.iter().filter_map(DeploymentSeen::as_seen).collect(),
        Some(known) => known.iter().filter_map(complete).collect(),
    };
    let runs = |d: &&DeploymentSeen| {
        d.version
            .as_deref()
            .is_some_and(|version| production.contains(&version))
    };
    for mut candidate in deployments
        .iter()
        .filter(runs)
        .filter_map(DeploymentSeen::as_seen)
    {
        ANY_REVISION.clone_into(&mut candidate.revision);
        if !known.contains(&candidate) {
            known.retain(|k| !same(k, &candidate));
            known.push(candidate);
        }
    }
    forget_former(&mut known, deployments);
    known
}

/// Forgets the oldest beyond [`REMEMBERED`] that ran production and whose Deployment is gone, or has another version now.
fn forget_former(known: &mut Vec<Candidate>, deployments: &[DeploymentSeen]) {
    let is_there = |former: &Candidate| {
        let mut of_version = deployments
            .iter()
            .filter(|d| d.version.as_ref() == Some(&former.version));
        of_version.any(|d| d.is_deployment_of(former))
    };
    let is_gone = |former: &Candidate| is_former(former) && !is_there(former);
    let gone = known.iter().filter(|former| is_gone(former)).count();
    let mut surplus = gone.saturating_sub(REMEMBERED);
    known.retain(|former| {
        let goes = surplus > 0 && is_gone(former);
        surplus -= usize::from(goes);
        !goes
    });
}

/// The pods that a target's Deployments are found by, as text.
#[must_use]
pub fn pods_of(target: &Target) -> String {
    let labels = target
        .selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    format!(
        "{},{}",
        labels.collect::<Vec<_>>().join(","),
        target.version_label
    )
}

/// Forgets the oldest ends beyond [`REMEMBERED`]; those whose Deployment is gone go first.
pub fn forget(status: &mut BirdWatchStatus, deployments: &[DeploymentSeen]) {
    while status.ended.len() > REMEMBERED {
        let gone = |uid: &str| deployments.iter().all(|d| d.uid != uid);
        let oldest = status.ended.iter().position(|e| gone(&e.canary.uid)).unwrap_or(0);
        status.ended.remove(oldest);
    }
}

/// The last end of a version that is not in production now, of the `wanted` one where one is: what `retry` starts again. Of several ends
/// of that version, those whose Deployment is there go first.
#[must_use]
pub fn to_retry(
    status: &BirdWatchStatus,
    deployments: &[DeploymentSeen],
    production: Option<&str>,
    wanted: Option<&str>,
) -> Option<usize> {
    let is_meant = |ended: &&Ended| {
        let version = ended.canary.version.as_str();
        production != Some(version) && wanted.is_none_or(|wanted| version == wanted)
    };
    let ended = &status.ended;
    let version = &ended.iter().rfind(is_meant)?.canary.version;
    let is_it = |ended: &Ended| is_meant(&ended) && ended.canary.version == *version;
    let there = |ended: &Ended| is_it(ended) && is_seen(deployments, &ended.canary);
    let place = ended.iter().rposition(there);
    place.or_else(|| ended.iter().rposition(is_it))
}

/// Whether its Deployment is there and has not changed, as far as it is observed.
#[must_use]
pub fn is_seen(deployments: &[DeploymentSeen], candidate: &Candidate) -> bool {
    let mut seen = deployments.iter().filter_map(DeploymentSeen::as_seen);
    seen.any(|seen| same(&seen, candidate))
}
