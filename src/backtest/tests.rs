//! Replays of pasts that are made up.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, Poisson};

use super::history::*;
use super::policy::Policy;
use super::replay;
use super::report::{PolicyReport, Suggestion};
use super::summary::Cell;
use super::text::noise_words;
use super::trial::{Canary, End, Trial, instant, longest, starts};
use crate::api::plan::Counters;
use crate::api::{BirdWatchSpec, Span};
use crate::core::past::Source;

pub(crate) const STEPS: &str = "
service: shop
checkInterval: 15s
steps: [{weight: 5, hold: 2m}, {weight: 20, hold: 2m}, {weight: 50, hold: 2m}, {weight: 100, hold: 30s}]
";

pub(crate) fn policy(yaml: &str) -> Policy {
    let spec: BirdWatchSpec = serde_saphyr::from_str(yaml).unwrap();
    Policy::new("file", &spec).unwrap()
}

/// Some hours of `pods` pods scraped every 15 s, together `per_second` requests of which `bad` are bad.
pub(crate) fn history(hours: i64, pods: u16, per_second: f64, bad: f64, reporter: &str) -> History {
    let mut counters = CounterHistory::new(
        Counters::Errors {},
        Source {
            reporter: Some(reporter.to_owned()),
            bound: None,
        },
    );
    let mut rng = StdRng::seed_from_u64(11);
    let mut drawn = |mean: f64| Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(&mut rng));
    for pod in 0..pods {
        let mut target = Target::default();
        let mean = per_second * 15.0 / f64::from(pods);
        for scrape in 1..hours * 240 {
            let spoiled = drawn(mean * bad);
            target.at.push(scrape * 15_000 + i64::from(pod) * 700);
            target.requests.push(drawn(mean * (1.0 - bad)) + spoiled);
            target.bad.push(spoiled);
        }
        counters.targets.insert(format!("pod-{pod:02}"), target);
    }
    History {
        from: instant(0),
        until: instant(hours * 3_600_000),
        scrape: Span::secs(15),
        counters: vec![counters],
        queries: Vec::new(),
    }
}

pub(crate) fn cell(
    policy: &Policy,
    history: &History,
    fault: f64,
    runs: u32,
    canary: Canary,
    seed: u64,
) -> Cell {
    let length = longest(policy, history);
    let outcomes: Vec<_> = starts(history, length, runs, seed)
        .into_iter()
        .enumerate()
        .map(|(number, start)| {
            let trial = Trial {
                number: u32::try_from(number).unwrap(),
                start,
                fault,
                canary,
                length,
                seed,
            };
            replay(policy, history, &trial)
        })
        .collect();
    assert_eq!(outcomes.len(), runs as usize);
    Cell::new(fault, policy.plan.steps.len(), &outcomes)
}

#[test]
fn healthy_versions_pass_within_the_budget_and_faults_are_caught() {
    let policy = policy(STEPS);
    for (reporter, pods, canary) in [
        ("source", 2, Canary::Share),
        ("destination", 4, Canary::Share),
        ("destination", 4, Canary::Pod),
    ] {
        let history = history(6, pods, 100.0, 0.001, reporter);
        let healthy = cell(&policy, &history, 0.0, 12, canary, 1);
        assert!(
            healthy.rolled_back_share.low <= policy.budget() && healthy.rolled_back <= 1,
            "{reporter}: {healthy:?}"
        );
        assert_eq!((healthy.runs, healthy.ended_blind), (12, 0), "{healthy:?}");
        assert!(healthy.blind_part < 0.1, "{healthy:?}");
        let ill = cell(&policy, &history, 0.2, 6, canary, 1);
        assert_eq!(ill.rolled_back, 6, "{reporter}: {ill:?}");
        assert!(ill.seconds.unwrap().median <= 120.0, "{ill:?}");
        assert!(
            ill.errors.unwrap().median > 0.0
                && ill.errors_mean < healthy.errors_mean.map(|mean| mean + 600.0),
            "{ill:?}"
        );
        assert!(ill.example.unwrap().contains("more than 1.5x worse"));
    }
}

#[test]
fn a_seed_fixes_every_outcome_and_another_seed_changes_some() {
    let (policy, history) = (policy(STEPS), history(4, 3, 50.0, 0.002, "destination"));
    let of = |seed| cell(&policy, &history, 0.02, 5, Canary::Pod, seed);
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
    let all = starts(&history, 600_000, 50, 3);
    assert!(
        all.iter()
            .all(|at| *at >= 600_000 && *at <= 4 * 3_600_000 - 600_000)
    );
    assert_eq!(starts(&history, 5 * 3_600_000, 50, 3), [0_i64; 0]);
}

