//! How many bad readings it takes, and of how many metrics.

use super::*;

#[test]
fn as_many_bad_checks_of_the_last_ones_as_asked_for_end_the_rollout() {
    let (good, bad, nothing) = (4.0, 9.0, f64::NAN);
    let rows: &[(&str, &[f64], &[Verdict])] = &[
        ("{count: 2, of: 3}", &[bad, good, bad], &[Bad, Good, Unhealthy]),
        // The first has left the window.
        (
            "{count: 2, of: 3}",
            &[bad, good, good, bad, bad],
            &[Bad, Good, Good, Bad, Unhealthy],
        ),
        (
            "{count: 3, of: 3}",
            &[bad, bad, good, bad, bad],
            &[Bad, Bad, Good, Bad, Bad],
        ),
        // Unknown ones do not count, and push nothing out.
        (
            "{count: 2, of: 3}",
            &[bad, nothing, nothing, nothing, bad],
            &[Bad, Unknown, Unknown, Unknown, Unhealthy],
        ),
        ("{count: 1, of: 3}", &[good, bad], &[Good, Unhealthy]),
    ];
    for (failures, readings, expected) in rows {
        let fields = format!("deviation: 1, failures: {failures}");
        let said: Vec<Said> = readings.iter().copied().map(Said::one).collect();
        let mut world = with_readings(&metric(&fields), 4.0, &said);
        let mut verdicts = Vec::new();
        for _ in *readings {
            world = checked_once_more(world);
            verdicts.push(verdict(&world));
        }
        assert_eq!(verdicts, *expected, "{failures}: {readings:?}");
        let ended = *expected.last().unwrap() == Unhealthy;
        assert_eq!(world.status.phase == Phase::RolledBack, ended, "{failures}");
    }
}

fn checked_once_more(world: World) -> World {
    if world.status.rollout.as_ref().is_some_and(|r| r.confirmed > 0) {
        let mut world = world;
        let before = last_check(&world);
        world.until(|w| last_check(w) != before);
        return world;
    }
    checked(world, 1)
}

#[test]
fn the_last_bad_check_keeps_the_weight_where_it_is() {
    let yaml = metric("deviation: 1, failures: {count: 2, of: 2}").replace("hold: 1m", "hold: 10s");
    let said = [9.0, 4.0, 9.0, 4.0].map(Said::one);
    let mut world = checked(with_readings(&yaml, 4.0, &said), 1);
    assert_eq!((verdict(&world), world.weight()), (Bad, 10), "the hold is over");
    world.until(|w| w.weight() == 100);
    assert_eq!(world.path(), [0, 10, 100]);
}

#[test]
fn every_metric_must_be_good() {
    let yaml = metric("deviation: 1").replace(
        "metrics: [",
        "metrics: [{name: other, query: 'other{version=\"$(version)\"}', max: 5}, ",
    );
    for (other, expected) in [(5.0, None), (6.0, Some(FailureReason::MetricUnhealthy))] {
        let mut world = World::with_canary(&yaml);
        world.answer(move |question, weight| match (&*question.metric, weight) {
            ("other", 1..) => Said::one(other),
            _ => Said::one(4.0),
        });
        let world = checked(world, 1);
        assert_eq!(reason(&world), expected, "{}", world.status.message);
    }
}

#[test]
fn a_bad_check_counts_once_though_the_plan_is_changed_and_changed_back() {
    let of = |limit: u8| metric(&format!("max: {limit}, failures: {{count: 2, of: 3}}"));
    let bad_once = [Said::one(3.0), Said::one(0.0)];
    let mut world = checked(with_readings(&of(1), 0.0, &bad_once), 1);
    assert_eq!(metric_of(&world).window, "b");
    for limit in [2, 1] {
        // The next check is asked, and not answered yet.
        world.spec = Ok(spec(&of(limit)));
        world.calm_down();
    }
    assert_eq!((metric_of(&world).window.as_str(), world.weight()), ("b", 10));
    world.run_to(Phase::Promoted);
}
