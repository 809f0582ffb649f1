//! What is done to a run, and where.

use std::fmt;
use std::time::Duration;

use birdwatch::clients::api_server::WATCH_SECONDS;
use birdwatch_bed::parts::proxy::{Disturbance, Refusal};

use crate::calls::Place;
use crate::end::End;

/// Longer than the operator waits for any answer.
pub(crate) const LATE: Duration = Duration::from_secs(30);
/// After so long the operator tries a status again that was refused.
const REFUSED: Duration = Duration::from_mins(1);
/// How long the API server is away.
pub(crate) const AWAY: Duration = Duration::from_mins(1);
/// How long watches bring nothing but bookmarks.
const QUIET: Duration = Duration::from_secs(4);
/// How long the operator may take to notice that a watch is silent.
const SILENT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// How much later a watch begins than the list before it.
pub(crate) const STALE: Duration = Duration::from_millis(1500);

/// What is done, once in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL before the call reaches the server.
    KillBefore,
    /// SIGKILL after the server has done it, before the answer.
    KillAfter,
    /// 409.
    Conflict,
    /// 422 as to a JSON Patch whose test fails.
    Guard,
    /// 422 as by a rule or a policy.
    Invalid,
    /// 429 with Retry-After.
    TooMany,
    /// 500.
    Broken,
    /// The connection breaks before the call reaches the server.
    CutBefore,
    /// The connection breaks after the server has done it.
    CutAfter,
    /// The answer comes late.
    LateAnswer,
    /// The call reaches the server late, long after it was given up.
    LateCall,
    /// Watches end.
    WatchClosed,
    /// Connections of watches break.
    WatchCut,
    /// Watches bring nothing any more, and do not end.
    WatchSilent,
    /// Watches say 410.
    WatchGone,
    /// Watches bring bookmarks only, for a while.
    BookmarksOnly,
    /// After a 410 every list that allows an old answer gets its first one, and the watches after the lists begin late.
    StaleList,
    /// SIGKILL; the same befalls the lists and watches of the next process.
    StaleStart,
    /// Nothing of the server is reached for a minute.
    Away,
    /// The server is said to have stored what it never saw; SIGKILL after the weights that are then written. No real server
    /// does this: it shows that the checks find an operator which acts before its intent is stored.
    Lie,
}

impl Fault {
    /// Those of single calls.
    pub(crate) const OF_CALLS: [Self; 9] = [
        Self::KillBefore,
        Self::KillAfter,
        Self::Conflict,
        Self::Guard,
        Self::Invalid,
        Self::TooMany,
        Self::Broken,
        Self::CutBefore,
        Self::CutAfter,
    ];

    /// Those of phases.
    pub(crate) const OF_PHASES: [Self; 10] = [
        Self::LateAnswer,
        Self::LateCall,
        Self::WatchClosed,
        Self::WatchCut,
        Self::WatchSilent,
        Self::WatchGone,
        Self::BookmarksOnly,
        Self::StaleList,
        Self::StaleStart,
        Self::Away,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillBefore => "killed before",
            Self::KillAfter => "killed after",
            Self::Conflict => "409",
            Self::Guard => "422 (guard)",
            Self::Invalid => "422 (invalid)",
            Self::TooMany => "429",
            Self::Broken => "500",
            Self::CutBefore => "cut before",
            Self::CutAfter => "cut after",
            Self::LateAnswer => "answer 30 s late",
            Self::LateCall => "call 30 s late",
            Self::WatchClosed => "watches closed",
            Self::WatchCut => "watches cut",
            Self::WatchSilent => "watches silent",
            Self::WatchGone => "410 Gone",
            Self::BookmarksOnly => "bookmarks only",
            Self::StaleList => "stale lists",
            Self::StaleStart => "killed + stale lists",
            Self::Away => "away for 60 s",
            Self::Lie => "a lie",
        }
    }

    /// Whether it can befall this call: readers have no conflict, and only JSON Patches have guards.
    pub(crate) fn befalls(self, place: &Place) -> bool {
        match self {
            Self::Conflict | Self::Invalid => place.writes(),
            Self::Guard => {
                ["virtualservices", "destinationrules"].contains(&place.kind.trim_start_matches("patch "))
            }
            _ => true,
        }
    }

    /// Whether the operator dies of it.
    pub(crate) fn kills(self) -> bool {
        matches!(
            self,
            Self::KillBefore | Self::KillAfter | Self::StaleStart | Self::Lie
        )
    }

    /// How the server answers instead.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        let (code, reason, retry_after) = match self {
            Self::Conflict => (409, "Conflict", None),
            Self::Guard | Self::Invalid => (422, "Invalid", None),
            Self::TooMany => (429, "TooManyRequests", Some(1)),
            Self::Broken => (500, "InternalError", None),
            _ => return None,
        };
        Some(Refusal {
            code,
            reason,
            retry_after,
            names_object: self != Self::Guard,
        })
    }

    /// What it does to watches.
    pub(crate) fn disturbance(self) -> Option<Disturbance> {
        match self {
            Self::WatchClosed => Some(Disturbance::Close),
            Self::WatchCut | Self::Away => Some(Disturbance::Cut),
            Self::WatchSilent => Some(Disturbance::Silent),
            Self::WatchGone | Self::StaleList => Some(Disturbance::Gone),
            Self::BookmarksOnly => Some(Disturbance::BookmarksOnly(QUIET)),
            _ => None,
        }
    }

    /// How long it lasts by itself.
    fn lasts(self) -> Duration {
        match self {
            Self::LateAnswer | Self::LateCall => LATE,
            Self::Away => AWAY,
            Self::WatchSilent => SILENT,
            _ => Duration::ZERO,
        }
    }
}

/// Where a fault befalls a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// At this call.
    Call(Place),
    /// After so many changes of phase: at the next call that matters, or at once where it is for watches.
    Phase(usize),
    /// At the first status that announces this weight for the canary, before it is written.
    Announcement(u64),
}

/// A fault and where it befalls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Injection {
    pub(crate) fault: Fault,
    pub(crate) spot: Spot,
}

impl Injection {
    /// How long a run may wait for it to be over.
    pub(crate) fn lasts(&self) -> Duration {
        match &self.spot {
            Spot::Call(place) if self.fault == Fault::Invalid && place.is_status() => REFUSED,
            _ => self.fault.lasts(),
        }
    }

    /// Whether the operator may die between giving traffic back and saying why.
    pub(crate) fn may_lose_reason(&self) -> bool {
        match (self.fault, &self.spot) {
            (Fault::KillBefore, Spot::Call(place)) => place.is_status(),
            (Fault::KillAfter, Spot::Call(place)) => place.kind == "patch virtualservices",
            (Fault::StaleStart, _) => true,
            _ => false,
        }
    }
}

impl Injection {
    /// Whether a policy refuses that the label is given back: what is deleted goes without it.
    pub(crate) fn keeps_label(&self, end: End) -> bool {
        let gives_back = |place: &Place| place.kind == "patch destinationrules" && place.nth == 2;
        let at = matches!(&self.spot, Spot::Call(place) if gives_back(place));
        end == End::Delete && self.fault == Fault::Invalid && at
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spot {
            Spot::Call(place) => place.fmt(f),
            Spot::Phase(number) => write!(f, "change of phase #{number}"),
            Spot::Announcement(percent) => write!(f, "announcement of {percent} %"),
        }
    }
}
