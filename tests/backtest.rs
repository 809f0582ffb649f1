//! `birdwatch backtest` as people run it, against a Prometheus that knows ten days: what it asks, what it prints, what it
//! refuses, and that it agrees with `birdwatch simulate`.

#![expect(clippy::expect_used, reason = "helpers of tests fail the test")]

mod past;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use past::{Past, Shape, UNTIL, UNTIL_TEXT};

const SHOP: &str = "
apiVersion: otomato.link/v1alpha1
kind: BirdWatch
metadata: {name: shop}
spec:
  service: shop
  checkInterval: 1m
  steps: [{weight: 5, hold: 10m}, {weight: 10, hold: 10m}, {weight: 20, hold: 10m}, {weight: 50, hold: 10m}]
  maxWeight: 50
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: production, labels: {version: v1}}, {name: canary, labels: {version: v2}}]
";

const SMALL: Shape = Shape {
    pods: 3,
    codes: 2,
    per_second: 10.0,
    bad: 0.001,
    scrape_seconds: 60,
    days: 10,
    gateway: false,
    clump: 1,
};

fn birdwatch(command: &str, arguments: &str, input: &str) -> Output {
    // A binary of another profile may be measured in its place.
    let binary = std::env::var("BIRDWATCH_BINARY");
    let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_birdwatch").to_owned());
    let mut child = Command::new(binary)
        .arg(command)
        .args(arguments.split_whitespace())
        .env_remove("PROMETHEUS_URL")
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Whoever refuses its flags does not read on.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the binary ends")
}

