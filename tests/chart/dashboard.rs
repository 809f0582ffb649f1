//! The dashboard for Grafana: where it is put, and that it speaks of what the operator exports. Its queries are put to
//! a Prometheus by `tests/bed_judging/dashboard.rs`.

use std::collections::BTreeSet;

use birdwatch::runtime::metrics::Metrics;
use promql_parser::parser;
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::{Value, json};

use crate::helm::{NAMESPACE, chart, render, try_render};

fn dashboard() -> Value {
    let text = std::fs::read_to_string(chart().join("files/dashboard.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// The panels' queries, with something in the place of variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets
        .map(|target| {
            let query = target["expr"].as_str().expect("a query");
            query.replace("$__rate_interval", "1m")
        })
        .collect()
}

#[test]
fn the_dashboard_is_put_where_grafanas_sidecar_looks_only_when_asked_for() {
    assert_eq!(render("{}").of("ConfigMap").count(), 0);
    let rendered = render("grafanaDashboard: {enabled: true}");
    let map = rendered.get("ConfigMap", "birdwatch-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(map["metadata"]["namespace"], NAMESPACE);
    assert_eq!(map["metadata"]["annotations"], Value::Null);
    let data = map["data"].as_object().expect("data");
    assert_eq!(data.keys().collect::<Vec<_>>(), ["birdwatch.json"]);
    let shown: Value = serde_json::from_str(data["birdwatch.json"].as_str().expect("text")).expect("JSON");
    assert_eq!(shown, dashboard(), "helm changes nothing in it");

    let rendered = render(
        "grafanaDashboard: {enabled: true, namespace: monitoring, labels: {grafana_dashboard: , team: a}, \
         annotations: {grafana_folder: Releases}}",
    );
    let meta = &rendered.get("ConfigMap", "birdwatch-dashboard")["metadata"];
    assert_eq!(meta["namespace"], "monitoring");
    assert_eq!(meta["labels"]["team"], "a");
    assert_eq!(meta["labels"]["grafana_dashboard"], Value::Null);
    assert_eq!(meta["annotations"], json!({"grafana_folder": "Releases"}));
}

#[test]
fn values_that_make_no_config_map_are_refused_by_name() {
    for (values, named) in [
        (
            "{enabled: true, namespace: Not_One}",
            "grafanaDashboard.namespace",
        ),
        (
            "{enabled: true, labels: {grafana_dashboard: 1}}",
            "grafana_dashboard",
        ),
        ("{enabled: 'yes'}", "enabled"),
        ("{folder: x}", "folder"),
    ] {
        let refusal = try_render(&format!("grafanaDashboard: {values}")).err();
        assert!(refusal.is_some_and(|text| text.contains(named)), "{values}");
    }
}

/// Collects the names of metrics that a query asks for.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl ExprVisitor for Names {
    type Error = String;

    fn pre_visit(&mut self, expr: &parser::Expr) -> Result<bool, String> {
        match expr {
            parser::Expr::VectorSelector(selector) => self.0.extend(selector.name.clone()),
            parser::Expr::MatrixSelector(matrix) => self.0.extend(matrix.vs.name.clone()),
            _ => {}
        }
        Ok(true)
    }
}

#[test]
fn every_query_is_one_and_asks_for_what_the_operator_exports() {
    let metrics = Metrics::new();
    metrics.rollouts(&[("Idle", 1)]);
    metrics.may_decide("promoted");
    let text = metrics.text().expect("metrics");
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let exported: BTreeSet<String> = types
        .map(|(name, kind)| {
            if kind == "counter" {
                format!("{name}_total")
            } else {
                name.to_owned()
            }
        })
        .collect();
    let mut names = Names::default();
    for query in queries(&dashboard()) {
        let expr = parser::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        walk_expr(&mut names, &expr).expect("a walk");
    }
    let unknown: Vec<_> = names.0.difference(&exported).collect();
    assert!(unknown.is_empty(), "the operator exports no {unknown:?}");
    for name in exported
        .iter()
        .filter(|name| name.starts_with("birdwatch_rollout"))
    {
        assert!(names.0.contains(name), "{name} is on no panel");
    }
}

#[test]
fn every_variable_of_a_query_is_one_of_the_dashboards_and_panels_have_a_place_of_their_own() {
    let dashboard = dashboard();
    let list = dashboard["templating"]["list"].as_array().expect("variables");
    let mut known: Vec<String> = list
        .iter()
        .map(|v| v["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(known, ["datasource", "namespace", "birdwatch", "metric"]);
    known.push("__rate_interval".to_owned());
    let text = dashboard.to_string();
    let used = text.split('$').skip(1).map(|rest| {
        let rest = rest.trim_start_matches('{');
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        rest[..end].to_owned()
    });
    for name in used.filter(|name| name != "__all") {
        assert!(known.contains(&name), "${name} is no variable");
    }
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().expect("an id"))
        .collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
}
