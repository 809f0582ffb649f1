//! Carries out the effects of a decision, each idempotent. It decides nothing: what an effect says is done, or not.

use std::cmp::Ordering;
use std::time::Duration;

use futures::future::join_all;

use crate::api::status::Rollout;
use crate::core::decision::Effect;
use crate::core::observation::{OURSELVES, ObjectName, Side};
use crate::istio::owner::{Manager, SUBSETS, WEIGHTS, managers};
use crate::istio::routes::{Pair, Route};
use crate::istio::weights::compare;
use crate::istio::{DestinationRule, Problem, VirtualService};
use crate::runtime::metrics::Direction;

use super::context::{MANAGER, Scope};
use super::errors::{Error, Fault, backoff};
use super::look::{Look, Service};
use super::memory::{Entry, Identified};
use super::patches;
use super::warnings;

/// Tries to lower one object in one go; after them the next reconcile tries on, within a second.
const LOWERING_TRIES: u32 = 4;

/// Who wrote something that nobody owns up to.
const SOMEBODY: &str = "somebody";

/// What carrying out effects came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Done {
    /// There was nothing to do.
    Nothing,
    /// Something is known that was not: look again at once.
    Changed,
    /// An object was not as expected; what is newer is known: look again, with more patience each time.
    Overtaken,
}

/// Carries out the effects of one decision.
pub struct Executor<'a> {
    /// Where.
    pub scope: &'a Scope,
    /// What the decision was made on.
    pub look: &'a Look,
    /// Where to keep what is found out.
    pub entry: &'a Entry,
}

