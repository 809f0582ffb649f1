//! One service in ten asks a Prometheus that takes two seconds, one in ten a dead one. What do the others have to suffer?

use super::scene::{Scene, TO_RETURN};
use crate::{error::Error, results::Measurement, telemetry::Server};

pub(super) async fn run(scene: &mut Scene, seen: &mut Measurement) -> Result<(), Error> {
    scene.begin(false).await?;
    scene.release_all(seen).await?;
    seen.stages.push(scene.measure("stepping").await?);
    let with = scene.routes.with_canary();
    let asking = |server: Server| -> Vec<String> {
        let services = scene.services.iter().filter(|service| service.server == server);
        let names = services.map(|service| service.name.clone());
        names.filter(|name| with.contains(name)).collect()
    };
    let (fine, slow) = (asking(Server::Fine), asking(Server::Slow));
    let from = scene.now();
    scene.ground.telemetry.spoil_all();
    let are_back = |services: &[String]| scene.routes.back(services, from).len() >= services.len();
    scene
        .wait(TO_RETURN, || are_back(&fine) && are_back(&slow))
        .await?;
    seen.waits.push(scene.waits("back", &fine, from));
    seen.waits
        .push(scene.waits("back, those that ask the slow one", &slow, from));
    Ok(())
}
