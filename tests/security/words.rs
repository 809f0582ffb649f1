//! Text that a tenant, or whoever plays Prometheus, writes for others to read: it reaches Slack, status, Events, the log
//! and the metrics as one short line without effect.

use std::sync::Arc;

use birdwatch::api::status::Phase;
use birdwatch::clients::http::{HttpClient, TlsFiles};
use birdwatch::clients::prometheus::{QueryObserver, ServerConfig, Servers};
use birdwatch::clients::slack::{SlackClient, sender};
use birdwatch::controller::channels::Channels;
use birdwatch::controller::deliver::{Deliver, permit};
use birdwatch::runtime::lease::Gate;
use birdwatch::runtime::metrics::Metrics;
use jiff::Timestamp;
use tokio::sync::mpsc::unbounded_channel;
use tracing::subscriber::DefaultGuard;
use wiremock::Request;

use super::*;
use crate::controller_kit::{BIRD_WATCHES, DEPLOYMENTS, METRIC, NS, RULES, bird_watch};

const SHOUT: &str = "<!channel> <https://evil.example|log in>\n*shop/other*: all is well\u{1b}[2J\u{202e}";

/// Production is well; the canary has bad series whose labels are made to be read.
struct Hostile;

impl Respond for Hostile {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let of_canary = form(request).iter().any(|(_, value)| value.contains("v2"));
        let series = if of_canary {
            let long = "x".repeat(1 << 19);
            json!({"metric": {"a": SHOUT, SHOUT: "b", "long": long}, "value": [1_700_000_000.0, "9"]})
        } else {
            json!({"metric": {}, "value": [1_700_000_000.0, "0"]})
        };
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "vector", "result": [series]}}))
    }
}

fn telling(slack: &MockServer, gate: &Gate) -> controller_kit::Telling {
    let client = HttpClient::new(TlsFiles::default()).unwrap();
    let client = SlackClient::new(&slack.uri(), "xoxb".into(), client).unwrap();
    let (heard, answers) = unbounded_channel();
    let (handle, sending) = sender(Arc::new(client), permit(gate.clone()), heard);
    tokio::spawn(sending);
    let deliver = Deliver::through(handle, Channels::new("deployment", &[]), Metrics::new());
    (deliver, answers)
}

/// Every text of a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| texts(one, found)),
        Value::Object(all) => all.values().for_each(|one| texts(one, found)),
        _ => {}
    }
}

/// What changes how the text around it is seen.
fn is_unseen(c: char) -> bool {
    c.is_control() || c == '\u{202e}'
}

fn assert_harmless(place: &str, document: &Value) {
    let mut found = Vec::new();
    texts(document, &mut found);
    for text in found {
        let lines = if place == "Slack" { 6 } else { 1 };
        assert!(text.lines().count() <= lines, "{place}: {text:?}");
        assert!(!text.replace('\n', "").contains(is_unseen), "{place}: {text:?}");
        assert!(
            text.chars().count() <= 3_000,
            "{place}: {} characters",
            text.len()
        );
    }
}

/// What an operator in this test's own thread logs from now on, in the form for people.
fn logging() -> (Lines, DefaultGuard) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

/// Each line is one that the operator began, and short.
fn assert_log_harmless(log: &str) {
    for line in log.lines() {
        let begun = line.split_whitespace().next().unwrap_or_default();
        assert!(begun.parse::<Timestamp>().is_ok(), "{line:?}");
        assert!(!line.contains(is_unseen), "{line:?}");
        assert!(line.chars().count() <= 3_000, "{} bytes", line.len());
    }
}

