//! What docs/security.md says of tenants and secrets, shown on a whole operator: real clients of Prometheus and Slack
//! against servers that play them false, the API server in memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "../controller_kit/mod.rs"]
mod controller_kit;
mod names;
mod secrets;
mod tenants;
mod words;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::api::Span;
use serde_json::{Value, json};
use wiremock::matchers::{any, method, path_regex};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate};

use controller_kit::Kit;

/// A Prometheus that answers every query with one value, and every look-up with the labels of Istio's counter.
async fn prometheus(value: &str) -> MockServer {
    let server = MockServer::start().await;
    let found = json!({"status": "success", "data": {"resultType": "vector",
        "result": [{"metric": {}, "value": [1_700_000_000.0, value]}]}});
    let names = json!({"status": "success", "data": ["__name__", "namespace", "destination_version"]});
    for (path, body) in [("query$", &found), ("labels$", &names)] {
        Mock::given(method("POST"))
            .and(path_regex(path))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            .mount(&server)
            .await;
    }
    server
}

/// A server that answers everything in one way.
async fn answering(answer: impl Respond + 'static) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A cluster whose rollouts are quick in real time.
fn quick() -> Kit {
    birdwatch::clients::http::install_crypto_provider();
    let mut kit = Kit::new();
    kit.settings.scrape_interval = Span::millis(100);
    kit.settings.propagation_delay = Span::millis(100);
    kit.patience = Duration::from_secs(30);
    kit
}

/// The fields of a form that was posted.
fn form(request: &wiremock::Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn text(objects: &[Value]) -> String {
    objects.iter().map(Value::to_string).collect()
}
