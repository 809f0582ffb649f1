//! Production's counters, played by two versions: requests are dealt out scrape by scrape as time passes, and both sides
//! grow counters of their own from them, with the labels that Istio or the user's application gives them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Binomial, Distribution as _};

use crate::api::plan::Counters;
use crate::core::observation::{SampleAnswer, SampleQuestion, SampleSeries, Side};
use crate::core::past::{OWN, is_complete};
use crate::core::sequential::counters::{Counted, Window};
use crate::core::sequential::counts::Counts;

use super::history::{CounterHistory, Target};
use super::trial::{Canary, Chance};
use super::weights::Weights;

/// What a rollout reads of the time before it, milliseconds: ten minutes of production, and some scrapes.
const BEFORE: i64 = 600_000;

/// A counter's growth, made a counter again.
#[derive(Default)]
struct Line {
    at: Vec<i64>,
    requests: Vec<f64>,
    bad: Vec<f64>,
}

impl Line {
    fn push(&mut self, at: i64, counts: Counts) {
        if self.at.last() == Some(&at) {
            for (values, more) in [(&mut self.requests, counts.requests), (&mut self.bad, counts.bad)] {
                if let Some(last) = values.last_mut() {
                    *last += more;
                }
            }
            return;
        }
        let last = |values: &[f64]| values.last().copied().unwrap_or_default();
        let (requests, bad) = (last(&self.requests), last(&self.bad));
        self.at.push(at);
        self.requests.push(requests + counts.requests);
        self.bad.push(bad + counts.bad);
    }
}

/// One kind of counters while a rollout is replayed.
pub(super) struct Live<'a> {
    history: &'a CounterHistory,
    /// Milliseconds between two scrapes.
    scrape: i64,
    pods: bool,
    targets: Vec<&'a Target>,
    next: Vec<usize>,
    production: Vec<Line>,
    /// Of each target; or the canary's only one, scraped at instants of its own.
    canary: Vec<Line>,
    /// In which order pods become the canary's.
    order: Vec<usize>,
    /// Of the canary that is scraped on its own: when next, and what is not scraped yet.
    due: i64,
    waiting: Vec<(i64, Counts)>,
    fault: f64,
    split: StdRng,
    spoil: StdRng,
    /// What the canary did, scraped or not.
    pub(super) done: Counts,
}

