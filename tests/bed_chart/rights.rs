//! Exactly the rights it needs: whatever is granted is used, and nothing is asked for that is not (behaviour n).

use std::collections::BTreeSet;

use birdwatch::api::conditions::{self, ConditionType};
use birdwatch::api::status::Phase;
use birdwatch::api::{BirdWatch, BirdWatchStatus};
use birdwatch_bed::Bed;
use birdwatch_bed::audit::Entry;
use birdwatch_bed::operator::NAME;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::release::{Release, alone, assert_none_forbidden, at_half, quick, watch};
use crate::support::{SOON, Service, eventually};

/// One thing that may be done, as `verb group/resource` and the object's name where only one is granted.
type Right = String;

fn right(verb: &str, group: &str, resource: &str, name: Option<&str>) -> Right {
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    format!("{verb} {group}/{resource}{name}")
}

/// All that the roles bound to the operator's account grant.
async fn granted(client: &Client) -> BTreeSet<Right> {
    let ours = |subjects: &Option<Vec<Subject>>| {
        let mut subjects = subjects.iter().flatten();
        subjects.any(|s| s.kind == "ServiceAccount" && s.name == NAME && s.namespace.as_deref() == Some(NAME))
    };
    let mut rules = Vec::new();
    let all = ListParams::default();
    for binding in Api::<ClusterRoleBinding>::all(client.clone())
        .list(&all)
        .await
        .unwrap()
    {
        if ours(&binding.subjects) {
            let found: Api<ClusterRole> = Api::all(client.clone());
            rules.extend(found.get(&binding.role_ref.name).await.unwrap().rules.unwrap());
        }
    }
    for binding in Api::<RoleBinding>::all(client.clone()).list(&all).await.unwrap() {
        if ours(&binding.subjects) {
            let found: Api<Role> =
                Api::namespaced(client.clone(), binding.metadata.namespace.as_ref().unwrap());
            rules.extend(found.get(&binding.role_ref.name).await.unwrap().rules.unwrap());
        }
    }
    rules.iter().flat_map(rights_of).collect()
}

fn rights_of(rule: &PolicyRule) -> Vec<Right> {
    let mut rights = Vec::new();
    for verb in &rule.verbs {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                match rule.resource_names.as_deref() {
                    None | Some([]) => rights.push(right(verb, group, resource, None)),
                    Some(names) => {
                        rights.extend(names.iter().map(|name| right(verb, group, resource, Some(name))));
                    }
                }
            }
        }
    }
    rights
}

/// The rights that these requests took, of those granted.
fn used(entries: &[Entry], granted: &BTreeSet<Right>) -> BTreeSet<Right> {
    let taken = entries
        .iter()
        .filter(|entry| entry.code < 400 || entry.code == 409)
        .flat_map(|entry| {
            let resource = match entry.subresource.as_str() {
                "" => entry.resource.clone(),
                sub => format!("{}/{sub}", entry.resource),
            };
            [None, Some(entry.name.as_str())].map(|name| right(&entry.verb, &entry.group, &resource, name))
        });
    taken.filter(|taken| granted.contains(taken)).collect()
}

/// Promoted, then production's label turned back by another hand, whom the operator looks up.
async fn promoted_then_reverted(bed: &'static Bed) {
    let service = Service::new(bed, "n-promoted").await;
    watch(&service, quick(&service)).await;
    service.deploy("v2", &[]).await;
    service.phase(Phase::Promoted, SOON).await;
    let back = json!([{"op": "replace", "path": "/spec/subsets/0/labels/version", "value": "v1"}]);
    patch(&service, "DestinationRule", back).await;
    let told =
        |status: &BirdWatchStatus| conditions::holds(&status.conditions, ConditionType::ProductionReverted);
    service.until("told of the reverted label", SOON, told).await;
}

/// Raised twice by another hand, rolled back by its own judgement, tried again, and lowered by another hand.
async fn rolled_back_retried_and_lowered(bed: &'static Bed) {
    let service = at_half(bed, "n-back").await;
    raised_again_and_again(&service).await;
    service.behave("v2", 0.9).await;
    service.phase(Phase::RolledBack, SOON).await;
    service.behave("v2", 0.0).await;
    service.verb("retry/1").await;
    service.weight(50).await;
    let zero = json!([
        {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 100},
        {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 0},
    ]);
    patch(&service, "VirtualService", zero).await;
    service.phase(Phase::RolledBack, SOON).await;
}

