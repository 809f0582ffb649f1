//! What people do in the middle of a rollout: delete it, pause it, steer it (scenarios 10 to 12).

use birdwatch::api::BirdWatchStatus;
use birdwatch::api::conditions::{self, ConditionType};
use birdwatch::api::status::{Phase, VerbStatus};
use birdwatch_bed::clock;
use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{A_WHILE, ERRORS, Service, eventually, held, on_bed};

/// Somebody who is neither the operator nor who applied the manifests.
fn somebody() -> PatchParams {
    PatchParams {
        field_manager: Some("somebody".to_owned()),
        ..PatchParams::default()
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[test]
fn b10_deletion_in_the_middle_gives_everything_back_and_keeps_what_people_changed() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b10").await;
        // A canary without a weight has 0: it is to be without one again.
        let mut original = service.app.virtual_service(100, 0);
        let destination = original.pointer_mut("/spec/http/0/route/1").unwrap();
        destination.as_object_mut().unwrap().remove("weight");
        service.apply(&[original.clone()]).await;
        let story = service.story().await;
        service.release(held(&[(50, "60s")])).await;
        service.deploy("v2", &[]).await;
        service.reaches(50).await;
        service.share_is("v2", 0.25..0.75).await;
        assert_eq!(service.labels().await.1.as_deref(), Some("v2"));

        let testers = json!({
            "name": "testers",
            "match": [{"headers": {"x-tester": {"exact": "yes"}}}],
            "route": [{"destination": {"host": service.app.host(), "subset": "production"}}],
        });
        let retries = json!({"attempts": 2, "perTryTimeout": "2s"});
        let virtual_services = service.dynamic("networking.istio.io/v1", "VirtualService");
        let edit: json_patch::Patch = serde_json::from_value(json!([
            {"op": "add", "path": "/metadata/labels", "value": {"team": "birds"}},
            {"op": "add", "path": "/spec/http/0/retries", "value": retries},
            {"op": "add", "path": "/spec/http/0", "value": testers},
        ]))
        .unwrap();
        let patch = Patch::Json::<()>(edit);
        virtual_services.patch("b10", &somebody(), &patch).await.unwrap();
        let rules = service.dynamic("networking.istio.io/v1", "DestinationRule");
        let pool = json!({"http": {"http2MaxRequests": 500}});
        let patch = Patch::Merge(json!({"spec": {"trafficPolicy": {"connectionPool": pool}}}));
        rules.patch("b10", &somebody(), &patch).await.unwrap();
        assert_eq!(service.status().await.weight, Some(50));

        let delete = DeleteParams::default();
        service.birdwatches().delete("b10", &delete).await.unwrap();
        eventually("the BirdWatch is gone", A_WHILE, async || {
            let found = service.birdwatches().get_opt("b10").await.unwrap();
            found.is_none().then_some(())
        })
        .await;
        let mut expected = original["spec"].clone();
        expected["http"][0]["retries"] = retries;
        expected["http"].as_array_mut().unwrap().insert(0, testers);
        let found = service
            .object("networking.istio.io/v1", "VirtualService", "b10")
            .await;
        assert_eq!(found["spec"], expected);
        assert_eq!(found["metadata"]["labels"]["team"], "birds");
        let mut expected = service.app.destination_rule("v1", "none")["spec"].clone();
        expected["trafficPolicy"]["connectionPool"] = pool;
        let found = service
            .object("networking.istio.io/v1", "DestinationRule", "b10")
            .await;
        assert_eq!(found["spec"], expected);
        service.only("v1").await;
        assert_eq!(story.weights(), [0, 50, 0]);
    });
}

