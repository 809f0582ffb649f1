//! A metric judged by evidence: counters of all requests and of a part of them, and the promise of the test.

use crate::api::Span;
use crate::api::plan::{Counters, SequentialPlan, TestPlan};
use crate::api::spec::{Metric, Preset};

use super::problems::Problems;

const DEFAULT_TOLERANCE: f64 = 1.5;
const DEFAULT_FALSE_ALARM: f64 = 0.01;
const DEFAULT_FAULT: f64 = 0.05;
const BOUNDS: std::ops::RangeInclusive<Span> = Span::millis(1)..=Span::secs(3600);

/// What `entry` counts; none where it has one value and no counts.
pub(super) fn counters(entry: &Metric) -> Option<Counters> {
    match (entry.preset, entry.slower_than, &entry.total) {
        (Some(Preset::ErrorRate), ..) => Some(Counters::Errors {}),
        (Some(Preset::Latency), Some(bound), _) => Some(Counters::Slow {
            milliseconds: bound.as_secs_f64() * 1000.0,
        }),
        (None, _, Some(total)) => {
            let total = total.clone();
            Some(match &entry.good {
                Some(good) => Counters::Good {
                    total,
                    good: good.clone(),
                },
                None => Counters::Bad {
                    total,
                    bad: entry.bad.clone().unwrap_or_default(),
                },
            })
        }
        _ => None,
    }
}

/// The test of `entry`, which counts `counters`.
pub(super) fn sequential(at: &str, entry: &Metric, counters: Counters, problems: &mut Problems) -> TestPlan {
    own_selectors(at, entry, problems);
    problems.require(
        entry.slower_than.is_none_or(|bound| BOUNDS.contains(&bound)),
        &format!("{at}slowerThan"),
        "must be 1ms to 1h",
    );
    let mut number = |field: &str, value: Option<f64>, fine: fn(f64) -> bool, range: &str| {
        let is_fine = value.is_none_or(fine);
        problems.require(is_fine, &format!("{at}{field}"), &format!("must be {range}"));
        value.filter(|_| is_fine)
    };
    let tolerance = number(
        "tolerance",
        entry.tolerance,
        |v| (1.0..=100.0).contains(&v),
        "1 to 100",
    );
    let false_alarm = number(
        "falseAlarm",
        entry.false_alarm,
        |v| (1e-6..=0.2).contains(&v),
        "0.000001 to 0.2",
    );
    let at_least = number("atLeast", entry.at_least, |v| (0.0..=1.0).contains(&v), "0 to 1");
    let fault = number(
        "fault",
        entry.fault,
        |v| v > 0.0 && v < 1.0,
        "above 0 and below 1",
    );
    let fault = fault.unwrap_or(DEFAULT_FAULT);
    problems.require(
        at_least.is_none_or(|share| share < fault),
        &format!("{at}atLeast"),
        "must be below fault, which could not be found else",
    );
    TestPlan::Sequential(SequentialPlan {
        counters,
        tolerance: tolerance.unwrap_or(DEFAULT_TOLERANCE),
        false_alarm: false_alarm.unwrap_or(DEFAULT_FALSE_ALARM),
        at_least,
        fault,
    })
}

fn own_selectors(at: &str, entry: &Metric, problems: &mut Problems) {
    if entry.total.is_none() {
        return;
    }
    problems.require(
        entry.bad.is_some() != entry.good.is_some(),
        &format!("{at}bad"),
        "or good is needed beside total: one of the two",
    );
    let own = [
        ("total", &entry.total),
        ("bad", &entry.bad),
        ("good", &entry.good),
    ];
    for (field, selector) in own {
        if let Some(selector) = selector {
            problems.selector(&format!("{at}{field}"), selector);
        }
    }
}
