//! What a reading is compared with: the one before it, or production at the same moment.

use super::*;

#[test]
fn compared_with_the_previous_reading_a_jump_is_bad_even_near_the_baseline() {
    let rows: &[(&str, f64, &[f64], Verdict)] = &[
        ("compareTo: previous", 10.0, &[6.0, 11.0], Good),
        ("compareTo: previous", 10.0, &[6.0, 11.0001], Unhealthy),
        // What is good against the baseline alone.
        ("compareTo: baseline", 10.0, &[6.0, 11.0001], Good),
        // A slow rise is bad against the baseline.
        ("compareTo: previous", 10.0, &[13.0, 15.0], Good),
        ("compareTo: previous", 10.0, &[13.0, 15.0001], Unhealthy),
        (
            "compareTo: previous, direction: decrease",
            10.0,
            &[14.0, 9.0],
            Good,
        ),
        (
            "compareTo: previous, direction: decrease",
            10.0,
            &[14.0, 8.9999],
            Unhealthy,
        ),
        // The first reading has none before it but the baseline.
        ("compareTo: previous", 10.0, &[15.0], Good),
        // What said nothing is nothing to compare with.
        ("compareTo: previous", 10.0, &[6.0, f64::NAN, 14.0], Good),
    ];
    for (fields, before, readings, expected) in rows {
        let said: Vec<Said> = readings.iter().copied().map(Said::one).collect();
        let fields = format!("deviation: 5, {fields}");
        let world = checked(with_readings(&metric(&fields), *before, &said), readings.len());
        assert_eq!(verdict(&world), *expected, "{fields}: {readings:?}");
    }
}

#[test]
fn a_percentage_of_a_previous_reading_of_0_is_no_limit_and_the_baseline_still_is() {
    for (last, expected) in [(12.5, Good), (12.6, Unhealthy)] {
        let said = [0.0, last].map(Said::one);
        let yaml = metric("deviationPercent: 25, compareTo: previous");
        let world = checked(with_readings(&yaml, 10.0, &said), 2);
        assert_eq!(verdict(&world), expected, "{}", words(&world));
    }
}

/// Fields of the metric, what production says at each weight, what the canary says, and its weights.
type Compared = (&'static str, fn(u8) -> Said, f64, &'static [i64]);

/// Production says so at each weight, and the canary `canary`.
fn compared(fields: &str, production: fn(u8) -> Said, canary: f64) -> World {
    let yaml = metric(&format!("{fields}, compareTo: production")).replace("hold: 1m", "hold: 20s");
    let mut world = World::with_canary(&yaml);
    world.answer(move |question, weight| match question.side {
        Side::Production => production(weight),
        Side::Canary => Said::one(canary),
    });
    world.until(|w| w.weight() == 10);
    world.run(60);
    world
}

#[test]
fn compared_with_production_what_it_says_at_the_same_moment_counts() {
    let twice = |weight| Said::one(if weight == 0 { 4.0 } else { 8.0 });
    let rows: &[Compared] = &[
        ("deviation: 1", twice, 9.0, &[0, 10, 100, 0]),
        ("deviation: 1", twice, 9.001, &[0, 10, 0]),
        // Better than production's baseline, and far below what production does now.
        ("deviation: 1, direction: decrease", twice, 6.9, &[0, 10, 0]),
        ("deviationPercent: 25", twice, 10.0, &[0, 10, 100, 0]),
        ("deviationPercent: 25", twice, 10.001, &[0, 10, 0]),
    ];
    for (fields, production, canary, path) in rows {
        let world = compared(fields, *production, *canary);
        assert_eq!(world.path(), *path, "{fields}, {canary}: {}", words(&world));
        let failed = path.len() == 3;
        assert_eq!(reason(&world), failed.then_some(FailureReason::MetricUnhealthy));
        assert!(
            !failed || words(&world).contains("production 8"),
            "{}",
            words(&world)
        );
    }
}

#[test]
fn the_worst_series_of_production_is_what_the_canary_is_compared_with() {
    let production = |_| Said::many([("{a}", 2.0), ("{b}", 8.0)]);
    assert_eq!(compared("deviation: 1", production, 9.0).path(), [0, 10, 100, 0]);
    assert_eq!(compared("deviation: 1", production, 9.001).path(), [0, 10, 0]);
}

#[test]
fn where_production_says_nothing_nothing_is_known_of_the_canary() {
    for silence in [
        (|w| {
            if w == 0 {
                Said::one(4.0)
            } else {
                Said::one(f64::NAN)
            }
        }) as fn(u8) -> Said,
        |w| {
            if w == 0 {
                Said::one(4.0)
            } else {
                Said::failed("refused")
            }
        },
        |w| {
            if w == 0 {
                Said::one(4.0)
            } else {
                Said::empty().at_rate(0.0)
            }
        },
    ] {
        let world = compared("deviation: 1", silence, 4.0);
        assert_eq!(
            (verdict(&world), world.weight()),
            (Unknown, 10),
            "{}",
            words(&world)
        );
        assert!(words(&world).contains("production"), "{}", words(&world));
    }
}

#[test]
fn at_full_weight_what_production_last_said_counts() {
    let then_nothing = |weight| match weight {
        0 => Said::one(4.0),
        100 => Said::one(f64::NAN),
        _ => Said::one(8.0),
    };
    let world = compared("deviation: 1", then_nothing, 9.0);
    assert_eq!(world.status.phase, Phase::Promoted, "{}", words(&world));

    let yaml = metric("deviation: 1, compareTo: production").replace("hold: 1m", "hold: 20s");
    let mut world = World::with_canary(&yaml);
    world.answer(move |question, weight| match (question.side, weight) {
        (Side::Production, _) => then_nothing(weight),
        (Side::Canary, 100) => Said::one(9.001),
        (Side::Canary, _) => Said::one(9.0),
    });
    world.run_to(Phase::RolledBack);
    assert_eq!(world.path(), [0, 10, 100, 0]);
    assert_eq!(words(&world), "m is 9.001, production 8, limit 9");
}

#[test]
fn beyond_its_absolute_limits_a_reading_is_bad_whatever_it_cannot_be_compared_with() {
    let of = |canary: f64, production: Said| {
        let mut world = World::with_canary(&metric("compareTo: production, deviationPercent: 50, max: 5"));
        world.answer(move |question, weight| match (question.side, weight) {
            (_, 0) => Said::one(4.0),
            (Side::Canary, _) => Said::one(canary),
            (Side::Production, _) => production.clone(),
        });
        verdict(&checked(world, 1))
    };
    for production in [Said::one(0.0), Said::failed("away"), Said::one(f64::NAN)] {
        assert_eq!(of(6.0, production.clone()), Unhealthy);
        assert_eq!(of(4.0, production), Unknown);
    }
}
