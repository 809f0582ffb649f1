//! The `ConfigMaps` and Secrets that a pod speaks of, fetched at once so that what is made of them needs no client.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use kube::{Api, Client};

/// What was there when it was asked for; what is missing is simply not in here.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) config_maps: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub(super) secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Objects {
    /// Everything that `pod` names.
    ///
    /// # Errors
    /// When the API server does not answer; an object that is not there is no error.
    pub(super) async fn fetch(client: &Client, namespace: &str, pod: &Pod) -> kube::Result<Self> {
        let names = Names::of(pod);
        let mut objects = Self::default();
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        for name in names.config_maps {
            if let Some(found) = api.get_opt(&name).await? {
                objects.config_maps.insert(name, config_map_data(found));
            }
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for name in names.secrets {
            if let Some(found) = api.get_opt(&name).await? {
                let data = found
                    .data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (key, value.0));
                objects.secrets.insert(name, data.collect());
            }
        }
        Ok(objects)
    }
}

fn config_map_data(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.into_bytes()));
    let binary = map
        .binary_data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0));
    text.chain(binary).collect()
}

#[derive(Debug, Default)]
struct Names {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Names {
    fn of(pod: &Pod) -> Self {
        let mut names = Self::default();
        let Some(spec) = &pod.spec else { return names };
        for container in &spec.containers {
            for source in container
                .env
                .iter()
                .flatten()
                .filter_map(|env| env.value_from.as_ref())
            {
                names
                    .config_maps
                    .extend(source.config_map_key_ref.as_ref().map(|key| key.name.clone()));
                names
                    .secrets
                    .extend(source.secret_key_ref.as_ref().map(|key| key.name.clone()));
            }
            for source in container.env_from.iter().flatten() {
                names
                    .config_maps
                    .extend(source.config_map_ref.as_ref().map(|map| map.name.clone()));
                names
                    .secrets
                    .extend(source.secret_ref.as_ref().map(|secret| secret.name.clone()));
            }
        }
        for volume in spec.volumes.iter().flatten() {
            names.add_volume(volume);
        }
        names
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.config_maps
            .extend(volume.config_map.as_ref().map(|map| map.name.clone()));
        self.secrets.extend(
            volume
                .secret
                .as_ref()
                .and_then(|secret| secret.secret_name.clone()),
        );
        let sources = volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten());
        for source in sources {
            self.config_maps
                .extend(source.config_map.as_ref().map(|map| map.name.clone()));
            self.secrets
                .extend(source.secret.as_ref().map(|secret| secret.name.clone()));
        }
    }
}
