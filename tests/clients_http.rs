//! Whom the HTTP client trusts and who it says it is: TLS against a server of our own on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use birdwatch::clients::http::{CallError, HttpClient, TlsFiles, call, install_crypto_provider};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

const DEADLINE: Duration = Duration::from_secs(5);

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
struct Leaf {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn issue(&self, name: &str) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Leaf {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

/// A server that answers every request with `hello`, until the process ends.
fn serve(leaf: &Leaf, clients_of: Option<&Authority>) -> SocketAddr {
    install_crypto_provider();
    let builder = ServerConfig::builder();
    let builder = match clients_of {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
                .unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || answer(config, stream.unwrap()));
        }
    });
    address
}

/// A client that refuses us ends the conversation: that is its test's matter.
fn answer(config: Arc<ServerConfig>, stream: TcpStream) -> Option<()> {
    let mut tls = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let mut request = [0; 4096];
    let _size = tls.read(&mut request).ok()?;
    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        .ok()?;
    tls.conn.send_close_notify();
    tls.flush().ok()
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("birdwatch-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.0.join(name);
        // By rename, as a kubelet does it.
        let fresh = self.0.join(format!("{name}.new"));
        std::fs::write(&fresh, content).unwrap();
        std::fs::rename(fresh, &file).unwrap();
        file
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn get(client: &HttpClient, url: &str) -> Result<String, CallError> {
    let reply = call(client.current().get(url), DEADLINE, 1 << 20).await?;
    Ok(String::from_utf8(reply.body).unwrap())
}

fn url(address: SocketAddr) -> String {
    format!("https://{address}/")
}

fn trusting(ca_file: &Path) -> HttpClient {
    HttpClient::new(TlsFiles {
        ca_files: vec![ca_file.to_owned()],
        ..TlsFiles::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_server_is_trusted_when_its_ca_is_given_and_refused_when_not() {
    let (dir, ours, other) = (Dir::new("ca"), Authority::new(), Authority::new());
    let address = serve(&ours.issue("127.0.0.1"), None);
    let given = trusting(&dir.file("ours.pem", &ours.pem()));
    assert_eq!(get(&given, &url(address)).await.unwrap(), "hello");
    let none = HttpClient::new(TlsFiles::default()).unwrap();
    for stranger in [trusting(&dir.file("other.pem", &other.pem())), none] {
        let error = get(&stranger, &url(address)).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Refused(why) if why.contains("certificate")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (dir, ours) = (Dir::new("name"), Authority::new());
    let address = serve(&ours.issue("elsewhere.example"), None);
    let error = get(&trusting(&dir.file("ca.pem", &ours.pem())), &url(address))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CallError::Refused(why) if why.contains("not valid for name")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_bundle_of_several_authorities_is_read_whole() {
    let (dir, ours, other) = (Dir::new("bundle"), Authority::new(), Authority::new());
    let address = serve(&ours.issue("127.0.0.1"), None);
    let bundle = format!("# other\n{}\n# ours\n{}", other.pem(), ours.pem());
    assert_eq!(
        get(&trusting(&dir.file("ca.pem", &bundle)), &url(address))
            .await
            .unwrap(),
        "hello"
    );
}

#[tokio::test]
async fn every_ca_file_counts_and_each_may_be_replaced() {
    let (dir, ours, other) = (Dir::new("files"), Authority::new(), Authority::new());
    let (one, two) = (
        serve(&ours.issue("127.0.0.1"), None),
        serve(&other.issue("127.0.0.1"), None),
    );
    let client = HttpClient::new(TlsFiles {
        ca_files: vec![dir.file("a.pem", &ours.pem()), dir.file("b.pem", &other.pem())],
        ..TlsFiles::default()
    })
    .unwrap();
    assert_eq!(get(&client, &url(one)).await.unwrap(), "hello");
    assert_eq!(get(&client, &url(two)).await.unwrap(), "hello");
    dir.file("b.pem", &Authority::new().pem());
    assert_eq!(get(&client, &url(one)).await.unwrap(), "hello");
    assert!(get(&client, &url(two)).await.is_err());
}

#[tokio::test]
async fn a_replaced_ca_file_counts_at_the_next_call_and_a_broken_one_changes_nothing() {
    let (dir, ours, other) = (Dir::new("rotate"), Authority::new(), Authority::new());
    let address = serve(&ours.issue("127.0.0.1"), None);
    let client = trusting(&dir.file("ca.pem", &other.pem()));
    assert!(get(&client, &url(address)).await.is_err());
    dir.file("ca.pem", &ours.pem());
    assert_eq!(get(&client, &url(address)).await.unwrap(), "hello");
    dir.file("ca.pem", "half written");
    assert_eq!(get(&client, &url(address)).await.unwrap(), "hello");
    dir.file("ca.pem", &other.pem());
    assert!(get(&client, &url(address)).await.is_err());
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (dir, ours) = (Dir::new("mtls"), Authority::new());
    let address = serve(&ours.issue("127.0.0.1"), Some(&ours));
    let ca_files = vec![dir.file("ca.pem", &ours.pem())];
    let nobody = HttpClient::new(TlsFiles {
        ca_files: ca_files.clone(),
        ..TlsFiles::default()
    })
    .unwrap();
    assert!(get(&nobody, &url(address)).await.is_err());
    let us = ours.issue("birdwatch");
    let known = HttpClient::new(TlsFiles {
        ca_files,
        // No line end between certificate and key: files come so.
        client_cert_file: Some(dir.file("cert.pem", us.certificate.trim_end())),
        client_key_file: Some(dir.file("key.pem", us.key.trim_end())),
    })
    .unwrap();
    assert_eq!(get(&known, &url(address)).await.unwrap(), "hello");
}

/// What the tests below do in a process of their own, since the environment is the process's.
#[tokio::test]
#[ignore = "a part of the tests below"]
async fn child_calls_the_url_it_is_given() {
    let client = HttpClient::new(TlsFiles::default()).unwrap();
    println!(
        "got {:?}",
        get(&client, &std::env::var("TEST_URL").unwrap()).await
    );
}

fn in_a_child(url: &str, ssl_cert_file: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_calls_the_url_it_is_given",
            "--ignored",
            "--nocapture",
        ])
        .env("TEST_URL", url)
        .env("SSL_CERT_FILE", ssl_cert_file)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_systems_bundle_is_trusted_without_a_ca_file() {
    let (dir, ours, other) = (Dir::new("system"), Authority::new(), Authority::new());
    let address = serve(&ours.issue("127.0.0.1"), None);
    let good = in_a_child(&url(address), &dir.file("bundle.pem", &ours.pem()));
    assert!(good.contains(r#"got Ok("hello")"#), "{good}");
    let bad = in_a_child(&url(address), &dir.file("other.pem", &other.pem()));
    assert!(bad.contains("got Err(Refused("), "{bad}");
}

#[test]
fn without_any_bundle_plain_http_works_and_https_is_refused() {
    let (dir, ours) = (Dir::new("empty"), Authority::new());
    let https = serve(&ours.issue("127.0.0.1"), None);
    let missing = dir.0.join("no-bundle.pem");
    let refused = in_a_child(&url(https), &missing);
    assert!(refused.contains("got Err(Refused("), "{refused}");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
    });
    let good = in_a_child(&format!("http://{address}/"), &missing);
    assert!(good.contains(r#"got Ok("hello")"#), "{good}");
}
