//! What a preflight makes of production's counters: asked and counted as at the start of a rollout, metric by metric.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::api::plan::Plan;
use crate::core::decision::CheckRequest;
use crate::core::observation::{Check, SampleAnswer, SampleQuestion, SampleSeries, Settings};
use crate::core::preflight::codes;
use crate::core::sequential::counters::Counted;

const SCRAPE: i64 = 15;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Counters of the user's own.
fn orders() -> Value {
    json!({
        "name": "orders", "test": "sequential", "atLeast": 0.1, "fault": 0.2,
        "total": "orders_total{version=\"$(version)\"}", "bad": "orders_bad_total{version=\"$(version)\"}",
    })
}

fn plan(metrics: &Value) -> Plan {
    crate::core::plan::resolve(&spec(&json!({"metrics": metrics}))).unwrap()
}

fn asked(plan: &Plan) -> CheckRequest {
    let settings = Settings {
        scrape_interval: Span::secs(15),
        propagation_delay: Span::ZERO,
        query_timeout: Span::ZERO,
        notify: None,
    };
    check(&name("shop"), plan, ("v1", "v2"), &settings, now())
}

/// Two requests a second in `orders`, one of a hundred bad; Istio's counters have nothing.
fn answered(request: &CheckRequest) -> Check {
    let per_scrape = |counted| if counted == Counted::All { 30.0 } else { 0.3 };
    let samples = |counted| {
        let at = |n: u32| now() - SignedDuration::from_secs(SCRAPE * i64::from(n));
        let value = |n: u32| 10_000.0 - f64::from(n) * per_scrape(counted);
        vec![SampleSeries {
            labels: labels(&[("pod", "shop-1")]),
            samples: (0..60).rev().map(|n| (at(n), value(n))).collect(),
        }]
    };
    let answer = |asked: &SampleQuestion| SampleAnswer {
        metric: asked.metric.clone(),
        side: asked.side,
        counted: asked.counted,
        from: asked.from,
        at: asked.at,
        outcome: Ok(asked.counted.map_or_else(Vec::new, samples).into()),
        unknown_names: Ok(Vec::new()),
    };
    Check {
        id: request.id.clone(),
        asked_at: now(),
        answers: Vec::new(),
        samples: request.samples.iter().map(answer).collect(),
        scrape: request.scrape,
    }
}

fn facts(metrics: &Value) -> Vec<CountersFacts> {
    let plan = plan(metrics);
    counters(&plan, &answered(&asked(&plan)))
}

#[test]
fn of_every_sequential_metric_production_is_asked_and_nobody_else() {
    let request = asked(&plan(&json!([{"preset": "error-rate"}, orders()])));
    let asked = |metric: &str| request.samples.iter().filter(|q| q.metric == metric).count();
    // What was answered and what was not; all and the bad ones.
    assert_eq!((asked("error-rate"), asked("orders")), (2, 2));
    assert!(
        request
            .samples
            .iter()
            .all(|q| q.side == Side::Production && !q.query.contains("v2"))
    );
}

#[test]
fn each_metric_is_counted_or_it_is_said_why_not() {
    let metrics = json!([{"preset": "error-rate"}, orders()]);
    let facts = facts(&metrics);
    let of = |metric: &str| &facts.iter().find(|one| one.metric == metric).unwrap().counted;
    let why = of("error-rate").as_ref().unwrap_err();
    assert!(why.contains("Istio counts no request"), "{why}");
    let orders = of("orders").as_ref().unwrap();
    assert!((orders.requests_per_second - 2.0).abs() < 0.1, "{orders:?}");
    assert!((orders.production_bad - 0.01).abs() < 1e-6, "{orders:?}");
    assert_eq!(orders.confirmations, 2, "pods are scraped at different instants");

    let mut inventory = fine();
    (inventory.spec, inventory.counters) = (Ok(spec(&json!({"metrics": metrics}))), Ok(facts));
    let found = report(&inventory).findings;
    let told: Vec<_> = found.iter().map(|f| (f.code, f.object.as_str())).collect();
    let expected = [
        // At 2 requests/s by the counters, whatever Istio counts.
        (codes::TRAFFIC_LITTLE, "service shop"),
        (codes::COUNTERS_UNKNOWN, "BirdWatch shop, metric error-rate"),
        (codes::POWER, "BirdWatch shop, metric orders"),
    ];
    assert_eq!(told, expected);
}

/// The smallest share that `orders` is said to see, percent.
fn seen(metrics: &Value, dispersion: f64) -> f64 {
    let mut facts = facts(&json!([orders()]));
    facts[0].counted.as_mut().unwrap().dispersion = dispersion;
    let mut inventory = fine();
    (inventory.spec, inventory.counters) = (Ok(spec(&json!({"metrics": metrics}))), Ok(facts));
    let what = report(&inventory).findings.pop().unwrap().what;
    assert_eq!(what.contains("in clumps"), dispersion > 1.2, "{what}");
    let (_, share) = what.split_once("nothing below ").unwrap();
    share.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_shared_budget_a_share_nobody_cares_about_and_clumps_let_a_test_see_less() {
    let others = ["a", "b", "c", "d"].map(|name| json!({"name": name, "preset": "error-rate"}));
    let shared = [others.as_slice(), &[orders()]].concat();
    let mut strict = orders();
    strict["atLeast"] = json!(null);
    let alone = seen(&json!([orders()]), 1.0);
    assert!(seen(&json!([strict]), 1.0) < alone);
    assert!(seen(&json!(shared), 1.0) > alone);
    assert!(seen(&json!([orders()]), 4.0) > alone);
}

/// What is said of the declared fault, under two requests a second of which 1 % are bad in production.
fn of_fault(changes: &Value, advance: Option<&str>) -> Option<Finding> {
    let mut metric = orders();
    for (field, value) in changes.as_object().unwrap() {
        metric[field] = value.clone();
    }
    let metrics = json!([metric]);
    let mut inventory = fine();
    inventory.spec = Ok(spec(&json!({"metrics": metrics, "advance": advance})));
    inventory.counters = Ok(facts(&metrics));
    let mut found = report(&inventory).findings.into_iter();
    found.find(|finding| finding.code == codes::POWER_FAULT)
}

#[test]
fn a_declared_fault_that_the_steps_are_too_short_for_is_said_unless_they_wait_for_it() {
    let small = json!({"atLeast": null, "fault": 0.03});
    let missed = of_fault(&small, None).unwrap();
    assert_eq!(
        (missed.severity, missed.object.as_str()),
        (Severity::Warning, "BirdWatch shop, metric orders")
    );
    assert!(
        missed
            .what
            .ends_with("the declared fault of 3 % is not noticed before the steps end"),
        "{missed:?}"
    );
    assert_eq!(of_fault(&small, Some("evidence")), None);
    assert_eq!(of_fault(&json!({"atLeast": null, "fault": 0.9}), None), None);
}

#[test]
fn a_declared_fault_that_is_tolerated_is_said_however_long_the_steps_wait() {
    for advance in [None, Some("evidence")] {
        let tolerated = of_fault(&json!({"atLeast": null, "fault": 0.012}), advance).unwrap();
        assert_eq!(
            tolerated.what,
            "a canary with the declared fault of 1.2 % can never be noticed: beside production's own 1 % up to 1.5 % is tolerated"
        );
        assert_eq!(
            tolerated.remedy,
            "Set fault above 1.5 %, or let tolerance or atLeast tolerate less."
        );
    }
}
