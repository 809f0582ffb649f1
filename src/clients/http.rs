//! One way to speak HTTP: TLS files that may change, no redirects, one deadline for a whole call, bodies of bounded
//! size, and errors that say what happened and never what was sent.

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode};

pub use crate::core::line::tidy;

/// The longest reason, in characters, that an error carries.
pub const MAX_REASON: usize = 200;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Installs ring as the process's crypto provider unless there is one. Idempotent. reqwest panics without.
pub fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Lost a race against another thread: then there is one, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// PEM files for TLS; each may be replaced while the process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates trusted besides those of the system: all that are in any of these.
    pub ca_files: Vec<PathBuf>,
    /// Our certificate chain, for servers that ask for one. Needs `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// The key of `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
}

/// Why no client can be made of the given files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A file cannot be read.
    #[error("cannot read {file}: {reason}")]
    Unreadable {
        /// Its path.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// A file is read but is not what it should be.
    #[error("{file} holds no usable {wanted}")]
    Unusable {
        /// Its path.
        file: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A client certificate without its key, or a key without its certificate.
    #[error("a client certificate needs both a certificate file and a key file")]
    HalfIdentity,
    /// The TLS library refuses the whole.
    #[error("no HTTP client can be made: {0}")]
    Refused(String),
}

/// A client that follows its TLS files: when one changes, the next call uses the new content.
#[derive(Clone)]
pub struct HttpClient {
    tls: Arc<TlsFiles>,
    made: Arc<Mutex<Made>>,
}

struct Made {
    client: Client,
    from: Stamps,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient")
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Makes a client.
    ///
    /// # Errors
    /// A file that is missing or holds something else.
    pub fn new(tls: TlsFiles) -> Result<Self, ClientError> {
        // Stamps first: a file that changes while it is read is then read again.
        let from = Stamps::of(&tls);
        let client = build(&tls)?;
        Ok(Self {
            tls: Arc::new(tls),
            made: Arc::new(Mutex::new(Made { client, from })),
        })
    }

    /// The client for the present content of the files. While they cannot be used (half written, gone), the
    /// client made of the last good content.
    #[must_use]
    pub fn current(&self) -> Client {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamps::of(&self.tls);
        if now != made.from {
            match build(&self.tls) {
                Ok(client) => made.client = client,
                Err(error) => {
                    tracing::warn!(%error, "TLS files changed and cannot be used; the old ones stay");
                }
            }
            made.from = now;
        }
        made.client.clone()
    }
}

/// What tells one content of a file from the next without reading it: time, size and inode.
type Stamp = Option<(SystemTime, u64, u64)>;

#[derive(PartialEq)]
struct Stamps(Vec<Stamp>);

impl Stamps {
    fn of(tls: &TlsFiles) -> Self {
        let stamp = |file: &PathBuf| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        };
        let own = [&tls.client_cert_file, &tls.client_key_file]
            .into_iter()
            .flatten();
        Self(tls.ca_files.iter().chain(own).map(stamp).collect())
    }
}

fn build(tls: &TlsFiles) -> Result<Client, ClientError> {
    install_crypto_provider();
    let mut extra = Vec::new();
    for file in &tls.ca_files {
        extra.extend(certificates(file)?);
    }
    let identity = identity(tls)?;
    let builder = || {
        let builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_mins(1))
            .user_agent(concat!("birdwatch/", env!("CARGO_PKG_VERSION")));
        match &identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        }
    };
    // The system's certificates are those of SSL_CERT_FILE, SSL_CERT_DIR or the usual places.
    let made = match builder().tls_certs_merge(extra.iter().cloned()).build() {
        // Where there is none at all (an empty image) that fails, but plain http has to work, and https to be
        // refused for want of trust.
        Err(_) if extra.is_empty() => builder().tls_certs_only([]).build().inspect(|_| {
            tracing::warn!("this system has no CA bundle: https needs a CA file of its own");
        }),
        made => made,
    };
    made.map_err(|error| ClientError::Refused(reason(&error)))
}

fn read(file: &Path) -> Result<Vec<u8>, ClientError> {
    fs::read(file).map_err(|error| ClientError::Unreadable {
        file: file.display().to_string(),
        reason: error.to_string(),
    })
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, ClientError> {
    match Certificate::from_pem_bundle(&read(file)?) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(ClientError::Unusable {
            file: file.display().to_string(),
            wanted: "CA certificate (PEM)",
        }),
    }
}

fn identity(tls: &TlsFiles) -> Result<Option<Identity>, ClientError> {
    let (certificate, key) = match (&tls.client_cert_file, &tls.client_key_file) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => return Err(ClientError::HalfIdentity),
    };
    let mut pem = read(certificate)?;
    pem.push(b'\n');
    pem.extend(read(key)?);
    Identity::from_pem(&pem)
        .map(Some)
        .map_err(|_| ClientError::Unusable {
            file: format!("{} with {}", certificate.display(), key.display()),
            wanted: "certificate and key (PEM)",
        })
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status; redirects are not followed.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection: name, network, port or certificate.
    #[error("no connection: {0}")]
    Refused(String),
    /// The deadline passed first.
    #[error("no answer within {}", human(*.0))]
    Timeout(Duration),
    /// There was no room in memory for more of the answer until the deadline passed.
    #[error("no room for the answer within {}", human(*.0))]
    NoRoom(Duration),
    /// The rest of the answer came so slowly that its room in memory went to others.
    #[error("the answer came too slowly while others waited for its room")]
    TooSlow,
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The body is larger than the limit, in bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Memory for a body, which has to be asked for as the body comes.
pub trait Room: Send + Sync {
    /// Waits until there is room for so many bytes in all, when `length` of them came already.
    fn grow(&mut self, bytes: usize, length: usize) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Waits until a body that has come so far comes too slowly for others, who could use its room.
    fn lost(&self, length: usize) -> impl Future<Output = ()> + Send;

