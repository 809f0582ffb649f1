//! Counters under everything that happens to them: never more counted than happened.

use proptest::prelude::*;

use super::*;
use crate::core::sequential::design::Design;
use crate::core::sequential::evidence::Evidence;

const SCRAPE_SECONDS: i64 = 15;

/// What happens to a target between two scrapes and at the second.
#[derive(Debug, Clone, Copy)]
struct Tick {
    requests: u32,
    bad: u32,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Scraped,
    Twice,
    Lost,
    /// The process began again just before what happened in this tick.
    Restarted,
    /// Another replica answers, with what it saw one scrape ago.
    Behind,
}

fn tick() -> impl Strategy<Value = Tick> {
    let fate = prop_oneof![
        8 => Just(Fate::Scraped),
        1 => Just(Fate::Twice),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Restarted),
        1 => Just(Fate::Behind),
    ];
    (0_u32..300, 0_u32..=100, fate).prop_map(|(requests, percent, fate)| Tick {
        requests,
        bad: requests * percent * percent / 10_000,
        fate,
    })
}

type World = Vec<Vec<Tick>>;

fn world() -> impl Strategy<Value = World> {
    proptest::collection::vec(proptest::collection::vec(tick(), 24), 2..5)
}

fn at(scrape: usize, target: usize) -> Timestamp {
    // Each target has its own offset within the interval.
    let second = i64::try_from(scrape).unwrap() * SCRAPE_SECONDS + i64::try_from(target).unwrap() * 3 + 1;
    Timestamp::from_second(1_700_000_010 + second).unwrap()
}

fn side(target: usize) -> Side {
    if target.is_multiple_of(2) {
        Side::Canary
    } else {
        Side::Production
    }
}

/// The series that Prometheus holds of the world. A bad series exists from its first bad request on.
fn scraped(world: &World) -> Vec<Series> {
    let mut all = Vec::new();
    for (target, ticks) in world.iter().enumerate() {
        let (mut total, mut bad) = (Vec::new(), Vec::new());
        let (mut now, mut before) = ((0_u32, 0_u32), (0, 0));
        for (scrape, tick) in ticks.iter().enumerate() {
            if tick.fate == Fate::Restarted {
                now = (0, 0);
            }
            now = (now.0 + tick.requests, now.1 + tick.bad);
            let shown = if tick.fate == Fate::Behind { before } else { now };
            let times = match tick.fate {
                Fate::Lost => 0,
                Fate::Twice => 2,
                _ => 1,
            };
            for _ in 0..times {
                let at = at(scrape, target);
                total.push(Sample {
                    at,
                    value: shown.0.into(),
                });
                if shown.1 > 0 {
                    bad.push(Sample {
                        at,
                        value: shown.1.into(),
                    });
                }
            }
            before = now;
        }
        for (counted, samples) in [(Counted::All, total), (Counted::Part, bad)] {
            all.push(Series {
                side: side(target),
                counted,
                target: target.to_string(),
                labels: format!("{counted:?}"),
                samples,
            });
        }
    }
    all
}

/// What each check of a rollout over the world counts; an unknown one nothing. `clip`: samples as asked for, not all.
fn checks(series: &[Series], every: usize, clip: bool) -> Vec<Result<Vec<Observed>, Vec<Unknown>>> {
    let instants: Vec<Timestamp> = (3..=24)
        .step_by(every)
        .map(|k| at(k, 0) - SignedDuration::from_secs(1))
        .collect();
    let windows = instants.windows(2).map(|pair| {
        Window::new(
            pair[0],
            pair[1],
            Duration::from_secs(SCRAPE_SECONDS.unsigned_abs()),
        )
        .unwrap()
    });
    windows
        .map(|window| {
            let from = window.now - SignedDuration::try_from(window.range()).unwrap();
            let mut seen = series.to_vec();
            for one in seen.iter_mut().filter(|_| clip) {
                one.samples.retain(|s| s.at > from && s.at <= window.now);
            }
            observe(&seen, Part::Bad, &window)
        })
        .collect()
}

