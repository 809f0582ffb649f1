//! The ways to install it (behaviour n).

use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use birdwatch_bed::operator::{NAME, SLACK_TOKEN};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::PostParams;

use crate::release::{
    SHORT_LEASE, asked, assert_none_forbidden, helm_install, namespace, on_bare_bed, quick, watch,
};
use crate::support::{SOON, Service, eventually};

#[test]
fn n_with_default_values_it_runs_two_replicas_one_of_which_acts_and_waits_for_prometheus() {
    on_bare_bed(async |bed| {
        let mark = bed.audit().mark().unwrap();
        let notes = helm_install(bed, "{}").await.unwrap();
        assert!(notes.contains("No Slack token was given"), "{notes}");
        let ready = bed
            .kubectl([
                "get",
                "deployment",
                NAME,
                "--namespace",
                NAME,
                "-o=jsonpath={.status.readyReplicas}",
            ])
            .await
            .unwrap();
        assert_eq!(ready, "2");
        // Istio's own add-on is not on the bed: nothing is known, and nothing moves.
        let service = Service::new(bed, "n-default").await;
        watch(&service, quick(&service)).await;
        service.deploy("v2", &[]).await;
        let blind = |status: &birdwatch::api::BirdWatchStatus| {
            status.phase == Phase::Baseline && status.message.contains("Prometheus cannot be reached")
        };
        service
            .until("told that Prometheus is not there", SOON, blind)
            .await;
        assert_eq!(service.weights().await, (100, 0));
        assert_none_forbidden(&asked(bed, mark));
    });
}

#[test]
fn n_with_namespaces_it_works_there_and_sees_nothing_elsewhere() {
    on_bare_bed(async |bed| {
        let client = bed.client().unwrap();
        for name in ["n-here", "n-there", "n-elsewhere"] {
            namespace(&client, name).await;
        }
        let mark = bed.audit().mark().unwrap();
        let given = ["--set", "namespaces={n-here,n-there}", "--set", "replicas=1"];
        bed.install_operator(&[&SHORT_LEASE[..], &given].concat())
            .await
            .unwrap();
        let roles = bed
            .kubectl(["get", "clusterroles,clusterrolebindings", "-o=name"])
            .await
            .unwrap();
        assert!(!roles.contains("birdwatch"), "{roles}");

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
        let entries = asked(bed, mark);
        assert_none_forbidden(&entries);
        for entry in &entries {
            assert!(
                ["n-here", "n-there", NAME].contains(&entry.namespace.as_str()),
                "{entry:?}"
            );
        }
    });
}

#[test]
fn n_with_a_secret_of_the_users_it_tells_slack() {
    on_bare_bed(async |bed| {
        let client = bed.client().unwrap();
        namespace(&client, NAME).await;
        secret(&client).await;
        let values = format!(
            "{{existingSecret: mine, existingSecretKeys: {{slackToken: bot}}, slackUrl: '{}', prometheusUrl: '{}', \
             scrapeInterval: 1s, propagationDelay: 2s, replicas: 1}}",
            bed.slack.api_url(),
            bed.prometheus_url()
        );
        helm_install(bed, &values).await.unwrap();
        let service = Service::silent(bed, "n-secret").await;
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
        let owned = bed
            .kubectl(["get", "secrets", "--namespace", NAME, "-o=name"])
            .await
            .unwrap();
        assert!(
            !owned.contains("secret/birdwatch"),
            "no Secret of its own beside it: {owned}"
        );
    });
}

async fn secret(client: &kube::Client) {
    let mut secret = Secret {
        string_data: Some([("bot".to_owned(), SLACK_TOKEN.to_owned())].into()),
        ..Secret::default()
    };
    secret.metadata.name = Some("mine".into());
    let api: Api<Secret> = Api::namespaced(client.clone(), NAME);
    api.create(&PostParams::default(), &secret).await.unwrap();
}

#[test]
fn n_wrong_values_are_refused_by_name_before_anything_is_made() {
    on_bare_bed(async |bed| {
        for (values, named) in [
            ("slackTokn: a", "slackTokn"),
            ("prometheusUrl: 'prometheus:9090'", "prometheusUrl"),
            ("{slackToken: a, existingSecret: b}", "give one"),
            ("namespaces: [Shop]", "namespaces[0]"),
        ] {
            let refusal = helm_install(bed, values).await.unwrap_err();
            assert!(refusal.contains(named), "{values}: {refusal}");
        }
        // One that only the cluster can tell.
        let refusal = helm_install(bed, "namespaces: [not-there]").await.unwrap_err();
        assert!(refusal.contains("not-there"), "{refusal}");
        assert_nothing_runs(bed).await;
    });
}

async fn assert_nothing_runs(bed: &Bed) {
    let namespaces: Api<Namespace> = Api::all(bed.client().unwrap());
    if namespaces.get_opt(NAME).await.unwrap().is_some() {
        let left = bed
            .kubectl(["get", "deployments", "--namespace", NAME, "-o=name"])
            .await
            .unwrap();
        assert_eq!(left, "");
    }
}
