//! The HTTP face of the fake server: paths, verbs, answers and watch streams.

use super::store::{Event, Key};
use super::{FakeApi, Fault, Request, Spoil};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

pub(super) fn router(api: FakeApi, client: &str) -> Router {
    let client = client.to_owned();
    Router::new().fallback(
        move |method: Method,
              uri: Uri,
              Query(query): Query<BTreeMap<String, String>>,
              headers: HeaderMap,
              body: Bytes| {
            let (api, client) = (api.clone(), client.clone());
            async move {
                let content_type = headers
                    .get(CONTENT_TYPE)
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                match parse(&method, uri.path(), query) {
                    Some(request) => {
                        let content_type = content_type.to_owned();
                        serve(
                            &api,
                            Request {
                                client,
                                content_type,
                                body,
                                ..request
                            },
                        )
                        .await
                    }
                    None => failure(404, "NotFound", "the fake server does not know this path"),
                }
            }
        },
    )
}

/// Reads `/apis/{group}/{version}[/namespaces/{namespace}]/{plural}[/{name}[/{subresource}]]`, and `/api/v1/…`.
fn parse(method: &Method, path: &str, query: BTreeMap<String, String>) -> Option<Request> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, ""),
        [plural, name] => (*plural, Some(*name), ""),
        [plural, name, subresource] => (*plural, Some(*name), *subresource),
        _ => return None,
    };
    let watching = query
        .get("watch")
        .is_some_and(|watch| watch == "true" || watch == "1");
    let verb = match (method, name) {
        (&Method::GET, None) if watching => "watch",
        (&Method::GET, None) => "list",
        (&Method::GET, Some(_)) => "get",
        (&Method::POST, None) => "create",
        (&Method::PUT, Some(_)) => "update",
        (&Method::PATCH, Some(_)) => "patch",
        (&Method::DELETE, Some(_)) => "delete",
        _ => return None,
    };
    Some(Request {
        at: Instant::now(),
        client: String::new(),
        verb,
        resource: if group.is_empty() {
            plural.to_owned()
        } else {
            format!("{group}/{plural}")
        },
        version: version.to_owned(),
        namespace: namespace.map(ToOwned::to_owned),
        name: name.map(ToOwned::to_owned),
        subresource: subresource.to_owned(),
        query,
        content_type: String::new(),
        body: Value::Null,
    })
}

/// Why a request is refused: code, reason, message.
struct Refusal(u16, &'static str, String);

impl Refusal {
    fn new<T>(code: u16, message: impl Into<String>) -> Result<T, Self> {
        Err(Self(code, reason(code), message.into()))
    }
}

async fn serve(api: &FakeApi, request: Request) -> Response {
    let fault = api.arrive(&request);
    match fault {
        Some(Fault::Status(code)) => {
            let exists = request.verb == "create" && code == 409;
            return failure(
                code,
                if exists { "AlreadyExists" } else { reason(code) },
                "injected by the test",
            );
        }
        Some(Fault::Delay(time)) => sleep(time).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Silent) => {
            return Body::from_stream(stream::pending::<io::Result<Bytes>>()).into_response();
        }
        Some(Fault::Cut) => return broken(),
        Some(Fault::CutAfter | Fault::Late(_)) | None => {}
    }
    let answer = match request.verb {
        "watch" => watch(api, request.clone()),
        "list" => list(api, &request),
        _ => match one(api, &request) {
            Ok((code, object)) => (code, axum::Json(shown(&request, object))).into_response(),
            Err(Refusal(code, reason, message)) => failure(code, reason, &message),
        },
    };
    api.stir();
    match fault {
        Some(Fault::CutAfter) => return broken(),
        Some(Fault::Late(time)) => sleep(time).await,
        _ => {}
    }
    match api.spoiler() {
        Some(spoiler) => spoiled(spoiler.as_ref(), &request, answer).await,
        None => answer,
    }
}

