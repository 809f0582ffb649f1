//! The API server: how a client of it is made, and that no answer of it is nested more deeply than can be read, or larger.

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
use tower::{BoxError, Layer, Service};

use super::depth::Flatter;
use super::size::{Answer, Meter};

/// The longest that the making of a connection may take.
const CONNECTING: Duration = Duration::from_secs(4);

/// For so many seconds a watch goes on; then its server ends it, and it is begun anew from where it stood.
pub const WATCH_SECONDS: u32 = 30;

/// A connection that is read from and brings nothing for so long is dead: no watch is silent for longer.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// The configuration of a client for the controller: it must not retry by itself. kube's own policy would sit on a
/// 429 or 503 for minutes, while a rollback has to be tried again within a second, on a fresh look. Nor may it wait for ever
/// for a list or a watch that is not answered: kube sets no limit of its own.
#[must_use]
pub fn client_config(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECTING);
    config.read_timeout.get_or_insert(SILENCE);
    // Else a connection that had nothing to do until now would have no time left.
    config.reset_reader_on_write = true;
    config
}

/// A client that does not retry by itself, which one object that is nested too deeply does not keep from the others, and
/// whose memory no answer fills.
///
/// # Errors
/// The configuration names what cannot be used.
pub fn connect(config: Config) -> kube::Result<Client> {
    let stack = ClientBuilder::try_from(client_config(config))?;
    Ok(stack.with_layer(&Shallow).build())
}

/// Every answer of the service below it passes a [`Flatter`] and a [`Meter`].
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
        let kind = Answer::of(request.uri().query().unwrap_or_default());
        let answer = self.0.call(request);
        answer.map_ok(move |answer| shallow(answer, kind)).boxed()
    }
}

fn shallow<B>(answer: Response<B>, kind: Answer) -> Response<ShallowBody<B>> {
    let (mut head, inner) = answer.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    let body = ShallowBody {
        inner,
        flatter: Flatter::new(kind.shape()),
        meter: Meter::new(kind),
    };
    Response::from_parts(head, body)
}

/// A body that passes a [`Flatter`] and a [`Meter`] as it comes.
#[derive(Debug)]
pub struct ShallowBody<B> {
    inner: B,
    flatter: Flatter,
    meter: Meter,
}

