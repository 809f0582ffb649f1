//! Git, which knows the objects of before only, sets them back (h): on the client's side with `kubectl apply`, and by
//! force on the server's.

use birdwatch::api::conditions::ConditionType;
use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::parts::apps;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::hands::ISTIO;
use crate::support::{A_WHILE, SOON, Service, held};
use crate::{FOR_EVER, condition, on_bed};

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

    async fn apply(self, service: &Service, manifests: &[Value]) {
        match self {
            Self::ClientSide => {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
                service.bed.apply(&list.to_string()).await.unwrap();
            }
            Self::ServerSide => {
                let by = PatchParams::apply(self.manager()).force();
                for manifest in manifests {
                    let api = service.dynamic(ISTIO, manifest["kind"].as_str().unwrap());
                    let patch = Patch::Apply(manifest);
                    api.patch(&service.app.name, &by, &patch).await.unwrap();
                }
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
        self.apply(&service, &known(&service)).await;
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

impl Service {
    /// Lets Git apply all it knows, again and again: nothing comes of it.
    async fn stays_as_it_is(&self, git: Git, phase: Phase) {
        let mark = self.mark();
        for _ in 0..3 {
            git.apply(self, &known(self)).await;
        }
        self.quiet().await;
        assert_eq!(self.mesh_writes_since(mark), []);
        let status = self.status().await;
        assert_eq!((status.phase, status.attempts), (phase, 1));
        assert_eq!(self.weights().await, (100, 0));
        let labels = (Some("v1".to_owned()), Some("none".to_owned()));
        assert_eq!(self.labels().await, labels);
    }
}

/// Lets Git set one object back in the middle of a rollout.
async fn in_the_middle(bed: &'static Bed, name: &str, git: Git, kind: &str) {
    let service = git.service(bed, name).await;
    service.release(held(&[(20, FOR_EVER)])).await;
    service.weight(20).await;
    let mut before = known(&service).to_vec();
    before.retain(|object| object["kind"] == kind);
    git.apply(&service, &before).await;
    let status = service.phase(Phase::RolledBack, SOON).await;
    assert!(status.message.contains(git.manager()), "{}", status.message);
    service.hears(git.manager()).await;
    service.stays_as_it_is(git, Phase::RolledBack).await;
}

/// Lets Git set the rule back after a promotion.
async fn after_promotion(bed: &'static Bed, name: &str, git: Git) {
    let service = git.service(bed, name).await;
    service.release(held(&[(50, "1s")])).await;
    service.phase(Phase::Promoted, A_WHILE).await;
    git.apply(&service, &known(&service)).await;
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
    service.stays_as_it_is(git, Phase::Promoted).await;
}

#[test]
fn h_git_that_applies_the_routes_on_the_clients_side_is_named_and_starts_no_loop() {
    on_bed(|bed| in_the_middle(bed, "h-client", Git::ClientSide, "VirtualService"));
}

#[test]
fn h_git_that_applies_the_routes_by_force_on_the_servers_side_is_named_and_starts_no_loop() {
    on_bed(|bed| in_the_middle(bed, "h-server", Git::ServerSide, "VirtualService"));
}

#[test]
fn h_git_that_applies_the_rule_in_the_middle_of_a_rollout_is_named_and_starts_no_loop() {
    on_bed(|bed| in_the_middle(bed, "h-rule", Git::ServerSide, "DestinationRule"));
}

#[test]
fn h_after_a_promotion_git_on_the_clients_side_is_reported_and_starts_no_loop() {
    on_bed(|bed| after_promotion(bed, "h-client-late", Git::ClientSide));
}

#[test]
fn h_after_a_promotion_git_by_force_on_the_servers_side_is_reported_and_starts_no_loop() {
    on_bed(|bed| after_promotion(bed, "h-server-late", Git::ServerSide));
}
