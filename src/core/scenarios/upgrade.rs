//! Rollouts that an earlier release began: its statuses are fixtures, one for each phase, and today's core goes on from
//! each to the end. `BLESS=1` writes those of the present version anew, until it is released and pinned.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::api::BirdWatchStatus;

const RELEASES: [&str; 2] = ["0.1.0", "0.2.0"];

const SEQUENTIAL: &str = "
service: aleph
steps: [{weight: 10, hold: 60s}, {weight: 50, hold: 60s}, {weight: 100, hold: 30s}]
checkInterval: 5s
";

fn forms() -> [(&'static str, String); 2] {
    [
        ("threshold", STEPS.to_owned()),
        ("sequential", SEQUENTIAL.to_owned()),
    ]
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn file(release: &str, form: &str, phase: Phase) -> PathBuf {
    let folder = fixtures().join(release);
    folder.join(format!("status-{form}-{}.json", phase.as_str().to_lowercase()))
}

fn sick(world: &mut World) {
    sick_above(0)(world);
    world.traffic.bad = |side, _| if side == Side::Canary { 0.2 } else { 0.001 };
}

/// A world whose rollout is in that phase, half way where there is a way.
fn in_phase(yaml: &str, phase: Phase) -> World {
    let freezing = format!("{yaml}ifUnhealthy: freeze\n");
    let mut world = match phase {
        Phase::Idle => World::new(yaml),
        Phase::Frozen => World::with_canary(&freezing),
        _ => World::with_canary(yaml),
    };
    match phase {
        Phase::Pending => {
            world.pods("v2", 0);
            world.run(5);
        }
        Phase::RollingBack => {
            world.until(|w| w.weight() == 10);
            world.routes_writable = false;
            sick(&mut world);
        }
        Phase::RolledBack | Phase::Frozen => sick(&mut world),
        Phase::Progressing => {
            world.until(|w| w.weight() == 10);
            world.run(5);
        }
        Phase::Idle | Phase::Baseline | Phase::Promoting | Phase::Promoted => {}
    }
    world.run_to(phase);
    world
}

/// What a restarted operator would find: the status, and the objects it speaks of.
fn found(world: &World, yaml: &str) -> Value {
    let rule = world.seen.rule.as_ref().unwrap();
    json!({
        "spec": yaml,
        "now": world.now,
        "weight": world.weight(),
        "labels": {"production": rule.production, "canary": rule.canary},
        "deployments": world.seen.deployments.iter().map(|d| json!({"version": d.version, "created": d.created})).collect::<Vec<_>>(),
        "finalizer": world.seen.finalizer,
        "status": world.status,
    })
}

fn restored(fixture: &Value) -> World {
    let mut world = World::new(fixture["spec"].as_str().unwrap());
    world.now = serde_json::from_value(fixture["now"].clone()).unwrap();
    world.set_weight(fixture["weight"].as_i64().unwrap());
    let label = |side: &str| fixture["labels"][side].as_str().map(str::to_owned);
    world.seen.rule = Ok(RuleSeen {
        production: label("production"),
        canary: label("canary"),
        host: None,
    });
    world.seen.deployments.clear();
    for found in fixture["deployments"].as_array().unwrap() {
        let mut deployment = deployment(found["version"].as_str().unwrap(), 0);
        deployment.created = serde_json::from_value(found["created"].clone()).unwrap();
        world.seen.deployments.push(deployment);
    }
    world.seen.finalizer = fixture["finalizer"].as_bool().unwrap();
    world.status = serde_json::from_value(fixture["status"].clone()).unwrap();
    world.weights = vec![(world.now, world.weight())];
    world
}

fn fixture(release: &str, form: &str, phase: Phase) -> Value {
    let file = file(release, form, phase);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap()
}

fn each(mut call: impl FnMut(&str, &str, Phase, &Value)) {
    for release in RELEASES {
        for (form, _) in forms() {
            for phase in Phase::ALL {
                call(release, form, phase, &fixture(release, form, phase));
            }
        }
    }
}

#[test]
fn the_fixtures_of_this_version_are_written_when_asked_for() {
    if std::env::var_os("BLESS").is_none() {
        return;
    }
    let pins = std::fs::read_to_string(fixtures().join("SHA256SUMS")).unwrap();
    let released = concat!("  ", env!("CARGO_PKG_VERSION"), "/");
    if pins.contains(released) {
        return;
    }
    for (form, yaml) in forms() {
        for phase in Phase::ALL {
            let world = in_phase(&yaml, phase);
            let spec = if phase == Phase::Frozen {
                format!("{yaml}ifUnhealthy: freeze\n")
            } else {
                yaml.clone()
            };
            let text = serde_json::to_string_pretty(&found(&world, &spec)).unwrap() + "\n";
            let file = file(env!("CARGO_PKG_VERSION"), form, phase);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
    }
}

#[test]
fn the_version_at_hand_has_its_fixtures() {
    assert!(
        RELEASES.contains(&env!("CARGO_PKG_VERSION")),
        "BLESS=1 and add it to RELEASES"
    );
}

#[test]
fn a_status_of_every_release_is_read_whole() {
    each(|release, form, phase, fixture| {
        let status: BirdWatchStatus = serde_json::from_value(fixture["status"].clone()).unwrap();
        assert_eq!(status.phase, phase, "{release} {form}");
        let unknown = status
            .rest
            .keys()
            .chain(status.rollout.iter().flat_map(|rollout| rollout.rest.keys()));
        assert_eq!(
            unknown.collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "{release} {form} {phase:?}"
        );
        // Nothing of it is lost at the next write.
        let mut written = serde_json::to_value(&status).unwrap();
        lost(
            &fixture["status"],
            &mut written,
            &format!("{release} {form} {phase:?}"),
        );
    });
}

/// Fails where `stored` has something that is not in `written`.
fn lost(stored: &Value, written: &mut Value, path: &str) {
    match stored {
        Value::Object(fields) => {
            for (name, field) in fields {
                lost(field, &mut written[name], &format!("{path}.{name}"));
            }
        }
        Value::Array(entries) => {
            for (n, entry) in entries.iter().enumerate() {
                assert!(!written[n].is_null(), "{path}[{n}]");
                lost(entry, &mut written[n], &format!("{path}[{n}]"));
            }
        }
        plain => assert_eq!(plain, &*written, "{path}"),
    }
}

#[test]
fn a_rollout_that_an_earlier_release_began_is_finished() {
    each(|release, form, phase, fixture| {
        let what = format!("{release} {form} {phase:?}");
        let mut world = restored(fixture);
        let rollout = world.status.rollout.as_ref().map(|rollout| rollout.id.clone());
        // As after an upgrade: nobody was there for a moment.
        world.crash(10);
        let end = match phase {
            Phase::RollingBack | Phase::RolledBack => Phase::RolledBack,
            _ => Phase::Promoted,
        };
        match phase {
            Phase::Idle => world.deploy("v2"),
            Phase::Frozen => world.seen.verb = Some("resume/upgrade".into()),
            _ => {}
        }
        world.run_to(end);
        let ended = world.status.rollout.as_ref().unwrap();
        assert!(
            rollout.is_none_or(|id| id == ended.id),
            "{what}: another rollout, {}",
            ended.id
        );
        assert_eq!(ended.canary.version, "v2", "{what}");
        assert_eq!(world.weight(), 0, "{what}: all traffic is production's");
        if phase == Phase::Progressing {
            assert_eq!(
                world.path(),
                [10, 50, 100, 0],
                "{what}: it goes on from where it was"
            );
        }
        // And the next release starts from there.
        world.deploy("v3");
        world.until(|w| w.status.phase == Phase::Promoted && w.is_production("v3"));
    });
}

#[test]
fn a_sick_canary_of_an_earlier_release_goes_back() {
    each(|release, form, phase, fixture| {
        if phase == Phase::Progressing {
            let mut world = restored(fixture);
            sick(&mut world);
            world.run_to(Phase::RolledBack);
            assert_eq!(world.path(), [10, 0], "{release} {form}");
        }
    });
}
