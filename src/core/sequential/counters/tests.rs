use super::*;

const SCRAPE: Duration = Duration::from_secs(15);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// The window from second 100 to second 160.
fn window() -> Window {
    Window::new(at(100), at(160), SCRAPE).unwrap()
}

/// A series of target "a" with values at the seconds 70, 85, ... 160; NaN-free gaps are written as `None`.
fn line(side: Side, counted: Counted, labels: &str, values: [Option<f64>; 7]) -> Series {
    let instants = (70..).step_by(15).map(at);
    Series {
        side,
        counted,
        target: "a".to_owned(),
        labels: labels.to_owned(),
        samples: instants
            .zip(values)
            .filter_map(|(at, v)| v.map(|value| Sample { at, value }))
            .collect(),
    }
}

fn full(side: Side, counted: Counted, values: [f64; 7]) -> Series {
    line(side, counted, "", values.map(Some))
}

fn all(side: Side, values: [f64; 7]) -> Series {
    full(side, Counted::All, values)
}

fn part(side: Side, values: [f64; 7]) -> Series {
    full(side, Counted::Part, values)
}

fn steady(side: Side) -> Series {
    all(side, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
}

fn canary(series: &[Series], part: Part) -> Result<Counts, Vec<&'static str>> {
    let mut series = series.to_vec();
    let mut production = steady(Side::Production);
    production.target = "production".to_owned();
    series.push(production);
    if part == Part::Good {
        let counted = Counted::Part;
        series.push(Series {
            counted,
            target: "production".to_owned(),
            ..steady(Side::Production)
        });
    }
    let observed = observe(&series, part, &window());
    observed
        .map(|seen| pooled(&seen).canary)
        .map_err(|why| why.iter().map(Unknown::category).collect())
}

const fn counts(requests: f64, bad: f64) -> Counts {
    Counts { requests, bad }
}

// Samples at 70, 85, 100 lie at or before the start; 115, 130, 145 and 160 belong to the window.

#[test]
fn growth_since_the_previous_check_counts_and_earlier_growth_does_not() {
    let series = [
        all(Side::Canary, [0.0, 50.0, 100.0, 110.0, 120.0, 130.0, 140.0]),
        part(Side::Canary, [0.0, 9.0, 9.0, 9.0, 10.0, 10.0, 11.0]),
    ];
    assert_eq!(canary(&series, Part::Bad), Ok(counts(40.0, 2.0)));
    assert_eq!(canary(&series, Part::Good), Ok(counts(40.0, 38.0)));
}

#[test]
fn a_counter_below_half_began_again_and_counts_anew() {
    let series = [
        all(Side::Canary, [0.0, 50.0, 100.0, 110.0, 7.0, 9.0, 9.0]),
        part(Side::Canary, [0.0, 0.0, 5.0, 5.0, 2.0, 2.0, 2.0]),
    ];
    assert_eq!(canary(&series, Part::Bad), Ok(counts(10.0 + 7.0 + 2.0, 2.0)));
}

#[test]
fn a_replica_that_is_behind_counts_nothing_and_nothing_twice() {
    let series = [
        all(Side::Canary, [0.0, 50.0, 100.0, 110.0, 104.0, 120.0, 118.0]),
        // Alone it would look like a restart: below half.
        part(Side::Canary, [0.0, 0.0, 0.0, 3.0, 1.0, 4.0, 4.0]),
    ];
    assert_eq!(canary(&series, Part::Bad), Ok(counts(20.0, 4.0)));
}

#[test]
fn a_pod_that_goes_takes_nothing_with_it() {
    let mut gone = line(
        Side::Canary,
        Counted::All,
        "",
        [0.0, 500.0, 900.0, 905.0, 0.0, 0.0, 0.0].map(Some),
    );
    gone.target = "gone".to_owned();
    gone.samples.truncate(4);
    assert_eq!(
        canary(&[steady(Side::Canary), gone], Part::Bad),
        Ok(counts(40.0 + 5.0, 0.0))
    );
}

#[test]
fn a_new_series_counts_in_full_when_its_target_was_scraped_before() {
    let new = line(
        Side::Canary,
        Counted::Part,
        "code=500",
        [None, None, None, None, Some(3.0), Some(3.0), Some(4.0)],
    );
    assert_eq!(
        canary(&[steady(Side::Canary), new], Part::Bad),
        Ok(counts(40.0, 4.0))
    );
}

#[test]
fn a_new_target_counts_from_its_first_scrape() {
    let values = [None, None, None, None, Some(300.0), Some(310.0), Some(320.0)];
    let mut new = line(Side::Canary, Counted::All, "", values);
    new.target = "new".to_owned();
    // It may have counted for long before.
    assert_eq!(canary(&[new], Part::Bad), Ok(counts(20.0, 0.0)));
}

