//! What a decision says: plain data for the shell to carry out. It carries out nothing itself.

use jiff::Timestamp;

use crate::api::{BirdWatchStatus, Span};

use super::observation::{CheckId, Question, SampleQuestion, Side};

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to commit where it differs in anything but bare readings; else to keep in memory.
    pub next: BirdWatchStatus,
    /// What to change outside, in this order; every [`Effect::Lower`] goes out before the commit, all others after it.
    pub effects: Vec<Effect>,
    /// A check to ask now.
    pub check: Option<CheckRequest>,
    /// When to look again though nothing happens; absent: never.
    pub wake: Option<Timestamp>,
    /// What to record as Kubernetes Events, after the commit.
    pub events: Vec<Event>,
}

/// An idempotent change of the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Bring every route of ours above `percent` down to it. Needs no permission: before the commit, fenced by nothing.
    Lower {
        /// The canary's weight in percent.
        percent: u8,
    },
    /// Bring every route of ours to `percent`, fenced by the resourceVersions seen.
    Raise {
        /// The canary's weight in percent.
        percent: u8,
    },
    /// Bring every route of ours to 0, fenced by the resourceVersions seen: at rest, where a weight may be a person's.
    TakeBack,
    /// Point a subset at a version, fenced by the resourceVersion seen.
    Label {
        /// Whose subset.
        subset: Side,
        /// The version.
        version: String,
    },
    /// Give routes at weight 0 the keys they had (`status.rollout.kept`), where they hold what we wrote.
    RestoreWeights,
    /// Give the canary subset the label it had, where it holds the one we wrote.
    RestoreLabel {
        /// The label we wrote.
        written: String,
        /// The label it had; absent: the key goes.
        kept: Option<String>,
    },
    /// Add our finalizer.
    AddFinalizer,
    /// Remove our finalizer.
    RemoveFinalizer,
    /// Read the routes as the server has them now, and who last wrote them.
    ReadRoutes,
    /// Find out by a live read who last wrote the rule.
    IdentifyRuleWriter,
}

impl Effect {
    /// Whether it may only follow the newest status there is: a watch may not have shown yet that the attempt is over.
    #[must_use]
    pub const fn needs_newest_status(&self) -> bool {
        matches!(self, Self::Raise { .. } | Self::TakeBack | Self::Label { .. })
    }

    /// Whether it changes nothing: that needs no written status either.
    #[must_use]
    pub const fn only_asks(&self) -> bool {
        matches!(self, Self::ReadRoutes | Self::IdentifyRuleWriter)
    }

    /// Whether a rollback does it also while traffic cannot be lowered: whose label production's subset has is another matter.
    #[must_use]
    pub const fn goes_beside_a_lowering(&self) -> bool {
        let is_label = matches!(
            self,
            Self::Label {
                subset: Side::Production,
                ..
            }
        );
        self.only_asks() || is_label
    }

    /// Whether it gives back what was the user's: that needs no written status.
    #[must_use]
    pub const fn gives_back(&self) -> bool {
        matches!(
            self,
            Self::RestoreWeights | Self::RestoreLabel { .. } | Self::RemoveFinalizer
        )
    }
}

/// A check to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckRequest {
    /// What it is for.
    pub id: CheckId,
    /// Name of the Prometheus server; absent: the first.
    pub server: Option<String>,
    /// What is not answered by then is unknown.
    pub deadline: Span,
    /// What to ask.
    pub questions: Vec<Question>,
    /// What samples to ask for.
    pub samples: Vec<SampleQuestion>,
    /// Time between two scrapes.
    pub scrape: Span,
}

/// A Kubernetes Event on the `BirdWatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether somebody should look.
    pub warning: bool,
    /// A word for programs.
    pub reason: &'static str,
    /// What was done; differs from step to step, so that Kubernetes keeps them apart.
    pub action: String,
    /// A sentence for people.
    pub note: String,
}
