//! Requests to the small world's two versions, and the counters that a Prometheus keeps of them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::Span;
use crate::core::observation::{SampleAnswer, SampleQuestion, SampleSeries, Side};
use crate::core::sequential::counters::Counted;

use super::at;

/// The part of a version's requests that is bad, 0 to 1, at a moment.
pub(crate) type BadShare = fn(Side, Timestamp) -> f64;

/// A version's counters at one scrape.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    requests: f64,
    bad: f64,
}

pub(crate) struct Traffic {
    pub(crate) requests_per_second: f64,
    pub(crate) bad: BadShare,
    pub(crate) reporter: &'static str,
    /// Seconds between two scrapes.
    pub(crate) every: i64,
    /// The second in which the canary's pod is scraped, and production's.
    pub(crate) phases: [i64; 2],
    /// What Prometheus has forgotten.
    pub(crate) lost_before: Timestamp,
    /// The version that Prometheus has forgotten.
    pub(crate) lost_side: Option<Side>,
    /// The metric that nothing counts.
    pub(crate) silent: &'static str,
    /// What the user's own counter of bad requests is called where Prometheus does not know it.
    pub(crate) misspelt: Option<&'static str>,
    /// When the last request came.
    pub(crate) flow_until: Option<Timestamp>,
    /// When the canary's first request comes.
    pub(crate) canary_from: Option<Timestamp>,
    /// Whether bad requests are those without an answer, as callers count them.
    pub(crate) hangs: bool,
    /// Prometheus says this instead of an answer.
    pub(crate) broken: Option<&'static str>,
    /// One scrape in a second.
    scrapes: Vec<(Timestamp, [Counters; 2])>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            requests_per_second: 100.0,
            bad: |_, _| 0.001,
            reporter: "destination",
            every: 1,
            phases: [0, 0],
            lost_before: Timestamp::MIN,
            lost_side: None,
            silent: "",
            misspelt: None,
            flow_until: None,
            canary_from: None,
            hangs: false,
            broken: None,
            scrapes: vec![(at(-1200), [Counters::default(); 2])],
        }
    }
}

impl Traffic {
    /// Lets it flow until `now`, by the weights in percent that the route had.
    pub(crate) fn flow(&mut self, weights: &[(Timestamp, i64)], now: Timestamp) {
        while let Some((last, counters)) = self.scrapes.last().copied() {
            let next = last.checked_add(Span::secs(1).signed()).unwrap();
            if next > now {
                return;
            }
            let weight = weights.iter().rfind(|(from, _)| *from <= last);
            #[expect(clippy::cast_precision_loss, reason = "a percentage")]
            let share = weight.map_or(0.0, |(_, weight)| *weight as f64 / 100.0);
            let mut after = counters;
            let load = match self.flow_until {
                Some(until) if last >= until => 0.0,
                _ => self.requests_per_second,
            };
            for (side, part) in [(Side::Production, 1.0 - share), (Side::Canary, share)] {
                let is_awaited = side == Side::Canary && self.canary_from.is_some_and(|from| last < from);
                let requests = if is_awaited { 0.0 } else { load * part };
                let counters = &mut after[side as usize];
                counters.requests += requests;
                counters.bad += requests * (self.bad)(side, last);
            }
            self.scrapes.push((next, after));
        }
    }

    pub(crate) fn answer(&self, question: &SampleQuestion) -> SampleAnswer {
        let range = question.query.rsplit_once('[').unwrap().1;
        let millis: i64 = range.strip_suffix("ms]").unwrap().parse().unwrap();
        let start = question.at.saturating_sub(Span::millis(millis).signed()).unwrap();
        let start = start.max(self.lost_before);
        let of = |read: fn(&Counters) -> f64, code: &str| {
            let phase = self.phases[usize::from(question.side == Side::Production)];
            let seen = |(when, _): &&(Timestamp, _)| {
                let is_scraped = (when.as_second() - phase).rem_euclid(self.every) == 0;
                is_scraped && *when > start && *when <= question.at
            };
            let samples = self.scrapes.iter().filter(seen);
            let samples = samples.map(|(when, all)| (*when, read(&all[question.side as usize]).floor()));
            // A series begins with its first request.
            let samples: Vec<_> = samples.filter(|(_, value)| *value > 0.0).collect();
            let labels = [
                ("reporter", self.reporter),
                ("response_code", code),
                (
                    "pod",
                    if question.side == Side::Canary {
                        "canary-0"
                    } else {
                        "production-0"
                    },
                ),
            ];
            let labels: BTreeMap<_, _> = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            SampleSeries { labels, samples }
        };
        let is_unanswered = question.query.contains("destination_version=\"unknown\"");
        let mut series = match question.counted {
            None if is_unanswered && !self.hangs => Vec::new(),
            None if is_unanswered => vec![of(|c| c.bad, "504")],
            None if self.hangs => vec![of(|c| c.requests - c.bad.floor(), "200")],
            None => vec![of(|c| c.requests - c.bad.floor(), "200"), of(|c| c.bad, "500")],
            Some(Counted::All) => vec![of(|c| c.requests, "")],
            Some(Counted::Part) if self.misspelt.is_some() => Vec::new(),
            Some(Counted::Part) => vec![of(|c| c.bad, "")],
        };
        if self.reporter == "source" {
            for one in &mut series {
                one.labels.insert("pod".to_owned(), "caller-0".to_owned());
            }
        }
        let is_lost = question.metric == self.silent || self.lost_side == Some(question.side);
        series.retain(|one| !one.samples.is_empty() && !is_lost);
        SampleAnswer {
            metric: question.metric.clone(),
            side: question.side,
            counted: question.counted,
            from: question.from,
            at: question.at,
            unknown_names: Ok(match (question.counted, self.misspelt) {
                (Some(Counted::Part), Some(name)) if question.names.contains_key(name) => {
                    vec![name.to_owned()]
                }
                _ => Vec::new(),
            }),
            outcome: self.broken.map_or(Ok(series.into()), |why| Err(why.to_owned())),
        }
    }
}
