//! The image's binary posts to Slack over TLS where the CA is given, and does not where it is not. Slack is a stand-in
//! with a certificate of ours, the cluster is the fake API server.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Json, Router};
use birdwatch::runtime::clock::Clock;
use birdwatch_bed::parts::slack::{Slack, TlsIdentity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fake_api::FakeApi;
use crate::{Root, repository};

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const HOST: &str = "slack.test";
const TOKEN: &str = "xoxb-image";
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn it_posts_to_slack_where_the_images_bundle_has_the_ca() {
    let (ours, slack) = slack().await;
    let root = Root::new("bundle");
    root.write(BUNDLE, &ours.pem());
    let operator = Operator::start(&root, &slack, &[]).await;
    assert!(posted(&slack).await, "nothing was posted; {}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_posts_to_slack_where_a_ca_file_has_the_ca() {
    let (ours, slack) = slack().await;
    let root = Root::new("ca-file");
    root.write(BUNDLE, &authority().pem());
    root.write("/ca.crt", &ours.pem());
    let operator = Operator::start(&root, &slack, &["--ca-file", "/ca.crt"]).await;
    assert!(posted(&slack).await, "nothing was posted; {}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_post_to_a_server_whose_ca_it_was_not_given() {
    let (_, slack) = slack().await;
    let root = Root::new("stranger");
    root.write(BUNDLE, &authority().pem());
    let operator = Operator::start(&root, &slack, &[]).await;
    let refused = || operator.log().contains("certificate");
    assert!(
        until(refused).await,
        "the log names no certificate; {}",
        operator.log()
    );
    assert_eq!(
        slack.calls().len(),
        0,
        "a request went to a server that nobody vouches for"
    );
}

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate authority of its own, and a stand-in for Slack that shows a certificate of it.
async fn slack() -> (Authority, Slack) {
    let authority = authority();
    let key = KeyPair::generate().expect("a key");
    let names = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
    let identity = TlsIdentity {
        certificate: names.signed_by(&key, &authority).expect("a certificate").pem(),
        key: key.serialize_pem(),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let slack = Slack::start_tls(address, TOKEN, &identity)
        .await
        .expect("a stand-in");
    (authority, slack)
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

async fn posted(slack: &Slack) -> bool {
    until(|| !slack.messages().is_empty()).await
}

/// Whether it comes true in time.
async fn until(is_so: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.is_ok()
}

/// The image's binary at work, in a cluster where a release of the shop of the examples is due.
struct Operator {
    process: Child,
    log: PathBuf,
}

impl Operator {
    async fn start(root: &Root, slack: &Slack, arguments: &[&str]) -> Self {
        let cluster = serve(cluster_with_a_release()).await;
        root.write("/kubeconfig", &kubeconfig(cluster));
        // The name is found by the image's own resolver, in the file that a kubelet would mount.
        root.write("/etc/hosts", &format!("127.0.0.1 {HOST}\n"));
        let log = root.0.with_extension("log");
        let output = File::create(&log).expect("a log");
        let process = root
            .command()
            .env_clear()
            .envs([("KUBECONFIG", "/kubeconfig"), ("SLACK_API_TOKEN", TOKEN)])
            .arg("run")
            .args(["--slack-url", &slack.api_url().replace("127.0.0.1", HOST)])
            .args(["--admin-address", "127.0.0.1", "--admin-port", "0"])
            .args([
                "--prometheus-url",
                "http://127.0.0.1:1",
                "--lease-duration",
                "10s",
            ])
            .args(arguments)
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .stdin(Stdio::null())
            .spawn()
            .expect("chroot starts");
        Self { process, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example shop, with the new version available beside the old one.
fn cluster_with_a_release() -> FakeApi {
    let api = FakeApi::new(Clock::real());
    for mut object in ["shop.yaml", "shop-v2.yaml"].into_iter().flat_map(example) {
        object["metadata"]["namespace"] = "default".into();
        let resource = match object["kind"].as_str() {
            Some("BirdWatch") => {
                object["spec"]["canaryVersion"] = "v2".into();
                "otomato.link/birdwatches"
            }
            Some("Deployment") => {
                make_available(&mut object);
                "apps/deployments"
            }
            Some("VirtualService") => "networking.istio.io/virtualservices",
            Some("DestinationRule") => "networking.istio.io/destinationrules",
            _ => continue,
        };
        api.put(resource, object);
    }
    api
}

fn make_available(deployment: &mut Value) {
    let replicas = deployment["spec"]["replicas"].clone();
    deployment["metadata"]["generation"] = 1.into();
    deployment["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    deployment["status"] = json!({
        "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
    });
}

fn example(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(repository().join("examples").join(name)).expect("an example");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

/// Serves the fake API on loopback, until the test ends.
async fn serve(api: FakeApi) -> SocketAddr {
    let client = api.client("image");
    let kinds = get(async || Json(istio()));
    let objects = async move |request: Request<Body>| {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
        match client.send(request).await {
            Ok(answer) => answer.map(Body::new).into_response(),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    };
    let router = Router::new()
        .route("/apis/networking.istio.io/v1", kinds)
        .fallback(objects);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The answer to what the operator asks first: whether Istio's kinds are served.
fn istio() -> Value {
    let kind = |kind: &str, name: &str| json!({"kind": kind, "name": name, "singularName": "", "namespaced": true, "verbs": []});
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "networking.istio.io/v1",
        "resources": [kind("VirtualService", "virtualservices"), kind("DestinationRule", "destinationrules")],
    })
}

fn kubeconfig(server: SocketAddr) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": format!("http://{server}")}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {}}],
    });
    config.to_string()
}