#[test]
fn b11_after_a_pause_longer_than_the_hold_the_rest_of_the_hold_is_served_and_not_a_new_one() {
    const HOLD: f64 = 20.0;
    on_bed(async |bed| {
        let service = Service::new(bed, "b11").await;
        let story = service.story().await;
        service.release(held(&[(50, "20s"), (100, "3s")])).await;
        service.deploy("v2", &[]).await;
        let clock_of = |status: &BirdWatchStatus| status.rollout.as_ref().map(|r| r.clock);
        service.reaches(50).await;
        service
            .until("8 s into the hold", A_WHILE, |status| {
                let served = clock_of(status).map(|clock| clock.served_at(clock::now()).std());
                served.is_some_and(|served| served.as_secs() >= 8)
            })
            .await;

        let is_paused = |s: &BirdWatchStatus| conditions::holds(&s.conditions, ConditionType::Paused);
        service.edit(json!({"paused": true})).await;
        let paused = service
            .until("paused", A_WHILE, |s| {
                is_paused(s) && clock_of(s).is_some_and(|c| c.since.is_none())
            })
            .await;
        let served = clock_of(&paused).unwrap().served.std().as_secs_f64();
        assert!(
            (8.0..HOLD).contains(&served),
            "{served} s served before the pause"
        );
        let since = clock::now();
        eventually("paused for longer than the hold", A_WHILE, async || {
            assert_eq!(service.weights().await, (50, 50));
            (seconds(since, clock::now()) > HOLD + 1.0).then_some(())
        })
        .await;
        assert_eq!(story.weights(), [0, 50]);
        service.share_is("v2", 0.25..0.75).await;

        service.edit(json!({"paused": false})).await;
        let resumed = service
            .until("resumed", A_WHILE, |s| {
                !is_paused(s) && clock_of(s).is_some_and(|c| c.since.is_some())
            })
            .await;
        let resumed = clock_of(&resumed).unwrap();
        let kept = resumed.served.std().as_secs_f64();
        assert!((served..HOLD).contains(&kept), "{kept} s of {served} s are kept");
        let status = service.reaches(100).await;
        let rest = seconds(
            resumed.since.unwrap(),
            status.rollout.unwrap().confirmed_at.unwrap(),
        );
        assert!(rest >= HOLD - kept, "{rest} s after {kept} s: too short");
        assert!(rest < HOLD, "{rest} s after {kept} s: a new hold");
        service.phase(Phase::Promoted, A_WHILE).await;
        story.is(&[0, 50, 100, 0]).await;
    });
}

#[test]
fn b12_rollback_retry_and_promote_each_act_once() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b12").await;
        let story = service.story().await;
        service.release(held(&[(20, "120s"), (60, "3s")])).await;
        service.deploy("v2", &[]).await;
        let first = service.reaches(20).await.rollout.unwrap().id;
        let heard = async |verb: &str| {
            let seen = |v: &VerbStatus| v.value == verb && v.accepted;
            let status = service
                .until(verb, A_WHILE, |s| s.verb.as_ref().is_some_and(seen))
                .await;
            status.verb.unwrap().rollout
        };

        service.verb("rollback/1").await;
        assert_eq!(heard("rollback/1").await, Some(first.clone()));
        service.phase(Phase::RolledBack, A_WHILE).await;
        service.only("v1").await;
        assert_eq!(service.weights().await, (100, 0));

        service.verb("retry/1").await;
        assert_eq!(heard("retry/1").await, Some(first));
        let again = service
            .until("again at 20 %", A_WHILE, |s| {
                s.attempts == 2 && s.weight == Some(20)
            })
            .await;
        service.share_is("v2", 0.05..0.45).await;

        service.verb("promote/1").await;
        assert_eq!(heard("promote/1").await, Some(again.rollout.unwrap().id));
        service.phase(Phase::Promoted, A_WHILE).await;
        story.is(&[0, 20, 0, 20, 100, 0]).await;
        service.only("v2").await;

        // The annotation is still there: the next version goes step by step nevertheless.
        service.deploy("v3", &[]).await;
        let third = service
            .until("v3 at 20 %", A_WHILE, |s| s.attempts == 3 && s.weight == Some(20))
            .await;
        assert!(!third.rollout.unwrap().promote_asked);
        story.is(&[0, 20, 0, 20, 100, 0, 20]).await;
    });
}

#[test]
fn b12_resume_acts_once() {
    on_bed(async |bed| {
        let service = Service::new(bed, "b12-resume").await;
        let story = service.story().await;
        let mut spec: Value = held(&[(20, "120s")]);
        spec["ifUnhealthy"] = "freeze".into();
        service.release(spec).await;
        service.deploy("v2", &[]).await;
        service.reaches(20).await;
        service.behave("v2", 1.0).await;
        service.phase(Phase::Frozen, A_WHILE).await;
        assert_eq!(service.weights().await, (80, 20));

        let errors = ERRORS
            .replace("$(service)", "b12-resume")
            .replace("$(namespace)", "b12-resume")
            .replace("$(version)", "v2");
        service.heal("v2", &errors, 0.1).await;
        service.verb("resume/1").await;
        let status = service.phase(Phase::Progressing, A_WHILE).await;
        assert!(status.rollout.unwrap().failure.is_none());

        service.behave("v2", 1.0).await;
        service.phase(Phase::Frozen, A_WHILE).await;
        service.edit(json!({"maxWeight": 90})).await;
        service.spec_is_seen().await;
        assert_eq!(service.status().await.phase, Phase::Frozen);
        assert_eq!(story.weights(), [0, 20]);
        service.share_is("v2", 0.05..0.45).await;

        service.verb("rollback/1").await;
        service.phase(Phase::RolledBack, A_WHILE).await;
        story.is(&[0, 20, 0]).await;
        service.only("v1").await;
    });
}
