//! From samples with labels to series that count something: whose, of which requests, and by which exporter.

mod bounds;
mod once;

use std::collections::BTreeMap;

use crate::api::evidence::Counted as Counting;
use crate::api::plan::{Counters, SequentialPlan};

use crate::core::observation::{SampleAnswer, SampleSeries, Side};
use crate::core::preset::{self, CALLER, GRPC_FAULTS, NO_ANSWER, OWN};
use crate::core::sequential::counters::{self, Counted, Part, Series};

pub(super) use bounds::common_bound;

/// Labels that say what was scraped.
const TARGET: [&str; 5] = ["job", "namespace", "pod", "container", "instance"];

/// Labels that say which proxy it is.
const POD: [&str; 2] = ["namespace", "pod"];

/// What sees both versions is believed when it sees this part of what the pods themselves see: callers without a sidecar
/// report nothing.
const COMPLETE: f64 = 0.9;

/// Which of several exporters, and which bound, is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Source {
    pub(super) reporter: Option<String>,
    pub(super) bound: Option<String>,
}

impl Source {
    pub(super) fn of(counting: &Counting) -> Self {
        Self {
            reporter: counting.reporter.clone(),
            bound: counting.bound.clone(),
        }
    }
}

pub(super) const fn part(test: &SequentialPlan) -> Part {
    match test.counters {
        Counters::Errors {} | Counters::Bad { .. } => Part::Bad,
        Counters::Slow { .. } | Counters::Good { .. } => Part::Good,
    }
}

/// Whether what is counted are Istio's own series.
pub(super) const fn is_istios(test: &SequentialPlan) -> bool {
    matches!(test.counters, Counters::Errors {} | Counters::Slow { .. })
}

/// The series by which pods report for themselves: clumps of errors show in them.
pub(super) fn of_pods(test: &SequentialPlan, source: &Source) -> Source {
    let own = || OWN.to_owned();
    Source {
        reporter: is_istios(test).then(own),
        bound: source.bound.clone(),
    }
}

/// What to read, judged by production's series.
///
/// # Errors
/// Nothing counts its requests, or no bound of its histogram is as high as the one asked for.
pub(super) fn source(test: &SequentialPlan, answers: &[&SampleAnswer]) -> Result<Source, String> {
    if !is_istios(test) {
        return Ok(Source::default());
    }
    let mut grown: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, one) in all(answers, Side::Production)? {
        if let Some(reporter) = label(one, "reporter")
            && label(one, "le").is_none_or(|bound| bound == preset::ALL)
        {
            *grown.entry(reporter).or_default() += growth(one);
        }
    }
    let of = |reporter: &str| grown.get(reporter).copied();
    let own = of(OWN).unwrap_or(0.0);
    let is_believed = |reporter: &&str| of(reporter).is_some_and(|seen| is_complete(seen, own));
    let reporter = ["waypoint", CALLER]
        .into_iter()
        .find(is_believed)
        .or_else(|| grown.keys().next().copied())
        .ok_or_else(|| {
            "Istio counts no request of production: has the service traffic, and its pods a sidecar?"
                .to_owned()
        })?;
    let mut source = Source {
        reporter: Some(reporter.to_owned()),
        bound: None,
    };
    if let Counters::Slow { milliseconds } = test.counters {
        source.bound = bounds::productions(answers, milliseconds)?;
    }
    Ok(source)
}

/// Whether an exporter that saw `seen` requests is believed where pods report `own` for themselves.
pub(super) fn is_complete(seen: f64, own: f64) -> bool {
    seen > 0.0 && seen >= COMPLETE * own
}

/// The series that count, in the form that is differenced.
///
/// # Errors
/// A question that was not answered, and why.
pub(super) fn series(
    test: &SequentialPlan,
    answers: &[&SampleAnswer],
    source: &Source,
) -> Result<Vec<Series>, String> {
    let mut found = Vec::new();
    for answer in answers {
        for one in of_answer(answer)? {
            if source
                .reporter
                .as_deref()
                .is_some_and(|wanted| label(one, "reporter") != Some(wanted))
            {
                continue;
            }
            let counted = match answer.counted {
                Some(counted) => vec![counted],
                None => by_labels(test, one, source),
            };
            found.extend(
                counted
                    .into_iter()
                    .map(|counted| of(answer.side, counted, one, answer.counted.is_none())),
            );
        }
    }
    Ok(match test.counters {
        Counters::Slow { .. } => bounds::with_bound(found),
        _ => found,
    })
}

