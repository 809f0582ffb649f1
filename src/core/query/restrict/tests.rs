//! Honest queries keep their meaning; hostile ones reach no series but ours.

use proptest::prelude::*;

use super::super::bounds::MAX_NODES;
use super::super::{MAX_QUERY_CHARS, analyse};
use super::*;

const ONLY: Only<'static> = Only {
    label: "namespace",
    value: "shop",
};

fn restricted(promql: &str) -> String {
    ONLY.restrict(promql)
        .unwrap_or_else(|error| panic!("{promql}: {error}"))
}

fn refused(promql: &str) -> String {
    ONLY.restrict(promql)
        .expect_err(&format!("{promql} is let through"))
        .to_string()
}

/// Every alternative of every selector.
fn alternatives(expr: &Expr) -> Vec<Vec<Matcher>> {
    let of = |selector: &VectorSelector| {
        let Matchers {
            matchers,
            or_matchers,
        } = &selector.matchers;
        if or_matchers.is_empty() {
            vec![matchers.clone()]
        } else {
            or_matchers.clone()
        }
    };
    match expr {
        Expr::VectorSelector(selector) => of(selector),
        Expr::MatrixSelector(matrix) => of(&matrix.vs),
        Expr::Subquery(subquery) => alternatives(&subquery.expr),
        Expr::Unary(unary) => alternatives(&unary.expr),
        Expr::Paren(paren) => alternatives(&paren.expr),
        Expr::Binary(binary) => [alternatives(&binary.lhs), alternatives(&binary.rhs)].concat(),
        Expr::Aggregate(aggregate) => {
            let param = aggregate.param.iter().flat_map(|param| alternatives(param));
            param.chain(alternatives(&aggregate.expr)).collect()
        }
        Expr::Call(call) => call.args.args.iter().flat_map(|a| alternatives(a)).collect(),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Vec::new(),
    }
}

/// Fails unless each selector, as a parser reads it from the text that is sent, is limited to our series.
fn assert_ours_alone(sent: &str) {
    let own = ONLY.matcher();
    for matchers in alternatives(&parse_bounded(sent).unwrap()) {
        let of_label: Vec<_> = matchers.iter().filter(|m| m.name == "namespace").collect();
        assert!(of_label.contains(&&own), "{sent}");
        assert!(of_label.iter().all(|m| m.is_match("shop")), "{sent}");
    }
}

