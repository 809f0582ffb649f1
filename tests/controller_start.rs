//! Starting and ending: Istio's kinds found or missing, the real Prometheus client, and the process itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use birdwatch::api::Span;
use birdwatch::api::status::Phase;
use birdwatch::clients::http::install_crypto_provider;
use birdwatch::clients::prometheus::{QueryObserver, ServerConfig, Servers};
use birdwatch::controller::{find_istio, prepare};
use birdwatch::runtime::admin::Health;
use birdwatch::runtime::lease::Seats;
use controller_kit::fake_api::Fault;
use controller_kit::{BIRD_WATCHES, Kit, RULES, SERVICES, bird_watch};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn status(code: u16) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": if code == 404 { "NotFound" } else { "InternalError" }, "message": "injected by the test"});
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

fn resources(version: &str, plurals: &[&str]) -> Response {
    let one = |plural: &&str| json!({"name": plural, "singularName": "", "namespaced": true, "kind": "X", "verbs": ["get"]});
    let list: Vec<Value> = plurals.iter().map(one).collect();
    axum::Json(json!({"kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": format!("networking.istio.io/{version}"), "resources": list}))
    .into_response()
}

/// A client of a server that serves these kinds in these versions.
fn serving(versions: Vec<(&'static str, &'static [&'static str])>) -> kube::Client {
    let router = Router::new().fallback(async move |uri: Uri| {
        let asked = uri.path().rsplit('/').next().unwrap_or_default();
        versions
            .iter()
            .find(|(version, _)| *version == asked)
            .map_or_else(|| status(404), |(version, plurals)| resources(version, plurals))
    });
    kube::Client::new(router, "default")
}

const BOTH: &[&str] = &["virtualservices", "destinationrules", "virtualservices/status"];

#[tokio::test]
async fn the_best_version_that_serves_both_kinds_is_taken() {
    let only_one: &[&str] = &["virtualservices"];
    for (served, expected) in [
        (vec![("v1", BOTH), ("v1beta1", BOTH)], Some("v1")),
        (vec![("v1", only_one), ("v1alpha3", BOTH)], Some("v1alpha3")),
        (vec![("v1", only_one)], None),
        (vec![], None),
    ] {
        let found = find_istio(&serving(served.clone())).await.unwrap();
        assert_eq!(
            found.map(|kinds| kinds.services.version).as_deref(),
            expected,
            "{served:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_say_is_not_one_without_istio() {
    let router = Router::new().fallback(async || status(500));
    assert!(find_istio(&kube::Client::new(router, "default")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_vanishes_ends_the_process_by_name() {
    let kit = Kit::new();
    let operator = kit.operator("one");
    let gone =
        |r: &controller_kit::fake_api::Request| r.resource == RULES && matches!(r.verb, "watch" | "list");
    kit.api.inject(Fault::Status(404), usize::MAX, gone);
    let scope = &operator.scope;
    let prepared = prepare(scope.context.clone(), None, scope.istio.clone());
    let seats = Seats::one(tokio::sync::watch::channel(kit.leading()).1);
    let health = Health::new(kit.clock.clone());
    let running = prepared.run(&seats, &health, 4, CancellationToken::new());
    let ended = tokio::time::timeout(Duration::from_mins(1), running)
        .await
        .expect("it ends");
    let error = ended.unwrap_err().to_string();
    assert!(
        error.starts_with("DestinationRules is no longer served"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_filled_keeps_the_process_from_being_ready_and_acting() {
    let kit = Kit::new();
    kit.bird_watch();
    kit.api.inject(Fault::Status(403), 20, |r| {
        r.resource == SERVICES && r.verb == "list"
    });
    let operator = kit.operator("one");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!operator.scope.is_acting());
    assert!(kit.calls().is_empty(), "{:?}", kit.counted());
    kit.until_phase(Phase::Promoted).await;
}

/// A Prometheus that answers `first` once, then `later`.
async fn prometheus(first: &str, later: &str) -> MockServer {
    let server = MockServer::start().await;
    for (value, times) in [(first, 1), (later, u64::MAX)] {
        let body = json!({"status": "success", "data": {"resultType": "vector",
            "result": [{"metric": {}, "value": [1_700_000_000.0, value]}]}});
        let answer = ResponseTemplate::new(200).set_body_json(body);
        let mock = Mock::given(method("POST"))
            .and(path("/api/v1/query"))
            .respond_with(answer);
        mock.up_to_n_times(times).mount(&server).await;
    }
    server
}

/// A rollout judged through the real client, over real sockets, in real time.
async fn judged(first: &str, later: &str) -> Kit {
    install_crypto_provider();
    let server = prometheus(first, later).await;
    let mut kit = Kit::new();
    kit.settings.scrape_interval = Span::millis(100);
    kit.settings.propagation_delay = Span::millis(100);
    kit.patience = Duration::from_secs(30);
    kit.api.put(
        BIRD_WATCHES,
        bird_watch(
            "aleph",
            &json!({"metric": "sum(irate(errors[1s]))", "interval": "1s"}),
        ),
    );
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    let servers = Servers::new(vec![ServerConfig::from_url(&server.uri()).unwrap()], &observer).unwrap();
    let operator = kit.operator_asking("one", Arc::new(servers));
    kit.until("it ends", |kit| {
        matches!(kit.phase(), Phase::Promoted | Phase::RolledBack)
    })
    .await;
    drop((operator, server));
    kit
}

#[tokio::test]
async fn a_prometheus_that_speaks_the_protocol_leads_to_promotion() {
    let kit = judged("0.25", "0.5").await;
    assert_eq!((kit.phase(), kit.weights()), (Phase::Promoted, (100, 0)));
    assert_eq!(kit.status("aleph").baseline.as_deref(), Some("0.25"));
}

#[tokio::test]
async fn a_prometheus_that_speaks_the_protocol_leads_to_rollback() {
    let kit = judged("0.25", "0.875").await;
    let status = kit.status("aleph");
    assert_eq!((status.phase, kit.weights()), (Phase::RolledBack, (100, 0)));
    assert!(status.message.contains("0.875"), "{}", status.message);
}

/// The operator's own process.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Process {
    fn start(kubeconfig: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_birdwatch"))
            .arg("run")
            .env_clear()
            .envs([
                ("KUBECONFIG", kubeconfig.to_str().unwrap()),
                ("ADMIN_ADDRESS", "127.0.0.1"),
                ("ADMIN_PORT", "0"),
            ])
            .envs([
                ("PROMETHEUS_URL", "http://127.0.0.1:1"),
                ("SLACK_API_TOKEN", "xoxb-secret"),
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// The first line that holds `text`: it may have been said before anybody asked for it.
    fn line(&mut self, text: &str) -> String {
        while self.said.len() < 500 {
            if let Some(line) = self.said.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(20)) else {
                break;
            };
            assert!(!line.contains("xoxb-secret"), "{line}");
            self.said.push(line);
        }
        panic!("{text:?} was never said: {:#?}", self.said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn readyz(address: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_says_what_it_waits_for_and_ends_in_order() {
    install_crypto_provider();
    let istio = Arc::new(AtomicBool::new(false));
    let served = Arc::clone(&istio);
    let router =
        Router::new().fallback(
            async move |uri: Uri| match (uri.path(), served.load(Ordering::SeqCst)) {
                ("/apis/networking.istio.io/v1", true) => resources("v1", BOTH),
                (path, false) if path.contains("istio") => status(404),
                _ => status(503),
            },
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "t",
        "clusters": [{"name": "t", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "t", "user": {}}],
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}]});
    let file = std::env::temp_dir().join(format!("birdwatch-kubeconfig-{}.json", std::process::id()));
    std::fs::write(&file, config.to_string()).unwrap();

    let mut process = Process::start(&file);
    let line = process.line("serving /healthz");
    let address = line
        .split("address=")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    process.line("does not serve Istio's VirtualService");
    // The look at the start, before anything is judged: nobody listens there.
    let line = process.line("Prometheus does not answer; readings are unknown until it does");
    assert!(line.contains("WARN") && line.contains("default"), "{line}");
    let (code, why) = readyz(&address).await;
    assert!(code == 503 && why.contains("VirtualService"), "{code} {why}");
    istio.store(true, Ordering::SeqCst);
    process.line("the watch is broken");
    let (code, why) = readyz(&address).await;
    assert!(
        code == 503 && why.contains("BirdWatches") && !why.contains("Istio's kinds"),
        "{code} {why}"
    );

    let pid = process.child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    process.line("stopped");
    assert!(process.child.wait().unwrap().success());
    std::fs::remove_file(file).unwrap();
}

#[test]
fn without_a_cluster_the_process_says_what_to_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_birdwatch"))
        .arg("run")
        .env_clear()
        .envs(BTreeMap::from([
            ("HOME", "/nonexistent"),
            ("ADMIN_ADDRESS", "127.0.0.1"),
            ("ADMIN_PORT", "0"),
        ]))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("KUBECONFIG"), "{said}");
}

#[test]
fn crd_prints_the_definition() {
    let output = Command::new(env!("CARGO_BIN_EXE_birdwatch"))
        .arg("crd")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("birdwatches.otomato.link")
    );
}
