//! What the API server answers: pages of somebody between, half answers, statuses that make no sense, events that nobody
//! knows. The operator goes on, moves no weight for it, and is well again as soon as the answers are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch::runtime::clock::Clock;
use birdwatch::runtime::lease::{Electors, Gate, LeaseConfig, Manner, Shards, Timing};
use birdwatch::runtime::metrics::Metrics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::controller_kit::fake_api::{FakeApi, Request, Spoil, Spoiled, line};
use crate::controller_kit::{Kit, NS, SERVICES, bird_watch};
use crate::mutate::Mutator;
use crate::{inputs, mutator, seed};

/// One answer of so many is spoiled.
const RATE: [u8; 4] = [1, 0, 0, 0];
/// How long answers are spoiled, of a rollout that takes half a minute.
const TROUBLE: Duration = Duration::from_secs(40);
/// What the process may grow by: several of the largest answers at once.
const GROWTH: u64 = 400;
/// The largest answer.
const HUGE: usize = 1 << 20;

/// Answers at most of each kind: a release, of some fifteen, takes half a second of a processor.
const MOST: u64 = 3_000;

const PAGE: &str =
    "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n";

/// 404 is left out: that something is not there is an answer like others, and to be believed.
const CODES: [u16; 18] = [
    200, 201, 204, 206, 301, 400, 401, 403, 408, 409, 410, 413, 418, 422, 429, 500, 503, 599,
];

/// Says nonsense, and counts how often.
struct Nonsense {
    mutator: Mutex<Mutator>,
    /// Whether answers may look like true ones as well.
    lies: bool,
    said: AtomicU64,
}

impl Nonsense {
    fn new(mutator: Mutator, lies: bool) -> Arc<Self> {
        Arc::new(Self {
            mutator: Mutex::new(mutator),
            lies,
            said: AtomicU64::new(0),
        })
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }
}

impl Spoil for Nonsense {
    fn answer(&self, _: &Request, body: &[u8]) -> Option<Spoiled> {
        let mut mutator = self.mutator.lock().unwrap();
        if *mutator.one_of(&RATE) == 0 {
            return None;
        }
        self.said.fetch_add(1, Ordering::SeqCst);
        let code = *mutator.one_of(&CODES);
        let json = "application/json";
        let spoiled = |code, content_type, body| Spoiled {
            code,
            content_type,
            body,
            cut: false,
        };
        let half = || body[..body.len() / 2].to_vec();
        Some(match mutator.one_of(&KINDS) {
            Kind::Cut => Spoiled {
                cut: true,
                ..spoiled(200, json, half())
            },
            Kind::Half => spoiled(200, json, half()),
            Kind::Page => spoiled(code, "text/html", PAGE.into()),
            Kind::Status => spoiled(code, json, status(&mut mutator).to_string().into()),
            Kind::OtherType => {
                let others = [
                    "",
                    "null",
                    "[]",
                    "7",
                    "\"text\"",
                    "{\"items\":7}",
                    "{\"metadata\":[]}",
                ];
                spoiled(code, json, mutator.one_of(&others).as_bytes().to_vec())
            }
            Kind::NoText => spoiled(200, json, vec![0xff, 0xfe, b'{', 0x80]),
            Kind::Deep => spoiled(200, json, "[".repeat(100_000).into()),
            Kind::Huge => spoiled(code, json, huge(*mutator.one_of(&[1, 16, 256]))),
            Kind::Lie if self.lies => match serde_json::from_slice(body) {
                Ok(answer) => spoiled(200, json, mutator.text(&answer)),
                Err(_) => spoiled(200, json, half()),
            },
            Kind::Lie => spoiled(200, "text/plain", b"ok".to_vec()),
        })
    }