#[test]
fn no_bad_series_is_none_bad_exactly_when_requests_are_counted() {
    assert_eq!(canary(&[steady(Side::Canary)], Part::Bad), Ok(counts(40.0, 0.0)));
    assert_eq!(canary(&[], Part::Bad), Err(vec!["no-total"]));
    let only_bad = part(Side::Canary, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(
        canary(&[only_bad], Part::Bad),
        Err(vec!["no-total", "no-total-there"])
    );
}

#[test]
fn no_good_series_is_unknown_and_not_all_bad() {
    assert_eq!(canary(&[steady(Side::Canary)], Part::Good), Err(vec!["no-good"]));
    // Elsewhere it exists: this target then really had no good request.
    let mut other = [
        steady(Side::Canary),
        part(Side::Canary, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]),
    ];
    for series in &mut other {
        series.target = "other".to_owned();
    }
    let [total, good] = other;
    assert_eq!(
        canary(&[steady(Side::Canary), total, good], Part::Good),
        Ok(counts(80.0, 40.0))
    );
}

#[test]
fn a_series_not_scraped_for_two_scrapes_is_gone() {
    let until = |seconds: i64| {
        let mut series = steady(Side::Canary);
        series.samples = (0..7)
            .map(|k| at(seconds - 90 + 15 * k))
            .map(|at| Sample { at, value: 5.0 })
            .collect();
        canary(&[series], Part::Bad)
    };
    assert_eq!(until(130), Ok(counts(0.0, 0.0)));
    assert_eq!(until(129), Err(vec!["no-total"]));
}

#[test]
fn what_happened_while_two_scrapes_were_lost_is_not_counted() {
    let one = line(
        Side::Canary,
        Counted::All,
        "",
        [
            Some(0.0),
            Some(9.0),
            Some(10.0),
            None,
            Some(30.0),
            Some(31.0),
            Some(32.0),
        ],
    );
    assert_eq!(
        canary(&[one], Part::Bad),
        Ok(counts(22.0, 0.0)),
        "one lost scrape"
    );
    let two = line(
        Side::Canary,
        Counted::All,
        "",
        [
            Some(0.0),
            Some(9.0),
            Some(10.0),
            None,
            None,
            Some(31.0),
            Some(32.0),
        ],
    );
    assert_eq!(
        canary(&[two], Part::Bad),
        Ok(counts(1.0, 0.0)),
        "two lost scrapes"
    );
}

/// Steady traffic, with ten bad requests at second 130 and with these scrapes of seven.
fn struck(side: Side, scraped: [bool; 7]) -> Vec<Series> {
    let values = [0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 10.0];
    let of = |counted, values: [f64; 7]| {
        let mut kept = values.map(Some);
        for (value, scraped) in kept.iter_mut().zip(scraped) {
            *value = value.filter(|_| scraped);
        }
        Series {
            target: side.to_string(),
            ..line(side, counted, "", kept)
        }
    };
    let total = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
    vec![of(Counted::All, total), of(Counted::Part, values)]
}

#[test]
fn what_one_version_did_while_nothing_is_known_of_the_other_is_not_counted() {
    let (all, gap) = ([true; 7], [true, true, true, true, false, false, true]);
    let both = |canary, production| {
        let series = [struck(Side::Canary, canary), struck(Side::Production, production)].concat();
        pooled(&observe(&series, Part::Bad, &window()).unwrap())
    };
    let whole = counts(40.0, 10.0);
    let known = counts(10.0, 0.0);
    let seen = |canary, production| Stratum { canary, production };
    assert_eq!(both(all, all), seen(whole, whole));
    assert_eq!(both(gap, all), seen(known, known));
    assert_eq!(both(all, gap), seen(known, known));
    // One lost scrape is no gap, and another target that knows makes none.
    let lost = [true, true, true, true, false, true, true];
    assert_eq!(both(lost, all), seen(whole, whole));
    let mut series = [
        struck(Side::Canary, all),
        struck(Side::Production, gap),
        struck(Side::Production, all),
    ];
    for one in &mut series[2] {
        one.target = "another".to_owned();
    }
    let observed = pooled(&observe(&series.concat(), Part::Bad, &window()).unwrap());
    assert_eq!(observed, seen(whole, counts(50.0, 10.0)));
}

#[test]
fn what_is_left_out_of_one_version_is_blind_for_the_other() {
    let of = |side: Side, counted, values: [f64; 7], scraped: [bool; 7]| {
        let mut kept = values.map(Some);
        for (value, scraped) in kept.iter_mut().zip(scraped) {
            *value = value.filter(|_| scraped);
        }
        Series {
            target: side.to_string(),
            ..line(side, counted, "", kept)
        }
    };
    let total = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
    // Both fail ten requests by second 115. Production's scrape of then is lost, so that its next one speaks of a time too in
    // which nothing is known of the canary.
    let bad = [0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 10.0];
    let canary = [true, true, true, true, false, false, true];
    let production = [true, true, true, false, true, true, true];
    let series = [
        of(Side::Canary, Counted::All, total, canary),
        of(Side::Canary, Counted::Part, bad, canary),
        of(Side::Production, Counted::All, total, production),
        of(Side::Production, Counted::Part, bad, production),
    ];
    let observed = pooled(&observe(&series, Part::Bad, &window()).unwrap());
    assert_eq!(observed, Stratum::default());
}

