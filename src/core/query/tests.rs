//! Tables of queries and what must be read from them.

use proptest::prelude::*;

use super::bounds::MAX_NODES;
use super::*;

const SCRAPE: Duration = Duration::from_secs(15);

fn facts(promql: &str) -> QueryFacts {
    analyse(promql).unwrap_or_else(|error| panic!("{promql}: {error}"))
}

fn range(promql: &str) -> u64 {
    facts(promql).longest_range(SCRAPE).as_secs()
}

type Names<'a> = &'a [(&'a str, &'a [&'a str])];

fn names(list: Names<'_>) -> BTreeMap<String, BTreeSet<String>> {
    list.iter()
        .map(|(name, labels)| {
            (
                (*name).to_owned(),
                labels.iter().map(|label| (*label).to_owned()).collect(),
            )
        })
        .collect()
}

const ALEPH: &str = r#"sum(irate(istio_requests_total{destination_service_name="aleph",destination_version="v04",response_code="500"}[30s]))"#;
const BETH: &str = r#"irate(istio_request_duration_seconds_sum{destination_service_name="beth",destination_version="v04"}[30s])"#;

#[test]
fn the_queries_of_the_first_users_are_read_whole() {
    let aleph = facts(ALEPH);
    assert_eq!(
        aleph.lookbacks,
        BTreeSet::from([Lookback {
            time: Duration::ZERO,
            scrapes: 2
        }])
    );
    assert_eq!(
        aleph.metrics,
        names(&[(
            "istio_requests_total",
            &["destination_service_name", "destination_version", "response_code"]
        )])
    );
    assert!(aleph.grows_with_traffic && !aleph.hides_absence && !aleph.unnamed_selector && !aleph.fixed_time);

    let beth = facts(BETH);
    assert_eq!(beth.longest_range(SCRAPE), SCRAPE * 2);
    assert_eq!(
        beth.metrics,
        names(&[(
            "istio_request_duration_seconds_sum",
            &["destination_service_name", "destination_version"]
        )])
    );
    assert!(beth.grows_with_traffic);
}

#[test]
fn the_longest_range_follows_ranges_offsets_and_subqueries() {
    let table = [
        ("up", 0),
        ("1", 0),
        ("vector(1)", 0),
        ("time() - 5", 0),
        ("rate(a_total[5m])", 300),
        ("rate(a_total[1h30m])", 5_400),
        ("rate(a_total[5m] offset 10m)", 900),
        ("up offset 2m", 120),
        ("up offset -2m", 0),
        ("rate(a_total[5m] offset -2m)", 180),
        ("rate(a_total[5m] offset -1h)", 0),
        ("max_over_time(rate(a_total[1m])[10m:30s])", 660),
        ("max_over_time(rate(a_total[1m])[10m:])", 660),
        (
            "max_over_time(rate(a_total[1m] offset 1m)[10m:30s] offset 5m)",
            1_020,
        ),
        (
            "avg_over_time(max_over_time(rate(a_total[1m])[2m:1m])[10m:1m])",
            780,
        ),
        ("min_over_time(up[10m:] offset -10m)", 0),
        ("max_over_time(rate(a_total[2m] offset -1m)[10m:])", 660),
        ("rate(a_total[1m]) / rate(b_total[5m])", 300),
        ("sum(rate(a_total[7m])) by (x) > bool 5", 420),
        ("a_total - a_total offset 1h", 3_600),
        ("histogram_quantile(0.99, sum by (le) (rate(d_bucket[5m])))", 300),
        ("topk(scalar(max_over_time(k[1h])), rate(a_total[5m]))", 3_600),
        (
            "label_replace(rate(a_total[3m]), \"a\", \"$1\", \"b\", \"(.*)\")",
            180,
        ),
        ("clamp_max(quantile_over_time(0.5, g[20m]), 5)", 1_200),
        ("rate(a_total[300])", 300),
        ("rate(a_total[1d])", 86_400),
        ("rate(a_total[5m] @ end())", 300),
        ("# the canary\nrate(a_total[5m]) # offset 1h\n", 300),
        ("sum(rate(a_total{x=\"[1h] offset 2h\"}[5m]))", 300),
        ("-(rate(a_total[5m]))", 300),
    ];
    for (promql, seconds) in table {
        assert_eq!(range(promql), seconds, "{promql}");
    }
}

#[test]
fn irate_and_idelta_count_two_scrapes_whatever_their_range() {
    let table = [
        ("irate(a_total[5m])", 30),
        ("idelta(g[1h])", 30),
        ("sum(irate(a_total[5m] offset 1m))", 90),
        ("max_over_time(irate(a_total[5m])[10m:1m])", 630),
        ("irate(a_total[5m]) / rate(b_total[20s])", 30),
        ("irate(a_total[5m]) / rate(b_total[1m])", 60),
        // over a subquery the two samples are two of its steps
        ("irate(sum(a_total)[5m:20s])", 40),
        ("irate(sum(a_total)[30s:20s])", 30),
        ("irate(rate(a_total[1m])[5m:20s])", 100),
        ("irate(sum(a_total)[5m:])", 300),
    ];
    for (promql, seconds) in table {
        assert_eq!(range(promql), seconds, "{promql}");
    }
}

#[test]
fn the_scrape_interval_decides_which_path_is_the_longest() {
    let both = facts("irate(a_total[5m]) + rate(b_total[45s])");
    assert_eq!(both.longest_range(Duration::from_secs(15)).as_secs(), 45);
    assert_eq!(both.longest_range(Duration::from_mins(1)).as_secs(), 120);
}

#[test]
fn milliseconds_count() {
    assert_eq!(
        facts("rate(a_total[1500ms])").longest_range(SCRAPE),
        Duration::from_millis(1_500)
    );
}

#[test]
fn metric_names_come_with_the_labels_their_series_must_have() {
    let table: [(&str, Names); 14] = [
        ("up", &[("up", &[])]),
        (r#"up{job="a",env=~"p.*"}"#, &[("up", &["env", "job"])]),
        // these match a series without the label
        (r#"up{a!="b",c=~".*",d="",e!~"x",f=~"x|"}"#, &[("up", &[])]),
        (r#"up{a!="",b=~".+",c!~"|x"}"#, &[("up", &["a", "b", "c"])]),
        (
            r#"sum(rate(a{x="1"}[1m])) / sum(rate(a{y="1"}[1m]))"#,
            &[("a", &["x", "y"])],
        ),
        ("a + on (z) group_left (w) b", &[("a", &[]), ("b", &[])]),
        ("sum by (z) (a) unless c", &[("a", &[]), ("c", &[])]),
        (r#"{__name__="a",x="1"}"#, &[("a", &["x"])]),
        (r#"{"a.b",x="1"}"#, &[("a.b", &["x"])]),
        (r#"job:a:rate5m{x="1"}"#, &[("job:a:rate5m", &["x"])]),
        (r#"max_over_time(a{x="1"}[5m:1m])"#, &[("a", &["x"])]),
        (
            r#"histogram_quantile(0.9, rate(a_bucket{x="1"}[5m]))"#,
            &[("a_bucket", &["x"])],
        ),
        ("scalar(a) + vector(1)", &[("a", &[])]),
        ("vector(1)", &[]),
    ];
    for (promql, expected) in table {
        let facts = facts(promql);
        assert_eq!(facts.metrics, names(expected), "{promql}");
        assert!(!facts.unnamed_selector, "{promql}");
    }
}

#[test]
fn a_selector_without_a_name_is_flagged() {
    for promql in [
        r#"{job="a"}"#,
        r#"{__name__=~"a|b"}"#,
        r#"sum(rate({job="a"}[5m])) / sum(b)"#,
    ] {
        assert!(facts(promql).unnamed_selector, "{promql}");
    }
}

#[test]
fn a_fixed_time_is_flagged_and_the_moment_of_the_query_is_not() {
    for promql in [
        "up @ 1609746000",
        "rate(a[5m] @ 0)",
        "max_over_time(up[5m:] @ 12.5)",
    ] {
        assert!(facts(promql).fixed_time, "{promql}");
    }
    for promql in ["up @ end()", "rate(a[5m] @ start())", "up"] {
        assert!(!facts(promql).fixed_time, "{promql}");
    }
}

#[test]
fn queries_that_answer_without_their_metrics_are_flagged() {
    for promql in [
        "sum(a) or vector(0)",
        "sum(a) OR on() vector(0)",
        "(sum(rate(a[5m])) or (vector(0) * 3)) / 2",
        "absent(a)",
        "absent_over_time(a[5m])",
        "vector(0)",
        "42",
        "time()",
    ] {
        assert!(facts(promql).hides_absence, "{promql}");
    }
    for promql in [
        "sum(a) or sum(b)",
        "a and vector(1)",
        "a * 0",
        "a or vector(scalar(b))",
        ALEPH,
    ] {
        assert!(!facts(promql).hides_absence, "{promql}");
    }
}

#[test]
fn values_that_rise_with_traffic_are_flagged() {
    for promql in [
        "sum(rate(a_total[5m]))",
        "increase(errors[5m])",
        "rate(a_sum[5m]) * 1000",
        "sum(irate(a_total[1m])) by (code) > 0",
        "max_over_time(sum(rate(a_total[1m]))[10m:1m])",
        "a_total",
        "sum(rate(a_total[5m])) / 60",
        "rate(a_total[5m]) / scalar(count(up))",
        "sum(rate(a_total[5m])) or vector(0)",
        "ceil(-rate(a_total[5m]))",
        "avg by (pod) (rate(a_total[5m]))",
    ] {
        assert!(facts(promql).grows_with_traffic, "{promql}");
    }
    for promql in [
        "sum(rate(a_total[5m])) / sum(rate(b_total[5m]))",
        "rate(a_sum[5m]) / rate(a_count[5m])",
        "100 * (sum(rate(a_total[5m])) / sum(rate(b_total[5m])))",
        "1 - sum(rate(a_total[5m])) / sum(rate(b_total[5m]))",
        "histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m])))",
        "memory_bytes",
        "avg_over_time(memory_bytes[5m])",
        "count(rate(a_total[5m]))",
        "sum(rate(a_total[5m])) > bool 3",
        "up",
        "1",
    ] {
        assert!(!facts(promql).grows_with_traffic, "{promql}");
    }
}

#[test]
fn what_measures_is_told_from_what_counts() {
    for measure in [
        "histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m])))",
        "1000 * (histogram_quantile(0.5, rate(a[5m])))",
        "max(quantile_over_time(0.9, a[5m]))",
        "vector(1) or avg_over_time(a[5m])",
        "clamp_min(avg_over_time(a[5m]), 0)",
        "max_over_time(histogram_quantile(0.9, rate(a_bucket[1m]))[5m:])",
        "avg_over_time(latency_p99[5m:30s])",
        "avg_over_time((latency_p99[5m]))",
        "min_over_time(a[5m])",
        "histogram_quantile(0.99, rate(a_bucket[5m])) > bool 0.5",
        "histogram_quantile(0.99, rate(a_bucket[5m])) and on() (sum(rate(a_count[5m])) > 10)",
        "avg_over_time(a[5m]) unless b",
    ] {
        assert!(facts(measure).is_a_measure, "{measure}");
    }
    for counts in [
        "sum(rate(errors_total[5m]))",
        "sum(rate(errors_total[5m])) / sum(rate(requests_total[5m]))",
        "histogram_quantile(0.99, rate(a_bucket[5m])) > 0.5",
        "count(avg_over_time(a[5m]) > 1)",
        "avg_over_time(a[5m]) or vector(0)",
        "max_over_time(sum(rate(errors_total[1m]))[5m:])",
        "avg_over_time(sum(rate(errors_total[1m]))[5m:])",
        "absent(avg_over_time(heartbeat[5m]))",
        "sum(max_over_time(ALERTS[5m]))",
        "sum(last_over_time(ALERTS[5m]))",
        "sum(rate(errors_total[5m])) > bool 3",
        "sum(rate(errors_total[5m])) and avg_over_time(a[5m])",
        "errors",
    ] {
        assert!(!facts(counts).is_a_measure, "{counts}");
    }
}

#[test]
fn what_is_no_query_for_numbers_is_refused_with_the_reason() {
    let table = [
        ("", "empty"),
        ("  \n", "empty"),
        ("# only a comment", "empty"),
        ("rate(a[5m]", "not valid PromQL"),
        ("sum(", "not valid PromQL"),
        ("a b", "not valid PromQL"),
        ("rate(a)", "not valid PromQL"),
        ("nosuch(a)", "not valid PromQL"),
        ("{}", "not valid PromQL"),
        (r#"{a=~".*"}"#, "not valid PromQL"),
        ("a{b=\"c}", "not valid PromQL"),
        ("a{b=~\"(\"}", "not valid PromQL"),
        ("rate(a[0s])", "not valid PromQL"),
        ("rate(a[99999999999999999999999])", "not valid PromQL"),
        ("rate(a[$(window)])", "not valid PromQL"),
        ("a[5m]", "range vector"),
        ("a[5m:1m]", "range vector"),
        ("\"text\"", "string"),
    ];
    for (promql, expected) in table {
        let error = analyse(promql).unwrap_err().to_string();
        assert!(error.contains(expected), "{promql:?}: {error}");
        assert!(error.chars().count() < 400, "{promql:?}: {error}");
    }
}

#[test]
fn a_query_of_any_size_is_answered_and_never_ends_the_process() {
    let long = format!("sum(up{{x=\"{}\"}})", "y".repeat(MAX_QUERY_CHARS));
    assert!(matches!(analyse(&long), Err(QueryError::TooLong(_))));
    let n = 4_900;
    for (deep, what) in [
        (format!("{}1{}", "(".repeat(n), ")".repeat(n)), "brackets"),
        (format!("{}up", "-".repeat(2 * n)), "signs"),
        (format!("1{}", "+1".repeat(n)), "sums"),
        (format!("up{}", " or up".repeat(n / 3)), "unions"),
        (
            format!("{}up{}", "abs(".repeat(n / 3), ")".repeat(n / 3)),
            "calls",
        ),
        ("(".repeat(2 * n), "open brackets"),
        (
            format!("#\r{}up", "-".repeat(2 * n)),
            "signs behind a comment that a carriage return ends",
        ),
        (
            format!("#\r1{}", "+1".repeat(n)),
            "sums behind a comment that a carriage return ends",
        ),
        (
            format!("up{{a=`\\`}} + {}1{}", "(".repeat(n / 2), ")".repeat(n / 2)),
            "brackets behind a backslash in backticks",
        ),
    ] {
        let answer = analyse(&deep);
        assert!(
            matches!(answer, Err(QueryError::TooComplex(_) | QueryError::Syntax(_))),
            "{what}: {answer:?}"
        );
        // What is not too deep is no query: nothing of it was read.
        let read = promql_parser::parser::lexer(&deep).is_ok();
        assert_eq!(read, matches!(answer, Err(QueryError::TooComplex(_))), "{what}");
    }
}

#[test]
fn the_deepest_query_that_is_read_fits_a_small_stack() {
    // Worker threads have 2 MiB, and debug builds the largest frames.
    let shapes: [fn(usize) -> String; 4] = [
        |n| format!("{}up{}", "(".repeat(n), ")".repeat(n)),
        |n| format!("{}up", "-".repeat(n)),
        |n| format!("up{}", "+up".repeat(n)),
        |n| format!("{}up{}", "abs(".repeat(n), ")".repeat(n)),
    ];
    for shape in shapes {
        let promql = shape(MAX_NODES);
        let read = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || analyse(&promql))
            .unwrap();
        assert!(read.join().unwrap().is_ok());
    }
}

#[test]
fn strings_and_comments_do_not_count_as_operators() {
    let quoted = format!("up{{a=\"{0}\",b='{0}',c=`{0}`}} # {0}", "(+-*".repeat(400));
    assert!(analyse(&quoted).is_ok());
    assert!(analyse(&format!("up{{a=\"\\\"{}\"}}", "(".repeat(2_000))).is_ok());
}

#[test]
fn regular_expressions_that_would_fill_the_memory_are_refused_and_those_that_people_write_are_read() {
    let selector = |matcher: &str, count: usize| format!("up{{{}}}", vec![matcher; count].join(","));
    for (large, what) in [
        (selector(r#"a=~"\\w{50}""#, 200), "unicode classes repeated"),
        (selector(r#"a!~"\\w{9}""#, 700), "less often, in more of them"),
        (selector("a=~`[^a-z]{900}`", 200), "in backticks"),
        (selector("a=~ # why\n '\\\\w{50}'", 200), "behind a comment"),
        (
            selector(r#"a=~"x{b}\\w{50}""#, 200),
            "with braces that stand for themselves",
        ),
        (selector(r#"a=~"(\\w{40}){40}""#, 1), "one alone"),
        (selector(r#"a=~"""#, 700), "many that are small"),
        (
            format!("rate({}[5m])", selector(r#"a=~"\\w{50}""#, 200)),
            "in a call",
        ),
        (
            format!("\"a\" # {{\n or {}", selector(r#"a=~"\\w{50}""#, 200)),
            "behind a string and a comment",
        ),
    ] {
        assert_eq!(analyse(&large), Err(QueryError::RegexTooLarge), "{what}");
    }
    let pods: Vec<String> = (0..380).map(|i| format!("checkout-7d9f8c6b5-{i:05}")).collect();
    for read in [
        selector(
            r#"code=~"5(0[0-9]|1.)",path!~"/(health|ready)z?",pod=~"shop-\\w+-\\w+""#,
            12,
        ),
        format!("up{{pod=~\"{}\"}}", pods.join("|")),
        selector(r#"host=~".*[.]example[.](com|org)""#, 30),
        r#"up{a=~"x{b}y"}"#.to_owned(),
    ] {
        assert_eq!(
            analyse(&read).map(|facts| facts.metrics.len()),
            Ok(1),
            "{read:.60}"
        );
    }
    // Where it only looks like one, none is made.
    assert!(analyse(&format!("up{{a=\"{}\"}}", r"=~'\\w{50}'".repeat(200))).is_ok());
}

proptest! {
    #[test]
    fn no_text_ends_the_process(text in "\\PC{0,60}") {
        let _ = analyse(&text);
    }

    #[test]
    fn no_heap_of_promql_ends_the_process(
        words in proptest::collection::vec(
            prop_oneof![
                Just("rate"), Just("irate"), Just("sum"), Just("up"), Just("("), Just(")"), Just("["), Just("]"),
                Just("{"), Just("}"), Just("5m"), Just("1e300"), Just(":"), Just("offset"), Just("-"), Just("@"),
                Just("or"), Just("by"), Just("a=\"b\""), Just("a=~\"(\""), Just("99999999999y"), Just("NaN"),
                Just("+"), Just("/"), Just("bool"), Just("#"), Just("'"), Just("on"), Just("vector"), Just(","),
            ],
            0..12,
        )
    ) {
        if let Ok(facts) = analyse(&words.join(" ")) {
            let _ = facts.longest_range(SCRAPE);
        }
    }
}
