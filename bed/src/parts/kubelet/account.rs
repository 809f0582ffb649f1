//! A pod's identity towards the API server: tokens of its `ServiceAccount` in its volumes, renewed in time, and a
//! kubeconfig that uses them, since in-cluster configuration lives at a fixed path that we cannot mount.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use serde_json::json;

use super::{
    object::Objects,
    problem::Problem,
    volume::{Content, Mounts, files, write},
};

/// The volumes of a pod, laid out below one directory.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) dir: PathBuf,
    tokens: Vec<Token>,
}

#[derive(Debug)]
struct Token {
    volume: PathBuf,
    path: String,
    audience: Option<String>,
    seconds: i64,
}

impl Volumes {
    /// Writes every file of every volume of `pod` below `dir`.
    ///
    /// # Errors
    /// When something a volume needs is missing or cannot be written.
    pub(super) async fn lay(
        client: &Client,
        pod: &Pod,
        ip: &str,
        objects: &Objects,
        dir: PathBuf,
    ) -> Result<Self, Problem> {
        let mut volumes = Self {
            dir,
            tokens: Vec::new(),
        };
        let containers = pod
            .spec
            .as_ref()
            .map(|spec| spec.containers.as_slice())
            .unwrap_or_default();
        let mounts = Mounts::of(containers, pod, &volumes.dir);
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let root = volumes.dir.join(&volume.name);
            fs::create_dir_all(&root).map_err(|error| unwritten(&root, &error))?;
            for file in files(volume, pod, ip, objects)? {
                let bytes = match file.content {
                    Content::Bytes(bytes) => bytes,
                    Content::Text(text) => mounts.rewrite(&text).into_bytes(),
                    Content::Token { audience, seconds } => {
                        let token = Token {
                            volume: root.clone(),
                            path: file.path,
                            audience,
                            seconds,
                        };
                        volumes.tokens.push(token);
                        continue;
                    }
                };
                write(&root, &file.path, &bytes).map_err(|error| unwritten(&root, &error))?;
            }
        }
        volumes.renew(client, pod).await?;
        Ok(volumes)
    }

    /// Asks for all tokens anew.
    ///
    /// # Errors
    /// When the API server gives none or one cannot be written.
    pub(super) async fn renew(&self, client: &Client, pod: &Pod) -> Result<(), Problem> {
        for token in &self.tokens {
            let asked = token_of(client, pod, token).await;
            let fresh = asked.map_err(|error| Problem::volume(format!("no token: {error}")))?;
            write(&token.volume, &token.path, fresh.as_bytes())
                .map_err(|error| unwritten(&token.volume, &error))?;
        }
        Ok(())
    }

    /// How long after a renewal the next one is due: half of the shortest lifetime. None without tokens.
    pub(super) fn renewal(&self) -> Option<Duration> {
        let shortest = self.tokens.iter().map(|token| token.seconds).min()?;
        u64::try_from(shortest / 2).ok().map(Duration::from_secs)
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Problem {
    Problem::volume(format!("{}: {error}", path.display()))
}

async fn token_of(client: &Client, pod: &Pod, token: &Token) -> kube::Result<String> {
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.as_deref())
        .unwrap_or("default");
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: token.audience.iter().cloned().collect(),
            expiration_seconds: Some(token.seconds),
            // The token ends with its pod, as on any node.
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let answer = api
        .create_token_request(account, &PostParams::default(), &request)
        .await?;
    Ok(answer.status.map(|status| status.token).unwrap_or_default())
}

/// A kubeconfig (JSON, which is YAML too) for the API server at `url` with what lies in `account`.
pub(super) fn kubeconfig(url: &str, account: &Path, namespace: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bed", "cluster": {"server": url, "certificate-authority": account.join("ca.crt")}}],
        "users": [{"name": "pod", "user": {"tokenFile": account.join("token")}}],
        "contexts": [{"name": "pod", "context": {"cluster": "bed", "user": "pod", "namespace": namespace}}],
        "current-context": "pod",
    });
    config.to_string()
}
