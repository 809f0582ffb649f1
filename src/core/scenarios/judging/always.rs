//! What holds whatever is read.

use proptest::prelude::*;

use super::*;

/// A metric's limits, and what was read before any weight moved.
fn limits() -> impl Strategy<Value = (String, f64)> {
    let limit = prop_oneof![
        (0_u8..20).prop_map(|n| format!("deviation: {n}")),
        (1_u8..200).prop_map(|n| format!("deviationPercent: {n}, minAbsolute: 1")),
        (0_u8..20).prop_map(|n| format!("deviation: {n}, min: -30, max: 30")),
        (0_u8..20).prop_map(|n| format!("deviation: {n}, compareTo: previous")),
        Just("min: -30, max: 30".to_owned()),
    ];
    (limit, -30_i8..=30).prop_map(|(limit, before)| (limit, f64::from(before)))
}

fn direction() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("increase"), Just("decrease"), Just("both")]
}

/// Numbers, and what is none.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        12 => (-100_i16..=100).prop_map(|n| f64::from(n) / 2.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => prop_oneof![Just(f64::MAX), Just(f64::MIN), Just(-0.0), Just(f64::MIN_POSITIVE)],
    ]
}

fn said(values: &[f64]) -> Said {
    Said::many(
        values
            .iter()
            .enumerate()
            .map(|(i, value)| (format!("{{{i}}}"), *value)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_worst_series_decides_and_what_is_none_keeps_the_others_from_being_good(
        (limit, before) in limits(), direction in direction(), values in prop::collection::vec(value(), 1..6),
    ) {
        let fields = format!("{limit}, direction: {direction}");
        let alone: Vec<Verdict> =
            values.iter().map(|value| judged(&fields, before, Said::one(*value)).0).collect();
        let (together, world) = judged(&fields, before, said(&values));
        let expected = if alone.contains(&Unhealthy) {
            Unhealthy
        } else if alone.contains(&Unknown) {
            Unknown
        } else {
            Good
        };
        prop_assert_eq!(together, expected, "{:?}", alone);
        // The one that is named is one that decided.
        let deciding = alone.iter().position(|verdict| *verdict == together);
        let named = alone.iter().enumerate().filter(|(_, verdict)| **verdict == together);
        let is_named = named.map(|(i, _)| format!("{{{i}}}")).any(|labels| words(&world).contains(&labels));
        prop_assert!(deciding.is_none() || is_named, "{}", words(&world));
    }

    #[test]
    fn the_order_of_series_does_not_matter(
        (limit, before) in limits(), direction in direction(), values in prop::collection::vec(value(), 1..6),
    ) {
        let fields = format!("{limit}, direction: {direction}");
        let backwards: Vec<f64> = values.iter().rev().copied().collect();
        prop_assert_eq!(judged(&fields, before, said(&values)).0, judged(&fields, before, said(&backwards)).0);
    }

    #[test]
    fn worse_is_never_better(
        (limit, before) in limits(), direction in direction(), a in value(), b in value(),
    ) {
        prop_assume!(a.is_finite() && b.is_finite());
        // Absolute bounds have two sides whatever the direction.
        prop_assume!(!limit.contains("min:"));
        let fields = format!("{limit}, direction: {direction}");
        let verdict = |reading| judged(&fields, before, Said::one(reading)).0;
        let is_worse = match direction {
            "increase" => b >= a,
            "decrease" => b <= a,
            _ => (b - before).abs() >= (a - before).abs(),
        };
        let (better, worse) = if is_worse { (a, b) } else { (b, a) };
        prop_assert!(
            verdict(better) == Good || verdict(worse) == Unhealthy,
            "{} is bad and {} is good", better, worse
        );
    }

    #[test]
    fn nothing_unknown_is_good_or_raises_the_weight(
        (limit, before) in limits(), direction in direction(),
        none in prop_oneof![
            Just(Said::one(f64::NAN)), Just(Said::one(f64::INFINITY)), Just(Said::one(f64::NEG_INFINITY)),
            Just(Said::failed("refused")), Just(Said::empty().at_rate(0.0)),
            Just(Said::outcome(Outcome::Empty { unknown_names: Ok(vec!["m".to_owned()]) })),
            Just(Said::outcome(Outcome::Empty { unknown_names: Err("refused".to_owned()) })),
            Just(Said::outcome(Outcome::Series(Vec::new()))),
            Just(Said::many((0..101).map(|i| (i, 0.0)))),
        ],
    ) {
        let (verdict, mut world) = judged(&format!("{limit}, direction: {direction}"), before, none);
        prop_assert_eq!(verdict, Unknown);
        world.run(150);
        prop_assert_eq!(world.path(), [0, 10]);
    }
}