#[test]
fn a_version_that_is_first_seen_late_in_a_long_interval_is_compared_with_what_followed() {
    let late = [false, false, false, false, false, true, true];
    let series = [struck(Side::Canary, late), struck(Side::Production, [true; 7])].concat();
    let observed = pooled(&observe(&series, Part::Bad, &window()).unwrap());
    assert_eq!(
        (observed.canary, observed.production),
        (counts(10.0, 0.0), counts(10.0, 0.0))
    );
}

#[test]
fn a_prometheus_that_begins_with_an_empty_disk_is_unknown_and_then_goes_on() {
    let values = [None, None, None, None, None, None, Some(5000.0)];
    assert_eq!(
        canary(&[line(Side::Canary, Counted::All, "", values)], Part::Bad),
        Err(vec!["no-history"])
    );
}

#[test]
fn what_no_counter_can_hold_is_unknown() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        for at in 0..7 {
            let mut series = steady(Side::Canary);
            series.samples[at].value = value;
            assert_eq!(
                canary(&[series], Part::Bad),
                Err(vec!["no-counter"]),
                "{value} {at}"
            );
        }
    }
    let more_bad = part(Side::Canary, [0.0, 0.0, 0.0, 100.0, 200.0, 300.0, 400.0]);
    for kind in [Part::Bad, Part::Good] {
        assert_eq!(
            canary(&[steady(Side::Canary), more_bad.clone()], kind),
            Err(vec!["contradiction"])
        );
    }
}

#[test]
fn counters_that_count_in_fractions_do_not_contradict_themselves() {
    let thirds = |by: f64| {
        [
            0.1,
            0.2,
            0.3,
            0.3 + by,
            0.3 + 2.0 * by,
            0.3 + 3.0 * by,
            0.3 + 4.0 * by,
        ]
    };
    for kind in [Part::Bad, Part::Good] {
        let labels = |labels: &str, s: Series| Series {
            labels: labels.to_owned(),
            ..s
        };
        let series = [
            labels("1", all(Side::Canary, thirds(0.1))),
            labels("2", all(Side::Canary, thirds(0.7))),
            labels("3", part(Side::Canary, [0.0, 0.0, 0.0, 0.8, 1.6, 2.4, 3.2])),
        ];
        assert!(canary(&series, kind).is_ok(), "{kind:?}");
    }
}

#[test]
fn samples_after_the_window_are_not_looked_at() {
    let mut series = steady(Side::Canary);
    series.samples.push(Sample {
        at: at(161),
        value: 1e6,
    });
    series.samples.push(Sample {
        at: at(175),
        value: f64::NAN,
    });
    assert_eq!(canary(&[series], Part::Bad), Ok(counts(40.0, 0.0)));
}

#[test]
fn one_exporter_for_both_versions_gives_a_stratum_of_its_own() {
    let of = |target: &str, side, by: f64| Series {
        target: target.to_owned(),
        ..all(side, [0.0, 0.0, 0.0, by, by, by, by])
    };
    let series = [
        of("gateway-1", Side::Canary, 3.0),
        of("gateway-1", Side::Production, 30.0),
        of("gateway-2", Side::Production, 70.0),
    ];
    let observed = observe(&series, Part::Bad, &window()).unwrap();
    let requests = |s: &Stratum| (s.canary.requests, s.production.requests);
    assert_eq!(
        by_target(&observed).iter().map(requests).collect::<Vec<_>>(),
        [(3.0, 30.0), (0.0, 70.0)]
    );
    assert_eq!(requests(&pooled(&observed)), (3.0, 100.0));
}

