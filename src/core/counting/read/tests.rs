use jiff::Timestamp;

use super::*;
use crate::core::sequential::counters::Window;
use crate::core::sequential::counts::Counts;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A series that grows from `from` to `to` between second 0 and second 60, scraped at 0, 15, 30, 45 and 60.
fn series(labels: &[(&str, &str)], from: f64, to: f64) -> SampleSeries {
    let values = [0, 15, 30, 45, 60].map(|second| {
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let part = second as f64 / 60.0;
        (at(second), from + (to - from) * part)
    });
    SampleSeries {
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        samples: values.to_vec(),
    }
}

fn answer(side: Side, counted: Option<Counted>, found: Vec<SampleSeries>) -> SampleAnswer {
    SampleAnswer {
        metric: "m".to_owned(),
        side,
        counted,
        from: at(15),
        at: at(60),
        outcome: Ok(found.into()),
        unknown_names: Ok(Vec::new()),
    }
}

fn test(counters: Counters) -> SequentialPlan {
    SequentialPlan {
        counters,
        tolerance: 1.5,
        false_alarm: 0.01,
        at_least: None,
        fault: 0.05,
    }
}

/// What canary and production did from second 15 to second 60, as this source has it.
fn counts(test: &SequentialPlan, answers: &[SampleAnswer], source: &Source) -> (Counts, Counts) {
    let answers: Vec<&SampleAnswer> = answers.iter().collect();
    let series = super::series(test, &answers, source).unwrap();
    let window = Window::new(at(15), at(60), std::time::Duration::from_secs(15)).unwrap();
    let all = counters::pooled(&counters::observe(&series, part(test), &window).unwrap());
    (all.canary, all.production)
}

fn seen(requests: f64, bad: f64) -> Counts {
    Counts { requests, bad }
}

fn errors() -> SequentialPlan {
    test(Counters::Errors {})
}

fn reporters(grown: &[(&str, f64)]) -> Result<Option<String>, String> {
    let found = grown.iter().map(|(reporter, to)| {
        let labels = [
            ("reporter", *reporter),
            ("response_code", "200"),
            ("pod", *reporter),
        ];
        series(&labels, 0.0, *to)
    });
    let answer = answer(Side::Production, None, found.collect());
    source(&errors(), &[&answer]).map(|source| source.reporter)
}

#[test]
fn a_request_that_both_ends_report_is_read_once() {
    for (grown, chosen) in [
        (&[("destination", 600.0)][..], "destination"),
        (&[("source", 600.0), ("destination", 600.0)], "source"),
        (&[("source", 545.0), ("destination", 600.0)], "source"),
        (&[("source", 500.0), ("destination", 600.0)], "destination"),
        (&[("source", 0.0), ("destination", 0.0)], "destination"),
        (&[("source", 600.0)], "source"),
        (&[("waypoint", 600.0), ("source", 600.0)], "waypoint"),
    ] {
        assert_eq!(reporters(grown).unwrap().as_deref(), Some(chosen), "{grown:?}");
    }
    assert!(reporters(&[]).unwrap_err().contains("has the service traffic"));

    // A gateway that was restarted in between has seen as much.
    let labels = |reporter, pod| [("reporter", reporter), ("response_code", "200"), ("pod", pod)];
    let mut restarted = series(&labels("source", "gateway"), 300.0, 600.0);
    for (_, value) in &mut restarted.samples {
        *value -= if *value < 450.0 { 0.0 } else { 450.0 };
    }
    let own = series(&labels("destination", "callee"), 0.0, 240.0);
    let found = source(
        &errors(),
        &[&answer(Side::Production, None, vec![restarted, own])],
    );
    assert_eq!(found.unwrap().reporter.as_deref(), Some("source"));
    let both = |side| {
        let all = vec![
            series(&labels("source", "caller"), 0.0, 600.0),
            series(&labels("destination", "callee"), 0.0, 600.0),
        ];
        answer(side, None, all)
    };
    let answers = [both(Side::Canary), both(Side::Production)];
    let source = Source {
        reporter: Some("source".to_owned()),
        bound: None,
    };
    assert_eq!(
        counts(&errors(), &answers, &source),
        (seen(450.0, 0.0), seen(450.0, 0.0))
    );
}

#[test]
fn http_and_grpc_failures_count_and_what_callers_did_wrong_does_not() {
    for (labels, failed) in [
        (&[("response_code", "500")][..], true),
        (&[("response_code", "503"), ("grpc_response_status", "14")], true),
        (&[("response_code", "200"), ("grpc_response_status", "14")], true),
        (&[("response_code", "200"), ("grpc_response_status", "13")], true),
        (&[("response_code", "200"), ("grpc_response_status", "2")], true),
        (&[("response_code", "200"), ("grpc_response_status", "0")], false),
        (&[("response_code", "200"), ("grpc_response_status", "5")], false),
        (&[("response_code", "200"), ("grpc_response_status", "16")], false),
        (&[("response_code", "404")], false),
        // The caller went away before any answer.
        (&[("response_code", "0")], true),
        (&[("response_code", "5")], false),
    ] {
        assert_eq!(is_failure(&series(labels, 0.0, 1.0)), failed, "{labels:?}");
    }
}

