//! Asks a check beside reconcile, so that a slow Prometheus keeps nobody waiting, and wakes reconcile when it is
//! answered. What an answer means is the core's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::clients::prometheus::{self as prom, Failure, Prometheus};
use crate::core::decision::CheckRequest;
use crate::core::observation::{
    Answer, Check, CheckId, ObjectName, Outcome, Point, Question, SampleAnswer, SampleQuestion, SampleSet,
};

use super::context::Scope;
use super::memory::{Asking, Entry, KnownNames};

/// Metrics of one check whose names are looked up at the same time: others ask too.
const LOOKUPS: usize = 2;

/// Names seen within this time before now are known.
const LOOKBACK: Duration = Duration::from_hours(24);

/// Asks `request`, unless it is being asked; another check under way is given up.
pub fn start(scope: &Arc<Scope>, name: &ObjectName, entry: &Arc<Entry>, request: CheckRequest) {
    let mut remembered = entry.lock();
    if remembered
        .asking
        .as_ref()
        .is_some_and(|asking| asking.id == request.id)
    {
        return;
    }
    remembered.stop_asking();
    let id = request.id.clone();
    let under_way = UnderWay {
        scope: Arc::clone(scope),
        name: name.clone(),
        entry: Arc::clone(entry),
        id: id.clone(),
    };
    let known = match &remembered.names {
        names if names.rollout == id.rollout => names.clone(),
        _ => KnownNames {
            rollout: id.rollout.clone(),
            ..KnownNames::default()
        },
    };
    let task = tokio::spawn(async move {
        let context = &under_way.scope.context;
        let asked_at = context.clock.now();
        let mut asker = Asker {
            prometheus: &*context.prometheus,
            namespace: &under_way.name.namespace,
            request: &request,
            asked_at,
            known,
        };
        let (answers, samples) = asker.ask().await;
        let check = asker.finish(answers, samples, asked_at.min(context.clock.now()));
        let known = asker.known;
        under_way.done(check, known);
    });
    remembered.asking = Some(Asking {
        id,
        task: task.abort_handle(),
    });
}

/// Asks `request` once for a `BirdWatch` in `namespace`, outside of any rollout.
pub async fn ask_once(
    prometheus: &dyn Prometheus,
    namespace: &str,
    request: &CheckRequest,
    asked_at: Timestamp,
) -> Check {
    let mut asker = Asker {
        prometheus,
        namespace,
        request,
        asked_at,
        known: KnownNames::default(),
    };
    let (answers, samples) = asker.ask().await;
    asker.finish(answers, samples, asked_at)
}

/// A check under way. However it ends, it is no longer under way then.
struct UnderWay {
    scope: Arc<Scope>,
    name: ObjectName,
    entry: Arc<Entry>,
    id: CheckId,
}

impl UnderWay {
    fn done(self, check: Check, known: KnownNames) {
        let mut remembered = self.entry.lock();
        if remembered
            .asking
            .as_ref()
            .is_some_and(|asking| asking.id == self.id)
        {
            remembered.check = Some(check);
            remembered.names = known;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.entry.lock().asking.take_if(|asking| asking.id == self.id);
        self.scope.wake(&self.name);
    }
}

/// What Prometheus said of names.
struct LookedUp {
    /// Those it knows: they are not looked up again, whatever became of the others.
    known: BTreeSet<String>,
    /// Those it does not know.
    unknown: BTreeSet<String>,
    /// Metrics of which that could not be found out, and why.
    failed: BTreeMap<String, String>,
}

impl LookedUp {
    /// Those of a query's names that are unknown; a metric that is not known is not named with its labels too. Or why it cannot be
    /// told of one of them.
    fn among(&self, names: &Names) -> Result<Vec<String>, String> {
        if let Some(why) = names.keys().find_map(|metric| self.failed.get(metric)) {
            return Err(why.clone());
        }
        let own: BTreeSet<String> = names
            .iter()
            .flat_map(|(metric, labels)| {
                let labels = labels.iter().map(|label| labelled(metric, label));
                std::iter::once(metric.clone()).chain(labels)
            })
            .collect();
        Ok(self.unknown.intersection(&own).cloned().collect())
    }
}

/// Asks the questions of one check.
struct Asker<'a> {
    prometheus: &'a dyn Prometheus,
    namespace: &'a str,
    request: &'a CheckRequest,
    asked_at: Timestamp,
    known: KnownNames,
}

