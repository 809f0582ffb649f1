//! All roll out and stay well but ten, which turn bad one after the other.

use std::time::Duration;

use super::scene::{Scene, TO_RETURN};
use crate::{
    error::Error,
    number::to_thousandths,
    results::{Measurement, Waits},
};

/// How many turn bad.
const TIMES: usize = 10;
/// Between two of them; no multiple of a check interval, so that they fall anywhere between two checks.
const PAUSE: Duration = Duration::from_millis(1370);

pub(super) async fn run(scene: &mut Scene, seen: &mut Measurement) -> Result<(), Error> {
    scene.begin(false).await?;
    scene.release_all(seen).await?;
    seen.stages.push(scene.measure("stepping").await?);
    let mut services = scene.routes.with_canary();
    services.sort();
    let apart = (services.len() / TIMES).max(1);
    let (begun, mut seconds, mut of) = (scene.now(), Vec::new(), 0);
    for service in services.into_iter().step_by(apart).take(TIMES) {
        let from = scene.now();
        // A rollout that comes to its end is back at 100/0 too: it must not be taken for one that was ended.
        if from.saturating_sub(begun) > TO_RETURN {
            break;
        }
        scene.ground.telemetry.spoil(&service);
        of += 1;
        let one = [service];
        if !scene
            .wait(TO_RETURN, || !scene.routes.back(&one, from).is_empty())
            .await?
        {
            break;
        }
        seconds.extend(scene.routes.back(&one, from));
        let back = scene.now();
        scene.wait(PAUSE * 2, || scene.since(back) >= PAUSE).await?;
    }
    let waited = to_thousandths(scene.since(begun).as_secs_f64());
    seen.waits.push(Waits::new("back", &seconds, of, waited));
    Ok(())
}
