//! The watches that run through the proxy, line by line, and how to disturb them.

use std::{io, time::Duration};

use axum::body::{Body, BodyDataStream, Bytes};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// How to disturb the watches that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// They end in order, as every watch does in the end.
    Close,
    /// Their connections break.
    Cut,
    /// They bring nothing any more, and do not end.
    Silent,
    /// They say that what they have shown is too old to go on from, and end.
    Gone,
    /// For so long they bring bookmarks of where they stand and nothing else, then their connections break.
    BookmarksOnly(Duration),
}

/// What the open watches of a proxy are told.
#[derive(Debug)]
pub(super) struct Watches(watch::Sender<Option<Disturbance>>);

impl Default for Watches {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl Watches {
    /// Disturbs those that are open now.
    pub(super) fn disturb(&self, how: Disturbance) {
        self.0.send_replace(Some(how));
    }

    /// The body of a watch: what the server says, until it is disturbed. `object` is what a bookmark of it shows before
    /// anything was seen.
    pub(super) fn body(&self, upstream: Body, object: Value) -> Body {
        let mut told = self.0.subscribe();
        told.mark_unchanged();
        let (lines, mut out) = mpsc::channel(64);
        let line = Line {
            upstream: upstream.into_data_stream(),
            buffer: Vec::new(),
            object,
            lines,
        };
        tokio::spawn(line.run(told));
        Body::from_stream(stream::poll_fn(move |context| out.poll_recv(context)))
    }
}

/// One watch.
struct Line {
    upstream: BodyDataStream,
    buffer: Vec<u8>,
    /// apiVersion, kind and resourceVersion of what was shown last.
    object: Value,
    lines: mpsc::Sender<io::Result<Bytes>>,
}

impl Line {
    async fn run(mut self, mut told: watch::Receiver<Option<Disturbance>>) {
        loop {
            tokio::select! {
                biased;
                () = self.lines.closed() => return,
                Ok(()) = told.changed() => {
                    let how = told.borrow_and_update().clone();
                    return self.end(how.unwrap_or(Disturbance::Close)).await;
                }
                more = self.upstream.next() => match more {
                    Some(Ok(more)) => self.take(&more).await,
                    Some(Err(error)) => return self.send(Err(io::Error::other(error))).await,
                    None => return,
                },
            }
        }
    }

    /// Passes on whole lines, and notes how far they go.
    async fn take(&mut self, more: &[u8]) {
        self.buffer.extend_from_slice(more);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if let Ok(event) = serde_json::from_slice::<Value>(&line)
                && event["object"]["metadata"]["resourceVersion"].is_string()
            {
                self.object = standing(&event["object"]);
            }
            self.send(Ok(line.into())).await;
        }
    }

    async fn end(mut self, how: Disturbance) {
        match how {
            Disturbance::Close => {}
            Disturbance::Cut => self.cut().await,
            Disturbance::Silent => self.lines.closed().await,
            Disturbance::Gone => {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
                    "code": 410, "message": "The resourceVersion for the provided watch is too old.",
                });
                self.event("ERROR", status).await;
            }
            Disturbance::BookmarksOnly(lasting) => self.bookmarks(lasting).await,
        }
    }

    /// Bookmarks never say more than was shown: a server promises that nothing before them is missing.
    async fn bookmarks(&mut self, lasting: Duration) {
        const EVERY: Duration = Duration::from_millis(500);
        let until = Instant::now() + lasting;
        while Instant::now() < until {
            self.event("BOOKMARK", self.object.clone()).await;
            let next = (Instant::now() + EVERY).min(until);
            tokio::select! {
                () = self.lines.closed() => return,
                () = sleep_until(next) => {}
            }
        }
        self.cut().await;
    }

    async fn cut(&mut self) {
        self.send(Err(io::ErrorKind::ConnectionReset.into())).await;
    }

    async fn event(&mut self, kind: &str, object: Value) {
        let mut line = json!({"type": kind, "object": object}).to_string();
        line.push('\n');
        self.send(Ok(line.into())).await;
    }

    /// Nobody listening is noticed in [`Line::run`].
    async fn send(&mut self, line: io::Result<Bytes>) {
        drop(self.lines.send(line).await);
    }
}

/// What a bookmark shows of an object, or of a list.
pub(super) fn standing(object: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default();
    json!({
        "apiVersion": object["apiVersion"],
        "kind": kind.strip_suffix("List").unwrap_or(kind),
        "metadata": {"resourceVersion": object["metadata"]["resourceVersion"], "creationTimestamp": null},
    })
}
