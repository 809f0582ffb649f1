//! The stand-in's HTTP face: reads calls, asks the book, answers in Slack's shapes.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Form, Json, Router,
    extract::{self, FromRequest, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Shared,
    book::{Book, Call, Manner, Message, Mode, Refusal, Request},
};
use crate::clock;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/api/{method}", post(call))
        .route("/messages", get(messages))
        .route("/calls", get(calls))
        .route("/mode", post(set_mode).get(mode))
        .with_state(shared)
}

async fn messages(State(shared): State<Arc<Shared>>) -> Json<Vec<Message>> {
    Json(shared.book().messages.clone())
}

async fn calls(State(shared): State<Arc<Shared>>) -> Json<Vec<Call>> {
    Json(shared.book().calls.clone())
}

async fn mode(State(shared): State<Arc<Shared>>) -> Json<Mode> {
    Json(shared.book().mode.clone())
}

async fn set_mode(State(shared): State<Arc<Shared>>, Json(mode): Json<Mode>) -> Json<Mode> {
    shared.book().mode = mode.clone();
    Json(mode)
}

/// Every call of Slack's API.
async fn call(
    State(shared): State<Arc<Shared>>,
    Path(method): Path<String>,
    request: extract::Request,
) -> Response {
    let headers = request.headers().clone();
    let body = read(request).await;
    let at = clock::now();
    let response = {
        let mut book = shared.book();
        let mode = book.manner();
        let outcome = match mode.mode {
            Manner::Ok => decide(&shared, &mut book, &method, &headers, body.as_ref()),
            Manner::TooMany => Err(Refusal::Wait(mode.retry_after)),
            Manner::NotOk => Err(Refusal::No(mode.error)),
            Manner::Broken => Ok(Answer::Broken),
            Manner::Silence => Ok(Answer::Never),
        };
        let (outcome, response) = answer(outcome);
        book.calls.push(Call {
            at,
            method,
            body: body.unwrap_or(Value::Null),
            outcome,
        });
        response
    };
    match response {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

/// What a call that is not refused gets.
enum Answer {
    Posted(Message),
    Updated(Message),
    Broken,
    Never,
}

fn decide(
    shared: &Shared,
    book: &mut Book,
    method: &str,
    headers: &HeaderMap,
    body: Option<&Value>,
) -> Result<Answer, Refusal> {
    let no = |word: &str| Refusal::No(word.to_owned());
    let Some(token) = headers.get(header::AUTHORIZATION) else {
        return Err(no("not_authed"));
    };
    if token
        .to_str()
        .ok()
        .and_then(|token| token.strip_prefix("Bearer "))
        != Some(&shared.token)
    {
        return Err(no("invalid_auth"));
    }
    let body = body.ok_or_else(|| no("invalid_json"))?;
    let request: Request = serde_json::from_value(body.clone()).map_err(|_| no("invalid_arguments"))?;
    let (at, instant) = (clock::now(), Instant::now());
    let by = headers
        .get(header::USER_AGENT)
        .and_then(|by| by.to_str().ok())
        .unwrap_or_default();
    match method {
        "chat.postMessage" => book.post(request, by, at, instant).map(Answer::Posted),
        "chat.update" => book.update(request, at, instant).map(Answer::Updated),
        _ => Err(no("unknown_method")),
    }
}

/// The word for the record, and the response; none when there shall be no answer.
fn answer(outcome: Result<Answer, Refusal>) -> (String, Option<Response>) {
    match outcome {
        Ok(Answer::Posted(message)) => {
            let body = json!({ "ok": true, "channel": message.channel, "ts": message.ts, "message": shape(&message) });
            ("ok".to_owned(), Some(Json(body).into_response()))
        }
        Ok(Answer::Updated(message)) => {
            let body = json!({
                "ok": true, "channel": message.channel, "ts": message.ts, "text": message.text,
                "message": shape(&message),
            });
            ("ok".to_owned(), Some(Json(body).into_response()))
        }
        Ok(Answer::Broken) => (
            "500".to_owned(),
            Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        ),
        Ok(Answer::Never) => ("silence".to_owned(), None),
        Err(Refusal::No(word)) => {
            let body = json!({ "ok": false, "error": word });
            (word, Some(Json(body).into_response()))
        }
        Err(Refusal::Wait(seconds)) => {
            let headers = [(header::RETRY_AFTER, seconds.to_string())];
            let body = Json(json!({ "ok": false, "error": "ratelimited" }));
            let response = (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response();
            ("ratelimited".to_owned(), Some(response))
        }
    }
}

/// A message as Slack's answers show it.
fn shape(message: &Message) -> Value {
    let mut shape = json!({
        "type": "message", "user": "U0BIRDWATCH", "bot_id": "B0BIRDWATCH", "app_id": "A0BIRDWATCH",
        "ts": message.ts, "text": message.text,
    });
    if let Some(parent) = &message.thread_ts {
        shape["thread_ts"] = parent.as_str().into();
    }
    if let Some(blocks) = &message.blocks {
        shape["blocks"] = blocks.clone();
    }
    shape
}

/// The arguments of a call: a JSON object, or a form in which blocks are JSON text. None when it is neither.
async fn read(request: extract::Request) -> Option<Value> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/json")) {
        let Json(body) = Json::<Value>::from_request(request, &()).await.ok()?;
        return body.is_object().then_some(body);
    }
    let Form(form) = Form::<BTreeMap<String, String>>::from_request(request, &())
        .await
        .ok()?;
    let field = |(name, text): (String, String)| {
        let value = match name.as_str() {
            "blocks" => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            _ => Value::String(text),
        };
        (name, value)
    };
    Some(form.into_iter().map(field).collect())
}
