//! A policy of the cluster that stands against what the operator writes.

use birdwatch_bed::parts::apps;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::stage::{LOOK, SERVICE, Stage, dynamic};

impl Stage {
    /// From now on the API server takes no status of a `BirdWatch` in this namespace.
    pub(crate) async fn refuse_status(&self) {
        let name = format!("refuse-{}", self.namespace);
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["otomato.link"], "apiVersions": ["*"],
                    "operations": ["UPDATE"], "resources": ["birdwatches/status"],
                }]},
                "validations": [{
                    "expression": format!("object.metadata.namespace != '{}'", self.namespace),
                    "message": "no status today",
                }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
        });
        apps::apply(&self.client, &[policy, binding]).await.unwrap();
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
