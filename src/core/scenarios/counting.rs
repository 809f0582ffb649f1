//! Rollouts judged by evidence: the default manifest, shared faults, restarts, a Prometheus that forgets.

use super::*;
use crate::api::status::Verdict;
use crate::core::world::traffic::BadShare;

const SERVICE: &str = "
service: aleph
steps: [{weight: 10, hold: 60s}, {weight: 50, hold: 60s}, {weight: 100, hold: 30s}]
checkInterval: 5s
";

fn world(bad: BadShare) -> World {
    let mut world = World::with_canary(SERVICE);
    world.traffic.bad = bad;
    world
}

fn metric(world: &World) -> &crate::api::status::MetricStatus {
    &world.status.rollout.as_ref().unwrap().metrics[0]
}

#[test]
fn a_service_name_alone_finds_errors_and_says_how_many() {
    let mut world = world(|side, _| if side == Side::Canary { 0.05 } else { 0.001 });
    world.run_to(Phase::RolledBack);
    assert_eq!(world.path(), [0, 10, 0]);
    let why = world.status.rollout.as_ref().unwrap().failure.as_ref().unwrap();
    assert_eq!(why.reason, FailureReason::MetricUnhealthy);
    let text = &why.message;
    assert!(
        text.starts_with("error-rate: canary ") && text.contains(" bad (5 %), production "),
        "{text}"
    );
    assert!(
        text.contains("more than 1.5x worse, evidence ") && text.ends_with(":1"),
        "{text}"
    );
}

/// A caller that gets no answer cannot say which version did not give it.
#[test]
fn a_canary_that_never_answers_is_found_by_what_its_callers_count() {
    let mut world = world(|side, _| if side == Side::Canary { 0.05 } else { 0.001 });
    (world.traffic.reporter, world.traffic.hangs) = ("source", true);
    world.run_to(Phase::RolledBack);
    assert_eq!(world.path(), [0, 10, 0]);
}

#[test]
fn before_its_first_request_a_canary_is_waited_for_and_is_not_unknown() {
    for reporter in ["source", "destination"] {
        let mut world = world(|_, _| 0.001);
        world.traffic.reporter = reporter;
        world.traffic.requests_per_second = 0.1;
        world.traffic.canary_from = Some(at(1800));
        world.until(|w| w.weight() == 10);
        world.run(900);
        assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 10));
        assert_ne!(metric(&world).verdict, Some(Verdict::Unknown), "{reporter}");
        let waits = "waiting for the canary's first requests at 10 %: ";
        assert!(
            world.status.message.starts_with(waits),
            "{}",
            world.status.message
        );
        world.run_to(Phase::Promoted);
    }
}

#[test]
fn a_canary_of_which_nothing_is_counted_where_much_is_due_is_unknown() {
    let mut world = world(|_, _| 0.001);
    world.traffic.canary_from = Some(at(1800));
    world.until(|w| w.weight() == 10);
    world.run(60);
    assert_eq!(metric(&world).verdict, Some(Verdict::Unknown));
    assert!(holds(&world.status.conditions, ConditionType::Blind));
}

#[test]
fn a_canary_that_is_counted_no_more_is_unknown() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 10);
    world.run(20);
    world.traffic.lost_side = Some(Side::Canary);
    world.run(30);
    assert_eq!(metric(&world).verdict, Some(Verdict::Unknown));
}

#[test]
fn a_healthy_version_is_promoted_and_its_shares_are_shown_in_percent() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 50);
    assert_eq!(world.status.baseline.as_deref(), Some("0.1 %"));
    world.run_to(Phase::Promoted);
    assert_eq!(world.path()[..4], [0, 10, 50, 100]);
}

#[test]
fn a_fault_of_both_versions_is_no_reason_to_roll_back() {
    let mut world = world(|_, when| if when > at(60) { 0.05 } else { 0.001 });
    world.run_to(Phase::Promoted);
}

