//! What people read: notices, and the parent message of a rollout's thread. Texts only; nothing is decided here.

use crate::api::status::{BaselineSource, Ended, MetricStatus, Outcome, Rollout, Verdict};
use crate::api::{BirdWatchStatus, Span};

use super::counting;
use super::number::human;
use super::observation::ObjectName;

const BAR: usize = 20;

/// A rollout starts.
pub(super) fn started(rollout: &Rollout) -> String {
    let steps = rollout
        .plan
        .steps
        .iter()
        .map(|s| s.weight.to_string())
        .collect::<Vec<_>>();
    let shown = if steps.len() > 8 {
        format!("{} … {}", steps[..4].join("/"), steps[steps.len() - 1])
    } else {
        steps.join("/")
    };
    format!(
        "releasing {} instead of {}, in steps of {shown} %",
        rollout.canary.version, rollout.production.version
    )
}

/// The baseline is recorded.
pub(super) fn baseline(rollout: &Rollout) -> String {
    let words = rollout.metrics.iter().filter_map(|m| {
        let baseline = m.baseline.as_ref()?;
        let how = match baseline.source {
            BaselineSource::Measured => "",
            BaselineSource::AssumedZero => " (assumed: no traffic yet, and every name of the query is known)",
        };
        Some(format!("{} {}{how}", m.name, shown(m, baseline.value)))
    });
    format!("baseline recorded: {}", words.collect::<Vec<_>>().join(", "))
}

/// A step begins, that is expected to be kept so long, and the one before was held as said.
pub(super) fn step(rollout: &Rollout, lasts: Option<Span>, lasted: Option<&str>) -> String {
    let mut text = format!(
        "weight {} % (step {} of {}), held {}",
        rollout.confirmed,
        rollout.step,
        steps(rollout),
        kept(rollout, lasts)
    );
    if let Some(lasted) = lasted {
        text = format!("{text}; {lasted}");
    }
    let before = rollout
        .metrics
        .iter()
        .filter_map(|m| Some(m.last.as_ref()?.message.clone()));
    let before = before.filter(|m| !m.is_empty()).collect::<Vec<_>>().join("; ");
    if before.is_empty() && rollout.step == 1 {
        text = format!("{text}; {}", baseline(rollout));
    } else if !before.is_empty() {
        text = format!("{text}; {before}");
    }
    text
}

/// How many steps there are: one more than planned where people ask for 100 % after the last.
pub(super) fn steps(rollout: &Rollout) -> usize {
    let begun = usize::try_from(rollout.step).unwrap_or(usize::MAX);
    rollout.plan.steps.len().max(begun)
}

/// How long a step is kept: its hold, or what is expected where that is longer.
fn kept(rollout: &Rollout, lasts: Option<Span>) -> String {
    let hold = rollout.hold.unwrap_or_default();
    match lasts {
        Some(lasts) => {
            format!("about {lasts} (at least {hold}, and until its requests were scraped and counted)")
        }
        None => hold.to_string(),
    }
}

/// A step is being held, and expected to be kept so long.
pub(super) fn holding(rollout: &Rollout, lasts: Option<Span>) -> String {
    let hold = kept(rollout, lasts);
    let verdict = match rollout.verdict {
        Some(Verdict::Unknown) => "; nothing is known, the hold stands still".to_owned(),
        Some(Verdict::Bad) => "; a metric is beyond its limit".to_owned(),
        _ => String::new(),
    };
    let longer = rollout
        .hold_reason
        .as_ref()
        .filter(|_| lasts.is_none())
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    format!("holding {} % for {hold}{longer}{verdict}", rollout.confirmed)
}

/// The metric that matters most now: the first that is not good, else the first.
pub(super) fn foremost(rollout: &Rollout) -> Option<&MetricStatus> {
    let urgency = |m: &&MetricStatus| match m.verdict {
        Some(Verdict::Unhealthy) => 0,
        Some(Verdict::Bad) => 1,
        Some(Verdict::Unknown) => 2,
        _ => 3,
    };
    rollout.metrics.iter().min_by_key(urgency)
}

/// A value of a metric as people write it: what is counted is a share, in percent.
pub(super) fn shown(metric: &MetricStatus, value: f64) -> String {
    if metric.counted.is_some() {
        counting::share(value)
    } else {
        human(value)
    }
}

/// The parent message of the rollout's thread: its present state.
#[must_use]
pub fn parent(name: &ObjectName, status: &BirdWatchStatus, rollout_id: &str) -> String {
    let Some(rollout) = status.rollout.as_ref().filter(|r| r.id == rollout_id) else {
        return ended(name, status, rollout_id);
    };
    let (weight, word) = reached(status, rollout);
    let filled = usize::from(weight) * BAR / 100;
    let bar: String = (0..BAR).map(|i| if i < filled { '█' } else { '░' }).collect();
    let mut lines = vec![
        format!(
            "*{}/{}*: {} → {}",
            name.namespace, name.name, rollout.production.version, rollout.canary.version
        ),
        format!("{bar} {weight} %  *{word}*"),
    ];
    if let Some(metric) = foremost(rollout)
        && let (Some(baseline), Some(last)) = (&metric.baseline, metric.last.as_ref().and_then(|l| l.value))
    {
        lines.push(match &metric.last {
            Some(counted) if metric.counted.is_some() => counted.message.clone(),
            _ => format!(
                "{}: {} (baseline {})",
                metric.name,
                shown(metric, last),
                shown(metric, baseline.value)
            ),
        });
    }
    if let Some(failure) = &rollout.failure {
        lines.push(failure.message.clone());
    }
    lines.join("\n")
}

/// How far a rollout is, in percent and in a word. One that is over stays at its end, whatever is waited for since.
fn reached(status: &BirdWatchStatus, rollout: &Rollout) -> (u8, String) {
    let end = rollout.ended.and_then(|_| end_of(status, &rollout.id));
    match end.map(|end| end.outcome) {
        Some(Outcome::Promoted) => (100, format!("{:?}", Outcome::Promoted)),
        Some(outcome) => (rollout.confirmed, format!("{outcome:?}")),
        // Its end is not remembered any more, and the phase may be another's.
        None if rollout.ended.is_some() && rollout.production_label_at.is_some() => {
            (100, format!("{:?}", Outcome::Promoted))
        }
        None => (rollout.confirmed, status.phase.as_str().to_owned()),
    }
}

fn end_of<'s>(status: &'s BirdWatchStatus, rollout_id: &str) -> Option<&'s Ended> {
    status.ended.iter().rev().find(|end| end.id == rollout_id)
}

/// The parent message of a rollout that another has followed.
fn ended(name: &ObjectName, status: &BirdWatchStatus, rollout_id: &str) -> String {
    let Some(end) = end_of(status, rollout_id) else {
        return format!("*{}/{}*: {rollout_id}", name.namespace, name.name);
    };
    format!(
        "*{}/{}*: {} → {}\n*{:?}* {}",
        name.namespace, name.name, end.production, end.canary.version, end.outcome, end.reason
    )
}
