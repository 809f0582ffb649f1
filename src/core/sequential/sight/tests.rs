use super::*;
use crate::core::sequential::pace::Pace;

const MINUTES_5: Duration = Duration::from_mins(5);

fn policy() -> Policy {
    let step = |weight| Step {
        weight,
        hold: MINUTES_5,
    };
    Policy {
        steps: [5.0, 10.0, 20.0, 50.0].map(step).into(),
        every: Duration::from_secs(15),
        tolerance: 1.5,
        at_least: None,
        false_alarm: 0.01,
        dispersion: 1.0,
        confirmations: 0,
        pace: Pace::default(),
    }
}

const fn traffic(requests_per_second: f64, production_bad: f64) -> Traffic {
    Traffic {
        requests_per_second,
        production_bad,
    }
}

fn said(rps: f64, production_bad: f64, within: Duration) -> String {
    sight(&policy(), traffic(rps, production_bad), within, "errors").unwrap()
}

#[test]
fn what_is_seen_reads_as_people_say_it() {
    assert_eq!(
        said(10.0, 0.001, MINUTES_5),
        "at 10 requests/s, nothing below 3 % errors is found within 5 minutes"
    );
    assert_eq!(
        said(1.0, 0.001, Duration::from_secs(15)),
        "at 1 request/s, not even a version that fails every request is found within 15 seconds"
    );
    assert_eq!(
        said(1e6, 0.001, Duration::from_hours(2)),
        "at 1000000 requests/s, every fault beyond the tolerance of 0.15 % errors is found within the whole rollout of \
         20 minutes"
    );
    assert_eq!(
        said(0.0, 0.001, MINUTES_5),
        "without traffic nothing is ever found"
    );
}

#[test]
fn production_without_errors_makes_smaller_faults_visible() {
    let clean = policy()
        .smallest_seen(traffic(10.0, 0.0), MINUTES_5)
        .unwrap()
        .unwrap();
    let usual = policy()
        .smallest_seen(traffic(10.0, 0.001), MINUTES_5)
        .unwrap()
        .unwrap();
    assert!(clean < usual);
    assert!(
        said(10.0, 0.0, MINUTES_5).contains("nothing below"),
        "a tolerance of 0 is no tolerance"
    );
}

#[test]
fn what_is_said_to_be_found_is_found_and_what_is_below_is_not() {
    for rps in [2.0, 10.0, 100.0, 1000.0] {
        for within in [Duration::from_mins(1), MINUTES_5, Duration::from_mins(20)] {
            let sentence = said(rps, 0.001, within);
            let Some((_, rest)) = sentence.split_once("nothing below ") else {
                continue;
            };
            let share: f64 = rest.split_once(' ').unwrap().0.parse().unwrap();
            let found = |bad: f64| {
                let time = policy().time_to_detect(traffic(rps, 0.001), bad).unwrap();
                time.is_some_and(|time| time <= within)
            };
            assert!(!found(share / 100.0 * 0.999), "{sentence}");
            assert!(found(share / 100.0 * 1.1), "{sentence}");
        }
    }
}

#[test]
fn the_proposal_sees_clearly_more_by_one_change() {
    let mut proposed = 0;
    for rps in [0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0] {
        for bad in [0.0, 0.001, 0.01, 0.1] {
            let Some((other, words)) = nearest(&policy(), traffic(rps, bad), MINUTES_5, "errors").unwrap()
            else {
                continue;
            };
            proposed += 1;
            let within = if words.contains("times as long") {
                let length = |policy: &Policy| policy.length(traffic(rps, bad)).as_secs_f64();
                let factor = length(&other) / length(&policy());
                MINUTES_5.mul_f64(factor)
            } else {
                MINUTES_5
            };
            let now = policy().smallest_seen(traffic(rps, bad), MINUTES_5).unwrap();
            let then = other.smallest_seen(traffic(rps, bad), within).unwrap().unwrap();
            assert!(now.is_none_or(|now| then <= now / 2.0), "{rps} {bad}: {words}");
            let weights = other.steps.first().unwrap().weight > 5.0;
            let holds = other.length(traffic(rps, bad)) > policy().length(traffic(rps, bad));
            let tolerance = other.tolerance < 1.5;
            let changes = [weights, holds, tolerance].into_iter().filter(|c| *c).count();
            assert_eq!(changes, 1, "{rps} {bad}: {words}");
            assert!(
                other.steps.windows(2).all(|two| two[0].weight < two[1].weight),
                "{words}"
            );
        }
    }
    assert!(proposed > 10, "{proposed}");
}

