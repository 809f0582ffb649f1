//! Long stretches of the past: raw samples of selectors, and queries over a range. Answers are read straight into columns
//! of numbers, so that a chunk of many thousand samples costs little more than itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::answer::Answer;
use super::decode::Number;
use super::outcome::{Failure, OutcomeClass};
use super::server::{Reading, Server, unix_seconds};

/// The most bytes of one answer about the past that are read.
pub const MAX_HISTORY: usize = 64 << 20;

/// One series of the past.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its labels, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds since 1970 and value, oldest first. Values may be NaN or infinite.
    pub samples: Vec<(i64, f64)>,
}

/// An answer about the past.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// Its series.
    pub series: Vec<Column>,
    /// How long it was, bytes.
    pub bytes: usize,
}

impl Past {
    /// How many samples it has.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }
}

#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    // Absent where the samples are native histograms.
    #[serde(default)]
    values: Option<Vec<(f64, Number)>>,
}

impl Answer {
    fn past(&self) -> Result<Past, Failure> {
        self.check()?;
        let bytes = self.reply.body.len();
        let body: Body = serde_json::from_slice(&self.reply.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Failure::Malformed(format!("it is not as documented at line {line}, column {column}"))
        })?;
        if body.data.result_type != "matrix" {
            return Err(Failure::Malformed("it has no samples".to_owned()));
        }
        let column = |Row { metric, values }: Row| {
            let values = values.ok_or(Failure::Histogram)?;
            Ok(Column {
                labels: metric,
                samples: values
                    .into_iter()
                    .map(|(at, Number(value))| (millis(at), value))
                    .collect(),
            })
        };
        let series: Result<Vec<Column>, Failure> = body.data.result.into_iter().map(column).collect();
        Ok(Past {
            series: series?,
            bytes,
        })
    }
}

/// Prometheus writes seconds with milliseconds.
fn millis(seconds: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "times of samples, brought in range"
    )]
    let millis = (seconds * 1000.0).round() as i64;
    millis
}

impl Server {
    /// The raw samples of a selector with a range (`counter{…}[2h]`) up to `at`.
    ///
    /// # Errors
    /// The server did not answer, or not with samples.
    pub async fn past_samples(
        &self,
        selector: &str,
        at: Timestamp,
        deadline: Duration,
    ) -> Result<Past, Failure> {
        let form = [("query", selector.to_owned()), ("time", unix_seconds(at))];
        self.past("query", &form, deadline).await
    }

    /// What a query answers from `start` to `end`, both inclusive, every `step`.
    ///
    /// # Errors
    /// The server did not answer, or not with samples.
    pub async fn past_values(
        &self,
        promql: &str,
        (start, end): (Timestamp, Timestamp),
        step: Duration,
        deadline: Duration,
    ) -> Result<Past, Failure> {
        let form = [
            ("query", promql.to_owned()),
            ("start", unix_seconds(start)),
            ("end", unix_seconds(end)),
            ("step", format!("{:.3}", step.as_secs_f64())),
        ];
        self.past("query_range", &form, deadline).await
    }

    async fn past(&self, path: &str, form: &[(&str, String)], deadline: Duration) -> Result<Past, Failure> {
        let begun = Instant::now();
        let answer = self
            .post_for(path, form, None, deadline, Reading::alone(MAX_HISTORY))
            .await;
        let result = answer.and_then(|answer| answer.past());
        let class = match &result {
            Ok(past) if past.series.is_empty() => OutcomeClass::Empty,
            Ok(_) => OutcomeClass::Ok,
            Err(failure) => failure.class(),
        };
        self.observer.on_query(self.name(), class, begun.elapsed());
        result
    }
}
