//! A proxy between one client and the API server: it names and numbers every call, and lets each be disturbed.
//! Plain HTTP on the client's side; the server is asked as the given client. What is disturbed is for a [`Judge`] to say.

mod call;
mod watches;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{self, Body, Bytes},
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use futures::future::BoxFuture;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

pub use call::{Call, Verb};
pub use watches::Disturbance;
use watches::{Watches, standing};

/// The largest request that is read.
const MOST: usize = 8 << 20;

/// An answer that the server did not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The reason, as Kubernetes words it.
    pub reason: &'static str,
    /// Seconds of Retry-After.
    pub retry_after: Option<u64>,
    /// Whether it names the object, as a server does that finds the object itself wrong.
    pub names_object: bool,
}

/// What becomes of one call.
pub enum Fate {
    /// The server answers.
    Forward,
    /// The server never hears of it, the client gets this.
    Refuse(Refusal),
    /// The server never hears of it and the connection breaks.
    Cut,
    /// The server does it; then this happens, and the connection breaks before the answer.
    CutAfter(BoxFuture<'static, ()>),
    /// The server does it, the answer comes so much later.
    LateAnswer(Duration),
    /// The server hears of it so much later, though the client may have given up.
    LateCall(Duration),
    /// A list that allows an old answer gets its first one; any other gets the newest, as a server has promised.
    OldAnswer,
    /// The server never hears of it, and the client is told that what it sent is stored: a lie.
    Pretend,
}

/// Says what becomes of each call, in the order in which they come.
pub trait Judge: Send + Sync + 'static {
    /// Hears of a call before the server does.
    fn judge<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Fate>;
}

/// A running proxy; it ends, and breaks every connection, when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

struct Shared {
    upstream: Client,
    judge: Arc<dyn Judge>,
    watches: Watches,
    kept: Mutex<Kept>,
}

/// What is remembered of the calls.
#[derive(Default)]
struct Kept {
    calls: Vec<Call>,
    /// The first answer of each list.
    lists: BTreeMap<String, Bytes>,
    /// How the latest list of a resource stands.
    stand: BTreeMap<String, Value>,
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No answer: the connection breaks.
#[derive(Debug, thiserror::Error)]
#[error("the proxy cuts the connection")]
struct Cut;

impl Proxy {
    /// Serves on a free port of loopback.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(upstream: Client, judge: Arc<dyn Judge>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            judge,
            watches: Watches::default(),
            kept: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// Where the client finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every call so far, in the order in which they came.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.kept().calls.clone()
    }

    /// Disturbs the watches that are open now.
    pub fn disturb(&self, how: Disturbance) {
        self.shared.watches.disturb(how);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(converse(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // An error is a client that left, or one of ours that was cut off.
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body::to_bytes(Body::new(body), MOST).await.map_err(|_| Cut)?;
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let call = {
        let mut kept = shared.kept();
        let number = kept.calls.len() + 1;
        let call = Call::new(number, parts.method.as_str(), &target, body);
        kept.calls.push(call.clone());
        call
    };
    let mut onward = Request::builder().method(parts.method).uri(target.as_str());
    for name in [header::CONTENT_TYPE, header::ACCEPT, header::USER_AGENT] {
        if let Some(value) = parts.headers.get(&name) {
            onward = onward.header(name, value);
        }
    }
    let onward = onward
        .body(kube::client::Body::from(call.body.clone()))
        .map_err(|_| Cut)?;
    let fate = shared.judge.judge(&call).await;
    let first = shared.kept().lists.get(&target).cloned();
    let (name, sent) = (call.name.clone(), call.body.clone());
    let allows_old = call::allows_old(&target);
    // What is on its way to the server gets there, whatever becomes of the client.
    let ask = |wait| async move {
        let asked = tokio::spawn(async move {
            sleep(wait).await;
            forward(onward, &call, &target, &shared).await
        });
        asked.await.map_err(|_| Cut)?
    };
    match fate {
        Fate::Forward => ask(Duration::ZERO).await,
        Fate::Refuse(refusal) => Ok(refused(refusal, &name)),
        Fate::Cut => Err(Cut),
        Fate::CutAfter(then) => {
            ask(Duration::ZERO).await?;
            then.await;
            Err(Cut)
        }
        Fate::LateAnswer(late) => {
            let answer = ask(Duration::ZERO).await;
            sleep(late).await;
            answer
        }
        Fate::LateCall(late) => ask(late).await,
        Fate::OldAnswer => match first {
            Some(first) if allows_old => Ok(json_answer(StatusCode::OK, first)),
            _ => ask(Duration::ZERO).await,
        },
        Fate::Pretend => Ok(json_answer(StatusCode::OK, sent)),
    }
}

/// Asks the server. A watch streams, every other answer is here when this returns.
async fn forward(
    request: Request<kube::client::Body>,
    call: &Call,
    target: &str,
    shared: &Shared,
) -> Result<Response<Body>, Cut> {
    let answer = shared.upstream.send(request).await.map_err(|_| Cut)?;
    let (mut parts, body) = answer.into_parts();
    for name in [
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::CONTENT_LENGTH,
    ] {
        parts.headers.remove(name);
    }
    if call.verb == Verb::Watch {
        let stand = shared
            .kept()
            .stand
            .get(&call.resource)
            .cloned()
            .unwrap_or_default();
        let body = shared.watches.body(Body::new(body), stand);
        return Ok(Response::from_parts(parts, body));
    }
    let body = body::to_bytes(Body::new(body), usize::MAX)
        .await
        .map_err(|_| Cut)?;
    if call.verb == Verb::List && parts.status.is_success() {
        let mut kept = shared.kept();
        if let Ok(list) = serde_json::from_slice(&body) {
            kept.stand.insert(call.resource.clone(), standing(&list));
        }
        kept.lists
            .entry(target.to_owned())
            .or_insert_with(|| body.clone());
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn refused(refusal: Refusal, name: &str) -> Response<Body> {
    let Refusal {
        code,
        reason,
        retry_after,
        names_object,
    } = refusal;
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("the proxy says {reason}"),
    });
    if names_object {
        status["details"] = json!({"name": name});
    }
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_answer(code, status.to_string().into());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn json_answer(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
