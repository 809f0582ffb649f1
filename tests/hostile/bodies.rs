//! What servers answer: any body at all is a value, a failure in words, or nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::clients::http::{HttpClient, TlsFiles};
use birdwatch::clients::prometheus::{
    Failure, MAX_SERIES, Outcome, Prometheus, QueryObserver, Question, ServerConfig, Servers,
};
use birdwatch::clients::slack::{Posted, Slack, SlackClient, SlackError};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::corpus::{self, Trying};
use crate::mutate::Mutator;
use crate::{inputs, is_fit_to_show, mutator, seed};

const DEADLINE: Duration = Duration::from_secs(20);

/// Answers what it was told last: `{"status": 200, "retryAfter": "soon", "body": "text"}`, or a list of bytes where a body is
/// no text.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Value>>);

impl Answers {
    fn say(&self, answer: &Value) {
        self.0.lock().unwrap().clone_from(answer);
    }
}

impl Respond for Answers {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let answer = self.0.lock().unwrap();
        let status = answer["status"]
            .as_u64()
            .and_then(|status| status.try_into().ok());
        let given = ResponseTemplate::new(status.unwrap_or(200))
            .set_body_raw(bytes(&answer["body"]), "application/json");
        match answer["retryAfter"].as_str() {
            Some(wait) => given.insert_header("retry-after", wait),
            None => given,
        }
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    let Some(list) = body.as_array() else {
        return body.as_str().unwrap_or_default().into();
    };
    list.iter()
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect()
}

/// An answer by chance, with a body that was one of these.
fn changed(mutator: &mut Mutator, from: &[Value]) -> Value {
    let body = mutator.one_of(from).clone();
    let body = match String::from_utf8(mutator.text(&body)) {
        Ok(text) => json!(text),
        Err(no_text) => json!(no_text.into_bytes()),
    };
    let waits = [
        None,
        None,
        None,
        Some("1"),
        Some("-7"),
        Some("1e99"),
        Some("18446744073709551616"),
        Some("soon"),
    ];
    json!({
        "status": mutator.one_of(&[200, 200, 200, 200, 400, 422, 429, 500, 503]),
        "retryAfter": mutator.one_of(&waits), "body": body,
    })
}

async fn serve() -> (MockServer, Answers) {
    let (server, answers) = (MockServer::start().await, Answers::default());
    Mock::given(any())
        .respond_with(answers.clone())
        .mount(&server)
        .await;
    (server, answers)
}

fn prometheus_bodies() -> [Value; 5] {
    let labels = json!({"__name__": "errors", "pod": "shop-v2-1", "code": "500"});
    let success = |kind: &str, result: Value| json!({"status": "success", "data": {"resultType": kind, "result": result}});
    [
        success(
            "vector",
            json!([{"metric": labels, "value": [1_700_000_000.1, "0.5"]}, {"metric": {}, "value": [1_700_000_000, "NaN"]}]),
        ),
        success("scalar", json!([1_700_000_000, "1"])),
        success(
            "matrix",
            json!([{"metric": labels, "values": [[1_700_000_000, "1"], [1_700_000_015, "2"]]}]),
        ),
        json!({"status": "error", "errorType": "bad_data", "error": "parse error", "warnings": ["slow"], "infos": []}),
        json!({"status": "success", "data": ["__name__", "pod"]}),
    ]
}

fn is_said(failure: &Failure) {
    is_fit_to_show(&failure.to_string(), 600);
}

/// What came of answers of Prometheus.
#[derive(Debug, Default)]
struct Tally {
    values: u64,
    failures: u64,
}

