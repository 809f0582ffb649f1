//! What a soak came to, in a few lines.

use std::collections::BTreeMap;

use birdwatch::api::status::Outcome;

use crate::check::{Exposure, Growth, exposures};
use crate::history::{History, Says, What, ended};

/// Says how much was done and checked.
pub(crate) fn summary(history: &History, minutes: u64, seed: u64, broken: usize) -> String {
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for name in history.plans.keys() {
        for (_, outcome) in ended(&history.of(name)).into_values() {
            let word = match outcome {
                Outcome::Promoted => "promoted",
                Outcome::RolledBack => "rolled back",
                Outcome::Superseded => "superseded",
            };
            *ends.entry(word).or_default() += 1;
        }
    }
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    for fault in &history.faults {
        *faults
            .entry(format!("{:?} {:?}", fault.part, fault.kind))
            .or_default() += 1;
    }
    let count = |of: &dyn Fn(&What) -> bool| history.events.iter().filter(|event| of(&event.what)).count();
    let revisions =
        count(&|what| matches!(what, What::Weights { .. } | What::Labels { .. } | What::Status(_)));
    let readings = count(&|what| matches!(what, What::Reading { .. }));
    let blind = count(&|what| {
        matches!(
            what,
            What::Reading {
                says: Says::Nothing,
                ..
            }
        )
    });
    let requests = count(&|what| matches!(what, What::Request { .. }));
    let failed = count(&|what| matches!(what, What::Request { version: None, .. }));
    let looks = count(&|what| matches!(what, What::Envoy(Some(_))));
    let told = count(&|what| matches!(what, What::Told(_)));
    format!(
        "soak: {minutes} min, seed {seed}, rollouts {ends:?}, {} faults {faults:?}, {revisions} revisions checked, \
         {} writes of the operator, {readings} readings ({blind} said nothing), {requests} requests ({failed} \
         without an answer of a pod), {looks} looks at Envoy, {told} messages, {}, {}, broken promises: {broken}",
        history.faults.len(),
        history.writes,
        exposed(&exposures(history)),
        grown(&Growth::of(history)),
    )
}

fn exposed(exposures: &[Exposure]) -> String {
    let calm = exposures
        .iter()
        .map(|exposure| exposure.calm)
        .max()
        .unwrap_or_default();
    let all = exposures
        .iter()
        .map(|exposure| exposure.to.duration_since(exposure.from));
    format!(
        "{} bad canaries had traffic, with all at hand for {:.1} s at most, {:.1} s in all",
        exposures.len(),
        calm.as_secs_f64(),
        all.max().unwrap_or_default().as_secs_f64()
    )
}

fn grown(lives: &[Growth]) -> String {
    let Some(Growth { lived, warm, end, .. }) = lives.first() else {
        return "no process lived long enough to speak of its memory".to_owned();
    };
    let minutes = lived.as_secs() / 60;
    format!(
        "memory {warm} KiB, and {end} KiB after {minutes} min ({} processes)",
        lives.len()
    )
}