/// One of three pods fails for a minute at a time; two callers see the same share of it.
fn clumpy(reporter: &str, seen_by_pods: f64) -> History {
    let mut history = history(3, 2, 60.0, 0.0, reporter);
    let counters = &mut history.counters[0];
    let scrapes = counters.targets["pod-00"].at.len();
    for pod in 0..3_usize {
        let bad = |scrape: usize| if (scrape / 4) % 9 == 3 * pod { 24.0 } else { 1.0 };
        let own = Target {
            at: (1..=i64::try_from(scrapes).unwrap())
                .map(|scrape| scrape * 15_000 + 300)
                .collect(),
            requests: vec![300.0 * seen_by_pods; scrapes],
            bad: (0..scrapes).map(bad).collect(),
            undivided: Vec::new(),
        };
        counters.pods.insert(format!("own-{pod}"), own);
    }
    for caller in counters.targets.values_mut() {
        caller.requests = vec![450.0; scrapes];
        caller.bad = (0..scrapes)
            .map(|scrape| {
                if (scrape / 4) % 3 == 0 {
                    13.0
                } else {
                    1.5_f64.round()
                }
            })
            .collect();
    }
    history
}

#[test]
fn clumps_show_in_productions_pods_whoever_else_counts() {
    let policy = policy(STEPS);
    let phi = |history: &History| {
        let healthy = cell(&policy, history, 0.0, 3, Canary::Share, 1);
        assert_eq!(healthy.ended_blind, 0, "{healthy:?}");
        let told = super::noise::noise(&policy.plan.metrics, history)[0].dispersion;
        (healthy.dispersion.unwrap(), told)
    };
    let known = clumpy("source", 1.0);
    let (used, told) = phi(&known);
    assert!(
        used > 3.0 && told.is_some_and(|told| told > 3.0),
        "{used} {told:?}"
    );
    let mut unknown = known;
    unknown.counters[0].pods.clear();
    assert_eq!(
        phi(&unknown),
        (1.0, None),
        "callers that fare alike or differently say nothing of it"
    );
    // Callers without a sidecar are not seen: as a rollout would believe the pods, theirs alone is no canary's past.
    let (used, _) = phi(&clumpy("source", 2.0));
    assert!((used - 1.0).abs() < 1e-9, "{used}");
}

/// With three pods the third is production's until the canary has all traffic.
#[test]
fn production_keeps_a_pod_as_long_as_it_has_traffic() {
    let policy = policy(&STEPS.replace("weight: 50", "weight: 90"));
    let history = history(2, 3, 50.0, 0.001, "destination");
    let cell = cell(&policy, &history, 0.0, 3, Canary::Pod, 1);
    assert_eq!((cell.rolled_back, cell.ended_blind), (0, 0), "{cell:?}");
    assert!(cell.blind_part < 0.1, "{cell:?}");
}

/// An hour in which nothing was scraped, and pods that come and go.
#[test]
fn gaps_and_pods_that_come_and_go_are_no_evidence() {
    let policy = policy(STEPS);
    let mut history = history(2, 4, 100.0, 0.0, "destination");
    let blind = 3_600_000..4_800_000;
    let targets = &mut history.counters[0].targets;
    for (number, target) in targets.values_mut().enumerate() {
        let keep = |at: i64| {
            let lives = number != 1 || at.rem_euclid(600_000) < 400_000;
            !blind.contains(&at) && lives
        };
        let kept: Vec<usize> = (0..target.at.len()).filter(|i| keep(target.at[*i])).collect();
        *target = Target {
            at: kept.iter().map(|i| target.at[*i]).collect(),
            requests: kept.iter().map(|i| target.requests[*i]).collect(),
            bad: kept.iter().map(|i| target.bad[*i]).collect(),
            undivided: Vec::new(),
        };
    }
    for start in [700_000, 3_400_000, 3_500_000] {
        let trial = Trial {
            number: 0,
            start,
            fault: 0.0,
            canary: Canary::Share,
            length: longest(&policy, &history),
            seed: 1,
        };
        let outcome = replay(&policy, &history, &trial);
        assert_eq!(outcome.end, End::Passed, "{outcome:?}");
        assert!(outcome.peak < 1.0, "{outcome:?}");
        assert_eq!(outcome.blind > 600.0, start > 3_000_000, "{outcome:?}");
    }
}