#[tokio::test]
async fn labels_made_to_be_read_are_one_short_line_without_effect_wherever_people_read() {
    let (lines, _logging) = logging();
    let slack = json!({"ok": true, "channel": "C1", "ts": "1.0"});
    let slack = answering(ResponseTemplate::new(200).set_body_json(slack)).await;
    let prometheus = answering(Hostile).await;
    let mut kit = quick();
    kit.settings.notify = Some(birdwatch::api::spec::Level::Steps);
    let query = r#"sum(irate(errors{version="$(version)"}[1s]))"#;
    let more = json!({"metric": query, "interval": "1s"});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &more));
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    let list = ServerConfig::list(&format!("- {{name: a, url: '{}'}}", prometheus.uri())).unwrap();
    let servers = Servers::new(list, &observer).unwrap();
    let _operator = kit.operator_with("one", |gate| telling(&slack, gate), Arc::new(servers));
    kit.until("it is rolled back and told", |kit| {
        let status = kit.status("aleph");
        status.phase == Phase::RolledBack && status.notices.pending.is_empty()
    })
    .await;
    let status = kit.api.get(BIRD_WATCHES, (controller_kit::NS, "aleph")).unwrap()["status"].clone();
    // It is told, and what it is about can be seen.
    assert!(
        status["message"].as_str().unwrap().contains("evil.example"),
        "{status}"
    );
    assert_harmless("status", &status);
    assert!(status.to_string().len() < 20_000, "{}", status.to_string().len());
    for event in kit.api.all("events.k8s.io/events") {
        assert_harmless("Event", &event["note"]);
    }
    let log = lines.text();
    assert!(log.contains("evil.example"), "{log}");
    assert_log_harmless(&log);
    let requests = slack.received_requests().await.unwrap();
    let bodies: Vec<Value> = requests
        .iter()
        .map(|request| request.body_json().unwrap())
        .collect();
    assert!(text(&bodies).contains("evil.example"));
    for body in bodies {
        assert_harmless("Slack", &body);
        assert!(!body["text"].as_str().unwrap().contains(['<', '>']), "{body}");
        assert!(
            !body["text"].as_str().unwrap().contains("\n*shop/other*"),
            "{body}"
        );
        assert_eq!(body["parse"], "none");
    }
}

/// No pod can be labelled so, but a subset of a rule can, and a metric be named so.
#[tokio::test(start_paused = true)]
async fn names_made_to_be_read_are_one_bounded_label_of_the_metrics_and_no_line_of_the_log() {
    let (lines, _logging) = logging();
    let kit = Kit::new();
    let hostile = format!(
        "v1\"}} 1\nbirdwatch_leader 0\n# EOF\n{SHOUT}{}",
        "x".repeat(5_000)
    );
    kit.api.edit(RULES, (NS, "aleph"), "tenant", |rule: &mut Value| {
        rule["spec"]["subsets"][0]["labels"]["version"] = json!(hostile);
    });
    kit.api
        .edit(DEPLOYMENTS, (NS, "aleph-v1"), "tenant", |object: &mut Value| {
            object["spec"]["template"]["metadata"]["labels"]["version"] = json!(hostile);
        });
    kit.service("beth");
    let longest = format!("a{}z", "b._ -".repeat(12));
    for (service, name) in [("aleph", &longest), ("beth", &hostile)] {
        let metrics = json!([{"name": name, "query": METRIC, "deviation": 0.5}]);
        let more = json!({"metrics": metrics, "metric": null, "deviation": null});
        kit.api.put(BIRD_WATCHES, bird_watch(service, &more));
    }
    let operator = kit.operator("one");
    operator.metrics.leadership(true, "birdwatch", "one");
    kit.until_weight(50).await;
    kit.until("the name is refused", |kit| {
        kit.status("beth").message.contains("must be a short name")
    })
    .await;
    let text = operator.metrics.text().unwrap();
    for line in text.lines() {
        assert!(
            line.starts_with("birdwatch_") || line.starts_with("# "),
            "{line:?}"
        );
        assert!(line.len() <= 400 && !line.contains(is_unseen), "{line:?}");
    }
    let of = |start: &str| {
        text.lines()
            .filter(|line| line.starts_with(start))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("birdwatch_leader"), ["birdwatch_leader 1"]);
    assert_eq!(of("# EOF").len(), 1);
    let weights = of("birdwatch_rollout_weight_percent{");
    assert!(
        weights[0].contains(r#"production="v1\"} 1 birdwatch_leader 0"#),
        "{weights:?}"
    );
    assert_eq!(weights.len(), 1, "{weights:?}");
    assert!(
        of("birdwatch_rollout_compared_with{")[0].contains(&longest),
        "{text}"
    );
    let log = lines.text();
    assert!(log.contains("evil.example"), "{log}");
    assert_log_harmless(&log);
}