#[test]
fn evidence_is_stored_at_each_check_and_goes_on_after_a_crash() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 10);
    world.run(30);
    let before = metric(&world).counted.clone().unwrap();
    assert!(before.evidence.canary.requests > 150.0, "{before:?}");
    world.crash(20);
    world.run(15);
    let after = metric(&world).counted.clone().unwrap();
    assert!(
        after.evidence.canary.requests > before.evidence.canary.requests + 250.0,
        "what happened meanwhile counts too"
    );
    assert!(worth_writing(
        &world.status,
        &{
            let mut status = world.status.clone();
            status.rollout.as_mut().unwrap().metrics[0]
                .counted
                .as_mut()
                .unwrap()
                .evidence
                .canary
                .requests += 1.0;
            status
        },
        world.now,
        world.now
    ));
}

#[test]
fn a_prometheus_that_has_forgotten_is_unknown_and_then_goes_on() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 10);
    world.run(20);
    let before = metric(&world).counted.clone().unwrap().evidence;
    world.traffic.broken = Some("no connection");
    world.run(30);
    assert!(
        holds(&world.status.conditions, ConditionType::Blind),
        "{}",
        world.status.message
    );
    assert_eq!(world.weight(), 10);
    (world.traffic.broken, world.traffic.lost_before) = (None, world.now);
    world.run_to(Phase::Promoted);
    let after = &metric(&world).counted.as_ref().unwrap().evidence;
    assert!(after.canary.requests > before.canary.requests);
}

#[test]
fn the_time_of_a_change_of_weight_is_not_counted() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 50);
    assert_eq!(metric(&world).counted.as_ref().unwrap().judged, None);
    world.run(20);
    let counted = metric(&world).counted.clone().unwrap();
    let ratio = counted.step_canary.requests / counted.step_production.requests;
    assert!(
        (ratio - 1.0).abs() < 0.01,
        "half and half, nothing of the step before: {ratio}"
    );
}

#[test]
fn one_exporter_of_both_needs_no_confirmation_and_pods_of_their_own_need_two() {
    let found = |reporter| {
        let mut world = world(|side, _| if side == Side::Canary { 0.5 } else { 0.001 });
        world.traffic.reporter = reporter;
        world.until(|w| w.status.rollout.as_ref().is_some_and(|r| r.failure.is_some()));
        let rollout = world.status.rollout.as_ref().unwrap();
        assert_eq!(
            rollout.metrics[0].counted.as_ref().unwrap().reporter.as_deref(),
            Some(reporter)
        );
        (rollout.alarm.streak, world.now)
    };
    let (source, destination) = (found("source"), found("destination"));
    assert_eq!((source.0, destination.0), (1, 3));
    assert!(Span::between(source.1, destination.1) >= Span::secs(10));
}

#[test]
fn a_step_that_waits_for_evidence_goes_on_with_enough_requests_only() {
    let yaml = format!("{SERVICE}advance: evidence\nmetrics: [{{preset: error-rate, fault: 0.05}}]\n");
    let through = |requests_per_second| {
        let mut world = World::with_canary(&yaml);
        world.traffic.requests_per_second = requests_per_second;
        world.until(|w| w.weight() == 10);
        let begun = world.now;
        world.run(110);
        let message = world.status.message.clone();
        world.until(|w| w.weight() == 50);
        (Span::between(begun, world.now), message)
    };
    let (busy, _) = through(100.0);
    let (calm, waits) = through(5.0);
    assert!(busy <= Span::secs(110), "{busy}");
    assert!(calm > Span::secs(150), "{calm}");
    assert!(waits.contains("requests that show a fault of 5 %"), "{waits}");
}

#[test]
fn a_fault_that_production_itself_makes_tolerable_is_not_waited_for_and_that_is_said() {
    let yaml = format!("{SERVICE}advance: evidence\nmetrics: [{{preset: error-rate, fault: 0.05}}]\n");
    let mut world = World::with_canary(&yaml);
    world.traffic.bad = |_, _| 0.04;
    world.until(|w| w.weight() == 10);
    let found = world
        .status
        .conditions
        .iter()
        .find(|c| c.kind == "Detection")
        .unwrap();
    let says = "the declared fault of 5 % is within what is tolerated";
    assert!(
        found.status == "False" && found.message.contains(says),
        "{}",
        found.message
    );
    world.run_to(Phase::Promoted);
}

