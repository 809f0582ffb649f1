//! A node that only says so: every pod is marked ready as soon as it is seen, and nothing runs. Pods stay unbound, so
//! that the API server deletes them by itself.

use birdwatch_bed::clock;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

/// Pods that are marked at the same time.
const AT_ONCE: usize = 32;

/// It marks pods for as long as it lives.
pub(crate) struct Kubelet {
    _marking: AbortOnDropHandle<()>,
}

impl Kubelet {
    pub(crate) fn start(client: Client) -> Self {
        let marking = tokio::spawn(async move {
            let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default());
            let new = pods
                .default_backoff()
                .applied_objects()
                .inspect_err(|error| tracing::warn!(%error, "the watch on pods broke, and is taken up again"))
                .filter_map(|pod| std::future::ready(pod.ok().filter(|pod| !is_ready(pod))));
            new.for_each_concurrent(AT_ONCE, |pod| mark(client.clone(), pod))
                .await;
        });
        Self {
            _marking: AbortOnDropHandle::new(marking),
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.filter(|condition| condition.type_ == "Ready");
    conditions.any(|condition| condition.status == "True")
}

async fn mark(client: Client, pod: Pod) {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let patch = Patch::Merge(ready(&clock::now().to_string()));
    let marked = api
        .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
        .await;
    match marked {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        // Its next change brings it here again, and so does the next listing.
        Err(error) => tracing::warn!(pod = pod.name_any(), %error, "a pod cannot be marked ready"),
    }
}

/// The status of a pod that runs.
fn ready(now: &str) -> Value {
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];
    let conditions =
        conditions.map(|name| json!({"type": name, "status": "True", "lastTransitionTime": now}));
    json!({"status": {"phase": "Running", "conditions": conditions}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_writes_is_what_it_takes_for_ready() {
        let bare: Pod = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        assert!(!is_ready(&bare));
        let mut marked = ready("2026-11-22T10:00:00Z");
        marked["metadata"] = json!({"name": "a"});
        assert!(is_ready(&serde_json::from_value(marked).unwrap()));
    }
}