impl Asker<'_> {
    fn finish(&self, answers: Vec<Answer>, samples: Vec<SampleAnswer>, asked_at: Timestamp) -> Check {
        Check {
            id: self.request.id.clone(),
            asked_at,
            answers,
            samples,
            scrape: self.request.scrape,
        }
    }

    async fn ask(&mut self) -> (Vec<Answer>, Vec<SampleAnswer>) {
        let until = Instant::now() + self.request.deadline.std();
        let request = self.request;
        let samples = samples(self.prometheus, self.namespace, request, until);
        let (answers, mut samples) = tokio::join!(self.values(until), samples);
        self.name(&mut samples, until).await;
        (answers, samples)
    }

    /// Looks up the names of selectors without series.
    async fn name(&mut self, samples: &mut [SampleAnswer], until: Instant) {
        let asked = self.request.samples.iter().zip(samples);
        let empty = asked.filter(|(_, answer)| answer.outcome.as_ref().is_ok_and(|series| series.is_empty()));
        let mut empty: Vec<(&SampleQuestion, &mut SampleAnswer)> = empty.collect();
        let names: Vec<&Names> = empty.iter().map(|(asked, _)| &asked.names).collect();
        let found = self.look_up(&names, until).await;
        for (asked, answer) in &mut empty {
            answer.unknown_names = found.among(&asked.names);
        }
        self.known.names.extend(found.known);
    }

    async fn values(&mut self, until: Instant) -> Vec<Answer> {
        let questions = &self.request.questions;
        let traffic_first = questions.iter().filter(|question| question.per_request);
        let queries = questions
            .iter()
            .map(|q| &q.query)
            .chain(traffic_first.map(|q| &q.traffic));
        let first = self.outcomes(queries, until).await;
        let is_empty = |question: &&Question| {
            question.hides_absence || matches!(first.get(&question.query), Some(prom::Outcome::Empty))
        };
        let empty: Vec<&Question> = questions.iter().filter(is_empty).collect();
        let traffic = empty.iter().filter(|q| !q.per_request).map(|q| &q.traffic);
        let names: Vec<&Names> = empty.iter().map(|q| &q.names).collect();
        let (second, found) = tokio::join!(self.outcomes(traffic, until), self.look_up(&names, until));
        let answer = |question: &Question| Answer {
            metric: question.metric.clone(),
            side: question.side,
            outcome: outcome(question, first.get(&question.query), &found),
            traffic: first
                .get(&question.traffic)
                .or_else(|| second.get(&question.traffic))
                .map(rate),
        };
        let answers = questions.iter().map(answer).collect();
        self.known.names.extend(found.known);
        answers
    }

    async fn outcomes<'q>(
        &self,
        queries: impl Iterator<Item = &'q String>,
        until: Instant,
    ) -> BTreeMap<String, prom::Outcome> {
        let server = &self.request.server;
        let question = |query: &String| prom::Question {
            server: server.clone(),
            namespace: self.namespace.to_owned(),
            query: query.clone(),
        };
        let questions: Vec<prom::Question> = queries.map(question).collect();
        if questions.is_empty() {
            return BTreeMap::new();
        }
        let left = until.saturating_duration_since(Instant::now());
        let outcomes = self.prometheus.ask_all(&questions, None, left).await;
        questions
            .into_iter()
            .map(|question| question.query)
            .zip(outcomes)
            .collect()
    }

    /// Looks up names of queries with empty answers; each metric once, a few at a time, and those that are known
    /// already not at all.
    async fn look_up(&self, names: &[&Names], until: Instant) -> LookedUp {
        let all: BTreeMap<&str, BTreeSet<&str>> =
            names
                .iter()
                .copied()
                .flatten()
                .fold(BTreeMap::new(), |mut all, (metric, labels)| {
                    let labels = labels.iter().map(String::as_str);
                    all.entry(metric.as_str()).or_default().extend(labels);
                    all
                });
        let is_new = |(metric, labels): &(&str, BTreeSet<&str>)| {
            !self.known.names.contains(*metric)
                || labels
                    .iter()
                    .any(|label| !self.known.names.contains(&labelled(metric, label)))
        };
        let server = (self.request.server.as_deref(), self.namespace);
        let places = Semaphore::new(LOOKUPS);
        let looked_up = all.into_iter().filter(is_new).map(async |(metric, labels)| {
            let _place = places.acquire().await;
            let left = until.saturating_duration_since(Instant::now());
            let found = self
                .prometheus
                .label_names(server, metric, self.asked_at, LOOKBACK, left)
                .await;
            // Of what may be thousands no more is kept until all are looked up than is asked for.
            let found = found.map(|found| {
                let there = labels.iter().filter(|label| found.contains(**label));
                (!found.is_empty()).then(|| there.copied().collect())
            });
            (metric, labels, found)
        });
        let (mut known, mut unknown, mut failed) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for (metric, labels, found) in join_all(looked_up).await {
            let there: Result<Option<BTreeSet<&str>>, _> = found;
            let Ok(there) = there.map_err(|failure| failed.insert(metric.to_owned(), failure.to_string()))
            else {
                continue;
            };
            if there.is_some() {
                known.insert(metric.to_owned());
            }
            let (there, missing) = match there {
                Some(there) => {
                    let missing = labels.difference(&there).map(|label| labelled(metric, label));
                    let missing: Vec<String> = missing.collect();
                    (there, missing)
                }
                None => (BTreeSet::new(), vec![metric.to_owned()]),
            };
            known.extend(there.into_iter().map(|label| labelled(metric, label)));
            unknown.extend(missing);
        }
        LookedUp {
            known,
            unknown,
            failed,
        }
    }
}

