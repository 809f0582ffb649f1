//! `birdwatch run`: the operator, from its settings to its orderly end.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt, TryFutureExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::controller::{Prepared, Scope, await_istio, deliver, prepare};
use crate::runtime::admin::{AdminServer, Health};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown::{Sequence, Signals};

use super::CommandError;
use super::parts::{Parts, look_at_prometheus, set_up_logs};
use super::settings::Settings;

/// How long all parts together may take to stop.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// How often the controllers say that they are alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Something that runs as long as the process.
type Part = BoxFuture<'static, Result<(), CommandError>>;

/// Runs the operator until a signal, or until it must not go on.
///
/// # Errors
/// Why it could not start, or had to end.
pub async fn run(settings: Settings) -> Result<(), CommandError> {
    set_up_logs(&settings)?;
    let signals = Signals::listen().map_err(|source| CommandError::System { what: "signal handlers", source })?;
    let (clock, metrics) = (Clock::real(), Metrics::new());
    let health = Health::new(clock.clone());
    let admin = AdminServer::bind(settings.process.admin, health.clone(), metrics.clone()).await?;
    let parts = Parts::new(&settings, &clock, &metrics, false).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), identity = settings.lease.identity, "starting");

    let _at_start = AbortOnDropHandle::new(tokio::spawn(look_at_prometheus(parts.servers.clone(), metrics)));
    let (stop_controllers, stop_lease, stop_admin) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let _background = parts.background;
    let controllers = Controllers {
        context: parts.context,
        namespaces: settings.cluster.namespaces.clone(),
        leadership: parts.leadership,
        acks: parts.acks,
        health,
        concurrency: settings.process.concurrency,
    };
    let mut controllers: Part = controllers.run(stop_controllers.clone()).boxed();
    let mut lease: Part = parts.elector.run(stop_lease.clone()).map_err(CommandError::from).boxed();
    let mut admin: Part = admin.serve(stop_admin.clone()).map_err(CommandError::from).boxed();
    // Each in its own task: a part that works hard must not keep the lease from being renewed.
    for part in [&mut controllers, &mut lease, &mut admin] {
        let work = std::mem::replace(part, std::future::ready(Ok(())).boxed());
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        *part = async { task.await.unwrap_or(Err(CommandError::Part("a task"))) }.boxed();
    }

    tokio::select! {
        biased;
        () = signals.stop.cancelled() => {}
        ended = &mut controllers => return ended.and(Err(CommandError::Part("the controller"))),
        ended = &mut lease => return ended.and(Err(CommandError::Part("leader election"))),
        ended = &mut admin => return ended.and(Err(CommandError::Part("the admin server"))),
    }
    Sequence::new()
        .then("reconciles", stop_controllers, controllers.map(log))
        .then("lease", stop_lease, lease.map(log))
        .then("admin server", stop_admin, admin.map(log))
        .run(SHUTDOWN, &signals.abort)
        .await?;
    tracing::info!("stopped");
    Ok(())
}

fn log(ended: Result<(), CommandError>) {
    if let Err(error) = ended {
        tracing::warn!(%error, "on the way out");
    }
}

/// What runs the controllers of all scopes.
pub(super) struct Controllers {
    /// What they share.
    pub(super) context: crate::controller::Context,
    /// The namespaces; none: the whole cluster.
    pub(super) namespaces: Vec<String>,
    /// Whether this process acts.
    pub(super) leadership: tokio::sync::watch::Receiver<crate::runtime::lease::Leadership>,
    /// What Slack answers.
    pub(super) acks: tokio::sync::mpsc::UnboundedReceiver<crate::clients::slack::Ack>,
    /// Told when stores are filled.
    pub(super) health: Health,
    /// Reconciles at the same time, in each scope.
    pub(super) concurrency: u16,
}

impl Controllers {
    /// Waits for Istio's kinds, then watches and reconciles until `stop`.
    async fn run(self, stop: CancellationToken) -> Result<(), CommandError> {
        let heartbeat = self.health.heartbeat("controller", HEARTBEAT);
        let work = async {
            let Some(prepared) = self.prepared(&stop).await else { return Ok(()) };
            self.run_prepared(prepared, stop).await
        };
        heartbeat.during(work).await
    }

    /// The scopes, once Istio's kinds are served; none where `stop` came first.
    pub(super) async fn prepared(&self, stop: &CancellationToken) -> Option<Vec<Prepared>> {
        let pending = self.health.pending("Istio's kinds (VirtualService and DestinationRule)");
        let istio = tokio::select! {
            istio = await_istio(&self.context.client, pending) => istio,
            () = stop.cancelled() => return None,
        };
        let namespaces = if self.namespaces.is_empty() {
            vec![None]
        } else {
            self.namespaces.iter().cloned().map(Some).collect()
        };
        let scope = |namespace| prepare(self.context.clone(), namespace, istio.clone());
        Some(namespaces.into_iter().map(scope).collect())
    }

    /// Watches and reconciles until `stop`.
    pub(super) async fn run_prepared(
        self,
        prepared: Vec<Prepared>,
        stop: CancellationToken,
    ) -> Result<(), CommandError> {
        let scopes: Arc<[Arc<Scope>]> = prepared.iter().map(|one| Arc::clone(&one.scope)).collect();
        let acknowledging = tokio::spawn(deliver::acknowledge(self.acks, scopes));
        let _acknowledging = AbortOnDropHandle::new(acknowledging);
        let run = |one: Prepared| one.run(self.leadership.clone(), &self.health, self.concurrency, stop.clone());
        try_join_all(prepared.into_iter().map(run)).await?;
        Ok(())
    }
}