#[test]
fn checks_that_come_seldom_count_all_that_happened_between_them() {
    let mut world =
        World::with_canary("service: aleph\nsteps: [{weight: 50, hold: 2h}]\ncheckInterval: 30m\n");
    world.traffic.requests_per_second = 10.0;
    world.traffic.bad = |_, _| 0.001;
    world.until(|w| w.weight() == 50);
    world.run(7000);
    let counted = metric(&world).counted.as_ref().unwrap();
    // All but what the checks have yet to come to, at five requests a second.
    assert!(counted.step_canary.requests >= 3600.0 * 5.0, "{counted:?}");
}

#[test]
fn an_edit_of_the_test_gathers_anew_and_one_of_the_fault_does_not() {
    let mut world = world(|_, _| 0.001);
    let with = |text: &str| {
        Ok(spec(&format!(
            "{SERVICE}metrics: [{{preset: error-rate, {text}}}]\n"
        )))
    };
    world.spec = with("tolerance: 1.5");
    world.until(|w| w.weight() == 10);
    world.run(30);
    let requests = |w: &World| {
        let metrics = &w.status.rollout.as_ref().unwrap().metrics;
        let counted = metrics.first().and_then(|m| m.counted.as_ref());
        counted.map_or(0.0, |c| c.evidence.canary.requests)
    };
    let before = requests(&world);
    world.spec = with("tolerance: 1.5, fault: 0.2");
    world.calm_down();
    assert!(requests(&world) >= before && before > 100.0);
    world.spec = with("tolerance: 2");
    world.calm_down();
    assert!(requests(&world) < 1.0);
    world.run_to(Phase::Promoted);
}

#[test]
fn without_any_request_to_production_no_traffic_moves_and_the_message_says_what_is_missing() {
    let mut world = world(|_, _| 0.0);
    world.traffic.lost_before = at(1_000_000);
    world.run(60);
    assert_eq!((world.status.phase, world.weight()), (Phase::Baseline, 0));
    assert!(
        world
            .status
            .message
            .contains("Istio counts no request of production"),
        "{}",
        world.status.message
    );
}

#[test]
fn what_a_rollout_could_find_is_said_once_at_creation_and_at_each_step_and_never_while_idle() {
    let text = |w: &World| {
        let found = w.status.conditions.iter().find(|c| c.kind == "Detection");
        found.map(|c| (c.status.clone(), c.message.clone()))
    };
    let mut world = World::new(SERVICE);
    world.run(5);
    let (status, message) = text(&world).unwrap();
    assert!(
        status == "True" && message.starts_with("error-rate: at 100 requests/s, nothing below "),
        "{message}"
    );
    let asked = world.checks;
    world.run(3600);
    assert_eq!(world.checks, asked, "nothing is asked at rest");
    world.seen.generation = Some(2);
    world.spec = Ok(spec(&format!("{SERVICE}maxWeight: 10\n")));
    world.run(5);
    assert_eq!(world.checks, asked + 1);
    assert_ne!(text(&world).unwrap().1, message);

    world.traffic.requests_per_second = 0.5;
    world.deploy("v2");
    world.until(|w| w.weight() == 10);
}

#[test]
fn a_policy_that_sees_too_little_is_told_which_sees_more() {
    let mut world = World::new(SERVICE);
    world.traffic.requests_per_second = 2.0;
    world.run(5);
    let found = world
        .status
        .conditions
        .iter()
        .find(|c| c.kind == "Detection")
        .unwrap();
    assert_eq!(
        (found.status.as_str(), found.reason.as_str()),
        ("False", "FaultIsMissed")
    );
    assert!(
        found.message.starts_with("error-rate: at 2 requests/s, "),
        "{}",
        found.message
    );
    assert!(found.message.contains("; "), "{}", found.message);
}

/// What can be seen within a rollout depends on how long its steps are kept, not on what the manifest holds them.
#[test]
fn what_a_policy_sees_is_told_of_steps_as_they_are_kept() {
    let mut world = World::new("service: aleph\nsteps: [{weight: 50, hold: 1s}]\n");
    world.run(5);
    let mut conditions = world.status.conditions.iter();
    let found = conditions.find(|c| c.kind == "Detection").unwrap();
    assert!(
        found.message.contains(" within the whole rollout of 6 seconds"),
        "{}",
        found.message
    );
}