/// The raw samples that a check asks for, all at once.
async fn samples(
    prometheus: &dyn Prometheus,
    namespace: &str,
    request: &CheckRequest,
    until: Instant,
) -> Vec<SampleAnswer> {
    let question = |asked: &SampleQuestion| {
        let question = prom::Question {
            server: request.server.clone(),
            namespace: namespace.to_owned(),
            query: asked.query.clone(),
        };
        (question, asked.at)
    };
    let questions: Vec<_> = request.samples.iter().map(question).collect();
    let left = until.saturating_duration_since(Instant::now());
    let found = prometheus.samples_all(&questions, left).await;
    let answer = |(asked, found): (&SampleQuestion, Result<SampleSet, Failure>)| SampleAnswer {
        metric: asked.metric.clone(),
        side: asked.side,
        counted: asked.counted,
        from: asked.from,
        at: asked.at,
        outcome: found.map_err(|failure| failure.to_string()),
        unknown_names: Ok(Vec::new()),
    };
    request.samples.iter().zip(found).map(answer).collect()
}

fn labelled(metric: &str, label: &str) -> String {
    format!("{metric}{{{label}}}")
}

/// Metrics with the labels that a query looks at.
type Names = BTreeMap<String, BTreeSet<String>>;

fn outcome(question: &Question, said: Option<&prom::Outcome>, found: &LookedUp) -> Outcome {
    let unknown_names = if question.unnamed {
        Err("one of its selectors has no metric name".to_owned())
    } else {
        found.among(&question.names)
    };
    match said {
        Some(prom::Outcome::Series(_)) if question.hides_absence && unknown_names != Ok(Vec::new()) => {
            Outcome::Empty { unknown_names }
        }
        Some(prom::Outcome::Series(series)) => Outcome::Series(series.iter().map(point).collect()),
        Some(prom::Outcome::Empty) => Outcome::Empty { unknown_names },
        Some(prom::Outcome::TooMany(count)) => Outcome::Failed(format!(
            "the query gives {count} series, more than {}: aggregate them",
            prom::MAX_SERIES
        )),
        Some(prom::Outcome::Failed(failure)) => Outcome::Failed(failure.to_string()),
        None => Outcome::Failed("it was not asked".to_owned()),
    }
}

fn point(series: &prom::Series) -> Point {
    Point {
        labels: series.labels.clone(),
        value: series.value,
    }
}