impl<B> Body for ShallowBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            };
            let piece = match frame.into_data() {
                Ok(piece) => piece,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            this.meter.pass(&piece)?;
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body as AxumBody;
    use futures::{StreamExt as _, stream};
    use kube::Api;
    use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
    use kube::runtime::{WatchStreamExt as _, watcher};
    use serde_json::json;

    use super::super::size::{MAX_OBJECT, MAX_PAGE, PAGE};
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
        assert!(listed[1].status.text().contains("nested too deeply"));
        assert_eq!(listed[2].status.text(), "{}");
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

    /// A server that takes every question and never answers is one whose watches are silent, too.
    #[tokio::test]
    async fn a_list_that_is_never_answered_is_an_error() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let _taken = tokio::spawn(async move {
            let mut taken = Vec::new();
            loop {
                taken.push(server.accept().await);
            }
        });
        let mut config = Config::new(url.parse().unwrap());
        let made = client_config(config.clone());
        assert_eq!(
            (made.read_timeout, made.reset_reader_on_write),
            (Some(SILENCE), true)
        );
        config.read_timeout = Some(Duration::from_millis(20));
        let api: Api<RawBirdWatch> = Api::default_namespaced(connect(config).unwrap());
        api.list(&ListParams::default()).await.unwrap_err();
        let params = WatchParams::default();
        assert!(api.watch(&params, "0").await.is_err());
    }

    /// A server whose every answer begins like this and has no end; and how much of it was taken so far.
    fn endless(head: &'static str) -> (Client, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&sent);
        let router = axum::Router::new().fallback(move || {
            let counting = Arc::clone(&counting);
            let piece = Bytes::from(vec![b' '; 1 << 20]);
            let blanks = stream::repeat_with(move || {
                counting.fetch_add(piece.len(), Ordering::Relaxed);
                piece.clone()
            });
            let body = stream::iter([Bytes::from(head)]).chain(blanks);
            async move { AxumBody::from_stream(body.map(Ok::<_, std::io::Error>)) }
        });
        (Client::new(Shallow.layer(router), "shop"), sent)
    }

    /// What a call of a server without end fails with; it took no more of the answer than that, and a piece under way.
    async fn fails<T: std::fmt::Debug>(
        most: usize,
        head: &'static str,
        call: impl AsyncFnOnce(Api<RawBirdWatch>) -> kube::Result<T>,
    ) -> String {
        let (client, taken) = endless(head);
        let error = call(Api::default_namespaced(client)).await.unwrap_err();
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken <= most + (2 << 20), "{taken} bytes: {error}");
        error.to_string()
    }

    #[tokio::test]
    async fn an_answer_without_end_is_an_error_that_names_the_limit() {
        let object = "16 MiB, the most that is read of one object";
        let patch = Patch::Merge(json!({}));
        for said in [
            fails(MAX_OBJECT, "{", async |api| api.get("one").await).await,
            fails(MAX_OBJECT, "{", async |api| {
                api.patch("one", &PatchParams::default(), &patch).await
            })
            .await,
            fails(MAX_OBJECT, "{", async |api| {
                let object = RawBirdWatch::default();
                api.replace_status("one", &PostParams::default(), &object).await
            })
            .await,
            // So it is for a list that nobody asks for in pages.
            fails(MAX_OBJECT, "{", async |api| {
                api.list(&ListParams::default()).await
            })
            .await,
        ] {
            assert!(said.contains(object), "{said}");
        }
        let page = ListParams::default().limit(PAGE);
        let said = fails(MAX_PAGE, "{\"items\":[", async |api| api.list(&page).await).await;
        assert!(said.contains("80 MiB, the most that is read of a list"), "{said}");
    }

    #[tokio::test]
    async fn a_line_of_a_watch_without_end_is_an_error_after_those_before_it() {
        let head = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"one\"}}}\n{";
        let (client, taken) = endless(head);
        let api: Api<RawBirdWatch> = Api::default_namespaced(client);
        let events = api.watch(&WatchParams::default(), "0").await.unwrap();
        let events: Vec<_> = events.collect().await;
        assert!(matches!(&events[0], Ok(WatchEvent::Added(_))), "{events:?}");
        let said = events[1].as_ref().unwrap_err().to_string();
        assert!(
            said.contains("16 MiB, the most that is read of one event"),
            "{said}"
        );
        assert_eq!(events.len(), 2);
        assert!(taken.load(Ordering::Relaxed) <= MAX_OBJECT + (2 << 20));
    }

    #[tokio::test]
    async fn what_has_no_end_however_deep_is_an_error_too() {
        let router = axum::Router::new().fallback(|| async {
            let pieces = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from("[".repeat(1 << 16))));
            AxumBody::from_stream(pieces)
        });
        let api: Api<RawBirdWatch> = Api::default_namespaced(Client::new(Shallow.layer(router), "shop"));
        let said = api.get("one").await.unwrap_err().to_string();
        assert!(said.contains("16 MiB"), "{said}");
    }

    /// An object of this many bytes.
    fn large(length: usize) -> String {
        let text = object("one", "\"\"");
        text.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(length - text.len())))
    }

    #[tokio::test]
    async fn what_etcd_takes_passes_and_so_does_a_whole_page_of_it() {
        let router = axum::Router::new().fallback(|request: axum::extract::Request| async move {
            if request.uri().path().ends_with("/one") {
                return large(MAX_OBJECT);
            }
            let all = vec![large(3 << 19); PAGE as usize];
            format!(r#"{{"metadata":{{}},"items":[{}]}}"#, all.join(","))
        });
        let api: Api<RawBirdWatch> = Api::default_namespaced(Client::new(Shallow.layer(router), "shop"));
        assert_eq!(api.get("one").await.unwrap().name().name, "one");
        let page = api.list(&ListParams::default().limit(PAGE)).await.unwrap();
        assert_eq!(page.items.len(), PAGE as usize);
    }

    /// One whose first answer has no end is asked again, as after any other failure.
    #[tokio::test(start_paused = true)]
    async fn a_list_without_end_is_asked_for_again_and_the_next_answer_is_believed() {
        let asked = Arc::new(AtomicUsize::new(0));
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            let is_list = request.uri().query().unwrap_or_default().contains("limit=");
            async move {
                if is_first {
                    let blanks = Bytes::from(vec![b' '; 1 << 20]);
                    return AxumBody::from_stream(stream::repeat_with(move || {
                        Ok::<_, std::io::Error>(blanks.clone())
                    }));
                }
                let list = format!(
                    r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
                    object("one", "{}")
                );
                AxumBody::from(if is_list { list } else { String::new() })
            }
        });
        let api: Api<RawBirdWatch> = Api::default_namespaced(Client::new(Shallow.layer(router), "shop"));
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut said = Vec::new();
        let found = loop {
            match events.next().await.unwrap() {
                Ok(watcher::Event::InitApply(object)) => break object,
                Ok(_) => {}
                Err(error) => said.push(format!("{error}")),
            }
        };
        assert_eq!(found.name().name, "one");
        assert!(
            said.len() == 1 && said[0].contains("80 MiB, the most that is read of a list"),
            "{said:?}"
        );
    }
}