#[test]
fn of_several_metrics_those_are_told_of_whose_fault_is_missed() {
    let mut world = World::new(
        "service: aleph\nmetrics: [{preset: error-rate, fault: 0.9}, {name: fine, preset: error-rate, fault: 0.002}]\n",
    );
    world.traffic.requests_per_second = 5.0;
    world.run(5);
    let mut conditions = world.status.conditions.iter();
    let found = conditions.find(|c| c.kind == "Detection").unwrap();
    let expected = found.status == "False"
        && found.message.starts_with("fine: at 5 requests/s, ")
        && found.message.ends_with("; and 1 more");
    assert!(expected, "{}", found.message);
}

#[test]
fn under_a_clock_that_was_set_back_nothing_is_counted_twice() {
    let mut world = world(|side, _| if side == Side::Canary { 0.003 } else { 0.001 });
    world.until(|w| w.weight() == 10);
    world.run(30);
    let requests = |w: &World| metric(w).counted.as_ref().unwrap().evidence.canary.requests;
    let before = requests(&world);
    world.crash(-20);
    world.calm_down();
    assert!(before > 100.0 && requests(&world) < 1.0, "{before}");
    world.run(40);
    assert!((100.0..400.0).contains(&requests(&world)), "{}", requests(&world));
}

/// Scraped every 15 s, each version at seconds of its own, and checked every 5 s.
fn seldom_scraped(bad: BadShare) -> World {
    let mut world = world(bad);
    world.seen.settings.scrape_interval = Span::secs(15);
    (world.traffic.every, world.traffic.phases) = (15, [2, 9]);
    world
}

#[test]
fn versions_that_are_scraped_at_other_seconds_are_compared_however_often_one_checks() {
    let mut sick = seldom_scraped(|side, _| if side == Side::Canary { 0.2 } else { 0.001 });
    sick.run_to(Phase::RolledBack);
    assert_eq!(sick.path(), [0, 10, 0]);
    let mut healthy = seldom_scraped(|_, _| 0.001);
    healthy.until(|w| w.weight() == 50);
    healthy.run(58);
    let counted = metric(&healthy).counted.clone().unwrap();
    let ratio = counted.step_canary.requests / counted.step_production.requests;
    assert!(
        (0.4..2.5).contains(&ratio),
        "nothing of either is lost: {counted:?}"
    );
    healthy.run_to(Phase::Promoted);
    let mut shared = seldom_scraped(|_, when| if when > at(90) { 0.05 } else { 0.001 });
    shared.run_to(Phase::Promoted);
}

#[test]
fn an_operator_that_is_told_of_more_scrapes_than_there_are_says_so_before_any_traffic_moves() {
    let mut world = world(|_, _| 0.001);
    world.seen.settings.scrape_interval = Span::secs(15);
    world.traffic.every = 60;
    world.run(120);
    assert_eq!((world.status.phase, world.weight()), (Phase::Baseline, 0));
    let says = "production is scraped every 1m, and the operator is told of 15s";
    assert!(world.status.message.contains(says), "{}", world.status.message);
}

#[test]
fn a_confirmation_comes_from_what_is_at_the_limit_and_so_does_the_blame() {
    let mut world = World::with_canary(&format!(
        "{SERVICE}metrics: [{{name: a, preset: error-rate}}, {{name: b, preset: error-rate, atLeast: 0.95, fault: 0.99}}]\n"
    ));
    world.traffic.bad = |side, _| if side == Side::Canary { 0.5 } else { 0.001 };
    world.until(|w| w.status.rollout.as_ref().is_some_and(|r| r.alarm.streak == 1));
    world.traffic.silent = "a";
    world.run(60);
    let rollout = world.status.rollout.as_ref().unwrap();
    assert_eq!((rollout.alarm.streak, &rollout.failure), (1, &None));
    assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 10));
    world.traffic.silent = "";
    world.run_to(Phase::RolledBack);
    let failure = world.status.rollout.as_ref().unwrap().failure.as_ref().unwrap();
    assert!(failure.message.starts_with("a: canary "), "{}", failure.message);
}

