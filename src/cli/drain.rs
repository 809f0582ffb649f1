//! `birdwatch drain`: gives all traffic back and removes the finalizers, by the very reconciles of the operator.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clients::http::{HttpClient, TlsFiles};
use crate::controller::Scope;
use crate::controller::drain::{remaining, untold};
use crate::runtime::admin::Health;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown::{Sequence, Signals};

use super::CommandError;
use super::controllers::Controllers;
use super::parts::{Parts, set_up_logs};
use super::settings::{DrainSettings, Settings};

/// How often to look whether something is left.
const LOOK: Duration = Duration::from_millis(200);

/// How long notices may take to be delivered once all is given back: a silent Slack keeps nobody from leaving.
const TELLING: Duration = Duration::from_secs(15);

/// How long the parts may take to stop.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// The controllers at work.
type Work = AbortOnDropHandle<Result<(), CommandError>>;

/// Takes the lease and gives everything back, until nothing is left or the time is over.
///
/// # Errors
/// Something is left, or it could not be looked at.
pub async fn drain(settings: DrainSettings) -> Result<(), CommandError> {
    let DrainSettings {
        run: mut settings,
        timeout,
    } = settings;
    set_up_logs(&settings)?;
    without_a_useless_ca(&mut settings);
    let signals = Signals::listen().map_err(|source| CommandError::System {
        what: "signal handlers",
        source,
    })?;
    let (clock, metrics) = (Clock::real(), Metrics::new());
    let limit = Limit {
        until: Instant::now() + timeout,
        after: timeout,
    };
    let Parts {
        context,
        electors,
        seats,
        answers,
        background: _background,
        servers: _,
    } = Parts::new(&settings, &clock, &metrics, true).await?;
    let controllers = Controllers {
        context,
        namespaces: settings.cluster.namespaces.clone(),
        ready: electors.ready(),
        seats,
        answers,
        health: Health::new(clock),
        concurrency: settings.process.concurrency,
    };
    println!(
        "taking the lease {}/{}",
        settings.lease.namespace, settings.lease.name
    );
    let (stop_work, stop_lease) = (CancellationToken::new(), CancellationToken::new());
    let mut lease = AbortOnDropHandle::new(tokio::spawn(electors.run(stop_lease.clone())));
    let work = tokio::select! {
        given_back = give_back(controllers, &stop_work, limit, settings.slack.token.is_some()) => given_back?,
        ended = &mut lease => {
            ended.map_err(|_| CommandError::Part("a task"))??;
            return Err(CommandError::Part("leader election"));
        }
        () = signals.stop.cancelled() => return Err(CommandError::Stopped),
    };
    Sequence::new()
        .then("reconciles", stop_work, work.map(drop))
        .then("lease", stop_lease, lease.map(drop))
        .run(SHUTDOWN, &signals.abort)
        .await?;
    println!("nothing is left: all traffic is on production and no BirdWatch has a finalizer");
    Ok(())
}

/// What people are told is worth less than their traffic: where the CA file cannot be used, nobody is told.
fn without_a_useless_ca(settings: &mut Settings) {
    let tls = TlsFiles {
        ca_files: settings.cluster.ca_file.iter().cloned().collect(),
        ..TlsFiles::default()
    };
    if let Err(error) = HttpClient::new(tls) {
        println!("{error}: Slack is not told");
        (settings.cluster.ca_file, settings.slack.token) = (None, None);
    }
}

/// The time there is.
#[derive(Clone, Copy)]
struct Limit {
    until: Instant,
    after: Duration,
}

/// Reconciles until nothing is left; returns the controllers, still at work.
async fn give_back(
    controllers: Controllers,
    stop: &CancellationToken,
    limit: Limit,
    tells: bool,
) -> Result<Work, CommandError> {
    let not_ready = |why: &str| CommandError::NotReady {
        after: limit.after,
        why: why.to_owned(),
    };
    let prepared = tokio::select! {
        prepared = controllers.prepare(stop) => prepared.ok_or(CommandError::Stopped)?,
        () = sleep_until(limit.until) => return Err(not_ready("Istio's kinds")),
    };
    let scopes: Vec<Arc<Scope>> = prepared.iter().map(|one| Arc::clone(&one.scope)).collect();
    let mut work = AbortOnDropHandle::new(tokio::spawn(controllers.run(prepared, stop.clone())));
    let mut told: Option<Vec<String>> = None;
    loop {
        if scopes.iter().all(|scope| scope.is_acting()) {
            let left: Vec<String> = scopes.iter().flat_map(|scope| remaining(scope)).collect();
            if left.is_empty() {
                if tells {
                    tell(&scopes).await;
                }
                return Ok(work);
            }
            if told.as_ref() != Some(&left) {
                println!("still to be given back:\n  {}", left.join("\n  "));
                told = Some(left);
            }
        }
        if Instant::now() >= limit.until {
            return Err(told.map_or_else(
                || not_ready("the lease, or the watches"),
                |left| CommandError::NotDrained {
                    left,
                    after: limit.after,
                },
            ));
        }
        tokio::select! {
            ended = &mut work => {
                ended.map_err(|_| CommandError::Part("a task"))??;
                return Err(CommandError::Part("the controller"));
            }
            () = sleep(LOOK) => {}
        }
    }
}

/// Waits until people are told, for a while.
async fn tell(scopes: &[Arc<Scope>]) {
    let until = Instant::now() + TELLING;
    while scopes.iter().map(|scope| untold(scope)).sum::<usize>() > 0 {
        if Instant::now() >= until {
            println!("not everybody could be told; what waits is kept in status");
            return;
        }
        sleep(LOOK).await;
    }
}
