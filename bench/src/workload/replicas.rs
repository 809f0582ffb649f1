//! The process is started again, or another takes its place, at the moment in which every reading turns bad.

use std::{collections::BTreeMap, time::Duration};

use birdwatch_bed::process::Signal;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::scene::{Scene, TO_RETURN};
use crate::{
    error::Error,
    results::{Measurement, Waits},
};

/// How long a standby has to fill its caches.
const WARM: Duration = Duration::from_secs(20);
/// How often leases are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// SIGTERM.
    Told,
    /// SIGKILL.
    Killed,
}

/// The only process ends in order; when it starts again every reading is bad.
pub(super) async fn restart(scene: &mut Scene, seen: &mut Measurement) -> Result<(), Error> {
    scene.begin(false).await?;
    scene.release_all(seen).await?;
    let Some(old) = scene.take() else {
        return Ok(());
    };
    old.process.signal(Signal::TERM);
    scene
        .must(
            || old.process.exited().is_some(),
            || "its process had not ended".to_owned(),
        )
        .await?;
    let services = scene.routes.with_canary();
    scene.ground.telemetry.spoil_all();
    let from = scene.now();
    scene.start(false)?;
    let meter = scene.meter()?;
    let back = scene.return_of("back, from the start", &services, from).await?;
    seen.waits.push(back);
    seen.stages.push(meter.end("restart", scene.counts())?);
    Ok(())
}

/// The leader of two ends; from that moment every reading is bad.
pub(super) async fn change(scene: &mut Scene, seen: &mut Measurement, end: End) -> Result<(), Error> {
    scene.begin(true).await?;
    scene.start(true)?;
    scene.release_all(seen).await?;
    let warm = scene.now();
    scene.wait(WARM * 2, || scene.since(warm) >= WARM).await?;
    let holders = holders(scene).await?;
    let services = scene.routes.with_canary();
    // The first that was started leads: the other came when it held the lease.
    let Some(leader) = scene.take() else {
        return Ok(());
    };
    let from = scene.now();
    scene.ground.telemetry.spoil_all();
    leader.process.signal(match end {
        End::Told => Signal::TERM,
        End::Killed => Signal::KILL,
    });
    let (taken, back) = tokio::join!(
        taken_from(scene, &holders, from),
        scene.return_of("back, from the leader's end", &services, from)
    );
    let taken: Vec<f64> = taken?.into_iter().collect();
    seen.waits.push(Waits::new(
        "lease taken",
        &taken,
        1,
        scene.since(from).as_secs_f64(),
    ));
    seen.waits.push(back?);
    Ok(())
}

/// Who holds each lease of the contender's namespace.
async fn holders(scene: &Scene) -> Result<BTreeMap<String, String>, Error> {
    let leases: Api<Lease> =
        Api::namespaced(scene.ground.client.clone(), scene.contender.account().namespace);
    let listed = leases.list(&ListParams::default()).await?;
    let holder = |lease: Lease| {
        let name = lease.name_any();
        (
            name,
            lease
                .spec
                .and_then(|spec| spec.holder_identity)
                .unwrap_or_default(),
        )
    };
    Ok(listed.items.into_iter().map(holder).collect())
}

/// Seconds until somebody else held one of these leases; None where nobody took any.
async fn taken_from(
    scene: &Scene,
    before: &BTreeMap<String, String>,
    from: Duration,
) -> Result<Option<f64>, Error> {
    while scene.since(from) < TO_RETURN {
        let now = holders(scene).await?;
        let is_taken =
            |(name, holder): (&String, &String)| !holder.is_empty() && now_differs(before, name, holder);
        if now.iter().any(is_taken) {
            return Ok(Some(scene.since(from).as_secs_f64()));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

fn now_differs(before: &BTreeMap<String, String>, name: &str, holder: &str) -> bool {
    before.get(name).is_none_or(|old| old != holder)
}