fn said(arguments: &str, at: SocketAddr, input: &str) -> String {
    let output = birdwatch(
        "backtest",
        &format!("- --prometheus http://{at} --until {UNTIL_TEXT} {arguments}"),
        input,
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &str, at: SocketAddr, input: &str) -> Value {
    serde_json::from_str(&said(&format!("{arguments} --output json"), at, input)).expect("JSON")
}

fn small() -> (Arc<Past>, SocketAddr) {
    let past = Past::new(SMALL);
    let at = past.serve();
    (past, at)
}

fn policy<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut all = report["policies"].as_array().expect("policies").iter();
    all.find(|policy| policy["name"] == name).expect("that policy")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn ten_days_are_fetched_in_chunks_and_replayed() {
    let (past, at) = small();
    let report = json(
        "--since 10d --starts 4 --seed 5 --faults 20% --no-search --max-queries 3",
        at,
        SHOP,
    );
    assert!(past.most_points.load(Ordering::Relaxed) < 11_000);
    assert!(past.at_once.load(Ordering::Relaxed) <= 3);
    assert_eq!(
        report["cost"]["queries"].as_u64(),
        Some(past.queries.load(Ordering::Relaxed))
    );
    assert_eq!(
        (&report["service"], &report["production"]),
        (&Value::from("shop"), &Value::from("v1"))
    );
    assert_eq!(
        (report["seed"].as_u64(), report["starts"].as_u64()),
        (Some(5), Some(4))
    );
    assert_eq!(report["scrapeSeconds"], 60.0);
    assert!(
        (number(&report["traffic"]["requestsPerSecond"]) - 10.0).abs() < 0.1,
        "{}",
        report["traffic"]
    );
    assert!(
        (number(&report["traffic"]["productionBad"]) - 0.001).abs() < 0.0001,
        "{}",
        report["traffic"]
    );
    assert_eq!(report["cost"]["oddSamples"], 0);
    assert!(
        number(&report["cost"]["samples"]) >= f64::from(10 * 1440 * 9 - 20),
        "{}",
        report["cost"]
    );
    for name in ["file", "default"] {
        let policy = policy(&report, name);
        assert_eq!(policy["healthy"]["rolledBack"], 0, "{policy}");
        assert_eq!(policy["healthy"]["runs"], 4, "{policy}");
        let share = &policy["healthy"]["rolledBackShare"];
        assert!(number(&share["low"]) <= 0.01 && number(&share["high"]) > 0.0);
    }
    let caught = &policy(&report, "file")["faults"][0];
    assert_eq!(
        (&caught["fault"], &caught["rolledBack"]),
        (&Value::from(0.2), &Value::from(4))
    );
    assert!(
        number(&caught["seconds"]["median"]) < 600.0 && number(&caught["errorsMean"]) > 3.0,
        "{caught}"
    );
    assert_eq!(report["metrics"][0]["test"], "sequential");
}

/// A rollout of these steps under this traffic, replayed and simulated: the shares rolled back, with their intervals, and the
/// median times.
#[derive(Clone, Copy)]
struct Compared {
    steps: &'static str,
    pods: usize,
    per_second: f64,
    faults: &'static str,
    /// How far medians may be apart beside a tenth, seconds.
    slack: f64,
}

impl Compared {
    /// Asserts that both find the same, as far as chance allows. Returns in how many cells the power was not saturated.
    fn agree(&self, starts: u32) -> u32 {
        let yaml = SHOP.replace(
            "  checkInterval: 1m\n  steps: [{weight: 5, hold: 10m}, {weight: 10, hold: 10m}, {weight: 20, hold: 10m}, \
             {weight: 50, hold: 10m}]\n  maxWeight: 50\n",
            self.steps,
        );
        assert!(!yaml.contains("checkInterval: 1m"));
        let past = Past::new(Shape {
            pods: self.pods,
            codes: 1,
            scrape_seconds: 15,
            days: 3,
            per_second: self.per_second,
            ..SMALL
        });
        let replayed = json(
            &format!(
                "--since 3d --starts {starts} --seed 2 --faults {} --no-search --no-default --name shop",
                self.faults
            ),
            past.serve(),
            &yaml,
        );
        // A fault makes good requests bad: what was bad stays so.
        let after = |fault: f64| 0.001 + 0.999 * fault;
        let file = policy(&replayed, "file");
        let cells = file["faults"].as_array().expect("faults").iter();
        let cells: Vec<&Value> = cells.chain([&file["healthy"]]).collect();
        let bad: Vec<String> = cells
            .iter()
            .map(|cell| after(number(&cell["fault"])).to_string())
            .collect();
        let simulated = birdwatch(
            "simulate",
            &format!(
                "- --rps {} --production-bad 0.001 --canary-bad {} --confirmations 2 --dispersion {} --runs 1000 --output json",
                self.per_second,
                bad.join(","),
                file["healthy"]["dispersion"],
            ),
            &yaml,
        );
        let simulated: Value = serde_json::from_slice(&simulated.stdout).expect("JSON");
        let there = |fault: f64| {
            let mut cells = simulated["canaries"].as_array().expect("canaries").iter();
            let found = cells.find(|cell| (number(&cell["canaryBad"]) - after(fault)).abs() < 1e-9);
            found.expect("that canary").clone()
        };
        cells
            .iter()
            .map(|cell| u32::from(agree(cell, &there(number(&cell["fault"])), self.slack)))
            .sum()
    }
}

/// Asserts that one cell agrees. Returns whether its power is not saturated.
fn agree(replayed: &Value, simulated: &Value, slack: f64) -> bool {
    let share = |cell: &Value, key: &str| number(&cell["rolledBackShare"][key]);
    let median = |cell: &Value| cell["seconds"]["median"].as_f64();
    let told = format!(
        "{:.4} of good requests turned bad: {:.1}-{:.1} % replayed, {:.1}-{:.1} % simulated; medians {:?} and {:?} s; errors {:.1} and {:.1}",
        number(&replayed["fault"]),
        100.0 * share(replayed, "low"),
        100.0 * share(replayed, "high"),
        100.0 * share(simulated, "low"),
        100.0 * share(simulated, "high"),
        median(replayed),
        median(simulated),
        number(&replayed["errorsMean"]),
        number(&simulated["errorsMean"])
    );
    println!("{told}");
    assert!(
        share(replayed, "low") <= share(simulated, "high")
            && share(simulated, "low") <= share(replayed, "high"),
        "{told}"
    );
    if number(&replayed["fault"]) <= 0.0 {
        return false;
    }
    // Medians of some hundred times that are spread over the whole rollout, on a grid of checks that count: chance moves
    // them by a tenth, and one or two checks.
    let few = number(&replayed["rolledBack"]) < 40.0;
    if let (false, Some(here), Some(there)) = (few, median(replayed), median(simulated)) {
        assert!((here - there).abs() <= 0.1 * there + slack, "{told}");
    }
    let (here, there) = (number(&replayed["errorsMean"]), number(&simulated["errorsMean"]));
    assert!((here / there - 1.0).abs() <= 0.15, "{told}");
    (0.2..=0.8).contains(&share(simulated, "value"))
}

/// Where power is neither 0 nor 1, in long steps and in the short ones of a service name alone.
#[test]
fn faults_are_found_as_often_and_as_soon_as_in_a_simulation() {
    let long = Compared {
        faults: "0.6%",
        ..LONG
    };
    let short = Compared {
        faults: "2%",
        ..SHORT
    };
    assert_eq!(long.agree(200) + short.agree(200), 2);
}

const LONG: Compared = Compared {
    steps: "  checkInterval: 15s\n  steps: [{weight: 5, hold: 3m}, {weight: 20, hold: 3m}, {weight: 50, hold: 3m}]\n  maxWeight: 50\n",
    pods: 3,
    per_second: 40.0,
    faults: "0.3%,0.5%,0.6%,0.7%,1%,2%,20%",
    slack: 30.0,
};

const SHORT: Compared = Compared {
    steps: "  maxWeight: 6\n",
    pods: 3,
    per_second: 100.0,
    faults: "0.5%,1%,1.5%,2%,3%,5%,20%",
    slack: 40.0,
};

/// The same for more faults and pods; prints what `docs/backtest.md` says of it.
#[test]
#[ignore = "takes minutes; prints the comparison of the documentation"]
fn many_faults_are_found_as_often_and_as_soon_as_in_a_simulation() {
    // Of many medians some lie at the end of a step; chance then moves them over the time in which the next counts nothing.
    let many = [LONG, SHORT].into_iter().flat_map(|one| {
        [3, 20].map(|pods| Compared {
            pods,
            slack: 75.0,
            ..one
        })
    });
    let told: u32 = many.map(|one| one.agree(300)).sum();
    assert!(told >= 8, "{told}");
}

#[test]
fn a_seed_fixes_every_byte_and_a_busy_server_is_asked_again() {
    let (past, at) = small();
    let run = |seed: u32| {
        let mut report = json(
            &format!("--since 1d --starts 4 --faults 1% --no-search --no-default --canary pod --seed {seed}"),
            at,
            SHOP,
        );
        let cost = report["cost"].take();
        (report, cost)
    };
    let (first, cost) = run(7);
    assert_eq!(cost["retries"], 0);
    *past.refuse.lock().expect("unpoisoned") = (429, 2);
    let (second, cost) = run(7);
    assert_eq!(cost["retries"], 2);
    assert_eq!(first, second);
    assert_ne!(first, run(8).0);
    assert_eq!(first["canary"], "pod");
}

#[test]
fn a_query_is_asked_over_its_range_and_its_noise_is_told() {
    let (past, at) = small();
    let yaml = "
kind: BirdWatch
apiVersion: otomato.link/v1alpha1
metadata: {name: shop}
spec:
  service: shop
  metrics: [{name: warmth, query: 'max(warmth{version=\"$(version)\"})', deviation: 0.5}]
  steps: [{weight: 20, hold: 2m}, {weight: 100, hold: 2m}]
  checkInterval: 1m
";
    let page = said(
        "--since 10d --starts 12 --faults 5% --production v1 --scrape-interval 15s --output html \
         --no-default --deviation 0.5..4 --hold 1m..2m --first-weight 10..20 --steps 2..3",
        at,
        yaml,
    );
    assert!(past.most_points.load(Ordering::Relaxed) < 11_000);
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(
        page.matches("<svg ").count() >= 8,
        "{}",
        page.matches("<svg ").count()
    );
    for outside in ["src=", "href=", "<script", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for words in [
        "below 3 it cries wolf",
        "faults are not injected",
        "Suggested: a first weight of",
        "How often a fault is found",
        "warmth over time",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

/// A gateway counts for both versions, and how clumpy errors are is asked of the pods.
#[test]
fn what_a_gateway_counted_is_replayed_with_the_clumps_of_the_pods() {
    let dispersion = |clump| {
        let past = Past::new(Shape {
            gateway: true,
            bad: 0.01,
            clump,
            ..SMALL
        });
        let arguments = "--since 1d --starts 4 --faults 20% --no-search --no-default";
        let report = json(arguments, past.serve(), SHOP);
        let healthy = &policy(&report, "file")["healthy"];
        assert_eq!(
            (&healthy["runs"], &healthy["endedBlind"]),
            (&4.into(), &0.into()),
            "{healthy}"
        );
        // Counted by the gateway, asked of both: as many requests as there were, and twice the samples.
        assert!((number(&report["traffic"]["requestsPerSecond"]) - 10.0).abs() < 0.2);
        assert!(number(&report["cost"]["samples"]) > f64::from(1430 * (9 + 3)));
        [healthy, &report["metrics"][0]].map(|told| number(&told["dispersion"]))
    };
    for clumped in dispersion(8) {
        assert!(clumped > 3.0, "{clumped}");
    }
    for even in dispersion(1) {
        assert!(even < 2.0, "{even}");
    }
}

#[test]
fn holes_in_the_past_make_blind_and_not_ill() {
    let (past, at) = small();
    *past.gap.lock().expect("unpoisoned") = (UNTIL - 40_000, UNTIL - 20_000);
    let report = json(
        "--since 14h --starts 40 --faults 20% --no-search --no-default --seed 3",
        at,
        SHOP,
    );
    let healthy = &policy(&report, "file")["healthy"];
    assert_eq!(healthy["rolledBack"], 0, "{healthy}");
    assert!(number(&healthy["neverBegan"]) > 0.0, "{healthy}");
    // Whoever was under way when it began goes on blindly.
    assert!(number(&healthy["blindSecondsMean"]) > 60.0, "{healthy}");
}

#[test]
fn people_get_tables_and_what_they_mean() {
    let (_, at) = small();
    let text = said("--since 1d --starts 3 --faults 20% --no-search", at, SHOP);
    for words in [
        "shop: version v1 from 2026-11-19T00:",
        "3 rollouts for each policy and fault, seed 1",
        "The policy in the file: 5 % for 10m, 10 % for 10m",
        "A service name alone: 100 steps of 1 % for 5s",
        "good requests turned bad   rolled back (95 % interval)",
        "Noise of the metrics",
        "The file's policy rolls 0 of 3 healthy versions back, and finds faults of ",
        "MB of memory.",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

/// Refused with code 2 and these words, and nothing on standard output.
fn refused(arguments: &str, input: &str, words: &str) {
    let output = birdwatch("backtest", arguments, input);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {told}");
    assert!(told.contains(words), "{arguments}: {told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments}");
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let (past, at) = small();
    let with = |more: &str| format!("- --prometheus http://{at} --until {UNTIL_TEXT} {more}");
    let alone = SHOP.split("---").next().expect("the BirdWatch");
    refused(&with(""), alone, "add --production VERSION");
    refused("-", SHOP, "add --prometheus URL");
    refused(
        &with("--since 1d --production v9"),
        SHOP,
        "check --prometheus, --production and --since",
    );
    refused(
        &with("--since 20m"),
        SHOP,
        "look further back with --since, or write shorter steps",
    );
    refused(&with("--since soon"), SHOP, "--since: \"soon\"");
    refused(
        "nowhere.yaml --prometheus http://x",
        "",
        "cannot read nowhere.yaml",
    );
    refused(
        "- --prometheus http://127.0.0.1:1 --max-queries 0",
        SHOP,
        "--max-queries",
    );
    *past.refuse.lock().expect("unpoisoned") = (400, 1);
    refused(&with("--since 1d"), SHOP, "Prometheus answered 400");
}

/// Counters that the operator refuses make no rosy report.
#[test]
fn what_no_rollout_would_begin_with_is_refused() {
    let past = Past::new(Shape { bad: 0.05, ..SMALL });
    let at = past.serve();
    let yaml = |counters: &str| {
        let metric =
            "metrics: [{name: mine, test: sequential, total: 'own_total{version=\"$(version)\"}', PART}]";
        SHOP.replace(
            "  checkInterval: 1m",
            &format!("  {}\n  checkInterval: 1m", metric.replace("PART", counters)),
        )
    };
    let arguments = "--since 1d --starts 3 --faults 20% --no-search --no-default";
    let with = format!("- --prometheus http://{at} --until {UNTIL_TEXT} {arguments}");
    let report = json(arguments, at, &yaml("good: 'own_good{version=\"$(version)\"}'"));
    assert_eq!(policy(&report, "file")["healthy"]["neverBegan"], 0);
    refused(
        &with,
        &yaml("good: 'own_god{version=\"$(version)\"}'"),
        "no series named own_god: it is misspelt",
    );
    for (part, words) in [
        ("own_bd", "no series named own_bd: it is misspelt"),
        (
            "own_bad",
            "pod=\"mtail\": the bad or good requests of production are counted there and its total is not",
        ),
    ] {
        refused(
            &with,
            &yaml(&format!("bad: '{part}{{version=\"$(version)\"}}'")),
            words,
        );
    }
    let label = "bad: 'own_bad{version=\"$(version)\",kode=~\"x.*\"}'";
    refused(
        &with,
        &yaml(label).replace("own_bad{", "own_none{"),
        "no series named own_none",
    );
    // However seldom one is bad.
    let seldom = Past::new(Shape { bad: 0.0002, ..SMALL }).serve();
    let with = format!("- --prometheus http://{seldom} --until {UNTIL_TEXT} {arguments}");
    refused(
        &with,
        &yaml("bad: 'own_bad{version=\"$(version)\"}'"),
        "its total is not",
    );
    let threshold = SHOP.replace(
        "  checkInterval: 1m",
        "  metrics: [{name: mine, query: 'sum(rate(own_bd{version=\"$(version)\"}[1m])) or vector(0)', max: 1}]\n  checkInterval: 1m",
    );
    refused(&with, &threshold, "no series named own_bd: it is misspelt");
    let unnamed = threshold.replace("own_bd{", "{__name__=~\"own_bd\",");
    refused(&with, &unnamed, "has no metric name to look up");
}

/// Ten days of a service of real size: `cargo test --release --test backtest -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute, and says more in a release build"]
fn ten_days_of_a_service_of_real_size() {
    let past = Past::new(Shape {
        pods: 20,
        codes: 9,
        per_second: 200.0,
        ..SMALL
    });
    let at = past.serve();
    let begun = tokio::time::Instant::now();
    let report = json("--since 10d --seed 1", at, SHOP);
    let took = begun.elapsed().as_secs_f64();
    let cost = &report["cost"];
    println!("{took:.1} s in all; {cost:#}");
    assert!(number(&cost["samples"]) > 2.8e6);
    // 62 to 69 MB were measured.
    assert!(number(&cost["peakMemoryBytes"]) < 140e6);
    if !cfg!(debug_assertions) {
        assert!(took < 60.0, "{took}");
    }
}

/// What `docs/backtest.md` shows, and a page beside it in the target directory.
#[test]
#[ignore = "takes some minutes; prints the example of the documentation"]
fn the_example_of_the_documentation() {
    let past = Past::new(Shape {
        pods: 4,
        codes: 2,
        per_second: 40.0,
        scrape_seconds: 15,
        days: 7,
        ..SMALL
    });
    let at = past.serve();
    let yaml = SHOP
        .replace("checkInterval: 1m", "checkInterval: 15s")
        .replace("  maxWeight: 50\n", "")
        .replace(
            "{weight: 5, hold: 10m}, {weight: 10, hold: 10m}, {weight: 20, hold: 10m}, {weight: 50, hold: 10m}",
            "{weight: 5, hold: 2m}, {weight: 25, hold: 2m}, {weight: 50, hold: 5m}, {weight: 100, hold: 5m}",
        );
    println!(
        "{}",
        said(
            "--since 7d --starts 30 --hold 2m..10m --first-weight 5..20 --steps 4",
            at,
            &yaml
        )
    );
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/backtest.html");
    let arguments = format!("--since 7d --starts 8 --no-search --no-default --out {page}");
    said(&arguments, at, &yaml);
}
