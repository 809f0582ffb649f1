//! The stand-in for Slack: chat.postMessage and chat.update over HTTP or TLS, with Slack's refusals and its rate, a
//! record of all that came, and ways to misbehave when told.

mod api;
mod book;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{net::TcpListener, task::JoinHandle};

use book::Book;
pub use book::{Call, Manner, Message, Mode, Update};

use super::tls;
pub use super::tls::{TlsError, TlsIdentity};

/// A running stand-in; it ends when this is dropped.
#[derive(Debug)]
pub struct Slack {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What a server's handlers share.
#[derive(Debug)]
struct Shared {
    token: String,
    book: Mutex<Book>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the stand-in did not start.
#[derive(Debug, thiserror::Error)]
pub enum SlackError {
    /// The address is not to be had.
    #[error("the Slack stand-in cannot listen on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate or the key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Slack {
    /// Serves plain HTTP on `address` (port 0 takes a free one); callers must send `token`.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub async fn start(address: SocketAddr, token: &str) -> Result<Self, SlackError> {
        let (listener, address) = listen(address).await?;
        let shared = shared(token);
        let router = api::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // axum::serve ends only with its listener, and that goes with this task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            scheme: "http",
            shared,
            server,
        })
    }

    /// The same over TLS.
    ///
    /// # Errors
    /// When the address is not to be had or the identity cannot be used.
    pub async fn start_tls(
        address: SocketAddr,
        token: &str,
        identity: &TlsIdentity,
    ) -> Result<Self, SlackError> {
        let acceptor = tls::acceptor(identity)?;
        let (listener, address) = listen(address).await?;
        let shared = shared(token);
        let router = api::router(Arc::clone(&shared));
        let listener = tls::TlsListener::new(listener, address, acceptor);
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            scheme: "https",
            shared,
            server,
        })
    }

    /// Where `/messages`, `/calls` and `/mode` lie; no slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What stands for `https://slack.com/api`: the methods lie right below it.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("{}/api", self.url())
    }

    /// All messages in the order they were posted.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.shared.book().messages.clone()
    }

    /// All calls, refused ones included, in the order they came.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.book().calls.clone()
    }

    /// Answers from now on as `mode` says.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.book().mode = mode;
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn shared(token: &str) -> Arc<Shared> {
    Arc::new(Shared {
        token: token.to_owned(),
        book: Mutex::default(),
    })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SlackError> {
    let failed = |source| SlackError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
