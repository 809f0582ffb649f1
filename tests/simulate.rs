//! `birdwatch simulate` as people run it: what it prints, what it refuses, and that a seed fixes every byte.

#![expect(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const SHOP: &str = "examples/shop.yaml";

const SMALL: &str = "
apiVersion: otomato.link/v1alpha1
kind: BirdWatch
metadata: {name: small}
spec:
  service: small
  checkInterval: 15s
  steps: [{weight: 5, hold: 5m}, {weight: 10, hold: 5m}, {weight: 20, hold: 5m}, {weight: 50, hold: 5m}]
";

fn simulate(arguments: &str, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_birdwatch"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("simulate")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Whoever refuses its flags does not read on.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the binary ends")
}

fn said(arguments: &str, input: &str) -> String {
    let output = simulate(arguments, input);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &str, input: &str) -> Value {
    serde_json::from_str(&said(&format!("{arguments} --output json"), input)).expect("JSON")
}

/// The canary of this bad share.
fn canary(report: &Value, bad: f64) -> Value {
    let all = report["canaries"].as_array().expect("canaries");
    let is = |cell: &&Value| {
        cell["canaryBad"]
            .as_f64()
            .is_some_and(|b| (b - bad).abs() < 1e-12)
    };
    all.iter().find(is).expect("that canary").clone()
}

#[test]
fn a_seed_fixes_every_byte_and_another_seed_changes_some() {
    for output in ["text", "json", "html", "svg", "svg --plot evidence"] {
        let arguments = format!("- --runs 110 --rps 100 --canary-bad 2% --output {output}");
        let first = said(&format!("{arguments} --seed 7"), SMALL);
        assert_eq!(first, said(&format!("{arguments} --seed 7"), SMALL), "{output}");
        assert_ne!(first, said(&format!("{arguments} --seed 8"), SMALL), "{output}");
    }
    let drawn = |seed| {
        json(
            &format!("- --runs 110 --rps 100 --canary-bad 2% --seed {seed}"),
            SMALL,
        )
    };
    assert_ne!(
        drawn(7)["canaries"],
        drawn(8)["canaries"],
        "not only the seed that is printed"
    );
}

#[test]
fn a_canary_is_drawn_the_same_whatever_else_is_tried() {
    let alone = json("- --runs 120 --rps 100 --canary-bad 0.005", SMALL);
    let among = json("- --runs 120 --rps 100 --canary-bad 0.2,0.005,0.003", SMALL);
    assert_eq!(canary(&alone, 0.005), canary(&among, 0.005));
}

#[test]
fn the_json_holds_what_was_asked_and_what_was_found() {
    let report = json("- --runs 200 --rps 100 --seed 3", SMALL);
    assert_eq!(report["service"], "small");
    assert_eq!(
        (report["seed"].as_u64(), report["runs"].as_u64()),
        (Some(3), Some(200))
    );
    assert_eq!(report["policy"]["everySeconds"], 15.0);
    assert_eq!(report["policy"]["tolerance"], 1.5);
    assert_eq!(report["policy"]["falseAlarm"], 0.01);
    assert_eq!(report["policy"]["confirmations"], 0);
    assert_eq!(report["policy"]["steps"][0]["weight"], 5.0);
    let step = &report["policy"]["steps"][0];
    assert_eq!(
        (
            &step["holdSeconds"],
            &step["keptSeconds"],
            &step["countedSeconds"]
        ),
        (&Value::from(300.0), &Value::from(300.0), &Value::from(257.5))
    );
    assert_eq!(report["policy"]["lengthSeconds"], 1500.0);
    assert_eq!(report["policy"]["scrapeSeconds"], 15.0);
    assert_eq!(report["policy"]["propagationSeconds"], 5.0);
    assert_eq!(report["policy"]["dispersion"], 1.0);
    assert_eq!(report["traffic"]["requestsPerSecond"], 100.0);
    assert_eq!(report["traffic"]["productionBad"], 0.001);
    let shares: Vec<_> = report["canaries"]
        .as_array()
        .expect("canaries")
        .iter()
        .filter_map(|cell| cell["canaryBad"].as_f64())
        .collect();
    assert_eq!(shares, [0.001, 0.0015, 0.002, 0.005, 0.02, 0.2]);
    for cell in report["canaries"].as_array().expect("canaries") {
        let of = |key: &str| cell["rolledBackShare"][key].as_f64().expect("a share");
        assert!(of("low") <= of("value") && of("value") <= of("high"), "{cell}");
        let by_step: u64 = cell["rolledBackAtStep"]
            .as_array()
            .expect("steps")
            .iter()
            .filter_map(Value::as_u64)
            .sum();
        assert_eq!(Some(by_step), cell["rolledBack"].as_u64());
        assert_eq!(cell["seconds"].is_null(), by_step == 0);
        assert!(cell["errors"]["median"].as_f64() <= cell["errors"]["p90"].as_f64());
    }
    assert_eq!(canary(&report, 0.0015)["withinTolerance"], true);
    assert_eq!(canary(&report, 0.002)["withinTolerance"], false);
}

