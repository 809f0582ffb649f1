//! Secrets are where they are needed and nowhere else: a rollout with a canary in each, and every place that people or
//! programs read is searched for them. Prometheus and Slack do their worst and send back what they were sent.

use std::sync::{Arc, Mutex};

use birdwatch::api::status::Phase;
use birdwatch::clients::http::{HttpClient, TlsFiles};
use birdwatch::clients::prometheus::{QueryObserver, ServerConfig, Servers};
use birdwatch::clients::slack::{Slack, SlackClient, sender};
use birdwatch::controller::channels::Channels;
use birdwatch::controller::deliver::{Deliver, permit};
use birdwatch::runtime::lease::Gate;
use birdwatch::runtime::metrics::Metrics;
use tokio::sync::mpsc::unbounded_channel;
use wiremock::{Request, Respond};

use super::*;
use crate::controller_kit::{BIRD_WATCHES, bird_watch};

const SLACK: &str = "xoxb-canary-slack";
const BEARER: &str = "canary-bearer";
const HEADER: &str = "canary-header";
const PASSWORD: &str = "canary-password";
const KEY: &str = "canary-key in the address";
const ALL: [&str; 5] = [SLACK, BEARER, HEADER, PASSWORD, KEY];

/// Sends back what it was sent, headers and body, as an error; in turn as each status.
struct Echo(Mutex<usize>);

impl Respond for Echo {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")));
        let said = format!(
            "{} {:?} {:?} {}",
            request.url,
            request.url.query_pairs().collect::<Vec<_>>(),
            headers.collect::<Vec<_>>(),
            String::from_utf8_lossy(&request.body)
        );
        let mut turn = self.0.lock().unwrap();
        *turn += 1;
        let body =
            json!({"ok": false, "status": "error", "errorType": said, "error": said, "warnings": [said]});
        ResponseTemplate::new([200, 401, 422, 500, 302][*turn % 5]).set_body_json(body)
    }
}

async fn echoing(times: u64) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(Echo(Mutex::new(0)))
        .up_to_n_times(times)
        .with_priority(1)
        .mount(&server)
        .await;
    server
}

/// Answers well, once it has done its worst.
async fn then(server: &MockServer, body: &Value) {
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(200).set_body_json(body))
        .mount(server)
        .await;
}

fn assert_none(place: &str, text: &str) {
    for secret in ALL {
        for form in [
            secret.to_owned(),
            secret.replace(' ', "%20"),
            base64(secret),
            base64(&format!("ops:{secret}")),
        ] {
            assert!(
                !text.contains(&form),
                "{secret} is in {place}: {}",
                around(text, &form)
            );
        }
    }
}

fn around<'a>(text: &'a str, found: &str) -> &'a str {
    let at = text.find(found).unwrap_or(0);
    let start = (0..=at.saturating_sub(300))
        .rev()
        .find(|n| text.is_char_boundary(*n))
        .unwrap_or(0);
    let end = (at + 100..=text.len())
        .find(|n| text.is_char_boundary(*n))
        .unwrap_or(text.len());
    &text[start..end]
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            out.push(char::from(LETTERS[(bits >> (18 - 6 * n)) as usize & 63]));
        }
    }
    out
}

fn servers(prometheus: &MockServer, token: &std::path::Path) -> Servers {
    let (address, with_user) = (
        prometheus.uri(),
        prometheus
            .uri()
            .replace("http://", &format!("http://ops:{PASSWORD}@")),
    );
    let list = format!(
        "- {{name: a, url: '{address}/?key={KEY}', bearerTokenFile: '{}', headers: {{X-Tenant: {HEADER}}}}}\n\
         - {{name: b, url: '{with_user}', headers: {{X-Tenant: {HEADER}}}}}",
        token.display()
    );
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    Servers::new(ServerConfig::list(&list).unwrap(), &observer).unwrap()
}

/// Whoever plays Prometheus or Slack got the secret: else its absence elsewhere would say nothing.
async fn assert_sent(server: &MockServer, secret: &str) {
    let requests = server.received_requests().await.unwrap();
    let sent = requests.iter().flat_map(|request| request.headers.values());
    assert!(
        sent.filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(secret)),
        "{secret}"
    );
}

