//! The service that the bed's pods run: it answers, errs and dawdles as told, and counts itself as a sidecar would.
//!
//! It is started by the toy kubelet as the process of an image `bed/workload:<tag>`; it knows nothing of Kubernetes
//! but the names in its environment.

mod behaviour;
mod telemetry;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

pub use behaviour::{BadRate, BadStart, Behaviour, Change, Diffusion, Start};
pub use telemetry::{Identity, Telemetry};

/// How long a workload told to stop still answers, so that the mesh can take it out first.
const DRAIN: Duration = Duration::from_secs(1);

/// Settings of one workload process; the kubelet gives them as environment.
#[derive(Clone, Debug, Parser)]
#[command(name = "workload", about = "The service that runs in the bed's pods")]
pub struct Settings {
    /// Address to listen on.
    #[arg(long, env = "POD_IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub ip: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Name of the pod.
    #[arg(long, env = "POD_NAME", default_value = "pod")]
    pub pod: String,
    /// Namespace of the pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Name of the Deployment, or whatever owns the pod.
    #[arg(long, env = "WORKLOAD", default_value = "unknown")]
    pub workload: String,
    /// The pod's label app: the service's name.
    #[arg(long, env = "APP", default_value = "unknown")]
    pub app: String,
    /// The pod's label version.
    #[arg(long, env = "VERSION", default_value = "unknown")]
    pub version: String,
    /// Share of requests answered 500, 0 to 1.
    #[arg(long, env = "ERROR_RATE", default_value_t = 0.0)]
    pub error_rate: f64,
    /// Time every answer takes at least, in milliseconds.
    #[arg(long, env = "LATENCY_MS", default_value_t = 0)]
    pub latency_ms: u64,
    /// `ok`, `never`, `late:10s` or `crash:20s`, with any duration.
    #[arg(long, env = "START", default_value_t = Start::Ok)]
    pub start: Start,
}

/// Why a workload ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The error rate in the settings is no share.
    #[error(transparent)]
    Rate(#[from] BadRate),
    /// The address cannot be listened on, or the server broke.
    #[error("cannot serve on {address}: {source}")]
    Serve {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// It was told to crash.
    #[error("crashing after {0:?}, as START asks")]
    Crash(Duration),
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    born: Instant,
    now: Mutex<Present>,
}

#[derive(Debug)]
struct Present {
    behaviour: Behaviour,
    diffusion: Diffusion,
    telemetry: Telemetry,
}

impl Shared {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self) -> bool {
        match self.settings.start {
            Start::Ok | Start::Crash(_) => true,
            Start::Never => false,
            Start::Late(after) => self.born.elapsed() >= after,
        }
    }
}

/// A workload that listens and has not begun to answer.
#[derive(Debug)]
pub struct Workload {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Workload {
    /// Binds the address of the settings.
    ///
    /// # Errors
    /// When the error rate is no share or the address is not to be had.
    pub async fn bind(settings: Settings) -> Result<Self, WorkloadError> {
        let wanted = SocketAddr::new(settings.ip, settings.port);
        let serve = |source| WorkloadError::Serve {
            address: wanted,
            source,
        };
        let change = Change {
            error_rate: Some(settings.error_rate),
            latency_ms: Some(settings.latency_ms),
        };
        let behaviour = Behaviour {
            error_rate: 0.0,
            latency_ms: 0,
        }
        .changed(change)?;
        let who = Identity {
            namespace: settings.namespace.clone(),
            workload: settings.workload.clone(),
            app: settings.app.clone(),
            version: settings.version.clone(),
        };
        let listener = TcpListener::bind(wanted).await.map_err(serve)?;
        let address = listener.local_addr().map_err(serve)?;
        let present = Present {
            behaviour,
            diffusion: Diffusion::default(),
            telemetry: Telemetry::new(&who),
        };
        let shared = Arc::new(Shared {
            settings,
            born: Instant::now(),
            now: Mutex::new(present),
        });
        Ok(Self {
            listener,
            address,
            shared,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then for another second; or until its time to crash.
    ///
    /// # Errors
    /// When the server breaks, and when the settings say that it crashes.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkloadError> {
        let Self {
            listener,
            address,
            shared,
        } = self;
        let start = shared.settings.start;
        let drained = async move {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let server = axum::serve(listener, router(shared)).with_graceful_shutdown(drained);
        let crash = async move {
            let Start::Crash(after) = start else {
                return std::future::pending().await;
            };
            tokio::time::sleep(after).await;
            WorkloadError::Crash(after)
        };
        tokio::select! {
            ended = server.into_future() => ended.map_err(|source| WorkloadError::Serve { address, source }),
            crashed = crash => Err(crashed),
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/behaviour", post(behave).get(behaviour))
        .fallback(answer)
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        shared.present().telemetry.exposition(),
    )
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.started() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not started\n")
    }
}

async fn behaviour(State(shared): State<Arc<Shared>>) -> Json<Behaviour> {
    Json(shared.present().behaviour)
}

async fn behave(State(shared): State<Arc<Shared>>, Json(change): Json<Change>) -> Response {
    let mut present = shared.present();
    match present.behaviour.changed(change) {
        Ok(changed) => {
            present.behaviour = changed;
            Json(changed).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Every other request: what the service is there for.
async fn answer(State(shared): State<Arc<Shared>>) -> Response {
    let arrived = Instant::now();
    let (latency, status) = {
        let mut present = shared.present();
        let Behaviour {
            error_rate,
            latency_ms,
        } = present.behaviour;
        let status = if !shared.started() {
            StatusCode::SERVICE_UNAVAILABLE
        } else if present.diffusion.next_fails(error_rate) {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        };
        (Duration::from_millis(latency_ms), status)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    shared
        .present()
        .telemetry
        .record(status.as_u16(), arrived.elapsed());
    let Settings {
        pod,
        namespace,
        app,
        version,
        ..
    } = &shared.settings;
    let body = Json(json!({ "app": app, "version": version, "pod": pod, "namespace": namespace }));
    let headers = [(HeaderName::from_static("x-version"), version.clone())];
    (status, headers, body).into_response()
}