/// What the analysis promises after 450, 60 and 15 s, a cluster finds so much later: nothing is counted in the first 65 s but for
/// what two scrapes show, and the scrape before a check and half an interval are missing.
#[test]
fn what_is_found_is_what_the_analysis_promises_and_a_cluster_leaves() {
    let report = json("- --runs 300 --rps 100", SMALL);
    for (bad, seconds) in [(0.005, 510.0), (0.02, 97.5), (0.2, 67.5)] {
        let cell = canary(&report, bad);
        assert!(cell["rolledBack"].as_u64() >= Some(297), "{cell}");
        let median = cell["seconds"]["median"].as_f64().expect("seconds");
        assert!((median - seconds).abs() <= 22.5, "{bad}: {median}");
        let predicted = cell["predictedSeconds"].as_f64().expect("seconds");
        assert!(
            predicted / median < 1.7 && median / predicted < 1.7,
            "{bad}: {median} {predicted}"
        );
    }
    for tolerated in [0.001, 0.0015] {
        let low = canary(&report, tolerated)["rolledBackShare"]["low"].as_f64();
        assert!(low <= Some(0.01), "{tolerated}: {low:?}");
    }
    let lenient = json(
        "- --runs 100 --rps 100 --tolerance 3 --false-alarm 0.1% --canary-bad 0.005",
        SMALL,
    );
    assert_eq!(lenient["policy"]["falseAlarm"], 0.001);
    assert_eq!(canary(&lenient, 0.003)["withinTolerance"], true);
    let share = |report: &Value| canary(report, 0.005)["rolledBackShare"]["value"].as_f64();
    assert!(
        share(&lenient) < Some(0.5),
        "1.7 times beyond tolerance: {:?}",
        share(&lenient)
    );
    let late = json("- --runs 100 --rps 100 --confirmations 2 --canary-bad 0.2", SMALL);
    let at = |report: &Value| {
        canary(report, 0.2)["seconds"]["median"]
            .as_f64()
            .expect("seconds")
    };
    let more = at(&late) - at(&report);
    assert!((30.0..=45.0).contains(&more), "two checks more: {more}");
}

