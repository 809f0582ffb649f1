//! Connections to the admin port: how many there are at a time, and what each may cost. Knows no page.
//!
//! Anybody in reach may connect, so there is a bound to how many do, to the time of each, to what is read of it and to what the
//! kernel keeps for it: some 30 MiB for all of them, besides what they are answered.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The most connections at a time. One more closes the oldest: a probe gets through whoever holds the others.
const MOST_CONNECTIONS: usize = 64;

/// The most that is read of a request before its head ends. Probes and scrapes have some hundred bytes.
const MOST_HEAD: usize = 16 << 10;

/// What the kernel keeps of a request that is not read and of an answer that is not taken: twice this. Left alone it keeps
/// megabytes, in memory that counts as the pod's.
const RECEIVE_BUFFER: u32 = 64 << 10;
const SEND_BUFFER: u32 = 128 << 10;

/// As listeners of tokio's have it.
const BACKLOG: u32 = 128;

/// How long it waits where the system has no connection to give (no file is left): it would have none at once again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a stop waits for those who have their answer and do not close.
const PARTING: Duration = Duration::from_secs(1);

/// How long a connection has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Until the head of its request is there.
    pub(super) head: Duration,
    /// Until the last byte of its answer is taken.
    pub(super) whole: Duration,
}

/// Probes wait for 5 s, and Prometheus for 10 s unless it is told otherwise.
pub(super) const LIMITS: Limits = Limits {
    head: Duration::from_secs(5),
    whole: Duration::from_secs(10),
};

type Connection = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

/// Listens on `address`.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Else one that starts anew waits for the last connections of the one before.
    socket.set_reuseaddr(true)?;
    // Connections inherit them.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers with `pages` until `stop`, then finishes the answers under way.
pub(super) async fn serve(listener: TcpListener, pages: Router, limits: Limits, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    // One request each: a connection that is kept would end at its deadline in the middle of an answer.
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MOST_HEAD)
        .keep_alive(false);
    let mut open = Open::default();
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            stream = accept(&listener) => stream,
        };
        let service = TowerToHyperService::new(pages.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        open.admit(connection, limits.whole, &stop).await;
    }
    drop(listener);
    open.end().await;
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the admin port takes no connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the other side was gone before it was accepted; the next one may be there.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Answers on one connection, within `whole`, unless it is cut off before. When it ends, `cut` is cancelled.
async fn attend(
    mut connection: Connection,
    whole: Duration,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let _ended = cut.clone().drop_guard();
    let mut over = pin!(timeout(whole, cut.cancelled()));
    let is_answered = tokio::select! {
        // Whatever else is wrong with a request, its sender may have been told.
        answered = answer(&mut connection, &stop) => !answered.is_err_and(|error| error.is_timeout()),
        _ = over.as_mut() => false,
    };
    let mut stream = connection.into_parts().io.into_inner();
    if is_answered {
        let stopped = async {
            stop.cancelled().await;
            sleep(PARTING).await;
        };
        tokio::select! {
            () = farewell(&mut stream) => {}
            () = stopped => {}
            _ = over => {}
        }
    }
    // What is not taken by now is thrown away: the kernel would go on keeping it for minutes, of however many came.
    stream.set_zero_linger().ok();
}

