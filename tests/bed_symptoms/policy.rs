//! A policy of the cluster that stands against what the operator writes.

use birdwatch_bed::parts::apps;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::stage::{LOOK, SERVICE, Stage, dynamic};

/// Annotation of a change of labels that the API server takes though it holds labels up.
const LATE: &str = "test.otomato.link/late";

impl Stage {
    /// From now on the API server takes no change of the `DestinationRule`: who sends one gives it up, in the end.
    pub(crate) async fn hold_labels_up(&self) {
        let resource = "networking.istio.io/destinationrules";
        let mut manifests = apps::refusing_updates(&self.namespace, resource, "no labels today");
        let is_late = format!("'{LATE}' in object.metadata.?annotations.orValue({{}})");
        let validation = &mut manifests[0]["spec"]["validations"][0]["expression"];
        *validation = format!("{} || {is_late}", validation.as_str().unwrap()).into();
        apps::apply(&self.client, &manifests).await.unwrap();
        let api = dynamic(&self.client, &self.namespace, "DestinationRule");
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let change = Patch::Merge(json!({"metadata": {"labels": {"tried": "now"}}}));
        while api.patch(SERVICE, &dry, &change).await.is_ok() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What was held up arrives: production is what the operator wrote.
    pub(crate) async fn let_label_arrive(&self, version: &str) {
        let change = json!({"metadata": {"annotations": {LATE: ""}}});
        self.label_with("birdwatch", (version, version), change).await;
    }

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