async fn assert_all_sent(prometheus_name: &str, prometheus: &MockServer, slack: &MockServer) {
    assert_sent(slack, SLACK).await;
    assert_sent(prometheus, HEADER).await;
    match prometheus_name {
        "a" => {
            assert_sent(prometheus, BEARER).await;
            let requests = prometheus.received_requests().await.unwrap();
            let has_key = |request: &Request| request.url.query_pairs().any(|(_, value)| value == KEY);
            assert!(requests.iter().all(has_key));
        }
        _ => assert_sent(prometheus, &base64(&format!("ops:{PASSWORD}"))).await,
    }
}

async fn rollout(prometheus_name: &str) {
    let (prometheus, slack) = (echoing(12).await, echoing(3).await);
    let value = json!({"status": "success", "data": {"resultType": "vector",
        "result": [{"metric": {}, "value": [1_700_000_000.0, "0"]}]}});
    then(&prometheus, &value).await;
    then(&slack, &json!({"ok": true, "channel": "C1", "ts": "1.0"})).await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("secrets-{prometheus_name}"));
    std::fs::create_dir_all(&folder).unwrap();
    let token = folder.join("token");
    std::fs::write(&token, BEARER).unwrap();

    let mut kit = quick();
    kit.patience = std::time::Duration::from_secs(90);
    kit.settings.notify = Some(birdwatch::api::spec::Level::Steps);
    let more = json!({"metric": "sum(irate(errors[1s]))", "interval": "1s", "prometheus": prometheus_name});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &more));
    let servers = servers(&prometheus, &token);
    let client = HttpClient::new(TlsFiles::default()).unwrap();
    let client = SlackClient::new(&slack.uri(), SLACK.into(), client).unwrap();
    assert_none("Debug", &format!("{servers:?} {client:?}"));
    let telling = |gate: &Gate| {
        let (heard, answers) = unbounded_channel();
        let (handle, sending) = sender(Arc::new(client), permit(gate.clone()), heard);
        tokio::spawn(sending);
        let deliver = Deliver::through(handle, Channels::new("deployment", &[]), Metrics::new());
        (deliver, answers)
    };
    let operator = kit.operator_with("one", telling, Arc::new(servers));
    let mut seen = String::new();
    kit.until("it ends and everything is told", |kit| {
        let status = kit.status("aleph");
        status.phase == Phase::Promoted && status.notices.pending.is_empty()
    })
    .await;
    seen += &text(&kit.api.all(BIRD_WATCHES));
    assert_none("an object", &seen);
    assert_none("an Event", &text(&kit.api.all("events.k8s.io/events")));
    let bodies: Vec<Value> = kit
        .api
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    assert_none("a request to the API server", &text(&bodies));
    assert_none("metrics", &operator.metrics.text().unwrap());
    let said = slack.received_requests().await.unwrap();
    let said: String = said
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert_none("a message to people", &said);
    assert_all_sent(prometheus_name, &prometheus, &slack).await;
}

#[tokio::test]
async fn no_redirect_takes_a_token_elsewhere() {
    birdwatch::clients::http::install_crypto_provider();
    let elsewhere = echoing(u64::MAX).await;
    let server = MockServer::start().await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("redirects");
    std::fs::create_dir_all(&folder).unwrap();
    let token = folder.join("token");
    std::fs::write(&token, BEARER).unwrap();
    for status in [301, 302, 303, 307, 308] {
        server.reset().await;
        let answer = ResponseTemplate::new(status).insert_header("location", elsewhere.uri().as_str());
        Mock::given(wiremock::matchers::any())
            .respond_with(answer)
            .mount(&server)
            .await;
        let servers = servers(&server, &token);
        for prometheus in servers.iter() {
            let deadline = std::time::Duration::from_secs(5);
            let failure = prometheus.ready(deadline).await.unwrap_err().to_string();
            assert!(failure.contains(&format!("answered {status}")), "{failure}");
        }
        let client = HttpClient::new(TlsFiles::default()).unwrap();
        let slack = SlackClient::new(&server.uri(), SLACK.into(), client).unwrap();
        slack.post("deployment", "text", None).await.unwrap_err();
        assert_sent(&server, SLACK).await;
    }
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

/// One test, for the log is the whole process's.
#[tokio::test]
async fn no_secret_leaves_a_whole_rollout_whatever_prometheus_and_slack_send_back() {
    let lines = Lines::default();
    let writer = lines.clone();
    // Everything that any library has to say: an administrator may set RUST_LOG=trace.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tokio::join!(rollout("a"), rollout("b"));
    let log = lines.text();
    assert!(log.lines().count() > 20, "nothing was logged: {log}");
    assert_none("the log", &log);
}