/// A watch that is opened has no body yet; whatever is sent instead of it is its whole answer.
async fn spoiled(spoiler: &dyn Spoil, request: &Request, answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let (whole, body) = if request.verb == "watch" {
        (Bytes::new(), body)
    } else {
        let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (whole.clone(), Body::from(whole))
    };
    let Some(instead) = spoiler.answer(request, &whole) else {
        return Response::from_parts(parts, body);
    };
    let end = instead.cut.then(|| Err(cut()));
    let parts = [Ok(Bytes::from(instead.body))].into_iter().chain(end);
    let code = StatusCode::from_u16(instead.code).unwrap();
    let kind = [(CONTENT_TYPE, instead.content_type)];
    (code, kind, Body::from_stream(stream::iter(parts))).into_response()
}

/// Get, create, update, patch and delete.
fn one(api: &FakeApi, request: &Request) -> Result<(StatusCode, Value), Refusal> {
    if !["", "status"].contains(&request.subresource.as_str()) {
        return Refusal::new(404, "the fake server knows no such subresource");
    }
    if request.verb == "create" {
        return create(api, request).map(|object| (StatusCode::CREATED, object));
    }
    let now = api.clock.now();
    let mut store = api.store();
    let name = request.name.as_deref().unwrap_or_default();
    let key = Key::new(&request.resource, request.namespace.as_deref(), name);
    let Some(old) = store.get(&key) else {
        return Refusal::new(404, format!("{name} not found"));
    };
    let object = match request.verb {
        "get" => old,
        "delete" => {
            let conditions = &request.body["preconditions"];
            let differs = |field| !conditions[field].is_null() && conditions[field] != old["metadata"][field];
            if differs("uid") || differs("resourceVersion") {
                return Refusal::new(409, "the preconditions are not met");
            }
            store.delete(&key, now).unwrap_or_default()
        }
        _ => {
            let wanted = wanted(&old, request)?;
            let version = &wanted["metadata"]["resourceVersion"];
            if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
                return Refusal::new(
                    409,
                    "the object has been modified; apply your changes to the latest version",
                );
            }
            let object = merged(&old, wanted, &request.subresource);
            store.commit(key, object, &manager(request), now)
        }
    };
    Ok((StatusCode::OK, object))
}

fn create(api: &FakeApi, request: &Request) -> Result<Value, Refusal> {
    let mut store = api.store();
    let meta = &request.body["metadata"];
    let generated = || {
        Some(format!(
            "{}{:05}",
            meta["generateName"].as_str()?,
            store.revision()
        ))
    };
    let Some(name) = meta["name"].as_str().map(ToOwned::to_owned).or_else(generated) else {
        return Refusal::new(
            422,
            "metadata.name: Required value: name or generateName is required",
        );
    };
    let key = Key::new(&request.resource, request.namespace.as_deref(), &name);
    if store.get(&key).is_some() {
        return Err(Refusal(409, "AlreadyExists", format!("{name} already exists")));
    }
    let mut object = request.body.clone();
    object.as_object_mut().map(|fields| fields.remove("status"));
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
    ] {
        object["metadata"].as_object_mut().map(|meta| meta.remove(field));
    }
    Ok(store.create(key, object, &manager(request), api.clock.now()))
}