/// What finds no beginning in a gap is neither caught nor missed.
#[test]
fn a_rollout_that_never_began_says_nothing_of_the_policy() {
    let policy = policy(STEPS);
    let mut history = history(4, 2, 100.0, 0.001, "destination");
    for target in history.counters[0].targets.values_mut() {
        let kept: Vec<usize> = (0..target.at.len())
            .filter(|i| target.at[*i] > 7_200_000)
            .collect();
        *target = Target {
            at: kept.iter().map(|i| target.at[*i]).collect(),
            requests: kept.iter().map(|i| target.requests[*i]).collect(),
            bad: kept.iter().map(|i| target.bad[*i]).collect(),
            ..Target::default()
        };
    }
    let ill = cell(&policy, &history, 0.2, 8, Canary::Share, 4);
    assert!(ill.never_began > 0 && ill.runs > 0, "{ill:?}");
    assert_eq!((ill.rolled_back, ill.ended_blind), (ill.runs, 0), "{ill:?}");
    assert_eq!(ill.never_began + ill.runs, 8, "{ill:?}");
}

#[test]
fn odd_pasts_end_somehow_and_nowhere_in_a_panic() {
    let policy = policy(STEPS);
    let mut odd = history(2, 2, 20.0, 0.01, "destination");
    for target in odd.counters[0].targets.values_mut() {
        for (i, (requests, bad)) in target.requests.iter_mut().zip(&mut target.bad).enumerate() {
            match i % 97 {
                3 => *requests = 0.0,
                5 => *bad = *requests + 7.0,
                7 => (*requests, *bad) = (1e15, 0.0),
                11 => *requests = 0.5,
                _ => {}
            }
        }
    }
    let trial = Trial {
        number: 0,
        start: 900_000,
        fault: 0.05,
        canary: Canary::Pod,
        length: 900_000,
        seed: 1,
    };
    let _ = replay(&policy, &odd, &trial);
    odd.counters[0].targets.clear();
    assert_eq!(replay(&policy, &odd, &trial).end, End::Blind);
    odd.counters.clear();
    assert_eq!(replay(&policy, &odd, &trial).end, End::Blind);
}

/// Two hours of answers, one every ten seconds.
fn points(value: &dyn Fn(i64) -> f64) -> Points {
    Points {
        at: (0..720).map(|i| i * 10_000).collect(),
        value: (0..720).map(|i| value(i * 10_000)).collect(),
    }
}

/// A threshold on the share of errors, its query's calm past, and no counters.
fn queried() -> (Policy, History) {
    let yaml = "
service: shop
checkInterval: 10s
metrics: [{preset: error-rate, test: threshold, deviation: 0.01}]
steps: [{weight: 10, hold: 2m}, {weight: 100, hold: 1m}]
";
    let policy = policy(yaml);
    let test = policy.threshold(&policy.plan.metrics[0].name).unwrap().clone();
    let values = crate::core::query::Values {
        service: "shop",
        namespace: "default",
        version: "v1",
        production: "v1",
        canary: "v1",
        window: test.window.std(),
    };
    let past =
        crate::core::questions::of_past("errors", &test, &values, &super::stage::settings(Span::secs(15)));
    let past = past.unwrap();
    assert!(
        past.is_error_share && past.of_version && !past.grows_with_traffic,
        "{past:?}"
    );
    let calm = |at: i64| if at % 30_000 == 0 { 0.002 } else { 0.004 };
    let mut history = history(2, 1, 1.0, 0.0, "source");
    history.counters.clear();
    history.queries.push(QueryHistory {
        asked: test,
        past,
        step: Span::secs(10),
        series: vec![points(&calm)],
        traffic: points(&|_| 5.0),
    });
    (policy, history)
}

