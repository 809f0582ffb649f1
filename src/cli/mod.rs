//! The command line: what the user typed, the settings that follow from it, and what each command does.

pub mod args;
pub mod backtest;
mod controllers;
pub mod crd;
pub mod drain;
mod given;
mod parts;
mod progress;
pub mod reference;
pub mod run;
pub mod settings;
pub mod simulate;

use std::io::Write;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::clients::http::ClientError;
use crate::clients::prometheus::ConfigError;
use crate::clients::slack::BadBaseUrl;
use crate::controller::watch::Ended;
use crate::runtime::admin::AdminError;
use crate::runtime::lease::LeaseError;
use crate::runtime::shutdown::ShutdownError;
use crate::runtime::telemetry::TelemetryError;

use settings::{DrainSettings, Settings, Surroundings};

/// Releases new versions of services little by little, on evidence.
#[derive(Debug, Parser)]
#[command(name = "birdwatch", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(args::RunArgs),
    /// Print the custom resource definition as YAML.
    Crd,
    /// Give all traffic back and remove the finalizers, as before an uninstall. Takes the lease from a running operator.
    Drain(args::DrainArgs),
    /// Show how often and how soon a policy would find a bad version, from assumed traffic. Needs no cluster.
    Simulate(simulate::args::SimulateArgs),
    /// Replay a policy over the past that a Prometheus knows: false alarms, faults found, people who met them.
    Backtest(backtest::args::BacktestArgs),
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A flag or variable cannot be used.
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    /// Logs cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    File {
        /// Its path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The list of Prometheus servers cannot be used.
    #[error(transparent)]
    Prometheus(#[from] ConfigError),
    /// No HTTP client for Slack can be made.
    #[error(transparent)]
    Http(#[from] ClientError),
    /// Slack's URL cannot be used.
    #[error("--slack-url: {0}")]
    Slack(#[from] BadBaseUrl),
    /// There is no cluster to speak to.
    #[error("no API server: {0}; run in a cluster, or set KUBECONFIG")]
    NoCluster(#[from] kube::config::InferConfigError),
    /// No client for the API server can be made.
    #[error("no client for the API server: {0}")]
    Client(#[from] kube::Error),
    /// The admin server does not serve.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The system refuses something.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// Leadership was lost.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A watch ended.
    #[error(transparent)]
    Watch(#[from] Ended),
    /// The parts did not stop in order.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// A part ended that runs as long as the process.
    #[error("{0} ended; this is a bug in the operator")]
    Part(&'static str),
    /// Something is left after a drain.
    #[error("{} BirdWatches still hold traffic or a finalizer after {after:?}: {}", .left.len(), .left.join("; "))]
    NotDrained {
        /// Which, and why.
        left: Vec<String>,
        /// The time limit.
        after: Duration,
    },
    /// The time was over before anything could be looked at.
    #[error("not ready within {after:?}: {why}")]
    NotReady {
        /// The time limit.
        after: Duration,
        /// What was waited for.
        why: String,
    },
    /// Nothing was simulated.
    #[error(transparent)]
    Simulate(#[from] simulate::SimulateError),
    /// Nothing was replayed.
    #[error(transparent)]
    Backtest(#[from] backtest::BacktestError),
    /// A signal came first.
    #[error("stopped by a signal")]
    Stopped,
}

impl Command {
    /// The process's exit code where the command did not do what it was asked for: 2 for a backtest, of which 1 might be
    /// taken for a finding, else 1.
    #[must_use]
    pub const fn failure(&self) -> u8 {
        match self {
            Self::Backtest(_) => 2,
            Self::Run(_) | Self::Crd | Self::Drain(_) | Self::Simulate(_) => 1,
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// [`CommandError`], to be shown to the user; the process exits with a code that is not 0.
pub fn main(cli: Cli) -> Result<(), CommandError> {
    let runtime = || {
        tokio::runtime::Runtime::new().map_err(|source| CommandError::System {
            what: "threads",
            source,
        })
    };
    match cli.command {
        Command::Crd => {
            // A pipe that is closed early (`| head`) is no error.
            let _ = std::io::stdout().write_all(crd::yaml().as_bytes());
            Ok(())
        }
        Command::Run(args) => runtime()?.block_on(run::run(Settings::new(args, Surroundings::read())?)),
        Command::Drain(args) => {
            runtime()?.block_on(drain::drain(DrainSettings::new(args, Surroundings::read())?))
        }
        Command::Simulate(args) => {
            let settings = simulate::settings::SimulateSettings::new(args)?;
            Ok(simulate::simulate(&settings)?)
        }
        Command::Backtest(args) => {
            let settings = backtest::settings::BacktestSettings::new(args)?;
            Ok(backtest::backtest(&settings, &runtime()?)?)
        }
    }
}
