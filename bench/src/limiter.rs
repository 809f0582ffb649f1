//! An API server that answers so many requests a second and no more: a proxy before the real one, for one contender.
//! What comes too fast waits its turn; where too many wait the answer is 429, as priority and fairness would have it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{self, Body},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use birdwatch_bed::clock::Stopwatch;
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// How many may wait: one user's queues in Kubernetes' level `workload-low`, of which it has six of fifty each.
const WAITING: u32 = 300;
/// The largest request that is read.
const MOST: usize = 8 << 20;

/// A running limiter; it ends when this is dropped. At first it limits nothing.
pub(crate) struct Limiter {
    address: SocketAddr,
    gate: Arc<Gate>,
    _serving: AbortOnDropHandle<()>,
}

struct Gate {
    upstream: Client,
    clock: Stopwatch,
    queue: Mutex<Option<Queue>>,
}

/// Turns at even distances.
#[derive(Clone, Copy, Debug)]
struct Queue {
    /// Between two turns.
    pace: Duration,
    /// When the next turn is free.
    next: Duration,
}

impl Queue {
    fn new(per_second: u32, now: Duration) -> Self {
        Self {
            pace: Duration::from_secs(1) / per_second.max(1),
            next: now,
        }
    }

    /// How long one who comes now has to wait for a turn; None where too many wait already.
    fn take(&mut self, now: Duration) -> Option<Duration> {
        let turn = self.next.max(now);
        let wait = turn.saturating_sub(now);
        if wait > self.pace * WAITING {
            return None;
        }
        self.next = turn + self.pace;
        Some(wait)
    }
}

impl Gate {
    /// None: too many wait.
    fn take(&self) -> Option<Duration> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.elapsed();
        queue
            .as_mut()
            .map_or(Some(Duration::ZERO), |queue| queue.take(now))
    }
}

impl Limiter {
    /// Serves on a free port; the real server is asked by `upstream`, whose rights count.
    pub(crate) async fn start(upstream: Client) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let gate = Arc::new(Gate {
            upstream,
            clock: Stopwatch::start(),
            queue: Mutex::default(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&gate));
        let serving = tokio::spawn(async move {
            // It ends only with its listener, and that goes with this task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            gate,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on so many requests a second. A watch counts when it is opened.
    pub(crate) fn limit(&self, per_second: u32) {
        let mut queue = self.gate.queue.lock().unwrap_or_else(PoisonError::into_inner);
        *queue = Some(Queue::new(per_second, self.gate.clock.elapsed()));
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let Some(wait) = gate.take() else {
        let later = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
        return (StatusCode::TOO_MANY_REQUESTS, later, "too many requests").into_response();
    };
    tokio::time::sleep(wait).await;
    match forward(&gate.upstream, request).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::BAD_GATEWAY, error).into_response(),
    }
}

/// Asks the server and hands on its answer as it comes: a watch has no end.
async fn forward(upstream: &Client, request: Request) -> Result<Response, String> {
    let (parts, body) = request.into_parts();
    let body = body::to_bytes(body, MOST)
        .await
        .map_err(|error| error.to_string())?;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut onward = axum::http::Request::builder().method(parts.method).uri(target);
    for name in [header::CONTENT_TYPE, header::ACCEPT, header::USER_AGENT] {
        if let Some(value) = parts.headers.get(&name) {
            onward = onward.header(name, value);
        }
    }
    let onward = onward
        .body(kube::client::Body::from(body))
        .map_err(|error| error.to_string())?;
    let answer = upstream.send(onward).await.map_err(|error| error.to_string())?;
    let (mut parts, body) = answer.into_parts();
    for name in [
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::CONTENT_LENGTH,
    ] {
        parts.headers.remove(name);
    }
    Ok(Response::from_parts(parts, Body::new(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_too_fast_waits_a_turn_and_the_last_are_sent_away() {
        let at = Duration::from_secs(5);
        let mut queue = Queue::new(50, at);
        let waits: Vec<_> = (0..303).map(|_| queue.take(at)).collect();
        assert_eq!(waits[0], Some(Duration::ZERO));
        assert_eq!(waits[1], Some(Duration::from_millis(20)));
        assert_eq!(waits[300], Some(Duration::from_secs(6)));
        assert_eq!(waits[301..], [None, None]);
    }

    #[test]
    fn whoever_comes_late_finds_it_free() {
        let mut queue = Queue::new(50, Duration::ZERO);
        queue.take(Duration::ZERO);
        assert_eq!(queue.take(Duration::from_secs(1)), Some(Duration::ZERO));
        assert_eq!(
            queue.take(Duration::from_secs(1)),
            Some(Duration::from_millis(20))
        );
    }
}
