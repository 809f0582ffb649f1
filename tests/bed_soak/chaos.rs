//! What is disturbed, how, when and for how long: drawn from the seed.

use std::time::Duration;

use birdwatch_bed::parts::kubelet::Signal;
use birdwatch_bed::parts::slack::{Manner, Mode};
use birdwatch_bed::{Bed, clock, operator, part};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until};

use crate::history::{Fault, Kind, Part};
use crate::ledger::Ledger;
use crate::support::dice::Dice;

/// What can be disturbed.
pub(crate) const PARTS: [Part; 6] = [
    Part::ApiServer,
    Part::Prometheus,
    Part::Slack,
    Part::Istiod,
    Part::Gateway,
    Part::Operator,
];
/// How.
pub(crate) const KINDS: [Kind; 3] = [Kind::Stopped, Kind::Slowed, Kind::Killed];

/// One that is slowed runs for a fifth of the time.
const RUNS: Duration = Duration::from_millis(50);
const STANDS: Duration = Duration::from_millis(200);

/// What will be done to one part.
#[derive(Clone, Copy, Debug)]
struct Plan {
    part: Part,
    kind: Kind,
    after: Duration,
    lasts: Duration,
    /// Of the operator: both replicas, or the leader.
    all: bool,
}

/// Disturbs the bed until `end`. After `gentle` the operator's processes are neither killed nor cut off for longer than
/// they can bear, so that their memory is seen to the end.
pub(crate) async fn reign(bed: &Bed, ledger: &Ledger, dice: &mut Dice, gentle: Instant, end: Instant) {
    let client = bed.client().expect("a client");
    while Instant::now() < end {
        let is_gentle = Instant::now() >= gentle;
        let mut plans: Vec<Plan> = Vec::new();
        for _ in 0..=dice.below(4) {
            let plan = draw(dice, is_gentle);
            if plans.iter().all(|other| other.part != plan.part) {
                plans.push(plan);
            }
        }
        join_all(plans.iter().map(|plan| disturb(bed, &client, ledger, *plan))).await;
        // Some pauses are long enough to see what is found when all is there.
        let pause = if dice.below(4) == 0 {
            40 + dice.below(15)
        } else {
            1 + dice.below(8)
        };
        sleep_until(end.min(Instant::now() + Duration::from_secs(pause))).await;
    }
}

fn draw(dice: &mut Dice, is_gentle: bool) -> Plan {
    let pick = |dice: &mut Dice, count: usize| {
        usize::try_from(dice.below(u64::try_from(count).unwrap_or(1))).unwrap_or(0)
    };
    let (part, mut kind) = (PARTS[pick(dice, PARTS.len())], KINDS[pick(dice, KINDS.len())]);
    let mut lasts = Duration::from_millis(1000 + dice.below(14_000));
    if is_gentle && matches!(part, Part::ApiServer | Part::Operator) {
        (kind, lasts) = (Kind::Stopped, Duration::from_millis(200 + dice.below(1500)));
    }
    Plan {
        part,
        kind,
        after: Duration::from_millis(dice.below(5000)),
        lasts,
        all: dice.below(3) == 0,
    }
}

async fn disturb(bed: &Bed, client: &Client, ledger: &Ledger, plan: Plan) {
    sleep(plan.after).await;
    let from = clock::now();
    let done = match plan.part {
        Part::ApiServer => process(&bed.apiserver, plan).await,
        Part::Prometheus => process(&bed.prometheus, plan).await,
        Part::Istiod => process(&bed.istiod, plan).await,
        Part::Gateway => process(&bed.gateway, plan).await,
        Part::Slack => {
            let manner = match plan.kind {
                Kind::Stopped => Manner::Silence,
                Kind::Slowed => Manner::TooMany,
                Kind::Killed => Manner::Broken,
            };
            bed.slack.set_mode(Mode::of(manner));
            sleep(plan.lasts).await;
            bed.slack.set_mode(Mode::default());
            true
        }
        Part::Operator => replicas(bed, client, plan).await,
    };
    let to = clock::now();
    let word = if done { "" } else { ", which could not be done" };
    println!(
        "{from} {:?} {:?} for {:?}{word}",
        plan.part, plan.kind, plan.lasts
    );
    // What was not done excuses nothing.
    if done {
        let Plan { part, kind, .. } = plan;
        ledger.disturbed(Fault { part, kind, from, to });
    }
}

/// Whether it was done.
async fn process(part: &part::Part, plan: Plan) -> bool {
    let mut done = part.pid().is_some();
    // One that is not there to be signalled is started below.
    match plan.kind {
        Kind::Stopped => {
            done = part.pause().is_ok();
            sleep(plan.lasts).await;
            drop(part.resume());
        }
        Kind::Slowed => {
            let end = Instant::now() + plan.lasts;
            done = false;
            while Instant::now() < end {
                done |= part.pause().is_ok();
                sleep(STANDS).await;
                drop(part.resume());
                sleep(RUNS).await;
            }
        }
        Kind::Killed => {
            part.kill().await;
            sleep(plan.lasts).await;
        }
    }
    while let Err(error) = part.start().await {
        println!("{} does not start yet: {error}", part.name());
    }
    done
}

/// The pods of the operator that are to be disturbed: none while the API server does not say which there are.
async fn chosen(client: &Client, all: bool) -> Result<Vec<String>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), operator::NAME);
    let leases: Api<Lease> = Api::namespaced(client.clone(), operator::NAME);
    let listed = pods.list(&ListParams::default()).await?;
    let lease = leases.get(operator::NAME).await?;
    let leader = lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default();
    let names = listed.items.iter().map(kube::ResourceExt::name_any);
    Ok(names.filter(|name| all || *name == leader).collect())
}

/// Whether it was done to any.
async fn replicas(bed: &Bed, client: &Client, plan: Plan) -> bool {
    let chosen = tokio::time::timeout(Duration::from_secs(5), chosen(client, plan.all)).await;
    let Ok(Ok(names)) = chosen else { return false };
    let mut done = false;
    let mut signal = |signal: Signal| {
        for name in &names {
            // One that is being started again cannot be signalled.
            done |= bed.kubelet.kill_pod(operator::NAME, name, signal).is_ok();
        }
    };
    match plan.kind {
        Kind::Stopped => {
            signal(Signal::STOP);
            sleep(plan.lasts).await;
            signal(Signal::CONT);
        }
        Kind::Slowed => {
            let end = Instant::now() + plan.lasts;
            while Instant::now() < end {
                signal(Signal::STOP);
                sleep(STANDS).await;
                signal(Signal::CONT);
                sleep(RUNS).await;
            }
        }
        Kind::Killed => signal(Signal::KILL),
    }
    done
}
