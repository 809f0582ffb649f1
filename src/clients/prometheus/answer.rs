//! What Prometheus answers, as types: a number, nothing, or a reason why there is no number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::UnknownServer;
use crate::clients::http::{CallError, MAX_REASON, Reply, human, tidy};
use crate::core::query::RestrictError;

/// Results with more series than this are not read.
pub const MAX_SERIES: usize = 100;

/// One series of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels, `__name__` among them; none for a scalar.
    pub labels: BTreeMap<String, String>,
    /// Its value; may be NaN or infinite.
    pub value: f64,
}

/// One series' raw samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Its labels, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// When each was scraped, to the millisecond, and its value, oldest first.
    pub samples: Vec<(Timestamp, f64)>,
}

/// What came of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// One series or more, at most [`MAX_SERIES`]. A scalar is one without labels.
    Series(Vec<Series>),
    /// No series.
    Empty,
    /// More series than [`MAX_SERIES`]: this many.
    TooMany(usize),
    /// No usable answer.
    Failed(Failure),
}

/// Why there is no usable answer, in words for people; never a credential, never more than a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection; why.
    #[error("Prometheus cannot be reached: {0}")]
    Refused(String),
    /// The connection broke before the answer was whole.
    #[error("the connection to Prometheus broke: {0}")]
    Broken(String),
    /// The deadline passed first.
    #[error("Prometheus did not answer within {}", human(*.0))]
    Timeout(Duration),
    /// So many queries were under way already that the deadline passed first.
    #[error("{in_flight} queries were before this one for all of {}", human(*.waited))]
    Busy {
        /// How many may be under way.
        in_flight: usize,
        /// The deadline.
        waited: Duration,
    },
    /// The server says no.
    #[error("Prometheus answered {code}{}", said(error_type, message))]
    Status {
        /// The HTTP status; 2xx where only the body says error.
        code: u16,
        /// Prometheus's own class of error (`bad_data`, `execution`, `timeout`), or empty.
        error_type: String,
        /// Its message, at most 200 characters, or empty.
        message: String,
    },
    /// The result may be incomplete: what the server warns of, at most three.
    #[error("Prometheus warned: {}", .0.join("; "))]
    Warnings(Vec<String>),
    /// A native histogram where a number was expected.
    #[error("the query gives a native histogram, not a number: use histogram_quantile or the like")]
    Histogram,
    /// A string where a number was expected.
    #[error("the query gives a string, not a number")]
    StringResult,
    /// A range vector where an instant vector was expected.
    #[error("the query gives a range vector, not a number for each series")]
    Matrix,
    /// The answer is larger than is read; the limit in bytes.
    #[error("Prometheus's answer is larger than {} MiB, the most that is read", .0 >> 20)]
    TooLarge(usize),
    /// Not the answer of a Prometheus.
    #[error("the answer is not one of a Prometheus: {0}")]
    Malformed(String),
    /// Our credentials for the server cannot be read.
    #[error("the credentials for Prometheus cannot be used: {0}")]
    Credentials(String),
    /// No server of that name.
    #[error(transparent)]
    NoServer(#[from] UnknownServer),
    /// The server may be asked about some series only, and the query is not about those.
    #[error("the query is not put to this Prometheus server: {0}")]
    Restricted(#[from] RestrictError),
}

fn said(error_type: &str, message: &str) -> String {
    match (error_type, message) {
        ("", "") => String::new(),
        (one, "") | ("", one) => format!(": {one}"),
        (class, message) => format!(" ({class}): {message}"),
    }
}

/// Outcomes in classes, few and fixed, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "as_str is their meaning")]
pub enum OutcomeClass {
    Ok,
    Empty,
    Nan,
    TooManySeries,
    Timeout,
    Refused,
    Status3xx,
    Status4xx,
    Status5xx,
    Warnings,
    TooLarge,
    Malformed,
    Unsupported,
    Misconfigured,
}

impl OutcomeClass {
    /// Every class.
    pub const ALL: [Self; 14] = [
        Self::Ok,
        Self::Empty,
        Self::Nan,
        Self::TooManySeries,
        Self::Timeout,
        Self::Refused,
        Self::Status3xx,
        Self::Status4xx,
        Self::Status5xx,
        Self::Warnings,
        Self::TooLarge,
        Self::Malformed,
        Self::Unsupported,
        Self::Misconfigured,
    ];

    /// The value of a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Empty => "empty",
            Self::Nan => "nan",
            Self::TooManySeries => "too_many_series",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Status3xx => "status_3xx",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::Warnings => "warnings",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl Outcome {
    /// Its class.
    #[must_use]
    pub fn class(&self) -> OutcomeClass {
        match self {
            Self::Series(series) if series.iter().any(|s| s.value.is_nan()) => OutcomeClass::Nan,
            Self::Series(_) => OutcomeClass::Ok,
            Self::Empty => OutcomeClass::Empty,
            Self::TooMany(_) => OutcomeClass::TooManySeries,
            Self::Failed(failure) => failure.class(),
        }
    }
}

impl Failure {
    /// Its class.
    #[must_use]
    pub fn class(&self) -> OutcomeClass {
        match self {
            Self::Refused(_) | Self::Broken(_) => OutcomeClass::Refused,
            Self::Timeout(_) | Self::Busy { .. } => OutcomeClass::Timeout,
            Self::Status { error_type, .. } if error_type == "timeout" => OutcomeClass::Timeout,
            Self::Status { code: 300..=399, .. } => OutcomeClass::Status3xx,
            Self::Status { code: 500.., .. } => OutcomeClass::Status5xx,
            Self::Status { .. } => OutcomeClass::Status4xx,
            Self::Warnings(_) => OutcomeClass::Warnings,
            Self::Histogram | Self::StringResult | Self::Matrix => OutcomeClass::Unsupported,
            Self::TooLarge(_) => OutcomeClass::TooLarge,
            Self::Malformed(_) => OutcomeClass::Malformed,
            Self::Credentials(_) | Self::NoServer(_) | Self::Restricted(_) => OutcomeClass::Misconfigured,
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(why) => Self::Refused(why),
            CallError::Timeout(after) => Self::Timeout(after),
            CallError::Broken(why) => Self::Broken(why),
            CallError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// Everything of an answer but its data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Body<D> {
    data: D,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    result_type: String,
}

#[derive(Deserialize)]
pub(super) struct Found<R> {
    pub(super) result: R,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    // Absent where the sample is a native histogram.
    #[serde(default)]
    value: Option<(f64, String)>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    // Absent where the samples are native histograms.
    #[serde(default)]
    values: Option<Vec<(f64, String)>>,
}

/// An answer, and the secrets that its messages must not repeat.
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) secrets: Vec<SecretString>,
}

impl Answer {
    /// Reads the answer to an instant query.
    pub(super) fn outcome(&self) -> Result<Outcome, Failure> {
        self.check()?;
        match self.data::<Kind>()?.result_type.as_str() {
            "vector" => self.vector(),
            "scalar" => {
                let (_, text) = self.data::<Found<(f64, String)>>()?.result;
                Ok(Outcome::Series(vec![Series {
                    labels: BTreeMap::new(),
                    value: number(&text)?,
                }]))
            }
            "matrix" => Err(Failure::Matrix),
            "string" => Err(Failure::StringResult),
            _ => Err(Failure::Malformed("its result is of an unknown type".to_owned())),
        }
    }

    /// Reads the answer to a selector with a range.
    pub(super) fn samples(&self) -> Result<Vec<Samples>, Failure> {
        self.check()?;
        if self.data::<Kind>()?.result_type != "matrix" {
            return Err(Failure::Malformed("it has no samples".to_owned()));
        }
        let series = |Range { metric, values }| {
            let values = values.ok_or(Failure::Histogram)?.into_iter();
            let samples = values.map(|(at, text)| Ok((moment(at)?, number(&text)?)));
            Ok(Samples {
                labels: metric,
                samples: samples.collect::<Result<_, Failure>>()?,
            })
        };
        self.data::<Found<Vec<Range>>>()?
            .result
            .into_iter()
            .map(series)
            .collect()
    }

    /// Reads an answer whose data is a list of names.
    pub(super) fn names(&self) -> Result<BTreeSet<String>, Failure> {
        self.check()?;
        self.data()
    }

    /// Anything that casts doubt on an answer makes it a failure.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let success = self.reply.status.is_success();
        let Ok(envelope) = serde_json::from_slice::<Envelope>(&self.reply.body) else {
            return Err(if success {
                Failure::Malformed("it is not the JSON of the query API".to_owned())
            } else {
                self.status("", &plain_text(&self.reply))
            });
        };
        if !success || envelope.status != "success" {
            return Err(self.status(&envelope.error_type, &envelope.error));
        }
        // `infos` beside a result change nothing; warnings mean that it may be incomplete.
        let warnings = envelope.warnings.unwrap_or_default();
        if !warnings.is_empty() {
            let told = warnings
                .iter()
                .take(3)
                .map(|warning| self.tell(warning, MAX_REASON));
            return Err(Failure::Warnings(told.collect()));
        }
        Ok(())
    }

    /// The data, read as `D`. Reading a body twice is cheaper than keeping a tree of megabytes.
    pub(super) fn data<D: DeserializeOwned>(&self) -> Result<D, Failure> {
        serde_json::from_slice::<Body<D>>(&self.reply.body)
            .map(|body| body.data)
            .map_err(|error| {
                let (line, column) = (error.line(), error.column());
                Failure::Malformed(format!("it is not as documented at line {line}, column {column}"))
            })
    }

    fn vector(&self) -> Result<Outcome, Failure> {
        match self.data::<Found<Vec<IgnoredAny>>>()?.result.len() {
            0 => return Ok(Outcome::Empty),
            count if count > MAX_SERIES => return Ok(Outcome::TooMany(count)),
            _ => {}
        }
        let samples = self.data::<Found<Vec<Sample>>>()?.result;
        let series = |Sample { metric, value }| {
            let (_, text) = value.ok_or(Failure::Histogram)?;
            Ok(Series {
                labels: metric,
                value: number(&text)?,
            })
        };
        samples
            .into_iter()
            .map(series)
            .collect::<Result<_, _>>()
            .map(Outcome::Series)
    }

    fn status(&self, error_type: &str, message: &str) -> Failure {
        Failure::Status {
            code: self.reply.status.as_u16(),
            error_type: self.tell(error_type, 40),
            message: self.tell(message, MAX_REASON),
        }
    }

    /// The server's words, fit to be shown: a line, bounded, and none of our secrets if it echoes them.
    fn tell(&self, text: &str, max: usize) -> String {
        let mut text = text.to_owned();
        // Shorter ones are tenants called `1` rather than secrets.
        for secret in self
            .secrets
            .iter()
            .map(ExposeSecret::expose_secret)
            .filter(|secret| secret.len() > 3)
        {
            text = text.replace(secret, "***");
        }
        tidy(&text, max)
    }
}

pub(super) fn number(text: &str) -> Result<f64, Failure> {
    text.parse()
        .map_err(|_| Failure::Malformed("a value is no number".to_owned()))
}

/// Prometheus writes seconds with milliseconds.
fn moment(seconds: f64) -> Result<Timestamp, Failure> {
    let millis = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "a time out of range is refused")]
    Timestamp::from_millisecond(millis as i64)
        .map_err(|_| Failure::Malformed("a sample's time is out of range".to_owned()))
}

/// What a proxy or a Mimir says without JSON. A page made for browsers says nothing worth repeating.
fn plain_text(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    if text.trim_start().starts_with('<') {
        String::new()
    } else {
        text.into_owned()
    }
}
