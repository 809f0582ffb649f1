//! The command line: what the user typed, the settings that follow from it, and what each command does.

pub mod args;
pub mod crd;
mod given;
pub mod reference;
pub mod settings;

use clap::{Parser, Subcommand};

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
}
