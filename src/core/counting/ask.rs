//! From sequential metrics to selectors of raw samples: what a check asks, and of which interval.

use jiff::Timestamp;

use crate::api::Span;
use crate::api::evidence::Counted as Counting;
use crate::api::plan::{Counters, SequentialPlan};
use crate::api::status::Rollout;

use super::begin::HISTORY;
use super::metrics;
use super::read::Source;
use crate::core::observation::{ObjectName, SampleQuestion, Settings, Side};
use crate::core::preset::{self, DURATIONS, REQUESTS};
use crate::core::query::{self, Template};
use crate::core::questions;
use crate::core::sequential::counters::{Counted, Window, grid_instant};

/// The longest interval that is counted at once: what happened before, while nobody watched, is left out.
const LONGEST: Span = Span::secs(600);

/// The samples that a check at `now` asks for. `baseline`: production's alone, before any weight moves.
pub(in crate::core) fn samples_of_check(
    name: &ObjectName,
    rollout: &Rollout,
    settings: &Settings,
    now: Timestamp,
    baseline: bool,
) -> Vec<SampleQuestion> {
    let mut questions = Vec::new();
    for (metric, test) in metrics(&rollout.plan) {
        let status = rollout.metrics.iter().find(|m| m.name == metric.name);
        let counting = status.and_then(|status| status.counted.as_ref());
        let Some((from, at)) = interval(rollout, counting, settings, now) else {
            continue;
        };
        let Some(window) = Window::new(from, at, settings.scrape_interval.std()) else {
            continue;
        };
        let sides: &[Side] = if baseline {
            &[Side::Production]
        } else {
            &[Side::Canary, Side::Production]
        };
        for side in sides {
            for (counted, selector) in selectors(test, counting) {
                let values = questions::values(name, rollout, Span::ZERO, *side);
                let Ok(template) = Template::parse(&selector) else {
                    continue;
                };
                let selector = template.expand(&values);
                questions.push(SampleQuestion {
                    metric: metric.name.clone(),
                    side: *side,
                    counted,
                    // Istio's own are never misspelt.
                    names: counted.map(|_| query::names(&selector)).unwrap_or_default(),
                    query: format!("{selector}[{}ms]", window.range().as_millis()),
                    from,
                    at,
                });
            }
        }
    }
    questions
}

/// What is to be counted: since the last check or the change of weight, up to a scrape ago; none where no time has passed.
fn interval(
    rollout: &Rollout,
    counting: Option<&Counting>,
    settings: &Settings,
    now: Timestamp,
) -> Option<(Timestamp, Timestamp)> {
    let every = questions::interval(rollout);
    let at = grid_instant(now, settings.scrape_interval.std(), every.std())?;
    let back = |span: Span| at.saturating_sub(span.signed()).ok();
    let Some(counting) = counting else {
        return Some((back(HISTORY)?, at));
    };
    let after = |when: Timestamp, span: Span| when.saturating_add(span.signed()).ok();
    let moved = rollout.confirmed_at.unwrap_or(rollout.started);
    let settled = after(moved, settings.propagation_delay)?;
    // A step is not looked at before every target of it was scraped twice: the first scrape says where to count from.
    let begun = counting.judged.is_some() || after(settled, settings.scrape_interval.times(2))? <= at;
    // Checks that come more seldom than that lose nothing all the same.
    let longest = LONGEST.max(every.times(2));
    let from = counting.judged.unwrap_or(settled).max(back(longest)?);
    (begun && from < at).then_some((from, at))
}

/// Selectors with what their series count.
fn selectors(test: &SequentialPlan, counting: Option<&Counting>) -> Vec<(Option<Counted>, String)> {
    selectors_of(test, &counting.map(Source::of).unwrap_or_default())
}

/// The same, of one exporter and one bound, as far as they are known.
pub(super) fn selectors_of(test: &SequentialPlan, source: &Source) -> Vec<(Option<Counted>, String)> {
    match &test.counters {
        Counters::Errors {} => istios(REQUESTS, source, ""),
        Counters::Slow { .. } => {
            let bounds = source
                .bound
                .as_ref()
                .map(|bound| format!(",le=~\"{}|[+]Inf\"", bound.replace('.', "[.]")));
            istios(DURATIONS, source, &bounds.unwrap_or_default())
        }
        Counters::Bad { total, bad: part } | Counters::Good { total, good: part } => vec![
            (Some(Counted::All), total.clone()),
            (Some(Counted::Part), part.clone()),
        ],
    }
}

/// Selectors of one of Istio's metrics; `matchers` begin with a comma, or are none.
fn istios(name: &str, source: &Source, matchers: &str) -> Vec<(Option<Counted>, String)> {
    let reporter = source.reporter.as_deref();
    let only = reporter
        .map(|reporter| format!(",reporter=\"{reporter}\""))
        .unwrap_or_default();
    let mut all = vec![(None, format!("{name}{{{}{only}{matchers}}}", preset::OF_VERSION))];
    if reporter.is_none_or(|reporter| reporter == preset::CALLER) {
        all.push((None, format!("{name}{{{}{matchers}}}", preset::UNANSWERED)));
    }
    all
}