    /// Whether it was waiting when it was last given up.
    fn waits(&self) -> bool;
}

/// As much as the limit says.
impl Room for () {
    async fn grow(&mut self, _bytes: usize, _length: usize) -> Result<(), CallError> {
        Ok(())
    }

    async fn lost(&self, _length: usize) {
        std::future::pending::<()>().await;
    }

    fn waits(&self) -> bool {
        false
    }
}

/// Where there is none to be asked, as much as the limit says.
impl<R: Room> Room for Option<R> {
    async fn grow(&mut self, bytes: usize, length: usize) -> Result<(), CallError> {
        match self {
            Some(room) => room.grow(bytes, length).await,
            None => ().grow(bytes, length).await,
        }
    }

    async fn lost(&self, length: usize) {
        match self {
            Some(room) => room.lost(length).await,
            None => ().lost(length).await,
        }
    }

    fn waits(&self) -> bool {
        self.as_ref().is_some_and(R::waits)
    }
}

/// Sends a request and reads the whole answer, all within `deadline`, at most `max_body` bytes of body.
///
/// # Errors
/// There is no whole answer; none of the errors shows the address, a header or the body.
pub async fn call(request: RequestBuilder, deadline: Duration, max_body: usize) -> Result<Reply, CallError> {
    call_within(request, deadline, max_body, &mut ()).await
}

/// The same, with no more of the body in memory than `room` has been made for.
///
/// # Errors
/// As [`call`], or there was no room, or no longer.
pub async fn call_within(
    request: RequestBuilder,
    deadline: Duration,
    max_body: usize,
    room: &mut impl Room,
) -> Result<Reply, CallError> {
    match tokio::time::timeout(deadline, exchange(request, max_body, room)).await {
        Ok(result) => result,
        Err(_) if room.waits() => Err(CallError::NoRoom(deadline)),
        Err(_) => Err(CallError::Timeout(deadline)),
    }
}

async fn exchange(
    request: RequestBuilder,
    max_body: usize,
    room: &mut impl Room,
) -> Result<Reply, CallError> {
    let response = request.send().await.map_err(|error| classify(&error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_body(response, max_body, room).await?;
    Ok(Reply {
        status,
        headers,
        body,
    })
}

/// By how much a body grows that is longer than it was: each growth is asked for before it is made.
const GROWTH: usize = 256 << 10;

/// A body that is no longer takes no more than this, so that it needs no room of others.
pub(crate) const SMALL_BODY: usize = 64 << 10;

async fn read_body(
    mut response: Response,
    max_body: usize,
    room: &mut impl Room,
) -> Result<Vec<u8>, CallError> {
    let declared = response
        .content_length()
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(0);
    if declared > max_body {
        return Err(CallError::TooLarge(max_body));
    }
    let mut body = Vec::new();
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = response.chunk() => chunk.map_err(|error| classify(&error))?,
            () = room.lost(body.len()) => return Err(CallError::TooSlow),
        };
        let Some(chunk) = chunk else { return Ok(body) };
        let length = body.len() + chunk.len();
        if length > max_body {
            return Err(CallError::TooLarge(max_body));
        }
        if length > body.capacity() {
            // What is said of the length is room only as it is used: it may be a lie.
            let likely = declared.min(body.len() + GROWTH);
            let most = if length > SMALL_BODY {
                max_body
            } else {
                SMALL_BODY.min(max_body)
            };
            let capacity = length.max(likely).max(2 * body.len()).min(most);
            room.grow(capacity, body.len()).await?;
            body.reserve_exact(capacity - body.len());
        }
        body.extend_from_slice(&chunk);
    }
}

fn classify(error: &reqwest::Error) -> CallError {
    if error.is_connect() {
        return CallError::Refused(if error.is_timeout() {
            format!("no connection within {}", human(CONNECT_TIMEOUT))
        } else {
            reason(error)
        });
    }
    CallError::Broken(reason(error))
}

/// The innermost cause: the outer ones repeat the address, which may hold a password.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost = error.source();
    while let Some(cause) = innermost.and_then(std::error::Error::source) {
        innermost = Some(cause);
    }
    innermost.map_or_else(
        || "the request cannot be sent".to_owned(),
        |cause| tidy(&cause.to_string(), MAX_REASON),
    )
}

/// A duration as people write it: `5s`, `1.5s`, `200ms`.
#[must_use]
pub fn human(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{}s", (duration.as_secs_f64() * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_do() {
        let table = [
            (200, "200ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (5_000, "5s"),
            (61_040, "61s"),
        ];
        for (millis, text) in table {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn half_an_identity_is_refused() {
        let tls = TlsFiles {
            client_cert_file: Some("cert.pem".into()),
            ..TlsFiles::default()
        };
        assert_eq!(HttpClient::new(tls).unwrap_err(), ClientError::HalfIdentity);
    }

    #[test]
    fn a_missing_file_is_named() {
        let tls = TlsFiles {
            ca_files: vec!["no/such/ca.pem".into()],
            ..TlsFiles::default()
        };
        let error = HttpClient::new(tls).unwrap_err().to_string();
        assert!(error.starts_with("cannot read no/such/ca.pem: "), "{error}");
    }
}