#[test]
fn a_window_waits_for_everybody_that_is_scraped_and_for_two_scrapes_at_most() {
    let of = |side: Side, target: &str, instants: &[i64]| Series {
        target: target.to_owned(),
        samples: instants
            .iter()
            .map(|second| Sample {
                at: at(*second),
                value: 1.0,
            })
            .collect(),
        ..steady(side)
    };
    let short = Window::new(at(150), at(160), SCRAPE).unwrap();
    let canary = |instants: &[i64]| of(Side::Canary, "c", instants);
    let production = |target: &str, instants: &[i64]| of(Side::Production, target, instants);
    let awaited = |series: &[Series], window| is_awaited(series, window);
    let both = [canary(&[140, 155]), production("p", &[142, 157])];
    assert!(!awaited(&both, &short));
    assert!(awaited(&[canary(&[140, 155]), production("p", &[147])], &short));
    assert!(awaited(&[canary(&[149]), production("p", &[142, 157])], &short));
    // One of production's pods is enough to wait for; one that is gone is not.
    let another = [both.as_slice(), &[production("q", &[148])]].concat();
    assert!(awaited(&another, &short));
    let gone = [both.as_slice(), &[production("q", &[100, 115])]].concat();
    assert!(!awaited(&gone, &short));
    // A lost scrape keeps nobody waiting for ever.
    let long = Window::new(at(130), at(160), SCRAPE).unwrap();
    assert!(!awaited(&[canary(&[130]), production("p", &[142, 157])], &long));
    // One exporter of both is scraped at once.
    let exporter = [of(Side::Canary, "e", &[145]), of(Side::Production, "e", &[145])];
    assert!(awaited(&exporter, &short));
}

#[test]
fn the_time_between_samples_is_what_most_of_them_keep() {
    let series = [
        all(Side::Production, [0.0; 7]),
        line(
            Side::Canary,
            Counted::All,
            "",
            [Some(0.0), None, None, None, None, None, Some(1.0)],
        ),
    ];
    assert_eq!(spacing(&series), Some(SCRAPE));
    assert_eq!(spacing(&series[1..]), Some(SCRAPE * 6));
    assert_eq!(spacing(&[]), None);
}

#[test]
fn the_grid_lies_one_scrape_back_and_does_not_move() {
    let grid = |now: i64| grid_instant(at(now), SCRAPE, Duration::from_secs(15)).unwrap();
    // 1_700_000_000 is 5 s past a multiple of 15.
    assert_eq!((grid(25), grid(24), grid(39)), (at(10), at(-5), at(10)));
    assert_eq!(grid_instant(at(0), SCRAPE, Duration::ZERO), None);
    assert_eq!(grid_instant(at(0), Duration::MAX, SCRAPE), None);
    assert_eq!(grid_instant(Timestamp::MIN, SCRAPE, SCRAPE), None);
    assert_eq!(Window::new(at(0), at(0), SCRAPE), None);
    assert_eq!(Window::new(at(0), at(1), Duration::ZERO), None);
    assert_eq!(window().range(), Duration::from_secs(60 + 45));
}

#[test]
fn slow_is_above_a_bound_that_both_versions_have() {
    let bound =
        |canary: &[f64], production: &[f64]| common_bound(canary, production, 0.3).map_err(|e| e.category());
    assert_eq!(
        bound(
            &[0.1, 0.25, 0.5, 1.0, f64::INFINITY],
            &[0.1, 0.3, 1.0, f64::INFINITY]
        ),
        Ok(1.0)
    );
    assert_eq!(bound(&[0.5, 0.3], &[0.3, 0.5]), Ok(0.3));
    assert_eq!(
        bound(&[0.1, f64::INFINITY], &[0.1, f64::INFINITY]),
        Err("no-common-bound")
    );
    assert_eq!(bound(&[], &[0.5]), Err("no-common-bound"));
    assert_eq!(bound(&[f64::NAN], &[f64::NAN]), Err("no-common-bound"));
}

#[test]
fn a_part_without_its_whole_is_named_and_a_replay_reads_it_as_it_is() {
    let mut elsewhere = part(Side::Production, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    elsewhere.target = "mtail".to_owned();
    let series = [steady(Side::Production), elsewhere];
    let refused = production(&series, Part::Bad, &window()).unwrap_err();
    let target = "mtail".to_owned();
    let side = Side::Production;
    assert_eq!(refused, [Unknown::NoTotalThere { target, side }]);
    assert!(
        refused[0].to_string().contains("its total is not"),
        "{}",
        refused[0]
    );
    // Found before another one is bad; where nothing ever was, nothing strays.
    for (ever, is_refused) in [(3.0, true), (0.0, false)] {
        let mut quiet = part(Side::Production, [ever; 7]);
        quiet.target = "mtail".to_owned();
        let found = production(&[steady(Side::Production), quiet], Part::Bad, &window());
        assert_eq!(found.is_err(), is_refused, "{found:?}");
    }
    let grown = growth(&series, Part::Bad, &window()).unwrap();
    let of = |target: &str| grown[target].iter().map(|grown| grown.counts).collect::<Vec<_>>();
    assert_eq!(of("mtail"), [counts(0.0, 1.0); 4]);
    assert_eq!(of("a"), [counts(10.0, 0.0); 4]);
    let divided = |part| {
        let grown = growth(&series, part, &window()).unwrap();
        grown["a"].iter().all(|grown| grown.is_divided)
    };
    assert_eq!((divided(Part::Bad), divided(Part::Good)), (true, false));
}
