//! The bed's command line; all it does is in the library.

use std::{path::PathBuf, process::ExitCode};

use birdwatch_bed::{demo, tools::Tools, up};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// A real control plane, mesh and Prometheus on this machine, as plain processes on loopback.
#[derive(Parser)]
#[command(name = "bed", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what is missing, start everything, and stay until SIGINT or SIGTERM.
    Up {
        /// Leave the operator out.
        #[arg(long)]
        no_operator: bool,
        /// Where the env file and the logs go.
        #[arg(long, default_value = "target/bed")]
        dir: PathBuf,
    },
    /// Show a good release promoted and a bad one rolled back, then take all down.
    Demo,
    /// Build what is missing, and nothing else.
    Build,
    /// Remove what older versions of this tree have left in the cache.
    CleanUp,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .compact()
        .init();
    match run(Args::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Up { no_operator, dir } => {
            let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
            up::up(&dir, !no_operator, asked_to_end(signals)).await?;
        }
        Command::Demo => demo::demo().await?,
        Command::Build => {
            Tools::ensure().await?;
        }
        Command::CleanUp => {
            for removed in Tools::clean_up().await? {
                println!("removed {}", removed.display());
            }
        }
    }
    Ok(())
}

/// The first signal ends the bed in order; a second one ends it at once, and the guard clears up.
async fn asked_to_end([mut interrupt, mut terminate]: [Signal; 2]) {
    let mut either = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    either().await;
    tokio::spawn(async move {
        either().await;
        std::process::exit(130);
    });
}