#[test]
fn what_was_counted_while_somebody_else_held_the_weight_is_of_no_step() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 10);
    world.run(40);
    assert!(metric(&world).counted.as_ref().unwrap().step_canary.requests > 0.0);
    let now = world.now;
    (world.seen.routes[0].production, world.seen.routes[0].canary) = (Some(20), Some(80));
    world.run(1);
    assert_eq!(world.weight(), 10);
    let rollout = world.status.rollout.as_ref().unwrap();
    let counted = rollout.metrics[0].counted.as_ref().unwrap();
    assert_eq!(
        (counted.judged, counted.step_canary.requests.to_bits()),
        (None, 0)
    );
    assert!(rollout.confirmed_at >= Some(now));
    world.run_to(Phase::Promoted);
}

#[test]
fn the_order_of_metrics_is_no_part_of_the_test() {
    let metrics = |first: &str, second: &str| {
        let one = |name: &str| format!("{{name: {name}, preset: error-rate}}");
        format!("{SERVICE}metrics: [{}, {}]\n", one(first), one(second))
    };
    let mut world = World::with_canary(&metrics("one", "two"));
    world.traffic.bad = |_, _| 0.001;
    world.until(|w| w.weight() == 10);
    world.run(60);
    let requests = |w: &World| metric(w).counted.as_ref().unwrap().evidence.canary.requests;
    let before = requests(&world);
    world.spec = Ok(spec(&metrics("two", "one")));
    world.seen.generation = Some(2);
    world.run(10);
    assert!(before > 100.0 && requests(&world) > before, "{before}");
}

#[test]
fn no_step_is_passed_before_its_requests_were_counted_however_short_it_is_and_slow_the_scrapes() {
    let mut world = World::with_canary("service: aleph\nincrement: 20\ninterval: 5s\n");
    world.seen.settings.scrape_interval = Span::secs(15);
    world.traffic.bad = |_, _| 0.001;
    world.until(|w| w.weight() == 20);
    let mut before = 0.0;
    for weight in [40, 60, 80, 100] {
        world.until(|w| w.weight() == weight);
        let counted = metric(&world).counted.as_ref().unwrap().evidence.canary.requests;
        assert!(counted > before + 100.0, "{weight} %: {before} {counted}");
        before = counted;
    }
    world.run_to(Phase::Promoted);
}

#[test]
fn what_is_unknown_stays_so_though_the_evidence_was_at_its_limit_a_moment_before() {
    let mut world = world(|side, _| if side == Side::Canary { 0.5 } else { 0.001 });
    world.until(|w| w.status.rollout.as_ref().is_some_and(|r| r.alarm.streak == 1));
    world.traffic.broken = Some("no connection");
    world.run(60);
    assert!(
        holds(&world.status.conditions, ConditionType::Blind),
        "{}",
        world.status.message
    );
    assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 10));
    world.traffic.broken = None;
    world.run_to(Phase::RolledBack);
}

#[test]
fn a_metric_that_cannot_begin_takes_nothing_from_the_others() {
    let mut world = world(|side, when| {
        if side == Side::Canary && when > at(120) {
            0.9
        } else {
            0.001
        }
    });
    world.until(|w| w.weight() == 10);
    let never = r#"{name: never, total: 'no{v="$(version)"}', bad: 'none{v="$(version)"}'}"#;
    world.spec = Ok(spec(&format!(
        "{SERVICE}metrics: [{{preset: error-rate}}, {never}]\n"
    )));
    world.traffic.silent = "never";
    world.run_to(Phase::RolledBack);
    let failure = world.status.rollout.as_ref().unwrap().failure.as_ref().unwrap();
    assert!(
        failure.message.starts_with("error-rate: canary "),
        "{}",
        failure.message
    );
}