#[test]
fn people_get_a_table_and_what_it_means() {
    let text = said(&format!("{SHOP} --runs 100 --rps 10 --seed 11"), "");
    for words in [
        "shop: 10 requests/s, production 0.1 % bad; 100 rollouts each, seed 11",
        "5 % for 2m, 25 % for 2m, 50 % for 5m, 100 % for 5m",
        "a check every 10s; 1.5 times production's errors are tolerated; at most 1 % false alarms",
        "scrapes every 15s, 5s for weights to spread: kept for 14m (14m by the holds), of which ",
        "canary bad   rolled back (95 % interval)",
        "Rolled back by the end of each step:\n\nstep   weight   kept   counted   0.1 % bad   0.15 % bad",
        "At 10 requests/s, nothing below ",
        " errors is found within 5 minutes.",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    for output in ["text", "json", "html"] {
        let told = |file: &str, input| said(&format!("{file} --runs 1 --output {output}"), input);
        let note = "the limits of its metrics are not";
        assert!(told(SHOP, "").contains(note), "{output}");
        assert!(!told("-", SMALL).contains(note), "{output}: there are none");
    }
}

const ALONE: &str = "
apiVersion: otomato.link/v1alpha1
kind: BirdWatch
metadata: {name: alone}
spec: {service: alone}
";

/// A hundred steps of 5 s are kept a minute each, as `backtest` shows; what 100 requests/s show of 20 % bad ones takes as long.
#[test]
fn a_service_name_alone_is_kept_as_long_as_a_cluster_keeps_it() {
    let asked = "- --runs 100 --rps 100 --canary-bad 20% --confirmations 2";
    let text = said(asked, ALONE);
    for words in [
        "\n100 steps of 1 % for 5s\n",
        "kept for 1h40m (8m20s by the holds), of which 33m20s are counted",
        "\n  1-10     1-10 %    10m     3m20s ",
        "\n91-100   91-100 %    10m     3m20s ",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
    let report = json(asked, ALONE);
    let cell = canary(&report, 0.2);
    let of = |name: &str, part: &str| cell[name][part].as_f64().expect("a number");
    assert!((75.0..=125.0).contains(&of("seconds", "median")), "{cell}");
    assert!((12.0..=35.0).contains(&of("errors", "median")), "{cell}");
    let quick = "--scrape-interval 1s --propagation-delay 100ms";
    let quick = json(&format!("{asked} {quick}"), ALONE);
    assert_eq!(quick["policy"]["everySeconds"], 5.0);
    assert!(
        (800.0..820.0).contains(&quick["policy"]["lengthSeconds"].as_f64().expect("seconds")),
        "{}",
        quick["policy"]["lengthSeconds"]
    );
}

#[test]
fn with_advance_evidence_steps_are_kept_until_the_fault_could_show() {
    let length = |yaml: &str, rps: u32| {
        let report = json(&format!("- --runs 20 --rps {rps}"), yaml);
        report["policy"]["lengthSeconds"].as_f64().expect("seconds")
    };
    let patient = format!("{SMALL}  advance: evidence\n  metrics: [{{preset: error-rate, fault: 0.02}}]\n");
    assert!((length(SMALL, 10) - 1500.0).abs() < 1e-9);
    assert!((length(&patient, 1000) - 1500.0).abs() < 1e-9);
    assert!(length(&patient, 10) > 1600.0, "{}", length(&patient, 10));
}

#[test]
fn a_page_stands_alone_and_shows_every_plot() {
    let html = said("- --runs 100 --output html", SMALL);
    assert!(html.contains("Rolled back by the end of each step:") && html.matches("<table").count() == 2);
    assert_eq!(html.matches("<svg ").count(), 4);
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
    for outside in ["src=", "href=", "<script", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn the_result_can_be_written_to_a_file() {
    let file = std::env::temp_dir().join(format!("birdwatch-simulate-{}.svg", std::process::id()));
    let path = file.display();
    let printed = said(
        &format!("- --runs 50 --output svg --plot errors --out {path}"),
        SMALL,
    );
    let written = std::fs::read_to_string(&file).expect("the file");
    let _ = std::fs::remove_file(&file);
    assert_eq!(printed, "");
    assert!(written.starts_with("<svg ") && written.contains("Requests that met an error"));
}

/// Refused with this code and these words, and nothing on standard output.
fn refused(arguments: &str, input: &str, code: i32, words: &str) {
    let output = simulate(arguments, input);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments}: {told}");
    assert!(told.contains(words), "{arguments}: {told}");
    assert!(output.stdout.is_empty(), "{arguments}");
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn nonsense_in_flags_is_refused_in_words_and_with_a_code() {
    refused("", "", 2, "<FILE>");
    refused("- --no-such", "", 2, "--no-such");
    for (arguments, words) in [
        ("--rps many", "--rps: \"many\" is not a number in range"),
        ("--rps=-5", "--rps: \"-5\" is not"),
        ("--rps inf", "--rps: \"inf\" is not"),
        (
            "--production-bad 2",
            "--production-bad: \"2\" is not a share; write 0 to 1",
        ),
        ("--canary-bad 0.1,120%", "holds \"120%\", which is not a share"),
        (
            "--canary-bad 1%,2%,3%,4%,5%,6%,7%,8%,9%,10%,11%,12%,13%,14%,15%,16%,17%,18%,19%,20%,21%",
            "holds too many shares; write at most 20",
        ),
        ("--false-alarm 0", "--false-alarm: \"0\" is out of range"),
        ("--tolerance 0.9", "--tolerance: \"0.9\" is not a number in range"),
        (
            "--dispersion 0.5",
            "--dispersion: \"0.5\" is not a number in range",
        ),
        ("--scrape-interval 0s", "--scrape-interval: \"0s\" is"),
        ("--propagation-delay 1h", "--propagation-delay: \"1h\" is"),
        ("--runs 0", "--runs: \"0\" is not a whole number in range"),
        ("--output pdf", "write text or json or html or svg"),
        ("--plot evidence", "is for --output svg"),
        (
            "--runs 1 --out /no/such/folder/x",
            "cannot write /no/such/folder/x",
        ),
    ] {
        refused(&format!("- {arguments}"), SMALL, 2, words);
    }
}

#[test]
fn nonsense_in_files_is_refused_in_words_and_with_a_code() {
    let first = |text: &str| SMALL.replace("{weight: 5, hold: 5m}", text);
    let twice = format!("{SMALL}---{}", SMALL.replace("name: small", "name: other"));
    let endless = SMALL
        .replace("checkInterval: 15s", "checkInterval: 1s")
        .replace("hold: 5m", "hold: 720h");
    refused("no-such.yaml", "", 2, "cannot read no-such.yaml");
    for (arguments, input, words) in [
        ("-", "kind: Service", "-: no BirdWatch in it"),
        ("-", "a: [", "-: it is not YAML"),
        ("-", &twice, "choose with --name among small, other"),
        (
            "- --name third",
            &twice,
            "no BirdWatch third in it, but small, other",
        ),
        ("-", &first("{weight: 60}"), "steps[1].weight"),
        ("-", &first("{weight: 5, hold: 0s}"), "steps[0].hold"),
        ("-", &endless, "are too many to simulate"),
    ] {
        refused(arguments, input, 2, words);
    }
}

/// `make plots` writes them; whatever changes how they look or what they say changes the committed files too.
/// What `make bench` draws is held to its results by a test of its own.
#[test]
fn the_plots_of_the_docs_are_what_the_makefile_says() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let makefile = read("Makefile");
    let (_, common) = makefile.split_once("-- simulate ").expect("the command");
    let common = common.lines().next().expect("its flags");
    let mut drawn = Vec::new();
    for line in makefile.lines() {
        let Some(own) = line.strip_prefix("\t$(SIMULATE) ") else {
            continue;
        };
        let (flags, path) = own.split_once(" --out ").expect("a file");
        let now = said(&format!("{common} {flags}"), "");
        assert!(
            now == read(path),
            "{path} is not what the program draws: run make plots"
        );
        drawn.push(path.to_owned());
    }
    drawn.sort();
    let folder = std::fs::read_dir(root.join("docs/plots")).expect("the plots");
    let mut there: Vec<String> = folder
        .map(|entry| {
            format!(
                "docs/plots/{}",
                entry.expect("an entry").file_name().to_string_lossy()
            )
        })
        .filter(|path| !path.starts_with("docs/plots/bench-"))
        .collect();
    there.sort();
    assert_eq!(drawn, there);
    assert!(there.len() >= 3, "{there:?}");
}

#[test]
fn without_traffic_people_read_that_nothing_can_be_found_and_which_rollouts_were_given_up() {
    for output in [
        "text",
        "json",
        "html",
        "svg",
        "svg --plot evidence",
        "svg --plot sight",
        "svg --plot errors",
    ] {
        let told = said(&format!("- --runs 20 --rps 0 --output {output}"), SMALL);
        for nonsense in ["NaN", "inf ", "inf\"", "Infinity"] {
            assert!(!told.contains(nonsense), "{output}: {nonsense}\n{told}");
        }
    }
    let text = said("- --runs 20 --rps 0", SMALL);
    for words in [
        "\nno requests: no step is passed without any, and each rollout waits at its first weight\n",
        "   given up\n",
        "   20 of 20\n",
        "\n   1      5 %      -         -       0.0 %",
        "\nWithout traffic nothing is ever found.\n",
        "\nRollouts given up waited for requests ",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let idle = json("- --runs 20 --rps 0", SMALL);
    assert_eq!(canary(&idle, 0.2)["givenUp"], 20);
    let busy = json("- --runs 20 --rps 100", SMALL);
    assert_eq!(canary(&busy, 0.001)["givenUp"], 0);
    assert!(!said("- --runs 20 --rps 100", SMALL).contains("given up"));
}

#[test]
fn bad_requests_are_called_what_the_metric_counts() {
    for (metric, noun) in [
        ("{preset: error-rate}", "errors"),
        ("{preset: latency, slowerThan: 300ms}", "slow requests"),
        (
            "{name: own, total: 'all{v=\"$(version)\"}', bad: 'bad{v=\"$(version)\"}'}",
            "bad requests",
        ),
    ] {
        let yaml = format!("{SMALL}  metrics: [{metric}]\n");
        let text = said("- --runs 20 --rps 10", &yaml);
        for words in [
            format!("   {noun} met (90 %)\n"),
            format!("production's {noun} are tolerated"),
            format!(" % {noun} is found within"),
        ] {
            assert!(text.contains(&words), "{words}\n{text}");
        }
        assert!(
            noun == "errors" || !text.to_lowercase().contains("errors"),
            "{text}"
        );
        let html = said("- --runs 20 --output html", &yaml);
        assert!(
            noun == "errors" || !html.to_lowercase().contains("error"),
            "{noun}"
        );
    }
}

#[test]
fn without_traffic_or_errors_there_is_still_an_answer() {
    let idle = json("- --runs 50 --rps 0", SMALL);
    assert_eq!(idle["sight"], "without traffic nothing is ever found");
    assert_eq!(canary(&idle, 0.2)["rolledBack"], 0);
    assert!(idle["nearest"].is_null());
    let clean = json("- --runs 50 --rps 100 --production-bad 0", SMALL);
    assert_eq!(canary(&clean, 0.0)["rolledBack"], 0);
    assert_eq!(canary(&clean, 0.0)["withinTolerance"], true);
    assert_eq!(canary(&clean, 0.02)["rolledBack"], 50);
    let broken = json(
        "- --runs 50 --rps 100 --production-bad 100% --canary-bad 1",
        SMALL,
    );
    assert_eq!(canary(&broken, 1.0)["rolledBack"], 0, "as bad as production");
}
