//! The settings of the operator: checked, complete, and built once from what the user typed. Reads no environment
//! but in [`Surroundings::read`].

use super::args::{ClusterArgs, DrainArgs, LeaseArgs, ProcessArgs, PrometheusArgs, RunArgs, SlackArgs};
use super::given::Given;
use crate::runtime::lease::{LeaseConfig, Manner, Timing};
use crate::runtime::telemetry::LogFormat;
use secrecy::{ExposeSecret, SecretString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

pub use super::given::{Flag, SettingsError};

/// Everything `birdwatch run` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to ask.
    pub prometheus: PrometheusSettings,
    /// Whom to tell.
    pub slack: SlackSettings,
    /// What to know of the cluster.
    pub cluster: ClusterSettings,
    /// How replicas agree who acts.
    pub lease: LeaseConfig,
    /// How the process behaves.
    pub process: ProcessSettings,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct PrometheusSettings {
    /// Where Prometheus is.
    pub source: PrometheusSource,
    /// The longest time that one query may take, 100 ms to 60 s.
    pub query_timeout: Duration,
}

/// Where Prometheus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrometheusSource {
    /// One server.
    Url(Url),
    /// A file that lists named servers, the first of which is the default.
    ServersFile(PathBuf),
}

/// How people are told.
#[derive(Clone, Debug)]
pub struct SlackSettings {
    /// The token; None: nobody is told, and nothing else changes.
    pub token: Option<SecretString>,
    /// The channel, unless a `BirdWatch` names another.
    pub channel: String,
    /// The channels that a `BirdWatch` may name; the default channel is always one of them.
    pub allowed_channels: Vec<String>,
    /// Base URL of the API.
    pub url: Url,
    /// Which notices are sent.
    pub level: NotifyLevel,
}

/// Which notices are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyLevel {
    /// Every step, ends and alarms.
    Steps,
    /// Starts, ends and alarms.
    Ends,
    /// None.
    Off,
}

/// What to know of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The namespaces to watch, sorted; empty: all.
    pub namespaces: Vec<String>,
    /// How often Prometheus scrapes the mesh, 100 ms to 1 h.
    pub scrape_interval: Duration,
    /// How long istiod and the proxies need to learn of a change, 100 ms to 10 min.
    pub propagation_delay: Duration,
    /// DNS domain of the cluster.
    pub domain: String,
    /// PEM file with further certificate authorities to trust, for Prometheus and Slack.
    pub ca_file: Option<PathBuf>,
}

/// How the process behaves.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub admin: SocketAddr,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How many `BirdWatch`es are reconciled at the same time, 1 to 1000.
    pub concurrency: u16,
}

/// What `birdwatch drain` needs to know.
#[derive(Clone, Debug)]
pub struct DrainSettings {
    /// The settings of the operator that is drained; its lease is taken over.
    pub run: Settings,
    /// When to give up, 1 s to 1 h.
    pub timeout: Duration,
}

/// What the process finds around it and does not get by flag.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `SLACK_API_TOKEN`. By environment only: others can read the arguments of a process.
    pub slack_token: Option<SecretString>,
    /// The host's name, if it is known.
    pub hostname: Option<String>,
}

impl Surroundings {
    /// Reads them from the process and its host.
    #[must_use]
    pub fn read() -> Self {
        Self {
            slack_token: std::env::var("SLACK_API_TOKEN").ok().map(SecretString::from),
            hostname: std::fs::read_to_string("/proc/sys/kernel/hostname").ok(),
        }
    }
}

// Everywhere below the arguments are taken apart without `..`: a flag that nobody reads does not compile.

impl Settings {
    /// Checks what the user typed and fills every default.
    ///
    /// # Errors
    /// [`SettingsError`] for the first value that cannot be used.
    pub fn new(args: RunArgs, around: Surroundings) -> Result<Self, SettingsError> {
        let RunArgs {
            prometheus,
            slack,
            cluster,
            lease,
            process,
        } = args;
        Ok(Self {
            prometheus: PrometheusSettings::new(prometheus)?,
            slack: SlackSettings::new(slack, around.slack_token)?,
            cluster: ClusterSettings::new(cluster)?,
            lease: lease_config(lease, around.hostname.as_deref())?,
            process: ProcessSettings::new(process)?,
        })
    }
}

impl DrainSettings {
    /// Checks what the user typed and fills every default. The lease is to be taken over, under a name of its own.
    ///
    /// # Errors
    /// [`SettingsError`] for the first value that cannot be used.
    pub fn new(args: DrainArgs, around: Surroundings) -> Result<Self, SettingsError> {
        let DrainArgs { run, timeout } = args;
        let timeout = Given::new("--timeout", "", timeout).duration(120_000, 1_000..=3_600_000)?;
        let mut run = Settings::new(run, around)?;
        run.lease.manner = Manner::Takeover;
        run.lease.identity = format!("drain-{}", run.lease.identity);
        Ok(Self { run, timeout })
    }
}

