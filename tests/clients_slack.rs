//! The Slack client and its sender against a stand-in, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::clients::http::{HttpClient, TlsFiles};
use birdwatch::clients::slack::{
    Ack, Acked, Delivery, Fate, Heard, Item, MAX_TEXT, Permission, Posted, Slack, SlackClient, SlackError,
    Thread, sender,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const TOKEN: &str = "xoxb-very-secret";

fn client(base_url: &str) -> SlackClient {
    let http = HttpClient::new(TlsFiles::default()).unwrap();
    SlackClient::new(base_url, SecretString::from(TOKEN), http).unwrap()
}

async fn answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(template)
        .mount(&server)
        .await;
    server
}

fn ok() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"ok": true, "channel": "C123", "ts": "17.42"}))
}

fn not_ok(code: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"ok": false, "error": code}))
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

async fn error_of(template: ResponseTemplate) -> SlackError {
    let server = answering(template).await;
    client(&server.uri())
        .post("deployment", "hello", None)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_message_is_posted_with_the_token_and_its_place_comes_back() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/chat.postMessage"))
        .and(header("authorization", format!("Bearer {TOKEN}").as_str()))
        .respond_with(ok())
        .expect(3)
        .mount(&server)
        .await;
    for base in ["/api", "/api/"] {
        let client = client(&format!("{}{base}", server.uri()));
        let posted = client.post("deployment", "a < b & c", None).await.unwrap();
        assert_eq!(
            posted,
            Posted {
                channel_id: "C123".to_owned(),
                ts: "17.42".to_owned()
            }
        );
    }
    client(&format!("{}/api", server.uri()))
        .post("C123", "reply", Some("17.42"))
        .await
        .unwrap();
    let requests = server.received_requests().await.unwrap();
    assert_eq!(body(&requests[0])["channel"], "deployment");
    assert_eq!(body(&requests[0])["text"], "a &lt; b &amp; c");
    assert_eq!(body(&requests[0])["parse"], "none");
    assert_eq!(body(&requests[0]).get("thread_ts"), None);
    assert_eq!(body(&requests[2])["thread_ts"], "17.42");
}

#[tokio::test]
async fn a_message_is_updated_by_channel_id_and_ts() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/chat.update"))
        .respond_with(ok())
        .expect(1)
        .mount(&server)
        .await;
    let message = Posted {
        channel_id: "C123".to_owned(),
        ts: "17.42".to_owned(),
    };
    client(&server.uri())
        .update(&message, "now <this>")
        .await
        .unwrap();
    let request = body(&server.received_requests().await.unwrap()[0]);
    assert_eq!(
        request,
        json!({"channel": "C123", "ts": "17.42", "text": "now &lt;this&gt;", "parse": "none"})
    );
}

#[tokio::test]
async fn a_reply_that_slack_posts_outside_of_its_thread_says_that_its_parent_is_gone() {
    let answer = |message: Value| {
        let body = json!({"ok": true, "channel": "C123", "ts": "18.1", "message": message});
        ResponseTemplate::new(200).set_body_json(body)
    };
    let posted = Posted {
        channel_id: "C123".to_owned(),
        ts: "18.1".to_owned(),
    };
    let alone = answering(answer(json!({"text": "reply", "ts": "18.1"}))).await;
    let alone = client(&alone.uri());
    assert_eq!(
        alone.post("C123", "reply", Some("17.42")).await,
        Err(SlackError::Orphaned(posted.clone()))
    );
    assert_eq!(alone.post("C123", "parent", None).await, Ok(posted.clone()));
    let reply = json!({"text": "reply", "ts": "18.1", "thread_ts": "17.42"});
    let replied = answering(answer(reply)).await;
    let replied = client(&replied.uri()).post("C123", "reply", Some("17.42")).await;
    assert_eq!(replied, Ok(posted));
}

