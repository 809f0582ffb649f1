//! The promises of the design as properties: whatever happens around it, in whatever order.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::decision::Effect;
use super::observation::*;
use super::weights::share;
use super::world::{STEPS, World, number, spec};
use crate::api::status::{Phase, Verdict};

/// Something that happens outside.
#[derive(Clone, Debug)]
enum Happening {
    Pass(i64),
    Good,
    Bad,
    Blind,
    Empty,
    CanaryPods(i32),
    ProductionPods(i32),
    Crash(i64),
    SetBack(i64),
    SetWeight(i64),
    Deploy(u8),
    Change,
    Pause(bool),
    Verb(usize, u8),
    Writable(bool),
    Label(bool),
    Spec(bool),
    /// The spec cannot be read but for its `paused`, or not even that.
    Unreadable(Option<bool>),
    Edit(usize),
}

/// Edits of a spec that is in force: of holds, of steps, of limits, of metrics.
const EDITS: [(&str, &str); 4] = [
    ("hold: 10s}, {weight: 50", "hold: 1s}, {weight: 50"),
    ("{weight: 50, hold: 10s}, ", ""),
    ("deviation: 0.5", "deviation: 0.4"),
    (
        "metrics: [",
        "metrics: [{name: more, query: 'more{version=\"$(version)\"}', max: 1}, ",
    ),
];

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        8 => (1_i64..20).prop_map(Pass),
        3 => Just(Good),
        2 => Just(Bad),
        2 => Just(Blind),
        1 => Just(Empty),
        2 => (0_i32..3).prop_map(CanaryPods),
        1 => (0_i32..3).prop_map(ProductionPods),
        2 => (0_i64..60).prop_map(Crash),
        1 => (-600_i64..0).prop_map(Crash),
        1 => (1_i64..600).prop_map(SetBack),
        1 => (0_i64..=100).prop_map(SetWeight),
        1 => (3_u8..5).prop_map(Deploy),
        1 => Just(Change),
        1 => any::<bool>().prop_map(Pause),
        2 => (0_usize..4, 0_u8..4).prop_map(|(verb, token)| Verb(verb, token)),
        1 => any::<bool>().prop_map(Writable),
        1 => any::<bool>().prop_map(Label),
        1 => any::<bool>().prop_map(Spec),
        1 => any::<Option<bool>>().prop_map(Unreadable),
        2 => (0_usize..EDITS.len()).prop_map(Edit),
    ]
}

#[expect(
    clippy::too_many_lines,
    reason = "one line or two for each thing that can happen"
)]
fn happen(world: &mut World, what: &Happening, yaml: &str) {
    match what {
        Happening::Pass(seconds) => world.run_with(*seconds, settle),
        Happening::Good => world.oracle = |_, _| (number(0.0), 1.0),
        Happening::Bad => world.oracle = |q, _| (number(if q.side == Side::Canary { 9.0 } else { 0.0 }), 1.0),
        Happening::Blind => world.oracle = |_, _| (number(f64::NAN), 1.0),
        Happening::Empty => {
            world.oracle = |_, _| {
                (
                    Outcome::Empty {
                        unknown_names: Ok(Vec::new()),
                    },
                    0.0,
                )
            }
        }
        Happening::CanaryPods(n) => {
            let canary = world
                .status
                .rollout
                .as_ref()
                .map_or("v2".to_owned(), |r| r.canary.version.clone());
            world.pods(&canary, *n);
        }
        Happening::ProductionPods(n) => world.pods(&production(world), *n),
        Happening::Crash(seconds) => world.crash(*seconds),
        Happening::SetBack(seconds) => world.set_back(*seconds),
        Happening::SetWeight(weight) => world.set_weight(*weight),
        Happening::Deploy(n) => {
            let version = format!("v{n}");
            if world
                .seen
                .deployments
                .iter()
                .all(|d| d.version.as_ref() != Some(&version))
            {
                world.deploy(&version);
            }
        }
        Happening::Change => {
            let revision = world
                .seen
                .deployments
                .last_mut()
                .unwrap()
                .revision
                .as_mut()
                .unwrap();
            revision.push('1');
        }
        Happening::Pause(paused) => {
            if let Ok(spec) = &mut world.spec {
                spec.paused = Some(*paused);
            }
        }
        Happening::Verb(verb, token) => {
            let verb = ["promote", "rollback", "resume", "retry"][*verb];
            world.seen.verb = Some(format!("{verb}/{token}"));
        }
        Happening::Writable(writable) => world.routes_writable = *writable,
        Happening::Label(back) => {
            let rule = world.seen.rule.as_mut().unwrap();
            rule.canary = if *back {
                world.status.rollout.as_ref().map(|r| r.canary.version.clone())
            } else {
                None
            };
        }
        Happening::Edit(edit) => world.spec = Ok(spec(&edited(yaml, *edit))),
        Happening::Spec(readable) => {
            world.spec = if *readable {
                Ok(spec(yaml))
            } else {
                Err("spec.steps: unreadable".into())
            };
            world.raw_paused = None;
        }
        Happening::Unreadable(paused) => {
            world.spec = Err("spec.steps: unreadable".into());
            world.raw_paused = *paused;
        }
    }
}

