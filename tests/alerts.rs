//! The chart's alerts: each fires where it should and nowhere else, asks for what the operator exports, and is documented.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use birdwatch::runtime::metrics::Metrics;
use promql_parser::parser;
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::{Value, json};

#[path = "support/promtool.rs"]
mod promtool;

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

/// What makes an alert fire, just enough, and what just does not; each with its series and their values minute by minute.
struct Edge {
    alert: &'static str,
    over: &'static [(&'static str, &'static str)],
    under: &'static [(&'static str, &'static str)],
    /// The minute from which on its condition holds.
    holds: u32,
    /// For how many minutes it must hold.
    lasts: u32,
}

const EDGES: [Edge; 13] = [
    Edge {
        alert: "BirdWatchDown",
        over: &[("birdwatch_build_info", "1x5 stale")],
        under: &[("birdwatch_build_info", "1x90")],
        holds: 6,
        lasts: 5,
    },
    Edge {
        alert: "BirdWatchNoLeader",
        over: &[
            ("birdwatch_shards{pod=a}", "1x90"),
            ("birdwatch_leader{pod=a}", "0x90"),
            ("birdwatch_leader{pod=b}", "0x90"),
        ],
        under: &[
            ("birdwatch_shards{pod=a}", "1x90"),
            ("birdwatch_leader{pod=a}", "0x90"),
            ("birdwatch_leader{pod=b}", "1x90"),
        ],
        holds: 0,
        lasts: 2,
    },
    Edge {
        alert: "BirdWatchTwoLeaders",
        over: &[
            ("birdwatch_shards{pod=a}", "1x90"),
            ("birdwatch_leader{pod=a}", "1x90"),
            ("birdwatch_leader{pod=b}", "1x90"),
        ],
        under: &[
            ("birdwatch_shards{pod=a}", "1x90"),
            ("birdwatch_leader{pod=a}", "1x90"),
            ("birdwatch_leader{pod=b}", "0x90"),
        ],
        holds: 0,
        lasts: 2,
    },
    Edge {
        alert: "BirdWatchRollbackStuck",
        over: &[
            ("birdwatch_rollouts{phase=RollingBack,pod=a}", "1x90"),
            ("birdwatch_rollouts{phase=RollingBack,pod=b}", "0x90"),
        ],
        // One after the other, with none between.
        under: &[
            ("birdwatch_rollouts{phase=RollingBack}", "1 1 0 1 1 0 1 1 0x90"),
            ("birdwatch_rollouts{phase=Progressing}", "1x90"),
            ("birdwatch_rollouts{phase=RolledBack}", "1x90"),
        ],
        holds: 0,
        lasts: 2,
    },
    Edge {
        alert: "BirdWatchRefused",
        over: &[("birdwatch_reconciles_total{result=refused}", "0 1x90")],
        under: &[("birdwatch_reconciles_total{result=refused}", "7x90")],
        holds: 1,
        lasts: 5,
    },
    Edge {
        alert: "BirdWatchFailing",
        over: &[
            ("birdwatch_reconciles_total{result=ok}", "0+100x90"),
            ("birdwatch_reconciles_total{result=transient}", "0+101x90"),
        ],
        under: &[
            ("birdwatch_reconciles_total{result=ok}", "0+100x90"),
            ("birdwatch_reconciles_total{result=transient}", "0+100x90"),
        ],
        holds: 1,
        lasts: 10,
    },
    Edge {
        alert: "BirdWatchBlind",
        over: &[
            ("birdwatch_queries_total{server=s,outcome=ok}", "0+60x90"),
            ("birdwatch_queries_total{server=s,outcome=empty}", "0+40x90"),
            ("birdwatch_queries_total{server=s,outcome=timeout}", "0+101x90"),
        ],
        under: &[
            ("birdwatch_queries_total{server=s,outcome=ok}", "0+60x90"),
            ("birdwatch_queries_total{server=s,outcome=empty}", "0+40x90"),
            ("birdwatch_queries_total{server=s,outcome=timeout}", "0+100x90"),
        ],
        holds: 1,
        lasts: 5,
    },
    Edge {
        alert: "BirdWatchSlackWaits",
        over: &[("birdwatch_notices_waiting", "1x90")],
        under: &[("birdwatch_notices_waiting", "0x90")],
        holds: 0,
        lasts: 15,
    },
    Edge {
        alert: "BirdWatchNoticesLost",
        over: &[("birdwatch_notices_total{result=lost}", "0 1x90")],
        under: &[("birdwatch_notices_total{result=lost}", "7x90")],
        holds: 1,
        lasts: 0,
    },
    Edge {
        alert: "BirdWatchFrozen",
        over: &[("birdwatch_rollouts{phase=Frozen}", "1x90")],
        under: &[("birdwatch_rollouts{phase=Frozen}", "0x90")],
        holds: 0,
        lasts: 60,
    },
    Edge {
        alert: "BirdWatchWaits",
        over: &[("birdwatch_rollouts{phase=Pending}", "1x90")],
        under: &[
            ("birdwatch_rollouts{phase=Pending}", "0x90"),
            ("birdwatch_rollouts{phase=Progressing}", "1x90"),
        ],
        holds: 0,
        lasts: 60,
    },
    Edge {
        alert: "BirdWatchRolledBack",
        over: &[("birdwatch_decisions_total{decision=rolled_back}", "0 1x90")],
        under: &[
            ("birdwatch_decisions_total{decision=rolled_back}", "7x90"),
            ("birdwatch_decisions_total{decision=promoted}", "0+1x90"),
        ],
        holds: 1,
        lasts: 0,
    },
    Edge {
        alert: "BirdWatchSeriesLeftOut",
        over: &[("birdwatch_rollouts_left_out", "1x90")],
        under: &[("birdwatch_rollouts_left_out", "0x90")],
        holds: 0,
        lasts: 15,
    },
];

