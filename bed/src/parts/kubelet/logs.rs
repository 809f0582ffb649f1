//! What `kubectl logs` asks a kubelet for, by way of the API server: the log of a container, once or as it grows.
//! It answers whoever asks on loopback, and knows neither `--previous` nor `--since`.

use std::{
    io::SeekFrom,
    net::{Ipv4Addr, SocketAddr},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::stream;
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    net::TcpListener,
};

use super::{Context, KubeletError};
use crate::parts::tls::{TlsIdentity, TlsListener, acceptor};

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// Listens on loopback with a certificate made on the spot, which the API server does not check. Gives the port.
pub(super) async fn listen() -> Result<(TlsListener, u16), KubeletError> {
    let made = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])?;
    let identity = TlsIdentity {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    };
    let acceptor = acceptor(&identity)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address: SocketAddr = listener.local_addr()?;
    Ok((TlsListener::new(listener, address, acceptor), address.port()))
}

/// Answers until the kubelet ends.
pub(super) async fn serve(context: Arc<Context>, listener: TlsListener) {
    let router = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_log))
        .with_state(Arc::clone(&context));
    // Followers would keep a graceful end waiting.
    context
        .stop
        .run_until_cancelled(axum::serve(listener, router).into_future())
        .await;
}

/// The options that matter here, as the API server passes them on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    follow: bool,
    tail_lines: Option<usize>,
}

async fn container_log(
    State(context): State<Arc<Context>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = context.logs_of(&namespace, &pod).join(format!("{container}.log"));
    let Ok((text, read)) = tail(&path, asked.tail_lines).await else {
        return (
            StatusCode::NOT_FOUND,
            format!("no log of {namespace}/{pod} {container}\n"),
        )
            .into_response();
    };
    if !asked.follow {
        return text.into_response();
    }
    let follower = Follower {
        context,
        pod: (namespace, pod),
        container,
        path,
        read,
    };
    let grown = stream::unfold((follower, Some(text)), |(mut follower, first)| async move {
        let text = match first {
            Some(text) => text,
            None => follower.next().await?,
        };
        Some((Ok::<_, std::io::Error>(text), (follower, None)))
    });
    Body::from_stream(grown).into_response()
}

/// The last `lines` of a file (all without), and how long it was.
async fn tail(path: &FilePath, lines: Option<usize>) -> std::io::Result<(Vec<u8>, u64)> {
    let mut bytes = tokio::fs::read(path).await?;
    let length = bytes.len() as u64;
    if let Some(lines) = lines {
        // The newline at the end closes the last line and begins none.
        let ends = bytes
            .iter()
            .enumerate()
            .rev()
            .skip(1)
            .filter(|(_, byte)| **byte == b'\n');
        let start = match lines.checked_sub(1) {
            Some(before) => ends.map(|(at, _)| at + 1).nth(before).unwrap_or_default(),
            None => bytes.len(),
        };
        bytes.drain(..start);
    }
    Ok((bytes, length))
}

/// Reads on where a log was read to, until the container has ended for good.
struct Follower {
    context: Arc<Context>,
    pod: (String, String),
    container: String,
    path: PathBuf,
    read: u64,
}

impl Follower {
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            // Asked first, so that what it wrote at its end is not missed.
            let may_write = self.may_write();
            let more = self.more().await.ok()?;
            if !more.is_empty() {
                return Some(more);
            }
            if !may_write {
                return None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn may_write(&self) -> bool {
        let board = self.context.boards().get(&self.pod).cloned();
        let containers = board.map(|board| board.containers()).unwrap_or_default();
        containers
            .iter()
            .any(|container| container.name == self.container && !container.over)
    }

    async fn more(&mut self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path).await?;
        file.seek(SeekFrom::Start(self.read)).await?;
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes).await? as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tail_is_the_last_lines_whole() {
        let path = std::env::temp_dir().join(format!("bed-tail-{}", std::process::id()));
        let tail = async |lines| {
            let (bytes, length) = tail(&path, lines).await.unwrap();
            assert_eq!(length, 6);
            String::from_utf8(bytes).unwrap()
        };
        for text in ["a\nb\ncd", "a\n\nbc\n"] {
            std::fs::write(&path, text).unwrap();
            let last = text.lines().last().unwrap();
            assert_eq!(tail(Some(1)).await.trim_end(), last);
            assert_eq!(tail(Some(2)).await.lines().count(), 2);
            assert_eq!(tail(Some(9)).await, text);
            assert_eq!(tail(None).await, text);
            assert_eq!(tail(Some(0)).await, "");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
