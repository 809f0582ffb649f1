//! Text that a tenant, or whoever plays Prometheus, writes for others to read: it reaches Slack, status, Events and the
//! log as one short line without effect.

use std::sync::Arc;

use birdwatch::api::status::Phase;
use birdwatch::clients::http::{HttpClient, TlsFiles};
use birdwatch::clients::prometheus::{QueryObserver, ServerConfig, Servers};
use birdwatch::clients::slack::{SlackClient, sender};
use birdwatch::controller::channels::Channels;
use birdwatch::controller::deliver::Deliver;
use birdwatch::runtime::metrics::Metrics;
use tokio::sync::mpsc::unbounded_channel;
use wiremock::{Request, Respond};

use super::*;
use crate::controller_kit::{BIRD_WATCHES, bird_watch};

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

async fn answering(body: impl Respond + 'static) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(body)
        .mount(&server)
        .await;
    server
}

fn telling(slack: &MockServer) -> controller_kit::Telling {
    let client = HttpClient::new(TlsFiles::default()).unwrap();
    let client = SlackClient::new(&slack.uri(), "xoxb".into(), client).unwrap();
    let (acks, answers) = unbounded_channel();
    let (handle, sending) = sender(Arc::new(client), acks);
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

fn assert_harmless(place: &str, document: &Value) {
    let mut found = Vec::new();
    texts(document, &mut found);
    for text in found {
        let lines = if place == "Slack" { 6 } else { 1 };
        assert!(text.lines().count() <= lines, "{place}: {text:?}");
        let is_control = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(is_control), "{place}: {text:?}");
        assert!(
            text.chars().count() <= 3_000,
            "{place}: {} characters",
            text.len()
        );
    }
}

#[tokio::test]
async fn labels_made_to_be_read_are_one_short_line_without_effect_wherever_people_read() {
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
    let _operator = kit.operator_with("one", telling(&slack), Arc::new(servers));
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
