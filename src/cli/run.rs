//! `birdwatch run`: the operator, from its settings to its orderly end.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all, pending, select_all};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::runtime::admin::{AdminServer, Health};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown::{Sequence, Signals};

use super::CommandError;
use super::controllers::Controllers;
use super::parts::{Background, Parts, look_at_prometheus, set_up_logs};
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
        electors,
        seats,
        servers,
        answers,
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
        ready: electors.ready(),
        seats,
        answers,
        health,
        concurrency: settings.process.concurrency,
    };
    let mut running = Running {
        controllers: Part::start(|stop| control(controllers, stop)),
        lease: Part::start(|stop| electors.run(stop)),
        admin: Part::start(|stop| admin.serve(stop)),
        background,
    };
    running.until(&signals.stop).await?;
    let Running {
        controllers,
        lease,
        admin,
        background,
    } = running;
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

/// Everything that runs as long as the process: where one ends, nothing is right any more.
struct Running {
    controllers: Part,
    lease: Part,
    admin: Part,
    background: Vec<Background>,
}

impl Running {
    /// Waits until it is to stop, or until a part ends before that: an error.
    async fn until(&mut self, stop: &CancellationToken) -> Result<(), CommandError> {
        let Self {
            controllers,
            lease,
            admin,
            background,
        } = self;
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = &mut controllers.ended => ended.and(Err(CommandError::Part("the controller"))),
            ended = &mut lease.ended => ended.and(Err(CommandError::Part("leader election"))),
            ended = &mut admin.ended => ended.and(Err(CommandError::Part("the admin server"))),
            name = first_ended(background) => Err(CommandError::Part(name)),
        }
    }
}

/// The name of what ends first in the background.
async fn first_ended(background: &mut [Background]) -> &'static str {
    if background.is_empty() {
        return pending().await;
    }
    let all = background.iter_mut().map(|one| Box::pin(one.ended()));
    select_all(all).await.0
}

/// What was handed over before the last reconcile is still published, if that is soon done.
async fn last_words(mut background: Vec<Background>) {
    let all = background.iter_mut().map(Background::ended);
    if timeout(LAST_WORDS, join_all(all)).await.is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn running(background: Vec<Background>) -> Running {
        let part = || Part::start(|_| pending::<Result<(), CommandError>>());
        Running {
            controllers: part(),
            lease: part(),
            admin: part(),
            background,
        }
    }

    #[tokio::test]
    async fn the_process_ends_with_whatever_ends_or_panics_in_the_background_and_names_it() {
        let well = || Background::start("well", pending());
        let ended = Background::start("the one that ended", async {});
        let panicked = Background::start("the one that panicked", async { panic!("on purpose") });
        for (sick, name) in [(ended, "the one that ended"), (panicked, "the one that panicked")] {
            let mut running = running(vec![well(), sick]);
            let never = CancellationToken::new();
            let until = timeout(Duration::from_secs(5), running.until(&never)).await;
            let error = until.expect("it is noticed").unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[tokio::test]
    async fn a_signal_is_waited_for_as_long_as_everything_runs() {
        let mut running = running(vec![Background::start("well", pending())]);
        let stop = CancellationToken::new();
        let soon = Duration::from_millis(50);
        assert!(timeout(soon, running.until(&stop)).await.is_err());
        stop.cancel();
        assert!(running.until(&stop).await.is_ok());
    }
}
