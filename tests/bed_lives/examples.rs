//! The examples as they lie in the repository, by the commands that stand in them.

use birdwatch::api::BirdWatch;
use birdwatch::api::status::Phase;
use birdwatch_bed::Bed;
use kube::Api;

use crate::support::{A_WHILE, eventually, on_bed};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
const NAMESPACE: &str = "examples";

async fn apply(bed: &Bed, file: &str) {
    let path = format!("{DIRECTORY}/{file}");
    let words = ["apply", "--namespace", NAMESPACE, "--filename", &path];
    bed.kubectl(words).await.unwrap();
}

/// Fills in the image of a Deployment, as the example asks its reader to.
async fn fill_in_the_image(bed: &Bed, version: &str) {
    let (name, image) = (
        format!("deployment/shop-{version}"),
        format!("shop=bed/workload:{version}"),
    );
    let words = ["set", "image", "--namespace", NAMESPACE, &name, &image];
    bed.kubectl(words).await.unwrap();
}

/// Waits for a phase whose message says this.
async fn says(api: &Api<BirdWatch>, name: &str, phase: Phase, words: &str) {
    eventually(&format!("{name} is {phase:?}: {words}"), A_WHILE, async || {
        let status = api.get(name).await.ok()?.status?;
        (status.phase == phase && status.message.contains(words)).then_some(())
    })
    .await;
}

#[test]
fn the_examples_are_taken_as_they_are_and_the_shop_begins_its_release() {
    on_bed(async |bed| {
        bed.kubectl(["create", "namespace", NAMESPACE]).await.unwrap();
        let api: Api<BirdWatch> = Api::namespaced(bed.client().unwrap(), NAMESPACE);
        for (file, name) in [
            ("full.yaml", "checkout"),
            ("poc-aleph.yaml", "aleph"),
            ("poc-beth.yaml", "beth"),
        ] {
            apply(bed, file).await;
            says(&api, name, Phase::Idle, "DestinationRule").await;
        }
        apply(bed, "shop.yaml").await;
        fill_in_the_image(bed, "v1").await;
        says(&api, "shop", Phase::Idle, "v1 is in production").await;
        apply(bed, "shop-v2.yaml").await;
        fill_in_the_image(bed, "v2").await;
        eventually("v2 is the canary, and available", A_WHILE, async || {
            let status = api.get("shop").await.ok()?.status?;
            let begun = [Phase::Baseline, Phase::Progressing].contains(&status.phase);
            (begun && status.canary.as_deref() == Some("v2")).then_some(())
        })
        .await;
    });
}
