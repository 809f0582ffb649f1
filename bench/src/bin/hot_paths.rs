//! Goes one of the operator's hot paths so many times: `hot_paths PATH TIMES`. For tests/instructions.rs, which counts.

use std::error::Error;
use std::hint::black_box;

use birdwatch::api::{BirdWatchSpec, BirdWatchStatus, Span};
use birdwatch::controller::objects::RawBirdWatch;
use birdwatch::controller::patches;
use birdwatch::core::decide::decide;
use birdwatch::core::decision::CheckRequest;
use birdwatch::core::observation::{
    Answer, Check, DeploymentSeen, ObjectName, Observation, Outcome, Point, RouteSeen, RuleSeen, Settings,
};
use birdwatch::core::sequential::counts::{Counts, Stratum};
use birdwatch::core::sequential::design::Design;
use birdwatch::core::sequential::evidence::Evidence;
use birdwatch::istio::VirtualService;
use birdwatch::istio::routes::Pair;
use serde_json::{Value, json};

/// A rollout that holds 10 %, as a release has stored it.
const STORED: &str = include_str!("../../../tests/fixtures/0.1.0/status-threshold-progressing.json");

const PRODUCTION_SHARE: i64 = 90;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (path, times) = (arguments.next(), arguments.next());
    let path = path.ok_or("hot_paths PATH TIMES")?;
    let mut go = hot_path(&path)?;
    for _ in 0..times.ok_or("how many times?")?.parse::<u32>()? {
        go()?;
    }
    Ok(())
}

type Go = Box<dyn FnMut() -> Result<(), Box<dyn Error>>>;

fn hot_path(name: &str) -> Result<Go, Box<dyn Error>> {
    let stored: Value = serde_json::from_str(STORED)?;
    match name {
        "decide" => decision(&stored),
        "decode" => decoding(&stored),
        "encode" => encoding(&stored),
        "lower" => lowering(),
        "sequential" => sequential(),
        other => Err(format!("no hot path is called {other}").into()),
    }
}

/// A check was good, in the middle of a hold.
fn decision(stored: &Value) -> Result<Go, Box<dyn Error>> {
    let status = serde_json::from_value::<BirdWatchStatus>(stored["status"].clone())?;
    let mut seen = observation(stored)?;
    let later: jiff::Timestamp = stored["now"].as_str().ok_or("no time")?.parse()?;
    let later = later + jiff::SignedDuration::from_secs(5);
    let due = later + jiff::SignedDuration::from_secs(60);
    let request = decide(&status, &seen, due).check.ok_or("no check is due")?;
    seen.check = Some(good(request, later));
    Ok(Box::new(move || {
        black_box(decide(black_box(&status), black_box(&seen), later));
        Ok(())
    }))
}

/// What a look reads of a `BirdWatch`.
fn decoding(stored: &Value) -> Result<Go, Box<dyn Error>> {
    let text = object(stored)?.to_string();
    Ok(Box::new(move || {
        let object: RawBirdWatch = serde_json::from_str(black_box(&text))?;
        black_box(object.read_status()?);
        black_box(object.read_spec()?);
        Ok(())
    }))
}

/// A status to write.
fn encoding(stored: &Value) -> Result<Go, Box<dyn Error>> {
    let object: RawBirdWatch = serde_json::from_value(object(stored)?)?;
    let next = object.read_status()?;
    Ok(Box::new(move || {
        let body = object.with_status(black_box(&next))?;
        black_box(serde_json::to_vec(&body)?);
        Ok(())
    }))
}

/// The patch that gives a canary's traffic back.
fn lowering() -> Result<Go, Box<dyn Error>> {
    let destination = |subset: &str, weight: i64| json!({"destination": {"host": "aleph", "subset": subset}, "weight": weight});
    let routes = [
        destination("production", PRODUCTION_SHARE),
        destination("canary", 100 - PRODUCTION_SHARE),
    ];
    let service: VirtualService = serde_json::from_value(json!({
        "metadata": {"name": "aleph", "namespace": "shop", "resourceVersion": "1"},
        "spec": {"hosts": ["aleph"], "http": [{"name": "primary", "route": routes}]},
    }))?;
    let pair = Pair {
        host: "aleph.shop.svc.cluster.local".to_owned(),
        production: "production".to_owned(),
        canary: "canary".to_owned(),
    };
    Ok(Box::new(move || {
        let patch = patches::lowering(black_box(&service), &pair, "cluster.local", 0);
        black_box(patch.ok_or("nothing is to be lowered")?);
        Ok(())
    }))
}

/// A check of counted requests, of four pods.
fn sequential() -> Result<Go, Box<dyn Error>> {
    let design = Design::new(1.5, 0.01, 1.0, 4)?;
    let counts = |requests, bad| Counts { requests, bad };
    let strata = [Stratum {
        canary: counts(500.0, 2.0),
        production: counts(4500.0, 15.0),
    }; 4];
    let mut evidence = Evidence::default();
    Ok(Box::new(move || {
        evidence.add(&design, 1, black_box(&strata))?;
        black_box(evidence.log(&design)?);
        Ok(())
    }))
}

fn object(stored: &Value) -> Result<Value, Box<dyn Error>> {
    let spec: Value = serde_json::to_value(spec(stored)?)?;
    Ok(json!({
        "metadata": {"name": "aleph", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1},
        "spec": spec, "status": stored["status"],
    }))
}

fn spec(stored: &Value) -> Result<BirdWatchSpec, Box<dyn Error>> {
    Ok(serde_saphyr::from_str(stored["spec"].as_str().ok_or("no spec")?)?)
}

fn good(request: CheckRequest, asked_at: jiff::Timestamp) -> Check {
    let answer = |metric: &str, side| Answer {
        metric: metric.to_owned(),
        side,
        outcome: Outcome::Series(vec![Point {
            labels: String::new(),
            value: 0.0,
        }]),
        traffic: None,
    };
    let questions = request.questions.iter();
    Check {
        asked_at,
        answers: questions.map(|asked| answer(&asked.metric, asked.side)).collect(),
        samples: Vec::new(),
        scrape: request.scrape,
        id: request.id,
    }
}

fn observation(stored: &Value) -> Result<Observation, Box<dyn Error>> {
    let deployment = |version: &str| DeploymentSeen {
        name: format!("aleph-{version}"),
        uid: format!("uid-{version}"),
        version: Some(version.to_owned()),
        revision: Some("1".to_owned()),
        created: None,
        replicas: 2,
        current: 2,
        updated: 2,
        available: 2,
        ..DeploymentSeen::default()
    };
    let name = ObjectName {
        namespace: "shop".to_owned(),
        name: "aleph".to_owned(),
    };
    let settings = Settings {
        scrape_interval: Span::secs(15),
        propagation_delay: Span::secs(5),
        query_timeout: Span::secs(5),
        notify: None,
    };
    Ok(Observation {
        finalizer: true,
        deployments: ["v1", "v2"].map(deployment).to_vec(),
        rule: Ok(RuleSeen {
            production: Some("v1".to_owned()),
            canary: Some("v2".to_owned()),
            host: None,
        }),
        routes: vec![RouteSeen {
            key: "aleph/http[0]".to_owned(),
            production: Some(PRODUCTION_SHARE),
            canary: Some(100 - PRODUCTION_SHARE),
            total: 100,
        }],
        ..Observation::bare(name, spec(stored)?, settings)
    })
}
