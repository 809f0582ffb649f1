//! What comes of a question to Prometheus, as types: a number, nothing, or a reason why there is no number.

use std::time::Duration;

use super::UnknownServer;
use super::decode::MOST_SAMPLES;
use super::room::{ALL_SAMPLES, SAMPLES_OF_ONE};
use crate::clients::http::{CallError, human};
use crate::core::query::RestrictError;

/// Results with more series than this are not read.
pub const MAX_SERIES: usize = 100;

/// One series of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels as people write them, in one line of some 200 characters at most; empty for one without any.
    pub labels: String,
    /// Its value; may be NaN or infinite.
    pub value: f64,
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
    /// The result may be incomplete: what the server warns of, at most three of it and how many more.
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
    /// There was no room for the answer, large ones of others being read, until the deadline passed.
    #[error("for {} there was no room to read the answer, because of other large answers", human(*.0))]
    Waited(Duration),
    /// The rest of a large answer came too slowly while one of another server waited for its room.
    #[error("Prometheus sent a large answer too slowly while those of other servers waited to be read")]
    TooSlow,
    /// More samples than are read for one check.
    #[error("the metrics of one check have more than {MOST_SAMPLES} samples, the most that are read")]
    TooManySamples,
    /// The samples of one check take more memory than they may, mostly by the labels of their series.
    #[error(
        "the series of one check's metrics take more than {} MiB with their labels, the most that is kept",
        SAMPLES_OF_ONE >> 20
    )]
    SamplesTooLarge,
    /// Samples of other checks take the memory there is.
    #[error(
        "samples of other checks, of this namespace or of all, take the {} MiB or {} MiB that there are for them",
        SAMPLES_OF_ONE >> 20, ALL_SAMPLES >> 20
    )]
    NoRoom,
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
            Self::Timeout(_) | Self::Busy { .. } | Self::Waited(_) | Self::TooSlow | Self::NoRoom => {
                OutcomeClass::Timeout
            }
            Self::Status { error_type, .. } if error_type == "timeout" => OutcomeClass::Timeout,
            Self::Status { code: 300..=399, .. } => OutcomeClass::Status3xx,
            Self::Status { code: 500.., .. } => OutcomeClass::Status5xx,
            Self::Status { .. } => OutcomeClass::Status4xx,
            Self::Warnings(_) => OutcomeClass::Warnings,
            Self::Histogram | Self::StringResult | Self::Matrix => OutcomeClass::Unsupported,
            Self::TooLarge(_) | Self::TooManySamples | Self::SamplesTooLarge => OutcomeClass::TooLarge,
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
            CallError::NoRoom(after) => Self::Waited(after),
            CallError::TooSlow => Self::TooSlow,
            CallError::Broken(why) => Self::Broken(why),
            CallError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}
