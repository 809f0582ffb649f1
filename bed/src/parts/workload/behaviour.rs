//! How a workload behaves: when it starts, how slow it is and which of its requests fail. No I/O, no clock.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// What a workload does with its life, as written in its env `START`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Ready at once and for good: `ok`.
    Ok,
    /// Runs and never becomes ready: `never`.
    Never,
    /// Becomes ready after this time: `late:10s`.
    Late(Duration),
    /// Ready at once, ends with exit code 1 after this time, at every start: `crash:20s`.
    Crash(Duration),
}

/// A `START` that says none of the four things it can say.
#[derive(Debug, thiserror::Error)]
#[error("START is {0:?}: want ok, never, late:<duration> or crash:<duration>, as in late:10s")]
pub struct BadStart(String);

impl FromStr for Start {
    type Err = BadStart;

    fn from_str(text: &str) -> Result<Self, BadStart> {
        let bad = || BadStart(text.to_owned());
        let duration = |text: &str| {
            let signed: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
            Duration::try_from(signed).map_err(|_| bad())
        };
        match text.split_once(':') {
            None if text == "ok" => Ok(Self::Ok),
            None if text == "never" => Ok(Self::Never),
            Some(("late", after)) => duration(after).map(Self::Late),
            Some(("crash", after)) => duration(after).map(Self::Crash),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Never => f.write_str("never"),
            Self::Late(after) => write!(f, "late:{}ms", after.as_millis()),
            Self::Crash(after) => write!(f, "crash:{}ms", after.as_millis()),
        }
    }
}

/// How requests are answered just now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Behaviour {
    /// Share of requests answered 500, 0 to 1.
    pub error_rate: f64,
    /// Time every answer takes at least, in milliseconds.
    pub latency_ms: u64,
}

/// A change of behaviour: what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// See [`Behaviour::error_rate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// See [`Behaviour::latency_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

/// A share of errors that is no share.
#[derive(Debug, thiserror::Error)]
#[error("the error rate is {0}: want a number from 0 to 1")]
pub struct BadRate(f64);

impl Behaviour {
    /// This behaviour with `change` applied.
    ///
    /// # Errors
    /// When the new error rate is not within 0 and 1.
    pub fn changed(self, change: Change) -> Result<Self, BadRate> {
        let error_rate = change.error_rate.unwrap_or(self.error_rate);
        if !(0.0..=1.0).contains(&error_rate) {
            return Err(BadRate(error_rate));
        }
        Ok(Self {
            error_rate,
            latency_ms: change.latency_ms.unwrap_or(self.latency_ms),
        })
    }
}

/// Spreads errors evenly over requests, so that any hundred requests at 0.1 hold ten: a test that counts must not
/// depend on luck. It carries what is owed to the next request, in millionths of an error.
#[derive(Debug, Default)]
pub struct Diffusion {
    owed: u32,
}

impl Diffusion {
    const WHOLE: u32 = 1_000_000;

    /// Whether the next request fails when this share of requests shall (0 to 1).
    pub fn next_fails(&mut self, share: f64) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=1 before, so at most a million"
        )]
        let part = (share.clamp(0.0, 1.0) * f64::from(Self::WHOLE)).round() as u32;
        self.owed += part;
        let fails = self.owed >= Self::WHOLE;
        if fails {
            self.owed -= Self::WHOLE;
        }
        fails
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_start_is_read() {
        let read = |text: &str| text.parse::<Start>().unwrap();
        assert_eq!(read("ok"), Start::Ok);
        assert_eq!(read("never"), Start::Never);
        assert_eq!(read("late:10s"), Start::Late(Duration::from_secs(10)));
        assert_eq!(read("crash:1m30s"), Start::Crash(Duration::from_secs(90)));
    }

    #[test]
    fn nonsense_is_refused_with_what_is_wanted() {
        for text in ["", "okay", "late", "late:", "late:-1s", "crash:soon", "never:1s"] {
            let error = text.parse::<Start>().unwrap_err().to_string();
            assert!(error.contains("crash:<duration>"), "{text:?} gives {error:?}");
        }
    }

    #[test]
    fn errors_come_in_the_asked_share_and_evenly() {
        for (share, in_a_hundred) in [(0.0, 0), (0.01, 1), (0.1, 10), (0.33, 33), (0.5, 50), (1.0, 100)] {
            let mut diffusion = Diffusion::default();
            for round in 0..20 {
                let errors = (0..100).filter(|_| diffusion.next_fails(share)).count();
                assert_eq!(errors, in_a_hundred, "share {share}, hundred number {round}");
            }
        }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let start = Behaviour {
            error_rate: 0.2,
            latency_ms: 7,
        };
        let faster = start
            .changed(Change {
                latency_ms: Some(1),
                ..Change::default()
            })
            .unwrap();
        assert_eq!(
            faster,
            Behaviour {
                error_rate: 0.2,
                latency_ms: 1
            }
        );
        let change = |rate| Change {
            error_rate: Some(rate),
            ..Change::default()
        };
        assert!(start.changed(change(1.01)).is_err());
        assert!(start.changed(change(f64::NAN)).is_err());
    }
}
