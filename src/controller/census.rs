//! How many `BirdWatch`es are in which phase, for the metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::status::Phase;
use crate::core::observation::ObjectName;
use crate::runtime::metrics::Metrics;

/// Counts phases over all scopes. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Census {
    phases: Arc<Mutex<HashMap<ObjectName, Phase>>>,
    metrics: Metrics,
}

impl Census {
    /// Nobody is counted yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            phases: Arc::default(),
            metrics,
        }
    }

    /// `name` is in `phase`, or gone.
    pub fn count(&self, name: &ObjectName, phase: Option<Phase>) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match phase {
            Some(phase) => phases.insert(name.clone(), phase),
            None => phases.remove(name),
        };
        if before != phase {
            let count = |phase: Phase| {
                (
                    phase.as_str(),
                    phases.values().filter(|other| **other == phase).count(),
                )
            };
            self.metrics.rollouts(&Phase::ALL.map(count));
        }
    }
}
