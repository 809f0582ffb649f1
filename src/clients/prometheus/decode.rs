//! Reads the series of an answer one after the other, so that of a large answer no more is kept than is wanted, and
//! reading ends where a limit does.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::answer::{Answer, Brief};
use super::outcome::{Failure, MAX_SERIES, Outcome, Series};
use super::room::{SAMPLES_OF_ONE, SampleRoom};
use crate::clients::http::{MAX_REASON, tidy};
use crate::core::observation::SampleSeries;

/// The most samples of one check that are read, those of all its metrics together.
pub const MOST_SAMPLES: usize = 400_000;

/// The most names that one look-up may bring.
const MOST_NAMES: usize = 10_000;

/// What a label takes beside its text, in bytes: two strings in a map, and what the allocator adds.
const LABEL: usize = 112;

/// Of samples, a label with more is refused before there is a second one of it in memory.
const LONGEST_LABEL: usize = 1 << 20;

/// Data with a result that is read later.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data<'a> {
    pub(super) result_type: Brief,
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    metric: Option<&'a RawValue>,
    // Absent where the sample is a native histogram.
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    // The same of several.
    #[serde(borrow)]
    values: Option<&'a RawValue>,
}

/// A number that is written as text.
pub(super) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// What one check may still keep of samples: all of its questions share it.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    samples: AtomicUsize,
    bytes: AtomicUsize,
}

impl Allowance {
    fn take(&self, room: &mut SampleRoom, samples: usize, bytes: usize) -> Result<(), Failure> {
        let taken = self.samples.fetch_add(samples, Ordering::Relaxed) + samples;
        if taken > MOST_SAMPLES {
            return Err(Failure::TooManySamples);
        }
        let taken = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken > SAMPLES_OF_ONE {
            return Err(Failure::SamplesTooLarge);
        }
        room.grow(bytes).then_some(()).ok_or(Failure::NoRoom)
    }
}

impl Answer {
    /// Reads a vector.
    pub(super) fn vector(result: &RawValue) -> Result<Outcome, Failure> {
        let (mut all, mut count) = (Vec::new(), 0);
        each(result, |row: &RawValue| {
            count += 1;
            if count <= MAX_SERIES {
                all.push(series(row)?);
            }
            Ok(())
        })?;
        Ok(match count {
            0 => Outcome::Empty,
            count if count > MAX_SERIES => Outcome::TooMany(count),
            _ => Outcome::Series(all),
        })
    }

    /// Reads the answer to a selector with a range.
    pub(super) fn samples(
        &self,
        allowance: &Allowance,
        room: &mut SampleRoom,
    ) -> Result<Vec<SampleSeries>, Failure> {
        self.check()?;
        let data: Data = self.data()?;
        if data.result_type.0 != "matrix" {
            return Err(Failure::Malformed("it has no samples".to_owned()));
        }
        let mut all = Vec::new();
        let result = data.result.ok_or_else(misshapen)?;
        // One buffer for all: what is kept of it is exactly as long as it has to be.
        let mut buffer = Vec::new();
        each(result, |row: Row| {
            let mut one = SampleSeries {
                labels: BTreeMap::new(),
                samples: Vec::new(),
            };
            allowance.take(room, 0, 2 * size_of::<SampleSeries>())?;
            each_label(row.metric, |name, value| {
                // As it stands there a text is longer, if anything.
                let (name_length, value_length) = (name.get().len(), value.get().len());
                if name_length.max(value_length) > LONGEST_LABEL {
                    return Err(Failure::SamplesTooLarge);
                }
                allowance.take(room, 0, LABEL + name_length + value_length)?;
                one.labels.insert(text(name)?, text(value)?);
                Ok(())
            })?;
            buffer.clear();
            each(
                row.values.ok_or(Failure::Histogram)?,
                |(at, Number(value)): (f64, Number)| {
                    allowance.take(room, 1, size_of::<(Timestamp, f64)>())?;
                    buffer.push((moment(at)?, value));
                    Ok(())
                },
            )?;
            one.samples = buffer.as_slice().to_vec();
            all.push(one);
            Ok(())
        })?;
        Ok(all)
    }

    /// Reads an answer whose data is a list of names.
    pub(super) fn names(&self) -> Result<BTreeSet<String>, Failure> {
        self.check()?;
        let mut names = BTreeSet::new();
        each(self.data()?, |name: String| {
            if names.len() == MOST_NAMES {
                return Err(Failure::Malformed(format!("it has more than {MOST_NAMES} names")));
            }
            names.insert(name);
            Ok(())
        })?;
        Ok(names)
    }
}

