//! The parts of the bed that need no cluster, as their users meet them: over HTTP, as processes.
#![expect(
    clippy::unwrap_used,
    reason = "a test helper that cannot go on fails its test"
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use birdwatch_bed::parts::{
    slack::{Manner, Mode, Slack, TlsIdentity},
    traffic::{Summary, Traffic, share},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const TOKEN: &str = "xoxb-test";

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()
        .unwrap()
}

struct Workload {
    child: Child,
    url: String,
}

/// Starts the real binary and waits until it says where it listens.
async fn workload(env: &[(&str, &str)]) -> Workload {
    let mut child = Command::new(env!("CARGO_BIN_EXE_workload"))
        .envs([
            ("APP", "aleph"),
            ("VERSION", "v04"),
            ("POD_NAME", "aleph-1"),
            ("POD_NAMESPACE", "shop"),
        ])
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(10), lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let address = line.strip_prefix("listening on ").unwrap();
    Workload {
        child,
        url: format!("http://{address}"),
    }
}

async fn status(url: &str) -> StatusCode {
    client().get(url).send().await.unwrap().status()
}

async fn text(url: &str) -> String {
    client().get(url).send().await.unwrap().text().await.unwrap()
}

async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < give_up, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_workload_says_who_it_is_and_errs_in_the_asked_share() {
    let workload = workload(&[("ERROR_RATE", "0.25")]).await;
    assert_eq!(text(&format!("{}/metrics", workload.url)).await, "");
    let mut errors = 0;
    for _ in 0..40 {
        let answer = client()
            .get(format!("{}/any/path", workload.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["x-version"], "v04");
        errors += usize::from(answer.status() == StatusCode::INTERNAL_SERVER_ERROR);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            body,
            json!({ "app": "aleph", "version": "v04", "pod": "aleph-1", "namespace": "shop" })
        );
    }
    assert_eq!(errors, 10);
    let metrics = text(&format!("{}/metrics", workload.url)).await;
    let of = |code: &str| {
        let line = metrics
            .lines()
            .find(|line| line.contains("requests_total{") && line.contains(code));
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(of("response_code=\"200\""), Some("30".to_owned()), "{metrics}");
    assert_eq!(of("response_code=\"500\""), Some("10".to_owned()), "{metrics}");
    assert!(
        metrics.contains("destination_service_name=\"aleph\""),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_workload_changes_its_behaviour_while_it_runs_and_refuses_nonsense() {
    let workload = workload(&[]).await;
    let change = async |change: Value| {
        client()
            .post(format!("{}/behaviour", workload.url))
            .json(&change)
            .send()
            .await
            .unwrap()
    };
    assert_eq!(status(&workload.url).await, StatusCode::OK);
    let answer = change(json!({ "errorRate": 1.0, "latencyMs": 60 })).await;
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({ "errorRate": 1.0, "latencyMs": 60 })
    );
    let sent = Instant::now();
    assert_eq!(status(&workload.url).await, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(sent.elapsed() >= Duration::from_millis(60));
    assert_eq!(
        change(json!({ "errorRate": 2 })).await.status(),
        StatusCode::BAD_REQUEST
    );
    assert!(
        change(json!({ "errorrate": 0.5 }))
            .await
            .status()
            .is_client_error()
    );
}

#[tokio::test]
async fn a_late_workload_is_ready_only_after_its_time_and_a_never_one_not_at_all() {
    let begun = Instant::now();
    let late = workload(&[("START", "late:700ms")]).await;
    let never = workload(&[("START", "never")]).await;
    let ready = format!("{}/ready", late.url);
    eventually("ready", Duration::from_secs(5), async || {
        status(&ready).await == StatusCode::OK
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert_eq!(status(&late.url).await, StatusCode::OK);
    assert_eq!(
        status(&format!("{}/ready", never.url)).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(status(&never.url).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_crashing_workload_ends_with_an_error_and_says_so() {
    let mut crashing = workload(&[("START", "crash:300ms")]).await;
    assert_eq!(status(&format!("{}/ready", crashing.url)).await, StatusCode::OK);
    let ended = timeout(Duration::from_secs(5), crashing.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[tokio::test]
async fn traffic_counts_by_version_and_status_and_keeps_its_pace() {
    let workload = workload(&[("ERROR_RATE", "0.5")]).await;
    let begun = Instant::now();
    let traffic = Traffic::start(&workload.url, "aleph.shop.svc.cluster.local", 100.0).unwrap();
    eventually("200 requests", Duration::from_secs(10), async || {
        traffic.samples().len() >= 200
    })
    .await;
    assert!(
        begun.elapsed() >= Duration::from_millis(1_900),
        "faster than asked: {:?}",
        begun.elapsed()
    );
    assert_eq!(traffic.share("v04", Duration::from_secs(1)), Some(1.0));
    assert_eq!(traffic.share("v05", Duration::from_secs(1)), Some(0.0));
    let since = Instant::now();
    assert!(traffic.since(since).is_empty());
    let samples = traffic.stop().await;
    let summary = Summary::of(&samples);
    assert_eq!((summary.sent, summary.failed), (samples.len(), 0));
    let count = |status| summary.answers[&("v04".to_owned(), status)];
    assert!(count(200).abs_diff(count(500)) <= 1, "{summary:?}");
    assert!(samples.is_sorted_by_key(|sample| sample.at));
}

#[tokio::test]
async fn traffic_to_nobody_is_counted_as_failed_and_has_no_share() {
    let free = tokio::net::TcpListener::bind(ANY)
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let traffic = Traffic::start(&format!("http://{free}"), "nobody", 50.0).unwrap();
    eventually("a request", Duration::from_secs(5), async || {
        !traffic.samples().is_empty()
    })
    .await;
    let samples = traffic.stop().await;
    assert!(
        samples
            .iter()
            .all(|sample| sample.status.is_none() && sample.error.is_some())
    );
    assert_eq!(share(&samples, "v04"), None);
}

async fn slack_call(slack: &Slack, method: &str, body: &Value) -> Value {
    let url = format!("{}/{method}", slack.api_url());
    client()
        .post(url)
        .bearer_auth(TOKEN)
        .json(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test]
async fn slack_answers_in_its_shape_to_json_and_to_forms_and_keeps_a_record() {
    let slack = Slack::start(ANY, TOKEN).await.unwrap();
    let posted = slack_call(
        &slack,
        "chat.postMessage",
        &json!({ "channel": "#deployment", "text": "one" }),
    )
    .await;
    assert_eq!(posted["ok"], true);
    assert_eq!(posted["message"]["text"], "one");
    let form = [
        ("channel", "deployment"),
        ("text", "two"),
        ("blocks", r#"[{"type":"divider"}]"#),
    ];
    let url = format!("{}/chat.postMessage", slack.api_url());
    let reply = client()
        .post(url)
        .bearer_auth(TOKEN)
        .form(&form)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.json::<Value>().await.unwrap()["channel"], posted["channel"]);
    let update = json!({ "channel": posted["channel"], "ts": posted["ts"], "text": "one, changed" });
    assert_eq!(
        slack_call(&slack, "chat.update", &update).await["text"],
        "one, changed"
    );

    let listed: Value = serde_json::from_str(&text(&format!("{}/messages", slack.url())).await).unwrap();
    assert_eq!(listed[0]["channelName"], "deployment");
    assert_eq!(listed[0]["ts"], posted["ts"]);
    assert_eq!(
        (&listed[0]["text"], &listed[0]["postedText"]),
        (&json!("one, changed"), &json!("one"))
    );
    assert_eq!(listed[0]["updates"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed[1]["blocks"], json!([{ "type": "divider" }]));
    assert_eq!(slack.messages().len(), 2);
    assert_eq!(slack.calls().len(), 3);
}

#[tokio::test]
async fn slack_wants_its_token_and_knows_its_methods() {
    let slack = Slack::start(ANY, TOKEN).await.unwrap();
    let url = format!("{}/chat.postMessage", slack.api_url());
    let body = json!({ "channel": "a", "text": "x" });
    let error = async |request: reqwest::RequestBuilder| {
        let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        answer["error"].as_str().map(str::to_owned)
    };
    assert_eq!(error(client().post(&url)).await.as_deref(), Some("not_authed"));
    assert_eq!(
        error(client().post(&url).bearer_auth("wrong")).await.as_deref(),
        Some("invalid_auth")
    );
    assert_eq!(
        slack_call(&slack, "chat.poke", &body).await["error"],
        "unknown_method"
    );
    assert!(slack.messages().is_empty());
    let outcomes: Vec<_> = slack.calls().into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, ["not_authed", "invalid_auth", "unknown_method"]);
}

#[tokio::test]
async fn slack_enforces_its_rate_with_a_retry_after() {
    let slack = Slack::start(ANY, TOKEN).await.unwrap();
    let url = format!("{}/chat.postMessage", slack.api_url());
    let post = async || {
        let body = json!({ "channel": "a", "text": "x" });
        client()
            .post(&url)
            .bearer_auth(TOKEN)
            .json(&body)
            .send()
            .await
            .unwrap()
    };
    let mut refused = None;
    for _ in 0..10 {
        let answer = post().await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    assert_eq!(
        refused.expect("ten at once are too many").headers()["retry-after"],
        "1"
    );
    eventually("taken again", Duration::from_secs(3), async || {
        post().await.status() == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn slack_misbehaves_as_told_for_as_many_calls_as_told() {
    let slack = Slack::start(ANY, TOKEN).await.unwrap();
    let api = format!("{}/chat.postMessage", slack.api_url());
    let post = || {
        let body = json!({ "channel": "a", "text": "x" });
        client()
            .post(&api)
            .bearer_auth(TOKEN)
            .json(&body)
            .timeout(Duration::from_millis(300))
            .send()
    };
    let told = json!({ "mode": "429", "retryAfter": 7, "count": 1 });
    assert!(
        client()
            .post(format!("{}/mode", slack.url()))
            .json(&told)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let answer = post().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    slack.set_mode(Mode::of(Manner::Broken).times(1));
    assert_eq!(post().await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    slack.set_mode(Mode {
        error: "channel_not_found".to_owned(),
        ..Mode::of(Manner::NotOk).times(1)
    });
    assert_eq!(
        post().await.unwrap().json::<Value>().await.unwrap()["error"],
        "channel_not_found"
    );
    slack.set_mode(Mode::of(Manner::Silence).times(1));
    assert!(post().await.unwrap_err().is_timeout());
    assert!(slack.messages().is_empty());
    assert_eq!(post().await.unwrap().status(), StatusCode::OK);
    assert_eq!(slack.messages().len(), 1);
}

#[tokio::test]
async fn slack_over_tls_serves_those_who_know_its_ca_and_no_others() {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    let identity = TlsIdentity {
        certificate: server.pem(),
        key: key.serialize_pem(),
    };
    let slack = Slack::start_tls(ANY, TOKEN, &identity).await.unwrap();
    let post = |client: reqwest::Client| {
        let body = json!({ "channel": "a", "text": "x" });
        client
            .post(format!("{}/chat.postMessage", slack.api_url()))
            .bearer_auth(TOKEN)
            .json(&body)
            .send()
    };
    assert!(post(client()).await.is_err());
    let trusted = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let trusting = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    assert_eq!(post(trusting).await.unwrap().status(), StatusCode::OK);
    assert_eq!(slack.messages().len(), 1);
}
