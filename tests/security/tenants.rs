//! One Prometheus for several tenants: with an enforced label a `BirdWatch` reads the series of its namespace alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use birdwatch::api::status::Phase;
use birdwatch::clients::prometheus::{Outcome, Prometheus, QueryObserver, Question, ServerConfig, Servers};
use jiff::Timestamp;
use promql_parser::label::Matcher;
use promql_parser::parser::{Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::json;
use std::time::Duration;

use super::*;
use crate::controller_kit::{
    BIRD_WATCHES, DEPLOYMENTS, RULES, SERVICES, bird_watch, deployment, rule, virtual_service,
};

const DEADLINE: Duration = Duration::from_secs(5);

fn servers(yaml: &str) -> Servers {
    birdwatch::clients::http::install_crypto_provider();
    let observer: Arc<dyn QueryObserver> = Arc::new(());
    Servers::new(ServerConfig::list(yaml).unwrap(), &observer).unwrap()
}

fn enforcing(server: &MockServer) -> Servers {
    servers(&format!(
        "- {{name: a, url: '{}', enforcedLabel: namespace}}",
        server.uri()
    ))
}

/// The selectors of a query.
#[derive(Default)]
struct Selectors(Vec<Vec<Matcher>>);

impl ExprVisitor for Selectors {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        let mut add = |selector: &VectorSelector| self.0.push(selector.matchers.matchers.clone());
        match expr {
            Expr::VectorSelector(selector) => add(selector),
            Expr::MatrixSelector(matrix) => add(&matrix.vs),
            _ => {}
        }
        Ok(true)
    }
}

/// Fails where anything that was asked could read another namespace's series. Returns what was asked.
async fn assert_asked_of_shop_alone(server: &MockServer) -> Vec<String> {
    let mut asked = Vec::new();
    for request in server.received_requests().await.unwrap() {
        let fields = form(&request).into_iter();
        for (_, promql) in fields.filter(|(name, _)| name == "query" || name == "match[]") {
            let mut selectors = Selectors::default();
            walk_expr(&mut selectors, &promql_parser::parser::parse(&promql).unwrap()).unwrap();
            for matchers in &selectors.0 {
                let own = matchers.iter().any(|m| m.to_string() == r#"namespace="shop""#);
                assert!(own, "{promql}");
            }
            asked.push(format!("{} {promql}", request.url.path()));
        }
    }
    asked
}

/// A Prometheus in which a hundred requests come between two scrapes, none of them bad; every other query has one value.
struct Growing;

impl Respond for Growing {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let fields: BTreeMap<String, String> = form(request).into_iter().collect();
        let query = fields.get("query").map_or("", String::as_str);
        let data = if request.url.path().ends_with("labels") {
            json!(["__name__", "code", "namespace", "version"])
        } else if query.ends_with(']') {
            let samples = samples(&fields["time"], if query.contains("code=") { 0 } else { 100 });
            json!({"resultType": "matrix", "result": [{"metric": {"pod": "a"}, "values": samples}]})
        } else {
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [1_700_000_000, "0.25"]}]})
        };
        ResponseTemplate::new(200).set_body_json(json!({"status": "success", "data": data}))
    }
}

/// The samples of the last seventy seconds, ten in each, of a counter that grows by so many from one to the next.
fn samples(until: &str, growth: i64) -> Vec<(serde_json::Number, String)> {
    let (seconds, millis) = until.split_once('.').unwrap();
    let last = seconds.parse::<i64>().unwrap() * 10 + millis.parse::<i64>().unwrap() / 100;
    let sample = |tenth: i64| {
        let at = format!("{}.{}", tenth / 10, tenth % 10);
        (at.parse().unwrap(), (tenth % 10_000_000 * growth).to_string())
    };
    (last - 700..=last).map(sample).collect()
}