#[tokio::test]
async fn long_text_is_cut_before_it_is_sent() {
    let server = answering(ok()).await;
    client(&server.uri())
        .post("c", &"é".repeat(50_000), None)
        .await
        .unwrap();
    let sent = body(&server.received_requests().await.unwrap()[0])["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(sent.chars().count(), MAX_TEXT);
    assert!(sent.ends_with('…'));
}

#[tokio::test]
async fn ok_false_is_an_error_with_slacks_code_and_what_to_do() {
    let codes = [
        ("invalid_auth", "the token is not valid"),
        ("channel_not_found", "no such channel"),
        ("not_in_channel", "invite the app"),
        ("is_archived", "archived"),
        ("missing_scope", "chat:write"),
        ("some_code_of_tomorrow", "some_code_of_tomorrow"),
    ];
    for (code, told) in codes {
        let error = error_of(not_ok(code)).await;
        assert_eq!(
            error,
            SlackError::Denied {
                code: code.to_owned()
            }
        );
        assert!(
            error.to_string().contains(code) && error.to_string().contains(told),
            "{error}"
        );
    }
}

#[tokio::test]
async fn only_what_is_wrong_with_this_one_message_is_for_good() {
    for code in [
        "msg_too_long",
        "no_text",
        "invalid_blocks",
        "thread_not_found",
        "message_not_found",
    ] {
        let refused = SlackError::Refused {
            code: code.to_owned(),
        };
        assert_eq!(error_of(not_ok(code)).await, refused);
    }
}

#[tokio::test]
async fn what_may_pass_is_no_refusal() {
    let templates = [
        not_ok("service_unavailable"),
        not_ok(""),
        ResponseTemplate::new(404),
        ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
        ResponseTemplate::new(200).set_body_string("<html>Sign in</html>"),
    ];
    for template in templates {
        let error = error_of(template).await;
        assert!(matches!(error, SlackError::Transient(_)), "{error:?}");
    }
}

#[tokio::test]
async fn what_slack_may_have_taken_all_the_same_is_told_from_what_it_did_not_take() {
    let templates = [
        not_ok("internal_error"),
        not_ok("fatal_error"),
        ResponseTemplate::new(500),
        ResponseTemplate::new(502),
        ResponseTemplate::new(503).set_body_json(json!({"ok": false, "error": "invalid_auth"})),
    ];
    for template in templates {
        let error = error_of(template).await;
        assert!(matches!(error, SlackError::Unanswered(_)), "{error:?}");
    }
    let cut = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}", cut.local_addr().unwrap()));
    let cuts = tokio::spawn(async move {
        let (mut connection, _) = cut.accept().await.unwrap();
        let mut asked = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut connection, &mut asked)
            .await
            .unwrap();
    });
    let error = client.post("c", "text", None).await.unwrap_err();
    cuts.await.unwrap();
    assert!(matches!(error, SlackError::Unanswered(_)), "{error:?}");
}

