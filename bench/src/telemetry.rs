//! Three servers that speak Prometheus' API: one that answers at once, one that takes its time, one that never does.
//! All give the same reading of a service, good until it is spoiled at an instant that is known.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use birdwatch_bed::parts::prometheus::{Prometheus, Question};
use futures::FutureExt as _;
use serde_json::{Value, json};

/// How long the slow one takes.
const SLOW: Duration = Duration::from_secs(2);

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Answers at once.
    Fine,
    /// Answers after two seconds.
    Slow,
    /// Takes every question and never answers.
    Dead,
}

impl Server {
    /// All of them; the first is the one that is asked where nothing else is said.
    pub(crate) const ALL: [Self; 3] = [Self::Fine, Self::Slow, Self::Dead];

    /// As objects name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Slow => "slow",
            Self::Dead => "dead",
        }
    }
}

/// The three of them.
pub(crate) struct Telemetry {
    book: Arc<Book>,
    servers: Vec<(Server, Prometheus)>,
}

/// What they know and what they were asked.
#[derive(Default)]
struct Book {
    questions: AtomicU64,
    all_are_bad: AtomicBool,
    bad: Mutex<HashSet<String>>,
}

impl Book {
    fn bad(&self) -> MutexGuard<'_, HashSet<String>> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_bad(&self, service: &str) -> bool {
        self.all_are_bad.load(Ordering::SeqCst) || self.bad().contains(service)
    }

    /// What Prometheus would say.
    fn answer(&self, question: &Question) -> Value {
        let data = match question.path.as_str() {
            "query" => sample(self.reading(question.of("query"))),
            "labels" => json!(["__name__", "app", "version"]),
            _ => json!([]),
        };
        json!({"status": "success", "data": data})
    }

    /// The value of a query: 1 where it is the number 1 itself, by which rivals find out whether anybody is there.
    fn reading(&self, query: &str) -> &'static str {
        match service_of(query) {
            None => "1",
            Some(service) if self.is_bad(service) => "1",
            Some(_) => "0",
        }
    }
}

/// A vector of one element, at no time that anybody looks at.
fn sample(value: &str) -> Value {
    let now = birdwatch_bed::clock::now().as_second();
    json!({"resultType": "vector", "result": [{"metric": {}, "value": [now, value]}]})
}

/// The service that a query is about, by its selector.
fn service_of(query: &str) -> Option<&str> {
    let (_, rest) = query.split_once("app=\"")?;
    rest.split('"').next()
}

impl Telemetry {
    /// Starts them; all is well.
    pub(crate) async fn start() -> io::Result<Self> {
        let book = Arc::new(Book::default());
        let mut servers = Vec::new();
        for server in Server::ALL {
            servers.push((server, serve(server, Arc::clone(&book)).await?));
        }
        Ok(Self { book, servers })
    }

    /// Where that one answers.
    pub(crate) fn url(&self, server: Server) -> String {
        let found = self.servers.iter().find(|(which, _)| *which == server);
        found.map(|(_, running)| running.url()).unwrap_or_default()
    }

    /// How many questions came so far, to all three.
    pub(crate) fn questions(&self) -> u64 {
        self.book.questions.load(Ordering::Relaxed)
    }

    /// From now on every reading is bad.
    pub(crate) fn spoil_all(&self) {
        self.book.all_are_bad.store(true, Ordering::SeqCst);
    }

    /// From now on every reading of that service is.
    pub(crate) fn spoil(&self, service: &str) {
        self.book.bad().insert(service.to_owned());
    }
}

async fn serve(server: Server, book: Arc<Book>) -> io::Result<Prometheus> {
    Prometheus::start(move |question| {
        let book = Arc::clone(&book);
        async move {
            book.questions.fetch_add(1, Ordering::Relaxed);
            match server {
                Server::Fine => {}
                Server::Slow => tokio::time::sleep(SLOW).await,
                Server::Dead => std::future::pending().await,
            }
            (StatusCode::OK, book.answer(&question).to_string())
        }
        .boxed()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(book: &Book, query: &str) -> Value {
        let form = vec![("query".to_owned(), query.to_owned())];
        let answer = book.answer(&Question {
            path: "query".into(),
            form,
        });
        answer["data"]["result"][0]["value"][1].clone()
    }

    #[test]
    fn a_reading_is_good_until_it_is_spoiled() {
        let book = Book::default();
        let (one, two) = (
            r#"bench_errors{app="one",version="v2"}"#,
            r#"bench_errors{app="two"}"#,
        );
        assert_eq!([asked(&book, one), asked(&book, two)], ["0", "0"]);
        book.bad().insert("one".to_owned());
        assert_eq!([asked(&book, one), asked(&book, two)], ["1", "0"]);
        book.all_are_bad.store(true, Ordering::SeqCst);
        assert_eq!(asked(&book, two), "1");
    }

    #[test]
    fn who_asks_for_a_number_gets_it() {
        assert_eq!(asked(&Book::default(), "vector(1)"), "1");
    }
}
