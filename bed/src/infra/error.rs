//! What can go wrong with the infrastructure of a bed.

use std::{io, time::Duration};

use crate::{certs, cluster, part, slot::NoSlot, tools};

/// Why it does not stand, or could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is missing and could not be built.
    #[error(transparent)]
    Tools(#[from] tools::Error),
    /// Too many beds.
    #[error(transparent)]
    Slot(#[from] NoSlot),
    /// A part did not come up.
    #[error(transparent)]
    Part(#[from] part::Error),
    /// Certificates.
    #[error(transparent)]
    Certs(#[from] certs::Error),
    /// The control plane's files.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The API server refused.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The bed's own kubeconfig cannot be read.
    #[error("the bed's kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Envoy did not say what it does.
    #[error("Envoy's admin interface: {0}")]
    Envoy(#[from] reqwest::Error),
    /// Files of the bed.
    #[error("the bed's files: {0}")]
    Files(#[from] io::Error),
    /// kubectl or helm failed.
    #[error("{command} failed:\n{output}")]
    Command {
        /// What was run.
        command: String,
        /// What it wrote to standard error.
        output: String,
    },
    /// Something did not come about in time.
    #[error("not within {} s: {what}", limit.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
}
