//! The Prometheus client against a server that answers as it is told, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use birdwatch::clients::prometheus::{
    Failure, Outcome, OutcomeClass, Prometheus, QueryObserver, Question, Server, ServerConfig, Servers,
    Stretch,
};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use wiremock::matchers::{body_string_contains, header, method, path};
use wiremock::{Match, Mock, MockServer, Request, ResponseTemplate};

const DEADLINE: Duration = Duration::from_secs(5);

type Seen = Arc<Mutex<Vec<(String, OutcomeClass)>>>;

struct Observer(Seen);

impl QueryObserver for Observer {
    fn on_query(&self, server: &str, class: OutcomeClass, _took: Duration) {
        self.0.lock().unwrap().push((server.to_owned(), class));
    }
}

fn servers_of(configs: Vec<ServerConfig>) -> (Servers, Seen) {
    let seen = Seen::default();
    let observer: Arc<dyn QueryObserver> = Arc::new(Observer(Arc::clone(&seen)));
    (Servers::new(configs, &observer).unwrap(), seen)
}

fn servers(url: &str) -> Servers {
    servers_of(vec![ServerConfig::from_url(url).unwrap()]).0
}

fn only(servers: &Servers) -> &Server {
    servers.get(None).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn vector(values: &[(&str, &str)]) -> Value {
    let result: Vec<Value> = values
        .iter()
        .map(|(code, value)| json!({"metric": {"code": code}, "value": [1_700_000_000.123, value]}))
        .collect();
    json!({"status": "success", "data": {"resultType": "vector", "result": result}})
}

async fn answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/v1/query"))
        .respond_with(template)
        .mount(&server)
        .await;
    server
}

async fn outcome_of(template: ResponseTemplate) -> Outcome {
    let server = answering(template).await;
    only(&servers(&server.uri())).query("up", None, DEADLINE).await
}

