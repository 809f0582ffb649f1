//! What can go wrong in a reconcile, in few classes, and how long to wait before the next try. No I/O.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::objects::UnreadableStatus;

/// Why one call of the API server brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// This process does not lead, or no longer: nothing was sent.
    #[error("this replica does not lead")]
    Standby,
    /// The object is not as expected: 409, or a failed guard of a JSON Patch (422).
    #[error("the object was changed by somebody else")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    Gone,
    /// No answer, or none in time; the write may have been done.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The server refuses for good: no permission, or not a valid object.
    #[error("refused: {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// Any other answer: the server is in trouble.
    #[error("{0}")]
    Failed(String),
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_not_found() => Self::Gone,
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 405 | 422) => Self::Refused {
                code: status.code,
                message: status.message,
            },
            kube::Error::Api(status) => Self::Failed(format!("{} ({})", status.message, status.code)),
            other => Self::NoAnswer(other.to_string()),
        }
    }
}

impl Fault {
    /// No answer in time.
    #[must_use]
    pub fn late(deadline: Duration) -> Self {
        Self::NoAnswer(format!("none within {} s", deadline.as_secs()))
    }

    /// Whether only a read tells how the object stands now.
    #[must_use]
    pub const fn asks_for_a_read(&self) -> bool {
        matches!(self, Self::Conflict | Self::NoAnswer(_) | Self::Failed(_))
    }
}

/// Why a reconcile did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Status cannot be read, and acting without it could do harm.
    #[error(transparent)]
    Status(#[from] UnreadableStatus),
    /// A decided status cannot be written as JSON.
    #[error("the status cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// A call of the API server brought nothing.
    #[error("{what}: {fault}")]
    Call {
        /// What was to be done.
        what: String,
        /// Why it was not.
        fault: Fault,
        /// Traffic was to be given back: the next try follows soon, however many there were.
        lowering: bool,
    },
}

impl Error {
    /// The class of the error, few and fixed.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Status(_) => "status_unreadable",
            Self::Encode(_) => "status_unwritable",
            Self::Call { fault, .. } => match fault {
                Fault::Standby => "standby",
                Fault::Conflict => "conflict",
                Fault::Gone => "gone",
                Fault::NoAnswer(_) => "no_answer",
                Fault::Refused { .. } => "refused",
                Fault::Failed(_) => "api",
            },
        }
    }

    /// Whether this process may not act.
    #[must_use]
    pub const fn is_standby(&self) -> bool {
        matches!(
            self,
            Self::Call {
                fault: Fault::Standby,
                ..
            }
        )
    }

    /// How long to wait after the `tries`-th failure in a row; nothing: until something changes.
    #[must_use]
    pub fn retry_after(&self, tries: u32) -> Option<Duration> {
        let longest = match self {
            Self::Status(_)
            | Self::Encode(_)
            | Self::Call {
                fault: Fault::Standby,
                ..
            } => return None,
            Self::Call { lowering: true, .. } => Duration::from_secs(1),
            Self::Call {
                fault: Fault::Refused { .. },
                ..
            } => Duration::from_mins(1),
            Self::Call { .. } => Duration::from_secs(5),
        };
        Some(backoff(tries, longest))
    }
}

/// 50 ms, doubling to `longest`; between half and all of it at random, so that many do not come back together.
#[must_use]
pub fn backoff(tries: u32, longest: Duration) -> Duration {
    let full = Duration::from_millis(50)
        .saturating_mul(1 << tries.min(16))
        .min(longest);
    let random = RandomState::new().hash_one(tries) % 1000;
    full.mul_f64(0.5 + f64::from(u32::try_from(random).unwrap_or(0)) / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(fault: Fault, lowering: bool) -> Error {
        Error::Call {
            what: "x".into(),
            fault,
            lowering,
        }
    }

    fn refused() -> Fault {
        Fault::Refused {
            code: 403,
            message: "no".into(),
        }
    }

    #[test]
    fn giving_traffic_back_is_tried_again_within_a_second_for_ever() {
        for tries in [0, 1, 5, 20, u32::MAX] {
            let wait = call(refused(), true).retry_after(tries).unwrap();
            assert!(wait <= Duration::from_secs(1), "{wait:?}");
            assert!(wait >= Duration::from_millis(25), "{wait:?}");
        }
    }

    #[test]
    fn other_failures_wait_longer_and_never_minutes() {
        let wait = |fault| call(fault, false).retry_after(30).unwrap();
        assert!((2..=5).contains(&wait(Fault::late(Duration::from_secs(4))).as_secs()));
        assert!((30..=60).contains(&wait(refused()).as_secs()));
        assert_eq!(call(Fault::Standby, true).retry_after(0), None);
    }

    #[test]
    fn many_that_failed_together_do_not_come_back_together() {
        let waits: std::collections::BTreeSet<_> =
            (0..50).map(|_| backoff(3, Duration::from_secs(5))).collect();
        assert!(waits.len() > 10);
    }
}
