//! Uninstalled in the middle of a rollout: traffic goes back first, and nothing is stuck (behaviour o).

use std::process::{ExitStatus, Stdio};

use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::operator::NAME;
use birdwatch_bed::parts::apps;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::release::{LEASE, Release, at_half, beside};
use crate::support::{SOON, Service, eventually, program};

/// All traffic is on production, the label is as it was, and nothing keeps the `BirdWatch` from being deleted.
async fn assert_given_back(service: &Service) {
    assert_eq!(service.weights().await, (100, 0));
    assert_eq!(service.labels().await, (Some("v1".into()), Some("none".into())));
    let object = service
        .object("otomato.link/v1alpha1", "BirdWatch", &service.app.name)
        .await;
    assert_eq!(object["metadata"]["finalizers"], Value::Null, "{object}");
}

#[test]
fn o_uninstalled_in_the_middle_of_rollouts_it_gives_traffic_back_and_reinstalled_it_goes_on() {
    beside(NAME, async |release| {
        let Release { bed, .. } = release;
        release.install_for(&["o-one", "o-two"]).await;
        let (one, two) = tokio::join!(at_half(bed, "o-one"), at_half(bed, "o-two"));
        release.uninstall().await.unwrap();
        assert_given_back(&one).await;
        assert_given_back(&two).await;
        for service in [&one, &two] {
            let told = service.told();
            assert!(
                told.iter().any(|text| text.contains("rolled back to v1")),
                "{told:?}"
            );
        }
        release.no_pods().await;
        let crd = bed
            .kubectl(["get", "crd", "birdwatches.otomato.link", "-o=name"])
            .await
            .unwrap();
        assert!(crd.contains("birdwatches.otomato.link"), "{crd}");
        let left = release
            .kubectl(&["get", "all,roles,rolebindings,secrets", "-o=name"])
            .await;
        assert_eq!(left, "", "of the release nothing is left");
        let deleted = [release.delete_namespace("o-two"), release.delete_namespace(NAME)];
        futures::future::join_all(deleted).await;

        release.make_namespace(NAME).await;
        release.install_for(&["o-one"]).await;
        one.verb("retry/again").await;
        one.weight(50).await;
        one.edit(json!({"steps": [{"weight": 50, "hold": "2s"}]})).await;
        one.phase(Phase::Promoted, SOON).await;
        assert_eq!(one.labels().await.0, Some("v2".into()));
    });
}

#[test]
fn o_what_cannot_be_given_back_stops_the_uninstall_and_the_operator_goes_on() {
    beside("o-stuck-operator", async |release| {
        release.install_for(&["o-stuck"]).await;
        let service = at_half(release.bed, "o-stuck").await;
        let failed = with_frozen_routes(&service, release.uninstall()).await;
        let failed = failed.expect_err("traffic was not given back");
        assert!(failed.contains("drain"), "{failed}");
        let told = events(&service, "WriteRefused").await;
        assert!(
            told.iter().any(|note| note.contains("frozen by the test")),
            "{told:?}"
        );
        // The operator takes its lease again, and does what it is asked.
        service.verb("rollback/now").await;
        service.phase(Phase::RolledBack, SOON).await;
        assert_eq!(service.weights().await, (100, 0));
        release.uninstall().await.unwrap();
        release.no_pods().await;
    });
}

/// Notes of the Events with that reason on the service's `BirdWatch`.
async fn events(service: &Service, reason: &str) -> Vec<String> {
    let all = service
        .dynamic("events.k8s.io/v1", "Event")
        .list(&ListParams::default())
        .await
        .unwrap();
    let ours = all
        .items
        .into_iter()
        .filter(|event| event.data["reason"] == reason);
    ours.map(|event| event.data["note"].as_str().unwrap().to_owned())
        .collect()
}

/// Does something while nobody can change a `VirtualService` of the service's namespace.
async fn with_frozen_routes<T>(service: &Service, something: impl Future<Output = T>) -> T {
    let name = service.app.name.as_str();
    let manifests = apps::refusing_updates(name, "networking.istio.io/virtualservices", "frozen by the test");
    service.apply(&manifests).await;
    let bed = service.bed;
    eventually("the policy works", SOON, async || {
        let args = [
            "label",
            "virtualservice",
            name,
            "--namespace",
            name,
            "--dry-run=server",
            "a=b",
        ];
        bed.kubectl(args).await.is_err().then_some(())
    })
    .await;
    let done = something.await;
    let kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies";
    bed.kubectl(["delete", kinds, name]).await.unwrap();
    done
}

/// Runs `birdwatch drain` as an administrator would by hand, outside of the cluster.
async fn drain(bed: &Bed, release: &Release, timeout: &str) -> (ExitStatus, String) {
    let lease = format!("{}s", LEASE.as_secs());
    let output = tokio::process::Command::new(program())
        .args([
            "drain",
            "--timeout",
            timeout,
            "--namespaces",
            "o-hand",
            "--identity",
            "by-hand",
        ])
        .args([
            "--lease-name",
            NAME,
            "--lease-namespace",
            release.namespace,
            "--lease-duration",
            &lease,
        ])
        .args(["--propagation-delay", "2s"])
        .env("KUBECONFIG", bed.kubeconfig())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn o_the_exit_code_of_drain_says_whether_anything_is_left() {
    beside("o-hand-operator", async |release| {
        let bed = release.bed;
        release.install_for(&["o-hand"]).await;
        let service = at_half(bed, "o-hand").await;
        let (status, said) = with_frozen_routes(&service, drain(bed, release, "8s")).await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("o-hand/o-hand"), "it names what is left: {said}");

        let (status, said) = drain(bed, release, "60s").await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert_given_back(&service).await;
        let (status, said) = drain(bed, release, "nonsense").await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("--timeout"), "{said}");
    });
}