/// A threshold on a query's past: its noise rolls back, a share of bad requests is spoiled.
#[test]
fn queries_are_judged_by_their_past() {
    let (policy, mut history) = queried();
    let of = |history: &History, fault| cell(&policy, history, fault, 4, Canary::Share, 1);
    let healthy = of(&history, 0.0);
    assert_eq!(healthy.rolled_back, 0);
    // Nobody counted: that is not "0 errors".
    assert_eq!((healthy.errors, healthy.errors_mean), (None, None));
    let told = PolicyReport::new(&policy, healthy, Vec::new());
    assert_eq!(told.table().1[0][4], "-");
    assert!(serde_json::to_value(&told).unwrap()["healthy"]["errors"].is_null());
    let ill = of(&history, 0.05);
    assert_eq!(ill.rolled_back, 4, "{ill:?}");
    history.queries[0].series = vec![points(&|at| if at % 40_000 == 0 { 0.05 } else { 0.002 })];
    let noisy = of(&history, 0.0);
    assert!(noisy.rolled_back > 1, "{noisy:?}");
    let found = super::noise::noise(&policy.plan.metrics, &history);
    assert_eq!(found[0].allowed, Some(0.01), "{found:?}");
    assert!(found[0].beyond.unwrap() > 0.2, "{found:?}");
    // Of several series the worst is judged, however few its points are.
    let calm = points(&|_| 0.002);
    history.queries[0].series.push(calm);
    history.queries[0].series[0].at.pop();
    history.queries[0].series[0].value.pop();
    assert_eq!(
        super::noise::noise(&policy.plan.metrics, &history)[0].beyond,
        found[0].beyond
    );
    history.queries[0].series.truncate(1);
    history.queries[0].series.clear();
    assert_eq!(
        of(&history, 0.0).rolled_back,
        0,
        "an empty answer with traffic is 0"
    );
    history.queries[0].traffic = Points::default();
    assert_eq!(of(&history, 0.0).never_began, 4);
}

const OWN_COUNTERS: &str = "
service: shop
checkInterval: 15s
metrics: [{name: mine, test: sequential, total: 'all{version=\"$(version)\"}', PART: 'some{version=\"$(version)\"}'}]
steps: [{weight: 5, hold: 2m}, {weight: 50, hold: 2m}]
";

/// What four pods counted, by counters of the user's own.
fn own_counters(part: &str) -> (Policy, History) {
    let policy = policy(&OWN_COUNTERS.replace("PART", part));
    let mut history = history(2, 4, 40.0, 0.01, "destination");
    let counters = &mut history.counters[0];
    counters.counters = policy.counters("mine").unwrap().clone();
    counters.source = Source::default();
    (policy, history)
}

/// Where the operator refuses to begin, no rollout of a replay begins.
#[test]
fn what_the_operator_does_not_count_is_not_counted_here() {
    let refused = |policy: &Policy, history: &History| {
        let healthy = cell(policy, history, 0.0, 3, Canary::Share, 1);
        let ends = (healthy.never_began, healthy.ended_blind, healthy.rolled_back);
        (ends, healthy.why_not.unwrap_or_default())
    };
    for part in ["bad", "good"] {
        let (policy, history) = own_counters(part);
        assert_eq!(refused(&policy, &history), ((0, 0, 0), String::new()), "{part}");
    }
    let (policy, mut history) = own_counters("bad");
    let elsewhere = Target {
        bad: vec![1.0; history.counters[0].targets["pod-00"].at.len()],
        requests: vec![0.0; history.counters[0].targets["pod-00"].at.len()],
        ..history.counters[0].targets["pod-00"].clone()
    };
    history.counters[0].targets.insert("mtail".to_owned(), elsewhere);
    let (ends, why) = refused(&policy, &history);
    assert_eq!(ends, (3, 0, 0), "{why}");
    assert!(why.contains("its total is not"), "{why}");
    let (policy, mut history) = own_counters("good");
    for target in history.counters[0].targets.values_mut() {
        target.undivided.clone_from(&target.at);
        target.bad.clone_from(&target.requests);
    }
    assert_eq!(
        history.counters[0].total(),
        crate::core::sequential::counts::Counts::default()
    );
    let (ends, why) = refused(&policy, &history);
    assert_eq!(ends, (3, 0, 0), "{why}");
    assert!(
        why.contains("no series counts the good requests of production"),
        "{why}"
    );
}