    fn lines(&self, _: &Request, lines: &str) -> Option<(Vec<u8>, bool)> {
        let mut mutator = self.mutator.lock().unwrap();
        if *mutator.one_of(&RATE) == 0 {
            return None;
        }
        self.said.fetch_add(1, Ordering::SeqCst);
        let broken = |text: &str| Some((text.as_bytes().to_vec(), false));
        let error = |object: Value| json!({"type": "ERROR", "object": object}).to_string() + "\n";
        match mutator.one_of(&LINES) {
            Line::Half => broken(&lines[..lines.char_indices().nth(lines.len() / 2)?.0]),
            Line::Page => broken(PAGE),
            Line::Error => broken(&error(status(&mut mutator))),
            Line::ErrorOfNothing => broken(&error(
                mutator.one_of(&[json!(null), json!("x"), json!([])]).clone(),
            )),
            Line::Unknown => broken("{\"type\":\"SURPRISE\",\"object\":{\"kind\":\"Cake\"}}\n"),
            Line::Bare => broken("{\"type\":\"MODIFIED\"}\n{\"type\":\"BOOKMARK\",\"object\":{}}\n{}\n"),
            Line::Empty => {
                let with_empty = format!("\n\n\r\n{lines}");
                Some((with_empty.into_bytes(), true))
            }
            Line::Huge => broken(&"x".repeat(HUGE)),
            Line::Lie if self.lies => {
                let first = lines.lines().next()?;
                let event: Value = serde_json::from_str(first).ok()?;
                broken(&line(&mutator.json(&event)))
            }
            Line::Lie => broken(""),
        }
    }
}

enum Kind {
    Cut,
    Half,
    Page,
    Status,
    OtherType,
    NoText,
    Deep,
    Huge,
    Lie,
}

const KINDS: [Kind; 9] = [
    Kind::Cut,
    Kind::Half,
    Kind::Page,
    Kind::Status,
    Kind::OtherType,
    Kind::NoText,
    Kind::Deep,
    Kind::Huge,
    Kind::Lie,
];

/// What comes instead of events. The stream does not go on after what hides one: a server that has lost an event says so.
enum Line {
    Half,
    Page,
    Error,
    ErrorOfNothing,
    Unknown,
    Bare,
    Empty,
    Huge,
    Lie,
}

const LINES: [Line; 9] = [
    Line::Half,
    Line::Page,
    Line::Error,
    Line::ErrorOfNothing,
    Line::Unknown,
    Line::Bare,
    Line::Empty,
    Line::Huge,
    Line::Lie,
];

fn answers() -> u64 {
    inputs().min(MOST)
}

/// A `Status` that may contradict itself.
fn status(mutator: &mut Mutator) -> Value {
    let codes = [
        json!(0),
        json!(-1),
        json!(200),
        json!(410),
        json!(500),
        json!(99999),
        json!("500"),
        json!(null),
    ];
    let reasons = ["", "Expired", "Conflict", "Unknown", "Invalid", "TooManyRequests"];
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": mutator.one_of(&["Failure", "Success", ""]),
        "code": mutator.one_of(&codes), "reason": mutator.one_of(&reasons), "message": "a\r\nb\u{1b}[31m",
        "details": {"retryAfterSeconds": mutator.one_of(&[0, 1, 2_000_000_000])},
    });
    if *mutator.one_of(&[true, false]) {
        return status;
    }
    let mut changed = mutator.json(&status);
    if changed["code"] == 404 || changed["reason"] == "NotFound" {
        changed = status;
    }
    changed
}

fn huge(parts: usize) -> Vec<u8> {
    let text = "x".repeat(HUGE / parts);
    let all = vec![text; parts];
    json!({"kind": "List", "junk": all}).to_string().into_bytes()
}

/// Resident memory, in MB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Every weight that the canary had, each once in a row; the two weights are 100 together all the time.
fn follow(kit: &Kit) -> (Arc<Mutex<Vec<i64>>>, AbortOnDropHandle<()>) {
    let path: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (api, kept) = (kit.api.clone(), Arc::clone(&path));
    let following = tokio::spawn(async move {
        api.until(|api| {
            let route = api.get(SERVICES, (NS, "aleph")).unwrap()["spec"]["http"][0]["route"].clone();
            let [production, canary] = [0, 1].map(|side: usize| route[side]["weight"].as_i64().unwrap());
            let mut path = kept.lock().unwrap();
            if path.last() != Some(&canary) {
                path.push(canary);
            }
            if production + canary != 100 {
                path.push(-1);
            }
            false
        })
        .await;
    });
    (path, AbortOnDropHandle::new(following))
}

