//! Volumes as directories of the pod's own. There is no mount namespace, so nothing can appear at a mountPath:
//! instead, mountPaths in arguments, environment and files from `ConfigMaps` are rewritten to where their files are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};

use super::{environment::field, object::Objects, problem::Problem};

/// A file of a volume, before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Relative to the volume.
    pub(super) path: String,
    pub(super) content: Content,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This text of a `ConfigMap`, which may speak of mountPaths.
    Text(String),
    /// A token of the pod's `ServiceAccount`.
    Token {
        /// For whom; none: the API server.
        audience: Option<String>,
        /// How long it shall last, in seconds.
        seconds: i64,
    },
}

/// Lifetime of a token whose volume names none, as in Kubernetes.
const TOKEN_SECONDS: i64 = 3600;

const CONFIG_MAP: &str = "configmap";

type Entries<'a> = Option<&'a std::collections::BTreeMap<String, Vec<u8>>>;

/// The files of a volume; an emptyDir has none.
///
/// # Errors
/// When an object or key is missing and not optional, or when the toy kubelet has no such kind of volume.
pub(super) fn files(volume: &Volume, pod: &Pod, ip: &str, objects: &Objects) -> Result<Vec<File>, Problem> {
    let mut files = Vec::new();
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let items = secret.items.as_deref();
        add_entries(
            &mut files,
            ("secret", name),
            objects.secrets.get(name),
            items,
            secret.optional,
        )?;
    } else if let Some(map) = &volume.config_map {
        let entries = objects.config_maps.get(&map.name);
        add_entries(
            &mut files,
            (CONFIG_MAP, &map.name),
            entries,
            map.items.as_deref(),
            map.optional,
        )?;
    } else if let Some(downward) = &volume.downward_api {
        for item in downward.items.iter().flatten() {
            add_field(
                &mut files,
                pod,
                ip,
                &item.path,
                item.field_ref.as_ref().map(|f| f.field_path.as_str()),
            )?;
        }
    } else if let Some(projected) = &volume.projected {
        for source in projected.sources.iter().flatten() {
            add_source(&mut files, source, pod, ip, objects)?;
        }
    } else if volume.empty_dir.is_none() {
        return Err(Problem::volume(format!(
            "the toy kubelet has no volumes of the kind of {:?}",
            volume.name
        )));
    }
    Ok(files)
}

fn add_source(
    files: &mut Vec<File>,
    source: &k8s_openapi::api::core::v1::VolumeProjection,
    pod: &Pod,
    ip: &str,
    objects: &Objects,
) -> Result<(), Problem> {
    if let Some(secret) = &source.secret {
        let entries = objects.secrets.get(&secret.name);
        add_entries(
            files,
            ("secret", &secret.name),
            entries,
            secret.items.as_deref(),
            secret.optional,
        )?;
    }
    if let Some(map) = &source.config_map {
        let entries = objects.config_maps.get(&map.name);
        add_entries(
            files,
            (CONFIG_MAP, &map.name),
            entries,
            map.items.as_deref(),
            map.optional,
        )?;
    }
    for item in source
        .downward_api
        .iter()
        .flat_map(|downward| downward.items.iter().flatten())
    {
        add_field(
            files,
            pod,
            ip,
            &item.path,
            item.field_ref.as_ref().map(|f| f.field_path.as_str()),
        )?;
    }
    if let Some(token) = &source.service_account_token {
        let seconds = token.expiration_seconds.unwrap_or(TOKEN_SECONDS);
        let content = Content::Token {
            audience: token.audience.clone(),
            seconds,
        };
        files.push(File {
            path: token.path.clone(),
            content,
        });
    }
    Ok(())
}

