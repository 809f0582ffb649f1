//! The ways to install it (behaviour n).

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::status::Phase;
use birdwatch_bed::operator::{NAME, SLACK_TOKEN};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;

use crate::release::{Release, alone, assert_none_forbidden, beside, quick, watch};
use crate::support::{SOON, Service, eventually};

#[test]
fn n_with_default_values_it_runs_two_replicas_and_waits_for_prometheus() {
    alone(async |release| {
        let mark = release.bed.audit().mark().unwrap();
        let notes = release.install("{}").await.unwrap();
        assert!(notes.contains("No Slack token was given"), "{notes}");
        let ready = release
            .kubectl(&["get", "deployment", NAME, "-o=jsonpath={.status.readyReplicas}"])
            .await;
        assert_eq!(ready, "2");
        // Istio's own add-on is not on the bed: nothing is known, and nothing moves.
        let service = Service::new(release.bed, "n-default").await;
        watch(&service, quick(&service)).await;
        service.deploy("v2", &[]).await;
        let blind = |status: &BirdWatchStatus| {
            let unreachable = ["Prometheus cannot be reached", "did not answer within"];
            status.phase == Phase::Baseline && unreachable.iter().any(|why| status.message.contains(why))
        };
        service
            .until("told that Prometheus is not there", SOON, blind)
            .await;
        assert_eq!(service.weights().await, (100, 0));
        assert_none_forbidden(&release.asked(mark));
    });
}

#[test]
fn n_with_namespaces_it_works_there_and_sees_nothing_elsewhere() {
    beside("n-operator", async |release| {
        let bed = release.bed;
        let mark = bed.audit().mark().unwrap();
        release.install_for(&["n-here", "n-there"]).await;
        let roles = release
            .kubectl(&["get", "clusterroles,clusterrolebindings", "-o=name"])
            .await;
        assert!(!roles.contains(NAME), "{roles}");

        let here = Service::new(bed, "n-here").await;
        let elsewhere = Service::silent(bed, "n-elsewhere").await;
        elsewhere.watch_with(quick(&elsewhere)).await;
        watch(&here, quick(&here)).await;
        here.deploy("v2", &[]).await;
        elsewhere.deploy("v2", &[]).await;
        here.phase(Phase::Promoted, SOON).await;
        assert_eq!(here.weights().await, (100, 0));
        let there = Service::silent(bed, "n-there").await;
        watch(&there, quick(&there)).await;

        assert!(elsewhere.status().await.known.is_none(), "it looked elsewhere");
        let entries = release.asked(mark);
        assert_none_forbidden(&entries);
        for entry in &entries {
            let watched = ["n-here", "n-there", release.namespace];
            assert!(watched.contains(&entry.namespace.as_str()), "{entry:?}");
        }
    });
}

#[test]
fn n_with_a_secret_of_the_users_it_tells_slack() {
    beside("n-secret-operator", async |release| {
        make_secret(release).await;
        release.make_namespace("n-secret").await;
        let secret = "existingSecret: mine, existingSecretKeys: {slackToken: bot}, replicas: 1";
        let values = format!("{{{}, {secret}}}", release.values_for(&["n-secret"]));
        release.install(&values).await.unwrap();
        let service = Service::silent(release.bed, "n-secret").await;
        watch(&service, quick(&service)).await;
        service.deploy("v2", &[]).await;
        eventually("Slack is told", SOON, async || {
            service
                .told()
                .iter()
                .any(|text| text.contains("v2"))
                .then_some(())
        })
        .await;
        let owned = release
            .kubectl(&["get", "secret", NAME, "--ignore-not-found", "-o=name"])
            .await;
        assert_eq!(owned, "", "no Secret of its own beside it");
    });
}

async fn make_secret(release: &Release) {
    let mut secret = Secret {
        string_data: Some([("bot".to_owned(), SLACK_TOKEN.to_owned())].into()),
        ..Secret::default()
    };
    secret.metadata.name = Some("mine".into());
    let api: Api<Secret> = Api::namespaced(release.client.clone(), release.namespace);
    api.create(&PostParams::default(), &secret).await.unwrap();
}

#[test]
fn n_wrong_values_are_refused_by_name_before_anything_is_made() {
    beside("n-wrong-operator", async |release| {
        for (values, named) in [
            ("slackTokn: a", "slackTokn"),
            ("prometheusUrl: 'prometheus:9090'", "prometheusUrl"),
            ("{slackToken: a, existingSecret: b}", "give one"),
            ("namespaces: [Shop]", "namespaces[0]"),
        ] {
            let refusal = release.install(values).await.unwrap_err();
            assert!(refusal.contains(named), "{values}: {refusal}");
        }
        let left = release.kubectl(&["get", "deployments,pods", "-o=name"]).await;
        assert_eq!(left, "");
        // One that only the cluster can tell, when Helm has begun.
        let refusal = release
            .install("{namespaces: [not-there], crds: {install: false}}")
            .await;
        let refusal = refusal.unwrap_err();
        assert!(refusal.contains("not-there"), "{refusal}");
    });
}