fn buckets(bounds: &[(&str, f64)]) -> Vec<SampleSeries> {
    let of = |(bound, to): &(&str, f64)| {
        series(
            &[("reporter", "destination"), ("pod", "p"), ("le", *bound)],
            0.0,
            *to,
        )
    };
    bounds.iter().map(of).collect()
}

#[test]
fn slow_requests_are_those_above_the_next_bound() {
    let test = test(Counters::Slow { milliseconds: 300.0 });
    let found = buckets(&[
        ("100", 300.0),
        ("250.0", 480.0),
        ("500.0", 540.0),
        ("1000.0", 600.0),
        ("+Inf", 600.0),
    ]);
    let production = answer(Side::Production, None, found.clone());
    let source = source(&test, &[&production]).unwrap();
    assert_eq!(source.bound.as_deref(), Some("500.0"));
    let answers = [answer(Side::Canary, None, found), production];
    assert_eq!(counts(&test, &answers, &source).0, seen(450.0, 45.0));

    let low = answer(Side::Production, None, buckets(&[("100", 1.0), ("+Inf", 1.0)]));
    let why = super::source(&test, &[&low]).unwrap_err();
    assert!(why.contains("300 ms"), "{why}");
}

/// One of three pods has other buckets: its requests would all seem slow.
#[test]
fn a_pod_without_the_bound_is_left_out_and_a_bound_that_all_have_is_preferred() {
    let test = test(Counters::Slow { milliseconds: 300.0 });
    let of = |side, pods: &[&[&str]]| {
        let of_pod = |(pod, bounds): (usize, &&[&str])| {
            let series = bounds
                .iter()
                .map(|bound| (*bound, if *bound == "+Inf" { 600.0 } else { 540.0 }));
            let mut found = buckets(&series.collect::<Vec<_>>());
            for one in &mut found {
                one.labels.insert("pod".to_owned(), format!("{side}-{pod}"));
            }
            found
        };
        answer(side, None, pods.iter().enumerate().flat_map(of_pod).collect())
    };
    let (usual, odd) = (&["100", "300", "+Inf"][..], &["100", "250", "+Inf"][..]);
    let answers = [
        of(Side::Canary, &[usual, odd]),
        of(Side::Production, &[usual, usual, odd]),
    ];
    let source = source(&test, &[&answers[1]]).unwrap();
    assert_eq!(source.bound.as_deref(), Some("300"));
    let (canary, production) = counts(&test, &answers, &source);
    assert_eq!((canary, production), (seen(450.0, 45.0), seen(900.0, 90.0)));

    // One that differs does not make it coarser for all.
    let (wide, odd) = (
        &["100", "300", "1000", "+Inf"][..],
        &["100", "250", "1000", "+Inf"][..],
    );
    let production = of(Side::Production, &[wide, wide, wide, odd]);
    let source = super::source(&test, &[&production]).unwrap();
    assert_eq!(source.bound.as_deref(), Some("300"));
    let production = of(Side::Production, &[wide, &["250", "1000", "+Inf"]]);
    let source = super::source(&test, &[&production]).unwrap();
    assert_eq!(source.bound.as_deref(), Some("1000"));
}

#[test]
fn of_different_bounds_one_that_both_have_is_taken_and_without_one_nothing_is_known() {
    let test = test(Counters::Slow { milliseconds: 300.0 });
    let production = answer(
        Side::Production,
        None,
        buckets(&[("500.0", 9.0), ("1000.0", 9.0), ("+Inf", 9.0)]),
    );
    let of = |bounds: &[(&str, f64)]| answer(Side::Canary, None, buckets(bounds));
    let near = of(&[("400.0", 9.0), ("1000.0", 9.0), ("+Inf", 9.0)]);
    assert_eq!(
        common_bound(&test, &[&near, &production]).unwrap().as_deref(),
        Some("1000.0")
    );
    let other = of(&[("400.0", 9.0), ("+Inf", 9.0)]);
    assert!(
        common_bound(&test, &[&other, &production])
            .unwrap_err()
            .contains("no histogram bound in common")
    );
    assert_eq!(common_bound(&errors(), &[]), Ok(None));
}

#[test]
fn counters_of_the_users_own_are_what_they_say_and_good_ones_are_the_rest() {
    let (pod, other) = ([("pod", "a")], [("pod", "b")]);
    let own = |part: f64| {
        let of = |side, labels: &[(&str, &str)]| {
            [
                answer(side, Some(Counted::All), vec![series(labels, 100.0, 700.0)]),
                answer(side, Some(Counted::Part), vec![series(labels, 0.0, part)]),
            ]
        };
        [of(Side::Canary, &pod), of(Side::Production, &other)].concat()
    };
    let (total, part) = (String::new(), String::new());
    let bad = test(Counters::Bad {
        total: total.clone(),
        bad: part.clone(),
    });
    let good = test(Counters::Good { total, good: part });
    let any = Source::default();
    assert_eq!(source(&bad, &[]), Ok(any.clone()));
    assert_eq!(counts(&bad, &own(60.0), &any).0, seen(450.0, 45.0));
    assert_eq!(counts(&good, &own(540.0), &any).0, seen(450.0, 45.0));
}

