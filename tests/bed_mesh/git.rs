//! Git, which knows the objects of before only, sets them back (h): on the client's side with `kubectl apply`, and by
//! force on the server's.

use birdwatch::api::conditions::ConditionType;
use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::parts::apps;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::hands::ISTIO;
use crate::support::{SOON, Service, on_bed};
use crate::{A_WHILE, FOR_EVER, condition, held};

/// How Git writes.
#[derive(Clone, Copy)]
enum Git {
    /// `kubectl apply`, which compares with what it applied last.
    ClientSide,
    /// Server-side apply by force, as Argo CD does it.
    ServerSide,
}

impl Git {
    /// How its writes are signed.
    const fn manager(self) -> &'static str {
        match self {
            Self::ClientSide => "kubectl-client-side-apply",
            Self::ServerSide => "argocd-controller",
        }
    }

    async fn apply(self, service: &Service, manifest: &Value) {
        match self {
            Self::ClientSide => {
                service.bed.apply(&manifest.to_string()).await.unwrap();
            }
            Self::ServerSide => {
                let kind = manifest["kind"].as_str().unwrap();
                let by = PatchParams::apply(self.manager()).force();
                let api = service.dynamic(ISTIO, kind);
                api.patch(&service.app.name, &by, &Patch::Apply(manifest))
                    .await
                    .unwrap();
            }
        }
    }

    /// A service whose mesh objects come from Git.
    async fn service(self, bed: &'static Bed, name: &str) -> Service {
        let service = Service {
            bed,
            app: apps::App::new(name, name),
            client: bed.client().unwrap(),
            traffic: None,
        };
        let (entry, pods) = (service.app.service_entry(), service.app.deployment("v1", 1, &[]));
        service.apply(&[apps::namespace(name), entry, pods]).await;
        for manifest in known(&service) {
            self.apply(&service, &manifest).await;
        }
        service.available("v1").await;
        service.with_traffic(20.0)
    }
}

/// The objects as Git knows them.
fn known(service: &Service) -> [Value; 2] {
    [
        service.app.virtual_service(100, 0),
        service.app.destination_rule("v1", "none"),
    ]
}

async fn sets_objects_back(bed: &'static Bed, name: &str, git: Git) {
    let service = git.service(bed, name).await;
    let [routes, rule] = known(&service);
    service.release(held(&[(20, FOR_EVER)])).await;
    service.weight(20).await;

    // In the middle of a rollout: the routes.
    git.apply(&service, &routes).await;
    let status = service.phase(Phase::RolledBack, SOON).await;
    assert!(status.message.contains(git.manager()), "{}", status.message);
    service.hears(&format!("{} lowered", git.manager())).await;
    let mark = service.mark();
    for _ in 0..3 {
        git.apply(&service, &routes).await;
        git.apply(&service, &rule).await;
    }
    service.quiet().await;
    assert_eq!(service.mesh_writes_since(mark), []);
    let status = service.status().await;
    assert_eq!((status.phase, status.attempts), (Phase::RolledBack, 1));

    // After a promotion: the rule.
    service.edit(held(&[(50, "2s")])).await;
    service.verb("retry/1").await;
    service.phase(Phase::Promoted, A_WHILE).await;
    let mark = service.mark();
    git.apply(&service, &rule).await;
    let status = service
        .until("the revert is reported", SOON, |status| {
            condition(status, ConditionType::ProductionReverted).is_some()
        })
        .await;
    let reported = condition(&status, ConditionType::ProductionReverted).unwrap();
    assert!(reported.message.contains(git.manager()), "{}", reported.message);
    service
        .hears(&format!("{} set production to v1", git.manager()))
        .await;
    for _ in 0..3 {
        git.apply(&service, &rule).await;
        git.apply(&service, &routes).await;
    }
    service.quiet().await;
    assert_eq!(service.mesh_writes_since(mark), []);
    let status = service.status().await;
    assert_eq!((status.phase, status.attempts), (Phase::Promoted, 2));
    assert_eq!(service.labels().await, (Some("v1".into()), Some("none".into())));
}

#[test]
fn h_git_that_applies_on_the_clients_side_is_named_and_starts_no_loop() {
    on_bed(|bed| sets_objects_back(bed, "h-client", Git::ClientSide));
}

#[test]
fn h_git_that_applies_by_force_on_the_servers_side_is_named_and_starts_no_loop() {
    on_bed(|bed| sets_objects_back(bed, "h-server", Git::ServerSide));
}

#[test]
fn h_git_that_sets_the_rule_back_in_the_middle_of_a_rollout_is_named_and_starts_no_loop() {
    on_bed(async |bed| {
        let git = Git::ServerSide;
        let service = git.service(bed, "h-rule").await;
        let [_, rule] = known(&service);
        service.release(held(&[(20, FOR_EVER)])).await;
        service.weight(20).await;
        git.apply(&service, &rule).await;
        let status = service.phase(Phase::RolledBack, SOON).await;
        assert!(status.message.contains(git.manager()), "{}", status.message);
        assert_eq!(service.weights().await, (100, 0));
        let mark = service.mark();
        git.apply(&service, &json!(rule)).await;
        service.quiet().await;
        assert_eq!(service.mesh_writes_since(mark), []);
        assert_eq!(service.status().await.attempts, 1);
    });
}