/// The object that an update or a patch asks for.
fn wanted(old: &Value, request: &Request) -> Result<Value, Refusal> {
    if request.verb == "update" {
        if request.body["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
        {
            return Refusal::new(422, "metadata.resourceVersion: must be specified for an update");
        }
        return Ok(request.body.clone());
    }
    let mut object = old.clone();
    match request.content_type.as_str() {
        "application/json-patch+json" => {
            let patch: json_patch::Patch =
                serde_json::from_value(request.body.clone()).or_else(|e| Refusal::new(400, e.to_string()))?;
            json_patch::patch(&mut object, &patch).or_else(|e| Refusal::new(422, e.to_string()))?;
        }
        "application/merge-patch+json" => json_patch::merge(&mut object, &request.body),
        other => return Refusal::new(415, format!("the fake server takes no {other}")),
    }
    Ok(object)
}

fn manager(request: &Request) -> String {
    request
        .query
        .get("fieldManager")
        .unwrap_or(&request.client)
        .clone()
}

/// What a write through one door may change: the status alone, or everything else. Nobody changes an identity.
fn merged(old: &Value, wanted: Value, subresource: &str) -> Value {
    let (mut object, status) = match subresource {
        "status" => (old.clone(), wanted["status"].clone()),
        _ => (wanted, old["status"].clone()),
    };
    if status.is_null() {
        object.as_object_mut().map(|fields| fields.remove("status"));
    } else {
        object["status"] = status;
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        if old["metadata"][field].is_null() {
            object["metadata"].as_object_mut().map(|meta| meta.remove(field));
        } else {
            object["metadata"][field] = old["metadata"][field].clone();
        }
    }
    object
}

/// A page of what there is, of as many as are asked for. The next one goes on after its last, with the revision of the first:
/// a watch from there tells what has changed meanwhile.
fn list(api: &FakeApi, request: &Request) -> Response {
    let store = api.store();
    let limit = request.query.get("limit").and_then(|limit| limit.parse().ok());
    let (revision, after) = match request.query.get("continue") {
        None => (store.revision(), Key::new(&request.resource, None, "")),
        Some(token) => match begun(&request.resource, token) {
            Some(begun) => begun,
            None => return failure(410, "Expired", "the continue token is too old, or nobody's"),
        },
    };
    let (items, last) = store.page(&after, request.namespace.as_deref(), limit, |object| {
        selected(request, object)
    });
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(Key { namespace, name, .. }) = last {
        metadata["continue"] = json!(format!("{revision}/{}/{name}", namespace.unwrap_or_default()));
    }
    let items: Vec<_> = items.into_iter().map(|object| shown(request, object)).collect();
    let page = json!({
        "apiVersion": api_version(request), "kind": "List", "metadata": metadata, "items": items,
    });
    (StatusCode::OK, axum::Json(page)).into_response()
}

/// The revision of a list that goes on, and the last object that was told of it.
fn begun(resource: &str, token: &str) -> Option<(u64, Key)> {
    let (revision, last) = token.split_once('/')?;
    let (namespace, name) = last.split_once('/')?;
    Some((revision.parse().ok()?, Key::new(resource, Some(namespace), name)))
}

/// An open watch.
struct Watch {
    api: FakeApi,
    request: Request,
    stirred: tokio::sync::watch::Receiver<u64>,
    deadline: Instant,
    /// Everything up to here was sent.
    cursor: u64,
    /// Cuts that were there before this watch.
    cuts: usize,
    /// What to send before looking further.
    queue: Vec<Value>,
    over: bool,
}

fn watch(api: &FakeApi, request: Request) -> Response {
    let store = api.store();
    let from = request
        .query
        .get("resourceVersion")
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    let (mut queue, mut cursor) = (Vec::new(), from);
    if from == 0 {
        let present = store.list(&request.resource, request.namespace.as_deref());
        let present = present.into_iter().filter(|object| selected(&request, object));
        queue.extend(present.map(|object| json!({"type": "ADDED", "object": shown(&request, object)})));
        cursor = store.revision();
    }
    drop(store);
    let seconds = request
        .query
        .get("timeoutSeconds")
        .and_then(|s| s.parse().ok())
        .unwrap_or(1800);
    let cuts = api.trouble().cuts.len();
    let watch = Watch {
        api: api.clone(),
        request,
        stirred: api.stirred.subscribe(),
        deadline: Instant::now() + Duration::from_secs(seconds),
        cursor,
        cuts,
        queue,
        over: false,
    };
    let lines = stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        let text = watch.next().await?;
        let spoiler = watch.api.spoiler();
        let instead = spoiler.and_then(|spoiler| spoiler.lines(&watch.request, &text));
        let (lines, goes_on) = instead.unwrap_or((text.into_bytes(), true));
        let end = (!goes_on).then(|| Err(cut()));
        let lines = stream::iter([Ok(lines)].into_iter().chain(end));
        Some((lines, goes_on.then_some(watch)))
    })
    .flatten();
    (
        StatusCode::OK,
        [(CONTENT_TYPE, "application/json")],
        Body::from_stream(lines),
    )
        .into_response()
}