/// A counter of bad requests that answers nothing says so of a name that exists only.
#[test]
fn a_misspelt_counter_of_bad_requests_never_moves_traffic() {
    let own = r#"metrics: [{name: own, total: 'rq_total{v="$(version)"}', bad: 'bd_totl{v="$(version)"}'}]"#;
    let release = |misspelt| {
        let mut world = World::with_canary(&format!("{SERVICE}{own}\n"));
        world.traffic.bad = |_, _| 0.0;
        world.traffic.misspelt = misspelt;
        world.run(1200);
        world
    };
    let world = release(Some("bd_totl"));
    assert_eq!((world.path(), world.status.phase), (vec![0], Phase::Baseline));
    let told = "no series named bd_totl: it is misspelt, or has to be exported from the start, with 0";
    assert!(world.status.message.contains(told), "{}", world.status.message);
    assert_eq!(release(None).status.phase, Phase::Promoted, "none bad so far");
}

#[test]
fn no_step_is_passed_without_any_request_in_it() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 10);
    world.run(20);
    world.traffic.flow_until = Some(world.now);
    world.until(|w| w.weight() == 50);
    world.run(900);
    assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 50));
}

#[test]
fn a_step_without_requests_says_what_it_waits_for_and_people_are_told_once() {
    let mut world = world(|_, _| 0.001);
    world.until(|w| w.weight() == 10);
    world.run(20);
    world.traffic.flow_until = Some(world.now);
    world.until(|w| w.weight() == 50);
    world.run(120);
    let waits = "waiting for the canary's first requests at 50 %: ";
    let said = |world: &World| {
        let conditions = &world.status.conditions;
        let held = conditions.iter().find(|c| c.kind == "Held").unwrap();
        assert_eq!((held.status.as_str(), held.reason.as_str()), ("True", "Requests"));
        assert!(held.message.starts_with(waits), "{}", held.message);
        assert_eq!(world.status.message, held.message);
        let told = world.status.notices.pending.iter();
        told.filter(|notice| notice.text.contains(waits)).count()
    };
    assert_eq!(said(&world), 0, "seldom traffic is no news");
    let before = without_counts(&world);
    world.run(300);
    assert_eq!(without_counts(&world), before, "nothing else to write");
    world.run(400);
    assert_eq!(said(&world), 1);
    world.run(2000);
    assert_eq!(said(&world), 1);
    world.traffic.flow_until = None;
    world.until(|w| w.weight() == 100);
    assert!(!holds(&world.status.conditions, ConditionType::Held));
}

/// What is shown and told, which a wait leaves as it is.
fn without_counts(world: &World) -> (String, Vec<crate::api::conditions::Condition>, i64) {
    let last = world.status.notices.pending.last().unwrap().id;
    (
        world.status.message.clone(),
        world.status.conditions.clone(),
        last,
    )
}

/// A hold of five seconds takes about a minute where Prometheus scrapes every fifteen.
#[test]
fn a_step_is_said_to_be_held_as_long_as_it_is_kept() {
    let mut world = World::with_canary("service: aleph\nincrement: 20\ninterval: 5s\n");
    world.seen.settings.scrape_interval = Span::secs(15);
    world.traffic.bad = |_, _| 0.001;
    world.until(|w| w.status.weight == Some(20));
    let begun = world.now;
    world.run(20);
    let about = "about 57s (at least 15s, and until its requests were scraped and counted)";
    assert_eq!(world.status.message, format!("holding 20 % for {about}"));
    world.until(|w| w.status.weight == Some(40));
    let lasted = Span::between(begun, world.now);
    assert!((Span::secs(45)..=Span::secs(60)).contains(&lasted), "{lasted}");
    let notice = &world.status.notices.pending.last().unwrap().text;
    let says = format!("weight 40 % (step 2 of 5), held {about}; 20 % was held {lasted}; error-rate: ");
    assert!(notice.starts_with(&says), "{notice}");
}

#[test]
fn a_rollout_that_compares_nothing_says_so() {
    let mut world = World::new("service: aleph\nincrement: 100\n");
    world.run(5);
    let found = world
        .status
        .conditions
        .iter()
        .find(|c| c.kind == "Detection")
        .unwrap();
    assert!(
        found.status == "False" && found.message.contains("add a step below 100"),
        "{}",
        found.message
    );
    let preflight = world.status.conditions.iter().find(|c| c.kind == "Preflight");
    let preflight = &preflight.unwrap().message;
    assert!(
        preflight.contains("every step gives the canary all traffic"),
        "{preflight}"
    );
}