/// Requests per second; nothing counted is no traffic.
fn rate(said: &prom::Outcome) -> Result<f64, String> {
    match said {
        prom::Outcome::Series(series) => {
            let sum: f64 = series.iter().map(|series| series.value).sum();
            if sum.is_finite() {
                Ok(sum)
            } else {
                Err(format!("the request rate is {sum}"))
            }
        }
        prom::Outcome::Empty => Ok(0.0),
        prom::Outcome::TooMany(count) => Err(format!("the request rate has {count} series")),
        prom::Outcome::Failed(failure) => Err(Failure::to_string(failure)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::BoxFuture;

    use super::*;
    use crate::api::Span;
    use crate::api::plan::Plan;
    use crate::core::observation::Side;
    use crate::core::sequential::counters::Counted;

    /// Answers queries from a list, and knows the labels of one metric.
    #[derive(Default)]
    struct Fake {
        answers: BTreeMap<&'static str, f64>,
        labels: Option<BTreeSet<String>>,
        asked: Mutex<Vec<String>>,
        looked_up: Mutex<Vec<String>>,
        /// Lookups under way, and how many were at most.
        at_once: AtomicUsize,
        most_at_once: AtomicUsize,
    }

    impl Prometheus for Fake {
        fn samples_all<'a>(
            &'a self,
            questions: &'a [(prom::Question, Timestamp)],
            _deadline: Duration,
        ) -> BoxFuture<'a, Vec<Result<SampleSet, Failure>>> {
            let none = |_| Ok(SampleSet::default());
            Box::pin(std::future::ready(questions.iter().map(none).collect()))
        }

        fn ask_all<'a>(
            &'a self,
            questions: &'a [prom::Question],
            _at: Option<Timestamp>,
            _deadline: Duration,
        ) -> BoxFuture<'a, Vec<prom::Outcome>> {
            self.asked
                .lock()
                .unwrap()
                .extend(questions.iter().map(|question| question.query.clone()));
            let answer = |question: &prom::Question| match self.answers.get(question.query.as_str()) {
                Some(value) => prom::Outcome::Series(vec![prom::Series {
                    labels: String::new(),
                    value: *value,
                }]),
                None => prom::Outcome::Empty,
            };
            Box::pin(std::future::ready(questions.iter().map(answer).collect()))
        }

        fn label_names<'a>(
            &'a self,
            _server: (Option<&'a str>, &'a str),
            metric: &'a str,
            _now: Timestamp,
            _lookback: Duration,
            _deadline: Duration,
        ) -> BoxFuture<'a, Result<BTreeSet<String>, Failure>> {
            self.looked_up.lock().unwrap().push(metric.to_owned());
            let known = self.labels.clone().filter(|_| metric != "down");
            let labels = known.ok_or_else(|| Failure::Refused("down".into()));
            Box::pin(async move {
                let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_at_once.fetch_max(now, Ordering::SeqCst);
                tokio::task::yield_now().await;
                self.at_once.fetch_sub(1, Ordering::SeqCst);
                labels
            })
        }
    }

    fn question(query: &str, per_request: bool) -> Question {
        Question {
            metric: query.to_owned(),
            side: Side::Canary,
            query: query.to_owned(),
            traffic: "traffic".to_owned(),
            hides_absence: false,
            unnamed: false,
            per_request,
            names: [("errors".to_owned(), ["code", "pod"].map(str::to_owned).into())].into(),
        }
    }

    async fn ask(fake: &Fake, questions: Vec<Question>, known: KnownNames) -> (Vec<Answer>, KnownNames) {
        let (answers, _, known) = ask_all(fake, (questions, Vec::new()), known).await;
        (answers, known)
    }

    async fn ask_all(
        fake: &Fake,
        (questions, samples): (Vec<Question>, Vec<SampleQuestion>),
        known: KnownNames,
    ) -> (Vec<Answer>, Vec<SampleAnswer>, KnownNames) {
        let id = CheckId {
            rollout: "r".into(),
            step: 1,
            plan: Plan::default(),
        };
        let request = CheckRequest {
            id,
            server: None,
            deadline: Span::secs(5),
            questions,
            samples,
            scrape: Span::secs(1),
        };
        let mut asker = Asker {
            prometheus: fake,
            namespace: "shop",
            request: &request,
            asked_at: Timestamp::UNIX_EPOCH,
            known,
        };
        let (answers, samples) = asker.ask().await;
        (answers, samples, asker.known)
    }

    #[tokio::test]
    async fn a_selector_without_series_is_told_with_the_names_that_nobody_knows() {
        let asked = SampleQuestion {
            metric: "own".to_owned(),
            side: Side::Canary,
            counted: Some(Counted::Part),
            query: "errors{pod=~\"x\"}[60000ms]".to_owned(),
            names: question("q", false).names,
            from: Timestamp::UNIX_EPOCH,
            at: Timestamp::UNIX_EPOCH,
        };
        let told = async |fake: &Fake, known| {
            let (_, samples, known) = ask_all(fake, (Vec::new(), vec![asked.clone()]), known).await;
            (samples[0].unknown_names.clone(), known)
        };
        let nobody = Fake {
            labels: Some(labels(&[])),
            ..Fake::default()
        };
        let (names, known) = told(&nobody, KnownNames::default()).await;
        assert_eq!(names, Ok(vec!["errors".to_owned()]));
        let there = Fake {
            labels: Some(labels(&["code", "pod"])),
            ..Fake::default()
        };
        let (names, known) = told(&there, known).await;
        assert_eq!(names, Ok(Vec::new()));
        // Once known, always known; and what cannot be looked up is not.
        assert_eq!(told(&Fake::default(), known).await.0, Ok(Vec::new()));
        assert!(told(&Fake::default(), KnownNames::default()).await.0.is_err());
    }

    fn labels(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_value_is_all_that_is_asked_for() {
        let fake = Fake {
            answers: [("q", 2.5)].into(),
            ..Fake::default()
        };
        let (answers, _) = ask(&fake, vec![question("q", false)], KnownNames::default()).await;
        assert_eq!(
            answers[0].outcome,
            Outcome::Series(vec![Point {
                labels: String::new(),
                value: 2.5
            }])
        );
        assert_eq!(
            (answers[0].traffic.clone(), fake.asked.lock().unwrap().len()),
            (None, 1)
        );
    }

    #[tokio::test]
    async fn an_empty_answer_is_told_with_the_traffic_and_the_names_that_nobody_knows() {
        let fake = Fake {
            answers: [("traffic", 3.0)].into(),
            labels: Some(labels(&["__name__", "code"])),
            ..Fake::default()
        };
        let (answers, known) = ask(&fake, vec![question("q", false)], KnownNames::default()).await;
        assert_eq!(
            answers[0].outcome,
            Outcome::Empty {
                unknown_names: Ok(vec!["errors{pod}".to_owned()])
            }
        );
        assert_eq!(answers[0].traffic, Some(Ok(3.0)));
        assert!(
            known.names.contains("errors{code}") && !known.names.contains("errors{pod}"),
            "{known:?}"
        );
    }

    #[tokio::test]
    async fn a_metric_that_does_not_exist_is_named_and_its_labels_are_looked_up_when_it_does() {
        let fake = Fake {
            labels: Some(labels(&[])),
            ..Fake::default()
        };
        let (answers, known) = ask(&fake, vec![question("q", false)], KnownNames::default()).await;
        assert_eq!(
            answers[0].outcome,
            Outcome::Empty {
                unknown_names: Ok(vec!["errors".to_owned()])
            }
        );
        assert_eq!(answers[0].traffic, Some(Ok(0.0)));
        let there = Fake {
            labels: Some(labels(&["code"])),
            ..fake
        };
        for known in [
            known.clone(),
            ask(&there, vec![question("q", false)], known).await.1,
        ] {
            let (answers, _) = ask(&there, vec![question("q", false)], known).await;
            assert_eq!(
                answers[0].outcome,
                Outcome::Empty {
                    unknown_names: Ok(vec!["errors{pod}".to_owned()])
                }
            );
        }
    }

    #[tokio::test]
    async fn names_that_are_known_are_not_looked_up_again() {
        let fake = Fake {
            labels: Some(labels(&["code", "pod"])),
            ..Fake::default()
        };
        let (_, known) = ask(
            &fake,
            vec![question("q", false), question("p", false)],
            KnownNames::default(),
        )
        .await;
        assert_eq!(*fake.looked_up.lock().unwrap(), ["errors"]);
        let (answers, _) = ask(&fake, vec![question("q", false)], known).await;
        assert_eq!(*fake.looked_up.lock().unwrap(), ["errors"]);
        assert_eq!(
            answers[0].outcome,
            Outcome::Empty {
                unknown_names: Ok(vec![])
            }
        );
    }

    #[tokio::test]
    async fn names_that_cannot_be_looked_up_are_not_taken_for_known() {
        let (answers, known) = ask(
            &Fake::default(),
            vec![question("q", false)],
            KnownNames::default(),
        )
        .await;
        assert!(
            matches!(&answers[0].outcome, Outcome::Empty { unknown_names: Err(why) } if why.contains("down"))
        );
        assert!(known.names.is_empty());
    }

    #[tokio::test]
    async fn of_many_names_a_few_are_looked_up_at_a_time_and_those_that_were_found_once() {
        let fake = Fake {
            labels: Some(labels(&["code"])),
            ..Fake::default()
        };
        let one = |metric: String| Question {
            names: [(metric.clone(), labels(&["code"]))].into(),
            ..question(&metric, false)
        };
        let questions = || {
            let many = (0..10).map(|i| one(format!("m{i}")));
            many.chain([one("down".to_owned())]).collect::<Vec<_>>()
        };
        let (answers, known) = ask(&fake, questions(), KnownNames::default()).await;
        assert_eq!(fake.most_at_once.load(Ordering::SeqCst), LOOKUPS);
        assert_eq!(fake.looked_up.lock().unwrap().len(), 11);
        let failed = |answer: &Answer| {
            matches!(
                &answer.outcome,
                Outcome::Empty {
                    unknown_names: Err(_)
                }
            )
        };
        let failed = answers
            .iter()
            .filter(|answer| failed(answer))
            .map(|answer| answer.metric.as_str());
        assert_eq!(failed.collect::<Vec<_>>(), ["down"], "one hides no other");

        fake.looked_up.lock().unwrap().clear();
        let (_, known) = ask(&fake, questions(), known).await;
        assert_eq!(*fake.looked_up.lock().unwrap(), ["down"]);
        assert!(!known.names.contains("down"));
    }

    #[tokio::test]
    async fn a_reading_per_request_asks_for_the_traffic_at_once() {
        let fake = Fake {
            answers: [("q", 1.0), ("traffic", 8.0)].into(),
            ..Fake::default()
        };
        let (answers, _) = ask(&fake, vec![question("q", true)], KnownNames::default()).await;
        assert_eq!(answers[0].traffic, Some(Ok(8.0)));
        assert!(fake.looked_up.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_empty_answer_of_a_query_without_a_metric_name_is_no_zero() {
        let fake = Fake {
            answers: [("traffic", 8.0)].into(),
            labels: Some(labels(&["code", "pod"])),
            ..Fake::default()
        };
        let unnamed = Question {
            unnamed: true,
            ..question("q", false)
        };
        let (answers, _) = ask(&fake, vec![unnamed], KnownNames::default()).await;
        let Outcome::Empty {
            unknown_names: Err(why),
        } = &answers[0].outcome
        else {
            panic!("{answers:?}")
        };
        assert!(why.contains("no metric name"), "{why}");
    }

    #[tokio::test]
    async fn a_query_that_always_answers_counts_as_empty_where_its_names_are_not_known() {
        let fake = Fake {
            answers: [("q", 0.0)].into(),
            labels: Some(labels(&["code"])),
            ..Fake::default()
        };
        let always = Question {
            hides_absence: true,
            unnamed: false,
            ..question("q", false)
        };
        let (answers, _) = ask(&fake, vec![always.clone()], KnownNames::default()).await;
        assert_eq!(
            answers[0].outcome,
            Outcome::Empty {
                unknown_names: Ok(vec!["errors{pod}".to_owned()])
            }
        );
        let known = Fake {
            labels: Some(labels(&["code", "pod"])),
            ..fake
        };
        let (answers, _) = ask(&known, vec![always], KnownNames::default()).await;
        assert!(matches!(answers[0].outcome, Outcome::Series(_)), "{answers:?}");
    }
}
