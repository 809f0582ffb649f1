//! That no tenant's queries fill the operator's memory, whatever Prometheus answers: a process of its own asks, as tenants
//! by the dozen would have it, and the kernel says how much it ever took.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "support/process.rs"]
mod process;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use birdwatch::clients::http::install_crypto_provider;
use birdwatch::clients::prometheus::{Prometheus, QueryObserver, Question, ServerConfig, Servers};
use birdwatch::core::query::{Only, analyse};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use process::{of_the_image, taken};

/// Where the asking process finds Prometheus.
const URL: &str = "BIRDWATCH_MEMORY_TEST_URL";

/// What the operator has been seen to take besides: watches, their stores, TLS, the binary (docs/proof.md, soak).
const BESIDES: usize = 48 << 20;

/// The longest that a check may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// A body of which one part is repeated, sent as it is read and never all there.
fn repeated(head: String, part: &str, count: usize, tail: &'static str) -> Body {
    let many = 1000.min(count).max(1);
    let block = Bytes::from(part.repeat(many));
    // A list ends without a comma.
    let last = Bytes::from(format!("{}{tail}", part.repeat(many).trim_end_matches(',')));
    let blocks = stream::repeat(block).take((count / many).saturating_sub(1));
    let all = stream::once(async { Bytes::from(head) })
        .chain(blocks)
        .chain(stream::once(async { last }));
    Body::from_stream(all.map(Ok::<_, std::io::Error>))
}

fn matrix(part: &str, count: usize) -> Body {
    let head = r#"{"status":"success","data":{"resultType":"matrix","result":["#;
    repeated(head.to_owned(), &format!("{part},"), count, "]}}")
}

fn vector(part: &str, count: usize) -> Body {
    let head = r#"{"status":"success","data":{"resultType":"vector","result":["#;
    repeated(head.to_owned(), &format!("{part},"), count, "]}}")
}

