//! One soak: services with load, releases and chaos for as long as asked, then peace, then the checker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use birdwatch_bed::Bed;
use birdwatch_bed::parts::apps;
use birdwatch_bed::parts::traffic::Traffic;
use futures::future::{join, join_all};
use jiff::SignedDuration;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::check;
use crate::history::Plan;
use crate::ledger::Ledger;
use crate::release::{NAMESPACE, Shop};
use crate::support::dice::Dice;
use crate::window::Window;
use crate::{audit, chaos, eyes, report, store};

/// How many services there are.
const SERVICES: usize = 8;
const REQUESTS_PER_SECOND: f64 = 8.0;
/// Long enough for a query over five seconds and a scrape.
const HOLD: SignedDuration = SignedDuration::from_secs(6);
const STEPS: [&[i64]; 4] = [&[20, 50, 100], &[30, 100], &[20, 40, 60, 100], &[50, 100]];
/// From how many minutes on it proves something: memory is looked at, and nothing that is checked may have been left out by
/// chance. As many as `make prove` runs.
pub(crate) const LONG: u64 = 6;
/// How long the operator's processes are left alive at the end for that: as long as they must live to say anything,
/// after the last disturbance that could have killed them.
const LEFT_ALIVE: Duration = Duration::from_mins(3);
/// How long rollouts under way may take to their end when all is well again.
const PEACE: Duration = Duration::from_mins(5);
/// How long notices may take after the last end.
const LAST_WORDS: Duration = Duration::from_mins(5);

/// Runs it, prints what it came to, and fails on a broken promise.
pub(crate) async fn run(bed: &'static Bed, minutes: u64) {
    let mut dice = Dice::new();
    let seed = dice.seed();
    let names: Vec<String> = (0..SERVICES).map(|number| format!("shop-{number}")).collect();
    let plan = |number: usize| Plan {
        steps: STEPS[number % STEPS.len()].to_vec(),
        hold: HOLD,
    };
    let plans: BTreeMap<_, _> = names
        .iter()
        .cloned()
        .enumerate()
        .map(|(n, name)| (name, plan(n)))
        .collect();
    let is_long = minutes >= LONG;
    let ledger = Arc::new(Ledger::new(plans.clone(), is_long));
    let eyes = open_eyes(bed, &ledger, &names);
    let window = Window::open(bed.prometheus_url(), Arc::clone(&ledger)).await;
    install(bed, &window).await;

    let client = bed.client().expect("a client");
    apps::apply(&client, &[apps::namespace(NAMESPACE)])
        .await
        .expect("a namespace");
    let mut shops = join_all(
        plans
            .iter()
            .map(|(name, plan)| Shop::open(bed, &ledger, name, plan)),
    )
    .await;
    join_all(shops.iter_mut().map(Shop::is_seen)).await;
    let traffic: Vec<_> = shops
        .iter()
        .map(|shop| Traffic::start(&bed.gateway_url(), &shop.app.host(), REQUESTS_PER_SECOND).expect("load"))
        .collect();

    let (start, length) = (Instant::now(), Duration::from_mins(minutes));
    let selling = join_all(shops.into_iter().map(|shop| {
        let dice = dice.fork();
        shop.sell(dice, start + length)
    }));
    let gentle = start + length - left_alive(length, is_long);
    let reigning = chaos::reign(bed, &ledger, &mut dice, gentle, start + length);
    let sold = timeout(length + PEACE, join(selling, reigning)).await;
    everything_is_told(&ledger, &names).await;

    for (name, traffic) in names.iter().zip(traffic) {
        eyes::on_answers(&ledger, name, traffic.stop().await);
    }
    eyes::on_slack(bed, &ledger);
    audit::read(bed, &ledger, &names);
    drop(eyes);
    let history = ledger.close();
    report::keep(&history);
    let mut broken = check::broken(&history);
    if sold.is_err() {
        broken.push(format!(
            "rollouts were not over {PEACE:?} after the last disturbance"
        ));
    }
    println!("{}", report::summary(&history, minutes, seed, broken.len()));
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// How long the operator's processes are left alive in the end.
fn left_alive(length: Duration, is_long: bool) -> Duration {
    if is_long {
        LEFT_ALIVE.max(length * 2 / 5)
    } else {
        Duration::ZERO
    }
}

/// What looks on, until it is dropped.
fn open_eyes(bed: &'static Bed, ledger: &Arc<Ledger>, names: &[String]) -> [AbortOnDropHandle<()>; 3] {
    let watch = |eye: futures::future::BoxFuture<'static, ()>| AbortOnDropHandle::new(tokio::spawn(eye));
    let ledger = || Arc::clone(ledger);
    let (one, two, three, names) = (ledger(), ledger(), ledger(), names.to_vec());
    [
        watch(Box::pin(async move { store::follow(bed, &one).await })),
        watch(Box::pin(async move { eyes::on_envoy(bed, &two, &names).await })),
        watch(Box::pin(async move { eyes::on_memory(bed, &three).await })),
    ]
}

/// Two replicas with a short lease, who ask Prometheus through the window.
async fn install(bed: &Bed, window: &Window) {
    let prometheus = format!("prometheusUrl={}", window.url);
    let more = [
        "--set-string",
        "leaseDuration=6s",
        "--set-string",
        &prometheus,
        "--set",
        "slackAllowedChannels={*}",
    ];
    bed.install_operator(&more)
        .await
        .expect("the operator is installed");
}

async fn everything_is_told(ledger: &Ledger, names: &[String]) {
    for name in names {
        let mut now = ledger.standing(name);
        let told = now.wait_for(|now| now.status.notices.pending.is_empty());
        // What was not told is for the checker to say.
        drop(timeout(LAST_WORDS, told).await);
    }
}
