//! Promise 8: objects stored under another schema harm no other, and a spec that cannot be read leaves no canary
//! unjudged (behaviours l and t).

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::{FailureReason, Phase};
use birdwatch_bed::{Bed, operator};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::kit::{at_20, condition, held_at_20, quiet};
use crate::support::{SOON, Service, alone_after, eventually};

const CRD: &str = "birdwatches.otomato.link";
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

#[test]
fn l_t_objects_of_another_schema_harm_no_other_and_a_running_plan_still_rolls_back() {
    let prepare = async |bed| {
        let neighbour = quiet(held_at_20());
        tokio::join!(at_20(bed, "t", held_at_20()), at_20(bed, "l", neighbour))
    };
    alone_after(prepare, async |bed, (edited, neighbour)| {
        let weights = (edited.record(), neighbour.record());
        with_any_schema(&neighbour, async || {
            let nonsense = json!({"service": {"not": "a name"}, "metrics": 7, "steps": "nonsense"});
            edited.edit_raw(json!({"spec": nonsense})).await;
            for (name, object) in bad_objects() {
                neighbour.store(name, object).await;
            }
        })
        .await;
        edited.is_told_that_its_spec_is_invalid().await;
        restart_the_operator(bed).await;
        for service in [&edited, &neighbour] {
            let status = service.status_alone(&service.app.name).await;
            assert_eq!((status.phase, status.weight), (Phase::Progressing, Some(20)));
        }

        edited.falls_sick().await;
        neighbour.falls_sick().await;
        neighbour.is_rolled_back(FailureReason::MetricUnhealthy).await;
        weights.1.is_up_and_down_at_once().await;
        edited.is_rolled_back_all_the_same().await;
        weights.0.is_up_and_down_at_once().await;
        neighbour.says_what_is_wrong_with_bad_objects().await;
        neighbour.can_delete_bad_objects().await;
    });
}

