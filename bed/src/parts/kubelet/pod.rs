//! The life of one pod on the node: bind it, give it an address and volumes, run its containers, report on it, end it.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::Status,
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use super::{
    Context,
    account::Volumes,
    address::Lease,
    board::Board,
    container::{Runner, Stage},
    end::{End, Ends, Sighting},
    object::Objects,
    problem::Problem,
    status::{Conditions, Phase, status},
};
use crate::clock;

/// How long to wait before trying again what the API server refused or the node did not have.
const RETRY: Duration = Duration::from_millis(500);
/// Takes care of one pod from first sight to end.
pub(super) struct Keeper {
    context: Arc<Context>,
    pod: Arc<Pod>,
    sightings: watch::Receiver<Sighting>,
    board: Arc<Board>,
    begun: Timestamp,
    conditions: Conditions,
    reported: Value,
    /// Another node has it.
    is_foreign: bool,
}

impl Keeper {
    pub(super) fn new(
        context: Arc<Context>,
        pod: Arc<Pod>,
        sightings: watch::Receiver<Sighting>,
        board: Arc<Board>,
    ) -> Self {
        let (begun, conditions) = (clock::now(), Conditions::default());
        Self {
            context,
            pod,
            sightings,
            board,
            begun,
            conditions,
            reported: Value::Null,
            is_foreign: false,
        }
    }

    /// Keeps the pod until it is gone or the kubelet ends.
    pub(super) async fn keep(mut self) {
        let mut ends = Ends {
            context: Arc::clone(&self.context),
            sightings: self.sightings.clone(),
        };
        if self.was_over() {
            if let End::Doomed(_) = ends.next().await {
                self.remove().await;
            }
            return;
        }
        let ready = tokio::select! {
            ready = self.prepare() => Ok(ready),
            end = ends.next() => Err(end),
        };
        match ready {
            Err(end) => self.finish(end, None).await,
            Ok(ready) => self.run(&mut ends, ready).await,
        }
        // The logs stay; they lie elsewhere.
        let _ = fs::remove_dir_all(self.dir());
    }

