//! The admin HTTP server: `/healthz`, `/readyz` and `/metrics` for the kubelet and for Prometheus. Reads only.

mod serving;
mod texts;

use self::serving::LIMITS;
use self::texts::Texts;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A loop is taken for dead after this many of its beats are missing.
const MISSED_BEATS: u32 = 6;

/// Why the admin server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address} for /healthz, /readyz and /metrics: {source}; choose another --admin-port"
    )]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the process knows of itself: which of its loops are alive, and which of its stores are filled. Clones are
/// the same registry.
#[derive(Clone, Debug)]
pub struct Health {
    clock: Clock,
    loops: Arc<Mutex<Vec<Loop>>>,
    stores: Arc<Mutex<Vec<(&'static str, bool)>>>,
}

#[derive(Debug)]
struct Loop {
    name: &'static str,
    period: Duration,
    last: Instant,
}

/// Keeps one loop of the process alive in the eyes of `/healthz`.
#[derive(Debug)]
pub struct Heartbeat {
    health: Health,
    index: usize,
}

/// Says when one store is filled.
#[derive(Debug)]
pub struct Pending {
    health: Health,
    index: usize,
}

impl Health {
    /// An empty registry: healthy and ready until something is registered.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            loops: Arc::default(),
            stores: Arc::default(),
        }
    }

    /// Registers a loop that beats at least once in `period`; `/healthz` fails when several beats are missing.
    #[must_use]
    pub fn heartbeat(&self, name: &'static str, period: Duration) -> Heartbeat {
        let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.push(Loop {
            name,
            period,
            last: self.clock.monotonic(),
        });
        Heartbeat {
            health: self.clone(),
            index: loops.len() - 1,
        }
    }

    /// Registers a store that has to be filled first; `/readyz` fails until [`Pending::ready`].
    #[must_use]
    pub fn pending(&self, name: &'static str) -> Pending {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.push((name, false));
        Pending {
            health: self.clone(),
            index: stores.len() - 1,
        }
    }

    /// The loops that are silent for too long.
    #[must_use]
    pub fn silent(&self) -> Vec<&'static str> {
        let now = self.clock.monotonic();
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = |l: &&Loop| now.saturating_duration_since(l.last) > l.period * MISSED_BEATS;
        loops.iter().filter(dead).map(|l| l.name).collect()
    }

    /// The stores that are not filled yet.
    #[must_use]
    pub fn unready(&self) -> Vec<&'static str> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores
            .iter()
            .filter(|(_, ready)| !ready)
            .map(|(name, _)| *name)
            .collect()
    }
}

impl Heartbeat {
    /// The loop is alive.
    pub fn beat(&self) {
        let mut loops = self.health.loops.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(l) = loops.get_mut(self.index) {
            l.last = self.health.clock.monotonic();
        }
    }

    /// Runs `work` and beats for as long as it neither ends nor blocks: beats and work share one task, so that
    /// work which never yields, panics or is gone falls silent. Work that merely waits is alive.
    pub async fn during<F: Future>(self, work: F) -> F::Output {
        let period = {
            let loops = self.health.loops.lock().unwrap_or_else(PoisonError::into_inner);
            loops.get(self.index).map_or(Duration::from_secs(1), |l| l.period)
        };
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                output = &mut work => return output,
                _ = ticks.tick() => self.beat(),
            }
        }
    }
}

impl Pending {
    /// The store is filled.
    pub fn ready(self) {
        let mut stores = self.health.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, ready)) = stores.get_mut(self.index) {
            *ready = true;
            tracing::debug!(store = *name, "filled");
        }
    }
}

/// The admin server, bound and not yet serving.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl AdminServer {
    /// Listens on `address` (port 0 takes any free one).
    ///
    /// # Errors
    /// [`AdminError::Bind`].
    #[allow(clippy::unused_async, reason = "outside of tokio it would panic")]
    pub async fn bind(address: SocketAddr, health: Health, metrics: Metrics) -> Result<Self, AdminError> {
        let bound = serving::listen(address).and_then(|listener| {
            let local = listener.local_addr()?;
            Ok((listener, local))
        });
        let (listener, local) = bound.map_err(|source| AdminError::Bind { address, source })?;
        Ok(Self {
            listener,
            address: local,
            router: router(health, metrics),
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then finishes the answers under way.
    ///
    /// # Errors
    /// None: where no connection can be accepted, it tries again.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), AdminError> {
        tracing::info!(address = %self.address, "serving /healthz, /readyz and /metrics");
        serving::serve(self.listener, self.router, LIMITS, stop).await;
        Ok(())
    }
}

fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(|State(health): State<Health>| async move { verdict("silent", &health.silent()) }),
        )
        .route(
            "/readyz",
            get(|State(health): State<Health>| async move { verdict("waiting for", &health.unready()) }),
        )
        .with_state(health)
        .route(
            "/metrics",
            get(metrics_text).with_state(Arc::new(Texts::new(metrics))),
        )
}