#[test]
fn the_smaller_change_is_preferred() {
    let load = traffic(10.0, 0.001);
    let (_, words) = nearest(&policy(), load, MINUTES_5, "errors").unwrap().unwrap();
    assert_eq!(
        words,
        "with every step held 3 times as long, faults of 1.5 % errors (instead of 3 %) are found within 15 minutes"
    );
    let now = policy().smallest_seen(load, MINUTES_5).unwrap().unwrap();
    for factor in [1.5, 2.0, 2.5] {
        for (other, within) in [
            (heavier(&policy(), factor), MINUTES_5),
            (longer(&policy(), load, factor), MINUTES_5.mul_f64(factor)),
            (stricter(&policy(), factor), MINUTES_5),
        ] {
            let seen = other.unwrap().0.smallest_seen(load, within).unwrap().unwrap();
            assert!(seen > now / 2.0, "{factor}");
        }
    }
}

#[test]
fn a_heavier_beginning_keeps_the_length_and_the_order() {
    let (other, _) = heavier(&policy(), 3.0).unwrap();
    let steps: Vec<_> = other.steps.iter().map(|s| (s.weight, s.hold.as_secs())).collect();
    assert_eq!(steps, [(15.0, 600), (20.0, 300), (50.0, 300)]);
    assert_eq!(heavier(&policy(), 15.0), None, "beyond 50 %");
}

#[test]
fn nothing_is_proposed_where_nothing_is_gained() {
    for (rps, bad, why) in [
        (0.0, 0.001, "no traffic"),
        (1e6, 0.001, "all is seen"),
        (1000.0, 0.0, "enough is seen"),
        (1e-9, 0.001, "no change suffices"),
    ] {
        assert_eq!(
            nearest(&policy(), traffic(rps, bad), MINUTES_5, "errors").unwrap(),
            None,
            "{why}"
        );
    }
}

#[test]
fn longer_holds_are_proposed_where_the_weight_cannot_rise() {
    let heavy = Policy {
        steps: vec![Step {
            weight: 50.0,
            hold: Duration::from_mins(1),
        }],
        ..policy()
    };
    let within = Duration::from_mins(1);
    let (other, words) = nearest(&heavy, traffic(1.0, 0.001), within, "errors")
        .unwrap()
        .unwrap();
    assert!(words.starts_with("with every step held "), "{words}");
    assert!(other.length(traffic(1.0, 0.001)) > heavy.length(traffic(1.0, 0.001)));
}

#[test]
fn what_is_no_policy_is_refused() {
    let none = Policy {
        steps: vec![],
        ..policy()
    };
    assert!(sight(&none, traffic(1.0, 0.1), MINUTES_5, "errors").is_err());
    assert!(nearest(&none, traffic(1.0, 0.1), MINUTES_5, "errors").is_err());
    assert!(sight(&policy(), traffic(f64::NAN, 0.1), MINUTES_5, "errors").is_err());
    assert!(sight(&policy(), traffic(1.0, 0.1), Duration::MAX, "errors").is_ok());
    assert!(nearest(&policy(), traffic(1.0, 0.1), Duration::MAX, "errors").is_ok());
}

#[test]
fn times_and_shares_are_written_short() {
    for (seconds, text) in [
        (1, "1 second"),
        (90, "90 seconds"),
        (60, "1 minute"),
        (300, "5 minutes"),
        (5400, "90 minutes"),
        (3600, "1 hour"),
        (9000, "2.5 hours"),
        (86400, "24 hours"),
    ] {
        assert_eq!(time(Duration::from_secs(seconds)), text);
    }
    for (share, text) in [
        (0.0, "0 %"),
        (0.03, "3 %"),
        (0.0299, "2.9 %"),
        (0.999, "99 %"),
        (1.0, "100 %"),
        (0.000_123, "0.012 %"),
    ] {
        assert_eq!(percent(share), text);
    }
}

/// In a cluster five seconds are kept a minute, and what is proposed is longer than that.
#[test]
fn what_is_proposed_is_longer_than_what_is_kept() {
    let short = Policy {
        steps: vec![Step {
            weight: 50.0,
            hold: Duration::from_secs(5),
        }],
        every: Duration::from_secs(10),
        pace: Pace {
            scrape: Duration::from_secs(15),
            propagation: Duration::from_secs(5),
            ..Pace::default()
        },
        ..policy()
    };
    let load = traffic(2.0, 0.001);
    let (other, words) = nearest(&short, load, MINUTES_5, "errors").unwrap().unwrap();
    assert!(
        words.starts_with(
            "with every step held 2 times as long as it is kept now (2 minutes for the first), faults"
        ),
        "{words}"
    );
    assert_eq!(other.steps.first().unwrap().hold, Duration::from_mins(2));
    assert_eq!(
        sight(&short, load, MINUTES_5, "errors").unwrap(),
        "at 2 requests/s, nothing below 70 % errors is found within the whole rollout of 1 minute"
    );
}
