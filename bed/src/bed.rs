//! One bed: the infrastructure, and the parts that are ours on it, the node and Slack.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::{Path, PathBuf},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    Infra, infra, operator,
    parts::{
        kubelet::{Images, Kubelet, KubeletConfig, KubeletError},
        operator_image::{self, OperatorError},
        slack::{Slack, SlackError},
    },
};

/// The name of the bed's only node.
pub const NODE: &str = "bed";

/// Why there is no bed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it stands on.
    #[error(transparent)]
    Infra(#[from] infra::Error),
    /// The node.
    #[error(transparent)]
    Kubelet(#[from] KubeletError),
    /// The operator's program.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Slack's stand-in.
    #[error(transparent)]
    Slack(#[from] SlackError),
    /// Slack's stand-in has no runtime.
    #[error("cannot start the Slack stand-in: {0}")]
    Runtime(#[from] io::Error),
    /// Slack's stand-in panicked.
    #[error("the Slack stand-in gave up: {0}")]
    Panic(#[from] tokio::task::JoinError),
    /// A program of this tree was not built.
    #[error("the program {0} is not built: run `cargo build --workspace --bins`")]
    NotBuilt(&'static str),
}

/// How a bed is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where its data, logs and configuration go; kept at the end, emptied at the start. `None`: a temporary
    /// directory, removed at the end.
    pub run_dir: Option<PathBuf>,
    /// Install the operator's chart and wait until it is available.
    pub operator: bool,
    /// The program behind the operator's image. `None`: where the operator is asked for, what
    /// [`operator_image::program`] finds or builds; else there is no such image.
    pub operator_binary: Option<PathBuf>,
    /// The program behind the workload's image. `None`: `workload`, beside the running program.
    pub workload_binary: Option<PathBuf>,
}

/// A running bed. Dropped, all of it ends; killed with its process, too. What it stands on ([`Infra`]) is reached
/// through it: `bed.client()`, `bed.prometheus.stop()`.
#[derive(Debug)]
pub struct Bed {
    // Ends in this order.
    /// The node.
    pub kubelet: Kubelet,
    /// The Slack stand-in, which takes [`operator::SLACK_TOKEN`].
    pub slack: Slack,
    _slack_runtime: Background,
    infra: Infra,
}

impl Bed {
    /// Starts a bed and returns when every part is ready; see [`Infra::start`].
    pub async fn start(options: Options) -> Result<Self, Error> {
        let images = images(&options).await?;
        let infra = Infra::start(options.run_dir).await?;
        let slack_runtime = Background::new()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, infra.slack_port()));
        let slack = slack_runtime
            .run(async move { Slack::start(address, operator::SLACK_TOKEN).await })
            .await??;
        let kubelet = Kubelet::start(KubeletConfig {
            node: NODE.into(),
            kubeconfig: infra.kubeconfig_of("kubelet"),
            pod_net: infra.pod_net(),
            run_dir: infra.dir().to_owned(),
            images,
        })
        .await?;
        let bed = Self {
            kubelet,
            slack,
            _slack_runtime: slack_runtime,
            infra,
        };
        if options.operator {
            bed.install_operator(&[]).await?;
        }
        Ok(bed)
    }

    /// Ends everything in order; pods get two seconds. Dropping the bed kills the pods, and blocks its thread for a
    /// moment.
    pub async fn stop(self) {
        let Self {
            kubelet,
            slack,
            _slack_runtime,
            infra,
        } = self;
        kubelet.shutdown().await;
        drop(slack);
        infra.stop().await;
    }
}

impl Deref for Bed {
    type Target = Infra;

    fn deref(&self) -> &Infra {
        &self.infra
    }
}

/// The programs of this tree that pods may run.
async fn images(options: &Options) -> Result<Images, Error> {
    let workload = options.workload_binary.clone().or_else(|| beside("workload"));
    let images = Images::new(workload.ok_or(Error::NotBuilt("workload"))?);
    let operator = match &options.operator_binary {
        Some(given) => given.clone(),
        None if options.operator => operator_image::program().await?,
        None => return Ok(images),
    };
    Ok(images.with(operator_image::REPOSITORY, operator))
}

/// A program that cargo put beside the running one, or above it when that is a test.
fn beside(name: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    exe.ancestors()
        .skip(1)
        .take(2)
        .map(|dir: &Path| dir.join(name))
        .find(|path| path.is_file())
}

/// An async runtime that is not the caller's: a bed outlives the runtime of the test that started it.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl Background {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("slack")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        match &self.0 {
            Some(runtime) => runtime.spawn(task).await,
            None => Ok(task.await),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A runtime must not be dropped, which waits, where an async task runs.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
