//! What a soak came to, in a few lines.

use std::collections::BTreeMap;

use birdwatch::api::status::Outcome;
use jiff::Timestamp;

use crate::chaos::{KINDS, PARTS};
use crate::check::{Exposure, Growth, exposures, judged, unjudged};
use crate::history::{Event, Fault, History, Says, What, ended};
use crate::soak::LONG;

/// Says how much was done and checked.
pub(crate) fn summary(history: &History, minutes: u64, seed: u64, broken: usize) -> String {
    let mut ends = BTreeMap::from([("promoted", 0), ("rolled back", 0), ("superseded", 0)]);
    for name in history.plans.keys() {
        for end in ended(&history.of(name)) {
            let word = match end.outcome {
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
    let looks = count(&|what| matches!(what, What::Envoy { weights: Some(_), .. }));
    let judged = judged(history);
    let told = count(&|what| matches!(what, What::Told(_)));
    format!(
        "proved: {minutes} min, seed {seed}, rollouts {ends:?}, {} faults {faults:?}, {revisions} revisions checked, \
         {} writes of the operator, {readings} readings ({blind} said nothing), {requests} requests ({failed} \
         without an answer of a pod), {looks} looks at Envoy (where one weight alone was right, by it: {judged:?}), {told} \
         messages, {}, {}, NOT seen: {}, broken promises: {broken}",
        history.faults.len(),
        history.writes,
        exposed(&exposures(history)),
        grown(&Growth::of(history)),
        unseen(history, &ends).join(", "),
    )
}

/// What chance left out, so that nobody takes it for checked.
fn unseen(history: &History, ends: &BTreeMap<&str, usize>) -> Vec<String> {
    let mut unseen: Vec<String> = Vec::new();
    for part in PARTS {
        for kind in KINDS {
            let is_this = |fault: &Fault| (fault.part, fault.kind) == (part, kind);
            if !history.faults.iter().any(is_this) {
                unseen.push(format!("{part:?} {kind:?}"));
            }
        }
    }
    let never = ends.iter().filter(|(_, times)| **times == 0);
    unseen.extend(never.map(|(word, _)| format!("a rollout {word}")));
    let weights = unjudged(history).into_iter();
    unseen.extend(weights.map(|weight| format!("Envoy at {weight} %")));
    if Growth::of(history).is_empty() {
        unseen.push("memory".to_owned());
    }
    unseen
}

/// A line for each event and fault but requests and looks at Envoy that show nothing new, into the file that the
/// environment names: for those who look for the cause of what the checker found.
pub(crate) fn keep(history: &History) {
    let Some(path) = std::env::var_os("SOAK_HISTORY") else {
        return;
    };
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    let mut envoy = BTreeMap::new();
    for Event { at, service, what } in &history.events {
        let text = match what {
            What::Request { version: Some(_), .. } => continue,
            What::Envoy { weights, .. } if envoy.insert(service, *weights) == Some(*weights) => continue,
            What::Status(status) => {
                let weights = status
                    .rollout
                    .as_ref()
                    .map(|rollout| (rollout.intended, rollout.confirmed));
                format!("Status {} {weights:?} {}", status.phase.as_str(), status.message)
            }
            _ => format!("{what:?}"),
        };
        lines.push((*at, format!("{service} {text}")));
    }
    for fault in &history.faults {
        lines.push((
            fault.from,
            format!("{:?} {:?} until {}", fault.part, fault.kind, fault.to),
        ));
    }
    lines.sort();
    let lines: Vec<_> = lines.iter().map(|(at, line)| format!("{at} {line}")).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
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
        return format!("memory was NOT looked at (for that it takes {LONG} min)");
    };
    let minutes = lived.as_secs() / 60;
    format!(
        "memory {warm} KiB, and {end} KiB after {minutes} min ({} processes)",
        lives.len()
    )
}