/// Answers the request; from `stop` on only if it was begun.
async fn answer(connection: &mut Connection, stop: &CancellationToken) -> hyper::Result<()> {
    let mut connection = Pin::new(connection);
    tokio::select! {
        answered = connection.as_mut() => answered,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Says that this was all, and waits until the other side closes: it has taken all then.
async fn farewell(stream: &mut TcpStream) {
    stream.shutdown().await.ok();
    let mut unasked = [0; 1024];
    while stream.read(&mut unasked).await.is_ok_and(|length| length > 0) {}
}

/// The connections that are open. Dropped, it closes them.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    /// What cuts each of them off.
    oldest_first: VecDeque<CancellationToken>,
}

impl Open {
    /// Attends to one more; the oldest makes way for it where there are too many.
    async fn admit(&mut self, connection: Connection, whole: Duration, stop: &CancellationToken) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|cut| !cut.is_cancelled());
        if self.tasks.len() >= MOST_CONNECTIONS {
            if let Some(oldest) = self.oldest_first.pop_front() {
                oldest.cancel();
            }
            // Whoever ends first, there is room then.
            self.tasks.join_next().await;
        }
        let cut = CancellationToken::new();
        self.oldest_first.push_back(cut.clone());
        self.tasks.spawn(attend(connection, whole, stop.clone(), cut));
    }

    /// Waits until each has ended: at most as long as one may take.
    async fn end(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use axum::routing::get;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use tokio::sync::Notify;
    use tokio::task::{JoinHandle, yield_now};
    use tokio_util::sync::DropGuard;

    /// What is to happen happens within it, on a busy machine too.
    const SOON: Duration = Duration::from_secs(20);

    const HOUR: Duration = Duration::from_hours(1);

    const SHORT: Duration = Duration::from_millis(50);

    /// Nothing ends by itself.
    const PATIENT: Limits = Limits {
        head: HOUR,
        whole: HOUR,
    };

    fn healthy() -> Router {
        Router::new().route("/healthz", get(|| async { "ok\n" }))
    }

    fn serving(pages: Router, limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, pages, limits, stop.clone()));
        (address, stop, task)
    }

    async fn asked(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Sends `length` bytes of a request's head, and not its end.
    async fn begun(address: SocketAddr, length: usize) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let start = "GET /healthz HTTP/1.1\r\nhost: x\r\nx: ";
        let head = format!("{start}{}", "a".repeat(length - start.len()));
        // It may be cut off before all is sent.
        stream.write_all(head.as_bytes()).await.ok();
        stream
    }

    /// Waits until the other side closes, and returns what it said before.
    async fn rest(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        // It is a reset where it is cut off.
        let closed = timeout(SOON, stream.read_to_end(&mut answer)).await;
        closed.expect("it is closed").ok();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn whoever_holds_connections_to_the_admin_port_keeps_no_probe_out() {
        const HELD: usize = 300;
        let (address, ..) = serving(healthy(), PATIENT);
        let mut held = Vec::new();
        for _ in 0..HELD {
            held.push(begun(address, MOST_HEAD - 1024).await);
        }
        let probe = rest(asked(address, "/healthz").await).await;
        assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
        // The probe is one of those that are left.
        for oldest in held.drain(..=HELD - MOST_CONNECTIONS) {
            assert_eq!(rest(oldest).await, "");
        }
        let mut newest = held.pop().unwrap();
        newest.write_all(b"\r\n\r\n").await.unwrap();
        let answer = rest(newest).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_without_end_is_read_up_to_the_limit() {
        let (address, ..) = serving(healthy(), PATIENT);
        for length in [MOST_HEAD, 1 << 20] {
            let answer = rest(begun(address, length).await).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }

    #[tokio::test]
    async fn who_does_not_ask_in_time_is_not_waited_for() {
        let head = Limits {
            head: SHORT,
            whole: HOUR,
        };
        let whole = Limits {
            head: HOUR,
            whole: SHORT,
        };
        for limits in [head, whole] {
            let (address, ..) = serving(healthy(), limits);
            let silent = TcpStream::connect(address).await.unwrap();
            let slow = begun(address, 1024).await;
            assert_eq!(rest(silent).await, "", "{limits:?}");
            assert_eq!(rest(slow).await, "", "{limits:?}");
        }
    }

    /// An answer, and who is told that it is no longer kept.
    struct Large {
        text: Vec<u8>,
        _let_go: DropGuard,
    }

    impl AsRef<[u8]> for Large {
        fn as_ref(&self) -> &[u8] {
            &self.text
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_is_let_go_in_time() {
        let gone = CancellationToken::new();
        let guarded = gone.clone();
        let large = get(move || async move {
            Bytes::from_owner(Large {
                text: vec![b'x'; 32 << 20],
                _let_go: guarded.drop_guard(),
            })
        });
        let limits = Limits {
            head: HOUR,
            whole: Duration::from_secs(3),
        };
        let (address, ..) = serving(Router::new().route("/large", large), limits);
        let unread = asked(address, "/large").await;
        timeout(SOON, gone.cancelled()).await.expect("it is let go");
        drop(unread);
    }

    #[tokio::test]
    async fn a_large_answer_is_sent_whole() {
        const LENGTH: usize = 8 << 20;
        let large = get(|| async { "x".repeat(LENGTH) });
        let (address, ..) = serving(Router::new().route("/large", large), PATIENT);
        let answer = rest(asked(address, "/large").await).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), LENGTH);
    }

    #[tokio::test]
    async fn one_connection_is_one_request() {
        let (address, ..) = serving(healthy(), PATIENT);
        let answer = rest(asked(address, "/healthz").await).await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    }

    #[tokio::test]
    async fn an_answer_under_way_is_finished_and_no_other_is_begun() {
        let (entered, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (enter, release) = (Arc::clone(&entered), Arc::clone(&released));
        let slow = get(move || async move {
            enter.notify_one();
            release.notified().await;
            "done"
        });
        let (address, stop, task) = serving(Router::new().route("/slow", slow), PATIENT);
        let stream = asked(address, "/slow").await;
        timeout(SOON, entered.notified()).await.expect("it is asked");
        stop.cancel();
        let refused = async {
            while TcpStream::connect(address).await.is_ok() {
                yield_now().await;
            }
        };
        timeout(SOON, refused).await.expect("nobody else is let in");
        released.notify_one();
        let answer = rest(stream).await;
        assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
        timeout(SOON, task).await.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn a_stop_waits_no_longer_than_a_connection_may_take() {
        let entered = Arc::new(Notify::new());
        let enter = Arc::clone(&entered);
        let endless = get(move || async move {
            enter.notify_one();
            std::future::pending::<()>().await;
        });
        let limits = Limits {
            head: HOUR,
            whole: Duration::from_secs(3),
        };
        let (address, stop, task) = serving(Router::new().route("/endless", endless), limits);
        let stream = asked(address, "/endless").await;
        timeout(SOON, entered.notified()).await.expect("it is asked");
        stop.cancel();
        timeout(SOON, task).await.expect("it ends").unwrap();
        assert_eq!(rest(stream).await, "");
    }
}
