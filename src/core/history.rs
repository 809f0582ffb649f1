//! What is remembered of a rollout's readings: bounded, spread over its time, and for people alone. No decision is made
//! from it, and it is worth no write by itself.

use crate::api::Span;
use crate::api::history::{Point, Previous, PreviousMetric};
use crate::api::status::{MetricStatus, Rollout, Verdict};

use super::counting;

/// The most points kept of a metric.
pub const MOST_OF_METRIC: usize = 60;

/// The most points kept of all metrics of a rollout together, so that many metrics make no large status.
pub const MOST_OF_ALL: usize = 600;

/// How strong the evidence of a sequential metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// Decimal logarithm of the evidence: 2 is 100:1 for "worse than tolerated", a negative number speaks against it.
    pub evidence: f64,
    /// Decimal logarithm of the evidence at which this metric alone would be enough, 0 or more. Several metrics, who
    /// share one budget, may together be enough a little earlier.
    pub limit: f64,
}

/// How strong the evidence of a metric is; none for a metric that counts nothing.
#[must_use]
pub fn strength(metric: &MetricStatus) -> Option<Strength> {
    let counted = metric.counted.as_ref()?;
    Some(Strength {
        evidence: counting::log(counted) / std::f64::consts::LN_10,
        limit: -(counted.design.false_alarm * counted.share).log10(),
    })
}

/// Remembers the check that was just taken in.
pub(super) fn note(rollout: &mut Rollout) {
    let most = most(rollout.metrics.len());
    for metric in &mut rollout.metrics {
        let evidence = strength(metric).map(|strength| strength.evidence);
        let Some(last) = metric.last.as_ref().filter(|r| Some(r.at) == rollout.last_check) else {
            continue;
        };
        metric.history.push(Point {
            at: last.at,
            weight: rollout.confirmed,
            value: last.value.and_then(rounded),
            compared_with: last.compared_with.and_then(rounded),
            upper: last.upper.and_then(rounded),
            lower: last.lower.and_then(rounded),
            evidence: evidence.and_then(rounded),
            verdict: metric.verdict.filter(|verdict| *verdict != Verdict::Good),
        });
        thin(&mut metric.history, most);
    }
}

/// What stays of a rollout when the next begins: half as many points. None where it had no reading.
pub(super) fn previous(last: &Rollout) -> Option<Previous> {
    let most = most(last.metrics.len()) / 2;
    let read = last.metrics.iter().filter(|metric| !metric.history.is_empty());
    let metrics: Vec<PreviousMetric> = read
        .map(|metric| {
            let mut history = metric.history.clone();
            thin(&mut history, most);
            PreviousMetric {
                name: metric.name.clone(),
                history,
            }
        })
        .collect();
    (!metrics.is_empty()).then(|| Previous {
        id: last.id.clone(),
        canary: last.canary.version.clone(),
        production: last.production.version.clone(),
        started: last.started,
        ended: last.ended,
        metrics,
    })
}

/// The most points of each of so many metrics.
fn most(metrics: usize) -> usize {
    (MOST_OF_ALL / metrics.max(1)).min(MOST_OF_METRIC)
}

/// Takes points out until at most `most` (2 or more) are left. Each time the one goes whose neighbours are closest, so
/// that what stays is spread over the whole time; never the first or the last, and no change of verdict unless these
/// alone fill half of the room.
fn thin(points: &mut Vec<Point>, most: usize) {
    while points.len() > most.max(2) {
        let inner = points
            .windows(3)
            .enumerate()
            .filter_map(|(i, window)| match window {
                [before, point, after] => {
                    let gap = Span::between(before.at, after.at);
                    Some((i + 1, gap, before.verdict != point.verdict))
                }
                _ => None,
            });
        let changes = inner.clone().filter(|(_, _, changes)| *changes).count();
        let spare = changes * 2 >= most;
        let least = inner
            .filter(|(_, _, changes)| spare || !changes)
            .min_by_key(|(_, gap, _)| *gap);
        let Some((i, ..)) = least else { return };
        points.remove(i);
    }
}

/// Six digits are enough to read and to plot; none of what JSON cannot hold.
fn rounded(value: f64) -> Option<f64> {
    let value: f64 = format!("{value:.5e}").parse().ok()?;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests;