impl<'a> Live<'a> {
    pub(super) fn new(
        history: &'a CounterHistory,
        scrape: i64,
        begin: i64,
        canary: Canary,
        chance: Chance,
        fault: f64,
    ) -> Self {
        let targets: Vec<&Target> = history.targets.values().collect();
        let mut split = StdRng::seed_from_u64(chance.split);
        let mut order: Vec<usize> = (0..targets.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, split.random_range(0..=i));
        }
        let scrape = scrape.max(1);
        let first = begin - BEFORE - 5 * scrape;
        let pods = canary == Canary::Pod && !history.is_shared() && targets.len() > 1;
        let own = !pods && !history.is_shared();
        Self {
            history,
            scrape,
            pods,
            next: targets.iter().map(|target| target.after(first)).collect(),
            production: targets.iter().map(|_| Line::default()).collect(),
            canary: (0..if own { 1 } else { targets.len() })
                .map(|_| Line::default())
                .collect(),
            order,
            due: first + split.random_range(0..scrape),
            waiting: Vec::new(),
            fault,
            spoil: StdRng::seed_from_u64(chance.spoil),
            split,
            targets,
            done: Counts::default(),
        }
    }

    fn is_own(&self) -> bool {
        !self.pods && !self.history.is_shared()
    }

    /// Lets requests flow until `now`.
    pub(super) fn flow(&mut self, weights: &Weights, now: i64) {
        let ranks = if self.pods { self.ranks(now) } else { Vec::new() };
        let alive = ranks.iter().flatten().count();
        for i in 0..self.targets.len() {
            let target = self.targets[i];
            while let Some(at) = target.at.get(self.next[i]).copied().filter(|at| *at <= now) {
                let index = self.next[i];
                self.next[i] += 1;
                let before = index.checked_sub(1).and_then(|i| target.at.get(i));
                let since = before.map_or(at - self.scrape, |before| *before);
                let share = if self.is_own() {
                    // Whose scrapes come at other instants gets what production shows at once as if it happened then.
                    weights.at(at)
                } else {
                    weights.mean(since.max(at - self.scrape * 5 / 2), at)
                };
                let all = Counts {
                    requests: target.requests[index],
                    bad: target.bad[index],
                };
                // Nobody can deal out what contradicts itself: it stays production's, for the check to refuse.
                if all.checked().is_err() {
                    self.add_production(i, at, all);
                } else if self.pods {
                    let rank = ranks.get(i).copied().flatten();
                    self.of_pod(i, at, all, share, rank.map(|rank| (rank, alive)));
                } else {
                    self.of_share(i, at, all, share);
                }
            }
        }
        if self.is_own() {
            self.scrape_own(now);
        }
    }

    /// The place of each target that lives among those that do, in the order in which they become the canary's.
    fn ranks(&self, now: i64) -> Vec<Option<usize>> {
        let mut ranks = vec![None; self.targets.len()];
        let mut rank = 0;
        for i in &self.order {
            let target = self.targets[*i];
            let last = target.after(now).checked_sub(1).and_then(|i| target.at.get(i));
            if last.is_some_and(|last| now - last <= self.scrape * 5 / 2) {
                ranks[*i] = Some(rank);
                rank += 1;
            }
        }
        ranks
    }

    /// Every request falls to the canary with the probability of its share.
    fn of_share(&mut self, i: usize, at: i64, all: Counts, share: f64) {
        let (canary, production) = self.deal(all, share);
        self.add_production(i, at, production);
        if self.is_own() {
            if canary.requests > 0.0 {
                self.waiting.push((at, canary));
            }
        } else {
            self.add_canary(i, at, canary);
        }
    }

    /// As many pods as the share needs are the canary's, and what is too much of theirs falls away; at least one stays
    /// production's as long as that has any traffic.
    fn of_pod(&mut self, i: usize, at: i64, all: Counts, share: f64, place: Option<(usize, usize)>) {
        let Some((rank, alive)) = place.filter(|_| share > 0.0) else {
            self.add_production(i, at, all);
            return;
        };
        let whole = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let wanted = share * whole(alive);
        let most = if share < 1.0 {
            whole(alive.saturating_sub(1))
        } else {
            whole(alive)
        };
        let pods = wanted.ceil().min(most).max(1.0);
        if whole(rank) < pods {
            let (canary, _) = self.deal(all, (wanted / pods).min(1.0));
            self.add_canary(i, at, canary);
        } else {
            let others = whole(alive) - pods;
            let part = ((1.0 - share) * whole(alive) / others.max(1.0)).min(1.0);
            let bad = binomial(all.bad.round(), part, &mut self.split);
            let good = binomial((all.requests - all.bad).round(), part, &mut self.split);
            let requests = good + bad;
            self.add_production(i, at, Counts { requests, bad });
        }
    }

    fn add_production(&mut self, i: usize, at: i64, counts: Counts) {
        self.production[i].push(at, counts);
    }

    /// A series begins with its first request.
    fn add_canary(&mut self, i: usize, at: i64, counts: Counts) {
        let line = &mut self.canary[i];
        if counts.requests > 0.0 || !line.at.is_empty() {
            line.push(at, counts);
        }
    }

    /// Deals requests out, and turns good ones of the canary's bad.
    fn deal(&mut self, all: Counts, share: f64) -> (Counts, Counts) {
        let (requests, bad) = (all.requests.round(), all.bad.round().min(all.requests.round()));
        let bad_here = binomial(bad, share, &mut self.split);
        let good_here = binomial(requests - bad, share, &mut self.split);
        let spoiled = binomial(good_here, self.fault, &mut self.spoil);
        let canary = Counts {
            requests: bad_here + good_here,
            bad: bad_here + spoiled,
        };
        self.done = self.done.plus(canary);
        let production = Counts {
            requests: (requests - canary.requests).max(0.0),
            bad: (bad - bad_here).max(0.0),
        };
        (canary, production)
    }

    fn scrape_own(&mut self, now: i64) {
        self.waiting.sort_by_key(|(at, _)| *at);
        let mut taken = 0;
        while self.due <= now {
            let until = self.due;
            let ready = self.waiting[taken..].iter().take_while(|(at, _)| *at <= until);
            let mut all = Counts::default();
            for (_, counts) in ready {
                all = all.plus(*counts);
                taken += 1;
            }
            self.add_canary(0, until, all);
            self.due += self.scrape;
        }
        self.waiting.drain(..taken);
    }

    /// What Prometheus answers.
    pub(super) fn answer(&self, asked: &SampleQuestion) -> SampleAnswer {
        let scrape = u64::try_from(self.scrape).unwrap_or_default();
        let window = Window::new(asked.from, asked.at, std::time::Duration::from_millis(scrape));
        let range = window.map_or(0, |window| {
            i64::try_from(window.range().as_millis()).unwrap_or(i64::MAX)
        });
        let at = asked.at.as_millisecond();
        let lines = match asked.side {
            Side::Production => self.production.as_slice(),
            Side::Canary => self.canary.as_slice(),
        };
        let name = match asked.side {
            Side::Canary if !self.history.is_shared() => "canary",
            _ => "pod",
        };
        let mut series = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            let first = line.at.partition_point(|t| *t <= at.saturating_sub(range));
            let last = line.at.partition_point(|t| *t <= at);
            if first < last {
                let of = (format!("{name}-{i}"), self.history.source.reporter.as_deref());
                let target = self.targets.get(i).filter(|_| lines.len() == self.targets.len());
                self.of_line(
                    (line, target.copied()),
                    first..last,
                    of,
                    asked.counted,
                    &mut series,
                );
            }
        }
        if asked.side == Side::Production && self.done.requests <= 0.0 {
            self.add_pods(at.saturating_sub(range), at, asked.counted, &mut series);
        }
        SampleAnswer {
            metric: asked.metric.clone(),
            side: asked.side,
            counted: asked.counted,
            from: asked.from,
            at: asked.at,
            unknown_names: Ok(Vec::new()),
            outcome: Ok(series.into()),
        }
    }

    /// What production's pods reported for themselves before the canary had any request, where others count: the start of a
    /// rollout learns from it how clumpy errors are. Left out where those others saw too little to be believed then: the past
    /// of a canary is known by them alone.
    fn add_pods(&self, from: i64, until: i64, counted: Option<Counted>, series: &mut Vec<SampleSeries>) {
        let within = |target: &Target| target.after(from)..target.after(until);
        let seen = |targets: &BTreeMap<String, Target>| -> f64 {
            let of = |target: &Target| target.requests[within(target)].iter().skip(1).sum::<f64>();
            targets.values().map(of).sum()
        };
        if !is_complete(seen(&self.history.targets), seen(&self.history.pods)) {
            return;
        }
        for (i, target) in self.history.pods.values().enumerate() {
            let mut line = Line::default();
            for i in within(target) {
                let (requests, bad) = (target.requests[i], target.bad[i]);
                line.push(target.at[i], Counts { requests, bad });
            }
            let of = (format!("own-{i}"), Some(OWN));
            self.of_line((&line, Some(target)), 0..line.at.len(), of, counted, series);
        }
    }

    fn of_line(
        &self,
        (line, target): (&Line, Option<&Target>),
        range: std::ops::Range<usize>,
        (pod, reporter): (String, Option<&str>),
        counted: Option<Counted>,
        series: &mut Vec<SampleSeries>,
    ) {
        let bound = self.history.source.bound.as_deref().unwrap_or_default();
        let is_divided = |at: i64| target.is_none_or(|target| target.is_divided(at));
        let mut add = |label: (&str, &str), counted: Counted, value: fn(f64, f64) -> f64| {
            let mut labels = BTreeMap::from([("pod".to_owned(), pod.clone())]);
            for (name, text) in [("reporter", reporter.unwrap_or_default()), label] {
                if !text.is_empty() {
                    labels.insert(name.to_owned(), text.to_owned());
                }
            }
            let shown = |i: &usize| counted == Counted::All || is_divided(line.at[*i]);
            let samples = range.clone().filter(shown).filter_map(|i| {
                let at = Timestamp::from_millisecond(line.at[i]).ok()?;
                Some((at, value(line.requests[i], line.bad[i])))
            });
            let samples: Vec<_> = samples.collect();
            if !samples.is_empty() {
                series.push(SampleSeries { labels, samples });
            }
        };
        let good = |requests: f64, bad: f64| requests - bad;
        match (&self.history.counters, counted) {
            (Counters::Errors {}, _) => {
                add(("response_code", "200"), Counted::All, good);
                add(("response_code", "500"), Counted::All, |_, bad| bad);
            }
            (Counters::Slow { .. }, _) => {
                add(("le", "+Inf"), Counted::All, |requests, _| requests);
                add(("le", bound), Counted::Part, good);
            }
            (_, Some(Counted::All)) if target.is_some_and(Target::lacks_total) => {}
            (_, Some(Counted::All)) => add(("", ""), Counted::All, |requests, _| requests),
            (Counters::Good { .. }, _) => add(("", ""), Counted::Part, good),
            (Counters::Bad { .. }, _) => add(("", ""), Counted::Part, |_, bad| bad),
        }
    }
}

/// How many of `count` things happen, each with the probability `share`.
fn binomial(count: f64, share: f64, rng: &mut StdRng) -> f64 {
    if count <= 0.0 || share <= 0.0 {
        return 0.0;
    }
    if share >= 1.0 {
        return count;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number above 0; as far as floats are exact"
    )]
    let whole = count as u64;
    let found = Binomial::new(whole, share).map_or(0, |binomial| binomial.sample(rng));
    #[expect(clippy::cast_precision_loss, reason = "at most the count, which is a float")]
    let found = found as f64;
    found
}
