//! All roll out, step by step; then every reading is bad at one instant. An API server may be limited meanwhile.

use super::scene::Scene;
use crate::{error::Error, results::Measurement};

pub(super) async fn run(scene: &mut Scene, seen: &mut Measurement, limit: Option<u32>) -> Result<(), Error> {
    scene.begin(false).await?;
    scene.release_all(seen).await?;
    if let Some(per_second) = limit {
        scene.limit_requests(per_second);
    }
    seen.stages.push(scene.measure("stepping").await?);
    let services = scene.routes.with_canary();
    let (meter, from) = (scene.meter()?, scene.now());
    scene.ground.telemetry.spoil_all();
    let back = scene.return_of("back", &services, from).await?;
    seen.waits.push(back);
    seen.stages.push(meter.end("fault", scene.counts())?);
    Ok(())
}