fn add_entries(
    files: &mut Vec<File>,
    (kind, name): (&str, &str),
    entries: Entries<'_>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<(), Problem> {
    let optional = optional == Some(true);
    let Some(entries) = entries else {
        let missing = Problem::volume(format!("{kind} {name:?} not found"));
        return if optional { Ok(()) } else { Err(missing) };
    };
    let file = |path: &String, bytes: &Vec<u8>| {
        let content = match String::from_utf8(bytes.clone()) {
            Ok(text) if kind == CONFIG_MAP => Content::Text(text),
            _ => Content::Bytes(bytes.clone()),
        };
        File {
            path: path.clone(),
            content,
        }
    };
    let Some(items) = items else {
        files.extend(entries.iter().map(|(key, bytes)| file(key, bytes)));
        return Ok(());
    };
    for item in items {
        match entries.get(&item.key) {
            Some(bytes) => files.push(file(&item.path, bytes)),
            None if optional => {}
            None => {
                return Err(Problem::volume(format!(
                    "{kind} {name:?} has no key {:?}",
                    item.key
                )));
            }
        }
    }
    Ok(())
}

fn add_field(
    files: &mut Vec<File>,
    pod: &Pod,
    ip: &str,
    path: &str,
    wanted: Option<&str>,
) -> Result<(), Problem> {
    if let Some(wanted) = wanted {
        let content = Content::Bytes(field(pod, ip, wanted)?.into_bytes());
        files.push(File {
            path: path.to_owned(),
            content,
        });
    }
    Ok(())
}

/// Writes a file below `root` in one piece, so that a reader sees the old one or the new one.
pub(super) fn write(root: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    let inside = Path::new(path)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if !inside {
        return Err(io::Error::other(format!("{path:?} leads out of its volume")));
    }
    let target = root.join(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut fresh = target.clone().into_os_string();
    fresh.push(".fresh");
    fs::write(&fresh, bytes)?;
    fs::rename(fresh, target)
}

/// Where a container believes files to be, and where they are.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// The longest mountPath first, so that a mount within a mount wins.
    pairs: Vec<(String, String)>,
    /// Where the token of the `ServiceAccount` lies, if it is mounted.
    pub(super) service_account: Option<PathBuf>,
}

impl Mounts {
    /// Those of `containers`, whose pod's volumes lie in `volumes`, a directory each.
    pub(super) fn of(containers: &[Container], pod: &Pod, volumes: &Path) -> Self {
        let mut mounts = Self::default();
        for mount in containers
            .iter()
            .flat_map(|container| container.volume_mounts.iter().flatten())
        {
            let real = volumes
                .join(&mount.name)
                .join(mount.sub_path.as_deref().unwrap_or_default());
            let volume = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
            if volume
                .clone()
                .any(|volume| volume.name == mount.name && holds_account(volume))
            {
                mounts.service_account = Some(real.clone());
            }
            let path = mount.mount_path.trim_end_matches('/').to_owned();
            mounts
                .pairs
                .push((path, real.to_string_lossy().trim_end_matches('/').to_owned()));
        }
        mounts
            .pairs
            .sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        mounts
    }

    /// `text` with every mountPath in it replaced by the real directory, whole paths only.
    pub(super) fn rewrite(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            if !out.ends_with(in_path)
                && let Some((real, after)) = self.real(rest)
            {
                out.push_str(real);
                rest = after;
            }
            let Some(next) = rest.chars().next() else { break };
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
        out
    }

    /// The real directory of the mountPath that `text` begins with, and what follows it.
    fn real<'a>(&'a self, text: &'a str) -> Option<(&'a str, &'a str)> {
        self.pairs.iter().find_map(|(path, real)| {
            let after = text.strip_prefix(path.as_str())?;
            let whole = after.starts_with('/') || !after.starts_with(in_path);
            whole.then_some((real.as_str(), after))
        })
    }
}

/// Whether a character may be part of a path, so that a path goes on with it.
fn in_path(c: char) -> bool {
    c.is_alphanumeric() || "/._-".contains(c)
}

