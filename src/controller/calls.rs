//! Every call of the API server that is no watch: asked of the leadership gate first where it writes, given a
//! deadline of seconds, counted, and its answer kept as the newest known. Nothing else writes.

use std::time::Duration;

use json_patch::Patch as JsonPatch;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::api::FINALIZER;
use crate::core::observation::ObjectName;
use crate::istio::{DestinationRule, VirtualService};
use crate::runtime::metrics::{Direction, WriteKind, WriteResult};

use super::context::{MANAGER, Scope};
use super::errors::Fault;
use super::objects::{Deployment, RawBirdWatch, name_of};

/// What a write is counted as.
#[derive(Clone, Copy)]
enum Counted {
    As(WriteKind),
    Weights(Direction),
}

impl Scope {
    /// Writes a status, if the object is still the version that was read.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn put_status(&self, name: &ObjectName, body: &RawBirdWatch) -> Result<RawBirdWatch, Fault> {
        let api = self.bird_watches(&name.namespace);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let call = api.replace_status(&name.name, &params, body);
        let mut answer = self.write(name, Counted::As(WriteKind::Status), call).await?;
        answer.trim();
        self.newer.bird_watches.put(answer.clone());
        Ok(answer)
    }

    /// Sets the finalizers, if the object is still the version that was read. Returns whether the server has them so.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn put_finalizer(&self, object: &RawBirdWatch, wanted: bool) -> Result<bool, Fault> {
        let name = object.name();
        let others = object
            .metadata
            .finalizers
            .iter()
            .flatten()
            .filter(|finalizer| *finalizer != FINALIZER);
        let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
        if wanted {
            finalizers.push(FINALIZER);
        }
        let version = &object.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
        let api = self.bird_watches(&name.namespace);
        let params = params();
        let patch = Patch::<Value>::Merge(patch);
        let call = api.patch(&name.name, &params, &patch);
        let mut answer = self.write(&name, Counted::As(WriteKind::Finalizer), call).await?;
        answer.trim();
        let is_so = answer.has_finalizer() == wanted;
        self.newer.bird_watches.put(answer);
        Ok(is_so)
    }

    /// Patches the weights of a `VirtualService`.
    ///
    /// # Errors
    /// See [`Fault`]; a failed guard is [`Fault::Conflict`].
    pub async fn patch_weights(
        &self,
        name: &ObjectName,
        patch: JsonPatch,
        direction: Direction,
    ) -> Result<(), Fault> {
        let api = self.virtual_services(&name.namespace);
        let (params, patch) = (params(), Patch::<Value>::Json(patch));
        let call = guarded(api.patch(&name.name, &params, &patch));
        let mut answer = self.write(name, Counted::Weights(direction), call).await?;
        answer.trim();
        self.newer.services.put(answer);
        Ok(())
    }

    /// Patches the label of a subset.
    ///
    /// # Errors
    /// See [`Fault`]; a failed guard is [`Fault::Conflict`].
    pub async fn patch_label(&self, name: &ObjectName, patch: JsonPatch) -> Result<(), Fault> {
        let api = self.destination_rules(&name.namespace);
        let (params, patch) = (params(), Patch::<Value>::Json(patch));
        let call = guarded(api.patch(&name.name, &params, &patch));
        let mut answer = self.write(name, Counted::As(WriteKind::Label), call).await?;
        answer.trim();
        self.newer.rules.put(answer);
        Ok(())
    }

    /// Reads a `BirdWatch` from the server.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn read_bird_watch(&self, name: &ObjectName) -> Result<(), Fault> {
        let api = self.bird_watches(&name.namespace);
        let mut found = self.read(name, api.get(&name.name)).await.inspect_err(|fault| {
            if matches!(fault, Fault::Gone) {
                self.newer.bird_watches.forget(name);
            }
        })?;
        found.trim();
        self.newer.bird_watches.put(found);
        Ok(())
    }

    /// Reads a `VirtualService` from the server, whole; none where it is gone.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn read_virtual_service(&self, name: &ObjectName) -> Result<Option<VirtualService>, Fault> {
        let api = self.virtual_services(&name.namespace);
        let Some(whole) = there(self.read(name, api.get(&name.name)).await)? else {
            return Ok(None);
        };
        let mut trimmed = whole.clone();
        trimmed.trim();
        self.newer.services.put(trimmed);
        Ok(Some(whole))
    }

    /// Reads a `DestinationRule` from the server, whole; none where it is gone.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn read_destination_rule(&self, name: &ObjectName) -> Result<Option<DestinationRule>, Fault> {
        let api = self.destination_rules(&name.namespace);
        let Some(whole) = there(self.read(name, api.get(&name.name)).await)? else {
            return Ok(None);
        };
        let mut trimmed = whole.clone();
        trimmed.trim();
        self.newer.rules.put(trimmed);
        Ok(Some(whole))
    }

    /// Reads a Deployment from the server; none where it is gone.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn read_deployment(&self, name: &ObjectName) -> Result<Option<Deployment>, Fault> {
        let api: Api<Deployment> = Api::namespaced(self.context.client.clone(), &name.namespace);
        there(self.read(name, api.get(&name.name)).await)
    }

    async fn write<T: Resource>(
        &self,
        name: &ObjectName,
        counted: Counted,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Fault> {
        if !self.context.gate.is_open(&name.namespace) {
            return Err(Fault::Standby);
        }
        let deadline = self.context.call_deadline;
        let answer = timeout(deadline, answered(name, call)).await;
        let result = WriteResult::of(&answer);
        match counted {
            Counted::As(kind) => self.context.metrics.written(kind, result),
            Counted::Weights(direction) => self.context.metrics.weights_written(direction, result),
        }
        settled(answer, deadline)
    }

    async fn read<T: Resource>(
        &self,
        name: &ObjectName,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Fault> {
        let deadline = self.context.call_deadline;
        settled(timeout(deadline, answered(name, call)).await, deadline)
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// What is not the object that was asked for is no answer, whatever its code: somebody between may have given it.
async fn answered<T: Resource>(
    name: &ObjectName,
    call: impl Future<Output = kube::Result<T>>,
) -> kube::Result<T> {
    let found = call.await?;
    let meta = found.meta();
    if meta.resource_version.is_some() && name_of(meta) == *name {
        return Ok(found);
    }
    let why = format!("the answer is not {}", name.name);
    Err(kube::Error::Service(why.into()))
}

fn settled<T>(
    answer: Result<kube::Result<T>, tokio::time::error::Elapsed>,
    deadline: Duration,
) -> Result<T, Fault> {
    Ok(answer.map_err(|_| Fault::late(deadline))??)
}

fn there<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Fault::Gone) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A server that finds a `test` of a JSON Patch to fail answers 422, as it does to an object that is invalid or that a
/// policy forbids. Only the latter names the object.
async fn guarded<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    call.await.map_err(|error| match error {
        kube::Error::Api(status) if is_failed_guard(&status) => kube::Error::Api(Box::new(Status {
            code: 409,
            reason: "Conflict".to_owned(),
            ..*status
        })),
        other => other,
    })
}

fn is_failed_guard(status: &Status) -> bool {
    let named = status
        .details
        .as_ref()
        .is_some_and(|details| !details.name.is_empty());
    status.code == 422 && !named
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;

    fn refusal(name: &str) -> kube::Error {
        let status = json!({
            "status": "Failure", "reason": "Invalid", "code": 422, "message": "no",
            "details": {"group": "networking.istio.io", "kind": "virtualservices", "name": name},
        });
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[tokio::test]
    async fn what_is_not_the_object_that_was_asked_for_is_no_answer() {
        let name = ObjectName {
            namespace: "shop".to_owned(),
            name: "aleph".to_owned(),
        };
        let answer = async |metadata: Value| {
            let object: RawBirdWatch = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            answered(&name, ready(Ok(object))).await.map_err(Fault::from)
        };
        let asked_for = json!({"namespace": "shop", "name": "aleph", "resourceVersion": "1"});
        assert!(answer(asked_for).await.is_ok());
        for other in [
            json!({}),
            json!({"namespace": "shop", "name": "beth", "resourceVersion": "1"}),
            json!({"namespace": "other", "name": "aleph", "resourceVersion": "1"}),
            json!({"namespace": "shop", "name": "aleph"}),
        ] {
            let fault = answer(other).await.unwrap_err();
            assert!(matches!(fault, Fault::NoAnswer(_)), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_failed_guard_is_a_conflict_and_a_refused_object_is_not() {
        let fault = async |name: &str| {
            let answer: kube::Result<()> = guarded(ready(Err(refusal(name)))).await;
            Fault::from(answer.unwrap_err())
        };
        assert!(matches!(fault("").await, Fault::Conflict));
        assert!(matches!(fault("aleph").await, Fault::Refused { code: 422, .. }));
    }
}
