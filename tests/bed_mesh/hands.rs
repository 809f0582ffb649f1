//! People on the same objects in the middle of a rollout: what they add stays (g), what they raise is lowered, and what
//! they lower stays low (h).

use birdwatch::api::conditions::ConditionType;
use birdwatch::api::status::Phase;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::support::{A_WHILE, SOON, Service, eventually, held};
use crate::{FOR_EVER, condition, on_bed};

pub(crate) const ISTIO: &str = "networking.istio.io/v1";

impl Service {
    /// Changes an object of the mesh as `kubectl edit` does: read, changed, replaced, and again where it was changed
    /// meanwhile.
    pub(crate) async fn edit_by_hand(&self, kind: &str, change: impl Fn(&mut Value)) {
        let api = self.dynamic(ISTIO, kind);
        let by = PostParams {
            field_manager: Some("kubectl-edit".to_owned()),
            ..PostParams::default()
        };
        eventually(&format!("{kind} is edited"), SOON, async || {
            let mut object = self.object(ISTIO, kind, &self.app.name).await;
            change(&mut object);
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            match api.replace(&self.app.name, &by, &object).await {
                Ok(_) => Some(()),
                Err(kube::Error::Api(status)) if status.code == 409 => None,
                Err(error) => panic!("{kind}: {error}"),
            }
        })
        .await;
    }

    /// Sets the weights of the first route.
    async fn set_weights(&self, production: i64, canary: i64) {
        self.edit_by_hand("VirtualService", |object| {
            object["spec"]["http"][0]["route"][0]["weight"] = json!(production);
            object["spec"]["http"][0]["route"][1]["weight"] = json!(canary);
        })
        .await;
    }
}

/// What somebody adds to the `VirtualService`: two routes for testers before ours, and more on ours.
fn add_to_service(object: &mut Value) {
    object["metadata"]["labels"] = json!({"team": "birds"});
    let routes = object["spec"]["http"].as_array_mut().unwrap();
    let ours = routes.last_mut().unwrap();
    let canary = json!({"destination": ours["route"][1]["destination"]});
    let mirrored = ours["route"][0]["destination"].clone();
    ours["retries"] = json!({"attempts": 2, "perTryTimeout": "2s", "retryOn": "gateway-error"});
    ours["mirror"] = mirrored;
    ours["mirrorPercentage"] = json!({"value": 5.0});
    let mut weighted = canary.clone();
    weighted["weight"] = json!(100);
    let testers = json!({
        "name": "testers",
        "match": [{"headers": {"x-tester": {"exact": "yes"}}}],
        "route": [weighted],
    });
    let cookie = json!({
        "name": "cookie",
        "match": [{"headers": {"cookie": {"regex": "^(.*;)?tester=1(;.*)?$"}}}],
        "route": [canary],
    });
    routes.insert(0, testers);
    routes.insert(1, cookie);
}

fn add_to_rule(object: &mut Value) {
    object["metadata"]["labels"] = json!({"team": "birds"});
    object["spec"]["trafficPolicy"]["connectionPool"] = json!({"http": {"maxRequestsPerConnection": 1000}});
    let subsets = object["spec"]["subsets"].as_array_mut().unwrap();
    subsets.insert(0, json!({"name": "legacy", "labels": {"version": "v0"}}));
}

#[test]
fn g_what_others_add_to_the_routes_in_the_middle_of_a_rollout_survives_it() {
    on_bed(async |bed| {
        let service = Service::new(bed, "g").await;
        let spec = held(&[(20, "3s"), (50, "3s")]);
        service.release(spec).await;
        service.weight(20).await;
        service.edit_by_hand("VirtualService", add_to_service).await;
        service.edit_by_hand("DestinationRule", add_to_rule).await;
        let status = service.until("the tester's routes are named", SOON, |status| {
            status.warnings.len() >= 2
        });
        let warnings = status.await.warnings.join("\n");
        assert!(
            warnings.contains("testers") && warnings.contains("cookie"),
            "{warnings}"
        );
        let at_edit = service.object(ISTIO, "VirtualService", "g").await;
        let rule_at_edit = service.object(ISTIO, "DestinationRule", "g").await;
        let status = service.phase(Phase::Promoted, A_WHILE).await;
        assert_eq!(status.attempts, 1);
        // What stands there at the end is what was added, but for the two weights and the two labels of ours.
        let mut expected = at_edit["spec"].clone();
        expected["http"][2]["route"][0]["weight"] = json!(100);
        expected["http"][2]["route"][1]["weight"] = json!(0);
        let service_now = service.object(ISTIO, "VirtualService", "g").await;
        assert_eq!(service_now["spec"], expected);
        let mut expected = rule_at_edit["spec"].clone();
        for subset in [1, 2] {
            expected["subsets"][subset]["labels"]["version"] = json!("v2");
        }
        let rule_now = service.object(ISTIO, "DestinationRule", "g").await;
        assert_eq!(rule_now["spec"], expected);
        for object in [service_now, rule_now] {
            assert_eq!(object["metadata"]["labels"], json!({"team": "birds"}));
        }
        assert_eq!(expected["subsets"][0]["labels"]["version"], "v0");
    });
}

#[test]
fn h_weights_raised_by_hand_are_lowered_again_each_time_and_a_hand_that_lowers_them_has_its_way() {
    on_bed(async |bed| {
        let service = Service::new(bed, "h-hand").await;
        service.release(held(&[(20, FOR_EVER), (50, FOR_EVER)])).await;
        service.weight(20).await;
        for raised in [50, 90, 21] {
            service.set_weights(100 - raised, raised).await;
            eventually(&format!("{raised} % is lowered"), SOON, async || {
                (service.weights().await == (80, 20)).then_some(())
            })
            .await;
        }
        service.hears("lowered again").await;
        let status = service.status().await;
        assert_eq!((status.phase, status.weight), (Phase::Progressing, Some(20)));

        service.set_weights(100, 0).await;
        let status = service.phase(Phase::RolledBack, SOON).await;
        assert!(status.message.contains("kubectl-edit"), "{}", status.message);
        let named = condition(&status, ConditionType::Interference).unwrap();
        assert!(named.message.contains("kubectl-edit"), "{}", named.message);
        service.hears("kubectl-edit lowered").await;
        is_told_where_the_bird_watch_says(&service);

        // At rest the weights are the user's.
        let mark = service.mark();
        service.set_weights(95, 5).await;
        service
            .until("the weight at rest is reported", SOON, |status| {
                status.warnings.iter().any(|w| w.contains("5 of 100"))
            })
            .await;
        service.quiet().await;
        assert_eq!(service.mesh_writes_since(mark), []);
        assert_eq!(service.weights().await, (95, 5));
        let status = service.status().await;
        assert_eq!((status.phase, status.attempts), (Phase::RolledBack, 1));
    });
}

/// The administrator allows any channel, and each `BirdWatch` here names one.
fn is_told_where_the_bird_watch_says(service: &Service) {
    let name = format!("*{}/{}*", service.app.namespace, service.app.name);
    let messages = service.bed.slack.messages().into_iter();
    let channels: Vec<_> = messages
        .filter(|message| message.text.contains(&name))
        .map(|parent| parent.channel_name)
        .collect();
    assert_eq!(channels, [service.app.namespace.as_str()]);
}
