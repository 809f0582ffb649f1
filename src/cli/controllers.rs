//! The controllers of all scopes, from waiting for Istio to the last reconcile. Used by `run` and by `drain`.

use std::sync::Arc;

use futures::future::{pending, try_join_all};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clients::slack::Heard;
use crate::controller::{Context, Prepared, Scope, await_istio, deliver, prepare};
use crate::runtime::admin::Health;
use crate::runtime::lease::Seats;

use super::CommandError;

/// What runs the controllers of all scopes.
pub(super) struct Controllers {
    /// What they share.
    pub(super) context: Context,
    /// The namespaces; none: the whole cluster.
    pub(super) namespaces: Vec<String>,
    /// Where this process acts.
    pub(super) seats: Seats,
    /// Cancelled when it could act.
    pub(super) ready: CancellationToken,
    /// What Slack answers.
    pub(super) answers: UnboundedReceiver<Heard>,
    /// Told when stores are filled.
    pub(super) health: Health,
    /// Reconciles at the same time, in each scope.
    pub(super) concurrency: u16,
}

impl Controllers {
    /// The scopes, once Istio's kinds are served; none where `stop` came first.
    pub(super) async fn prepare(&self, stop: &CancellationToken) -> Option<Vec<Prepared>> {
        let pending = self
            .health
            .pending("Istio's kinds (VirtualService and DestinationRule)");
        let istio = tokio::select! {
            istio = await_istio(&self.context.client, pending) => istio,
            () = stop.cancelled() => return None,
        };
        let scope = |namespace| prepare(self.context.clone(), namespace, istio.clone());
        Some(if self.namespaces.is_empty() {
            vec![scope(None)]
        } else {
            self.namespaces.iter().cloned().map(Some).map(scope).collect()
        })
    }

    /// Watches and reconciles until `stop`; reconciles under way are finished then.
    pub(super) async fn run(
        self,
        prepared: Vec<Prepared>,
        stop: CancellationToken,
    ) -> Result<(), CommandError> {
        let scopes: Arc<[Arc<Scope>]> = prepared.iter().map(|one| Arc::clone(&one.scope)).collect();
        let hearing = AbortOnDropHandle::new(tokio::spawn(deliver::acknowledge(
            self.answers,
            Arc::clone(&scopes),
        )));
        let run = |one: Prepared| one.run(&self.seats, &self.health, self.concurrency, stop.clone());
        let filled = {
            let (scopes, ready) = (Arc::clone(&scopes), self.ready.clone());
            async move {
                for scope in scopes.iter() {
                    scope.until_filled().await;
                }
                ready.cancel();
                pending::<()>().await;
            }
        };
        tokio::select! {
            ended = try_join_all(prepared.into_iter().map(run)) => ended.map(drop).map_err(Into::into),
            () = filled => Ok(()),
            () = panicked(hearing) => Err(CommandError::Part("what hears Slack's answers")),
        }
    }
}

/// Waits for a panic. An end in order is none: where nobody is told, nothing is answered.
async fn panicked(task: AbortOnDropHandle<()>) {
    if task.await.is_ok() {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_from_an_end_in_order() {
        let start = |fails: bool| AbortOnDropHandle::new(tokio::spawn(async move { assert!(!fails) }));
        let within = |limit, fails| tokio::time::timeout(limit, panicked(start(fails)));
        assert!(within(Duration::from_secs(5), true).await.is_ok());
        assert!(within(Duration::from_millis(50), false).await.is_err());
    }
}
