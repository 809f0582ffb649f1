//! What a replay of the past asks of production's counters and how it reads them: by the selectors and by the reading of a
//! rollout, unchanged.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Span;
use crate::api::plan::{MetricPlan, Plan, SequentialPlan};
use crate::api::status::MetricStatus;

use super::{ask, begin, read, words};
use crate::core::observation::{Check, CheckId, SampleAnswer};
pub(crate) use crate::core::preset::OWN;
use crate::core::query::{Template, Values};
use crate::core::sequential::counters::{self, Counted, Grown, Window};

/// Which of several exporters is believed, and which bound of a histogram divides slow requests from the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Istio's reporter; absent for the user's own counters, and as long as it is not known.
    pub reporter: Option<String>,
    /// The bound as its label `le` has it; absent where none is needed.
    pub bound: Option<String>,
}

impl From<&Source> for read::Source {
    fn from(source: &Source) -> Self {
        let Source { reporter, bound } = source.clone();
        Self { reporter, bound }
    }
}

/// The selectors of a test's counters, without a range, and what their series count (absent: their labels say it).
#[must_use]
pub fn selectors(
    test: &SequentialPlan,
    source: &Source,
    values: &Values<'_>,
) -> Vec<(Option<Counted>, String)> {
    let expand = |(counted, selector): (Option<Counted>, String)| {
        Some((counted, Template::parse(&selector).ok()?.expand(values)))
    };
    let all = ask::selectors_of(test, &source.into());
    all.into_iter().filter_map(expand).collect()
}

/// What to read, judged by some of production's samples, as at the start of a rollout.
///
/// # Errors
/// Nothing counts its requests, or no bound of its histogram is as high as the one asked for.
pub fn source(test: &SequentialPlan, answers: &[SampleAnswer]) -> Result<Source, String> {
    let answers: Vec<&SampleAnswer> = answers.iter().collect();
    let read::Source { reporter, bound } = read::source(test, &answers)?;
    Ok(Source { reporter, bound })
}

/// Whether a rollout begins where these are the last samples of production, by the rules of its start.
///
/// # Errors
/// Why it does not.
pub fn begins(
    plan: &Plan,
    metric: &MetricPlan,
    answers: &[SampleAnswer],
    scrape: Duration,
) -> Result<(), String> {
    let scrape = Span::millis(i64::try_from(scrape.as_millis()).unwrap_or(i64::MAX));
    // One scrape ago, as a rollout judges: what arrives late would look like a minute without requests.
    let settled = |at: Timestamp| at.saturating_sub(scrape.signed()).unwrap_or(at);
    let of_metric = |answer: &SampleAnswer| SampleAnswer {
        metric: metric.name.clone(),
        at: settled(answer.at),
        ..answer.clone()
    };
    let check = Check {
        id: CheckId {
            rollout: String::new(),
            step: 0,
            plan: plan.clone(),
        },
        asked_at: answers.first().map_or(Timestamp::UNIX_EPOCH, |answer| answer.at),
        answers: Vec::new(),
        samples: answers.iter().map(of_metric).collect(),
        scrape,
    };
    begin(plan, metric, &mut MetricStatus::default(), &check)
}

/// By which exporter production's pods report for themselves, where `source` is another and some do.
#[must_use]
pub fn pods(test: &SequentialPlan, source: &Source, answers: &[SampleAnswer]) -> Option<Source> {
    let read::Source { reporter, bound } = read::of_pods(test, &source.into());
    let own = Source { reporter, bound };
    let answers: Vec<&SampleAnswer> = answers.iter().collect();
    let series = read::series(test, &answers, &(&own).into()).ok()?;
    (own != *source && !series.is_empty()).then_some(own)
}

/// What a rollout says of counters without series whose names Prometheus does not know.
#[must_use]
pub fn unheard_of(names: &[String]) -> String {
    read::unheard_of(names)
}

/// Whether an exporter that saw `seen` of the `own` requests that pods report for themselves is believed by a rollout.
#[must_use]
pub fn is_complete(seen: f64, own: f64) -> bool {
    read::is_complete(seen, own)
}

/// Production's growth from `from` (exclusive) to `until`, scrape by scrape, that of each target. The samples have to reach
/// back three scrapes before `from`.
///
/// # Errors
/// What keeps the samples from being counted.
pub fn growth(
    test: &SequentialPlan,
    answers: &[SampleAnswer],
    source: &Source,
    (from, until): (Timestamp, Timestamp),
    scrape: Duration,
) -> Result<BTreeMap<String, Vec<Grown>>, String> {
    let answers: Vec<&SampleAnswer> = answers.iter().collect();
    let series = read::series(test, &answers, &source.into())?;
    let Some(window) = Window::new(from, until, scrape) else {
        return Ok(BTreeMap::new());
    };
    counters::growth(&series, read::part(test), &window).map_err(|why| words::unknown(&why))
}
