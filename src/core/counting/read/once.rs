//! A proxy's counters that Prometheus has several times over: scraped by two jobs, or by two replicas whose answers nobody
//! brings together. They are read once.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{POD, SampleSeries, label};

/// The series of each pod from one of those that scrape it, and whatever names no pod.
pub(super) fn once(series: &[SampleSeries]) -> Vec<&SampleSeries> {
    let mut pods: BTreeMap<_, Vec<&SampleSeries>> = BTreeMap::new();
    for one in series.iter().filter(|one| !one.samples.is_empty()) {
        pods.entry(POD.map(|name| label(one, name)))
            .or_default()
            .push(one);
    }
    let of_pod = |(pod, all): ([Option<&str>; 2], Vec<_>)| match pod {
        [_, None] => all,
        _ => by_one_scraper(all),
    };
    pods.into_iter().flat_map(of_pod).collect()
}

/// What has samples of the same instants: all series of one scrape carry its time, and no two scrapes happen to.
#[derive(Default)]
struct Scraper<'a> {
    instants: BTreeSet<Timestamp>,
    series: Vec<&'a SampleSeries>,
}

fn by_one_scraper(series: Vec<&SampleSeries>) -> Vec<&SampleSeries> {
    let mut scrapers: Vec<Scraper> = Vec::new();
    for one in series {
        let is_of = |scraper: &Scraper| one.samples.iter().any(|(at, _)| scraper.instants.contains(at));
        let (own, others): (Vec<_>, Vec<_>) = scrapers.into_iter().partition(is_of);
        let mut joined = own.into_iter().reduce(Scraper::with).unwrap_or_default();
        joined.instants.extend(one.samples.iter().map(|(at, _)| *at));
        joined.series.push(one);
        scrapers = others;
        scrapers.push(joined);
    }
    let newest = scrapers
        .iter()
        .filter_map(|scraper| scraper.instants.last())
        .max()
        .copied();
    let mut known: Vec<_> = scrapers
        .into_iter()
        .map(|scraper| (!newest.is_some_and(|newest| scraper.goes_on(newest)), scraper))
        .collect();
    // Of those that go on always the same, whichever scraped last.
    known.sort_by(|(stopped, a), (also, b)| stopped.cmp(also).then_with(|| a.by_name(b)));
    known
        .into_iter()
        .next()
        .map(|(_, scraper)| scraper.series)
        .unwrap_or_default()
}

impl<'a> Scraper<'a> {
    fn with(mut self, other: Self) -> Self {
        self.instants.extend(other.instants);
        self.series.extend(other.series);
        self
    }

    /// Whether it has scraped about as lately as it does.
    fn goes_on(&self, newest: Timestamp) -> bool {
        let (Some(first), Some(last)) = (self.instants.first(), self.instants.last()) else {
            return false;
        };
        let gaps = i32::try_from(self.instants.len().saturating_sub(1)).unwrap_or(i32::MAX);
        let every = last.duration_since(*first).checked_div(gaps).unwrap_or_default();
        newest.duration_since(*last) <= every * 2
    }

    /// Labels that all of its series have.
    fn common(&self) -> BTreeMap<&'a str, &'a str> {
        let labels = |one: &'a SampleSeries| -> BTreeMap<&'a str, &'a str> {
            one.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
        };
        let mut series = self.series.iter();
        let mut common = series.next().map(|one| labels(one)).unwrap_or_default();
        for one in series {
            common.retain(|name, value| label(one, name) == Some(value));
        }
        common
    }

    /// By the first label that tells the two apart.
    fn by_name(&self, other: &Self) -> Ordering {
        let (own, others) = (self.common(), other.common());
        let mut both = own
            .iter()
            .filter_map(|(name, value)| Some((*value, *others.get(name)?)));
        let differ = both.find(|(a, b)| a != b);
        differ.map_or_else(|| own.cmp(&others), |(a, b)| a.cmp(b))
    }
}
