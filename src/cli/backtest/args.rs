//! Flags of `birdwatch backtest`, unchecked, as in [`crate::cli::args`].
#![expect(
    clippy::doc_markdown,
    reason = "the docs of the fields are the text of --help"
)]

use clap::Args;

/// Flags of `birdwatch backtest`.
#[derive(Args, Clone, Debug, Default)]
pub struct BacktestArgs {
    /// YAML file with a BirdWatch (- is standard input), or the name of one in the cluster, as NAME or NAMESPACE/NAME
    #[arg(value_name = "FILE|NAME")]
    pub what: String,

    /// The BirdWatch to take, where the file has several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Namespace of the service [default: the one in the file, or default]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// URL of the Prometheus that knows the past
    #[arg(long, env = "PROMETHEUS_URL", value_name = "URL", hide_env_values = true)]
    pub prometheus: Option<String>,

    /// YAML file with a list of named Prometheus servers, as for the operator; the one that the BirdWatch names, or the
    /// first. Instead of --prometheus
    #[arg(long, env = "PROMETHEUS_SERVERS_FILE", value_name = "FILE")]
    pub prometheus_servers_file: Option<String>,

    /// The version in production [default: what the DestinationRule says, in the file or in the cluster]
    #[arg(long, value_name = "VERSION")]
    pub production: Option<String>,

    /// How far to look back, as in 36h or 7d [default: 7d]
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,

    /// Where the past ends, as in 2026-11-21T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// Random starts of rollouts for each policy and fault, 1 to 10000 [default: 200]
    #[arg(long, value_name = "NUMBER")]
    pub starts: Option<String>,

    /// Where random numbers begin: the same seed and the same past give the same result [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<String>,

    /// Who plays the canary: share (each of production's requests with the probability of the weight) or pod (some of its
    /// pods, picked at random) [default: share]
    #[arg(long, value_name = "PLAYER")]
    pub canary: Option<String>,

    /// Parts of the canary's good requests to turn bad, separated by commas [default: 0.2%,0.5%,1%,5%,20%]
    #[arg(long, value_name = "SHARES")]
    pub faults: Option<String>,

    /// Do not compare with what a service name alone asks for
    #[arg(long)]
    pub no_default: bool,

    /// Do not look for a better policy
    #[arg(long)]
    pub no_search: bool,

    /// Deviations to search in, in the unit (or percent) of the first metric with one [default: half to twice of it]
    #[arg(long, value_name = "FROM..TO")]
    pub deviation: Option<String>,

    /// Holds to search in [default: 30s..10m]
    #[arg(long, value_name = "FROM..TO")]
    pub hold: Option<String>,

    /// First weights to search in, percent [default: 1..20]
    #[arg(long, value_name = "FROM..TO")]
    pub first_weight: Option<String>,

    /// Numbers of steps to search in [default: 3..8]
    #[arg(long, value_name = "FROM..TO")]
    pub steps: Option<String>,

    /// How often Prometheus scrapes [default: as its samples show]
    #[arg(long, value_name = "DURATION")]
    pub scrape_interval: Option<String>,

    /// Queries under way at the same time, 1 to 64 [default: 4]
    #[arg(long, value_name = "NUMBER")]
    pub max_queries: Option<String>,

    /// Longest time that one query may take [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub query_timeout: Option<String>,

    /// text, json or html (one file with all plots) [default: by the name of --out, or text]
    #[arg(long, value_name = "FORMAT")]
    pub output: Option<String>,

    /// File to write to [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<String>,
}
