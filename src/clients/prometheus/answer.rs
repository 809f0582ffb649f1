//! What Prometheus answers, as types: a number, nothing, or a reason why there is no number.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::UnknownServer;
use super::decode::{Data, MOST_SAMPLES, Number, misshapen};
use super::room::{ALL_SAMPLES, BodyRoom, SAMPLES_OF_ONE};
use crate::clients::http::{CallError, MAX_REASON, Reply, human, tidy};
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

/// Of a text of a server's so many bytes are looked at.
const BRIEF: usize = 16 << 10;

/// Warnings that are repeated; the others are counted.
const TOLD_WARNINGS: usize = 3;

/// The beginning of a text, at most so many bytes of it.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A text of which no more is kept than is looked at, and a little to show that there was more.
#[derive(Default)]
pub(super) struct Brief(pub(super) String);

impl<'de> Deserialize<'de> for Brief {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Brief;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Brief, E> {
                // A character more, whatever it takes.
                Ok(Brief(cut(text, BRIEF + 4).to_owned()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The first warnings, and how many there are.
#[derive(Default)]
struct Warnings {
    first: Vec<Brief>,
    count: usize,
}

impl<'de> Deserialize<'de> for Warnings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Warnings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Warnings, A::Error> {
                let mut all = Warnings::default();
                while all.count < TOLD_WARNINGS
                    && let Some(warning) = list.next_element()?
                {
                    all.first.push(warning);
                    all.count += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    all.count += 1;
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Everything of an answer but its data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: Brief,
    #[serde(default)]
    error_type: Brief,
    #[serde(default)]
    error: Brief,
    #[serde(default)]
    warnings: Option<Warnings>,
}

#[derive(Deserialize)]
struct Body<D> {
    data: D,
}

#[derive(Deserialize)]
pub(super) struct Found<R> {
    pub(super) result: R,
}

/// An answer, and the secrets that its messages must not repeat.
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) secrets: Vec<SecretString>,
    /// What the body takes of the memory there is for such.
    pub(super) _room: Option<BodyRoom>,
}

impl Answer {
    /// Whether it is worth being read alone.
    pub(super) fn is_large(&self) -> bool {
        self.reply.body.len() > LARGE
    }

    /// Reads the answer to an instant query.
    pub(super) fn outcome(&self) -> Result<Outcome, Failure> {
        self.check()?;
        let data: Data = self.data()?;
        let result = || data.result.ok_or_else(misshapen);
        match data.result_type.0.as_str() {
            "vector" => Self::vector(result()?),
            "scalar" => {
                let scalar = serde_json::from_str(result()?.get()).map_err(|_| misshapen())?;
                let (_, Number(value)): (f64, Number) = scalar;
                Ok(Outcome::Series(vec![Series {
                    labels: String::new(),
                    value,
                }]))
            }
            "matrix" => Err(Failure::Matrix),
            "string" => Err(Failure::StringResult),
            _ => Err(Failure::Malformed("its result is of an unknown type".to_owned())),
        }
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
        if !success || envelope.status.0 != "success" {
            return Err(self.status(&envelope.error_type.0, &envelope.error.0));
        }
        // `infos` beside a result change nothing; warnings mean that it may be incomplete.
        let Warnings { first, count } = envelope.warnings.unwrap_or_default();
        if count == 0 {
            return Ok(());
        }
        let mut told: Vec<String> = first
            .iter()
            .map(|warning| self.tell(&warning.0, MAX_REASON))
            .collect();
        if count > told.len() {
            told.push(format!("and {} more", count - told.len()));
        }
        Err(Failure::Warnings(told))
    }

    /// The data, read as `D`. Reading a body twice is cheaper than keeping a tree of megabytes.
    pub(super) fn data<'a, D: Deserialize<'a>>(&'a self) -> Result<D, Failure> {
        serde_json::from_slice::<Body<D>>(&self.reply.body)
            .map(|body| body.data)
            .map_err(|error| {
                let (line, column) = (error.line(), error.column());
                Failure::Malformed(format!("it is not as documented at line {line}, column {column}"))
            })
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
        // Shorter ones are tenants called `1` rather than secrets.
        let secrets = self.secrets.iter().map(ExposeSecret::expose_secret);
        let secrets = secrets.filter(|secret| secret.len() > 3);
        let mut told = cut(text, BRIEF).to_owned();
        for secret in secrets.clone() {
            told = told.replace(secret, "***");
        }
        if text.len() > BRIEF {
            // One that was cut is not recognised.
            let longest = secrets.map(str::len).max().unwrap_or(0);
            told.truncate(cut(&told, told.len().saturating_sub(longest)).len());
        }
        tidy(&told, max)
    }
}

pub(super) fn number(text: &str) -> Result<f64, Failure> {
    text.parse()
        .map_err(|_| Failure::Malformed("a value is no number".to_owned()))
}

/// Larger bodies are read one at a time.
const LARGE: usize = 256 << 10;

/// Of what is no JSON so many bytes are looked at.
const PLAIN_TEXT: usize = 64 << 10;

/// What a proxy or a Mimir says without JSON. A page made for browsers says nothing worth repeating.
fn plain_text(reply: &Reply) -> String {
    // No more than can matter for a line of it.
    let some = reply.body.get(..PLAIN_TEXT).unwrap_or(&reply.body);
    let text = String::from_utf8_lossy(some);
    if text.trim_start().starts_with('<') {
        String::new()
    } else {
        text.into_owned()
    }
}
