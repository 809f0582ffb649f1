//! What can go wrong with a cell, and that it came to its limit.

use std::io;

use birdwatch_bed::{infra, process, tools};

/// Why a cell has no result, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The programs are not to be had.
    #[error(transparent)]
    Tools(#[from] tools::Error),
    /// The control plane.
    #[error(transparent)]
    Infra(#[from] infra::Error),
    /// The contender's process.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The API server refused.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// A kubeconfig of our own cannot be used.
    #[error("a kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Files, sockets, `/proc`.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A contender's process has ended.
    #[error("{contender} ended ({status}); the end of its log:\n{tail}")]
    Ended {
        /// Who.
        contender: String,
        /// How.
        status: std::process::ExitStatus,
        /// What it said last.
        tail: String,
    },
    /// It took longer than a cell may. No failure: it is recorded where the cell stopped.
    #[error("stopped at the limit: {0}")]
    Limit(String),
    /// What was asked for on the command line is not there.
    #[error("{0}")]
    Asked(String),
}
