//! The operator binary: arguments, crypto provider, run, exit code.

use std::process::ExitCode;

use birdwatch::cli::{self, Cli};
use birdwatch::clients::http::install_crypto_provider;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    install_crypto_provider();
    match cli::main(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("birdwatch: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