fn edited(yaml: &str, edit: usize) -> String {
    let (from, to) = EDITS[edit];
    yaml.replacen(from, to, 1)
}

/// The version that the rollout would replace, or the one that was there first.
fn production(world: &World) -> String {
    let rollout = world.status.rollout.as_ref();
    rollout.map_or("v1".to_owned(), |r| r.production.version.clone())
}

/// One pass, with everything that must hold about it.
fn guarded_pass(world: &mut World) -> bool {
    let routes = world.seen.routes.clone();
    let done = world.effects.len();
    let changed = world.pass();
    let rollout = world.status.rollout.clone();
    let raises = world.effects[done..].iter().filter_map(|e| match e {
        Effect::Raise { percent } => Some(*percent),
        _ => None,
    });
    for percent in raises {
        let r = rollout.as_ref().expect("a raise belongs to a rollout");
        assert_ne!(world.status.phase, Phase::Frozen, "frozen traffic stays");
        assert!(!world.paused, "never raised while paused");
        assert!(
            r.promote_asked || r.confirmed == 0 || world.held() >= r.hold.unwrap(),
            "held for {} only, of {:?}",
            world.held(),
            r.hold
        );
        assert_eq!(r.intended, percent, "a raise follows what status says");
        let asked = r.promote_asked || r.confirmed == 0;
        assert!(
            asked || r.verdict == Some(Verdict::Good),
            "never raised but on a healthy check of this step and this plan: {:?}",
            r.verdict
        );
        let pods = world
            .seen
            .deployments
            .iter()
            .find(|d| d.uid == r.canary.uid)
            .map_or(0, |d| d.available);
        assert!(pods > 0, "never raised to pods that are not there");
        assert_eq!(
            world.seen.rule.as_ref().unwrap().canary.as_ref(),
            Some(&r.canary.version)
        );
        assert!(world.seen.finalizer, "shifted traffic is fenced by the finalizer");
        let is_recorded = |name: &str| r.metrics.iter().any(|m| m.name == name && m.baseline.is_some());
        let has_baselines = r.plan.metrics.iter().all(|m| is_recorded(&m.name));
        assert!(
            r.confirmed > 0 || has_baselines,
            "the first raise needs a baseline"
        );
    }
    for (old, new) in routes.iter().zip(&world.seen.routes) {
        let sum = |r: &RouteSeen| r.production.unwrap_or(0) + r.canary.unwrap_or(0);
        assert_eq!(sum(old), sum(new), "what both hold together never changes");
    }
    if world.status.phase == Phase::RollingBack && world.routes_writable && world.weight() > 0 {
        let gone = world
            .seen
            .deployments
            .iter()
            .filter(|d| d.version.as_ref() == Some(&production(world)))
            .all(|d| d.available == 0);
        assert!(gone, "a rollback is written in the pass that decides it");
    }
    changed
}

fn settle(world: &mut World) {
    for _ in 0..30 {
        if !guarded_pass(world) {
            return;
        }
    }
    panic!("no rest: {:?} {}", world.status.phase, world.status.message);
}

/// Stories that failed are kept beside this file, to be committed, and told first in every run.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn promises_hold_whatever_happens(freeze in any::<bool>(), story in prop::collection::vec(happening(), 1..40)) {
        let policy = if freeze { "freeze" } else { "rollback" };
        let yaml = format!("{STEPS}ifUnhealthy: {policy}\n");
        let mut world = World::with_canary(&yaml);
        for what in &story {
            happen(&mut world, what, &yaml);
            settle(&mut world);
        }
        // Whatever it was: when all is well again and a person asks, an end is reached.
        for what in [Happening::Good, Happening::Writable(true), Happening::Spec(true), Happening::ProductionPods(2), Happening::Pause(false)] {
            happen(&mut world, &what, &yaml);
        }
        for deployment in &mut world.seen.deployments {
            deployment.available = deployment.replicas;
        }
        settle(&mut world);
        world.run(3000);
        prop_assert!(
            !world.status.phase.is_active(),
            "still {:?}: {}", world.status.phase, world.status.message
        );
    }

    #[test]
    fn a_bad_canary_never_stays_above_zero_under_the_policy_rollback(
        story in prop::collection::vec(happening(), 1..30)
    ) {
        let mut world = World::with_canary(STEPS);
        for what in &story {
            happen(&mut world, what, STEPS);
            settle(&mut world);
        }
        for what in [Happening::Bad, Happening::Writable(true), Happening::ProductionPods(2)] {
            happen(&mut world, &what, STEPS);
        }
        let judged = world.status.phase == Phase::Progressing && world.weight() > 0;
        world.run(60);
        if judged {
            prop_assert_eq!(world.weight(), 0, "{:?} {}", world.status.phase, world.status.message);
        }
    }

    #[test]
    fn a_share_written_is_the_share_read(total in 1_i64..1000, percent in 0_u8..=100) {
        let canary = share(total, percent);
        let route = RouteSeen { key: String::new(), production: Some(total - canary), canary: Some(canary), total };
        prop_assert!(route.is_at(percent));
    }
}
