//! The API server: how a client of it is made, and that no answer of it is nested more deeply than can be read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Request, Response};
use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use http_body::{Body, Frame};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::{Layer, Service};

use super::depth::{Flatter, Shape};

/// The longest that the making of a connection may take.
const CONNECTING: Duration = Duration::from_secs(4);

/// The configuration of a client for the controller: it must not retry by itself. kube's own policy would sit on a
/// 429 or 503 for minutes, while a rollback has to be tried again within a second, on a fresh look.
#[must_use]
pub fn client_config(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECTING);
    config
}

/// A client that does not retry by itself, and which one object that is nested too deeply does not keep from the others.
///
/// # Errors
/// The configuration names what cannot be used.
pub fn connect(config: Config) -> kube::Result<Client> {
    let stack = ClientBuilder::try_from(client_config(config))?;
    Ok(stack.with_layer(&Shallow).build())
}

/// Every answer of the service below it passes a [`Flatter`].
#[derive(Clone, Copy, Debug)]
pub struct Shallow;

impl<S> Layer<S> for Shallow {
    type Service = ShallowService<S>;

    fn layer(&self, inner: S) -> ShallowService<S> {
        ShallowService(inner)
    }
}

/// See [`Shallow`].
#[derive(Clone, Debug)]
pub struct ShallowService<S>(S);

impl<S, A, B> Service<Request<A>> for ShallowService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<ShallowBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let shape = shape(request.uri().query().unwrap_or_default());
        let answer = self.0.call(request);
        answer.map_ok(move |answer| shallow(answer, shape)).boxed()
    }
}

/// A watch is answered by one event in each line.
fn shape(query: &str) -> Shape {
    let is_watch = query
        .split('&')
        .any(|part| matches!(part, "watch=true" | "watch=1"));
    if is_watch { Shape::Lines } else { Shape::Document }
}

fn shallow<B>(answer: Response<B>, shape: Shape) -> Response<ShallowBody<B>> {
    let (mut head, inner) = answer.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    let flatter = Flatter::new(shape);
    Response::from_parts(head, ShallowBody { inner, flatter })
}

/// A body that passes a [`Flatter`] as it comes.
#[derive(Debug)]
pub struct ShallowBody<B> {
    inner: B,
    flatter: Flatter,
}

impl<B: Body<Data = Bytes> + Unpin> Body for ShallowBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        loop {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let piece = match frame.into_data() {
                Ok(piece) => piece,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let made = match this.flatter.pass(&piece) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(made) => Some(Bytes::from(made)),
            };
            let piece = made.unwrap_or(piece);
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AxumBody;
    use futures::{StreamExt as _, stream};
    use kube::Api;
    use kube::api::{ListParams, WatchEvent, WatchParams};
    use serde_json::json;

    use super::*;
    use crate::controller::objects::RawBirdWatch;

    const LEVELS: usize = 1000;

    fn object(name: &str, status: &str) -> String {
        format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"1"}},"status":{status}}}"#)
    }

    /// A server with one deep object between two others, whose answers come in small pieces.
    fn client() -> Client {
        let deep = format!("{}1{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
        let all = [object("one", "{}"), object("deep", &deep), object("two", "{}")];
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let event = |object: &String| format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n");
            let text = if request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch=true"))
            {
                all.iter().map(event).collect()
            } else if request.uri().path().ends_with("/deep") {
                all[1].clone()
            } else {
                format!(
                    r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
                    all.join(",")
                )
            };
            let pieces: Vec<_> = text.into_bytes().chunks(7).map(<[u8]>::to_vec).collect();
            let pieces = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
            async move { AxumBody::from_stream(pieces) }
        });
        Client::new(Shallow.layer(router), "shop")
    }

    #[tokio::test]
    async fn a_deep_object_is_listed_got_and_watched_and_so_are_those_beside_it() {
        let api: Api<RawBirdWatch> = Api::default_namespaced(client());
        let names = |all: &[RawBirdWatch]| -> Vec<_> { all.iter().map(|one| one.name().name).collect() };
        let listed = api.list(&ListParams::default()).await.unwrap().items;
        assert_eq!(names(&listed), ["one", "deep", "two"]);
        assert!(listed[1].status.to_string().contains("nested too deeply"));
        assert_eq!(listed[2].status, json!({}));
        assert_eq!(api.get("deep").await.unwrap().name().name, "deep");
        let events = api.watch(&WatchParams::default(), "0").await.unwrap();
        let events: Vec<_> = events.collect().await;
        let seen = events.into_iter().map(|event| match event.unwrap() {
            WatchEvent::Added(object) => object,
            other => panic!("{other:?}"),
        });
        assert_eq!(names(&seen.collect::<Vec<_>>()), ["one", "deep", "two"]);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error() {
        let router = axum::Router::new().fallback(|| async {
            let parts = [Ok("{\"items\":["), Err(std::io::Error::other("cut"))];
            AxumBody::from_stream(stream::iter(parts))
        });
        let api: Api<RawBirdWatch> = Api::default_namespaced(Client::new(Shallow.layer(router), "shop"));
        let error = api.list(&ListParams::default()).await.unwrap_err();
        assert!(matches!(error, kube::Error::Service(_)), "{error:?}");
    }

    #[test]
    fn a_watch_is_known_by_its_query() {
        assert_eq!(shape("watch=true&timeoutSeconds=290"), Shape::Lines);
        assert_eq!(shape("limit=500&watch=1"), Shape::Lines);
        assert_eq!(shape("limit=500&fieldSelector=watch"), Shape::Document);
    }
}
