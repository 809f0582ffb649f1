//! `VirtualService` and `DestinationRule` as the API server holds them: typed metadata, and `spec` as any JSON.
//!
//! Nothing in `spec` can make decoding fail, and fields of it that we have never heard of are kept. Objects are read from
//! here and changed by JSON Patch only; nothing writes a whole object back.

use std::borrow::Cow;

use kube::core::{ApiResource, DynamicResourceScope, GroupVersionKind, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::ObjectName;

/// API group of both kinds.
pub const GROUP: &str = "networking.istio.io";

/// Versions of [`GROUP`] that we can work with, best first. Their schemas are alike.
pub const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

/// A copy of the whole object that `kubectl apply` leaves behind.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

macro_rules! istio_object {
    ($name:ident, $plural:literal) => {
        #[doc = concat!("An Istio `", stringify!($name), "`, of whatever version the cluster serves.")]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            /// Name, namespace, resource version and so on.
            #[serde(default)]
            pub metadata: ObjectMeta,
            /// Any JSON; null where the object has none.
            #[serde(default, skip_serializing_if = "Value::is_null")]
            pub spec: Value,
        }

        impl $name {
            #[doc = concat!("What `kube::Api` must know of `", stringify!($name), "`; `version` as in [`VERSIONS`].")]
            #[must_use]
            pub fn api_resource(version: &str) -> ApiResource {
                let gvk = GroupVersionKind::gvk(GROUP, version, stringify!($name));
                ApiResource::from_gvk_with_plural(&gvk, $plural)
            }

            /// Name of the object in messages.
            #[must_use]
            pub fn object_name(&self) -> ObjectName {
                ObjectName { kind: stringify!($name), name: self.metadata.name.clone().unwrap_or_default() }
            }

            /// Namespace of the object; empty where it has none, which no object from a server is.
            #[must_use]
            pub fn namespace(&self) -> &str {
                self.metadata.namespace.as_deref().unwrap_or_default()
            }

            /// Drops what no decision needs, for objects that are kept in a store: managed fields, and the copy that
            /// `kubectl apply` keeps. [`super::owner::managers`] needs a live read.
            pub fn trim(&mut self) {
                self.metadata.managed_fields = None;
                if let Some(annotations) = &mut self.metadata.annotations {
                    annotations.remove(LAST_APPLIED);
                }
            }
        }

        impl kube::Resource for $name {
            type DynamicType = ApiResource;
            type Scope = DynamicResourceScope;

            fn kind(dt: &ApiResource) -> Cow<'_, str> {
                dt.kind.as_str().into()
            }
            fn group(dt: &ApiResource) -> Cow<'_, str> {
                dt.group.as_str().into()
            }
            fn version(dt: &ApiResource) -> Cow<'_, str> {
                dt.version.as_str().into()
            }
            fn api_version(dt: &ApiResource) -> Cow<'_, str> {
                dt.api_version.as_str().into()
            }
            fn plural(dt: &ApiResource) -> Cow<'_, str> {
                dt.plural.as_str().into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

istio_object!(VirtualService, "virtualservices");
istio_object!(DestinationRule, "destinationrules");

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::StreamExt as _;
    use kube::api::{Patch, PatchParams};
    use kube::core::DeserializeGuard;
    use kube::runtime::{WatchStreamExt as _, watcher};
    use kube::{Api, Client, Resource as _};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::istio::test_support::any_json;

    #[test]
    fn urls_follow_the_version_chosen_at_run_time() {
        for version in VERSIONS {
            let dt = VirtualService::api_resource(version);
            assert_eq!(
                VirtualService::url_path(&dt, Some("shop")),
                format!("/apis/networking.istio.io/{version}/namespaces/shop/virtualservices")
            );
            let dt = DestinationRule::api_resource(version);
            assert_eq!(
                DestinationRule::url_path(&dt, None),
                format!("/apis/networking.istio.io/{version}/destinationrules")
            );
        }
    }

    #[tokio::test]
    async fn a_client_reads_patches_and_watches_the_version_chosen() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&seen);
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            requests
                .lock()
                .unwrap()
                .push(format!("{} {}", request.method(), request.uri().path()));
            let named = request.uri().path().ends_with("/aleph");
            let object = json!({"metadata": {"name": "aleph", "namespace": "shop"}, "spec": "odd"});
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": [object]});
            async move { axum::Json(if named { object } else { list }) }
        });
        let api: Api<VirtualService> = Api::namespaced_with(
            Client::new(router, "default"),
            "shop",
            &VirtualService::api_resource("v1beta1"),
        );
        assert_eq!(api.get("aleph").await.unwrap().spec, "odd");
        let patch = Patch::Json::<()>(json_patch::Patch(vec![]));
        api.patch("aleph", &PatchParams::default(), &patch).await.unwrap();
        let events = watcher(api, watcher::Config::default()).applied_objects().take(1);
        let watched: Vec<_> = events.collect().await;
        assert_eq!(
            watched[0].as_ref().unwrap().metadata.name.as_deref(),
            Some("aleph")
        );
        let at = "/apis/networking.istio.io/v1beta1/namespaces/shop/virtualservices";
        assert_eq!(
            seen.lock().unwrap()[..3],
            [
                format!("GET {at}/aleph"),
                format!("PATCH {at}/aleph"),
                format!("GET {at}")
            ]
        );
    }

    #[test]
    fn unknown_fields_of_spec_survive_decoding_and_encoding() {
        let spec = json!({"hosts": ["aleph"], "fromTheFuture": {"deep": [1, 2.5, null]}, "http": [{"x": 18_446_744_073_709_551_615_u64}]});
        let metadata = json!({"name": "aleph", "namespace": "shop"});
        let decoded: VirtualService = serde_json::from_value(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec,
            "status": {"conditions": []}, "alsoNew": true,
        }))
        .unwrap();
        assert_eq!(
            serde_json::to_value(decoded).unwrap(),
            json!({"metadata": metadata, "spec": spec})
        );
    }

    #[test]
    fn an_object_without_spec_decodes() {
        let decoded: DestinationRule =
            serde_json::from_value(json!({"metadata": {"name": "aleph"}})).unwrap();
        assert_eq!(decoded.spec, Value::Null);
        assert_eq!(
            serde_json::to_value(decoded).unwrap(),
            json!({"metadata": {"name": "aleph"}})
        );
    }

    #[test]
    fn trimming_drops_managed_fields_and_copies_but_nothing_we_read() {
        let mut object: VirtualService = serde_json::from_value(json!({
            "metadata": {
                "name": "aleph", "resourceVersion": "7", "managedFields": [{"manager": "kubectl"}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "blue"},
            },
            "spec": {"http": []}, "status": {"observedGeneration": 1},
        }))
        .unwrap();
        object.trim();
        assert_eq!(
            serde_json::to_value(object).unwrap(),
            json!({
                "metadata": {"name": "aleph", "resourceVersion": "7", "annotations": {"team": "blue"}},
                "spec": {"http": []},
            })
        );
    }

    proptest! {
        #[test]
        fn no_spec_whatever_stops_decoding(spec in any_json()) {
            let text = json!({"metadata": {"name": "aleph"}, "spec": spec}).to_string();
            let guarded: DeserializeGuard<VirtualService> = serde_json::from_str(&text).unwrap();
            let decoded = guarded.0.expect("a VirtualService decodes whatever its spec");
            prop_assert_eq!(decoded.spec, spec);
        }
    }
}