async fn failure_of(template: ResponseTemplate) -> Failure {
    match outcome_of(template).await {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn json_ok(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn form(request: &Request) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn values(outcome: &Outcome) -> Vec<f64> {
    match outcome {
        Outcome::Series(series) => series.iter().map(|s| s.value).collect(),
        other => panic!("{other:?}"),
    }
}

/// A directory for one test's files, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("birdwatch-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, content).unwrap();
        file
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_query_is_posted_as_a_form_with_its_time_and_timeout_below_the_urls_prefix() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/prometheus/x/api/v1/query"))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .respond_with(json_ok(&vector(&[("200", "1.5")])))
        .expect(2)
        .mount(&server)
        .await;
    for prefix in ["/prometheus/x", "/prometheus/x/"] {
        let servers = servers(&format!("{}{prefix}", server.uri()));
        let promql = r#"sum(a{b="c&d"}) + 1"#;
        let outcome = only(&servers)
            .query(promql, Some(at("2026-11-21T10:00:00.25Z")), DEADLINE)
            .await;
        assert_eq!(values(&outcome), [1.5]);
    }
    for request in server.received_requests().await.unwrap() {
        let form = form(&request);
        assert_eq!(form["query"], r#"sum(a{b="c&d"}) + 1"#);
        assert_eq!(form["time"], "1795255200.250");
        assert_eq!(form["timeout"], "4500ms");
    }
}

#[tokio::test]
async fn without_a_time_the_server_decides_what_now_is() {
    let server = answering(json_ok(&vector(&[]))).await;
    only(&servers(&server.uri())).query("up", None, DEADLINE).await;
    let requests = server.received_requests().await.unwrap();
    assert!(!form(&requests[0]).contains_key("time"));
}

#[tokio::test]
async fn several_series_come_with_their_labels() {
    let outcome = outcome_of(json_ok(&vector(&[("200", "10"), ("500", "-0.25")]))).await;
    let Outcome::Series(series) = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(values(&outcome), [10.0, -0.25]);
    assert_eq!(series[1].labels, r#"{code="500"}"#);
    assert_eq!(outcome.class(), OutcomeClass::Ok);
}

#[tokio::test]
async fn a_scalar_is_one_series_without_labels() {
    let body = json!({"status": "success", "data": {"resultType": "scalar", "result": [1, "3"]}});
    let outcome = outcome_of(json_ok(&body)).await;
    let Outcome::Series(series) = &outcome else {
        panic!("{outcome:?}")
    };
    assert!(series.len() == 1 && series[0].labels.is_empty());
    assert_eq!(values(&outcome), [3.0]);
}

#[tokio::test]
async fn numbers_that_are_none_arrive_as_they_are() {
    let outcome = outcome_of(json_ok(&vector(&[
        ("a", "NaN"),
        ("b", "+Inf"),
        ("c", "-Inf"),
        ("d", "1e+06"),
    ])))
    .await;
    let values = values(&outcome);
    assert!(values[0].is_nan());
    assert_eq!(values[1..], [f64::INFINITY, f64::NEG_INFINITY, 1e6]);
    assert_eq!(outcome.class(), OutcomeClass::Nan);
}

#[tokio::test]
async fn no_series_is_empty_and_not_zero() {
    let outcome = outcome_of(json_ok(&vector(&[]))).await;
    assert_eq!(outcome, Outcome::Empty);
    assert_eq!(outcome.class(), OutcomeClass::Empty);
}

#[tokio::test]
async fn up_to_a_hundred_series_are_read_and_more_are_counted() {
    let of = |count| vector(&vec![("200", "1"); count]);
    assert_eq!(values(&outcome_of(json_ok(&of(100))).await).len(), 100);
    assert_eq!(outcome_of(json_ok(&of(101))).await, Outcome::TooMany(101));
}

#[tokio::test]
async fn results_that_are_no_numbers_are_failures_with_their_reason() {
    let typed = |kind: &str, result: Value| {
        json_ok(&json!({"status": "success", "data": {"resultType": kind, "result": result}}))
    };
    let histogram = json!([{"metric": {}, "histogram": [1, {"count": "3", "sum": "4"}]}]);
    let mixed = json!([{"metric": {}, "value": [1, "2"]}, {"metric": {}, "histogram": [1, {"count": "3", "sum": "4"}]}]);
    let matrix = json!([{"metric": {}, "values": [[1, "2"]]}]);
    let table = [
        (typed("vector", histogram), Failure::Histogram),
        (typed("vector", mixed), Failure::Histogram),
        (typed("string", json!([1, "text"])), Failure::StringResult),
        (typed("matrix", matrix), Failure::Matrix),
    ];
    for (template, expected) in table {
        let failure = failure_of(template).await;
        assert_eq!(failure, expected);
        assert_eq!(failure.class(), OutcomeClass::Unsupported);
    }
}

#[tokio::test]
async fn answers_of_something_else_are_malformed_whatever_they_hold() {
    let bodies = [
        "<html>Sign in</html>",
        "",
        "[]",
        "{}",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":null}"#,
        r#"{"status":"success","data":{"resultType":"vector"}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"abc"]}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#,
        r#"{"status":"success","data":{"resultType":"tensor","result":[]}}"#,
    ];
    for body in bodies {
        let failure = failure_of(ResponseTemplate::new(200).set_body_string(body)).await;
        assert!(matches!(failure, Failure::Malformed(_)), "{body}: {failure:?}");
        assert_eq!(failure.class(), OutcomeClass::Malformed);
    }
}

#[tokio::test]
async fn warnings_make_a_result_unusable_and_infos_do_not() {
    let mut body = vector(&[("200", "1")]);
    body["infos"] = json!(["metric might not be a counter"]);
    assert_eq!(values(&outcome_of(json_ok(&body)).await), [1.0]);
    body["warnings"] = json!([]);
    assert_eq!(values(&outcome_of(json_ok(&body)).await), [1.0]);
    body["warnings"] = json!(["PromQL info: metric might not be a counter"]);
    assert_eq!(values(&outcome_of(json_ok(&body)).await), [1.0]);
    body["isPartial"] = json!(true);
    let failure = failure_of(json_ok(&body)).await;
    assert!(failure.to_string().contains("the answer is partial"), "{failure}");
    body["isPartial"] = json!(false);
    body["warnings"] = json!(["PromQL info: x", "a store did not answer", "b", "c", "d"]);
    let failure = failure_of(json_ok(&body)).await;
    assert_eq!(
        failure.to_string(),
        "Prometheus warned: a store did not answer; b; c; and 1 more"
    );
    assert_eq!(failure.class(), OutcomeClass::Warnings);
}

#[tokio::test]
async fn statuses_come_with_the_servers_own_words() {
    let error = |kind: &str, text: &str| json!({"status": "error", "errorType": kind, "error": text});
    let table = [
        (
            ResponseTemplate::new(400).set_body_json(error("bad_data", "1:5: parse error")),
            "Prometheus answered 400 (bad_data): 1:5: parse error",
            OutcomeClass::Status4xx,
        ),
        (
            ResponseTemplate::new(422).set_body_json(error("execution", "many-to-many")),
            "Prometheus answered 422 (execution): many-to-many",
            OutcomeClass::Status4xx,
        ),
        (
            ResponseTemplate::new(200).set_body_json(error("internal", "odd")),
            "Prometheus answered 200 (internal): odd",
            OutcomeClass::Status4xx,
        ),
        (
            ResponseTemplate::new(500),
            "Prometheus answered 500",
            OutcomeClass::Status5xx,
        ),
        (
            ResponseTemplate::new(503).set_body_json(error("timeout", "query timed out")),
            "Prometheus answered 503 (timeout): query timed out",
            OutcomeClass::Timeout,
        ),
        (
            ResponseTemplate::new(401).set_body_string("no org id\n"),
            "Prometheus answered 401: no org id",
            OutcomeClass::Status4xx,
        ),
        (
            ResponseTemplate::new(502).set_body_string("<html><body>Bad gateway</body></html>"),
            "Prometheus answered 502",
            OutcomeClass::Status5xx,
        ),
    ];
    for (template, text, class) in table {
        let failure = failure_of(template).await;
        assert_eq!(failure.to_string(), text);
        assert_eq!(failure.class(), class, "{text}");
    }
}

#[tokio::test]
async fn long_messages_of_a_server_are_cut() {
    let template = ResponseTemplate::new(500).set_body_string("é ".repeat(50_000));
    let text = failure_of(template).await.to_string();
    assert!(text.chars().count() < 240 && text.ends_with('…'), "{text}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = answering(json_ok(&vector(&[("200", "1")]))).await;
    let location = format!("{}/api/v1/query", target.uri());
    let failure = failure_of(ResponseTemplate::new(307).insert_header("location", location)).await;
    assert_eq!(failure.class(), OutcomeClass::Status3xx);
    assert!(target.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_slow_server_is_given_up_at_the_deadline() {
    let template = json_ok(&vector(&[("200", "1")])).set_delay(Duration::from_mins(1));
    let server = answering(template).await;
    let outcome = only(&servers(&server.uri()))
        .query("up", None, Duration::from_millis(150))
        .await;
    assert_eq!(
        outcome,
        Outcome::Failed(Failure::Timeout(Duration::from_millis(150)))
    );
    assert_eq!(outcome.class(), OutcomeClass::Timeout);
}

#[tokio::test]
async fn a_closed_port_is_refused_in_words() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:hunter22@{}", closed.local_addr().unwrap());
    drop(closed);
    let outcome = only(&servers(&url)).query("up", None, DEADLINE).await;
    let Outcome::Failed(failure) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(failure.class(), OutcomeClass::Refused);
    let text = failure.to_string();
    assert!(text.contains("refused") && !text.contains("hunter22"), "{text}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_an_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let breaking = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let outcome = only(&servers(&url)).query("up", None, DEADLINE).await;
    breaking.abort();
    let Outcome::Failed(failure) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(failure.class(), OutcomeClass::Refused, "{failure}");
}

#[tokio::test]
async fn a_huge_body_is_not_read() {
    let huge = "x".repeat((1 << 20) + 1);
    let failure = failure_of(ResponseTemplate::new(200).set_body_string(huge)).await;
    assert_eq!(failure, Failure::TooLarge(1 << 20));
    assert_eq!(failure.class(), OutcomeClass::TooLarge);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off_while_it_comes() {
    let app = axum::Router::new().fallback(|| async {
        let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
        axum::body::Body::from_stream(chunks)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let outcome = only(&servers(&url))
        .query("up", None, Duration::from_secs(30))
        .await;
    serving.abort();
    assert_eq!(outcome, Outcome::Failed(Failure::TooLarge(1 << 20)));
}

/// Matches a request whose header is exactly this value.
fn auth(value: &str) -> impl Match + use<> {
    header("authorization", value)
}

#[tokio::test]
async fn a_rotated_token_counts_at_the_next_query() {
    let dir = Dir::new("token");
    let token = dir.file("token", "first-token\n");
    let server = MockServer::start().await;
    for value in ["Bearer first-token", "Bearer second-token"] {
        let ok = json_ok(&vector(&[("200", "1")]));
        Mock::given(auth(value))
            .respond_with(ok)
            .expect(1)
            .mount(&server)
            .await;
    }
    let config = ServerConfig {
        bearer_token_file: Some(token),
        ..ServerConfig::from_url(&server.uri()).unwrap()
    };
    let (servers, _) = servers_of(vec![config]);
    assert_eq!(values(&only(&servers).query("up", None, DEADLINE).await), [1.0]);
    dir.file("token", "second-token");
    assert_eq!(values(&only(&servers).query("up", None, DEADLINE).await), [1.0]);
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_a_failure_and_nothing_is_sent_without_it() {
    let dir = Dir::new("no-token");
    let server = answering(json_ok(&vector(&[("200", "1")]))).await;
    for (file, why) in [
        (dir.0.join("missing"), "cannot read"),
        (dir.file("empty", "\n"), "is empty"),
        (dir.file("two", "a\nb"), "more than one line"),
    ] {
        let config = ServerConfig {
            bearer_token_file: Some(file),
            ..ServerConfig::from_url(&server.uri()).unwrap()
        };
        let (servers, _) = servers_of(vec![config]);
        let outcome = only(&servers).query("up", None, DEADLINE).await;
        let Outcome::Failed(failure) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(failure.to_string().contains(why), "{failure}");
        assert_eq!(failure.class(), OutcomeClass::Misconfigured);
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn basic_auth_comes_from_a_file_or_from_the_url() {
    let dir = Dir::new("basic");
    let server = MockServer::start().await;
    // ops:pä/ss
    Mock::given(auth("Basic b3BzOnDDpC9zcw=="))
        .respond_with(json_ok(&vector(&[("200", "1")])))
        .expect(2)
        .mount(&server)
        .await;
    let password = dir.file("password", "pä/ss\n");
    let yaml = format!(
        "- name: a\n  url: {uri}\n  basicAuth: {{username: ops, passwordFile: {file}}}\n- name: b\n  url: {with}\n",
        uri = server.uri(),
        file = password.display(),
        with = server.uri().replace("http://", "http://ops:p%C3%A4%2Fss@"),
    );
    let (servers, _) = servers_of(ServerConfig::list(&yaml).unwrap());
    for name in ["a", "b"] {
        let outcome = servers.get(Some(name)).unwrap().query("up", None, DEADLINE).await;
        assert_eq!(values(&outcome), [1.0], "{name}");
    }
}

#[tokio::test]
async fn headers_are_sent_with_every_call() {
    let server = MockServer::start().await;
    Mock::given(header("x-scope-orgid", "tenant-7"))
        .and(path("/api/v1/query"))
        .respond_with(json_ok(&vector(&[("200", "1")])))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(header("x-scope-orgid", "tenant-7"))
        .and(path("/api/v1/labels"))
        .respond_with(json_ok(&json!({"status": "success", "data": ["__name__"]})))
        .expect(1)
        .mount(&server)
        .await;
    let yaml = format!(
        "- name: a\n  url: {}\n  headers: {{X-Scope-OrgID: tenant-7}}\n",
        server.uri()
    );
    let (servers, _) = servers_of(ServerConfig::list(&yaml).unwrap());
    assert_eq!(values(&only(&servers).query("up", None, DEADLINE).await), [1.0]);
    let now = at("2026-11-21T10:00:00Z");
    only(&servers)
        .label_names("up", now, Duration::from_mins(5), DEADLINE)
        .await
        .unwrap();
}

#[tokio::test]
async fn no_message_and_no_debug_shows_a_secret_even_if_the_server_repeats_it() {
    let dir = Dir::new("secrets");
    let token = dir.file("token", "tok-123456");
    let echo = json!({"status": "error", "errorType": "tok-123456", "error": "bad Bearer tok-123456 of tenant-secret"});
    let warn = json!({"status": "success", "warnings": ["tok-123456"], "data": {"resultType": "vector", "result": []}});
    for body in [echo, warn] {
        let server = answering(ResponseTemplate::new(200).set_body_json(&body)).await;
        let yaml = format!(
            "- name: a\n  url: {}\n  bearerTokenFile: {}\n  headers: {{X-Tenant: tenant-secret}}\n",
            server.uri(),
            token.display()
        );
        let (servers, _) = servers_of(ServerConfig::list(&yaml).unwrap());
        let outcome = only(&servers).query("up", None, DEADLINE).await;
        let shown = format!("{outcome:?} {servers:?}");
        assert!(shown.contains("***"), "{shown}");
        assert!(
            !shown.contains("tok-123456") && !shown.contains("tenant-secret"),
            "{shown}"
        );
    }
}

#[test]
fn a_password_in_the_url_is_never_printed() {
    let config = ServerConfig::from_url("https://ops:hunter22@prometheus.example:9090/p").unwrap();
    let shown = format!("{config:?} {} {:?}", config.url, config.url);
    assert!(shown.contains("https://prometheus.example:9090/p"), "{shown}");
    assert!(!shown.contains("hunter22"), "{shown}");
    let config = ServerConfig::from_url("https://prometheus.example/p?key=hunter22").unwrap();
    let shown = format!("{config:?} {} {:?}", config.url, config.url);
    assert!(shown.contains("https://prometheus.example/p"), "{shown}");
    assert!(!shown.contains("hunter22"), "{shown}");
    for bad in [
        "ftp://ops:hunter22@x",
        "http://ops:hunter22@",
        "hunter22",
        "http://ops:hunter22@x:99999",
    ] {
        let error = ServerConfig::from_url(bad).unwrap_err().to_string();
        assert!(!error.contains("hunter22"), "{error}");
    }
}

#[test]
fn a_list_of_servers_is_read_with_its_defaults() {
    let yaml = "
- name: main
  url: http://prometheus:9090
- name: other
  url: https://mimir/prometheus
  maxInFlight: 3
  caFile: /etc/ca.pem
  clientCertFile: /etc/cert.pem
  clientKeyFile: /etc/key.pem
";
    let list = ServerConfig::list(yaml).unwrap();
    assert_eq!(list[0].max_in_flight, 20);
    assert_eq!(list[1].max_in_flight, 3);
    assert_eq!(list[1].tls().client_key_file, Some("/etc/key.pem".into()));
}

#[test]
fn lists_that_cannot_work_are_refused_with_the_reason_and_without_secrets() {
    let table = [
        ("[]", "empty"),
        ("name: a", "cannot be read"),
        ("- name: a", "url"),
        (
            "- {name: a, url: 'http://a', bearertoken: hunter22}",
            "bearertoken",
        ),
        (
            "- {name: a, url: 'http://a'}\n- {name: a, url: 'http://b'}",
            "unique",
        ),
        ("- {name: '', url: 'http://a'}", "unique"),
        ("- {name: a, url: 'gopher://u:hunter22@a'}", "http"),
        ("- {name: a, url: 'http://a', maxInFlight: 0}", "maxInFlight"),
        (
            "- {name: a, url: 'http://u:hunter22@a', bearerTokenFile: /t}",
            "not several",
        ),
        (
            "- {name: a, url: 'http://a', headers: {'a b': hunter22}}",
            "no name of a header",
        ),
        (
            "- {name: a, url: 'http://a', headers: {a: \"hunter22\\n\"}}",
            "characters",
        ),
        (
            "- {name: a, url: 'http://a', headers: {a: [hunter22]}}",
            "cannot be read",
        ),
        // A secret where something else belongs.
        ("- 'http://u:hunter22@a'", "cannot be read"),
        (
            "- {name: a, url: 'http://a', headers: hunter22}",
            "cannot be read",
        ),
        (
            "- {name: a, url: 'http://a', headers: 4hunter22}",
            "cannot be read",
        ),
        (
            "- {name: a, url: 'http://a', basicAuth: 'u:hunter22'}",
            "cannot be read",
        ),
        (
            "- {name: a, url: 'http://a', maxInFlight: hunter22}",
            "cannot be read",
        ),
        (
            "- {name: a, url: 'http://a', headers: 'hunter22, expected x'}",
            "cannot be read",
        ),
        ("- {name: a, url: 'ftp://a/?key=hunter22'}", "http"),
    ];
    for (yaml, expected) in table {
        let error = ServerConfig::list(yaml).unwrap_err().to_string();
        assert!(error.contains(expected), "{yaml}: {error}");
        assert!(!error.contains("hunter22"), "{error}");
    }
}

#[test]
fn a_tls_file_that_is_none_is_refused_at_the_start() {
    let dir = Dir::new("bad-ca");
    let ca = dir.file("ca.pem", "not a certificate");
    let config = ServerConfig {
        ca_file: Some(ca),
        ..ServerConfig::from_url("https://a").unwrap()
    };
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    let error = Servers::new(vec![config], &observer).unwrap_err().to_string();
    assert!(error.contains("ca.pem holds no usable CA certificate"), "{error}");
}

#[tokio::test]
async fn servers_are_chosen_by_name_and_the_first_is_the_default() {
    let yaml = "- {name: a, url: 'http://a'}\n- {name: b, url: 'http://b'}";
    let (servers, _) = servers_of(ServerConfig::list(yaml).unwrap());
    assert_eq!(servers.get(None).unwrap().name(), "a");
    assert_eq!(servers.get(Some("b")).unwrap().address().to_string(), "http://b/");
    let question = Question {
        server: Some("c".to_owned()),
        namespace: "shop".to_owned(),
        query: "up".to_owned(),
    };
    let answers = servers.ask_all(&[question], None, DEADLINE).await;
    let [Outcome::Failed(failure)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(
        failure.to_string(),
        r#"there is no Prometheus server named "c"; known are a, b"#
    );
}

#[tokio::test]
async fn identical_questions_of_one_pass_are_asked_once_and_answered_in_order() {
    let server = MockServer::start().await;
    for (query, value) in [("query=one", "1"), ("query=two", "2")] {
        Mock::given(body_string_contains(query))
            .respond_with(json_ok(&vector(&[("200", value)])))
            .expect(1)
            .mount(&server)
            .await;
    }
    let (servers, seen) = servers_of(vec![ServerConfig::from_url(&server.uri()).unwrap()]);
    let ask = |query: &str| Question {
        server: None,
        namespace: "shop".to_owned(),
        query: query.to_owned(),
    };
    let questions = [ask("one"), ask("two"), ask("one"), ask("one"), ask("two")];
    let answers = servers.ask_all(&questions, None, DEADLINE).await;
    let answers: Vec<Vec<f64>> = answers.iter().map(values).collect();
    assert_eq!(answers, [[1.0], [2.0], [1.0], [1.0], [2.0]]);
    assert_eq!(seen.lock().unwrap().len(), 2);
}

/// A Prometheus that holds every query until it is released, and counts those it holds.
struct Holding {
    url: String,
    held: Arc<AtomicUsize>,
    gate: Arc<tokio::sync::Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Holding {
    async fn start() -> Self {
        let (held, gate) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(tokio::sync::Semaphore::new(0)),
        );
        let app = axum::Router::new().fallback({
            let (held, gate) = (Arc::clone(&held), Arc::clone(&gate));
            move || {
                let (held, gate) = (Arc::clone(&held), Arc::clone(&gate));
                async move {
                    held.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    axum::Json(vector(&[("200", "1")]))
                }
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            held,
            gate,
            task,
        }
    }

    async fn holds(&self, count: usize) {
        let all = async {
            while self.held.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, all)
            .await
            .expect("the queries arrive");
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn no_more_than_the_set_number_of_queries_is_under_way_and_waiting_counts_against_the_deadline() {
    let slow = Holding::start().await;
    let config = ServerConfig {
        max_in_flight: 2,
        ..ServerConfig::from_url(&slow.url).unwrap()
    };
    let (servers, seen) = servers_of(vec![config]);
    let ask = |query: &str| Question {
        server: None,
        namespace: query.to_owned(),
        query: query.to_owned(),
    };
    let first = ["a", "b"].map(|query| {
        let (servers, questions) = (servers.clone(), [ask(query)]);
        tokio::spawn(async move { servers.ask_all(&questions, None, DEADLINE).await })
    });
    slow.holds(2).await;
    let third = only(&servers).query("c", None, Duration::from_millis(100)).await;
    let busy = Failure::Busy {
        in_flight: 2,
        waited: Duration::from_millis(100),
    };
    assert_eq!(third, Outcome::Failed(busy));
    assert_eq!(slow.held.load(Ordering::SeqCst), 2);
    slow.gate.add_permits(3);
    for one in first {
        assert_eq!(values(&one.await.unwrap()[0]), [1.0]);
    }
    // the places are free again
    assert_eq!(values(&only(&servers).query("d", None, DEADLINE).await), [1.0]);
    let classes: Vec<OutcomeClass> = seen.lock().unwrap().iter().map(|(_, class)| *class).collect();
    assert_eq!(
        classes,
        [
            OutcomeClass::Timeout,
            OutcomeClass::Ok,
            OutcomeClass::Ok,
            OutcomeClass::Ok
        ]
    );
}

#[tokio::test]
async fn of_raw_samples_too_a_quarter_is_asked_at_a_time_and_the_same_only_once() {
    let slow = Holding::start().await;
    let config = ServerConfig {
        max_in_flight: 8,
        ..ServerConfig::from_url(&slow.url).unwrap()
    };
    let (servers, _) = servers_of(vec![config]);
    let one = |i: i64, second| {
        let question = Question {
            server: None,
            namespace: "shop".to_owned(),
            query: format!("a{i}[1m]"),
        };
        (question, jiff::Timestamp::from_second(second).unwrap())
    };
    let questions: Vec<_> = (0..10).map(|i| one(i % 2, 60 * (i % 3))).collect();
    let asked = tokio::spawn(async move { servers.samples_all(&questions, DEADLINE).await.len() });
    slow.holds(2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(slow.held.load(Ordering::SeqCst), 2);
    // Two selectors at three moments.
    slow.gate.add_permits(6);
    assert_eq!(asked.await.unwrap(), 10);
}

/// So many series of so many samples each.
fn matrix(series: usize, labels: &str, samples: usize) -> String {
    let samples = vec![r#"[1700000000.123,"1"]"#; samples].join(",");
    let one = format!(r#"{{"metric":{{{labels}}},"values":[{samples}]}}"#);
    let all = vec![one; series].join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{all}]}}}}"#)
}

/// A Prometheus that answers a query that has a text of these with what stands beside it.
async fn saying(answers: &[(&'static str, String)]) -> MockServer {
    let server = MockServer::start().await;
    for (query, body) in answers {
        Mock::given(body_string_contains(*query))
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
            .mount(&server)
            .await;
    }
    server
}

fn counted(namespace: &str, query: &str) -> (Question, Timestamp) {
    let question = Question {
        server: None,
        namespace: namespace.to_owned(),
        query: query.to_owned(),
    };
    (question, at("2026-11-21T10:00:00Z"))
}

#[tokio::test]
async fn the_samples_of_all_metrics_of_a_check_are_bounded_together() {
    let labels: Vec<String> = (0..500).map(|i| format!(r#""l{i}":"v""#)).collect();
    let server = saying(&[
        ("many", matrix(250, "", 1000)),
        ("large", matrix(1000, &labels.join(","), 1)),
    ])
    .await;
    let servers = servers(&server.uri());
    let two = [counted("shop", "many_a[10m]"), counted("shop", "many_b[10m]")];
    for _ in 0..2 {
        let found = servers.samples_all(&two, Duration::from_mins(1)).await;
        let refused: Vec<&Failure> = found.iter().filter_map(|one| one.as_ref().err()).collect();
        assert_eq!(refused, [&Failure::TooManySamples], "one of the two is too much");
        let read: Vec<usize> = found.iter().flatten().map(|series| series.len()).collect();
        assert_eq!(read, [250]);
    }
    // The same twice is read once, and a check of its own has room again.
    let twice = [two[0].clone(), two[0].clone()];
    assert!(
        servers
            .samples_all(&twice, DEADLINE)
            .await
            .iter()
            .all(Result::is_ok)
    );
    let found = servers
        .samples_all(&[counted("shop", "large[10m]")], DEADLINE)
        .await;
    assert_eq!(found, [Err(Failure::SamplesTooLarge)]);
    assert_eq!(Failure::SamplesTooLarge.class(), OutcomeClass::TooLarge);
}

#[tokio::test]
async fn samples_that_wait_to_be_judged_leave_room_until_they_are_let_go() {
    let labels: Vec<String> = (0..100).map(|i| format!(r#""l{i}":"v""#)).collect();
    let server = saying(&[("all", matrix(3000, &labels.join(","), 1))]).await;
    let servers = servers(&server.uri());
    let ask = async |namespace: &str| {
        let asked = [counted(namespace, "all[10m]")];
        servers.samples_all(&asked, DEADLINE).await.remove(0)
    };
    let held = [ask("a").await.unwrap()];
    assert_eq!(held[0].len(), 3000);
    assert_eq!(
        ask("a").await,
        Err(Failure::NoRoom),
        "as much of one namespace as of one check"
    );
    let other = ask("b").await;
    assert_eq!(other, Err(Failure::NoRoom), "there is not twice as much of it");
    drop(held);
    assert!(ask("b").await.is_ok());
}

#[tokio::test]
async fn a_large_answer_waits_for_another_and_small_ones_do_not() {
    let (begun, release) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(tokio::sync::Notify::new()),
    );
    let app = axum::Router::new().fallback({
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        move |body: String| {
            let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
            async move {
                if !body.contains("large") {
                    return axum::body::Body::from(vector(&[("200", "1")]).to_string());
                }
                let all = Bytes::from(matrix(1, "", 100_000));
                let rest = all.slice(3 << 19..);
                let first =
                    futures::stream::once(async move { Ok::<_, std::io::Error>(all.slice(..3 << 19)) });
                let rest = futures::stream::once(async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    release.notified().await;
                    Ok(rest)
                });
                axum::body::Body::from_stream(first.chain(rest))
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = servers(&format!("http://{}", listener.local_addr().unwrap()));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let ask = |namespace: &str, deadline: Duration| {
        let (servers, asked) = (
            servers.clone(),
            [counted(namespace, &format!("large_{namespace}[10m]"))],
        );
        tokio::spawn(async move { servers.samples_all(&asked, deadline).await.remove(0) })
    };
    let first = ask("a", Duration::from_mins(1));
    while begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let short = Duration::from_millis(300);
    assert_eq!(ask("b", short).await.unwrap(), Err(Failure::Waited(short)));
    assert_eq!(
        values(&only(&servers).query("small", None, DEADLINE).await),
        [1.0]
    );
    release.notify_one();
    assert_eq!(first.await.unwrap().unwrap()[0].samples.len(), 100_000);
    let next = ask("b", Duration::from_mins(1));
    release.notify_one();
    assert!(next.await.unwrap().is_ok(), "its turn");
    serving.abort();
}

/// A server whose answers stop in the middle, of so many bytes each; it counts those that did.
async fn stalling(bytes: usize) -> (String, Arc<AtomicUsize>) {
    let stalled = Arc::new(AtomicUsize::new(0));
    let app = axum::Router::new().fallback({
        let stalled = Arc::clone(&stalled);
        move || {
            let stalled = Arc::clone(&stalled);
            async move {
                let first = futures::stream::once(async move { Ok(Bytes::from(vec![b' '; bytes])) });
                let never = futures::stream::once(async move {
                    stalled.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<Result<Bytes, std::io::Error>>().await
                });
                axum::body::Body::from_stream(first.chain(never))
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, stalled)
}

#[tokio::test]
async fn servers_that_stall_in_the_middle_of_bodies_keep_no_other_from_being_read() {
    let lists = [(900 << 10, 3), (3 << 19, 4)];
    let healthy = saying(&[
        ("large", matrix(10, "", 10_000)),
        ("middle", matrix(1, "", 5_000)),
    ])
    .await;
    for (bytes, count) in lists {
        let mut yaml = vec![format!("- {{name: healthy, url: '{}'}}", healthy.uri())];
        let mut stalled = Vec::new();
        for i in 0..count {
            let (url, of) = stalling(bytes).await;
            yaml.push(format!("- {{name: stalls-{i}, url: '{url}'}}"));
            stalled.push(of);
        }
        let (servers, _) = servers_of(ServerConfig::list(&yaml.join("\n")).unwrap());
        let to = |server: &str, namespace: &str, query: String| {
            let (mut question, at) = counted(namespace, &query);
            question.server = Some(server.to_owned());
            (question, at)
        };
        // Many namespaces, so that no share of one is what leaves room.
        let stuck: Vec<_> = (0..count * 20)
            .map(|i| {
                let asked = [to(
                    &format!("stalls-{}", i % count),
                    &format!("a-{i}"),
                    format!("a_{i}[1m]"),
                )];
                let servers = servers.clone();
                tokio::spawn(async move { servers.samples_all(&asked, Duration::from_mins(5)).await })
            })
            .collect();
        let all_stall = async {
            while stalled.iter().any(|of| of.load(Ordering::SeqCst) == 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, all_stall).await.unwrap();
        for (query, samples) in [("middle", 5_000), ("large", 100_000)] {
            let asked = [to("healthy", "shop", format!("{query}[1m]"))];
            let found = servers.samples_all(&asked, DEADLINE).await.remove(0);
            let found: usize = found.unwrap().iter().map(|one| one.samples.len()).sum();
            assert_eq!(found, samples, "{query} beside {count} that stall at {bytes}");
        }
        let mut gave_way = 0;
        for one in stuck {
            if let Some(Ok(ended)) = futures::FutureExt::now_or_never(&mut { one }) {
                assert_eq!(ended, [Err(Failure::TooSlow)]);
                gave_way += 1;
            }
        }
        assert!(gave_way > 0);
    }
}

#[tokio::test]
async fn small_answers_wait_for_nobody() {
    let (url, stalled) = stalling(3 << 19).await;
    let healthy = answering(json_ok(&vector(&[("200", "7")]))).await;
    let yaml = format!(
        "- {{name: healthy, url: '{}'}}\n- {{name: stalls, url: '{url}'}}",
        healthy.uri()
    );
    let (servers, _) = servers_of(ServerConfig::list(&yaml).unwrap());
    let questions: Vec<_> = (0..40)
        .map(|i| {
            let (mut question, at) = counted(&format!("a-{i}"), &format!("a_{i}[1m]"));
            question.server = Some("stalls".to_owned());
            (question, at)
        })
        .collect();
    let stuck = tokio::spawn({
        let servers = servers.clone();
        async move { servers.samples_all(&questions, Duration::from_mins(5)).await }
    });
    while stalled.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let outcome = only(&servers).query("up", None, Duration::from_secs(2)).await;
        assert_eq!(values(&outcome), [7.0]);
    }
    stuck.abort();
}

#[tokio::test]
async fn what_a_server_says_at_length_is_cut_without_showing_a_part_of_a_secret() {
    let secret = "tenant-".to_owned() + &"secret".repeat(200);
    let say = |blanks: usize| format!("{}{secret} is bad", " ".repeat(blanks));
    for blanks in (0..40).map(|i| (16 << 10) - 40 * i) {
        let body = json!({"status": "error", "error": say(blanks)});
        let server = answering(ResponseTemplate::new(400).set_body_json(&body)).await;
        let yaml = format!(
            "- {{name: a, url: '{}', headers: {{X-Tenant: {secret}}}}}",
            server.uri()
        );
        let (servers, _) = servers_of(ServerConfig::list(&yaml).unwrap());
        let outcome = only(&servers).query("up", None, DEADLINE).await;
        let Outcome::Failed(failure) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(!failure.to_string().contains("secret"), "{blanks}: {failure}");
    }
}

#[tokio::test]
async fn one_who_asks_much_of_a_slow_server_leaves_places_for_others() {
    for (max_in_flight, share) in [(8, 2), (20, 5), (4, 1)] {
        let slow = Holding::start().await;
        let config = ServerConfig {
            max_in_flight,
            ..ServerConfig::from_url(&slow.url).unwrap()
        };
        let (servers, _) = servers_of(vec![config]);
        let questions = |who: &str, count: usize| {
            let one = |i| Question {
                server: None,
                namespace: who.to_owned(),
                query: format!("{who}{i}"),
            };
            (0..count).map(one).collect::<Vec<_>>()
        };
        let ask = |questions: Vec<Question>| {
            let servers = servers.clone();
            tokio::spawn(async move { servers.ask_all(&questions, None, DEADLINE).await })
        };
        let greedy = ask(questions("greedy", 25));
        slow.holds(share).await;
        // Two neighbours, who are heard at once and not when the first is done.
        let neighbours = [ask(questions("one", 1)), ask(questions("two", 1))];
        slow.holds(share + 2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(slow.held.load(Ordering::SeqCst), share + 2, "of {max_in_flight}");
        // In the end everybody is.
        slow.gate.add_permits(27);
        for neighbour in neighbours {
            assert_eq!(
                neighbour.await.unwrap().iter().map(values).collect::<Vec<_>>(),
                [[1.0]]
            );
        }
        let all = greedy.await.unwrap();
        assert!(all.len() == 25 && all.iter().all(|outcome| values(outcome) == [1.0]));
    }
}

#[tokio::test]
async fn however_many_slow_checks_a_namespace_has_half_of_the_places_is_left_to_others() {
    let slow = Holding::start().await;
    let (servers, _) = servers_of(vec![ServerConfig::from_url(&slow.url).unwrap()]);
    let ask = |namespace: &str, check: usize, count: usize| {
        let one = |i| Question {
            server: None,
            namespace: namespace.to_owned(),
            query: format!("{namespace}{check}_{i}"),
        };
        let (servers, questions) = (servers.clone(), (0..count).map(one).collect::<Vec<_>>());
        tokio::spawn(async move { servers.ask_all(&questions, None, DEADLINE).await })
    };
    let greedy: Vec<_> = (0..8).map(|check| ask("greedy", check, 10)).collect();
    slow.holds(10).await;
    let neighbours: Vec<_> = (0..5)
        .map(|check| ask(&format!("other{check}"), check, 1))
        .collect();
    slow.holds(15).await;
    let late = Failure::Busy {
        in_flight: 10,
        waited: Duration::from_millis(100),
    };
    let more = [Question {
        server: None,
        namespace: "greedy".to_owned(),
        query: "more".to_owned(),
    }];
    let given_up = servers.ask_all(&more, None, Duration::from_millis(100)).await;
    assert_eq!(given_up, [Outcome::Failed(late)]);
    assert_eq!(slow.held.load(Ordering::SeqCst), 15, "half, and the neighbours");
    slow.gate.add_permits(85);
    for one in greedy.into_iter().chain(neighbours) {
        assert!(one.await.unwrap().iter().all(|outcome| values(outcome) == [1.0]));
    }
}

#[tokio::test]
async fn a_slow_server_delays_nobody_else() {
    let slow = Holding::start().await;
    let quick = answering(json_ok(&vector(&[("200", "7")]))).await;
    let yaml = format!(
        "- {{name: slow, url: '{}', maxInFlight: 1}}\n- {{name: quick, url: '{}'}}",
        slow.url,
        quick.uri()
    );
    let (servers, _) = servers_of(ServerConfig::list(&yaml).unwrap());
    let blocked = tokio::spawn({
        let servers = servers.clone();
        async move {
            servers
                .get(Some("slow"))
                .unwrap()
                .query("up", None, DEADLINE)
                .await
        }
    });
    slow.holds(1).await;
    let outcome = servers
        .get(Some("quick"))
        .unwrap()
        .query("up", None, DEADLINE)
        .await;
    assert_eq!(values(&outcome), [7.0]);
    assert!(!blocked.is_finished());
    blocked.abort();
}

#[tokio::test]
async fn label_names_are_asked_of_one_metric_and_one_span_of_time() {
    let server = MockServer::start().await;
    let names = json!({"status": "success", "data": ["__name__", "code", "version"]});
    Mock::given(method("POST"))
        .and(path("/api/v1/labels"))
        .respond_with(json_ok(&names))
        .expect(1)
        .mount(&server)
        .await;
    let servers = servers(&server.uri());
    let now = at("2026-11-21T10:00:00Z");
    let found = servers
        .label_names(
            (None, "shop"),
            r#"odd"na\me"#,
            now,
            Duration::from_mins(5),
            DEADLINE,
        )
        .await
        .unwrap();
    assert_eq!(
        found,
        BTreeSet::from(["__name__".to_owned(), "code".to_owned(), "version".to_owned()])
    );
    let form = form(&server.received_requests().await.unwrap()[0]);
    assert_eq!(form["match[]"], r#"{__name__="odd\"na\\me"}"#);
    assert_eq!(
        (form["start"].as_str(), form["end"].as_str()),
        ("1795254900.000", "1795255200.000")
    );
}

#[tokio::test]
async fn an_unknown_metric_has_no_label_names_and_doubtful_answers_are_failures() {
    let cases = [
        (json!({"status": "success", "data": []}), true),
        (json!({"status": "success", "data": null}), false),
        (
            json!({"status": "success", "data": ["a"], "warnings": ["partial"]}),
            false,
        ),
        (json!({"status": "error", "error": "no"}), false),
    ];
    for (body, good) in cases {
        let server = MockServer::start().await;
        Mock::given(path("/api/v1/labels"))
            .respond_with(json_ok(&body))
            .mount(&server)
            .await;
        let servers = servers(&server.uri());
        let now = at("2026-11-21T10:00:00Z");
        let found = servers
            .label_names((None, "shop"), "up", now, Duration::from_secs(1), DEADLINE)
            .await;
        assert_eq!(
            found.as_ref().is_ok_and(BTreeSet::is_empty),
            good,
            "{body}: {found:?}"
        );
        assert_eq!(found.is_err(), !good, "{body}");
    }
}

#[tokio::test]
async fn readiness_is_a_query_that_needs_no_data() {
    let server = MockServer::start().await;
    Mock::given(body_string_contains("query=vector%281%29"))
        .respond_with(json_ok(&vector(&[("", "1")])))
        .expect(1)
        .mount(&server)
        .await;
    only(&servers(&server.uri())).ready(DEADLINE).await.unwrap();
    let broken = answering(ResponseTemplate::new(503)).await;
    let failure = only(&servers(&broken.uri())).ready(DEADLINE).await.unwrap_err();
    assert_eq!(failure.class(), OutcomeClass::Status5xx);
}

#[test]
fn classes_have_distinct_names_fit_for_a_metric() {
    let names: BTreeSet<&str> = OutcomeClass::ALL.iter().map(|class| class.as_str()).collect();
    assert_eq!(names.len(), OutcomeClass::ALL.len());
    assert!(names.iter().all(|name| {
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    }));
}

const HOUR: Stretch = Stretch {
    start: Timestamp::UNIX_EPOCH,
    end: Timestamp::UNIX_EPOCH,
    step: Duration::from_mins(1),
};

async fn range_of(
    data: Value,
) -> (
    Result<Vec<birdwatch::clients::prometheus::RangeSeries>, Failure>,
    Seen,
) {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/v1/query_range"))
        .and(body_string_contains("step=60&timeout=4500ms"))
        .respond_with(json_ok(&json!({"status": "success", "data": data})))
        .mount(&server)
        .await;
    let (servers, seen) = servers_of(vec![ServerConfig::from_url(&server.uri()).unwrap()]);
    (only(&servers).query_range("up", HOUR, DEADLINE).await, seen)
}

#[tokio::test]
async fn a_stretch_of_time_is_asked_at_once_and_comes_as_points() {
    let series = json!([{"metric": {"pod": "a"}, "values": [[60, "1.5"], [120.5, "NaN"]]}]);
    let (answer, seen) = range_of(json!({"resultType": "matrix", "result": series})).await;
    let series = answer.unwrap();
    assert_eq!(series[0].labels["pod"], "a");
    assert_eq!(series[0].points[0], (60, 1.5));
    assert!(series[0].points[1].0 == 120 && series[0].points[1].1.is_nan());
    assert_eq!(*seen.lock().unwrap(), [("default".to_owned(), OutcomeClass::Ok)]);
}

#[tokio::test]
async fn a_stretch_of_histograms_or_of_too_many_series_is_a_failure() {
    let histograms = json!([{"metric": {}, "histograms": []}]);
    let (answer, _) = range_of(json!({"resultType": "matrix", "result": histograms})).await;
    assert_eq!(answer.unwrap_err(), Failure::Histogram);
    let one = json!({"metric": {}, "values": []});
    let (answer, seen) = range_of(json!({"resultType": "matrix", "result": vec![one; 101]})).await;
    assert!(answer.unwrap_err().to_string().contains("101 series"));
    assert_eq!(seen.lock().unwrap()[0].1, OutcomeClass::Malformed);
    let (answer, seen) = range_of(json!({"resultType": "matrix", "result": []})).await;
    assert_eq!(
        (answer, seen.lock().unwrap()[0].1),
        (Ok(vec![]), OutcomeClass::Empty)
    );
}
