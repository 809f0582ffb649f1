//! The chart's alerts: each fires where it should and nowhere else, asks for what the operator exports, and is documented.

#![expect(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use birdwatch::runtime::metrics::Metrics;
use birdwatch_bed::tools::Tools;
use promql_parser::parser;
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file() -> PathBuf {
    root().join("charts/birdwatch/files/alerts.yaml")
}

fn alerts() -> Vec<Value> {
    let text = std::fs::read_to_string(file()).expect("the alerts");
    let rules: Value = serde_saphyr::from_str(&text).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    groups
        .flat_map(|group| group["rules"].as_array().expect("rules").clone())
        .collect()
}

/// Those that `promtool test rules` expects somewhere in tests/alerts.yaml.
fn fired() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("tests/alerts.yaml")).expect("the tests");
    let parts = text.split("alertname=\"").skip(1);
    parts
        .map(|part| part.split('"').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn each_fires_where_it_should_and_nowhere_else() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let promtool = runtime.block_on(Tools::ensure()).unwrap().program("promtool");
    // The tests name the rules by a file beside them.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alerts");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(file(), dir.join("alerts.rules.yaml")).unwrap();
    std::fs::copy(root().join("tests/alerts.yaml"), dir.join("alerts.yaml")).unwrap();
    let output = Command::new(promtool)
        .args(["test", "rules", "alerts.yaml"])
        .current_dir(&dir)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", said.concat());
    let all: BTreeSet<String> = alerts()
        .iter()
        .map(|alert| alert["alert"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(fired(), all, "each is fired once");
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
fn each_asks_for_what_the_operator_exports_from_its_start() {
    let metrics = Metrics::new();
    metrics.may_decide("rolled_back");
    metrics.queried("default", "timeout", std::time::Duration::ZERO);
    metrics.rollouts(&[("Frozen", 0), ("Pending", 0), ("Baseline", 0)]);
    let text = metrics.text().unwrap();
    for alert in alerts() {
        let query = alert["expr"].as_str().unwrap();
        let mut names = Names::default();
        walk_expr(&mut names, &parser::parse(query).unwrap()).unwrap();
        for name in names.0 {
            let family = ["_total", "_info"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            let family = family.unwrap_or(&name);
            assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
        }
    }
    // A counter that begins with its first event shows no increase then.
    for series in [
        "birdwatch_reconciles_total{result=\"refused\"} 0",
        "birdwatch_notices_total{result=\"lost\"} 0",
        "birdwatch_decisions_total{decision=\"rolled_back\"} 0",
    ] {
        assert!(text.contains(series), "{series}\n{text}");
    }
}

#[test]
fn each_is_in_the_docs_with_its_severity() {
    let docs = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    for alert in alerts() {
        let (name, severity) = (
            alert["alert"].as_str().unwrap(),
            alert["labels"]["severity"].as_str().unwrap(),
        );
        assert!(docs.contains(&format!("| `{name}` | {severity} | ")), "{name}");
        for annotation in ["summary", "description"] {
            assert!(
                alert["annotations"][annotation].is_string(),
                "{name}: {annotation}"
            );
        }
    }
    let (_, section) = docs.split_once("### Alerts").unwrap();
    let (section, _) = section.split_once("### ").unwrap();
    let documented = section.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(documented, alerts().len());
}