fn series(row: &RawValue) -> Result<Series, Failure> {
    let row: Row = serde_json::from_str(row.get()).map_err(|_| misshapen())?;
    let value = row.value.ok_or(Failure::Histogram)?;
    let (_, Number(value)): (f64, Number) = serde_json::from_str(value.get()).map_err(|_| misshapen())?;
    Ok(Series {
        labels: shown(row.metric)?,
        value,
    })
}

/// Labels as people write them, as far as they are shown: a query makes them of any text, and as much of it as it likes.
fn shown(labels: Option<&RawValue>) -> Result<String, Failure> {
    let mut text = String::new();
    each_label(labels, |name, value| {
        if text.len() <= 4 * MAX_REASON {
            let comma = if text.is_empty() { "" } else { ", " };
            let (name, value) = (self::text(name)?, self::text(value)?);
            let value: String = value.chars().take(MAX_REASON + 1).collect();
            let name: String = name.chars().take(MAX_REASON + 1).collect();
            // Writing into a String cannot fail.
            let _ = write!(text, "{comma}{}={value:?}", quoted(&name));
        }
        Ok(())
    })?;
    let text = tidy(&text, MAX_REASON);
    Ok(if text.is_empty() {
        text
    } else {
        format!("{{{text}}}")
    })
}

fn text(raw: &RawValue) -> Result<String, Failure> {
    serde_json::from_str(raw.get()).map_err(|_| misshapen())
}

/// The name of a label or a metric; one that is no word, as Prometheus allows, in quotes.
fn quoted(name: &str) -> Cow<'_, str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if name.chars().all(is_word) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("{name:?}"))
}

/// Prometheus writes seconds with milliseconds.
fn moment(seconds: f64) -> Result<Timestamp, Failure> {
    let millis = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "a time out of range is refused")]
    Timestamp::from_millisecond(millis as i64)
        .map_err(|_| Failure::Malformed("a sample's time is out of range".to_owned()))
}

pub(super) fn misshapen() -> Failure {
    Failure::Malformed("it is not as documented".to_owned())
}

/// Hands over the elements of a list, one at a time, until one is refused.
fn each<'a, T: Deserialize<'a>>(
    list: &'a RawValue,
    take: impl FnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut refused = None;
    let elements = Elements {
        take,
        refused: &mut refused,
        of: PhantomData,
    };
    let read = serde_json::Deserializer::from_str(list.get()).deserialize_seq(elements);
    read.map_err(|_| refused.unwrap_or_else(misshapen))
}

/// The same of labels, if there are any, as they stand there: they may be of any size.
fn each_label<'a>(
    labels: Option<&'a RawValue>,
    take: impl FnMut(&'a RawValue, &'a RawValue) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(labels) = labels else { return Ok(()) };
    let mut refused = None;
    let entries = Entries {
        take,
        refused: &mut refused,
    };
    let read = serde_json::Deserializer::from_str(labels.get()).deserialize_map(entries);
    read.map_err(|_| refused.unwrap_or_else(misshapen))
}

struct Elements<'r, T, F> {
    take: F,
    refused: &'r mut Option<Failure>,
    of: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>, F: FnMut(T) -> Result<(), Failure>> Visitor<'a> for Elements<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if let Err(failure) = (self.take)(element) {
                *self.refused = Some(failure);
                return Err(de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

struct Entries<'r, F> {
    take: F,
    refused: &'r mut Option<Failure>,
}

impl<'a, F: FnMut(&'a RawValue, &'a RawValue) -> Result<(), Failure>> Visitor<'a> for Entries<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut labels: A) -> Result<(), A::Error> {
        while let Some((name, value)) = labels.next_entry()? {
            if let Err(failure) = (self.take)(name, value) {
                *self.refused = Some(failure);
                return Err(de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn labels_of_any_text_are_one_short_line() {
        let labels = |name: &str, value: &str| {
            let labels = serde_json::json!({name: value}).to_string();
            shown(Some(&raw(&labels))).unwrap()
        };
        assert_eq!(
            labels("pod", "a\n\u{1b}[2J\u{202e}"),
            r#"{pod="a\n\u{1b}[2J\u{202e}"}"#
        );
        assert_eq!(labels("a\"=\n*fake*", "b"), r#"{"a\"=\n*fake*"="b"}"#);
        for long in [
            labels("pod", &"é".repeat(1 << 20)),
            labels(&"é".repeat(1 << 20), "pod"),
        ] {
            assert_eq!(long.chars().count(), MAX_REASON + 2, "{long}");
        }
    }
}
