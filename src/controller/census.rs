//! How many `BirdWatch`es are in which phase, for the metrics.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::status::Phase;
use crate::core::observation::ObjectName;
use crate::core::tally::Decided;
use crate::runtime::metrics::Metrics;

/// Counts phases over all scopes. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Census {
    counted: Arc<Mutex<Counted>>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Counted {
    phases: HashMap<ObjectName, Phase>,
    totals: BTreeMap<Phase, usize>,
}

impl Census {
    /// Nobody is counted yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        for decision in Decided::ALL {
            metrics.may_decide(decision.as_str());
        }
        Self {
            counted: Arc::default(),
            metrics,
        }
    }

    /// `name` is in `phase`, or gone.
    pub fn count(&self, name: &ObjectName, phase: Option<Phase>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let Counted { phases, totals } = &mut *counted;
        let before = match phase {
            Some(phase) => phases.insert(name.clone(), phase),
            None => phases.remove(name),
        };
        if before == phase {
            return;
        }
        if let Some(total) = before.and_then(|before| totals.get_mut(&before)) {
            *total = total.saturating_sub(1);
        }
        if let Some(phase) = phase {
            *totals.entry(phase).or_default() += 1;
        }
        let total = |phase: Phase| (phase.as_str(), totals.get(&phase).copied().unwrap_or(0));
        self.metrics.rollouts(&Phase::ALL.map(total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bird_watch_counts_once_and_in_its_present_phase() {
        let metrics = Metrics::new();
        let census = Census::new(metrics.clone());
        let name = |name: &str| ObjectName {
            namespace: "shop".into(),
            name: name.into(),
        };
        census.count(&name("a"), Some(Phase::Idle));
        census.count(&name("b"), Some(Phase::Idle));
        census.count(&name("a"), Some(Phase::Progressing));
        census.count(&name("a"), Some(Phase::Progressing));
        census.count(&name("b"), None);
        census.count(&name("c"), None);
        let text = metrics.text().unwrap();
        assert!(text.contains("birdwatch_rollouts{phase=\"Idle\"} 0"), "{text}");
        assert!(
            text.contains("birdwatch_rollouts{phase=\"Progressing\"} 1"),
            "{text}"
        );
    }
}