#[tokio::test(start_paused = true)]
async fn whatever_the_api_server_answers_weights_go_as_planned_and_a_release_ends_once_it_is_sane() {
    let (mut seeds, before) = (mutator("answers of the API server"), memory());
    let (mut said, mut rounds) = (0, 0);
    while said < answers() {
        let kit = Kit::new();
        let nonsense = Nonsense::new(seeds.another(), false);
        kit.api.spoil(Arc::clone(&nonsense) as _);
        let (path, _following) = follow(&kit);
        kit.bird_watch();
        let operator = kit.operator("one");
        tokio::time::sleep(TROUBLE).await;
        kit.api.heal();
        kit.until_phase(Phase::Promoted).await;
        kit.until("traffic is production's", |kit| kit.weights() == (100, 0))
            .await;
        assert_eq!(*path.lock().unwrap(), [0, 50, 100, 0]);
        operator.stop().await;
        said += nonsense.said();
        rounds += 1;
    }
    let grown = memory().saturating_sub(before);
    println!(
        "proved: answers of the API server (seed {}): {said} spoiled in {rounds} releases; {grown} MB more memory at the end",
        seed()
    );
    assert!(grown < GROWTH);
}

/// What looks true is believed, as status is where everything is kept; but it kills nobody, and the next one is well.
#[tokio::test(start_paused = true)]
async fn answers_that_lie_stop_no_operator_and_the_next_release_is_promoted() {
    let mut seeds = mutator("lies of the API server");
    let mut said = 0;
    while said < answers() {
        let kit = Kit::new();
        let nonsense = Nonsense::new(seeds.another(), true);
        kit.bird_watch();
        let operator = kit.operator("one");
        kit.api.spoil(Arc::clone(&nonsense) as _);
        tokio::time::sleep(TROUBLE).await;
        kit.api.heal();
        kit.service("beth");
        kit.api.put(
            crate::controller_kit::BIRD_WATCHES,
            bird_watch("beth", &json!({})),
        );
        kit.until("beth is promoted", |kit| {
            kit.status("beth").phase == Phase::Promoted
        })
        .await;
        assert_eq!(kit.raised_to_of("beth"), [50, 100, 0]);
        operator.stop().await;
        said += nonsense.said();
    }
    println!("proved: lies of the API server (seed {}): {said}", seed());
}

/// Two who stand for one lease.
#[tokio::test(start_paused = true)]
async fn no_answer_about_the_lease_makes_two_leaders_or_none_for_good() {
    let clock = Clock::paused("2026-03-01T12:00:00Z".parse().unwrap());
    let api = FakeApi::new(clock.clone());
    let nonsense = Nonsense::new(mutator("answers about the lease"), false);
    let gates = ["a", "b"].map(|name| stand(&api, &clock, name));
    let mut leaders = 0;
    while nonsense.said() < answers() {
        api.spoil(Arc::clone(&nonsense) as _);
        for _ in 0..2000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let open = gates.iter().filter(|(gate, _)| is_open(gate)).count();
            assert!(open <= 1, "two lead");
        }
        api.heal();
        let one_leads = async {
            while !gates.iter().any(|(gate, _)| is_open(gate)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), one_leads)
            .await
            .expect("one leads again");
        leaders += 1;
    }
    println!(
        "proved: answers about the lease (seed {}): {} spoiled, one led again {leaders} times",
        seed(),
        nonsense.said()
    );
}

type SharedGate = Arc<Mutex<Option<Gate>>>;

fn is_open(gate: &SharedGate) -> bool {
    gate.lock()
        .unwrap()
        .as_ref()
        .is_some_and(Gate::is_open_everywhere)
}

/// A process that stands for the lease, again and again, as it is started again when it ends.
fn stand(api: &FakeApi, clock: &Clock, name: &str) -> (SharedGate, AbortOnDropHandle<()>) {
    let (gate, client, clock, name) = (
        SharedGate::default(),
        api.client(name),
        clock.clone(),
        name.to_owned(),
    );
    let shown = Arc::clone(&gate);
    let standing = tokio::spawn(async move {
        loop {
            let config = LeaseConfig {
                namespace: "birdwatch-system".into(),
                name: "birdwatch".into(),
                shards: Shards::ONE,
                identity: name.clone(),
                timing: Timing::new(Duration::from_secs(15)),
                manner: Manner::Candidate,
            };
            let (electors, seats) = Electors::new(&client, &config, &clock, &Metrics::new());
            electors.ready().cancel();
            *shown.lock().unwrap() = Some(Gate::new(seats, clock.clone()));
            electors
                .run(CancellationToken::new())
                .await
                .expect_err("it ends when it has lost the lease");
            *shown.lock().unwrap() = None;
        }
    });
    (gate, AbortOnDropHandle::new(standing))
}
