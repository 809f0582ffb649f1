//! The simulation table of the analysis, section 2, beside its targets: how often and how soon a canary of a given bad share
//! is rolled back, and how often a healthy one is. Seeded; takes about a minute.
//!
//!     cargo bench --bench simulate_table -- [RUNS] [SEED]

#![expect(clippy::expect_used, reason = "a program for developers")]

use std::fmt::Write as _;

use birdwatch::core::sequential::alarm::Alarm;
use birdwatch::core::sequential::counts::{Counts, Stratum};
use birdwatch::core::sequential::design::Design;
use birdwatch::core::sequential::evidence::Evidence;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, Poisson};

const STEPS: [f64; 4] = [0.05, 0.10, 0.20, 0.50];
const HOLD: f64 = 300.0;
const EVERY: f64 = 15.0;
const PRODUCTION: f64 = 0.001;
const TOLERANCE: f64 = 1.5;
const ALPHA: f64 = 0.01;
const LOADS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];

/// What happens to both versions alike.
#[derive(Clone, Copy)]
struct Outage {
    /// Bad share of both while it lasts.
    share: f64,
    /// Seconds after the start of the rollout.
    from: f64,
    to: f64,
}

/// One rollout to simulate.
#[derive(Clone, Copy)]
struct World {
    load: f64,
    canary: f64,
    outage: Option<Outage>,
    /// Seconds by which each side's counters lag behind the check.
    lag: (f64, f64),
}

impl World {
    /// Requests and bad ones expected until `time`, of one side.
    fn until(&self, time: f64, canary: bool) -> (f64, f64) {
        let usual = if canary { self.canary } else { PRODUCTION };
        let (mut requests, mut bad) = (0.0, 0.0);
        for (step, weight) in (0_u8..).zip(STEPS) {
            let start = f64::from(step) * HOLD;
            let last = usize::from(step) + 1 == STEPS.len();
            let end = if last { time } else { time.min(start + HOLD) };
            if end <= start {
                break;
            }
            let rate = self.load * if canary { weight } else { 1.0 - weight };
            let hit = self.outage.map_or((0.0, 0.0), |o| {
                ((end.min(o.to) - start.max(o.from)).max(0.0), o.share)
            });
            requests += rate * (end - start);
            bad += rate * ((end - start - hit.0) * usual + hit.0 * hit.1);
        }
        (requests, bad)
    }

    fn counts(&self, time: f64, canary: bool, rng: &mut StdRng) -> Counts {
        let lag = if canary { self.lag.0 } else { self.lag.1 };
        let (from, to) = (
            self.until((time - EVERY - lag).max(0.0), canary),
            self.until((time - lag).max(0.0), canary),
        );
        let bad = poisson(to.1 - from.1, rng);
        let good = poisson((to.0 - from.0) - (to.1 - from.1), rng);
        Counts {
            requests: good + bad,
            bad,
        }
    }

    /// Seconds until the rollback; none when the rollout ends.
    fn run(&self, design: &Design, confirmations: u32, rng: &mut StdRng) -> Option<f64> {
        let (mut evidence, mut alarm) = (Evidence::default(), Alarm::default());
        for step in 0..STEPS.len() {
            for check in 1..=20_u32 {
                #[expect(clippy::cast_precision_loss, reason = "four steps")]
                let time = step as f64 * HOLD + f64::from(check) * EVERY;
                let stratum = Stratum {
                    canary: self.counts(time, true, rng),
                    production: self.counts(time, false, rng),
                };
                let told = evidence.add(design, step, &[stratum]).expect("counts");
                let log = evidence.log(design).expect("its own design");
                if alarm.note(log, told, design.log_limit(), confirmations) {
                    return Some(time);
                }
            }
        }
        None
    }
}

fn poisson(mean: f64, rng: &mut StdRng) -> f64 {
    if mean <= 1e-12 {
        0.0
    } else {
        Poisson::new(mean).expect("a finite mean").sample(rng)
    }
}

struct Cell {
    runs: u32,
    times: Vec<f64>,
}

