//! The reference vectors: every case of every section of the file named by `BIRDWATCH_VECTORS`, else of the copy kept here.
//! A section or a key that is not known fails, so that nothing is passed over.

use std::time::Duration;

use birdwatch::core::sequential::counts::{Counts, Stratum};
use birdwatch::core::sequential::design::{Design, Parts};
use birdwatch::core::sequential::evidence::Evidence;
use birdwatch::core::sequential::pace::Pace;
use birdwatch::core::sequential::planner::{Policy, Step, Traffic};
use birdwatch::core::sequential::recorded::Recorded;
use birdwatch::core::sequential::sign;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(default)]
    eprocess: Vec<Process>,
    #[serde(default)]
    garwood_upper: Vec<Garwood>,
    #[serde(default)]
    sign_e: Vec<Sign>,
    #[serde(default)]
    planner: Vec<Plan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    name: String,
    r: f64,
    alpha: f64,
    phi: f64,
    multipliers: Vec<f64>,
    pi_r: Vec<f64>,
    pi_step: Vec<f64>,
    polls: Vec<Poll>,
    log_e: Vec<f64>,
    crossed_at_poll: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Poll {
    step: usize,
    n_c: f64,
    n_p: f64,
    x_c: f64,
    x_p: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Garwood {
    x: f64,
    n: f64,
    alpha: f64,
    upper: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    h: u32,
    t: u32,
    e: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    rps: f64,
    p_c: f64,
    p_p: f64,
    r: f64,
    alpha: f64,
    rate_at_5pct: f64,
    predicted_s: Option<f64>,
}

fn read(text: &str) -> Result<Vectors, serde_json::Error> {
    serde_json::from_str(text)
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs()
}

/// A logarithm is compared as what it is the logarithm of: a difference of it is a relative difference of that. Away from 0
/// the logarithm itself has to agree as well.
fn close_log(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs().min(1.0) || (found - expected).abs() <= 1e-13
}

/// Judges a file. Returns how many cases it held.
fn judge(vectors: Vectors) -> Result<usize, String> {
    let Vectors {
        eprocess,
        garwood_upper,
        sign_e,
        planner,
    } = vectors;
    let cases = eprocess.len() + garwood_upper.len() + sign_e.len() + planner.len();
    let mut wrong = Vec::new();
    for case in eprocess {
        process(case).unwrap_or_else(|why| wrong.push(why));
    }
    for Garwood { x, n, alpha, upper } in garwood_upper {
        let found = Recorded {
            counts: Counts { requests: n, bad: x },
        }
        .upper(alpha);
        if !found.as_ref().is_ok_and(|found| close(*found, upper)) {
            wrong.push(format!(
                "garwood_upper {x} of {n}, {alpha}: {found:?}, expected {upper}"
            ));
        }
    }
    for Sign { h, t, e } in sign_e {
        let found = sign::log_evidence(h, t).map(f64::exp);
        if !found.is_some_and(|found| close(found, e)) {
            wrong.push(format!("sign_e {h} {t}: {found:?}, expected {e}"));
        }
    }
    for case in planner {
        plan(&case).unwrap_or_else(|why| wrong.push(why));
    }
    if wrong.is_empty() {
        Ok(cases)
    } else {
        Err(wrong.join("\n"))
    }
}

fn process(case: Process) -> Result<(), String> {
    let Process {
        name,
        r,
        alpha,
        phi,
        multipliers,
        pi_r,
        pi_step,
        polls,
        log_e,
        crossed_at_poll,
    } = case;
    let parts = Parts {
        at_least: None,
        tolerance: r,
        false_alarm: alpha,
        dispersion: phi,
        multipliers,
        multiplier_weights: pi_r,
        step_weights: pi_step,
    };
    let design = Design::try_from(parts).map_err(|e| format!("{name}: {e}"))?;
    if polls.len() != log_e.len() {
        return Err(format!("{name}: {} polls, {} values", polls.len(), log_e.len()));
    }
    let (mut evidence, mut crossed) = (Evidence::default(), None);
    for (at, (poll, expected)) in polls.iter().zip(log_e).enumerate() {
        let stratum = Stratum {
            canary: Counts {
                requests: poll.n_c,
                bad: poll.x_c,
            },
            production: Counts {
                requests: poll.n_p,
                bad: poll.x_p,
            },
        };
        evidence
            .add(&design, poll.step, &[stratum])
            .map_err(|e| format!("{name}, poll {at}: {e}"))?;
        // Through the status and back at every check, as the operator does it.
        let written = serde_json::to_string(&evidence).map_err(|e| e.to_string())?;
        evidence = serde_json::from_str(&written).map_err(|e| e.to_string())?;
        let found = evidence
            .log(&design)
            .map_err(|e| format!("{name}, poll {at}: {e}"))?;
        if !close_log(found, expected) {
            return Err(format!(
                "eprocess {name}, poll {at}: {found}, expected {expected}"
            ));
        }
        if crossed.is_none() && found >= design.log_limit() {
            crossed = Some(at);
        }
    }
    if crossed != crossed_at_poll {
        return Err(format!(
            "eprocess {name}: crossed at {crossed:?}, expected {crossed_at_poll:?}"
        ));
    }
    Ok(())
}

fn plan(case: &Plan) -> Result<(), String> {
    let Plan {
        rps,
        p_c,
        p_p,
        r,
        alpha,
        rate_at_5pct,
        predicted_s,
    } = *case;
    let step = |weight| Step {
        weight,
        hold: Duration::from_mins(5),
    };
    let policy = Policy {
        steps: [5.0, 10.0, 20.0, 50.0].map(step).into(),
        every: Duration::from_secs(15),
        tolerance: r,
        at_least: None,
        false_alarm: alpha,
        dispersion: 1.0,
        confirmations: 0,
        pace: Pace::default(),
    };
    let traffic = Traffic {
        requests_per_second: rps,
        production_bad: p_p,
    };
    let name = format!("planner {rps} rps, {p_c} against {p_p}");
    let rate = policy
        .evidence_rate(traffic, 5.0, p_c)
        .map_err(|e| format!("{name}: {e}"))?;
    if !close(rate, rate_at_5pct) {
        return Err(format!("{name}: rate {rate}, expected {rate_at_5pct}"));
    }
    let found = policy
        .time_to_detect(traffic, p_c)
        .map_err(|e| format!("{name}: {e}"))?;
    let found = found.map(|time| time.as_secs_f64());
    let same = match (found, predicted_s) {
        (Some(found), Some(expected)) => (found - expected).abs() < 0.5,
        (found, expected) => found.is_none() && expected.is_none(),
    };
    if same {
        Ok(())
    } else {
        Err(format!("{name}: {found:?} s, expected {predicted_s:?}"))
    }
}

const COMMITTED: &str = include_str!("vectors/sequential.json");

#[test]
fn every_case_of_every_section_agrees() {
    let named = std::env::var_os("BIRDWATCH_VECTORS").filter(|name| !name.is_empty());
    let text = named.map_or_else(
        || COMMITTED.to_owned(),
        |path| std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    );
    match judge(read(&text).expect("vectors that are all known")) {
        Ok(cases) => assert!(cases > 0, "the file holds no case"),
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn the_committed_vectors_hold_every_section() {
    let vectors = read(COMMITTED).unwrap();
    let sections = [
        vectors.eprocess.len(),
        vectors.garwood_upper.len(),
        vectors.sign_e.len(),
        vectors.planner.len(),
    ];
    assert_eq!(sections, [7, 3, 4, 6]);
}

#[test]
fn what_is_not_known_is_not_passed_over() {
    for unknown in [
        r#"{"bayes": []}"#,
        r#"{"sign_e": [{"h": 0, "t": 0, "e": 1.0, "note": ""}]}"#,
        r#"{"planner": [{"rps": 1}]}"#,
        r#"{"eprocess": [{"name": "", "polls": [{"step": 0, "n_c": 1, "n_p": 1, "x_c": 0, "x_p": 0, "w": 1}]}]}"#,
    ] {
        assert!(read(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn a_digit_off_is_seen_in_every_section() {
    for (right, wrong) in [
        ("3.373312309637029", "3.373312319637029"),
        ("0.00260994580188294", "0.00260994581188294"),
        ("8.906456043956046", "8.906456063956046"),
        ("0.011183846803718433", "0.011183846903718433"),
        ("\"predicted_s\": 495", "\"predicted_s\": 496"),
        ("\"crossed_at_poll\": 11", "\"crossed_at_poll\": 10"),
    ] {
        assert!(COMMITTED.contains(right), "{right}");
        assert!(
            judge(read(&COMMITTED.replace(right, wrong)).unwrap()).is_err(),
            "{wrong}"
        );
    }
}