#[test]
fn each_selector_gets_the_label_and_nothing_else_changes() {
    let table = [
        ("up", r#"up{namespace="shop"}"#),
        ("up{}", r#"up{namespace="shop"}"#),
        ("1 + 2", "1 + 2"),
        ("vector(1)", "vector(1)"),
        ("{__name__=~\".+\"}", r#"{__name__=~".+",namespace="shop"}"#),
        (
            r#"sum by (code) (rate(http_total{code=~"5..", job!="x"}[5m] offset -1m)) / sum(rate(http_total[5m]))"#,
            r#"sum by (code) (rate(http_total{code=~"5..",job!="x",namespace="shop"}[5m] offset -1m)) / sum(rate(http_total{namespace="shop"}[5m]))"#,
        ),
        (
            "max_over_time(rate(a_total[1m])[10m:30s] @ end() offset 5m)",
            r#"max_over_time(rate(a_total{namespace="shop"}[1m])[10m:30s] @ end() offset 5m)"#,
        ),
        (
            "a * on (pod) group_left (node) b or vector(0)",
            r#"a{namespace="shop"} * on (pod) group_left (node) b{namespace="shop"} or vector(0)"#,
        ),
        (
            "quantile(scalar(q), a)",
            r#"quantile(scalar(q{namespace="shop"}), a{namespace="shop"})"#,
        ),
        ("-a ^ 2", r#"-a{namespace="shop"} ^ 2"#),
        ("(-a) ^ 2", r#"(-a{namespace="shop"}) ^ 2"#),
        ("sum by () (a)", r#"sum(a{namespace="shop"})"#),
        ("sum without () (a)", r#"sum without () (a{namespace="shop"})"#),
        ("a[1m]", r#"a{namespace="shop"}[1m]"#),
        ("absent(a)", r#"absent(a{namespace="shop"})"#),
        (r#"a{namespace="shop"}"#, r#"a{namespace="shop"}"#),
    ];
    for (promql, expected) in table {
        let sent = restricted(promql);
        assert_eq!(
            sent.split_whitespace().collect::<String>(),
            expected.split_whitespace().collect::<String>()
        );
        assert_ours_alone(&sent);
    }
}

#[test]
fn hostile_queries_reach_no_other_series() {
    for promql in [
        // Comments end at the line's end, and strings do not begin in them.
        "up # {namespace=\"other\"}",
        "up # \"\n + up{a='#'}",
        // What looks like a matcher is text.
        r#"up{a="\",namespace=\"other"}"#,
        r#"up{a="}or up{b="}"#,
        r#"up{a='{namespace="other"}'} or up"#,
        "up{a=`\\`,b=`} or other{`}",
        r#"label_replace(up, "namespace", "other", "namespace", "(.*)")"#,
        r#"label_join(up, "namespace", "{", "}", "namespace")"#,
        r#"count_values("namespace", up)"#,
        // Wherever a selector may stand.
        "sum(up) or sum(other)",
        "up unless on () other",
        "topk(scalar(count(other)), up)",
        "vector(scalar(other))",
        "clamp(up, scalar(a), scalar(b))",
        "sum_over_time((other or up)[5m:1m])",
        "min_over_time(max_over_time(other[5m:])[5m:])",
        "other @ start() offset 1w",
        "-(-(other))",
        "time() - timestamp(other)",
        "absent_over_time(other[1h])",
        // Names in each of their forms, some of them words of the language.
        r#"{"other.metric"}"#,
        r#"{"other", a="b"}"#,
        r#"{__name__="other"}"#,
        r#"{__name__!~"up", job=~".*"} or up"#,
        "sum(sum)",
        "by + on",
        "offset offset 5m",
        "start + end",
        "a:b:c",
        // The same label again, where it takes nothing away from ours.
        r#"up{namespace="shop",namespace="shop"}"#,
        r#"up{namespace=~"shop|other"}"#,
        r#"up{namespace!="other"}"#,
        r#"up{namespace!~"other.*"}"#,
        r#"up{"namespace"=~".+"}"#,
        // Alternatives, as VictoriaMetrics has them.
        r#"up{a="1" or b="2"}"#,
        r#"{__name__="up" or job="x", a="1"}"#,
    ] {
        if let Ok(sent) = ONLY.restrict(promql) {
            assert_ours_alone(&sent);
        } else {
            assert!(
                analyse(promql).is_err() || ["by + on", "start + end"].contains(&promql),
                "{promql}: {}",
                refused(promql)
            );
        }
    }
}

#[test]
fn a_selector_of_other_series_is_refused_and_named() {
    for (promql, named) in [
        (r#"up{namespace="other"}"#, r#"namespace="other""#),
        (
            r#"up{namespace="shop",namespace="other"}"#,
            r#"namespace="other""#,
        ),
        (r#"up{"namespace"="other"}"#, r#"namespace="other""#),
        (r#"up{namespace="\x6fther"}"#, r#"namespace="other""#),
        (r#"up{namespace!="shop"}"#, r#"namespace!="shop""#),
        (r#"up{namespace=~"shop.+"}"#, r#"namespace=~"shop.+""#),
        (r#"up{namespace!~"sh.p"}"#, r#"namespace!~"sh.p""#),
        (r#"up{namespace=""}"#, r#"namespace="""#),
        (
            r#"up or sum(rate(a{namespace="other"}[5m:1m]))"#,
            r#"namespace="other""#,
        ),
        (r#"up{a="1" or namespace="other"}"#, r#"namespace="other""#),
        (r#"sum(up{namespace="shop "})"#, r#"namespace="shop ""#),
    ] {
        let error = refused(promql);
        let expected = format!(r#"it selects {named}, and only series with namespace="shop" may be read"#);
        assert_eq!(error, expected, "{promql}");
    }
    let long = refused(&format!(r#"up{{namespace="{}"}}"#, "x".repeat(5_000)));
    assert!(long.chars().count() < 300, "{long}");
}

#[test]
fn what_reads_series_without_naming_them_is_refused() {
    assert!(refused("info(up)").starts_with("info() reads series beside those"));
    assert!(refused(r#"sum(info(up, {__name__="target_info"}))"#).starts_with("info()"));
}

#[test]
fn what_would_not_be_asked_as_it_was_meant_is_refused() {
    for promql in [
        // The parser reads another letter than Prometheus does.
        r#"up{a="\xc3\xa9"}"#,
        // It would be written as nothing, or with another moment.
        "a / ignoring () group_left () b",
        "a / ignoring () b",
        "up offset 0.0001",
        "rate(a[0.0001])",
    ] {
        let error = refused(promql);
        assert!(error.contains("write it more simply"), "{promql}: {error}");
    }
    assert!(ONLY.restrict("rate(a[5m]").is_err() && ONLY.restrict("").is_err());
    assert!(restricted("up{a=\"é\"}").contains('é'));
}

#[test]
fn a_query_of_any_size_is_answered_and_never_ends_the_process() {
    for promql in [
        format!("up{{a=\"{}\"}}", "x".repeat(MAX_QUERY_CHARS)),
        format!("{}up", "-".repeat(MAX_NODES + 1)),
        "(".repeat(9_000),
    ] {
        assert!(matches!(ONLY.restrict(&promql), Err(RestrictError::Query(_))));
    }
    let shapes: [fn(usize) -> String; 3] = [
        |n| format!("{}up{}", "(".repeat(n), ")".repeat(n)),
        |n| format!("up{}", "+up".repeat(n)),
        |n| format!("{}up{}", "abs(".repeat(n), ")".repeat(n)),
    ];
    for shape in shapes {
        let promql = shape(MAX_NODES);
        let small = std::thread::Builder::new().stack_size(2 << 20);
        let written = small.spawn(move || ONLY.restrict(&promql)).unwrap().join();
        assert_ours_alone(&written.unwrap().unwrap());
    }
}

#[test]
fn any_text_can_be_the_name_of_a_metric() {
    assert_eq!(of_metric("up"), r#"{__name__="up"}"#);
    assert_eq!(ONLY.of_metric("up"), r#"{__name__="up",namespace="shop"}"#);
    for name in [r#"a"} or {b="c"#, "a\nb", r"a\", "é", "`"] {
        assert_ours_alone(&ONLY.of_metric(name));
        let read = analyse(&of_metric(name)).unwrap();
        assert_eq!(read.metrics.keys().collect::<Vec<_>>(), [name]);
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("namespace".to_owned()),
        Just("\",namespace=\"other".to_owned()),
        Just("} or other{".to_owned()),
        Just("# ' ` \\".to_owned()),
        "[a-z{}\"'`\\\\#\n\t,()=~ é\u{1}]{0,8}",
    ]
}

/// Selectors and what may be around them, with any text in their strings.
fn query() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("up"), Just("a:b"), Just("sum"), Just("offset"), Just("")];
    let matcher = (
        prop_oneof![Just("a"), Just("\"b.c\""), Just("__name__"), Just("namespace")],
        prop_oneof![Just("="), Just("!=")],
        text(),
    );
    let matcher = matcher.prop_map(|(label, op, value)| format!("{label}{op}{value:?}"));
    let matchers = proptest::collection::vec(matcher, 0..3).prop_map(|all| all.join(","));
    let range = prop_oneof![Just(""), Just(" offset 5m"), Just(" @ end()"), Just(" # { up\n")];
    let leaf =
        (name, matchers, range).prop_map(|(name, matchers, range)| format!("{name}{{{matchers}}}{range}"));
    leaf.prop_recursive(4, 20, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} or on (x) {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("-({a} / {b}) ^ 2")),
            inner.clone().prop_map(|a| format!("sum by (b) ({a})")),
            inner
                .clone()
                .prop_map(|a| format!("rate(({a})[5m:30s] offset 1m)")),
            (inner, text()).prop_map(|(a, text)| format!("label_replace({a}, \"x\", {text:?}, \"\", \"\")")),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_asked_reaches_our_series_alone(promql in query()) {
        if let Ok(sent) = ONLY.restrict(&promql) {
            assert_ours_alone(&sent);
            let (before, after) = (analyse(&promql).unwrap(), analyse(&sent).unwrap());
            prop_assert_eq!(before.lookbacks, after.lookbacks);
            // Of two names for one metric it is chance which is told; no series has both.
            if promql.matches("__name__").count() < 2 {
                prop_assert!(before.metrics.keys().eq(after.metrics.keys()), "{}", sent);
            }
            prop_assert_eq!(ONLY.restrict(&sent).unwrap(), sent);
        }
    }

    #[test]
    fn no_text_ends_the_process(text in "\\PC{0,60}") {
        let _ = ONLY.restrict(&text);
    }
}