impl Cell {
    fn of(runs: u32, rng: &mut StdRng, mut one: impl FnMut(&mut StdRng) -> Option<f64>) -> Self {
        let mut times: Vec<f64> = (0..runs).filter_map(|_| one(rng)).collect();
        times.sort_by(f64::total_cmp);
        Self { runs, times }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of runs")]
    fn caught(&self) -> f64 {
        self.times.len() as f64
    }

    /// Wilson's 95 % interval, percent.
    fn interval(&self) -> (f64, f64) {
        let (n, z2) = (f64::from(self.runs), 1.96_f64 * 1.96);
        let p = self.caught() / n;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = (z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
        ((centre - half).max(0.0) * 100.0, (centre + half).min(1.0) * 100.0)
    }

    fn text(&self) -> String {
        let mut text = format!("{:.2} %", 100.0 * self.caught() / f64::from(self.runs));
        let (low, high) = self.interval();
        let _ = write!(text, " [{low:.2}, {high:.2}]");
        if let Some(median) = self.times.get(self.times.len() / 2) {
            let _ = write!(text, ", {median:.0} s");
        }
        text
    }
}

fn main() {
    // cargo adds words of its own.
    let mut numbers = std::env::args().filter_map(|word| word.parse().ok());
    let mut number = |usual: u32| numbers.next().unwrap_or(usual);
    let (runs, seed) = (number(4000), number(1));
    let mut rng = StdRng::seed_from_u64(seed.into());
    let design = Design::new(TOLERANCE, ALPHA, 1.0, STEPS.len()).expect("the design of the analysis");
    println!("seed {seed}; rolled back (95 % interval), median time; target in brackets\n");
    table(runs, &design, &mut rng);
    outages(runs, &design, &mut rng);
}

const ROWS: [(f64, &str, u32, [&str; 4]); 5] = [
    (0.001, "0.1 % (null)", 5, ["<= 0.05 %"; 4]),
    (0.0015, "0.15 % (edge)", 5, ["<= 1 %"; 4]),
    (
        0.005,
        "0.5 %",
        1,
        ["0.1 %", "21.5 %, 915 s", "100 %, 450 s", "100 %, 75 s"],
    ),
    (
        0.02,
        "2 %",
        1,
        ["14.8 %, 975 s", "100 %, 405 s", "100 %, 60 s", "100 %, 15 s"],
    ),
    (
        0.2,
        "20 %",
        1,
        ["100 %, 345 s", "100 %, 30 s", "100 %, 15 s", "100 %, 15 s"],
    ),
];

fn table(runs: u32, design: &Design, rng: &mut StdRng) {
    for (canary, name, more, targets) in ROWS {
        println!("canary bad {name}, {} runs a cell", runs * more);
        for (load, target) in LOADS.into_iter().zip(targets) {
            let world = World {
                load,
                canary,
                outage: None,
                lag: (0.0, 0.0),
            };
            let cell = Cell::of(runs * more, rng, |rng| world.run(design, 0, rng));
            println!("  {load:>5} rps  {:<38} ({target})", cell.text());
            if canary <= TOLERANCE * PRODUCTION {
                // Of few runs the interval alone may reach beyond.
                let (_, high) = cell.interval();
                assert!(
                    runs < 2000 || high <= 100.0 * ALPHA,
                    "more false alarms than promised"
                );
            }
        }
    }
}

/// Healthy canaries during an outage of both versions, of 1 to 5 minutes at a random time.
fn outages(runs: u32, design: &Design, rng: &mut StdRng) {
    println!("\nhealthy canary, outage of both versions for 1 to 5 min, {runs} runs a cell");
    for share in [0.015, 0.1, 0.5] {
        for load in [10.0, 100.0, 1000.0] {
            let mut cell = |skewed: bool, confirmations| {
                Cell::of(runs, rng, |rng| {
                    let from = rng.random_range(0.0..900.0);
                    let to = from + rng.random_range(60.0..300.0);
                    let mut lag = || if skewed { rng.random_range(0.0..EVERY) } else { 0.0 };
                    let lag = (lag(), lag());
                    let world = World {
                        load,
                        canary: PRODUCTION,
                        outage: Some(Outage { share, from, to }),
                        lag,
                    };
                    world.run(design, confirmations, rng)
                })
                .text()
            };
            println!(
                "  {share:>5} bad, {load:>4} rps: same instants C=0 {} (0.04 %) | skewed C=0 {} (13-36 %) | C=2 {} (0)",
                cell(false, 0),
                cell(true, 0),
                cell(true, 2)
            );
        }
    }
}