#[tokio::test]
async fn every_question_of_a_whole_rollout_is_about_the_namespace_of_the_birdwatch() {
    let server = answering(Growing).await;
    let kit = quick();
    let metrics = json!([
        {"name": "threshold", "query": "sum(irate(errors{version=\"$(version)\"}[1s])) or vector(0)", "deviation": 1,
            "per": "request", "traffic": "sum(rate(requests{version=\"$(version)\"}[1s]))"},
        {"name": "plain", "query": "sum(up)", "max": 9},
        {"name": "counted", "total": "requests_total{version=\"$(version)\"}",
            "bad": "requests_total{code=\"500\",version=\"$(version)\"}"},
    ]);
    let more = json!({"metrics": metrics, "metric": null, "deviation": null, "interval": "1s"});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &more));
    let _operator = kit.operator_asking("one", Arc::new(enforcing(&server)));
    kit.until_phase(Phase::Promoted).await;
    assert_eq!(kit.raised_to(), [50, 100, 0]);
    let asked = assert_asked_of_shop_alone(&server).await;
    let has = |parts: [&str; 2]| {
        asked
            .iter()
            .any(|query| parts.iter().all(|part| query.contains(part)))
    };
    for metric in ["errors{", "requests{", "requests_total{"] {
        for version in ["v1", "v2"] {
            let version = format!("version=\"{version}\"");
            assert!(has([metric, &version]), "{metric} {version}: {asked:#?}");
        }
    }
    assert!(has(["up{", ""]) && has(["/labels", ""]), "{asked:#?}");
}

