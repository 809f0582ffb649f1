//! People who edit the Lease.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::{LOOK, Stage};

impl Stage {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Somebody changes the Lease, as by `kubectl edit`; what the server says where it refuses.
    pub(crate) async fn edit_lease(&self, spec: Value) -> Result<(), String> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let edited = self
            .leases()
            .patch("birdwatch", &PatchParams::default(), &patch)
            .await;
        edited.map(drop).map_err(|refused| refused.to_string())
    }

    /// Waits until there is one.
    pub(crate) async fn lease_stands(&self) {
        while self.leases().get_opt("birdwatch").await.unwrap().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Somebody deletes it.
    pub(crate) async fn delete_lease(&self) {
        self.leases()
            .delete("birdwatch", &DeleteParams::default())
            .await
            .unwrap();
    }
}
