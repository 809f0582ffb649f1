//! Uninstalled in the middle of a rollout: traffic goes back first, and nothing is stuck (behaviour o).

use std::process::{ExitStatus, Stdio};

use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::operator::NAME;
use serde_json::{Value, json};

use crate::release::{SHORT_LEASE, delete_namespace, no_pods, on_bare_bed, quick, uninstall, watch};
use crate::support::{SOON, Service, eventually, program};

/// A rollout that stays at 50 % until it is stopped.
async fn at_half(bed: &'static Bed, name: &str) -> Service {
    let service = Service::new(bed, name).await;
    let mut spec = quick(&service);
    spec["steps"] = json!([{"weight": 50, "hold": "10m"}]);
    watch(&service, spec).await;
    service.deploy("v2", &[]).await;
    service.weight(50).await;
    service
}

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
fn o_uninstalled_in_the_middle_of_a_rollout_it_gives_traffic_back_and_reinstalled_it_goes_on() {
    on_bare_bed(async |bed| {
        let client = bed.client().unwrap();
        bed.install_operator(&SHORT_LEASE).await.unwrap();
        let (one, two) = tokio::join!(at_half(bed, "o-one"), at_half(bed, "o-two"));
        uninstall(bed).await.unwrap();
        assert_given_back(&one).await;
        assert_given_back(&two).await;
        no_pods(&client).await;
        let crd = bed
            .kubectl(["get", "crd", "birdwatches.otomato.link", "-o=name"])
            .await
            .unwrap();
        assert!(crd.contains("birdwatches.otomato.link"));
        let left = bed
            .kubectl(["get", "all,roles,rolebindings", "--namespace", NAME, "-o=name"])
            .await
            .unwrap();
        assert_eq!(left, "", "of the release nothing is left");

        delete_namespace(&client, "o-two").await;
        delete_namespace(&client, NAME).await;

        bed.install_operator(&SHORT_LEASE).await.unwrap();
        one.verb("retry/again").await;
        one.weight(50).await;
        one.edit(json!({"steps": [{"weight": 50, "hold": "2s"}]})).await;
        one.phase(Phase::Promoted, SOON).await;
        assert_eq!(one.labels().await.0, Some("v2".into()));
    });
}

#[test]
fn o_what_cannot_be_given_back_stops_the_uninstall_and_the_operator_goes_on() {
    on_bare_bed(async |bed| {
        let set = ["--set", "drain.timeoutSeconds=10", "--set", "replicas=1"];
        bed.install_operator(&[&SHORT_LEASE[..], &set].concat())
            .await
            .unwrap();
        let service = at_half(bed, "o-stuck").await;
        forbid_patches(bed, &service.app.name).await;
        let failed = uninstall(bed).await;
        bed.kubectl([
            "delete",
            "validatingadmissionpolicies,validatingadmissionpolicybindings",
            "o-frozen",
        ])
        .await
        .unwrap();
        let failed = failed.expect_err("traffic was not given back");
        assert!(failed.contains("drain"), "{failed}");
        // The operator takes its lease again, and does what it is asked.
        service.verb("rollback/now").await;
        service.phase(Phase::RolledBack, SOON).await;
        assert_eq!(service.weights().await, (100, 0));
        uninstall(bed).await.unwrap();
        no_pods(&service.client).await;
    });
}

/// Lets nobody change a `VirtualService` of a namespace called o-stuck…; returns when it works.
async fn forbid_patches(bed: &Bed, service: &str) {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "o-frozen"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["networking.istio.io"], "apiVersions": ["*"],
                "operations": ["UPDATE"], "resources": ["virtualservices"],
            }]},
            "validations": [{"expression": "!object.metadata.namespace.startsWith('o-stuck')", "message": "frozen by the test"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "o-frozen"},
        "spec": {"policyName": "o-frozen", "validationActions": ["Deny"]},
    });
    bed.apply(&policy.to_string()).await.unwrap();
    bed.apply(&binding.to_string()).await.unwrap();
    eventually("the policy works", SOON, async || {
        let args = [
            "label",
            "virtualservice",
            service,
            "--namespace",
            service,
            "--dry-run=server",
            "a=b",
        ];
        bed.kubectl(args).await.is_err().then_some(())
    })
    .await;
}

/// Runs `birdwatch drain` as an administrator would by hand, outside of the cluster.
async fn drain(bed: &Bed, timeout: &str) -> (ExitStatus, String) {
    let output = tokio::process::Command::new(program())
        .args([
            "drain",
            "--timeout",
            timeout,
            "--lease-name",
            NAME,
            "--lease-namespace",
            NAME,
        ])
        .args([
            "--lease-duration",
            "3s",
            "--propagation-delay",
            "2s",
            "--identity",
            "by-hand",
        ])
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
    on_bare_bed(async |bed| {
        bed.install_operator(&SHORT_LEASE).await.unwrap();
        let service = at_half(bed, "o-stuck-by-hand").await;
        forbid_patches(bed, &service.app.name).await;
        let (status, said) = drain(bed, "8s").await;
        bed.kubectl([
            "delete",
            "validatingadmissionpolicies,validatingadmissionpolicybindings",
            "o-frozen",
        ])
        .await
        .unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains("o-stuck-by-hand/o-stuck-by-hand"),
            "it names what is left: {said}"
        );

        let (status, said) = drain(bed, "60s").await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert_given_back(&service).await;
        let (status, said) = drain(bed, "nonsense").await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("--timeout"), "{said}");
    });
}