#[tokio::test]
async fn a_query_about_another_namespace_is_unknown_and_says_why() {
    let server = prometheus("0").await;
    let kit = quick();
    let query = r#"sum(irate(errors{namespace="payroll"}[1s]))"#;
    kit.api.put(
        BIRD_WATCHES,
        bird_watch("aleph", &json!({"metric": query, "interval": "1s"})),
    );
    let _operator = kit.operator_asking("one", Arc::new(enforcing(&server)));
    let expected = "the query is not put to this Prometheus server: it selects namespace=\"payroll\", and only series \
                    with namespace=\"shop\" may be read";
    kit.until("it is said", |kit| kit.status("aleph").message.contains(expected))
        .await;
    assert_eq!((kit.phase(), kit.weights()), (Phase::Baseline, (100, 0)));
    assert_eq!(assert_asked_of_shop_alone(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_label_is_each_servers_own_and_a_question_is_restricted_to_the_one_who_asks() {
    let (open, closed) = (prometheus("1").await, prometheus("1").await);
    let list = format!(
        "- {{name: open, url: '{}'}}\n- {{name: closed, url: '{}', enforcedLabel: tenant}}",
        open.uri(),
        closed.uri()
    );
    let servers = servers(&list);
    let ask = |server: &str, namespace: &str| Question {
        server: Some(server.to_owned()),
        namespace: namespace.to_owned(),
        query: "sum(up)".to_owned(),
    };
    let questions = [
        ask("open", "shop"),
        ask("closed", "shop"),
        ask("closed", "pay\"} or {x=\""),
    ];
    let answers = servers.ask_all(&questions, None, DEADLINE).await;
    assert!(
        answers.iter().all(|answer| matches!(answer, Outcome::Series(_))),
        "{answers:?}"
    );
    let at = Timestamp::UNIX_EPOCH;
    drop(servers.samples_all(&[(questions[1].clone(), at)], DEADLINE).await);
    let lookback = Duration::from_secs(1);
    drop(
        servers
            .label_names((Some("closed"), "shop"), "up", at, lookback, DEADLINE)
            .await,
    );
    drop(
        servers
            .label_names((Some("open"), "shop"), "up", at, lookback, DEADLINE)
            .await,
    );
    let asked = async |server: &MockServer| {
        let requests = server.received_requests().await.unwrap();
        let fields = requests.iter().flat_map(form);
        let mut asked: Vec<_> = fields
            .filter(|(name, _)| name == "query" || name == "match[]")
            .map(|(_, query)| query)
            .collect();
        asked.sort();
        asked
    };
    assert_eq!(
        asked(&open).await,
        ["sum(up)".to_owned(), r#"{__name__="up"}"#.to_owned()]
    );
    let expected = [
        r#"sum(up{tenant="pay\"} or {x=\""})"#,
        r#"sum(up{tenant="shop"})"#,
        r#"sum(up{tenant="shop"})"#,
        r#"{__name__="up",tenant="shop"}"#,
    ];
    assert_eq!(asked(&closed).await, expected);
}

#[test]
fn what_is_no_label_is_refused_at_the_start() {
    for label in ["''", "__name__", "'a-b'", "'1a'", "'a=\"b\",c'", "é"] {
        let yaml = format!("- {{name: a, url: 'http://a', enforcedLabel: {label}}}");
        let error = ServerConfig::list(&yaml).unwrap_err().to_string();
        assert!(error.contains("is not the name of a label"), "{label}: {error}");
    }
    let yaml = "- {name: a, url: 'http://a', enforcedLabel: exported_namespace}";
    let list = ServerConfig::list(yaml).unwrap();
    assert_eq!(list[0].enforced_label.as_deref(), Some("exported_namespace"));
}

/// A Prometheus that never answers what is slow, and says of everything else what it is told to.
async fn slow_for_some(
    sick: Arc<std::sync::atomic::AtomicBool>,
) -> (String, tokio_util::task::AbortOnDropHandle<()>) {
    let answer = move |body: String| {
        let sick = Arc::clone(&sick);
        async move {
            if body.contains("slow") {
                std::future::pending::<()>().await;
            }
            let value = if sick.load(std::sync::atomic::Ordering::SeqCst) {
                "9"
            } else {
                "0"
            };
            axum::Json(json!({"status": "success", "data": {"resultType": "vector",
                "result": [{"metric": {}, "value": [1_700_000_000.0, value]}]}}))
        }
    };
    let app = axum::Router::new().fallback(axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, tokio_util::task::AbortOnDropHandle::new(serving))
}

#[tokio::test]
async fn a_sick_canary_is_rolled_back_in_time_beside_a_namespace_full_of_slow_queries() {
    let sick = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (url, _serving) = slow_for_some(Arc::clone(&sick)).await;
    let mut kit = quick();
    // So long that no gap between one check and the next lets the neighbour through.
    kit.settings.query_timeout = Span::secs(60);
    let metrics: Vec<Value> = (0..10)
        .map(|i| json!({"name": format!("m{i}"), "query": format!("sum(slow{i})"), "max": 1}))
        .collect();
    let more = json!({"metrics": metrics, "metric": null, "deviation": null, "interval": "1m",
        "checkInterval": "1m"});
    for i in 0..8 {
        let service = format!("slow-{i}");
        for (kind, mut object) in [
            (DEPLOYMENTS, deployment(&service, "v1", 2)),
            (DEPLOYMENTS, deployment(&service, "v2", 2)),
            (RULES, rule(&service)),
            (SERVICES, virtual_service(&service)),
            (BIRD_WATCHES, bird_watch(&service, &more)),
        ] {
            object["metadata"]["namespace"] = json!("greedy");
            kit.api.put(kind, object);
        }
    }
    let metric = json!({"metric": "sum(errors)", "interval": "1h", "checkInterval": "1s"});
    kit.api.put(BIRD_WATCHES, bird_watch("aleph", &metric));
    let _operator = kit.operator_asking("one", Arc::new(servers(&format!("[{{name: a, url: '{url}'}}]"))));
    let asks = |kit: &Kit, i: usize| {
        let slow = kit
            .api
            .get(BIRD_WATCHES, ("greedy", &format!("slow-{i}")))
            .unwrap();
        slow["status"]["phase"] == "Baseline"
    };
    kit.until_weight(50).await;
    kit.until("all ask", |kit| (0..8).all(|i| asks(kit, i))).await;
    sick.store(true, std::sync::atomic::Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    kit.until("no traffic", |kit| kit.weights() == (100, 0)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!((0..8).all(|i| asks(&kit, i)), "they ask still");
}
