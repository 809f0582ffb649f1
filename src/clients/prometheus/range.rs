//! Queries over a stretch of time. What the values mean is not known here.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::answer::{Answer, Found, number};
use super::server::{Reading, Server, unix_seconds};
use super::{Failure, MAX_SERIES};

/// The largest answer that is read, in bytes: by commands that people run, and never by the operator.
const MAX_RANGE: usize = 8 << 20;

/// A series over a stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSeries {
    /// Its labels, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// Its values with the second they are for, oldest first; moments without a value are left out.
    pub points: Vec<(i64, f64)>,
}

/// A stretch of time to ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its first moment.
    pub start: Timestamp,
    /// Its last moment.
    pub end: Timestamp,
    /// The time between two values; at most 11,000 of them are answered.
    pub step: Duration,
}

impl Server {
    /// Asks for the values of `promql` over a stretch of time. The deadline covers everything; nothing is retried.
    ///
    /// # Errors
    /// The server did not answer, or not reliably; or it answered more than [`MAX_SERIES`] series.
    pub async fn query_range(
        &self,
        promql: &str,
        stretch: Stretch,
        deadline: Duration,
    ) -> Result<Vec<RangeSeries>, Failure> {
        let form = [
            ("query", promql.to_owned()),
            ("start", unix_seconds(stretch.start)),
            ("end", unix_seconds(stretch.end)),
            ("step", format!("{}", stretch.step.as_secs_f64())),
            ("timeout", format!("{}ms", (deadline.as_millis() * 9 / 10).max(1))),
        ];
        let begun = Instant::now();
        let result = self
            .post_for("query_range", &form, None, deadline, Reading::alone(MAX_RANGE))
            .await
            .and_then(|answer| answer.series());
        self.observe(begun, result, Vec::is_empty)
    }
}

#[derive(Deserialize)]
struct Samples {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    // Absent where the samples are native histograms.
    #[serde(default)]
    values: Option<Vec<(f64, String)>>,
}

impl Answer {
    fn series(&self) -> Result<Vec<RangeSeries>, Failure> {
        self.check()?;
        let result = self.data::<Found<Vec<Samples>>>()?.result;
        if result.len() > MAX_SERIES {
            return Err(Failure::Malformed(format!("it has {} series", result.len())));
        }
        let series = |Samples { metric, values }| {
            let points = values.ok_or(Failure::Histogram)?.into_iter();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "seconds since 1970; `as` saturates"
            )]
            let point = |(at, text): (f64, String)| Ok((at as i64, number(&text)?));
            Ok(RangeSeries {
                labels: metric,
                points: points.map(point).collect::<Result<_, Failure>>()?,
            })
        };
        result.into_iter().map(series).collect()
    }
}
