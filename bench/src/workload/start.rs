//! A process that starts, finds every object there as it was left, and one new version: how long until it acts?

use std::time::Duration;

use birdwatch_bed::process::Signal;

use super::scene::Scene;
use crate::{
    cluster,
    error::Error,
    results::{Measurement, Waits},
};

/// A new version is all there when the process starts.
const AHEAD: Duration = Duration::from_secs(5);

pub(super) async fn run(scene: &mut Scene, seen: &mut Measurement) -> Result<(), Error> {
    scene.begin(false).await?;
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
    let Some(last) = scene.services.last().cloned() else {
        return Ok(());
    };
    cluster::change_all(&scene.ground.client, [scene.contender.new_version(&last)]).await?;
    let ahead = scene.now();
    scene.wait(AHEAD * 2, || scene.since(ahead) >= AHEAD).await?;
    let from = scene.now();
    scene.start(false)?;
    let meter = scene.meter()?;
    let written = || scene.owns.written_since(&last.name, from);
    scene
        .must(
            || written().is_some(),
            || format!("{} had not been decided on", last.name),
        )
        .await?;
    let first = written().map(|at| at.saturating_sub(from).as_secs_f64());
    let first: Vec<f64> = first.into_iter().collect();
    seen.waits.push(Waits::new(
        "first decision",
        &first,
        1,
        scene.since(from).as_secs_f64(),
    ));
    seen.stages.push(meter.end("start", scene.counts())?);
    Ok(())
}
