//! The settings of the operator: checked, complete, and built once from what the user typed. Reads no environment
//! but in [`Surroundings::read`].

use super::args::{ClusterArgs, DrainArgs, LeaseArgs, ProcessArgs, PrometheusArgs, RunArgs, SlackArgs};
use super::given::Given;
use crate::api::spec::Level;
use crate::runtime::lease::{LeaseConfig, Manner, Shards, Timing};
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
    /// The most that a `BirdWatch` may have people told.
    pub level: Level,
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
            ("steps", Level::Steps),
            ("ends", Level::Ends),
            ("off", Level::Off),
        ];
        Ok(Self {
            token: token.filter(|token| !token.expose_secret().trim().is_empty()),
            channel,
            allowed_channels,
            url: Given::new("--slack-url", "SLACK_URL", slack_url).url("https://slack.com/api")?,
            level: Given::new("--notify-level", "NOTIFY_LEVEL", notify_level)
                .choice(Level::Steps, &levels)?,
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
        shards,
        identity,
    } = args;
    let duration = Given::new("--lease-duration", "LEASE_DURATION", lease_duration);
    let identity = Given::new("--identity", "POD_NAME", identity).text();
    let shards = Given::new("--shards", "SHARDS", shards).number(1, 1..=Shards::MOST)?;
    Ok(LeaseConfig {
        namespace: Given::new("--lease-namespace", "POD_NAMESPACE", lease_namespace).namespace("default")?,
        name: Given::new("--lease-name", "LEASE_NAME", lease_name).dns_name("birdwatch")?,
        shards: Shards::new(shards).unwrap_or(Shards::ONE),
        identity: identity.unwrap_or_else(|| random_identity(hostname)),
        timing: Timing::new(duration.duration(15_000, 2_000..=Timing::LONGEST.as_secs() * 1000)?),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::{CommandFactory, Parser};

    /// The arguments of `birdwatch run`, with no environment: the tests' own must not matter.
    fn typed(flags: &[&str]) -> RunArgs {
        let bare = Cli::command().mut_subcommand("run", |run| run.mut_args(|arg| arg.env(None::<&str>)));
        let words = ["birdwatch", "run"].iter().chain(flags);
        let matches = bare.try_get_matches_from(words).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        <RunArgs as clap::FromArgMatches>::from_arg_matches(matches).unwrap()
    }

    fn settings(flags: &[&str]) -> Result<Settings, SettingsError> {
        Settings::new(typed(flags), Surroundings::default())
    }

    fn refused(flags: &[&str]) -> String {
        settings(flags).unwrap_err().to_string()
    }

    #[test]
    fn without_flags_the_defaults_are_those_of_the_docs() {
        let Settings {
            prometheus,
            slack,
            cluster,
            lease,
            process,
        } = settings(&[]).unwrap();
        let url = Url::parse("http://prometheus.istio-system:9090").unwrap();
        assert_eq!(prometheus.source, PrometheusSource::Url(url));
        assert_eq!(prometheus.query_timeout, Duration::from_secs(5));
        assert!(slack.token.is_none());
        assert_eq!(
            (slack.channel.as_str(), slack.level),
            ("deployment", Level::Steps)
        );
        assert_eq!(slack.allowed_channels, ["deployment"]);
        assert_eq!(slack.url.as_str(), "https://slack.com/api");
        assert!(cluster.namespaces.is_empty() && cluster.ca_file.is_none());
        assert_eq!(cluster.scrape_interval, Duration::from_secs(15));
        assert_eq!(cluster.propagation_delay, Duration::from_secs(5));
        assert_eq!(cluster.domain, "cluster.local");
        assert_eq!(
            (lease.namespace.as_str(), lease.name.as_str()),
            ("default", "birdwatch")
        );
        assert_eq!(
            (lease.timing.duration(), lease.manner),
            (Duration::from_secs(15), Manner::Candidate)
        );
        assert_eq!(
            (process.admin.to_string().as_str(), process.concurrency),
            ("0.0.0.0:8080", 64)
        );
        assert_eq!(process.log_format, LogFormat::Text);
    }

    #[test]
    fn every_flag_is_read() {
        let all = "--prometheus-servers-file=/s.yaml --query-timeout=1 --slack-channel=ops --notify-level=ends \
            --slack-allowed-channels=a,,b --slack-url=http://127.0.0.1:9/x/ --ca-file=/ca.pem --namespaces=b,a,b \
            --scrape-interval=1s --propagation-delay=1m30s --cluster-domain=example.org --lease-name=l \
            --lease-namespace=n --lease-duration=2500ms --shards=6 --identity=me --admin-address=:: --admin-port=0 \
            --log-format=json --concurrency=3";
        let flags: Vec<_> = all.split_whitespace().collect();
        let Settings {
            prometheus,
            slack,
            cluster,
            lease,
            process,
        } = settings(&flags).unwrap();
        assert_eq!(prometheus.source, PrometheusSource::ServersFile("/s.yaml".into()));
        assert_eq!(prometheus.query_timeout, Duration::from_secs(1));
        assert_eq!(slack.allowed_channels, ["ops", "a", "b"]);
        assert_eq!(
            (slack.url.as_str(), slack.level),
            ("http://127.0.0.1:9/x", Level::Ends)
        );
        assert_eq!(cluster.namespaces, ["a", "b"]);
        assert_eq!(cluster.ca_file, Some("/ca.pem".into()));
        assert_eq!(cluster.propagation_delay, Duration::from_secs(90));
        assert_eq!(
            (
                lease.namespace.as_str(),
                lease.name.as_str(),
                lease.identity.as_str()
            ),
            ("n", "l", "me")
        );
        assert_eq!(lease.timing.duration(), Duration::from_millis(2500));
        assert_eq!(Some(lease.shards), Shards::new(6));
        assert_eq!(
            (process.admin.to_string().as_str(), process.concurrency),
            ("[::]:0", 3)
        );
        assert_eq!(
            (cluster.domain.as_str(), process.log_format),
            ("example.org", LogFormat::Json)
        );
        let count = typed_flags().len();
        assert_eq!(flags.len() + 1, count, "--prometheus-url is the one left out");
    }

    /// The flags of `birdwatch run` with their variables, as clap knows them.
    fn typed_flags() -> Vec<(String, Option<String>)> {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let args = run
            .get_arguments()
            .filter(|arg| arg.get_long().is_some_and(|long| long != "help"));
        let env = |arg: &clap::Arg| arg.get_env().map(|env| env.to_str().unwrap().to_owned());
        args.map(|arg| (format!("--{}", arg.get_long().unwrap()), env(arg)))
            .collect()
    }

    #[test]
    fn an_empty_value_is_as_none() {
        let bare = format!("{:?}", settings(&["--identity=me"]).unwrap());
        for (flag, _) in typed_flags().iter().filter(|(flag, _)| flag != "--identity") {
            for empty in ["", "  "] {
                let given = settings(&[&format!("{flag}={empty}"), "--identity=me"]).unwrap();
                assert_eq!(format!("{given:?}"), bare, "{flag}");
            }
        }
        let empty = Surroundings {
            slack_token: Some(String::new().into()),
            hostname: Some("\n".into()),
        };
        let settings = Settings::new(typed(&["--identity="]), empty).unwrap();
        assert!(settings.slack.token.is_none() && settings.lease.identity.starts_with("birdwatch-"));
    }

    #[test]
    fn a_value_that_cannot_be_used_is_refused_with_flag_variable_value_and_remedy() {
        // Texts that no flag with a format of its own accepts; the others take any text.
        let free = [
            "--prometheus-servers-file",
            "--slack-channel",
            "--slack-allowed-channels",
            "--ca-file",
            "--identity",
        ];
        let mut refusals = 0;
        for (flag, env) in typed_flags() {
            let error = settings(&[&format!("{flag}=No_Way!")]);
            if free.contains(&flag.as_str()) {
                assert!(error.is_ok(), "{flag}");
                continue;
            }
            let error = error.unwrap_err();
            assert_eq!(
                (error.flag.long, error.flag.env),
                (flag.as_str(), env.as_deref().unwrap_or(""))
            );
            let text = error.to_string();
            assert!(
                text.starts_with(&flag) && text.contains("\"No_Way!\"") && text.contains("; write "),
                "{text}"
            );
            refusals += 1;
        }
        assert_eq!(refusals, typed_flags().len() - free.len());
    }

    #[test]
    fn ranges_are_checked_and_named() {
        let cases = [
            ("--lease-duration=1999ms", "from 2s to 600s"),
            ("--lease-duration=0", "from 2s to 600s"),
            ("--shards=0", "from 1 to 64"),
            ("--shards=65", "from 1 to 64"),
            ("--scrape-interval=-5s", "from 100ms to 3600s"),
            ("--propagation-delay=1h", "from 100ms to 600s"),
            ("--query-timeout=61", "from 100ms to 60s"),
            ("--query-timeout=2d", "write for example 90s"),
            ("--concurrency=0", "from 1 to 1000"),
            ("--admin-port=65536", "from 0 to 65535"),
            ("--namespaces=a,B", "\"B\""),
            ("--prometheus-url=ftp://x", "not an http or https URL"),
            ("--prometheus-url=prometheus:9090", "not an http or https URL"),
            ("--admin-address=localhost", "write for example 0.0.0.0"),
            ("--notify-level=all", "write steps or ends or off"),
        ];
        for (flag, expected) in cases {
            let error = refused(&[flag]);
            assert!(error.contains(expected), "{flag}: {error}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let around = Surroundings {
            slack_token: Some("xoxb-secret".to_owned().into()),
            hostname: None,
        };
        let settings = Settings::new(typed(&[]), around.clone()).unwrap();
        assert_eq!(
            settings.slack.token.as_ref().unwrap().expose_secret(),
            "xoxb-secret"
        );
        for text in [
            format!("{settings:?}"),
            format!("{settings:#?}"),
            format!("{around:?}"),
        ] {
            assert!(!text.contains("xoxb"), "{text}");
        }
        for url in [
            "http://user:s3cret@prometheus:9090",
            "user:s3cret@prometheus",
            "http://prometheus:9090/?key=s3cret",
            "http://user:s3cret@[bad",
        ] {
            let error = refused(&[&format!("--prometheus-url={url}")]);
            assert!(
                error.contains("credentials") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }

    #[test]
    fn each_process_without_a_name_gets_one_of_its_own() {
        let around = Surroundings {
            slack_token: None,
            hostname: Some("node-1\n".into()),
        };
        let identity = || Settings::new(typed(&[]), around.clone()).unwrap().lease.identity;
        let (one, two) = (identity(), identity());
        assert!(
            one.starts_with("node-1-") && one.len() == "node-1-".len() + 8,
            "{one}"
        );
        assert_ne!(one, two);
    }

    #[test]
    fn drain_takes_the_lease_over_under_a_name_of_its_own() {
        let cli =
            Cli::try_parse_from(["birdwatch", "drain", "--timeout", "90", "--identity", "pod"]).unwrap();
        let Command::Drain(args) = cli.command else {
            panic!("{cli:?}")
        };
        let drain = DrainSettings::new(args, Surroundings::default()).unwrap();
        assert_eq!(
            (drain.timeout, drain.run.lease.manner),
            (Duration::from_secs(90), Manner::Takeover)
        );
        assert_eq!(drain.run.lease.identity, "drain-pod");
        let default = DrainSettings::new(DrainArgs::default(), Surroundings::default()).unwrap();
        assert_eq!(default.timeout, Duration::from_mins(2));
    }

    #[test]
    fn the_command_line_is_sound_and_explains_itself() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        let help = command.render_help().to_string();
        for word in ["little by little", "run", "crd", "drain", "Give all traffic back"] {
            assert!(help.contains(word), "{word} is not in:\n{help}");
        }
        let run = command
            .find_subcommand_mut("run")
            .unwrap()
            .render_help()
            .to_string();
        assert!(run.starts_with("Run the operator"), "{run}");
        assert!(
            run.contains("PROMETHEUS_URL") && !run.to_lowercase().contains("slack_api_token="),
            "{run}"
        );
    }
}
