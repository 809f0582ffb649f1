//! A Prometheus that answers what the test says, when the test says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::clients::prometheus::{Failure, Outcome, Prometheus, Question, Series};
use birdwatch::core::observation::SampleSet;
use futures::future::BoxFuture;
use jiff::Timestamp;

#[derive(Clone)]
pub(crate) struct FakePrometheus(Arc<Mutex<State>>);

struct State {
    outcome: Outcome,
    delay: Duration,
    /// Only queries with this text are slow.
    slow: String,
    asked: Vec<Question>,
    looked_up: usize,
    names: BTreeSet<String>,
}

impl Default for FakePrometheus {
    /// Answers 0, at once.
    fn default() -> Self {
        let names = ["__name__", "destination_service_name", "response_code"]
            .map(str::to_owned)
            .into();
        let state = State {
            outcome: one(0.0),
            delay: Duration::ZERO,
            slow: String::new(),
            asked: Vec::new(),
            looked_up: 0,
            names,
        };
        Self(Arc::new(Mutex::new(state)))
    }
}

fn one(value: f64) -> Outcome {
    Outcome::Series(vec![Series {
        labels: String::new(),
        value,
    }])
}

impl FakePrometheus {
    pub(crate) fn answers(&self, value: f64) {
        self.0.lock().unwrap().outcome = one(value);
    }

    pub(crate) fn fails(&self, outcome: Outcome) {
        self.0.lock().unwrap().outcome = outcome;
    }

    pub(crate) fn takes(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    pub(crate) fn is_slow_for(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap().slow);
    }

    pub(crate) fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    pub(crate) fn questions(&self) -> Vec<Question> {
        self.0.lock().unwrap().asked.clone()
    }

    pub(crate) fn looked_up(&self) -> usize {
        self.0.lock().unwrap().looked_up
    }

    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().asked.clear();
    }
}

impl Prometheus for FakePrometheus {
    fn samples_all<'a>(
        &'a self,
        questions: &'a [(Question, Timestamp)],
        _deadline: Duration,
    ) -> BoxFuture<'a, Vec<Result<SampleSet, Failure>>> {
        let asked = questions.iter().map(|(question, _)| question.clone());
        self.0.lock().unwrap().asked.extend(asked);
        let none = |_| Ok(SampleSet::default());
        Box::pin(std::future::ready(questions.iter().map(none).collect()))
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        _at: Option<Timestamp>,
        deadline: Duration,
    ) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let (delay, outcome) = {
                let mut state = self.0.lock().unwrap();
                state.asked.extend(questions.iter().cloned());
                let slow = questions
                    .iter()
                    .any(|question| question.query.contains(&state.slow));
                (
                    if slow { state.delay } else { Duration::ZERO },
                    state.outcome.clone(),
                )
            };
            tokio::time::sleep(delay.min(deadline)).await;
            let late = delay > deadline;
            let answer = if late {
                Outcome::Failed(Failure::Timeout(deadline))
            } else {
                outcome
            };
            questions.iter().map(|_| answer.clone()).collect()
        })
    }

    fn label_names<'a>(
        &'a self,
        _server: (Option<&'a str>, &'a str),
        _metric: &'a str,
        _now: Timestamp,
        _lookback: Duration,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<BTreeSet<String>, Failure>> {
        let mut state = self.0.lock().unwrap();
        state.looked_up += 1;
        let names = state.names.clone();
        Box::pin(async move { Ok(names) })
    }
}
