//! TLS for the parts' servers: a listener that hands out connections whose handshake is done, so that a client which
//! refuses our certificate keeps nobody waiting.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Certificate and key of a server, in PEM.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// The server's certificate, and its chain if any.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// A certificate or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the server's certificate: {0}")]
pub struct TlsError(String);

/// What shakes hands in the name of `identity`.
pub(crate) fn acceptor(identity: &TlsIdentity) -> Result<TlsAcceptor, TlsError> {
    let bad = |error: &dyn std::fmt::Display| TlsError(error.to_string());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| bad(&error))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|error| bad(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Accepts connections in the background; ends with its owner.
pub(crate) struct TlsListener {
    ready: mpsc::Receiver<Connection>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    pub(crate) fn new(listener: TcpListener, address: SocketAddr, acceptor: TlsAcceptor) -> Self {
        let (sender, ready) = mpsc::channel(16);
        let accepting = tokio::spawn(accept(listener, acceptor, sender));
        Self {
            ready,
            address,
            accepting,
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<Connection>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match acceptor.accept(stream).await {
                // No receiver means that the server is gone, and the connection goes with it.
                Ok(stream) => drop(ready.send((stream, peer)).await),
                Err(error) => tracing::debug!(%error, %peer, "no TLS with this client"),
            }
        });
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