impl PrometheusSettings {
    fn new(args: PrometheusArgs) -> Result<Self, SettingsError> {
        let PrometheusArgs {
            prometheus_url,
            prometheus_servers_file,
            query_timeout,
        } = args;
        let url = Given::new("--prometheus-url", "PROMETHEUS_URL", prometheus_url)
            .url("http://prometheus.istio-system:9090")?;
        let file = Given::new(
            "--prometheus-servers-file",
            "PROMETHEUS_SERVERS_FILE",
            prometheus_servers_file,
        )
        .text();
        let source = file.map_or(PrometheusSource::Url(url), |file| {
            PrometheusSource::ServersFile(file.into())
        });
        let query_timeout = Given::new("--query-timeout", "", query_timeout).duration(5_000, 100..=60_000)?;
        Ok(Self {
            source,
            query_timeout,
        })
    }
}

impl SlackSettings {
    fn new(args: SlackArgs, token: Option<SecretString>) -> Result<Self, SettingsError> {
        let SlackArgs {
            slack_channel,
            slack_allowed_channels,
            slack_url,
            notify_level,
        } = args;
        let channel = Given::new("--slack-channel", "SLACK_CHANNEL", slack_channel).text();
        let channel = channel.unwrap_or_else(|| "deployment".to_owned());
        let allowed = Given::new(
            "--slack-allowed-channels",
            "SLACK_ALLOWED_CHANNELS",
            slack_allowed_channels,
        );
        let mut allowed_channels = allowed.list();
        if !allowed_channels.contains(&channel) {
            allowed_channels.insert(0, channel.clone());
        }
        let levels = [
            ("steps", NotifyLevel::Steps),
            ("ends", NotifyLevel::Ends),
            ("off", NotifyLevel::Off),
        ];
        Ok(Self {
            token: token.filter(|token| !token.expose_secret().trim().is_empty()),
            channel,
            allowed_channels,
            url: Given::new("--slack-url", "SLACK_URL", slack_url).url("https://slack.com/api")?,
            level: Given::new("--notify-level", "NOTIFY_LEVEL", notify_level)
                .choice(NotifyLevel::Steps, &levels)?,
        })
    }
}

impl ClusterSettings {
    fn new(args: ClusterArgs) -> Result<Self, SettingsError> {
        let ClusterArgs {
            namespaces,
            scrape_interval,
            propagation_delay,
            cluster_domain,
            ca_file,
        } = args;
        let scrape = Given::new("--scrape-interval", "SCRAPE_INTERVAL", scrape_interval);
        let delay = Given::new("--propagation-delay", "PROPAGATION_DELAY", propagation_delay);
        Ok(Self {
            namespaces: Given::new("--namespaces", "WATCH_NAMESPACES", namespaces).namespaces()?,
            scrape_interval: scrape.duration(15_000, 100..=3_600_000)?,
            propagation_delay: delay.duration(5_000, 100..=600_000)?,
            domain: Given::new("--cluster-domain", "CLUSTER_DOMAIN", cluster_domain)
                .dns_name("cluster.local")?,
            ca_file: Given::new("--ca-file", "CA_FILE", ca_file)
                .text()
                .map(PathBuf::from),
        })
    }
}

impl ProcessSettings {
    fn new(args: ProcessArgs) -> Result<Self, SettingsError> {
        let ProcessArgs {
            admin_address,
            admin_port,
            log_format,
            concurrency,
        } = args;
        let address = Given::new("--admin-address", "ADMIN_ADDRESS", admin_address);
        let port = Given::new("--admin-port", "ADMIN_PORT", admin_port);
        Ok(Self {
            admin: SocketAddr::new(
                address.address(Ipv4Addr::UNSPECIFIED)?,
                port.number(8080, 0..=u16::MAX)?,
            ),
            log_format: Given::new("--log-format", "LOG_FORMAT", log_format).choice(
                LogFormat::Text,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            )?,
            concurrency: Given::new("--concurrency", "", concurrency).number(64, 1..=1000)?,
        })
    }
}

fn lease_config(args: LeaseArgs, hostname: Option<&str>) -> Result<LeaseConfig, SettingsError> {
    let LeaseArgs {
        lease_name,
        lease_namespace,
        lease_duration,
        identity,
    } = args;
    let duration = Given::new("--lease-duration", "LEASE_DURATION", lease_duration);
    let identity = Given::new("--identity", "POD_NAME", identity).text();
    Ok(LeaseConfig {
        namespace: Given::new("--lease-namespace", "POD_NAMESPACE", lease_namespace).namespace("default")?,
        name: Given::new("--lease-name", "LEASE_NAME", lease_name).dns_name("birdwatch")?,
        identity: identity.unwrap_or_else(|| random_identity(hostname)),
        timing: Timing::new(duration.duration(15_000, 2_000..=600_000)?),
        manner: Manner::Candidate,
    })
}

/// A name that no other replica has.
fn random_identity(hostname: Option<&str>) -> String {
    let host = hostname
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .unwrap_or("birdwatch");
    format!("{host}-{:08x}", RandomState::new().build_hasher().finish() >> 32)
}
