//! Nothing happens: what objects cost at rest.

use std::time::Duration;

use super::scene::Scene;
use crate::{error::Error, results::Measurement};

/// What is still going on when the last object has come to rest is over by then.
const CALM: Duration = Duration::from_secs(15);

pub(super) async fn run(scene: &mut Scene, seen: &mut Measurement) -> Result<(), Error> {
    scene.begin(false).await?;
    let from = scene.now();
    scene.wait(CALM * 2, || scene.since(from) >= CALM).await?;
    seen.stages.push(scene.measure("idle").await?);
    Ok(())
}
