//! A policy of the cluster that stands against what the operator writes.

use birdwatch_bed::parts::apps;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::stage::{LOOK, SERVICE, Stage, dynamic};

impl Stage {
    /// From now on the API server takes no status of a `BirdWatch` in this namespace.
    pub(crate) async fn refuse_status(&self) {
        let manifests = apps::refusing_updates(
            &self.namespace,
            "otomato.link/birdwatches/status",
            "no status today",
        );
        apps::apply(&self.client, &manifests).await.unwrap();
        let api = dynamic(&self.client, &self.namespace, "BirdWatch");
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let change = Patch::Merge(json!({"status": {"message": "mine"}}));
        // It takes the server a moment to hear of its policies.
        while api.patch_status(SERVICE, &dry, &change).await.is_ok() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