/// A rollout that waits for evidence is not given up before it had the time that this takes, and is no alarm when it is.
#[test]
fn whoever_waits_is_neither_blind_nor_an_alarm() {
    let waiting = policy(
        "{service: shop, advance: evidence, checkInterval: 15s, steps: [{weight: 5, hold: 2m}, {weight: 50, hold: 2m}]}",
    );
    let hasty = Policy::new(
        "file",
        &crate::api::BirdWatchSpec {
            advance: None,
            ..waiting.spec.clone()
        },
    )
    .unwrap();
    let busy = history(24, 1, 1.0, 0.001, "source");
    assert!(
        longest(&waiting, &busy) > 3 * longest(&hasty, &busy),
        "{} {}",
        longest(&waiting, &busy),
        longest(&hasty, &busy)
    );
    let cell_of = |history: &History| cell(&waiting, history, 0.0, 4, Canary::Share, 1);
    let passed = cell_of(&busy);
    assert_eq!(
        (passed.runs, passed.gave_up, passed.ended_blind),
        (4, 0, 0),
        "{passed:?}"
    );
    let quiet = cell_of(&history(4, 1, 0.05, 0.001, "source"));
    assert_eq!(
        (quiet.runs, quiet.gave_up, quiet.ended_blind, quiet.rolled_back),
        (4, 4, 0, 0),
        "{quiet:?}"
    );
    let told = PolicyReport::new(&waiting, quiet, Vec::new());
    assert!(
        told.verdict().contains("4 of 4 were still waiting"),
        "{}",
        told.verdict()
    );
    let (head, rows) = told.table();
    assert_eq!((head[6].as_str(), rows[0][6].as_str()), ("still waiting", "4"));
}

/// Suggested is what gains something, within what the file allows.
#[test]
fn a_suggestion_gains_something_and_keeps_the_cap() {
    let file = policy("{service: shop, maxWeight: 20, steps: [{weight: 10, hold: 1m}]}");
    let best = file
        .with(
            "best",
            &super::search::steps(5, 3, Span::secs(60), file.plan.max_weight),
            1.0,
        )
        .unwrap();
    assert_eq!(best.plan.max_weight, Some(20));
    assert_eq!(
        best.plan.steps.iter().map(|s| s.weight).collect::<Vec<_>>(),
        [5, 10, 20]
    );
    let history = history(2, 1, 20.0, 0.001, "source");
    let found = cell(&file, &history, 0.2, 3, Canary::Share, 1);
    let healthy = cell(&file, &history, 0.0, 3, Canary::Share, 1);
    let suggested = |errors: Option<f64>| {
        let ill = Cell {
            errors_mean: errors.or(found.errors_mean),
            ..found.clone()
        };
        let reports = [
            PolicyReport::new(&file, healthy.clone(), vec![found.clone()]),
            PolicyReport::new(&best, healthy.clone(), vec![ill]),
        ];
        Suggestion::new(&file, &best, &reports)
    };
    assert_eq!(suggested(None), None, "as good as the file's");
    let better = suggested(found.errors_mean.map(|mean| mean / 2.0)).unwrap();
    assert_eq!(better.first_weight, 5);
}

/// Whoever rolls everything back finds nothing; a query that jumps from rest has no spread, and cries wolf all the same.
#[test]
fn crying_wolf_is_no_finding() {
    let file = policy(STEPS);
    let caught = |end| super::trial::Outcome {
        end,
        began: true,
        seconds: 60.0,
        step: 0,
        metric: None,
        message: String::new(),
        blind: 0.0,
        errors: None,
        requests: 0.0,
        peak: 0.0,
        dispersion: None,
        checks: 1,
    };
    let ill = Cell::new(0.2, 4, &vec![caught(End::Caught); 20]);
    let told = |alarms| {
        let mut outcomes = vec![caught(End::Passed); 20];
        outcomes[..alarms].fill(caught(End::Caught));
        PolicyReport::new(&file, Cell::new(0.0, 4, &outcomes), vec![ill.clone()]).verdict()
    };
    assert!(told(0).contains("finds faults of 20 % and more"), "{}", told(0));
    let wolf = told(18);
    assert!(
        wolf.contains("18 of 20") && wolf.contains("cannot tell") && !wolf.contains("finds"),
        "{wolf}"
    );
}

#[test]
fn jumps_from_rest_are_noise() {
    let noise = |beyond| super::noise::Noise {
        metric: "queue".to_owned(),
        test: "threshold",
        readings: 1000,
        median: 0.0,
        spread: 0.0,
        far: 9.0,
        allowed: Some(0.5),
        allowed_in_spreads: None,
        beyond: Some(beyond),
        dispersion: None,
        over_time: Vec::new(),
    };
    let told = noise_words(&noise(0.25)).unwrap();
    assert!(
        told.contains("25 % of production's own readings are beyond"),
        "{told}"
    );
    assert_eq!(noise_words(&noise(0.01)), None);
}