impl Edge {
    /// Two stories for `promtool`: it fires in the very minute and not in the one before, and never.
    fn stories(&self) -> [Value; 2] {
        let query = format!(
            "count(ALERTS{{alertname=\"{}\",alertstate=\"firing\"}})",
            self.alert
        );
        let at = |minute: u32, fires: bool| {
            let samples = if fires {
                json!([{"labels": "{}", "value": 1}])
            } else {
                json!([])
            };
            json!({"expr": query, "eval_time": format!("{minute}m"), "exp_samples": samples})
        };
        let fires = self.holds + self.lasts;
        let mut edge = vec![at(fires, true)];
        edge.extend(fires.checked_sub(1).map(|before| at(before, false)));
        let never = [fires, 89].map(|minute| at(minute, false)).to_vec();
        [("just over", self.over, edge), ("just under", self.under, never)].map(|(name, series, looks)| {
            json!({
                "name": format!("{}: {name}", self.alert), "interval": "1m",
                "input_series": series.iter().map(|(series, values)| json!({"series": of_job(series), "values": values})).collect::<Value>(),
                "promql_expr_test": looks,
            })
        })
    }
}

/// `name{a=b}` as it is scraped, with quotes and a job.
fn of_job(series: &str) -> String {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels
        .trim_end_matches('}')
        .split(',')
        .filter_map(|label| label.split_once('='));
    let labels: Vec<_> = labels
        .map(|(label, value)| format!(",{label}=\"{value}\""))
        .collect();
    let labels = labels.concat();
    format!("{name}{{job=\"birdwatch\"{labels}}}")
}

fn names() -> BTreeSet<String> {
    alerts()
        .iter()
        .map(|alert| alert["alert"].as_str().unwrap().to_owned())
        .collect()
}

/// Has `promtool` go through stories, beside a copy of the alerts.
fn promtool_agrees(file_name: &str, stories: &str) {
    // The stories name the rules by a file beside them.
    let alerts = std::fs::read(file()).unwrap();
    promtool::agrees(file_name, stories, &[("alerts.rules.yaml", &alerts)]);
}

#[test]
fn each_fires_where_it_should_and_nowhere_else() {
    let stories = std::fs::read_to_string(root().join("tests/alerts.yaml")).expect("the tests");
    promtool_agrees("alerts.yaml", &stories);
    assert_eq!(fired(), names(), "each is fired once");
}

#[test]
fn each_fires_in_the_very_minute_and_not_below_its_threshold() {
    let stories: Vec<Value> = EDGES.iter().flat_map(Edge::stories).collect();
    let stories = json!({
        "rule_files": ["alerts.rules.yaml"], "evaluation_interval": "1m", "tests": stories,
    });
    promtool_agrees("edges.json", &stories.to_string());
    let edges: BTreeSet<String> = EDGES.iter().map(|edge| edge.alert.to_owned()).collect();
    assert_eq!(edges, names());
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
    metrics.rollouts(&[("Frozen", 0), ("Pending", 0), ("Baseline", 0), ("RollingBack", 0)]);
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
