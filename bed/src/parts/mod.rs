//! The parts of the bed that are ours: the node, the service that runs on it, the load, Slack, the manifests.
//! Nothing here starts a control plane; whoever does hands in a client and addresses.

pub mod apps;
pub mod kubelet;
pub mod operator_image;
pub mod prometheus;
pub mod proxy;
pub mod slack;
pub mod traffic;
pub mod workload;

pub(crate) mod http;
mod tls;
