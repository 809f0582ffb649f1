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

use crate::mutate::Mutator;
use crate::{inputs, is_fit_to_show, mutator};

const DEADLINE: Duration = Duration::from_secs(20);

/// Answers with the next body by chance, and remembers it.
#[derive(Clone)]
struct Nonsense {
    mutator: Arc<Mutex<Mutator>>,
    from: Arc<Vec<Value>>,
    last: Arc<Mutex<Vec<u8>>>,
}

impl Respond for Nonsense {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let mut mutator = self.mutator.lock().unwrap();
        let from = mutator.one_of(&self.from).clone();
        let body = mutator.text(&from);
        let status = *mutator.one_of(&[200, 200, 200, 200, 400, 422, 429, 500, 503]);
        self.last.lock().unwrap().clone_from(&body);
        let answer = ResponseTemplate::new(status).set_body_raw(body, "application/json");
        match mutator.one_of(&["", "", "", "1", "-7", "1e99", "18446744073709551616", "soon"]) {
            &"" => answer,
            wait => answer.insert_header("retry-after", *wait),
        }
    }
}

async fn nonsense(what: &str, from: &[Value]) -> (MockServer, Nonsense) {
    let server = MockServer::start().await;
    let nonsense = Nonsense {
        mutator: Arc::new(Mutex::new(mutator(what))),
        from: Arc::new(from.to_vec()),
        last: Arc::default(),
    };
    Mock::given(any())
        .respond_with(nonsense.clone())
        .mount(&server)
        .await;
    (server, nonsense)
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

#[tokio::test]
async fn any_body_of_prometheus_is_an_answer_or_a_failure_in_words() {
    let (server, nonsense) = nonsense("bodies of Prometheus", &prometheus_bodies()).await;
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    let config = ServerConfig::from_url(&server.uri()).unwrap();
    let servers = Servers::new(vec![config], &observer).unwrap();
    let question = Question {
        server: None,
        namespace: "shop".to_owned(),
        query: "errors".to_owned(),
    };
    let now = Timestamp::from_second(1_700_000_020).unwrap();
    let asked = [(question.clone(), now)];
    let (mut values, mut failures) = (0, 0);
    for _ in 0..inputs().div_ceil(3) {
        for outcome in servers
            .ask_all(std::slice::from_ref(&question), None, DEADLINE)
            .await
        {
            match outcome {
                Outcome::Series(series) => {
                    assert!(series.len() <= MAX_SERIES);
                    values += 1;
                }
                Outcome::Failed(failure) => {
                    is_said(&failure);
                    failures += 1;
                }
                _ => {}
            }
        }
        for found in servers.samples_all(&asked, DEADLINE).await {
            let _ = found.inspect_err(is_said);
        }
        let names = servers
            .label_names((None, "shop"), "errors", now, DEADLINE, DEADLINE)
            .await;
        let _ = names.inspect_err(is_said);
    }
    println!("proved: bodies of Prometheus: {values} were values, {failures} failures");
    assert!(values > 0 && failures > 0, "{:?}", nonsense.last);
}

#[tokio::test]
async fn no_body_of_slack_is_taken_for_a_message_that_stands_nowhere() {
    let answers = [
        json!({"ok": true, "channel": "C1", "ts": "1.2", "message": {"text": "hello"}}),
        json!({"ok": false, "error": "channel_not_found"}),
        json!({"ok": false, "error": "ratelimited"}),
    ];
    let (server, nonsense) = nonsense("bodies of Slack", &answers).await;
    let token = "xoxb-1234567890-secret";
    let http = HttpClient::new(TlsFiles::default()).unwrap();
    let slack = SlackClient::new(&server.uri(), SecretString::from(token), http).unwrap();
    let stands = Posted {
        channel_id: "C1".to_owned(),
        ts: "1.2".to_owned(),
    };
    let (mut posts, mut refusals) = (0, 0);
    for _ in 0..inputs().div_ceil(2) {
        let posted = slack.post("#releases", "hello", None).await;
        if let Ok(posted) = &posted {
            assert!(
                !posted.ts.is_empty() && !posted.channel_id.is_empty(),
                "{posted:?}"
            );
            let body = String::from_utf8_lossy(&nonsense.last.lock().unwrap()).into_owned();
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
    println!("proved: bodies of Slack: {posts} taken, {refusals} refused");
    assert!(posts > 0 && refusals > 0);
}