fn verdict(what: &str, names: &[&str]) -> (StatusCode, String) {
    if names.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let mut text = String::new();
    for name in names {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{what}: {name}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn metrics_text(State(texts): State<Arc<Texts>>) -> Response {
    match texts.get().await {
        Ok(text) => (
            [(
                CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::{sleep, timeout};

    fn health() -> Health {
        Health::new(Clock::paused("2026-03-01T12:00:00Z".parse().unwrap()))
    }

    async fn server(health: &Health) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let stop = CancellationToken::new();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let admin = AdminServer::bind(any, health.clone(), Metrics::new())
            .await
            .unwrap();
        let address = admin.address();
        let stopped = stop.clone();
        (
            address,
            stop,
            tokio::spawn(async move { admin.serve(stopped).await.unwrap() }),
        )
    }

    /// Sends one request and returns the whole answer.
    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn ready_means_that_every_store_is_filled_and_says_which_is_not() {
        let health = health();
        let (deployments, services) = (health.pending("deployments"), health.pending("virtualservices"));
        let (address, ..) = server(&health).await;
        let answer = ask(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.ends_with("waiting for: deployments\nwaiting for: virtualservices\n"),
            "{answer}"
        );
        deployments.ready();
        assert!(
            ask(address, "GET /readyz")
                .await
                .ends_with("\r\n\r\nwaiting for: virtualservices\n")
        );
        services.ready();
        assert!(ask(address, "GET /readyz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn metrics_are_served_as_openmetrics() {
        let (address, ..) = server(&health()).await;
        let answer = ask(address, "GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(answer.contains("birdwatch_leader 0\n") && answer.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn nothing_else_is_answered_and_nothing_is_written() {
        let (address, ..) = server(&health()).await;
        assert!(ask(address, "GET /debug").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn whatever_is_sent_only_three_pages_are_read_and_nothing_of_a_request_comes_back() {
        let health = health();
        let (address, ..) = server(&health).await;
        let pages = ["/healthz", "/readyz", "/metrics"];
        let others = [
            "/",
            "/healthz/",
            "/metrics/x",
            "/debug/pprof",
            "/config",
            "/version",
            "/quit",
            "/..",
            "//metrics",
            "/metrics%2f..",
            "/api/v1/namespaces",
            "/favicon.ico",
            "*",
        ];
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
        ] {
            for path in pages.iter().chain(&others) {
                let answer = ask(address, &format!("{method} {path}?canary=xoxb-7")).await;
                let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
                let expected: &[&str] = match (method, pages.contains(path)) {
                    ("GET" | "HEAD", true) => &["200"],
                    (_, true) => &["405", "400"],
                    (_, false) => &["404", "400"],
                };
                assert!(expected.contains(&status.as_str()), "{method} {path}: {answer}");
                assert!(!answer.contains("xoxb-7"), "{method} {path}: {answer}");
                let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
                assert!(status == "200" || body.is_empty(), "{method} {path}: {answer}");
            }
        }
        assert!(health.silent().is_empty() && health.unready().is_empty());
    }

    #[tokio::test]
    async fn an_address_in_use_is_said_with_the_flag_to_change() {
        let (address, ..) = server(&health()).await;
        let error = AdminServer::bind(address, health(), Metrics::new())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("--admin-port"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn stopping_finishes_and_frees_the_port() {
        let (address, stop, task) = server(&health()).await;
        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200"));
        stop.cancel();
        timeout(Duration::from_secs(10), task)
            .await
            .expect("it ends")
            .unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_is_alive_and_one_that_ended_is_not() {
        let health = health();
        let heart = health.heartbeat("controller", Duration::from_secs(5));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(heart.during(ended));
        sleep(Duration::from_hours(1)).await;
        assert!(health.silent().is_empty());
        end.send(()).unwrap();
        task.await.unwrap().unwrap();
        sleep(Duration::from_secs(24)).await;
        assert!(health.silent().is_empty(), "a few missing beats are forgiven");
        sleep(Duration::from_secs(11)).await;
        assert_eq!(health.silent(), ["controller"]);
        assert_eq!(
            verdict("silent", &health.silent()),
            (StatusCode::SERVICE_UNAVAILABLE, "silent: controller\n".into())
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_loop_that_never_yields_is_silent_though_the_process_lives() {
        let health = health();
        let heart = health.heartbeat("controller", Duration::from_millis(10));
        let task = tokio::spawn(heart.during(async { std::thread::sleep(Duration::from_millis(500)) }));
        let silent = async {
            while health.silent().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), silent)
            .await
            .expect("it is noticed");
        assert!(
            !task.is_finished(),
            "it was noticed while the loop was still blocked"
        );
        task.await.unwrap();
    }
}