impl Watch {
    /// The next lines to send; None when the watch ends.
    async fn next(&mut self) -> Option<String> {
        loop {
            if !self.queue.is_empty() {
                return Some(self.queue.drain(..).map(|event| line(&event)).collect());
            }
            if self.over || self.api.is_cut(&self.request, self.cuts) {
                return None;
            }
            let news = self.api.store().since(self.cursor);
            let Some(news) = news else {
                self.over = true;
                let status = status(410, "Expired", "too old resource version");
                self.queue.push(json!({"type": "ERROR", "object": status}));
                continue;
            };
            self.cursor = news.last().map_or(self.cursor, |event| event.revision);
            let request = &self.request;
            let ours = news.into_iter().filter(|event| concerns(request, event));
            let shown = |event: Event| json!({"type": event.kind, "object": shown(request, event.object)});
            self.queue.extend(ours.map(shown));
            if self.queue.is_empty() {
                tokio::select! {
                    () = sleep_until(self.deadline) => return None,
                    _ = self.stirred.changed() => {}
                }
            }
        }
    }
}

/// An event of a watch as API servers write it: its type comes first.
pub(crate) fn line(event: &Value) -> String {
    let mut fields = event.as_object().cloned().unwrap_or_default();
    let first = fields.remove("type").map(|kind| ("type".to_owned(), kind));
    let fields = first.into_iter().chain(fields);
    let fields: Vec<_> = fields
        .map(|(name, value)| format!("{}:{value}", json!(name)))
        .collect();
    format!("{{{}}}\n", fields.join(","))
}

fn concerns(request: &Request, event: &Event) -> bool {
    event.key.resource == request.resource
        && (request.namespace.is_none() || event.key.namespace == request.namespace)
        && selected(request, &event.object)
}

/// Whether an object matches the field and label selectors (`a=b`, `a==b`, `a!=b`, `a`, `!a`).
fn selected(request: &Request, object: &Value) -> bool {
    let terms = |name: &str| {
        let text = request.query.get(name).cloned().unwrap_or_default();
        text.split(',')
            .filter(|term| !term.is_empty())
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    let meta = &object["metadata"];
    let field = |name: &str| meta[name.trim_start_matches("metadata.")].as_str();
    terms("fieldSelector").iter().all(|term| holds(term, field))
        && terms("labelSelector")
            .iter()
            .all(|term| holds(term, |label| meta["labels"][label].as_str()))
}

fn holds<'o>(term: &str, value: impl Fn(&str) -> Option<&'o str>) -> bool {
    if let Some((name, wanted)) = term.split_once("!=") {
        value(name) != Some(wanted)
    } else if let Some((name, wanted)) = term.split_once('=') {
        value(name) == Some(wanted.trim_start_matches('='))
    } else if let Some(name) = term.strip_prefix('!') {
        value(name).is_none()
    } else {
        value(term).is_some()
    }
}

fn api_version(request: &Request) -> String {
    match request.resource.split_once('/') {
        Some((group, _)) => format!("{group}/{}", request.version),
        None => request.version.clone(),
    }
}

/// An object in the version that was asked for.
fn shown(request: &Request, mut object: Value) -> Value {
    object["apiVersion"] = json!(api_version(request));
    object
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn failure(code: u16, reason: &str, message: &str) -> Response {
    (
        StatusCode::from_u16(code).unwrap(),
        axum::Json(status(code, reason, message)),
    )
        .into_response()
}

fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}

/// An answer whose connection breaks before it arrives.
fn broken() -> Response {
    Body::from_stream(stream::iter([Err::<Bytes, _>(cut())])).into_response()
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut by the test")
}
