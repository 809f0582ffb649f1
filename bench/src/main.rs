//! `BirdWatch` beside Flagger and Argo Rollouts: the same work on a real control plane, measured from the outside, and a
//! report of it. The command line; what is measured and how is in docs/performance.md.

mod cluster;
mod contender;
mod error;
mod ground;
mod kubelet;
mod limiter;
mod machine;
mod manifests;
mod meter;
mod number;
mod process;
mod report;
mod results;
mod run;
mod seen;
mod stats;
mod telemetry;
mod workload;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use birdwatch_bed::{operator, tools::Tools};
use clap::{Args, Parser, Subcommand};
use error::Error;
use results::Machine;
use run::Plan;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use workload::Settings;

/// `BirdWatch` beside Flagger and Argo Rollouts.
#[derive(Parser)]
#[command(name = "birdwatch-bench", version)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure what the file of results does not have yet, and add it there.
    Run(RunArgs),
    /// Write tables and plots from a file of results.
    Report(ReportArgs),
}

#[derive(Args)]
struct RunArgs {
    /// The operator's program: a release build, as in its image.
    #[arg(long)]
    birdwatch: PathBuf,
    /// How often everything is done.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Workloads, separated by commas [default: all of them]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Contenders, separated by commas [default: all of them]
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// Where results go, a JSON object a line.
    #[arg(long, default_value = "bench/results.jsonl")]
    results: PathBuf,
    /// Begin a new file of results.
    #[arg(long)]
    fresh: bool,
    /// Seconds that a contender may take in one cell.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Seconds for which costs are measured.
    #[arg(long, default_value_t = 60)]
    window: u64,
}

#[derive(Args)]
struct ReportArgs {
    /// What `run` wrote.
    #[arg(long, default_value = "bench/results.jsonl")]
    results: PathBuf,
    /// The page with marks between which the tables go.
    #[arg(long, default_value = "docs/performance.md")]
    page: PathBuf,
    /// Where the plots go.
    #[arg(long, default_value = "docs/plots")]
    plots: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .compact()
        .init();
    let ended = match Command::parse().verb {
        Verb::Run(args) => measure(&args).await,
        Verb::Report(args) => report::write(&args.results, &args.page, &args.plots).map(|()| 0),
    };
    match ended {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("birdwatch-bench: {failed} cells failed; the same command tries them again");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("birdwatch-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many cells failed.
async fn measure(args: &RunArgs) -> Result<usize, Error> {
    let plan = plan(args)?;
    let birdwatch = program(&args.birdwatch)?;
    let with_rivals = plan.contenders.iter().any(|name| name != "birdwatch");
    let tools = if with_rivals {
        Tools::ensure_with_rivals().await?
    } else {
        Tools::ensure().await?
    };
    if args.fresh && plan.results.exists() {
        fs::remove_file(&plan.results)?;
    }
    let machine = Machine::here(&birdwatch, &tools, with_rivals);
    let settings = Settings {
        tools,
        birdwatch,
        limit: Duration::from_secs(args.limit),
        window: Duration::from_secs(args.window),
    };
    run::run(&plan, &settings, machine).await
}

fn plan(args: &RunArgs) -> Result<Plan, Error> {
    let all = || workload::ALL.map(str::to_owned).to_vec();
    let workloads = if args.only.is_empty() {
        all()
    } else {
        args.only.clone()
    };
    let contenders = if args.contenders.is_empty() {
        contender::NAMES.map(str::to_owned).to_vec()
    } else {
        args.contenders.clone()
    };
    if let Some(unknown) = contenders.iter().find(|name| contender::by_name(name).is_none()) {
        let all = contender::NAMES.join(", ");
        return Err(Error::Asked(format!(
            "{unknown} is no contender; there are {all}"
        )));
    }
    Ok(Plan {
        rounds: args.rounds,
        workloads: workloads
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, _>>()?,
        contenders,
        results: args.results.clone(),
    })
}

/// The operator's program, by its whole path.
fn program(given: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(given)?;
    if path.is_file() {
        return Ok(path);
    }
    let root = operator::root().display();
    Err(Error::Asked(format!(
        "{} is no file: build it first, as `make bench` in {root} does",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }

    #[test]
    fn what_is_asked_for_must_be_there() {
        let read = |more: &[&str]| {
            let words = ["bench", "run", "--birdwatch=/b"].iter().chain(more);
            match Command::parse_from(words).verb {
                Verb::Run(args) => plan(&args),
                Verb::Report(_) => panic!("run was asked for"),
            }
        };
        let plan = read(&["--only=idle-5,fault-3-1s", "--contenders=argo"]).unwrap();
        assert_eq!(
            (plan.workloads.len(), plan.contenders),
            (2, vec!["argo".to_owned()])
        );
        assert_eq!(read(&[]).unwrap().workloads.len(), workload::ALL.len());
        assert!(read(&["--only=nothing"]).is_err());
        assert!(read(&["--contenders=nobody"]).is_err());
    }
}