    /// It had ended before this kubelet saw it.
    fn was_over(&self) -> bool {
        let phase = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    async fn run(&mut self, ends: &mut Ends, ready: Ready) {
        let Ready {
            lease,
            volumes,
            stage,
        } = ready;
        let (stop, told) = watch::channel(None);
        let mut containers = JoinSet::new();
        for (index, container) in stage
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.containers.iter().cloned())
            .enumerate()
        {
            let (context, board, stop) = (Arc::clone(&self.context), Arc::clone(&self.board), told.clone());
            let runner = Runner {
                context,
                stage: Arc::clone(&stage),
                board,
                index,
                stop,
            };
            containers.spawn(runner.run(container));
        }
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.pod));
        let mut end = tokio::select! {
            end = ends.next() => end,
            () = self.report(&lease) => ends.next().await,
            never = renew(&context, &pod, &volumes) => never,
        };
        stop.send_replace(Some(end.grace()));
        while !containers.is_empty() {
            tokio::select! {
                _ = containers.join_next() => {}
                worse = ends.worse_than(end) => {
                    end = worse;
                    containers.abort_all();
                }
            }
        }
        self.finish(end, Some(lease)).await;
    }

    /// Everything before the first container.
    async fn prepare(&mut self) -> Ready {
        loop {
            match self.bind().await {
                Ok(true) => break,
                // Another node's: nothing to do but to see it go.
                Ok(false) => {
                    self.is_foreign = true;
                    return std::future::pending().await;
                }
                Err(error) => tracing::warn!(pod = self.pod.name_any(), %error, "a pod cannot be bound"),
            }
            tokio::time::sleep(RETRY).await;
        }
        let lease = loop {
            if let Some(lease) = self.context.addresses.take() {
                break lease;
            }
            tracing::warn!(pod = self.pod.name_any(), "no address is left for a pod");
            tokio::time::sleep(RETRY).await;
        };
        let ip = lease.ip().to_string();
        let volumes = loop {
            match self.lay_volumes(&ip).await {
                Ok(volumes) => break volumes,
                Err(problem) => {
                    for index in 0..self.board.containers().len() {
                        self.board.waits(index, problem.clone());
                    }
                    self.sync(Some(&lease)).await;
                }
            }
            tokio::time::sleep(RETRY).await;
        };
        let (dir, logs) = (
            self.dir(),
            self.context.logs_of(&self.namespace(), &self.pod.name_any()),
        );
        let stage = Stage {
            pod: (*self.pod).clone(),
            ip,
            dir,
            volumes: volumes.dir.clone(),
            logs,
        };
        Ready {
            lease,
            volumes,
            stage: Arc::new(stage),
        }
    }

    /// Binds the pod to our node; true when that is where it is now.
    async fn bind(&self) -> kube::Result<bool> {
        let ours = |pod: &Pod| Some(pod.spec.as_ref()?.node_name.as_ref()? == &self.context.config.node);
        if let Some(ours) = ours(&self.pod) {
            return Ok(ours);
        }
        let target = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(self.context.config.node.clone()),
            ..ObjectReference::default()
        };
        let mut binding = Binding {
            target,
            ..Binding::default()
        };
        binding.metadata.name = self.pod.metadata.name.clone();
        let (api, name, params) = (self.api(), self.pod.name_any(), PostParams::default());
        match api.create_subresource("binding", &name, &params, &binding).await {
            Ok(Status { .. }) => Ok(true),
            // Somebody bound it already: perhaps we, by a request whose answer was lost.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                Ok(ours(&api.get(&name).await?).unwrap_or_default())
            }
            Err(error) => Err(error),
        }
    }

    async fn lay_volumes(&self, ip: &str) -> Result<Volumes, Problem> {
        let failed = |error: std::io::Error| Problem::volume(error.to_string());
        fs::create_dir_all(self.dir()).map_err(failed)?;
        fs::create_dir_all(self.context.logs_of(&self.namespace(), &self.pod.name_any())).map_err(failed)?;
        let objects = Objects::fetch(&self.context.client, &self.namespace(), &self.pod)
            .await
            .map_err(|error| Problem::volume(error.to_string()))?;
        Volumes::lay(
            &self.context.client,
            &self.pod,
            ip,
            &objects,
            self.dir().join("volumes"),
        )
        .await
    }

    /// Tells the API server of every change, until all containers are over.
    async fn report(&mut self, lease: &Lease) {
        while !self.sync(Some(lease)).await.is_over() {
            self.board.changed().await;
        }
    }

    /// Patches the pod's status if it is not what was last reported.
    async fn sync(&mut self, lease: Option<&Lease>) -> Phase {
        loop {
            let containers = self.board.containers();
            let phase = Phase::of(&containers);
            let ip = lease.map(Lease::ip);
            let fresh = status(&containers, ip, self.begun, &mut self.conditions, clock::now());
            if fresh == self.reported {
                return phase;
            }
            let patch = json!({ "metadata": {"uid": self.pod.metadata.uid}, "status": fresh });
            let (api, name) = (self.api(), self.pod.name_any());
            match api
                .patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
                .await
            {
                Ok(_) => self.reported = fresh,
                // Gone, or another pod has its name by now: nobody is left to be told.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                    return phase;
                }
                Err(error) => {
                    tracing::warn!(pod = name, %error, "a pod's status cannot be reported");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// The last report and the end of a deleted pod.
    async fn finish(&mut self, end: End, lease: Option<Lease>) {
        if matches!(end, End::Doomed(_)) && !self.is_foreign {
            let all = self.board.containers().len();
            (0..all).for_each(|index| self.board.gives_up(index));
            let stop = self.context.stop.clone();
            let last = async {
                self.sync(lease.as_ref()).await;
                self.remove().await;
            };
            stop.run_until_cancelled(last).await;
        }
    }

    /// Takes the pod from the API server: the word that it was waiting for.
    async fn remove(&self) {
        let uid = self.pod.metadata.uid.clone();
        let preconditions = Some(Preconditions {
            uid,
            ..Preconditions::default()
        });
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions,
            ..DeleteParams::default()
        };
        loop {
            match self.api().delete(&self.pod.name_any(), &now).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return,
                Err(error) => tracing::warn!(pod = self.pod.name_any(), %error, "a pod cannot be deleted"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), &self.namespace())
    }

    fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }

    fn dir(&self) -> PathBuf {
        self.context
            .config
            .run_dir
            .join("pods")
            .join(self.pod.uid().unwrap_or_default())
    }
}

/// What a pod has before its containers start.
struct Ready {
    lease: Lease,
    volumes: Volumes,
    stage: Arc<Stage>,
}

/// Renews the pod's tokens in time, for ever.
async fn renew(context: &Context, pod: &Pod, volumes: &Volumes) -> End {
    let Some(period) = volumes.renewal() else {
        return std::future::pending().await;
    };
    let mut wait = period;
    loop {
        tokio::time::sleep(wait).await;
        wait = match volumes.renew(&context.client, pod).await {
            Ok(()) => period,
            Err(problem) => {
                tracing::warn!(pod = pod.name_any(), %problem, "a pod's tokens cannot be renewed");
                RETRY
            }
        };
    }
}
