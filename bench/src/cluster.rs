//! Objects made and changed, many at a time. It knows nothing of who they are for.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::Value;

use crate::{
    contender::Change,
    error::Error,
    manifests::{Kind, NAMESPACE},
};

/// Requests under way at the same time.
const AT_ONCE: usize = 32;

/// All objects of a kind in the services' namespace.
pub(crate) fn of_kind(client: &Client, kind: Kind) -> Api<DynamicObject> {
    let Kind {
        group,
        version,
        kind,
        plural,
    } = kind;
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    plural.clone_into(&mut resource.plural);
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// Makes them, each group in its order and many groups at a time. What is there already stays as it is.
pub(crate) async fn create_all(
    client: &Client,
    groups: impl IntoIterator<Item = Vec<Value>>,
) -> Result<(), Error> {
    let creating = stream::iter(groups).map(|group| create(client, group));
    creating
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await
}

async fn create(client: &Client, group: Vec<Value>) -> Result<(), Error> {
    for manifest in group {
        let text = |pointer: &str| {
            manifest
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            none if none.is_empty() => Api::all_with(client.clone(), &resource),
            namespace => Api::namespaced_with(client.clone(), &namespace, &resource),
        };
        let object: DynamicObject = serde_json::from_value(manifest).map_err(std::io::Error::from)?;
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Lets the new versions out, many at a time.
pub(crate) async fn change_all(
    client: &Client,
    changes: impl IntoIterator<Item = Change>,
) -> Result<(), Error> {
    let changing = stream::iter(changes).map(|one| change(client, one));
    changing
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await
}

async fn change(client: &Client, change: Change) -> Result<(), Error> {
    match change {
        Change::Create(manifest) => create(client, vec![manifest]).await,
        Change::Patch { kind, name, patch } => {
            let (api, params) = (of_kind(client, kind), PatchParams::default());
            api.patch(&name, &params, &Patch::Merge(patch)).await?;
            Ok(())
        }
    }
}

/// Makes the services' namespace and waits until pods can be made in it.
pub(crate) async fn make_namespace(client: &Client) -> Result<(), Error> {
    create_all(client, [vec![birdwatch_bed::parts::apps::namespace(NAMESPACE)]]).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    while accounts.get_opt("default").await?.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}
