//! Stands between the operator and Prometheus, changes nothing, and takes down what was asked about a version and what
//! was answered.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use birdwatch_bed::clock;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::history::{Says, What};
use crate::ledger::Ledger;

/// Errors per request of a version over five seconds: 0 where there are requests and no errors.
pub(crate) const QUERY: &str = r#"(sum(rate(istio_requests_total{destination_service_name="$(service)",destination_service_namespace="$(namespace)",destination_version="$(version)",response_code="500"}[5s])) or sum(rate(istio_requests_total{destination_service_name="$(service)",destination_service_namespace="$(namespace)",destination_version="$(version)"}[5s])) * 0) / sum(rate(istio_requests_total{destination_service_name="$(service)",destination_service_namespace="$(namespace)",destination_version="$(version)"}[5s]))"#;
/// How far it may be from the baseline, which is 0.
pub(crate) const DEVIATION: f64 = 0.1;

struct Shared {
    upstream: String,
    client: reqwest::Client,
    ledger: Arc<Ledger>,
}

/// The window; it closes when this is dropped.
pub(crate) struct Window {
    pub(crate) url: String,
    _serving: AbortOnDropHandle<()>,
}

impl Window {
    /// Before the Prometheus at this URL.
    pub(crate) async fn open(upstream: String, ledger: Arc<Ledger>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        let shared = Shared {
            upstream,
            client,
            ledger,
        };
        let router = Router::new().fallback(pass).with_state(Arc::new(shared));
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Self {
            url,
            _serving: AbortOnDropHandle::new(serving),
        }
    }
}

async fn pass(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = clock::now();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut onward = shared
        .client
        .request(method, format!("{}{target}", shared.upstream));
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        onward = onward.header(header::CONTENT_TYPE, kind);
    }
    let question = format!("{target}&{}", String::from_utf8_lossy(&body));
    // Whoever asks may give up; what became of the question is taken down all the same.
    let mut note = Note {
        shared: Arc::clone(&shared),
        about: about(&question),
        asked,
        says: Says::Nothing,
    };
    let answer = async { onward.body(body).send().await?.bytes_with_status().await };
    let answered = answer.await;
    note.says = answered.as_ref().map_or(Says::Nothing, |(_, body)| says(body));
    match answered {
        Ok((status, body)) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// Writes down an answer when it is given, or given up.
struct Note {
    shared: Arc<Shared>,
    /// Service and version.
    about: Option<(String, String)>,
    asked: jiff::Timestamp,
    says: Says,
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some((service, version)) = self.about.take() {
            let what = What::Reading {
                version,
                asked: self.asked,
                says: self.says,
            };
            self.shared.ledger.note(clock::now(), &service, what);
        }
    }
}

trait WithStatus {
    async fn bytes_with_status(self) -> reqwest::Result<(StatusCode, Bytes)>;
}

impl WithStatus for reqwest::Response {
    async fn bytes_with_status(self) -> reqwest::Result<(StatusCode, Bytes)> {
        let status = self.status();
        Ok((status, self.bytes().await?))
    }
}

/// Service and version that the metric is asked of; none for every other question.
fn about(question: &str) -> Option<(String, String)> {
    let mut form = question.split(['?', '&']);
    let query = form.find_map(|pair| pair.strip_prefix("query="))?;
    let (query, _) = url::form_urlencoded::parse(query.as_bytes()).next()?;
    if !query.contains("response_code=\"500\"") {
        return None;
    }
    let label = |name: &str| {
        let (_, rest) = query.split_once(&format!("{name}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    Some((label("destination_service_name")?, label("destination_version")?))
}

fn says(body: &[u8]) -> Says {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let result = &answer["data"]["result"];
    if answer["status"] == "success" && result.as_array().is_some_and(Vec::is_empty) {
        return Says::Empty;
    }
    let value = result[0]["value"][1].as_str();
    match value.and_then(|value| value.parse::<f64>().ok()) {
        Some(value) if value.is_nan() => Says::Nothing,
        Some(value) if value <= DEVIATION => Says::Healthy,
        Some(_) => Says::Unhealthy,
        None => Says::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_metric_is_taken_down_and_by_its_value() {
        let query = QUERY.replace("$(service)", "s1").replace("$(version)", "v7");
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("query", &query)
            .append_pair("time", "1")
            .finish();
        assert_eq!(
            about(&format!("/api/v1/query&{form}")),
            Some(("s1".into(), "v7".into()))
        );
        assert_eq!(about("/api/v1/query&query=up"), None);
        assert_eq!(about("/api/v1/labels&match[]=up"), None);
        let answer = |value: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"value":[1,"{value}"]}}]}}}}"#
            )
        };
        let read = |value: &str| says(answer(value).as_bytes());
        assert_eq!(
            ["0", "0.1", "0.5", "NaN", "+Inf"].map(read),
            [
                Says::Healthy,
                Says::Healthy,
                Says::Unhealthy,
                Says::Nothing,
                Says::Unhealthy
            ]
        );
        assert_eq!(says(br#"{"status":"success","data":{"result":[]}}"#), Says::Empty);
        assert_eq!(says(b"bad gateway"), Says::Nothing);
    }
}
