//! The fake API server behaves as a real one where controllers would notice.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail too")]

mod fake_api;

use birdwatch::runtime::clock::Clock;
use fake_api::{FakeApi, Fault};
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

const WIDGETS: &str = "example.org/widgets";
const ONE: (&str, &str) = ("default", "one");

fn server() -> FakeApi {
    FakeApi::new(Clock::paused("2026-03-01T12:00:00Z".parse().unwrap()))
}

fn widgets(api: &FakeApi) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "example.org".into(),
        version: "v1".into(),
        api_version: "example.org/v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
    };
    Api::namespaced_with(api.client("tester"), "default", &resource)
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn widget(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "example.org/v1", "kind": "Widget",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec,
    })
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("no answer of the server: {other}"),
    }
}

fn json_patch(operations: Value) -> Patch<DynamicObject> {
    Patch::Json(serde_json::from_value(operations).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_replace_from_an_old_version_is_a_conflict_and_without_a_version_is_refused() {
    let api = server();
    api.put(WIDGETS, widget("one", json!({"size": 1})));
    let widgets = widgets(&api);
    let mut first = widgets.get("one").await.unwrap();
    let second = first.clone();
    first.data["spec"]["size"] = json!(2);
    let stored = widgets
        .replace("one", &PostParams::default(), &first)
        .await
        .unwrap();
    assert_eq!(stored.metadata.generation, Some(2));
    assert_eq!(
        code(
            &widgets
                .replace("one", &PostParams::default(), &second)
                .await
                .unwrap_err()
        ),
        409
    );
    first.metadata.resource_version = None;
    assert_eq!(
        code(
            &widgets
                .replace("one", &PostParams::default(), &first)
                .await
                .unwrap_err()
        ),
        422
    );
}

#[tokio::test(start_paused = true)]
async fn spec_and_status_are_written_through_doors_of_their_own() {
    let api = server();
    api.put(WIDGETS, widget("one", json!({"size": 1})));
    let widgets = widgets(&api);
    let mut object = widgets.get("one").await.unwrap();
    object.data["spec"]["size"] = json!(5);
    object.data["status"] = json!({"ready": true});
    let stored = widgets
        .replace_status("one", &PostParams::default(), &object)
        .await
        .unwrap();
    assert_eq!(
        (&stored.data["spec"]["size"], &stored.data["status"]["ready"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(
        stored.metadata.generation,
        Some(1),
        "a status is no new generation"
    );
    let mut object = stored;
    object.data["spec"]["size"] = json!(5);
    object.data["status"] = json!({"ready": false});
    let stored = widgets
        .replace("one", &PostParams::default(), &object)
        .await
        .unwrap();
    assert_eq!(
        (&stored.data["spec"]["size"], &stored.data["status"]["ready"]),
        (&json!(5), &json!(true))
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_test_of_a_json_patch_is_422_and_changes_nothing() {
    let api = server();
    let before = api.put(WIDGETS, widget("one", json!({"size": 1})));
    let widgets = widgets(&api);
    let patch = json_patch(json!([
        {"op": "replace", "path": "/spec/size", "value": 9},
        {"op": "test", "path": "/metadata/resourceVersion", "value": "999"},
    ]));
    let error = widgets
        .patch("one", &PatchParams::default(), &patch)
        .await
        .unwrap_err();
    assert_eq!(code(&error), 422);
    assert_eq!(api.get(WIDGETS, ONE).unwrap(), before);
    let version = before["metadata"]["resourceVersion"].clone();
    let patch = json_patch(json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/spec/size", "value": 9},
    ]));
    let stored = widgets
        .patch("one", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(stored.data["spec"]["size"], 9);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"size": null}}));
    let stored = widgets
        .patch("one", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        (
            stored.metadata.annotations.unwrap()["a"].as_str(),
            &stored.data["spec"]
        ),
        ("b", &json!({}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_makes_no_new_version() {
    let api = server();
    let before = api.put(WIDGETS, widget("one", json!({"size": 1})));
    let patch = Patch::Merge(json!({"spec": {"size": 1}}));
    widgets(&api)
        .patch("one", &PatchParams::apply("somebody"), &patch)
        .await
        .unwrap();
    assert_eq!(api.get(WIDGETS, ONE).unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn an_object_with_a_finalizer_is_marked_and_goes_with_its_last_finalizer() {
    let api = server();
    let mut object = widget("one", json!({}));
    object["metadata"]["finalizers"] = json!(["example.org/keep"]);
    api.put(WIDGETS, object);
    let widgets = widgets(&api);
    let marked = widgets
        .delete("one", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    widgets
        .patch("one", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(code(&widgets.get("one").await.unwrap_err()), 404);
}

#[tokio::test(start_paused = true)]
async fn creation_refuses_a_second_of_the_same_name_and_drops_the_status() {
    let api = server();
    let widgets = widgets(&api);
    let mut object = widget("one", json!({}));
    object["status"] = json!({"ready": true});
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let stored = widgets.create(&PostParams::default(), &object).await.unwrap();
    assert!(stored.metadata.uid.is_some() && stored.data.get("status").is_none());
    let error = widgets.create(&PostParams::default(), &object).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.is_already_exists()));
}

#[tokio::test(start_paused = true)]
async fn lists_and_watches_obey_their_selectors() {
    let api = server();
    api.put(WIDGETS, widget("one", json!({})));
    api.put(WIDGETS, widget("two", json!({})));
    let widgets = widgets(&api);
    let only = ListParams::default().labels("app=two,app!=three,!other");
    let list = widgets.list(&only).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let version = list.metadata.resource_version.unwrap();
    api.edit(WIDGETS, ONE, "kubectl", |o| o["spec"] = json!({"size": 1}));
    api.edit(WIDGETS, ("default", "two"), "kubectl", |o| {
        o["spec"] = json!({"size": 2});
    });
    api.delete(WIDGETS, ("default", "two"));
    let params = WatchParams::default().fields("metadata.name=two").timeout(10);
    let events: Vec<_> = widgets
        .watch(&params, &version)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(
        matches!(&events[..], [WatchEvent::Modified(a), WatchEvent::Deleted(b)] if a.data["spec"]["size"] == 2 && b.metadata.name == a.metadata.name),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_in_pages_and_what_changes_meanwhile_is_told_by_a_watch_from_its_version() {
    let api = server();
    for name in ["one", "two", "three"] {
        api.put(WIDGETS, widget(name, json!({})));
    }
    api.put("example.org/others", widget("two", json!({})));
    let widgets = widgets(&api);
    let mut params = ListParams::default().limit(2);
    let names = |list: &kube::core::ObjectList<DynamicObject>| -> Vec<_> {
        list.items
            .iter()
            .filter_map(|o| o.metadata.name.clone())
            .collect()
    };
    let first = widgets.list(&params).await.unwrap();
    assert_eq!(names(&first), ["one", "three"]);
    api.edit(WIDGETS, ONE, "kubectl", |o| o["spec"] = json!({"size": 1}));
    params.continue_token = first.metadata.continue_;
    let second = widgets.list(&params).await.unwrap();
    assert_eq!(names(&second), ["two"]);
    assert_eq!(second.metadata.continue_, None);
    let version = second.metadata.resource_version.unwrap();
    let params = WatchParams::default().timeout(10);
    let events = widgets.watch(&params, &version).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    assert!(matches!(&events[..], [WatchEvent::Modified(_)]), "{events:?}");
    let nobodys = ListParams {
        continue_token: Some("nobody's".into()),
        ..ListParams::default()
    };
    assert_eq!(code(&widgets.list(&nobodys).await.unwrap_err()), 410);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_version_is_answered_410() {
    let api = server();
    api.put(WIDGETS, widget("one", json!({})));
    api.edit(WIDGETS, ONE, "kubectl", |o| o["spec"] = json!({"size": 1}));
    api.compact();
    let events = widgets(&api).watch(&WatchParams::default(), "1").await.unwrap();
    pin_mut!(events);
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Error(status))) if status.code == 410));
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn open_watches_can_be_cut_one_by_one() {
    let api = server();
    let widgets = widgets(&api);
    let cut = widgets
        .watch(&WatchParams::default().labels("a=b"), "0")
        .await
        .unwrap();
    let kept = widgets.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(cut, kept);
    api.cut_watches(|request| request.query.contains_key("labelSelector"));
    assert!(cut.next().await.is_none());
    api.put(WIDGETS, widget("one", json!({})));
    assert!(matches!(kept.next().await, Some(Ok(WatchEvent::Added(_)))));
}

#[tokio::test(start_paused = true)]
async fn faults_hit_the_requests_they_match_as_often_as_asked() {
    let api = server();
    api.put(WIDGETS, widget("one", json!({"size": 1})));
    let widgets = widgets(&api);
    api.inject(Fault::Status(503), 1, |r| r.verb == "get");
    assert_eq!(code(&widgets.get("one").await.unwrap_err()), 503);
    assert!(widgets.get("one").await.is_ok());

    api.inject(Fault::Cut, 1, |r| r.verb == "get");
    assert!(!matches!(
        widgets.get("one").await.unwrap_err(),
        kube::Error::Api(_)
    ));

    api.inject(Fault::CutAfter, 1, |r| r.verb == "patch");
    let patch = Patch::Merge(json!({"spec": {"size": 2}}));
    assert!(
        widgets
            .patch("one", &PatchParams::default(), &patch)
            .await
            .is_err()
    );
    assert_eq!(
        api.get(WIDGETS, ONE).unwrap()["spec"]["size"],
        2,
        "done, though the answer was lost"
    );

    api.inject(Fault::Delay(Duration::from_secs(7)), 1, |_| true);
    let begun = tokio::time::Instant::now();
    widgets.get("one").await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(7));

    api.inject(Fault::Hang, usize::MAX, |r| r.client == "tester");
    assert!(
        timeout(Duration::from_hours(1), widgets.get("one"))
            .await
            .is_err()
    );
    api.heal();
    assert!(widgets.get("one").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn managed_fields_name_who_changed_what_last() {
    let api = server();
    api.put(WIDGETS, widget("one", json!({"size": 1, "colour": "red"})));
    let patch = Patch::Merge(json!({"spec": {"size": 2}}));
    widgets(&api)
        .patch(
            "one",
            &PatchParams {
                field_manager: Some("birdwatch".into()),
                ..PatchParams::default()
            },
            &patch,
        )
        .await
        .unwrap();
    let object = api.edit(WIDGETS, ONE, "argocd", |o| o["spec"]["size"] = json!(3));
    let owners = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let owners: Vec<_> = owners
        .filter(|e| !e["fieldsV1"]["f:spec"]["f:size"].is_null())
        .map(|e| &e["manager"])
        .collect();
    assert_eq!(owners, ["argocd"]);
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_who_asked_what() {
    let api = server();
    let _ = widgets(&api).get("one").await;
    let [request] = &api.requests()[..] else {
        panic!("one request")
    };
    assert_eq!(
        (request.client.as_str(), request.verb, request.resource.as_str()),
        ("tester", "get", WIDGETS)
    );
    assert_eq!(
        (request.namespace.as_deref(), request.name.as_deref()),
        (Some("default"), Some("one"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_whole_controller_runs_on_it_through_hours_of_paused_time() {
    let api = server();
    api.put("configmaps", json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}, "data": {"a": "1"},
    }));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let reconcile = |object: Arc<ConfigMap>, seen: Arc<Mutex<Vec<String>>>| async move {
        seen.lock()
            .unwrap()
            .push(object.data.clone().unwrap_or_default()["a"].clone());
        Ok::<_, std::convert::Infallible>(Action::requeue(Duration::from_mins(10)))
    };
    let maps: Api<ConfigMap> = Api::all(api.client("controller"));
    let controller = Controller::new(maps, watcher::Config::default());
    let running = controller
        .run(reconcile, |_, error, _| match *error {}, seen.clone())
        .for_each(|_| async {});
    let _task = AbortOnDropHandle::new(tokio::spawn(running));
    sleep(Duration::from_hours(2) + Duration::from_mins(5)).await;
    assert_eq!(
        seen.lock().unwrap().len(),
        13,
        "at the start and every ten minutes"
    );
    api.cut_watches(|_| true);
    api.compact();
    api.edit("configmaps", ONE, "kubectl", |o| o["data"]["a"] = json!("2"));
    api.compact();
    let noticed = async {
        while seen.lock().unwrap().last().is_none_or(|a| a != "2") {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_mins(2), noticed)
        .await
        .expect("the watch recovers and the edit is seen");
}
