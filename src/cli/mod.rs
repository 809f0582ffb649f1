//! The command line: what the user typed, the settings that follow from it, and what each command does.

pub mod args;
pub mod backtest;
pub mod check;
mod controllers;
pub mod crd;
pub mod drain;
mod given;
mod manifest;
mod parts;
mod progress;
pub mod reference;
pub mod run;
pub mod settings;
pub mod simulate;

use std::io::Write;
use std::process::ExitCode;
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
    /// Find what is wrong before traffic moves, in files or in a cluster.
    ///
    /// Exit codes: 0 nothing to warn of, 1 findings, 2 it could not be checked.
    Check(args::CheckArgs),
    /// Give all traffic back and remove the finalizers, as before an uninstall. Takes the lease from a running operator.
    Drain(args::DrainArgs),
    /// Show how often and how soon a policy would find a bad version, from assumed traffic. Needs no cluster.
    ///
    /// Exit codes: 0 it was simulated, 2 it could not be.
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
    /// Nothing could be checked.
    #[error(transparent)]
    Check(#[from] check::CheckError),
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

impl CommandError {
    /// The code that the process exits with: 2 where the command's 1 might be taken for a finding.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Check(_) => check::COULD_NOT_CHECK,
            Self::Backtest(_) => backtest::COULD_NOT_REPLAY,
            Self::Simulate(_) => simulate::COULD_NOT_SIMULATE,
            _ => 1,
        }
    }
}

/// Does what the command line says, and says what the process exits with.
///
/// # Errors
/// [`CommandError`], to be shown to the user; the process exits with its code, which is not 0.
pub fn main(cli: Cli) -> Result<ExitCode, CommandError> {
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
        }
        Command::Check(args) => {
            let settings = check::CheckSettings::new(args).map_err(check::CheckError::from)?;
            return Ok(runtime()?.block_on(check::check(settings))?);
        }
        Command::Run(args) => {
            runtime()?.block_on(run::run(Settings::new(args, Surroundings::read())?))?;
        }
        Command::Drain(args) => {
            runtime()?.block_on(drain::drain(DrainSettings::new(args, Surroundings::read())?))?;
        }
        Command::Simulate(args) => {
            let settings =
                simulate::settings::SimulateSettings::new(args).map_err(simulate::SimulateError::from)?;
            simulate::simulate(&settings)?;
        }
        Command::Backtest(args) => {
            let settings =
                backtest::settings::BacktestSettings::new(args).map_err(backtest::BacktestError::from)?;
            backtest::backtest(&settings, &runtime()?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory};

    use super::*;

    /// Words of a flag that takes a secret.
    const OF_SECRETS: [&str; 7] = [
        "token",
        "passw",
        "secret",
        "credential",
        "bearer",
        "header",
        "key",
    ];

    /// Everything by which an argument says what it takes, in lower case.
    fn words(arg: &Arg) -> String {
        let mut words = vec![arg.get_id().to_string()];
        words.extend(arg.get_long().map(str::to_owned));
        words.extend(arg.get_env().map(|env| env.to_string_lossy().into_owned()));
        words.extend(
            arg.get_value_names()
                .into_iter()
                .flatten()
                .map(ToString::to_string),
        );
        let help = [arg.get_help(), arg.get_long_help()];
        words.extend(help.into_iter().flatten().map(ToString::to_string));
        words.join(" ").to_lowercase()
    }

    /// Others can read the arguments of a process. Slack's token has a variable alone, that belongs to no argument.
    #[test]
    fn no_flag_asks_for_a_secret() {
        let cli = Cli::command();
        let mut looked_at = 0;
        for command in cli.get_subcommands() {
            for arg in command.get_arguments() {
                let words = words(arg);
                let found = OF_SECRETS.iter().find(|secret| words.contains(**secret));
                assert_eq!(found, None, "{}: {words}", command.get_name());
                looked_at += 1;
            }
        }
        assert!(looked_at > 50, "only {looked_at} arguments were looked at");
    }
}