#[tokio::test]
async fn too_fast_says_how_long_to_wait() {
    let limited = |template: ResponseTemplate| async {
        match error_of(template).await {
            SlackError::RateLimited { after } => after.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        limited(ResponseTemplate::new(429).insert_header("retry-after", "7")).await,
        7
    );
    assert_eq!(
        limited(not_ok("ratelimited").insert_header("retry-after", "9")).await,
        9
    );
    // what cannot be read or believed is bounded
    for odd in ["soon", "-1", ""] {
        assert_eq!(
            limited(ResponseTemplate::new(429).insert_header("retry-after", odd)).await,
            30
        );
    }
    assert_eq!(limited(ResponseTemplate::new(429)).await, 30);
    assert_eq!(
        limited(ResponseTemplate::new(429).insert_header("retry-after", "999999999")).await,
        3_600
    );
}

#[tokio::test]
async fn a_message_taken_without_saying_where_is_not_sent_again() {
    let error = error_of(ResponseTemplate::new(200).set_body_json(json!({"ok": true}))).await;
    assert!(matches!(error, SlackError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn no_one_there_is_transient_and_nothing_shows_the_token() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&format!("http://{}", closed.local_addr().unwrap()));
    drop(closed);
    let error = client.post("c", "text", None).await.unwrap_err();
    assert!(matches!(error, SlackError::Transient(_)), "{error:?}");
    let shown = format!("{error} {error:?} {client:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_being_shown() {
    for bad in ["", "slack.com/api", "ftp://slack.com", "http://"] {
        let http = HttpClient::new(TlsFiles::default()).unwrap();
        assert!(
            SlackClient::new(bad, SecretString::from(TOKEN), http).is_err(),
            "{bad}"
        );
    }
}

type Took = Arc<Mutex<Vec<(Instant, Value)>>>;

/// A Slack that gives the told answers first, then takes everything; it keeps what it took and when.
struct StandIn {
    first: Mutex<Vec<ResponseTemplate>>,
    took: Took,
}

impl Respond for StandIn {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        if let Some(answer) = self.first.lock().unwrap().pop() {
            return answer;
        }
        let mut took = self.took.lock().unwrap();
        took.push((Instant::now(), body(request)));
        let ts = format!("17.{}", took.len());
        ResponseTemplate::new(200).set_body_json(json!({"ok": true, "channel": "C123", "ts": ts}))
    }
}

async fn next(acks: &mut mpsc::UnboundedReceiver<Heard>) -> Ack {
    timeout(Duration::from_secs(30), acks.recv())
        .await
        .expect("an ack")
        .expect("the sender lives")
        .ack
}

async fn stand_in(first: &[ResponseTemplate]) -> (MockServer, Took) {
    let took = Took::default();
    let first = Mutex::new(first.iter().rev().cloned().collect());
    let server = MockServer::start().await;
    let stand_in = StandIn {
        first,
        took: Arc::clone(&took),
    };
    Mock::given(path("/chat.postMessage"))
        .respond_with(stand_in)
        .mount(&server)
        .await;
    (server, took)
}

fn thread() -> Thread {
    Thread {
        channel: "deployment".to_owned(),
        parent: None,
        opened_in: None,
    }
}

fn post(notice_id: i64) -> Item {
    let text = format!("notice {notice_id}");
    Item::Post {
        notice_id,
        thread: thread(),
        text,
        urgent: notice_id == 3,
    }
}

fn delivery(items: Vec<Item>) -> Delivery {
    Delivery {
        key: "shop/aleph".to_owned(),
        rollout: "r1".to_owned(),
        items,
    }
}

#[tokio::test]
async fn after_429_and_a_failure_every_notice_arrives_once_in_order_in_one_thread() {
    let too_fast = ResponseTemplate::new(429).insert_header("retry-after", "1");
    let (server, took) = stand_in(&[too_fast, not_ok("service_unavailable")]).await;
    let (tell, mut acks) = mpsc::unbounded_channel();
    let (handle, task) = sender(
        Arc::new(client(&server.uri())),
        Box::new(|_| Permission::Granted(Box::new(()))),
        tell,
    );
    let task = tokio::spawn(task);
    let state = Item::UpdateParent {
        thread: thread(),
        text: "state".to_owned(),
        urgent: false,
    };
    handle.submit(delivery(vec![state, post(1), post(2)]));
    handle.submit(delivery(vec![post(1), post(2), post(3)]));

    let waited = next(&mut acks).await.fate;
    assert!(
        matches!(waited, Fate::Retrying { after, .. } if after == Duration::from_secs(1)),
        "{waited:?}"
    );
    let failed = next(&mut acks).await.fate;
    assert!(
        matches!(&failed, Fate::Retrying { why, .. } if why == "service_unavailable"),
        "{failed:?}"
    );
    let mut acked = Vec::new();
    for n in 1..=4 {
        let ack = next(&mut acks).await;
        let parent = Posted {
            channel_id: "C123".to_owned(),
            ts: "17.1".to_owned(),
        };
        assert_eq!(
            ack.fate,
            Fate::Delivered {
                parent,
                opened_in: Some("deployment".to_owned()),
                ts: format!("17.{n}")
            }
        );
        acked.push(ack.what);
    }
    let parent = Acked::Parent {
        text: "state".to_owned(),
    };
    assert_eq!(
        acked,
        [parent, Acked::Notice(1), Acked::Notice(2), Acked::Notice(3)]
    );
    drop(handle);
    timeout(Duration::from_secs(5), task)
        .await
        .expect("it ends")
        .unwrap();
    assert!(acks.recv().await.is_none());
    one_thread_at_an_easy_pace(&took.lock().unwrap());
}

fn one_thread_at_an_easy_pace(took: &[(Instant, Value)]) {
    let texts: Vec<&str> = took
        .iter()
        .map(|(_, body)| body["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["state", "notice 1", "notice 2", "notice 3"]);
    assert_eq!(took[0].1["channel"], "deployment");
    for (_, reply) in &took[1..] {
        assert_eq!(
            (&reply["thread_ts"], &reply["channel"]),
            (&json!("17.1"), &json!("C123"))
        );
    }
    for pair in took.windows(2) {
        assert!(
            pair[1].0 - pair[0].0 >= Duration::from_secs(1),
            "faster than one message a second"
        );
    }
}