/// What a series of Istio's counts.
fn by_labels(test: &SequentialPlan, one: &SampleSeries, source: &Source) -> Vec<Counted> {
    match test.counters {
        Counters::Slow { .. } => match label(one, "le") {
            Some(preset::ALL) => vec![Counted::All],
            bound if bound.is_some() && bound == source.bound.as_deref() => vec![Counted::Part],
            _ => Vec::new(),
        },
        _ if is_failure(one) => vec![Counted::All, Counted::Part],
        _ => vec![Counted::All],
    }
}

/// Whether its requests failed: by HTTP status, without any answer, or by gRPC status where the call itself came through.
fn is_failure(one: &SampleSeries) -> bool {
    let fails = |code: &str| code == NO_ANSWER || code.len() == 3 && code.starts_with('5');
    label(one, "response_code").is_some_and(fails)
        || label(one, "grpc_response_status").is_some_and(|status| GRPC_FAULTS.contains(&status))
}

fn of(side: Side, counted: Counted, one: &SampleSeries, is_istios: bool) -> Series {
    // A proxy's counters are the same by whichever of its ports and jobs they are scraped.
    let is_pod = is_istios && one.labels.contains_key("pod");
    let target = if is_pod { &POD[..] } else { &TARGET[..] };
    let text = |of_target: bool| {
        let wanted: &[&str] = if of_target { target } else { &TARGET };
        let labels = one.labels.iter();
        let labels = labels.filter(|(name, _)| wanted.contains(&name.as_str()) == of_target);
        labels
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    Series {
        side,
        counted,
        target: text(true),
        labels: text(false),
        samples: one
            .samples
            .iter()
            .map(|(at, value)| counters::Sample {
                at: *at,
                value: *value,
            })
            .collect(),
    }
}

fn all<'a>(
    answers: &[&'a SampleAnswer],
    side: Side,
) -> Result<impl Iterator<Item = (&'a SampleAnswer, &'a SampleSeries)> + use<'a>, String> {
    let mut found = Vec::new();
    for answer in answers.iter().copied().filter(|answer| answer.side == side) {
        found.extend(of_answer(answer)?.into_iter().map(move |one| (answer, one)));
    }
    Ok(found.into_iter())
}

/// What is said of names that Prometheus does not know.
pub(super) fn unheard_of(names: &[String]) -> String {
    format!(
        "no series named {}: it is misspelt, or has to be exported from the start, with 0",
        names.join(", ")
    )
}

/// No series may be no request; of a name that Prometheus has never heard of it says nothing.
fn is_known(unknown_names: &Result<Vec<String>, String>) -> Result<(), String> {
    match unknown_names {
        Ok(names) if names.is_empty() => Ok(()),
        Ok(names) => Err(unheard_of(names)),
        Err(why) => Err(format!(
            "the selector has no series, and its names could not be looked up: {why}"
        )),
    }
}

/// The series of an answer, Istio's by one scraper.
fn of_answer(answer: &SampleAnswer) -> Result<Vec<&SampleSeries>, String> {
    let series = answer.outcome.as_ref().map_err(Clone::clone)?;
    if series.is_empty() {
        is_known(&answer.unknown_names)?;
    }
    Ok(match answer.counted {
        Some(_) => series.iter().collect(),
        None => once::once(series),
    })
}

/// What a counter grew by between its samples; a restart begins at 0.
fn growth(one: &SampleSeries) -> f64 {
    let pairs = one.samples.windows(2).map(|pair| (pair[0].1, pair[1].1));
    pairs
        .map(|(before, after)| if after >= before { after - before } else { after })
        .filter(|more| more.is_finite())
        .sum()
}

fn label<'a>(one: &'a SampleSeries, name: &str) -> Option<&'a str> {
    one.labels.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests;
