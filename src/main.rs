//! The operator binary: arguments, crypto provider, run, exit code.

use std::process::ExitCode;

use birdwatch::cli::{self, Cli};
use birdwatch::clients::http::install_crypto_provider;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    install_crypto_provider();
    let failure = cli.command.failure();
    match cli::main(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("birdwatch: {error}");
            ExitCode::from(failure)
        }
    }
}
