//! How a Prometheus server is reached and who we are to it. Read once; secrets are never printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use url::{Position, Url};

use crate::clients::http::{ClientError, TlsFiles};

/// Queries asked of one server at the same time, where nothing else is said.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 20;

/// One server of the administrator's list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerConfig {
    /// The name that a `BirdWatch` chooses it by; unique.
    pub name: String,
    /// `http(s)://[user:password@]host[:port][/prefix]`; the API's paths are added to it.
    pub url: Address,
    /// Headers sent with every query (a tenant); values count as secrets.
    #[serde(default, deserialize_with = "secrets")]
    pub headers: BTreeMap<String, SecretString>,
    /// A file with a bearer token, read at each query.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// A user name and a file with the password, read at each query.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// Certificates (PEM) trusted besides those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The administrator's certificates (PEM) for every connection, trusted besides; no part of the list.
    #[serde(skip)]
    pub common_ca_file: Option<PathBuf>,
    /// Our certificate (PEM), where the server asks for one.
    #[serde(default)]
    pub client_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// Queries asked at the same time, 1 or more; default 20.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// The label by which the tenants of this server are kept apart: every selector that is asked for a `BirdWatch` gets
    /// it, with the `BirdWatch`'s namespace as its value. None: a query may read all series.
    #[serde(default)]
    pub enforced_label: Option<String>,
}

/// Basic authentication.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user's name.
    pub username: String,
    /// A file with the password.
    pub password_file: PathBuf,
}

/// Why a list of servers cannot be used. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the YAML that is expected.
    #[error("the list of Prometheus servers cannot be read: {0}")]
    Yaml(String),
    /// The list is empty.
    #[error("the list of Prometheus servers is empty")]
    Empty,
    /// Two servers of one name, or none.
    #[error("Prometheus server names must be given and unique; see {0:?}")]
    Name(String),
    /// Something about one server.
    #[error("Prometheus server {server:?}: {problem}")]
    Server {
        /// Its name.
        server: String,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// A TLS file of one server.
    #[error("Prometheus server {server:?}: {source}")]
    Tls {
        /// Its name.
        server: String,
        /// What is wrong with the file.
        source: ClientError,
    },
}

impl ServerConfig {
    /// A server known by nothing but its address, under the name `default`.
    ///
    /// # Errors
    /// An address that is no http or https URL.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let url = url.parse().map_err(|problem: String| ConfigError::Server {
            server: "default".to_owned(),
            problem,
        })?;
        Ok(Self {
            name: "default".to_owned(),
            url,
            headers: BTreeMap::new(),
            bearer_token_file: None,
            basic_auth: None,
            ca_file: None,
            common_ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            enforced_label: None,
        })
    }

    /// The servers of a YAML list; the first is the default.
    ///
    /// # Errors
    /// Text that is no such list, an unknown key, or a value that cannot be used.
    pub fn list(yaml: &str) -> Result<Vec<Self>, ConfigError> {
        let servers: Vec<Self> = serde_saphyr::from_str(yaml).map_err(|error| {
            // The first line has the place and the reason; what follows quotes the file, secrets included.
            ConfigError::Yaml(crate::clients::http::tidy(
                error.to_string().lines().next().unwrap_or(""),
                200,
            ))
        })?;
        check(&servers)?;
        Ok(servers)
    }

    /// The TLS files, for the HTTP client.
    #[must_use]
    pub fn tls(&self) -> TlsFiles {
        TlsFiles {
            ca_files: [&self.ca_file, &self.common_ca_file]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            client_cert_file: self.client_cert_file.clone(),
            client_key_file: self.client_key_file.clone(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.max_in_flight == 0 {
            return Err("maxInFlight must be 1 or more".to_owned());
        }
        if let Some(label) = &self.enforced_label
            && !is_label_name(label)
        {
            return Err(format!(
                "enforcedLabel: {label:?} is not the name of a label: letters, digits and _, not __name__"
            ));
        }
        let ways = [
            self.bearer_token_file.is_some(),
            self.basic_auth.is_some(),
            self.url.user.is_some(),
        ];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return Err(
                "give one of bearerTokenFile, basicAuth or a user in the url, not several".to_owned(),
            );
        }
        for (name, value) in &self.headers {
            HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no name of a header"))?;
            HeaderValue::try_from(value.expose_secret())
                .map_err(|_| format!("the value of header {name:?} holds characters that headers cannot"))?;
        }
        Ok(())
    }
}

/// Checks a whole list.
///
/// # Errors
/// The first thing that cannot be used.
pub(super) fn check(servers: &[ServerConfig]) -> Result<(), ConfigError> {
    if servers.is_empty() {
        return Err(ConfigError::Empty);
    }
    let mut seen = BTreeSet::new();
    for server in servers {
        if server.name.is_empty() || !seen.insert(&server.name) {
            return Err(ConfigError::Name(server.name.clone()));
        }
        server.check().map_err(|problem| ConfigError::Server {
            server: server.name.clone(),
            problem,
        })?;
    }
    Ok(())
}

/// A server's URL, its user and password kept apart: shown without them, and without its query, which may be a key.
#[derive(Clone)]
pub struct Address {
    pub(super) url: Url,
    pub(super) user: Option<(String, SecretString)>,
}

impl Address {
    /// The URL of an API path below the prefix.
    pub(super) fn join(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn shown(&self) -> &str {
        &self.url[..Position::AfterPath]
    }

    /// What no message may repeat of the query, as it is sent and as it is read.
    pub(super) fn keys(&self) -> impl Iterator<Item = SecretString> + use<'_> {
        let values = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let sent = self.url.query().unwrap_or_default().split('&');
        let sent = sent.filter_map(|pair| Some(pair.split_once('=')?.1.to_owned()));
        // Shorter ones are words like `true`.
        let is_key = |value: &String| value.len() >= 8;
        sent.chain(values).filter(is_key).map(SecretString::from)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // No error shows the text: it may hold a password.
        let mut url = Url::parse(text.trim()).map_err(|error| format!("the url cannot be read: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err("the url must be http://… or https://… with a host".to_owned());
        }
        url.set_fragment(None);
        let user = match (decoded(url.username())?, url.password().map(decoded).transpose()?) {
            (name, None) if name.is_empty() => None,
            (name, password) => Some((name, SecretString::from(password.unwrap_or_default()))),
        };
        // Both succeed on a URL with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, user })
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        bytes.push(if byte == b'%' {
            let (high, low) = (digit(rest.next()), digit(rest.next()));
            let value = high.zip(low).map(|(high, low)| high * 16 + low);
            value
                .and_then(|v| u8::try_from(v).ok())
                .ok_or("the url's user or password has a broken % escape")?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).map_err(|_| "the url's user or password is not UTF-8".to_owned())
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

fn is_label_name(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(is_word)
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && !matches!(text, "" | "__name__")
}

fn default_max_in_flight() -> usize {
    DEFAULT_MAX_IN_FLIGHT
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let plain = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(plain
        .into_iter()
        .map(|(name, value)| (name, SecretString::from(value)))
        .collect())
}