#[test]
fn a_question_without_an_answer_makes_the_rest_worth_nothing() {
    let mut silent = answer(Side::Canary, None, Vec::new());
    silent.outcome = Err("no connection".to_owned());
    let production = answer(Side::Production, None, buckets(&[("+Inf", 1.0)]));
    assert_eq!(
        super::series(&errors(), &[&production, &silent], &Source::default()).unwrap_err(),
        "no connection"
    );
}

/// The same series scraped three seconds later, by whatever these labels name.
fn again(one: &SampleSeries, labels: &[(&str, &str)]) -> SampleSeries {
    let mut copy = one.clone();
    for (name, value) in labels {
        copy.labels.insert((*name).to_owned(), (*value).to_owned());
    }
    for (when, _) in &mut copy.samples {
        *when = when.checked_add(jiff::SignedDuration::from_secs(3)).unwrap();
    }
    copy
}

#[test]
fn a_proxy_that_is_scraped_twice_counts_once_whatever_label_tells_the_scrapers_apart() {
    let istio = |side: &str, code: &str, to| {
        let labels = [
            ("reporter", "destination"),
            ("namespace", "shop"),
            ("pod", side),
            ("response_code", code),
        ];
        series(&labels, 0.0, to)
    };
    for label in ["endpoint", "prometheus_replica", "job", "app"] {
        let twice = |series: Vec<SampleSeries>| {
            let first = series.iter().map(|one| {
                let mut one = one.clone();
                one.labels.insert(label.to_owned(), "a".to_owned());
                one
            });
            let second = series.iter().map(|one| again(one, &[(label, "b")]));
            // A series that one of them lacks does not make the other one's count besides.
            first
                .chain(second)
                .chain([again(&series[0], &[("extra", "c"), (label, "b")])])
                .collect()
        };
        let test = test(Counters::Errors {});
        let answers = [
            answer(
                Side::Canary,
                None,
                twice(vec![istio("c", "200", 60.0), istio("c", "500", 20.0)]),
            ),
            answer(
                Side::Production,
                None,
                twice(vec![istio("p", "200", 600.0), istio("p", "500", 40.0)]),
            ),
        ];
        let all: Vec<&SampleAnswer> = answers.iter().collect();
        let source = source(&test, &all).unwrap();
        let (canary, production) = counts(&test, &answers, &source);
        assert_eq!(
            (canary, production),
            (seen(60.0, 15.0), seen(480.0, 30.0)),
            "{label}"
        );
    }
}

/// As the docs say: without the label nobody knows that it is the same proxy, and of the user's own counters nobody asks.
#[test]
fn what_is_scraped_twice_counts_twice_without_a_pod_label_and_of_own_counters() {
    let istio = |code: &str, to| {
        let labels = [("reporter", "destination"), ("response_code", code)];
        let one = series(&labels, 0.0, to);
        let other = again(&one, &[("job", "b")]);
        vec![one, other]
    };
    let all = |side, to| answer(side, None, [istio("200", to), istio("500", 20.0)].concat());
    let answers = [all(Side::Canary, 60.0), all(Side::Production, 600.0)];
    let errors = test(Counters::Errors {});
    let source = source(&errors, &answers.iter().collect::<Vec<_>>()).unwrap();
    let (canary, _) = counts(&errors, &answers, &source);
    assert_eq!(canary, seen(120.0, 30.0));

    let own = test(Counters::Bad {
        total: String::new(),
        bad: String::new(),
    });
    let twice = |side, counted, to| {
        let one = series(&[("pod", "p"), ("job", "a")], 0.0, to);
        let other = again(&one, &[("job", "b")]);
        answer(side, Some(counted), vec![one, other])
    };
    let answers = [Side::Canary, Side::Production]
        .map(|side| [twice(side, Counted::All, 80.0), twice(side, Counted::Part, 20.0)])
        .concat();
    let (canary, _) = counts(&own, &answers, &Source::default());
    assert_eq!(canary, seen(120.0, 30.0));
}

#[test]
fn of_two_scrapers_the_one_that_goes_on_is_read() {
    let labels = |job| {
        [
            ("reporter", "destination"),
            ("pod", "p"),
            ("response_code", "200"),
            ("job", job),
        ]
    };
    let mut stopped = series(&labels("a"), 0.0, 600.0);
    stopped.samples.truncate(2);
    let found = [stopped, again(&series(&labels("b"), 0.0, 600.0), &[])];
    let read = super::once::once(&found);
    assert_eq!(read.len(), 1);
    assert_eq!(label(read[0], "job"), Some("b"));
    // Two pods are no two scrapers.
    let pods = [
        series(&[("pod", "p")], 0.0, 1.0),
        again(&series(&[("pod", "q")], 0.0, 1.0), &[]),
    ];
    assert_eq!(super::once::once(&pods).len(), 2);
}
