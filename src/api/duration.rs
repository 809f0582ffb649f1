//! Durations as people write them in manifests: `30s`, `1m30s`, or a bare integer of seconds as in the POC.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time, not negative, with millisecond resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(SignedDuration);

/// Why a text is not a [`Span`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpanError {
    /// Neither a number of seconds nor a duration text.
    #[error("{0:?} is not a duration: write it like 30s, 1m30s or 2h")]
    Unreadable(String),
    /// Durations cannot run backwards.
    #[error("{0:?} is negative: a duration is 0 or more")]
    Negative(String),
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(SignedDuration::ZERO);

    /// A span of whole seconds.
    #[must_use]
    pub const fn secs(seconds: u32) -> Self {
        Self(SignedDuration::from_secs(seconds as i64))
    }

    /// A span of milliseconds; what is negative becomes zero.
    #[must_use]
    pub const fn millis(millis: i64) -> Self {
        Self(SignedDuration::from_millis(if millis < 0 { 0 } else { millis }))
    }

    /// The span as a signed duration, for arithmetic with timestamps.
    #[must_use]
    pub const fn signed(self) -> SignedDuration {
        self.0
    }

    /// The span as the standard library has it.
    #[must_use]
    pub fn std(self) -> std::time::Duration {
        self.0.unsigned_abs()
    }

    /// Length in seconds.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// The time from `from` to `to`, zero when `to` is not later.
    #[must_use]
    pub fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> Self {
        Self(to.duration_since(from).max(SignedDuration::ZERO))
    }

    /// The sum, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, never below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(SignedDuration::ZERO))
    }

    /// `count` times this span, saturating.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Self(self.0.checked_mul(count).unwrap_or(SignedDuration::MAX))
    }
}

impl FromStr for Span {
    type Err = SpanError;

    /// Reads what the schema lets in: Go's spelling (`1h30m`, `1.5s`, `250ms`), or whole seconds.
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<u32>() {
            return Ok(Self::secs(seconds));
        }
        if text.starts_with('-') {
            return Err(SpanError::Negative(text.to_owned()));
        }
        let nanos = nanos(text).and_then(|nanos| i64::try_from(nanos).ok());
        nanos
            .map(|nanos| Self(SignedDuration::from_nanos(nanos)))
            .ok_or_else(|| SpanError::Unreadable(text.to_owned()))
    }
}

/// Nanoseconds of numbers with units, one after the other; none where that is not the whole text.
fn nanos(text: &str) -> Option<u128> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut sum = 0_u128;
    loop {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(end);
        let unit = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        sum = sum.checked_add(scaled(number, nanos_of(unit)?)?)?;
        if after.is_empty() {
            return Some(sum);
        }
        rest = after;
    }
}

fn nanos_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A decimal number times a unit, what is below a nanosecond cut off.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + part.len() == 0 || part.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<u128>().ok()?
    };
    let digits = part.get(..part.len().min(12))?;
    let part = if digits.is_empty() {
        0
    } else {
        digits.parse::<u128>().ok()?
    };
    let below = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    whole.checked_mul(unit)?.checked_add(part * unit / below)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match (seconds, millis) {
            (0, 0) if hours > 0 || minutes > 0 => Ok(()),
            (0, 1..) => write!(f, "{millis}ms"),
            (_, 0) => write!(f, "{seconds}s"),
            _ => write!(f, "{seconds}s{millis}ms"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl de::Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration like 30s or 1m30s, or whole seconds")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
        u32::try_from(seconds)
            .map(Span::secs)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(seconds), &self))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
        u32::try_from(seconds)
            .map(Span::secs)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_integer_is_seconds_and_texts_are_read_as_people_write_them() {
        for (json, millis) in [
            ("5", 5_000),
            ("\"5\"", 5_000),
            ("\"30s\"", 30_000),
            ("\"1m30s\"", 90_000),
            ("\"2h\"", 7_200_000),
            ("\"250ms\"", 250),
            ("\"1.5h\"", 5_400_000),
            ("\".5s\"", 500),
            ("\"30s1m\"", 90_000),
            ("\"1.5m30s\"", 120_000),
            ("\"+1s\"", 1_000),
            ("\"0s\"", 0),
            ("\"2000\u{b5}s\"", 2),
            ("\"720h\"", 2_592_000_000),
        ] {
            assert_eq!(
                serde_json::from_str::<Span>(json).unwrap(),
                Span::millis(millis),
                "{json}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_advice() {
        for json in [
            "\"soon\"",
            "\"\"",
            "-1",
            "1.5",
            "\"-5s\"",
            "true",
            "99999999999",
            "\"5d\"",
            "\"1.5\"",
            "\"s\"",
            "\".s\"",
            "\"1..5s\"",
            "\"1m 30s\"",
            "\"1h30\"",
            "\"99999999999999999999999999999999999999999h\"",
            "\"9999999h\"",
        ] {
            assert!(serde_json::from_str::<Span>(json).is_err(), "{json}");
        }
        assert!(
            "soon"
                .parse::<Span>()
                .unwrap_err()
                .to_string()
                .contains("write it like 30s")
        );
    }

    #[test]
    fn display_reads_back_as_the_same_span() {
        for millis in [
            0, 1, 250, 1000, 1500, 60_000, 61_000, 3_600_000, 3_660_001, 86_400_000,
        ] {
            let span = Span::millis(millis);
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{span}");
        }
        assert_eq!(Span::secs(90).to_string(), "1m30s");
    }
}