impl Executor<'_> {
    /// Every lowering, before anything else and whatever becomes of the others.
    ///
    /// # Errors
    /// The first that was not done.
    pub async fn lower(&self, effects: &[Effect]) -> Result<Done, Error> {
        let mut result = Ok(Done::Nothing);
        for effect in effects {
            if let Effect::Lower { percent } = effect {
                result = worse(result, self.lower_all(*percent).await);
            }
        }
        result
    }

    /// Everything else, in order, up to the first that is not done.
    ///
    /// # Errors
    /// An effect was not done.
    pub async fn rest(&self, effects: &[Effect]) -> Result<Done, Error> {
        let mut done = Done::Nothing;
        for effect in effects {
            let what = match effect {
                Effect::Lower { .. } => continue,
                Effect::Raise { percent } => self.bring_to(*percent, Direction::Up).await,
                Effect::TakeBack => self.bring_to(0, Direction::Down).await,
                Effect::Label { subset, version } => self.label(*subset, version).await,
                Effect::RestoreWeights => self.or_refused(self.restore_weights().await, || {
                    self.entry.lock().weights_refused = Some(self.look.objects.service_versions());
                }),
                Effect::RestoreLabel { written, kept } => {
                    self.or_refused(self.restore_label(written, kept.as_deref()).await, || {
                        self.entry.lock().label_refused = Some(self.look.objects.rule_version());
                    })
                }
                Effect::AddFinalizer => self.finalizer(true).await,
                Effect::RemoveFinalizer => self.finalizer(false).await,
                Effect::ReadRoutes => self.read_routes().await,
                Effect::IdentifyRuleWriter => self.identify_rule_writer().await,
            };
            match what {
                Ok(step) => done = done.max(step),
                // What is newer is known by now; the rest of this decision is of yesterday.
                Err(Error::Call {
                    fault: Fault::Conflict,
                    ..
                }) => return Ok(Done::Overtaken),
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// What the server refuses to take back stays as it is, which `refused` remembers: nothing else waits for it.
    fn or_refused(&self, restored: Result<Done, Error>, refused: impl FnOnce()) -> Result<Done, Error> {
        match restored {
            Err(Error::Call {
                what,
                fault: fault @ Fault::Refused { .. },
                ..
            }) => {
                tracing::warn!(what, %fault, "former values stay changed");
                let told = warnings::not_given_back(&what, &fault);
                self.scope.context.events.publish(&self.look.object, vec![told]);
            }
            // Nothing of it can be given back: the objects have changed too much, or it is back already.
            Ok(Done::Nothing) => {}
            done => return done,
        }
        refused();
        Ok(Done::Changed)
    }

    async fn lower_all(&self, percent: u8) -> Result<Done, Error> {
        let (Some(target), Some(pair)) = (&self.look.objects.target, &self.look.objects.pair) else {
            return Ok(Done::Nothing);
        };
        // One that hangs keeps no other waiting.
        let lowered = target.virtual_services.iter().map(async |service| {
            let lowered = self.lower_one(&self.at(service), pair, percent).await;
            lowered.map_err(|fault| Error::Call {
                what: format!("lowering {service} to {percent} %"),
                fault,
                lowering: true,
            })
        });
        join_all(lowered).await.into_iter().fold(Ok(Done::Nothing), worse)
    }

    /// Lowers one object; when it is not as expected or nothing is answered, reads it and tries again.
    async fn lower_one(&self, name: &ObjectName, pair: &Pair, percent: u8) -> Result<Done, Fault> {
        let mut tries = 0;
        loop {
            let Some(object) = self.scope.virtual_service(name) else {
                return Ok(Done::Nothing);
            };
            let domain = &self.scope.context.cluster_domain;
            let Some(patch) = patches::lowering(&object, pair, domain, percent) else {
                return Ok(if tries == 0 { Done::Nothing } else { Done::Changed });
            };
            let fault = match self.scope.patch_weights(name, patch, Direction::Down).await {
                Ok(()) => {
                    tracing::info!(service = name.name, percent, "lowered the canary's weight");
                    return Ok(Done::Changed);
                }
                Err(Fault::Gone) => return Ok(Done::Nothing),
                Err(Fault::Standby) => return Err(Fault::Standby),
                Err(fault) => fault,
            };
            tracing::warn!(service = name.name, percent, %fault, "lowering failed, trying again");
            tries += 1;
            if tries >= LOWERING_TRIES {
                return Err(fault);
            }
            if !matches!(fault, Fault::Conflict) {
                tokio::time::sleep(backoff(tries, Duration::from_millis(200))).await;
            }
            match self.scope.read_virtual_service(name).await {
                Ok(None) => return Ok(Done::Changed),
                Ok(Some(_)) => {}
                Err(fault) => tracing::debug!(service = name.name, %fault, "a live read failed"),
            }
        }
    }

    /// Brings what was looked at to a weight, and nothing newer: what somebody changed meanwhile is looked at first.
    async fn bring_to(&self, percent: u8, direction: Direction) -> Result<Done, Error> {
        let mut done = Done::Nothing;
        for service in &self.look.objects.services {
            let Some(patch) = patches::bringing_to(service, percent) else {
                continue;
            };
            let name = self.at(&service.object.object_name().name);
            let written = self.scope.patch_weights(&name, patch, direction).await;
            self.service_answered(&name, written, &format!("bringing {} to {percent} %", name.name))
                .await?;
            done = Done::Changed;
        }
        Ok(done)
    }

    async fn restore_weights(&self) -> Result<Done, Error> {
        let (Some(pair), Some(rollout)) = (&self.look.objects.pair, &self.look.status.rollout) else {
            return Ok(Done::Nothing);
        };
        let domain = &self.scope.context.cluster_domain;
        let mut done = Ok(Done::Nothing);
        for service in &rollout.plan.target.virtual_services {
            let name = self.at(service);
            let Some(object) = self.scope.virtual_service(&name) else {
                continue;
            };
            let Some(patch) = patches::restoring_weights(&object, pair, domain, rollout) else {
                continue;
            };
            let written = self.scope.patch_weights(&name, patch, Direction::Down).await;
            let what = format!("giving {service} its weights back");
            let answered = self.service_answered(&name, written, &what).await;
            // Whatever becomes of one, the others get theirs.
            done = worse(done, answered.map(|()| Done::Changed));
        }
        done
    }

    async fn label(&self, subset: Side, version: &str) -> Result<Done, Error> {
        let objects = &self.look.objects;
        let name = objects.subset(subset).unwrap_or_default();
        let what = format!("pointing subset {name} at {version}");
        // There is no way back from it, and a watch that is late shows the weight of a canary that was taken back since, or
        // pods that are others by now.
        let is_sure = subset == Side::Canary
            || self.routes_are_newest().await? && self.canary_is_as_analysed(version).await?;
        if !is_sure {
            return Err(call(&what, Fault::Conflict));
        }
        self.relabel(objects.labelling(subset, version), &what).await
    }

    /// Whether the routes that were decided on are what the server has.
    async fn routes_are_newest(&self) -> Result<bool, Error> {
        for service in &self.look.objects.services {
            let name = self.at(&service.object.object_name().name);
            let read = self.scope.read_virtual_service(&name).await;
            let found = read.map_err(|fault| call("reading the routes once more", fault))?;
            let newest = found.and_then(|found| found.metadata.resource_version);
            if newest != service.object.metadata.resource_version {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the canary's Deployment is, on the server, what was analysed. What is pointed back at a former version needs no analysis.
    async fn canary_is_as_analysed(&self, version: &str) -> Result<bool, Error> {
        let Some(rollout) = &self.look.status.rollout else {
            return Ok(true);
        };
        if rollout.canary.version != version {
            return Ok(true);
        }
        // By its own name: what a status names may have been written by anybody.
        let mut deployments = self.look.seen.deployments.iter();
        let Some(own) = deployments.find(|seen| seen.is(&rollout.canary)) else {
            return Ok(false);
        };
        let name = self.at(&own.name);
        let read = self.scope.read_deployment(&name).await;
        let found = read.map_err(|fault| call("reading the canary's Deployment once more", fault))?;
        let seen = found.map(|found| found.seen(&rollout.plan.target.version_label));
        Ok(seen.is_some_and(|seen| seen.is(&rollout.canary)))
    }

    async fn restore_label(&self, written: &str, kept: Option<&str>) -> Result<Done, Error> {
        let objects = &self.look.objects;
        let name = objects.subset(Side::Canary).unwrap_or_default();
        let what = format!("giving subset {name} its label back");
        self.relabel(objects.restoring_label(written, kept), &what).await
    }

    async fn relabel(
        &self,
        patch: Result<Option<(&DestinationRule, json_patch::Patch)>, Problem>,
        what: &str,
    ) -> Result<Done, Error> {
        let (rule, patch) = match patch {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Done::Nothing),
            Err(problem) => {
                tracing::warn!(%problem, what, "not possible");
                return Ok(Done::Nothing);
            }
        };
        let name = self.at(&rule.object_name().name);
        let written = self.scope.patch_label(&name, patch).await;
        if written.as_ref().is_err_and(Fault::asks_for_a_read) {
            self.live(self.scope.read_destination_rule(&name).await);
        }
        written.map_err(|fault| call(what, fault))?;
        tracing::info!(rule = name.name, "done: {what}");
        Ok(Done::Changed)
    }

    async fn finalizer(&self, wanted: bool) -> Result<Done, Error> {
        // The commit has made a newer version than the one that was decided on.
        let Some(object) = self.scope.bird_watch(&self.look.name) else {
            return Ok(Done::Nothing);
        };
        if object.has_finalizer() == wanted {
            return Ok(Done::Nothing);
        }
        let written = self.scope.put_finalizer(&object, wanted).await;
        match written {
            Ok(true) => Ok(Done::Changed),
            // Somebody between puts it back at once.
            Ok(false) => Ok(Done::Overtaken),
            Err(Fault::Gone) if !wanted => Ok(Done::Nothing),
            Err(fault) => {
                if fault.asks_for_a_read() {
                    self.live(self.scope.read_bird_watch(&self.look.name).await);
                }
                Err(call(
                    if wanted {
                        "adding the finalizer"
                    } else {
                        "removing the finalizer"
                    },
                    fault,
                ))
            }
        }
    }

    async fn read_routes(&self) -> Result<Done, Error> {
        let reached = self.look.status.rollout.as_ref().map_or(0, Rollout::reached);
        let mut versions = Vec::new();
        let mut writers: Vec<Manager> = Vec::new();
        for service in &self.look.objects.services {
            let name = self.at(&service.object.object_name().name);
            let read = self.scope.read_virtual_service(&name).await;
            let found: Option<VirtualService> =
                read.map_err(|fault| call("asking who wrote the routes", fault))?;
            // The watch has yet to show that it is gone.
            let Some(found) = found else {
                return Ok(Done::Overtaken);
            };
            versions.push(found.metadata.resource_version.clone());
            writers.extend(managers(&found.metadata, &moved(service, reached)));
        }
        let name = latest(writers);
        self.entry.lock().routes_writer = Some(Identified { versions, name });
        Ok(Done::Changed)
    }

    async fn identify_rule_writer(&self) -> Result<Done, Error> {
        let Some(rule) = &self.look.objects.rule else {
            return Ok(Done::Nothing);
        };
        let name = self.at(&rule.object_name().name);
        let read = self.scope.read_destination_rule(&name).await;
        let found = read.map_err(|fault| call("asking who wrote the rule", fault))?;
        let Some(found) = found else {
            return Ok(Done::Nothing);
        };
        let writer = latest(managers(&found.metadata, &SUBSETS));
        let versions = vec![found.metadata.resource_version];
        self.entry.lock().rule_writer = Some(Identified {
            versions,
            name: writer,
        });
        Ok(Done::Changed)
    }

    /// After a failed or unanswered write only a live read tells how the object stands.
    async fn service_answered(
        &self,
        name: &ObjectName,
        written: Result<(), Fault>,
        what: &str,
    ) -> Result<(), Error> {
        if written.as_ref().is_err_and(Fault::asks_for_a_read) {
            self.live(self.scope.read_virtual_service(name).await);
        }
        written.map_err(|fault| call(what, fault))?;
        tracing::info!(service = name.name, "done: {what}");
        Ok(())
    }

    fn live<T>(&self, read: Result<T, Fault>) {
        if let Err(fault) = read {
            tracing::debug!(name = self.look.name.name, %fault, "a live read failed");
        }
    }

    fn at(&self, name: &str) -> ObjectName {
        ObjectName {
            namespace: self.look.name.namespace.clone(),
            name: name.to_owned(),
        }
    }
}

fn call(what: &str, fault: Fault) -> Error {
    Error::Call {
        what: what.to_owned(),
        fault,
        lowering: false,
    }
}

fn worse(so_far: Result<Done, Error>, next: Result<Done, Error>) -> Result<Done, Error> {
    Ok(so_far?.max(next?))
}

/// The lists of an object with routes of ours that are not at `percent`: whoever wrote other lists, or other objects, moved nothing.
fn moved(service: &Service, percent: u8) -> Vec<&'static [&'static str]> {
    let is_moved = |route: &Route| compare(route, percent) != Ordering::Equal;
    let kinds = service.routes.iter().filter(|route| is_moved(route));
    let lists: Vec<&str> = kinds.map(|route| route.kind.field()).collect();
    let is_list = |path: &&[&str]| {
        let list = path.last().and_then(|field| field.strip_prefix("f:"));
        list.is_some_and(|list| lists.contains(&list))
    };
    WEIGHTS.into_iter().filter(is_list).collect()
}

/// The latest of those who wrote; where there is nobody but us, it was us, and a crash kept us from saying why.
fn latest(writers: Vec<Manager>) -> String {
    let (ours, others): (Vec<_>, Vec<_>) = writers.into_iter().partition(|writer| writer.name == MANAGER);
    let nobody = if ours.is_empty() { SOMEBODY } else { OURSELVES };
    others
        .into_iter()
        .max_by_key(|writer| writer.time)
        .map_or_else(|| nobody.to_owned(), |writer| writer.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_only_we_own_up_to_was_ours_before_a_crash() {
        let manager = |name: &str, second| Manager {
            name: name.to_owned(),
            time: jiff::Timestamp::from_second(second).ok(),
        };
        assert_eq!(
            latest(vec![
                manager(MANAGER, 9),
                manager("argocd", 1),
                manager("kubectl-edit", 5)
            ]),
            "kubectl-edit"
        );
        assert_eq!(latest(vec![manager(MANAGER, 9)]), OURSELVES);
        assert_eq!(latest(Vec::new()), SOMEBODY);
    }
}
