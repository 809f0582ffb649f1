//! The face of a Prometheus: its HTTP API with whatever answers the caller gives. It knows no data itself.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Form, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A question: the endpoint below `/api/v1/`, as in `query`, and what was asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The endpoint.
    pub path: String,
    /// Names and values, in the order in which they came.
    pub form: Vec<(String, String)>,
}

impl Question {
    /// The first value of that name; empty without one.
    #[must_use]
    pub fn of(&self, name: &str) -> &str {
        let found = self.form.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

type Answer = dyn Fn(Question) -> BoxFuture<'static, (StatusCode, String)> + Send + Sync;

/// A running stand-in; it ends when this is dropped.
pub struct Prometheus {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Prometheus {
    /// Serves on a free port of loopback; `answer` gives status and body of every answer.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(
        answer: impl Fn(Question) -> BoxFuture<'static, (StatusCode, String)> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let answer: Arc<Answer> = Arc::new(answer);
        let router = Router::new()
            // A form comes in the body of a POST and in the query of a GET: clients do either.
            .route("/api/v1/{path}", get(respond).post(respond))
            .with_state(answer);
        let serving = tokio::spawn(async move {
            // It ends only with its listener, and that goes with this task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn respond(
    State(answer): State<Arc<Answer>>,
    Path(path): Path<String>,
    Form(form): Form<Vec<(String, String)>>,
) -> Response {
    let (status, body) = answer(Question { path, form }).await;
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
