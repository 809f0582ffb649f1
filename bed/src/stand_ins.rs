//! Starts the parts of the bed that are ours and run inside its process: the Slack stand-in and the node.
//! They have an async runtime of their own, since a bed outlives the runtime of the test that started it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    operator,
    parts::slack::{Slack, SlackError},
};

/// Why a stand-in did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No runtime for them.
    #[error("cannot start the stand-ins: {0}")]
    Runtime(#[from] io::Error),
    /// Slack's.
    #[error(transparent)]
    Slack(#[from] SlackError),
    /// One of them panicked.
    #[error("a stand-in gave up: {0}")]
    Panic(#[from] tokio::task::JoinError),
}

/// The stand-ins of one bed; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct StandIns {
    pub(crate) slack: Slack,
    runtime: Option<Runtime>,
}

impl StandIns {
    pub(crate) async fn start(slack_port: u16) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("stand-ins")
            .enable_all()
            .build()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, slack_port));
        let slack = runtime
            .spawn(async move { Slack::start(address, operator::SLACK_TOKEN).await })
            .await;
        match slack.map_err(Error::from).and_then(|slack| Ok(slack?)) {
            Ok(slack) => Ok(Self {
                slack,
                runtime: Some(runtime),
            }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        // A runtime must not be dropped, which waits, where an async task runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