#[tokio::test]
async fn any_body_of_prometheus_is_an_answer_or_a_failure_in_words() {
    let (server, answers) = serve().await;
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    let config = ServerConfig::from_url(&server.uri()).unwrap();
    let servers = Servers::new(vec![config], &observer).unwrap();
    let (mut mutator, bodies, mut tally) = (
        mutator("bodies of Prometheus"),
        prometheus_bodies(),
        Tally::default(),
    );
    let kept = corpus::kept("prometheus")
        .into_iter()
        .flat_map(|answer| KINDS_OF_QUESTION.map(|kind| (answer.clone(), kind)));
    let kinds = KINDS_OF_QUESTION.into_iter().cycle();
    let by_chance = (0..inputs())
        .zip(kinds)
        .map(|(_, kind)| (changed(&mut mutator, &bodies), kind));
    for (answer, kind) in kept.chain(by_chance) {
        let _trying = Trying {
            kind: "prometheus",
            input: &answer,
        };
        answers.say(&answer);
        ask(&servers, kind, &mut tally).await;
    }
    println!("proved: bodies of Prometheus (seed {}): {tally:?}", seed());
    assert!(tally.values > 0 && tally.failures > 0);
}

/// What Prometheus is asked for.
#[derive(Clone, Copy)]
enum Asked {
    Value,
    Samples,
    Names,
}

const KINDS_OF_QUESTION: [Asked; 3] = [Asked::Value, Asked::Samples, Asked::Names];

async fn ask(servers: &Servers, kind: Asked, tally: &mut Tally) {
    let question = Question {
        server: None,
        namespace: "shop".to_owned(),
        query: "errors".to_owned(),
    };
    let now = Timestamp::from_second(1_700_000_020).unwrap();
    match kind {
        Asked::Value => {
            for outcome in servers.ask_all(&[question], None, DEADLINE).await {
                match outcome {
                    Outcome::Series(series) => {
                        assert!(series.len() <= MAX_SERIES);
                        tally.values += 1;
                    }
                    Outcome::Failed(failure) => {
                        is_said(&failure);
                        tally.failures += 1;
                    }
                    _ => {}
                }
            }
        }
        Asked::Samples => {
            for found in servers.samples_all(&[(question, now)], DEADLINE).await {
                let _ = found.inspect_err(is_said);
            }
        }
        Asked::Names => {
            let names = servers.label_names((None, "shop"), "errors", now, DEADLINE, DEADLINE);
            let _ = names.await.inspect_err(is_said);
        }
    }
}

#[tokio::test]
async fn no_body_of_slack_is_taken_for_a_message_that_stands_nowhere() {
    let bodies = [
        json!({"ok": true, "channel": "C1", "ts": "1.2", "message": {"text": "hello"}}),
        json!({"ok": false, "error": "channel_not_found"}),
        json!({"ok": false, "error": "ratelimited"}),
    ];
    let (server, answers) = serve().await;
    let token = "xoxb-1234567890-secret";
    let http = HttpClient::new(TlsFiles::default()).unwrap();
    let slack = SlackClient::new(&server.uri(), SecretString::from(token), http).unwrap();
    let stands = Posted {
        channel_id: "C1".to_owned(),
        ts: "1.2".to_owned(),
    };
    let mut mutator = mutator("bodies of Slack");
    let by_chance = (0..inputs()).map(|_| changed(&mut mutator, &bodies));
    let (mut posts, mut refusals) = (0, 0);
    for answer in corpus::kept("slack").into_iter().chain(by_chance) {
        let _trying = Trying {
            kind: "slack",
            input: &answer,
        };
        answers.say(&answer);
        let posted = slack.post("#releases", "hello", None).await;
        if let Ok(posted) = &posted {
            assert!(
                !posted.ts.is_empty() && !posted.channel_id.is_empty(),
                "{posted:?}"
            );
            let body = String::from_utf8_lossy(&bytes(&answer["body"])).into_owned();
            assert!(body.contains(r#""ok":true"#), "{body}");
            posts += 1;
        }
        let updated = slack.update(&stands, "hello again").await;
        for failure in [posted.err(), updated.err()].into_iter().flatten() {
            is_fit_to_show(&failure.to_string(), 600);
            assert!(!format!("{failure:?}").contains(token));
            if let SlackError::RateLimited { after } = failure {
                assert!(after <= Duration::from_hours(1), "{after:?}");
            }
            refusals += 1;
        }
    }
    println!(
        "proved: bodies of Slack (seed {}): {posts} taken, {refusals} refused",
        seed()
    );
    assert!(posts > 0 && refusals > 0);
}
