//! What the mesh was told, what Envoy made of it, and when: to be held against the answers people got.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch_bed::audit::Entry;
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::Service;

/// How often Envoy is asked.
const EVERY: Duration = Duration::from_millis(50);

/// Envoy's weights of one service while this lives.
pub(crate) struct Envoy {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// Envoy's weights as it answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// When the answer was there: it had these weights then, or newer ones.
    pub(crate) at: Instant,
    pub(crate) production: u32,
    pub(crate) canary: u32,
}

impl Envoy {
    pub(crate) fn record(service: &Service) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (bed, host, log) = (service.bed, service.app.host(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                if let Ok(routes) = bed.envoy_weights(&host).await
                    && let Some(route) = routes.first()
                {
                    log.lock().unwrap().push(Seen {
                        at: Instant::now(),
                        production: route.weight("production"),
                        canary: route.weight("canary"),
                    });
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { seen, task }
    }

    /// Everything so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The latest.
    pub(crate) fn now(&self) -> Option<Seen> {
        self.seen.lock().unwrap().last().copied()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When the API server was sent the first change of routes, or of subsets, since `mark`.
pub(crate) fn first_sent(service: &Service, mark: u64, resource: &str) -> Option<Timestamp> {
    let of_kind = |entry: &Entry| entry.resource == resource;
    let entries = service.mesh_writes_since(mark);
    entries.iter().filter(|e| of_kind(e)).map(|e| e.time).min()
}