fn sum(checks: &[Result<Vec<Observed>, Vec<Unknown>>]) -> Stratum {
    let all: Vec<Observed> = checks.iter().flatten().flatten().cloned().collect();
    pooled(&all)
}

fn happened(world: &World, of: Side) -> Counts {
    let targets = world.iter().enumerate().filter(|(target, _)| side(*target) == of);
    targets
        .flat_map(|(_, ticks)| ticks)
        .fold(Counts::default(), |all, tick| {
            all.plus(Counts {
                requests: tick.requests.into(),
                bad: tick.bad.into(),
            })
        })
}

proptest! {
    #[test]
    fn no_check_counts_what_did_not_happen(world in world(), every in 1_usize..6) {
        let counted = sum(&checks(&scraped(&world), every, true));
        for (side, counted) in [(Side::Canary, counted.canary), (Side::Production, counted.production)] {
            let true_counts = happened(&world, side);
            prop_assert!(counted.requests <= true_counts.requests, "{side}: {counted:?} of {true_counts:?}");
            prop_assert!(counted.bad <= true_counts.bad, "{side}: {counted:?} of {true_counts:?}");
        }
    }

    #[test]
    fn nothing_bad_stays_nothing_bad(mut world in world(), every in 1_usize..6) {
        for tick in world.iter_mut().step_by(2).flatten() {
            tick.bad = 0;
        }
        prop_assert!(sum(&checks(&scraped(&world), every, true)).canary.bad == 0.0);
    }

    #[test]
    fn without_mishaps_everything_since_the_first_check_is_counted(mut world in world(), every in 1_usize..6) {
        for tick in world.iter_mut().flatten() {
            tick.fate = Fate::Scraped;
        }
        let last = 3 + (24 - 3) / every * every;
        let within: World = world.iter().map(|ticks| ticks[3..last].to_vec()).collect();
        let checks = checks(&scraped(&world), every, true);
        prop_assert!(checks.iter().all(Result::is_ok), "{checks:?}");
        let counted = sum(&checks);
        prop_assert_eq!(counted.canary, happened(&within, Side::Canary));
        prop_assert_eq!(counted.production, happened(&within, Side::Production));
    }

    #[test]
    fn lost_scrapes_within_an_interval_create_no_evidence_of_what_both_versions_share(
        percents in proptest::collection::vec(0_u32..=100, 24),
        lost in proptest::collection::vec(any::<[bool; 2]>(), 24),
        every in 4_usize..8,
    ) {
        let shared = |target: usize| {
            let of = |(scrape, percent): (usize, &u32)| {
                // What is lost at an interval's end is shown, and counted, in the next one.
                let lies_within = scrape > 2 && !(scrape - 2).is_multiple_of(every);
                let fate = if lies_within && lost[scrape][target] { Fate::Lost } else { Fate::Scraped };
                Tick { requests: 100, bad: *percent, fate }
            };
            percents.iter().enumerate().map(of).collect::<Vec<_>>()
        };
        let world = vec![shared(0), shared(1)];
        let design = Design::new(1.5, 0.01, 1.0, 1).unwrap();
        let mut evidence = Evidence::default();
        for check in checks(&scraped(&world), every, true).iter().flatten() {
            evidence.add(&design, 0, &[pooled(check)]).unwrap();
        }
        prop_assert!(evidence.log(&design).unwrap() <= 1e-9, "{evidence:?}");
    }

    #[test]
    fn checks_between_scrapes_lose_nothing(
        ticks in proptest::collection::vec((1_u32..300, 0_u32..100), 24),
        phases in proptest::array::uniform2(0_i64..SCRAPE_SECONDS),
        every in 1_i64..SCRAPE_SECONDS,
    ) {
        let second = |second: i64| Timestamp::from_second(1_700_000_010 + second).unwrap();
        // Counters that both versions' pods have, scraped at different seconds.
        let of = |side: Side, phase: i64| {
            let mut total = [0.0, 0.0];
            let scraped = ticks.iter().enumerate().map(|(n, (requests, bad))| {
                total[0] += f64::from(*requests);
                total[1] += f64::from(bad * requests / 100);
                (second(i64::try_from(n).unwrap() * SCRAPE_SECONDS + phase), total)
            });
            let scraped: Vec<_> = scraped.collect();
            [Counted::All, Counted::Part].map(|counted| Series {
                side,
                counted,
                target: side.to_string(),
                labels: String::new(),
                samples: scraped
                    .iter()
                    .map(|(at, total)| Sample { at: *at, value: total[counted as usize] })
                    .collect(),
            })
        };
        let series = [of(Side::Canary, phases[0]), of(Side::Production, phases[1])].concat();
        let (begin, end) = (4 * SCRAPE_SECONDS - 1, 22 * SCRAPE_SECONDS - 1);
        let (mut judged, mut seen) = (second(begin), Stratum::default());
        for now in (begin + every..=end).step_by(usize::try_from(every).unwrap()) {
            let window = Window::new(judged, second(now), Duration::from_secs(15)).unwrap();
            if is_awaited(&series, &window) {
                continue;
            }
            let found = pooled(&observe(&series, Part::Bad, &window).unwrap());
            prop_assert!(found.compares(), "{found:?}");
            seen = Stratum { canary: seen.canary.plus(found.canary), production: seen.production.plus(found.production) };
            judged = second(now);
        }
        let whole = Window::new(second(begin), judged, Duration::from_secs(15)).unwrap();
        prop_assert_eq!(seen, pooled(&observe(&series, Part::Bad, &whole).unwrap()));
        prop_assert!(second(end).duration_since(judged).as_secs() <= 2 * SCRAPE_SECONDS + every);
    }

    #[test]
    fn order_and_repetition_do_not_matter(world in world(), every in 1_usize..6, seed in any::<u64>()) {
        let series = scraped(&world);
        let mut shuffled = series.clone();
        let key = |text: &str| text.bytes().fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        for one in &mut shuffled {
            let copy = one.samples.clone();
            one.samples.extend(copy);
            one.samples.sort_by_key(|s| key(&s.at.to_string()));
        }
        shuffled.extend(series.clone());
        shuffled.sort_by_key(|s| key(&format!("{}{}", s.target, s.labels)));
        prop_assert_eq!(checks(&series, every, true), checks(&shuffled, every, true));
    }

    #[test]
    fn checking_more_often_adds_up_to_the_same(mut world in world()) {
        // Two scrapes missing in a row make a check unknown, or a gap that only one interval has; so does a restart that looks
        // like a replica behind.
        for ticks in &mut world {
            let mut missed = false;
            for tick in ticks {
                if tick.fate == Fate::Restarted {
                    (tick.requests, tick.bad) = (0, 0);
                }
                if missed && matches!(tick.fate, Fate::Lost | Fate::Behind) {
                    tick.fate = Fate::Scraped;
                }
                missed = matches!(tick.fate, Fate::Lost | Fate::Behind);
            }
        }
        let series = scraped(&world);
        let (often, seldom) = (checks(&series, 1, false), checks(&series, 7, false));
        prop_assume!(often.iter().chain(&seldom).all(Result::is_ok));
        prop_assert_eq!(sum(&often), sum(&seldom));
    }

    #[test]
    fn no_sample_whatever_panics_or_passes(
        world in world(), value in any::<f64>(), at in 0_usize..24, series in 0_usize..10, every in 1_usize..6,
    ) {
        let mut all = scraped(&world);
        let series = series % all.len();
        let samples = all[series].samples.len().max(1);
        let Some(sample) = all[series].samples.get_mut(at % samples) else { return Ok(()) };
        let instant = sample.at;
        sample.value = value;
        let proper = (0.0..=MAX_COUNT).contains(&value);
        let checks = checks(&all, every, true);
        let sees = |k: usize| {
            let now = super::chaos::at(3 + (k + 1) * every, 0) - SignedDuration::from_secs(1);
            let span = i64::try_from(every + 3).unwrap() * SCRAPE_SECONDS;
            instant <= now && instant > now - SignedDuration::from_secs(span)
        };
        for (k, check) in checks.iter().enumerate() {
            prop_assert!(proper || !sees(k) || check.is_err(), "{value} at {k}");
            for observed in check.iter().flatten() {
                prop_assert!(observed.stratum.checked().is_ok());
            }
        }
    }
}
