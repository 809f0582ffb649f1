//! `birdwatch run`: the operator, from its settings to its orderly end.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::runtime::admin::{AdminServer, Health};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown::{Sequence, Signals};

use super::CommandError;
use super::controllers::Controllers;
use super::parts::{Parts, look_at_prometheus, set_up_logs};
use super::settings::Settings;

/// How long all parts together may take to stop.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// How long Events and a call of Slack under way may take besides.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How often the controllers say that they are alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Something that runs as long as the process.
struct Part {
    stop: CancellationToken,
    ended: BoxFuture<'static, Result<(), CommandError>>,
}

impl Part {
    /// Starts it in a task of its own: a part that works hard must not keep the lease from being renewed.
    fn start<W, E>(work: impl FnOnce(CancellationToken) -> W) -> Self
    where
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<CommandError> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(work(stop.clone())));
        let ended = async {
            task.await
                .map_err(|_| CommandError::Part("a task"))?
                .map_err(Into::into)
        };
        Self {
            stop,
            ended: ended.boxed(),
        }
    }

    /// Says what went wrong on the way out.
    async fn log(self) {
        if let Err(error) = self.ended.await {
            tracing::warn!(%error, "on the way out");
        }
    }
}

/// Runs the operator until a signal, or until it must not go on.
///
/// # Errors
/// Why it could not start, or had to end.
pub async fn run(settings: Settings) -> Result<(), CommandError> {
    set_up_logs(&settings)?;
    let signals = Signals::listen().map_err(|source| CommandError::System {
        what: "signal handlers",
        source,
    })?;
    let (clock, metrics) = (Clock::real(), Metrics::new());
    let health = Health::new(clock.clone());
    let admin = AdminServer::bind(settings.process.admin, health.clone(), metrics.clone()).await?;
    let Parts {
        context,
        elector,
        leadership,
        servers,
        acks,
        background,
    } = Parts::new(&settings, &clock, &metrics, false).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = settings.lease.identity,
        "starting"
    );

    let _at_start = AbortOnDropHandle::new(tokio::spawn(look_at_prometheus(servers, metrics)));
    let controllers = Controllers {
        context,
        namespaces: settings.cluster.namespaces.clone(),
        leadership,
        acks,
        health,
        concurrency: settings.process.concurrency,
    };
    let mut controllers = Part::start(|stop| control(controllers, stop));
    let mut lease = Part::start(|stop| elector.run(stop));
    let mut admin = Part::start(|stop| admin.serve(stop));
    tokio::select! {
        biased;
        () = signals.stop.cancelled() => {}
        ended = &mut controllers.ended => return ended.and(Err(CommandError::Part("the controller"))),
        ended = &mut lease.ended => return ended.and(Err(CommandError::Part("leader election"))),
        ended = &mut admin.ended => return ended.and(Err(CommandError::Part("the admin server"))),
    }
    Sequence::new()
        .then("reconciles", controllers.stop.clone(), controllers.log())
        .then("lease", lease.stop.clone(), lease.log())
        .then("background", CancellationToken::new(), last_words(background))
        .then("admin server", admin.stop.clone(), admin.log())
        .run(SHUTDOWN, &signals.abort)
        .await?;
    tracing::info!("stopped");
    Ok(())
}

/// What was handed over before the last reconcile is still published, if that is soon done.
async fn last_words(background: Vec<AbortOnDropHandle<()>>) {
    if timeout(LAST_WORDS, join_all(background)).await.is_err() {
        tracing::warn!("some Events were not published any more");
    }
}

/// The controllers, once there is something to control.
async fn control(controllers: Controllers, stop: CancellationToken) -> Result<(), CommandError> {
    let heartbeat = controllers.health.heartbeat("controller", HEARTBEAT);
    let work = async {
        match controllers.prepare(&stop).await {
            Some(prepared) => controllers.run(prepared, stop).await,
            None => Ok(()),
        }
    };
    heartbeat.during(work).await
}
