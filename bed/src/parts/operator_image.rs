//! The program behind the operator's image: given by the caller's environment, or built from this very tree.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use serde_json::Value;
use tokio::process::Command;

/// Names the operator's program; without it the program is built.
pub const PROGRAM_ENV: &str = "BIRDWATCH_BIN";

/// Repository of the operator's image on the bed, whatever registry stands before it.
pub const REPOSITORY: &str = "birdwatch";

/// Why there is no operator to run.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// What the environment names is not there.
    #[error("{PROGRAM_ENV} is {}, which is no file", .0.display())]
    Missing(PathBuf),
    /// cargo cannot be run.
    #[error("cannot run cargo to build the operator: {0}")]
    Cargo(#[from] std::io::Error),
    /// It does not build; cargo has said why on standard error.
    #[error("cargo build -p birdwatch: {0}")]
    Build(ExitStatus),
    /// cargo names no program.
    #[error("cargo build -p birdwatch has made no program")]
    NoProgram,
}

/// Path of the operator's program: [`PROGRAM_ENV`], or what `cargo build -p birdwatch` makes now. cargo shows its
/// progress on standard error.
///
/// # Errors
/// When there is no such file or the build fails.
pub async fn program() -> Result<PathBuf, OperatorError> {
    match std::env::var_os(PROGRAM_ENV) {
        Some(given) => existing(given.into()),
        None => build().await,
    }
}

fn existing(given: PathBuf) -> Result<PathBuf, OperatorError> {
    let path = std::path::absolute(&given)?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(OperatorError::Missing(given))
    }
}

async fn build() -> Result<PathBuf, OperatorError> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", "birdwatch", "--bin", "birdwatch"])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(manifest)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        return Err(OperatorError::Build(output.status));
    }
    executable(&output.stdout).ok_or(OperatorError::NoProgram)
}

/// The program that cargo's messages, a JSON object a line, speak of last.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    messages.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_read_from_what_cargo_says() {
        let messages = br#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","target":{"name":"birdwatch"},"executable":"/t/debug/birdwatch"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages), Some("/t/debug/birdwatch".into()));
        assert_eq!(executable(b""), None);
    }

    #[test]
    fn a_given_program_must_be_a_file() {
        assert!(matches!(
            existing("/no/such/birdwatch".into()),
            Err(OperatorError::Missing(_))
        ));
    }
}
