//! `birdwatch drain`: gives all traffic back and removes the finalizers, by the very reconciles of the operator.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::controller::{Prepared, Scope, drain::remaining};
use crate::runtime::admin::Health;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown::{Sequence, Signals};

use super::CommandError;
use super::parts::{Parts, set_up_logs};
use super::run::Controllers;
use super::settings::DrainSettings;

/// How often to look whether something is left.
const LOOK: Duration = Duration::from_millis(200);

/// How long the parts may take to stop.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Takes the lease and gives everything back, until nothing is left or the time is over.
///
/// # Errors
/// Something is left, or it could not be looked at.
pub async fn drain(settings: DrainSettings) -> Result<(), CommandError> {
    let DrainSettings { run: settings, timeout } = settings;
    set_up_logs(&settings)?;
    let signals = Signals::listen().map_err(|source| CommandError::System { what: "signal handlers", source })?;
    let (clock, metrics) = (Clock::real(), Metrics::new());
    let until = Instant::now() + timeout;
    let parts = Parts::new(&settings, &clock, &metrics, true).await?;
    let _background = parts.background;
    let controllers = Controllers {
        context: parts.context,
        namespaces: settings.cluster.namespaces.clone(),
        leadership: parts.leadership,
        acks: parts.acks,
        health: Health::new(clock),
        concurrency: settings.process.concurrency,
    };
    let (stop_controllers, stop_lease) = (CancellationToken::new(), CancellationToken::new());
    println!("taking the lease {}/{}", settings.lease.namespace, settings.lease.name);
    let mut lease = AbortOnDropHandle::new(tokio::spawn(parts.elector.run(stop_lease.clone())));

    let giving_back = async {
        let Some(prepared) = controllers.prepared(&signals.stop).await else { return Err(CommandError::Stopped) };
        let scopes: Vec<Arc<Scope>> = prepared.iter().map(|one: &Prepared| Arc::clone(&one.scope)).collect();
        let work = controllers.run_prepared(prepared, stop_controllers.clone());
        let mut work = AbortOnDropHandle::new(tokio::spawn(work));
        tokio::select! {
            ended = &mut work => return ended.unwrap_or(Err(CommandError::Part("a task"))).and(Err(CommandError::Part("the controller"))),
            drained = until_nothing_is_left(&scopes, until, timeout) => drained?,
            () = signals.stop.cancelled() => return Err(CommandError::Stopped),
        }
        Ok(work)
    };
    let late = async {
        tokio::time::sleep_until(until + Duration::from_secs(1)).await;
        CommandError::NotReady { after: timeout, why: "the lease or the watches".to_owned() }
    };
    let work = tokio::select! {
        given_back = giving_back => given_back?,
        ended = &mut lease => return Err(ended.map_or(CommandError::Part("a task"), |ended| {
            ended.err().map_or(CommandError::Part("leader election"), CommandError::from)
        })),
        late = late => return Err(late),
    };
    Sequence::new()
        .then("reconciles", stop_controllers, work.map(|_| ()))
        .then("lease", stop_lease, lease.map(|_| ()))
        .run(SHUTDOWN, &signals.abort)
        .await?;
    println!("nothing is left: all traffic is on production and no BirdWatch has a finalizer");
    Ok(())
}

async fn until_nothing_is_left(
    scopes: &[Arc<Scope>],
    until: Instant,
    timeout: Duration,
) -> Result<(), CommandError> {
    let mut told: Option<Vec<String>> = None;
    loop {
        let acting = scopes.iter().all(|scope| scope.is_acting());
        if acting {
            let left: Vec<String> = scopes.iter().flat_map(|scope| remaining(scope)).collect();
            if left.is_empty() {
                return Ok(());
            }
            if told.as_ref() != Some(&left) {
                println!("{} left:", left.len());
                left.iter().for_each(|one| println!("  {one}"));
                told = Some(left);
            }
        }
        if Instant::now() >= until {
            return Err(match told {
                Some(left) => CommandError::NotDrained { left, after: timeout },
                None => CommandError::NotReady { after: timeout, why: "the lease or the watches".to_owned() },
            });
        }
        sleep(LOOK).await;
    }
}
