//! What ends a pod's containers, and how much time that leaves them.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::Context;

/// What a pod's processes get when the whole kubelet ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// What the watch last said about a pod; none when it is gone.
pub(super) type Sighting = Option<Arc<Pod>>;

/// Why a pod's containers must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Deleted, with this grace period.
    Doomed(Duration),
    /// Gone from the API server.
    Gone,
    /// The kubelet ends.
    Shutdown,
}

impl End {
    /// How long processes get between SIGTERM and SIGKILL.
    pub(super) fn grace(self) -> Duration {
        match self {
            Self::Doomed(grace) => grace,
            Self::Gone => Duration::ZERO,
            Self::Shutdown => SHUTDOWN_GRACE,
        }
    }
}

/// Waits for what ends a pod.
pub(super) struct Ends {
    pub(super) context: Arc<Context>,
    pub(super) sightings: watch::Receiver<Sighting>,
}

impl Ends {
    /// Waits for the pod's end.
    pub(super) async fn next(&mut self) -> End {
        tokio::select! {
            () = self.context.stop.cancelled() => End::Shutdown,
            end = sighted_end(&mut self.sightings) => end,
        }
    }

    /// Waits for an end that leaves less time than `end`.
    pub(super) async fn worse_than(&mut self, end: End) -> End {
        match end {
            End::Doomed(_) => {
                tokio::select! {
                    () = self.context.stop.cancelled() => End::Shutdown,
                    _ = self.sightings.wait_for(Option::is_none) => End::Gone,
                }
            }
            End::Gone | End::Shutdown => std::future::pending().await,
        }
    }
}

async fn sighted_end(sightings: &mut watch::Receiver<Sighting>) -> End {
    let ending = |seen: &Sighting| {
        seen.as_ref()
            .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
    };
    // No sender is left when the watch has ended, and the kubelet with it.
    let Ok(seen) = sightings.wait_for(ending).await else {
        return End::Shutdown;
    };
    seen.as_ref().map_or(End::Gone, |pod| {
        let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        End::Doomed(Duration::from_secs(seconds.try_into().unwrap_or_default()))
    })
}
