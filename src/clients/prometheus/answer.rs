//! What Prometheus answers, read: its status, its warnings, its data.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::decode::{Data, Number, misshapen};
use super::outcome::{Failure, Outcome, Series};
use super::room::BodyRoom;
use crate::clients::http::{MAX_REASON, Reply, tidy};

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

/// How an info begins that is among warnings.
const INFO: &str = "PromQL info: ";

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
                while let Some(warning) = list.next_element::<Brief>()? {
                    // Prometheus before 2.54 had no list of its own for infos.
                    if warning.0.starts_with(INFO) {
                        continue;
                    }
                    all.count += 1;
                    if all.first.len() < TOLD_WARNINGS {
                        all.first.push(warning);
                    }
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
    /// `VictoriaMetrics`: a part of its storage did not answer.
    #[serde(default)]
    is_partial: Option<bool>,
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
        if envelope.is_partial == Some(true) {
            return Err(Failure::Warnings(vec!["the answer is partial".to_owned()]));
        }
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
