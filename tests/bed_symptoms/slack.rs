//! A Slack that refuses what it is told in some channels; what is told in others goes on to the stand-in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use birdwatch_bed::parts::slack::Slack;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What each channel is refused with.
#[derive(Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<BTreeMap<String, &'static str>>>);

impl Refusals {
    pub(crate) fn set(&self, channel: &str, code: &'static str) {
        self.0.lock().unwrap().insert(channel.to_owned(), code);
    }

    fn of(&self, body: &[u8]) -> Option<&'static str> {
        let told: Value = serde_json::from_slice(body).ok()?;
        let channel = told["channel"].as_str()?.trim_start_matches('#');
        self.0.lock().unwrap().get(channel).copied()
    }
}

#[derive(Clone)]
struct Door {
    refusals: Refusals,
    beyond: String,
    http: reqwest::Client,
}

/// Where the operator finds it.
pub(crate) async fn stand_before(slack: &Slack, refusals: &Refusals) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door {
        refusals: refusals.clone(),
        beyond: slack.api_url(),
        http: reqwest::Client::new(),
    };
    let router = Router::new().route("/api/{method}", post(pass)).with_state(door);
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (format!("http://{address}/api"), AbortOnDropHandle::new(serving))
}

async fn pass(
    State(door): State<Door>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(error) = door.refusals.of(&body) {
        return Json(json!({"ok": false, "error": error})).into_response();
    }
    let mut request = door.http.post(format!("{}/{method}", door.beyond)).body(body);
    for name in ["authorization", "content-type", "user-agent"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value.as_bytes());
        }
    }
    let answer = request.send().await.unwrap();
    let (status, wait) = (
        answer.status().as_u16(),
        answer.headers().get("retry-after").cloned(),
    );
    let body = answer.bytes().await.unwrap();
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    let headers = response.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    if let Some(wait) = wait {
        headers.insert("retry-after", wait.as_bytes().try_into().unwrap());
    }
    response
}