/// Objects that an older schema may have let through, by name.
fn bad_objects() -> [(&'static str, Value); 4] {
    [
        (
            "bad-field",
            json!({"spec": {"service": "other", "metrics": "none", "steps": 7}}),
        ),
        ("bad-name", json!({"spec": {"service": ["a", "list"]}})),
        ("bad-spec", json!({"spec": "nonsense"})),
        (
            "bad-status",
            json!({
                "spec": {"service": "another", "metric": "vector(0)"},
                "status": {"phase": 7, "rollout": "none", "conditions": {}},
            }),
        ),
    ]
}

/// Lets the API server take anything for a `BirdWatch` while `act` runs, and then checks as strictly as before.
async fn with_any_schema(service: &Service, act: impl AsyncFnOnce()) {
    let api: Api<CustomResourceDefinition> = Api::all(service.client.clone());
    let crd = serde_json::to_value(api.get(CRD).await.unwrap()).unwrap();
    let strict = crd.pointer(SCHEMA).unwrap().clone();
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    set_schema(&api, any).await;
    is_taken(service, true).await;
    act().await;
    set_schema(&api, strict).await;
    is_taken(service, false).await;
}

async fn set_schema(crds: &Api<CustomResourceDefinition>, schema: Value) {
    let patch = json!([{"op": "replace", "path": SCHEMA, "value": schema}]);
    let patch = Patch::<Value>::Json(serde_json::from_value(patch).unwrap());
    crds.patch(CRD, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until nonsense would be taken, or refused.
async fn is_taken(service: &Service, wanted: bool) {
    let api = service.dynamic("otomato.link/v1alpha1", "BirdWatch");
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    eventually(&format!("nonsense is taken: {wanted}"), SOON, async || {
        let (_, object) = bad_objects().into_iter().next()?;
        let object = serde_json::from_value(with_name("dry-run", object)).unwrap();
        (api.create(&dry_run, &object).await.is_ok() == wanted).then_some(())
    })
    .await;
}

fn with_name(name: &str, mut object: Value) -> Value {
    object["apiVersion"] = json!("otomato.link/v1alpha1");
    object["kind"] = json!("BirdWatch");
    object["metadata"] = json!({"name": name});
    object
}

/// A fresh process finds everything in one list.
async fn restart_the_operator(bed: &'static Bed) {
    bed.kubectl(["delete", "pods", "--all", "--namespace", operator::NAME])
        .await
        .unwrap();
    let wait = [
        "rollout",
        "status",
        "deployment",
        "--timeout=60s",
        "--namespace",
        operator::NAME,
    ];
    bed.kubectl(wait).await.unwrap();
}

impl Service {
    /// Stores an object as it is, status included.
    async fn store(&self, name: &str, object: Value) {
        let api = self.dynamic("otomato.link/v1alpha1", "BirdWatch");
        let whole = with_name(name, object);
        let made = serde_json::from_value(whole.clone()).unwrap();
        api.create(&PostParams::default(), &made).await.unwrap();
        if let Some(status) = whole.get("status") {
            let params = PatchParams::default();
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(name, &params, &patch).await.unwrap();
        }
    }

    /// Merges a change that no type of ours need fit.
    async fn edit_raw(&self, change: Value) {
        let api = self.dynamic("otomato.link/v1alpha1", "BirdWatch");
        let params = PatchParams::default();
        api.patch(&self.app.name, &params, &Patch::Merge(change))
            .await
            .unwrap();
    }

    /// The status of an object whose spec may be anything.
    async fn status_alone(&self, name: &str) -> BirdWatchStatus {
        let object = self.object("otomato.link/v1alpha1", "BirdWatch", name).await;
        serde_json::from_value(object["status"].clone()).unwrap_or_default()
    }

    async fn is_told_that_its_spec_is_invalid(&self) {
        eventually("the spec is said to be invalid", SOON, async || {
            let status = self.status_alone(&self.app.name).await;
            condition(&status, "SpecInvalid", "SpecInvalid").map(str::to_owned)
        })
        .await;
        self.hears("the running plan stays in force").await;
        self.warned("SpecInvalid").await;
    }

    /// The API server takes no status while the stored spec breaks its rules: traffic goes back and people are told
    /// all the same, and status follows once the spec is mended.
    async fn is_rolled_back_all_the_same(&self) {
        self.mesh_has(0).await;
        assert_eq!(self.weights().await, (100, 0));
        self.hears("v2 rolled back to v1").await;
        self.warned("CanaryUnhealthy").await;
        self.warned("RolledBack").await;

        let mut spec = held_at_20();
        spec["service"] = json!(self.app.name);
        self.edit_raw(json!({"spec": spec})).await;
        self.is_rolled_back(FailureReason::MetricUnhealthy).await;
        assert_eq!(self.times_told("v2 rolled back to v1"), 1, "{:#?}", self.told());
    }

    async fn says_what_is_wrong_with_bad_objects(&self) {
        for name in ["bad-field", "bad-name", "bad-spec"] {
            let why = eventually(&format!("{name} is said to be invalid"), SOON, async || {
                let status = self.status_alone(name).await;
                condition(&status, "SpecInvalid", "SpecInvalid").map(str::to_owned)
            })
            .await;
            assert!(why.contains("spec cannot be read"), "{name}: {why}");
        }
        let why = self.warned("StatusUnreadable").await;
        assert!(
            why.contains("status.phase") || why.contains("status.rollout"),
            "{why}"
        );
    }

    async fn can_delete_bad_objects(&self) {
        let api = self.dynamic("otomato.link/v1alpha1", "BirdWatch");
        for (name, _) in bad_objects() {
            api.delete(name, &DeleteParams::default()).await.unwrap();
            eventually(&format!("{name} is gone"), SOON, async || {
                api.get_opt(name).await.ok()?.is_none().then_some(())
            })
            .await;
        }
    }
}
