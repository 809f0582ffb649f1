//! The answers of a Prometheus, by namespace: each case says what its service measures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use birdwatch_bed::parts::prometheus::{Prometheus, Question};
use futures::FutureExt as _;
use serde_json::{Value, json};

/// What a question gets.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status and body.
    Body(u16, String),
    /// None, ever.
    Silence,
}

/// Says what a query gets.
pub(crate) type Says = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// What every namespace's Prometheus says.
#[derive(Clone, Default)]
pub(crate) struct Manners(Arc<Mutex<BTreeMap<String, Says>>>);

impl Manners {
    pub(crate) fn set(&self, namespace: &str, says: Says) {
        self.0.lock().unwrap().insert(namespace.to_owned(), says);
    }

    fn of(&self, query: &str) -> Answer {
        let of = query
            .split("namespace=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let says = self.0.lock().unwrap().get(of.unwrap_or_default()).cloned();
        says.map_or_else(|| vector(&[]), |says| says(query))
    }
}

/// Serves them. No series has the name `istio_request_total`, and nothing is to be learned of `unlooked`.
pub(crate) async fn serve(manners: Manners) -> Prometheus {
    let answer = move |question: Question| {
        let answer = match question.path.as_str() {
            "labels" => labels(question.of("match[]")),
            _ => manners.of(question.of("query")),
        };
        async move {
            match answer {
                Answer::Body(status, body) => (StatusCode::from_u16(status).unwrap(), body),
                Answer::Silence => std::future::pending().await,
            }
        }
        .boxed()
    };
    Prometheus::start(answer).await.unwrap()
}

fn labels(of: &str) -> Answer {
    if of.contains("unlooked") {
        return Answer::Body(500, String::new());
    }
    let known = if of.contains("istio_request_total") {
        json!([])
    } else {
        json!(["__name__", "version", "namespace"])
    };
    Answer::Body(200, json!({"status": "success", "data": known}).to_string())
}

/// Series with these values.
pub(crate) fn vector(values: &[&str]) -> Answer {
    let series: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(n, value)| {
            let metric = if values.len() == 1 {
                json!({})
            } else {
                json!({"pod": n.to_string()})
            };
            json!({"metric": metric, "value": [1, value]})
        })
        .collect();
    success(&json!({"resultType": "vector", "result": series}))
}

/// An answer with that data.
pub(crate) fn success(data: &Value) -> Answer {
    Answer::Body(200, json!({"status": "success", "data": data}).to_string())
}

/// One number for production, another for the canary.
pub(crate) fn numbers(production: &'static str, canary: &'static str) -> Says {
    Arc::new(move |query| {
        vector(&[if query.contains("\"v1\"") {
            production
        } else {
            canary
        }])
    })
}

/// The same to every question.
pub(crate) fn always(answer: Answer) -> Says {
    Arc::new(move |_| answer.clone())
}