/// Ten minutes of one series of Istio's.
fn istios() -> String {
    let labels: Vec<String> = (0..24)
        .map(|i| format!(r#""destination_label_{i}":"value-of-label-{i}""#))
        .collect();
    let samples: Vec<String> = (0..40)
        .map(|i| format!(r#"[17000{i:02}000.123,"12345"]"#))
        .collect();
    format!(
        r#"{{"metric":{{{}}},"values":[{}]}}"#,
        labels.join(","),
        samples.join(",")
    )
}

fn answer(query: &str) -> Body {
    let labels: Vec<String> = (0..200).map(|i| format!(r#""l{i}":"v""#)).collect();
    let of_labels = |value: &str| format!(r#"{{"metric":{{{}}},{value}}}"#, labels.join(","));
    match query {
        // 200 pods with 20 buckets each: what has to work.
        _ if query.contains("honest") => matrix(&istios(), 4000),
        // 230,000 samples: allowed, and so is a second one beside it in the room for all.
        _ if query.contains("many_samples") => {
            let samples = r#"[1700000000.123,"1"],"#.repeat(229) + r#"[1700000000.123,"1"]"#;
            matrix(&format!(r#"{{"metric":{{}},"values":[{samples}]}}"#), 1000)
        }
        _ if query.contains("many_labels") => matrix(&of_labels(r#""values":[[1,"1"]]"#), 10_000),
        _ if query.contains("long_label") => vector(
            &format!(r#"{{"metric":{{"a":"{}"}},"value":[1,"1"]}}"#, "a".repeat(10_000)),
            90,
        ),
        _ if query.contains("labels_of_vector") => vector(&of_labels(r#""value":[1,"1"]"#), 400),
        _ if query.contains("warnings") => {
            let head = r#"{"status":"success","data":{"resultType":"matrix","result":[]},"warnings":["#;
            repeated(head.to_owned(), r#""","#, 8_000_000, "]}")
        }
        _ if query.contains("long_error") => {
            let head = r#"{"status":"error","error":""#;
            repeated(head.to_owned(), r"\n", 12_000_000, r#""}"#)
        }
        _ => repeated(" ".repeat(10), &" ".repeat(1 << 10), usize::MAX >> 20, ""),
    }
}

async fn prometheus() -> String {
    let app = axum::Router::new().fallback(|body: String| async move { answer(&body) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// What the chart lets the operator have, in bytes.
fn limit() -> usize {
    let values = std::fs::read_to_string("charts/birdwatch/values.yaml").unwrap();
    let values: serde_json::Value = serde_saphyr::from_str(&values).unwrap();
    let limit = values["resources"]["limits"]["memory"].as_str().unwrap();
    limit.strip_suffix("Mi").unwrap().parse::<usize>().unwrap() << 20
}

fn question(namespace: &str, query: &str) -> Question {
    Question {
        server: None,
        namespace: namespace.to_owned(),
        query: query.to_owned(),
    }
}

/// One check of a tenant's that counts and measures much; it keeps what it gets until it has all.
async fn greedy_check(servers: &Servers, namespace: &str, check: usize) {
    let kinds = ["many_samples", "warnings", "many_labels", "long_error", "endless"];
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let samples: Vec<_> = (0..6)
        .map(|i| {
            (
                question(namespace, &format!("{}_{check}_{i}[10m]", kinds[(i + check) % 5])),
                at,
            )
        })
        .collect();
    let kinds = ["long_label", "labels_of_vector", "endless"];
    let values: Vec<_> = (0..24)
        .map(|i| question(namespace, &format!("{}_{check}_{i}", kinds[i % 3])))
        .collect();
    let all = (
        servers.samples_all(&samples, DEADLINE),
        servers.ask_all(&values, None, DEADLINE),
    );
    let (samples, values) = tokio::join!(all.0, all.1);
    assert_eq!((samples.len(), values.len()), (6, 24));
}

/// How often of so many times the honest tenant got all its samples.
async fn honest_checks(servers: &Servers, times: i64) -> i64 {
    let mut whole = 0;
    for second in 0..times {
        let at = Timestamp::from_second(1_700_000_000 + second).unwrap();
        let asked = [(question("who-is-named-last", "honest[10m]"), at)];
        let found = servers.samples_all(&asked, DEADLINE).await;
        match &found[0] {
            Ok(series) => {
                assert_eq!((series.len(), series[0].samples.len()), (4000, 40));
                whole += 1;
            }
            Err(failure) => println!("honest: {failure}"),
        }
    }
    whole
}

/// Runs in a process of its own, which the other test starts.
#[test]
#[ignore = "started by the other test, with a Prometheus"]
fn asks_much() {
    let Ok(url) = std::env::var(URL) else { return };
    install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let observer: Arc<dyn QueryObserver> = Arc::new(());
        let servers = Servers::new(vec![ServerConfig::from_url(&url).unwrap()], &observer).unwrap();
        let tenants: Vec<String> = (0..4).map(|i| format!("tenant-{i}")).collect();
        let greedy = tenants
            .iter()
            .flat_map(|tenant| (0..2).map(move |check| (tenant, check)))
            .map(|(tenant, check)| greedy_check(&servers, tenant, check));
        let (_, honest) = tokio::join!(join_all(greedy), honest_checks(&servers, 3));
        println!("honest checks: {honest} of 3");
        assert_eq!(honest_checks(&servers, 1).await, 1, "alone");
    });
    println!("peak: {}", taken("self", "VmHWM"));
}

/// Queries of regular expressions: of each kind those that are refused, and the largest that is read.
fn hostile_queries() -> Vec<String> {
    let groups = ["([^x])?y"; 20].concat();
    let nested = "(".repeat(60) + "a" + &"?)".repeat(60);
    let patterns = [
        r"\\w{50}",
        r"\\w{9}",
        r"\\pL{3}",
        r"(\\w{9})+",
        &groups,
        &nested,
        "a|b|c",
        ".{400}",
        "",
    ];
    let of = |pattern: &str, operator: &str, count: usize| {
        let matchers = vec![format!("a{operator}\"{pattern}\""); count];
        format!("up{{job=\"x\",{}}}", matchers.join(","))
    };
    let mut queries = Vec::new();
    for (pattern, operator) in patterns
        .iter()
        .flat_map(|pattern| [(pattern, "=~"), (pattern, "!~")])
    {
        let is_read = |count: usize| analyse(&of(pattern, operator, count)).is_ok();
        let (mut most, mut too_many) = (0, 700);
        while too_many - most > 1 {
            let between = usize::midpoint(most, too_many);
            *(if is_read(between) {
                &mut most
            } else {
                &mut too_many
            }) = between;
        }
        queries.extend([1, most, most + 1, 700].map(|count| of(pattern, operator, count)));
    }
    queries
}

/// Runs in a process of its own, which the other test starts.
#[test]
#[ignore = "started by the other test"]
fn reads_much() {
    let queries = hostile_queries();
    let only = Only {
        label: "namespace",
        value: "shop",
    };
    let read_all = || {
        queries
            .iter()
            .filter(|query| only.restrict(query).is_ok())
            .count()
    };
    let read: Vec<usize> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(read_all)).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(read.iter().all(|read| *read >= 9), "some are read: {read:?}");
    println!("peak: {}", taken("self", "VmHWM"));
}

/// Runs `test` in a process as the image would have it; what it says, if it ended well, and the most memory that it had.
fn apart(test: &str, url: &str) -> (String, usize) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(URL, url)
        .envs(of_the_image());
    let ended = process.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}{errors}");
    println!("{said}");
    let peak = said.split("peak: ").nth(1);
    let peak = peak.and_then(|rest| rest.split_whitespace().next()).unwrap();
    let peak = peak.parse().unwrap();
    (said, peak)
}

fn assert_within_the_charts_limit(peak: usize) {
    let allowed = limit() - BESIDES;
    assert!(peak < allowed, "{} MiB of {} MiB", peak >> 20, allowed >> 20);
}

#[test]
fn whatever_regular_expressions_are_in_a_query_reading_it_stays_within_the_charts_limit() {
    let (_, peak) = apart("reads_much", "");
    assert_within_the_charts_limit(peak);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_tenants_ask_and_prometheus_answers_the_operator_stays_within_the_charts_limit() {
    let url = prometheus().await;
    let asked = tokio::task::spawn_blocking(move || apart("asks_much", &url));
    let (said, peak) = asked.await.unwrap();
    assert_within_the_charts_limit(peak);
    assert!(
        !said.contains("honest checks: 0"),
        "a neighbour was never heard: {said}"
    );
}
