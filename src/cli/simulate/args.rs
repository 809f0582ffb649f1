//! Flags of `birdwatch simulate`, unchecked, as in [`crate::cli::args`].
#![expect(
    clippy::doc_markdown,
    reason = "the docs of the fields are the text of --help"
)]

use clap::Args;

/// Flags of `birdwatch simulate`.
#[derive(Args, Clone, Debug, Default)]
pub struct SimulateArgs {
    /// YAML file with a BirdWatch, other objects beside it are passed over; - is standard input
    #[arg(value_name = "FILE")]
    pub file: String,

    /// The BirdWatch to take, where the file has several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Requests per second to both versions together, up to 10000000 [default: 10]
    #[arg(long, value_name = "NUMBER")]
    pub rps: Option<String>,

    /// Production's share of bad requests, as 0.001 or 0.1% [default: 0.001]
    #[arg(long, value_name = "SHARE")]
    pub production_bad: Option<String>,

    /// Shares of bad requests to try on the canary, separated by commas; production's own, and the largest that is
    /// tolerated, are tried besides [default: 0.002,0.005,0.02,0.2]
    #[arg(long, value_name = "SHARES")]
    pub canary_bad: Option<String>,

    /// How many times production's share of bad requests the canary's may be, 1 to 100 [default: 1.5]
    #[arg(long, value_name = "RATIO")]
    pub tolerance: Option<String>,

    /// The most false alarms, 0.000001 to 0.2 or in percent, of rollouts of healthy versions [default: 0.01]
    #[arg(long, value_name = "SHARE")]
    pub false_alarm: Option<String>,

    /// Further checks at the limit before the canary is unhealthy, 0 to 100; the operator asks for 2 where the two versions
    /// are not counted by the same exporter [default: 0]
    #[arg(long, value_name = "NUMBER")]
    pub confirmations: Option<String>,

    /// What evidence is divided by, as errors come in clumps, 1 to 1000; the operator learns it from ten minutes of production's
    /// pods, and where errors are independent finds some 1.35 with 3 pods, 1.2 with 10 and 1.1 with 30 [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub dispersion: Option<String>,

    /// How often Prometheus scrapes, which every step has to wait for [default: 15s]
    #[arg(long, value_name = "DURATION")]
    pub scrape_interval: Option<String>,

    /// How long a change of weight takes to be known everywhere in the mesh [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub propagation_delay: Option<String>,

    /// Rollouts to simulate for each canary, 1 to 1000000 [default: 2000]
    #[arg(long, value_name = "NUMBER")]
    pub runs: Option<String>,

    /// Where random numbers begin: the same seed gives the same result [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<String>,

    /// text, json, html (one file with all plots) or svg (one plot) [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub output: Option<String>,

    /// With --output svg: detection, evidence, sight or errors [default: detection]
    #[arg(long, value_name = "PLOT")]
    pub plot: Option<String>,

    /// File to write to [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<String>,
}