/// Another hand gives the canary more than its step, until the same Event has come twice: the second is a patch.
async fn raised_again_and_again(service: &Service) {
    let events: Api<Event> = Api::namespaced(service.client.clone(), &service.app.namespace);
    let more = json!([
        {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 30},
        {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 70},
    ]);
    eventually("the same Event comes twice", SOON, async || {
        patch(service, "VirtualService", more.clone()).await;
        eventually("it is lowered again", SOON, async || {
            (service.weights().await == (50, 50)).then_some(())
        })
        .await;
        let listed = events.list(&ListParams::default()).await.ok()?;
        let repeated = |e: &Event| e.reason.as_deref() == Some("Interference") && e.series.is_some();
        listed.items.iter().any(repeated).then_some(())
    })
    .await;
}

/// Deleted in the middle.
async fn deleted(bed: &'static Bed) {
    let service = at_half(bed, "n-deleted").await;
    let api = service.birdwatches();
    api.delete("n-deleted", &DeleteParams::default()).await.unwrap();
    eventually("it is gone", SOON, async || {
        api.get_opt("n-deleted").await.ok()?.is_none().then_some(())
    })
    .await;
    assert_eq!(service.weights().await, (100, 0));
}

/// Somebody writes to the `BirdWatch` all the time, until the operator was overtaken and has read it again.
async fn overtaken(release: &Release, mark: u64) {
    let service = Service::new(release.bed, "n-overtaken").await;
    watch(&service, quick(&service)).await;
    service.deploy("v2", &[]).await;
    let api: Api<BirdWatch> = service.birdwatches();
    let write = async {
        for count in 0_u64.. {
            let patch = json!({"metadata": {"annotations": {"count": count.to_string()}}});
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            api.patch("n-overtaken", &params, &patch).await.unwrap();
        }
    };
    let read = eventually("the BirdWatch is read again", SOON, async || {
        let entries = release.asked(mark);
        entries
            .iter()
            .any(|e| e.verb == "get" && e.resource == "birdwatches")
            .then_some(())
    });
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    service.phase(Phase::Promoted, SOON).await;
}

async fn patch(service: &Service, kind: &str, patch: serde_json::Value) {
    let patch = Patch::<()>::Json(serde_json::from_value(patch).unwrap());
    let api = service.dynamic("networking.istio.io/v1", kind);
    api.patch(&service.app.name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// The leader is stopped, and the other takes over.
async fn taken_over(bed: &Bed, client: &Client) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAME);
    let holder = async || {
        leases
            .get(NAME)
            .await
            .ok()?
            .spec?
            .holder_identity
            .filter(|holder| !holder.is_empty())
    };
    let old = eventually("a leader", SOON, &holder).await;
    bed.kubectl(["delete", "pod", &old, "--namespace", NAME])
        .await
        .unwrap();
    eventually("another leader", SOON, async || {
        holder().await.filter(|new| *new != old)
    })
    .await;
}

#[test]
fn n_every_right_that_is_granted_is_used_and_none_is_missing() {
    alone(async |release| {
        let (bed, client) = (release.bed, &release.client);
        let mark = bed.audit().mark().unwrap();
        bed.install_operator(&["--set-string", "leaseDuration=3s"])
            .await
            .unwrap();
        let granted = granted(client).await;
        assert!(granted.len() > 10, "{granted:?}");
        tokio::join!(
            promoted_then_reverted(bed),
            rolled_back_retried_and_lowered(bed),
            deleted(bed),
            overtaken(release, mark),
        );
        taken_over(bed, client).await;
        let drained = at_half(bed, "n-drained").await;
        release.uninstall().await.unwrap();
        assert_eq!(drained.weights().await, (100, 0));

        let entries = release.asked(mark);
        assert_none_forbidden(&entries);
        let used = used(&entries, &granted);
        let unused: Vec<_> = granted.difference(&used).collect();
        assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    });
}
