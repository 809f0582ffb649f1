//! The six ends of a rollout, what brings each about, and the only way its weights may go.

use birdwatch::api::status::Phase;
use serde_json::{Value, json};

use crate::stage::Stage;

/// How a rollout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Promote,
    Rollback,
    Freeze,
    Supersede,
    Delete,
    Retry,
}

impl End {
    pub(crate) const ALL: [Self; 6] = [
        Self::Promote,
        Self::Rollback,
        Self::Freeze,
        Self::Supersede,
        Self::Delete,
        Self::Retry,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Freeze => "freeze",
            Self::Supersede => "supersede",
            Self::Delete => "delete",
            Self::Retry => "retry",
        }
    }

    /// The spec of its `BirdWatch`.
    pub(crate) fn spec(self) -> Value {
        // Where people do something to a rollout in the middle, it waits there for them.
        let middle = match self {
            Self::Supersede | Self::Delete => "1h",
            _ => "1s",
        };
        json!({
            "metrics": [{"name": "errors", "query": "errors{version=\"$(version)\"}", "deviation": 0.5}],
            "steps": [
                {"weight": 20, "hold": "1s"},
                {"weight": 50, "hold": middle},
                {"weight": 100, "hold": "1s"},
            ],
            // The first check of a step comes at the end of its hold; the interval is how long an answer may take.
            "checkInterval": "5s",
            "settle": "0s",
            "ifUnhealthy": if self == Self::Freeze { "freeze" } else { "rollback" },
        })
    }

    /// Whether its canary falls sick at 50 %.
    pub(crate) fn is_sick(self) -> bool {
        matches!(self, Self::Rollback | Self::Freeze | Self::Retry)
    }

    /// Does what people do on the way.
    pub(crate) async fn play(self, stage: &Stage) {
        stage.known().await;
        stage.deploy("v2").await;
        match self {
            Self::Promote | Self::Rollback | Self::Freeze => {}
            Self::Supersede => {
                stage.confirmed("v2", 50).await;
                stage.deploy("v3").await;
                stage.confirmed("v3", 50).await;
                stage.verb("promote/1").await;
            }
            Self::Delete => {
                stage.confirmed("v2", 50).await;
                stage.delete().await;
            }
            Self::Retry => {
                stage.phase(Phase::RolledBack).await;
                stage.heal();
                stage.verb("retry/1").await;
            }
        }
    }

    /// The canary's weights, one after the other.
    pub(crate) fn weights(self) -> &'static [i64] {
        match self {
            Self::Promote => &[0, 20, 50, 100, 0],
            Self::Rollback | Self::Delete => &[0, 20, 50, 0],
            Self::Freeze => &[0, 20, 50],
            Self::Supersede | Self::Retry => &[0, 20, 50, 0, 20, 50, 100, 0],
        }
    }

    /// Whether the canary had a weight that it must not have, or not then.
    pub(crate) fn went_astray(self, weights: &[i64]) -> bool {
        !self.weights().starts_with(weights)
    }

    /// The labels of both subsets, one after the other.
    pub(crate) fn labels(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Promote | Self::Retry => &[("v1", "none"), ("v1", "v2"), ("v2", "v2")],
            Self::Rollback | Self::Freeze => &[("v1", "none"), ("v1", "v2")],
            Self::Supersede => &[("v1", "none"), ("v1", "v2"), ("v1", "v3"), ("v3", "v3")],
            Self::Delete => &[("v1", "none"), ("v1", "v2"), ("v1", "none")],
        }
    }

    /// The phase at the end; none where nothing is left that has one.
    pub(crate) fn phase(self) -> Option<Phase> {
        match self {
            Self::Promote | Self::Supersede | Self::Retry => Some(Phase::Promoted),
            Self::Rollback => Some(Phase::RolledBack),
            Self::Freeze => Some(Phase::Frozen),
            Self::Delete => None,
        }
    }
}