/// Whether a volume holds what a client in a pod needs to speak to the API server.
fn holds_account(volume: &Volume) -> bool {
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    sources
        .filter_map(|source| source.service_account_token.as_ref())
        .any(|token| token.path == "token" && token.audience.is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn files_of(volume: Value) -> Result<BTreeMap<String, Content>, Problem> {
        let mut volume = volume;
        volume["name"] = "v".into();
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}})).unwrap();
        let entries = [("ca.crt", "PEM"), ("other", "x")].map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec()));
        let data = BTreeMap::from([("there".to_owned(), BTreeMap::from(entries))]);
        let objects = Objects {
            config_maps: data.clone(),
            secrets: data,
        };
        let files = files(&volume, &pod, "127.7.9.1", &objects)?;
        Ok(files.into_iter().map(|file| (file.path, file.content)).collect())
    }

    fn bytes(text: &str) -> Content {
        Content::Bytes(text.as_bytes().to_vec())
    }

    fn text(text: &str) -> Content {
        Content::Text(text.to_owned())
    }

    #[test]
    fn secrets_and_config_maps_become_files_whole_or_by_item() {
        let whole = files_of(json!({"secret": {"secretName": "there"}})).unwrap();
        assert_eq!(whole["ca.crt"], bytes("PEM"));
        assert_eq!(whole.len(), 2);
        let items = json!([{"key": "ca.crt", "path": "tls/ca.pem"}]);
        let one = files_of(json!({"configMap": {"name": "there", "items": items}})).unwrap();
        assert_eq!(one, BTreeMap::from([("tls/ca.pem".to_owned(), text("PEM"))]));
    }

    #[test]
    fn the_account_volume_of_every_pod_is_understood() {
        let sources = json!([
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "there", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]);
        let files = files_of(json!({"projected": {"sources": sources}})).unwrap();
        assert_eq!(
            files["token"],
            Content::Token {
                audience: None,
                seconds: 3607
            }
        );
        assert_eq!(files["namespace"], bytes("n"));
        assert_eq!(files["ca.crt"], text("PEM"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named_unless_it_is_optional() {
        let message = |volume| files_of(volume).unwrap_err().message;
        assert!(message(json!({"secret": {"secretName": "gone"}})).contains("secret \"gone\""));
        let items = json!([{"key": "nokey", "path": "x"}]);
        assert!(message(json!({"configMap": {"name": "there", "items": items}})).contains("nokey"));
        assert!(message(json!({"hostPath": {"path": "/"}})).contains("\"v\""));
        let optional = files_of(json!({"secret": {"secretName": "gone", "optional": true}}));
        assert_eq!(optional, Ok(BTreeMap::new()));
        assert_eq!(files_of(json!({"emptyDir": {}})), Ok(BTreeMap::new()));
    }

    #[test]
    fn paths_under_a_mount_are_rewritten_and_others_are_not() {
        let container = json!({"name": "c", "volumeMounts": [
            {"name": "etc", "mountPath": "/etc/bw/"},
            {"name": "ca", "mountPath": "/etc/bw/ca.pem", "subPath": "ca.crt"},
        ]});
        let container: Container = serde_json::from_value(container).unwrap();
        let mounts = Mounts::of(&[container], &Pod::default(), Path::new("/v"));
        for (text, wanted) in [
            ("/etc/bw", "/v/etc"),
            ("/etc/bw/conf.yaml", "/v/etc/conf.yaml"),
            ("--ca=/etc/bw/ca.pem", "--ca=/v/ca/ca.crt"),
            (
                "{\"a\": \"/etc/bw/a\", \"b\": [/etc/bw]}",
                "{\"a\": \"/v/etc/a\", \"b\": [/v/etc]}",
            ),
            ("/etc/bw/a:/etc/bw/ca.pem", "/v/etc/a:/v/ca/ca.crt"),
            ("/etc/bwx", "/etc/bwx"),
            ("/etc/bw-old /etc/bw.d", "/etc/bw-old /etc/bw.d"),
            ("http://host/etc/bw", "http://host/etc/bw"),
            ("/srv/etc/bw", "/srv/etc/bw"),
            ("--x=y", "--x=y"),
        ] {
            assert_eq!(mounts.rewrite(text), wanted);
        }
        assert_eq!(mounts.service_account, None);
    }

    #[test]
    fn a_file_cannot_be_written_outside_its_volume() {
        assert!(write(Path::new("/nowhere"), "../x", b"").is_err());
        assert!(write(Path::new("/nowhere"), "/x", b"").is_err());
    }
}
