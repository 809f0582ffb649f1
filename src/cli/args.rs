//! What the user typed, unchecked: flags and their environment variables. Everything is optional text here; meaning,
//! defaults and ranges are in `settings`. An empty value is as none, because charts render empty values.
#![expect(
    clippy::doc_markdown,
    reason = "the docs of the fields are the text of --help"
)]
#![allow(rustdoc::bare_urls, reason = "the same")]

use clap::Args;

/// Flags of `birdwatch run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub prometheus: PrometheusArgs,
    /// Whom to tell.
    #[command(flatten)]
    pub slack: SlackArgs,
    /// What to know of the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How replicas agree who acts.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// How the process behaves.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// Whom to ask.
#[derive(Args, Clone, Debug, Default)]
pub struct PrometheusArgs {
    /// URL of the Prometheus to ask [default: http://prometheus.istio-system:9090]
    #[arg(long, env = "PROMETHEUS_URL", value_name = "URL", hide_env_values = true)]
    pub prometheus_url: Option<String>,

    /// YAML file with a list of named Prometheus servers; the first is the default one. Instead of --prometheus-url
    #[arg(long, env = "PROMETHEUS_SERVERS_FILE", value_name = "FILE")]
    pub prometheus_servers_file: Option<String>,

    /// Longest time that one query may take [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub query_timeout: Option<String>,
}

/// Whom to tell. The token comes by environment only (SLACK_API_TOKEN): others can read the arguments of a
/// process.
#[derive(Args, Clone, Debug, Default)]
pub struct SlackArgs {
    /// Slack channel for notices, unless a BirdWatch names another [default: deployment]
    #[arg(long, env = "SLACK_CHANNEL", value_name = "CHANNEL")]
    pub slack_channel: Option<String>,

    /// Channels that a BirdWatch may name, separated by commas [default: only --slack-channel]
    #[arg(long, env = "SLACK_ALLOWED_CHANNELS", value_name = "CHANNELS")]
    pub slack_allowed_channels: Option<String>,

    /// Base URL of Slack's API [default: https://slack.com/api]
    #[arg(long, env = "SLACK_URL", value_name = "URL")]
    pub slack_url: Option<String>,

    /// Which notices to send: steps, ends or off [default: steps]
    #[arg(long, env = "NOTIFY_LEVEL", value_name = "LEVEL")]
    pub notify_level: Option<String>,
}

/// What to know of the cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// Namespaces to watch, separated by commas [default: all]
    #[arg(long, env = "WATCH_NAMESPACES", value_name = "NAMESPACES")]
    pub namespaces: Option<String>,

    /// How often Prometheus scrapes the mesh [default: 15s]
    #[arg(long, env = "SCRAPE_INTERVAL", value_name = "DURATION")]
    pub scrape_interval: Option<String>,

    /// How long istiod and the proxies need to learn of a change [default: 5s]
    #[arg(long, env = "PROPAGATION_DELAY", value_name = "DURATION")]
    pub propagation_delay: Option<String>,

    /// DNS domain of the cluster [default: cluster.local]
    #[arg(long, env = "CLUSTER_DOMAIN", value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,

    /// PEM file with further certificate authorities to trust, for Prometheus and Slack
    #[arg(long, env = "CA_FILE", value_name = "FILE")]
    pub ca_file: Option<String>,
}

/// How replicas agree who acts.
#[derive(Args, Clone, Debug, Default)]
pub struct LeaseArgs {
    /// Name of the Lease by which replicas agree who acts [default: birdwatch]
    #[arg(long, env = "LEASE_NAME", value_name = "NAME")]
    pub lease_name: Option<String>,

    /// Namespace of the Lease [default: default]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// How long another replica waits for a silent leader, at least 2s [default: 15s]
    #[arg(long, env = "LEASE_DURATION", value_name = "DURATION")]
    pub lease_duration: Option<String>,

    /// How many shards namespaces are split into, 1 to 64, each with a Lease of its own: replicas share the work [default: 1]
    #[arg(long, env = "SHARDS", value_name = "NUMBER")]
    pub shards: Option<String>,

    /// Name of this replica in the Lease, different for each [default: the host's name and a random suffix]
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,
}

/// How the process behaves.
#[derive(Args, Clone, Debug, Default)]
pub struct ProcessArgs {
    /// Address for /healthz, /readyz and /metrics [default: 0.0.0.0]
    #[arg(long, env = "ADMIN_ADDRESS", value_name = "ADDRESS")]
    pub admin_address: Option<String>,

    /// Port for /healthz, /readyz and /metrics; 0 is any free one [default: 8080]
    #[arg(long, env = "ADMIN_PORT", value_name = "PORT")]
    pub admin_port: Option<String>,

    /// How log lines look: text or json [default: text]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// How many BirdWatches are reconciled at the same time [default: 64]
    #[arg(long, value_name = "NUMBER")]
    pub concurrency: Option<String>,
}

/// Flags of `birdwatch drain`: those of `run`, so that the same environment serves both, and a time limit.
#[derive(Args, Clone, Debug, Default)]
pub struct DrainArgs {
    /// The settings of the operator that is drained.
    #[command(flatten)]
    pub run: RunArgs,

    /// Give up after this long [default: 2m]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
}

/// Flags of `birdwatch check`.
#[derive(Args, Clone, Debug, Default)]
pub struct CheckArgs {
    /// A file of YAML documents with the BirdWatch ("-": standard input), or the name of a BirdWatch in the cluster
    #[arg(value_name = "FILE|NAME")]
    pub subject: String,

    /// A further file with objects to look at; may be given several times
    #[arg(long, value_name = "FILE")]
    pub file: Vec<String>,

    /// Look into the cluster for what is not in the files; a name implies it
    #[arg(long)]
    pub cluster: bool,

    /// The namespace of what has none [default: the cluster's as kubectl knows it; without a cluster, default]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// URL of the Prometheus to ask [default: none is asked]
    #[arg(long, env = "PROMETHEUS_URL", value_name = "URL", hide_env_values = true)]
    pub prometheus: Option<String>,

    /// YAML file with a list of named Prometheus servers, as for the operator; the one that the BirdWatch names, or the
    /// first. Instead of --prometheus
    #[arg(long, env = "PROMETHEUS_SERVERS_FILE", value_name = "FILE")]
    pub prometheus_servers_file: Option<String>,

    /// How often Prometheus scrapes the mesh [default: 15s]
    #[arg(long, env = "SCRAPE_INTERVAL", value_name = "DURATION")]
    pub scrape_interval: Option<String>,

    /// How long a change of weight takes to be known everywhere in the mesh [default: 5s]
    #[arg(long, env = "PROPAGATION_DELAY", value_name = "DURATION")]
    pub propagation_delay: Option<String>,

    /// DNS domain of the cluster [default: cluster.local]
    #[arg(long, env = "CLUSTER_DOMAIN", value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,

    /// PEM file with further certificate authorities to trust, for Prometheus
    #[arg(long, env = "CA_FILE", value_name = "FILE")]
    pub ca_file: Option<String>,

    /// The operator's service account, whose rights are looked at [default: birdwatch/birdwatch]
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub as_operator: Option<String>,

    /// How to show what was found: text or json [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
}
