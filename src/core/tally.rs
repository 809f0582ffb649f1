//! What a written status decided, so that decisions can be counted.

use crate::api::BirdWatchStatus;
use crate::api::status::{Outcome, Phase};

/// A decision about a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The canary got more weight.
    StepRaised,
    /// The canary became production.
    Promoted,
    /// Traffic went back to production.
    RolledBack,
    /// Stopped, traffic left as it is.
    Frozen,
    /// A newer candidate took its place.
    Superseded,
}

impl Decided {
    /// Every decision, in the order of a life.
    pub const ALL: [Self; 5] = [
        Self::StepRaised,
        Self::Promoted,
        Self::RolledBack,
        Self::Frozen,
        Self::Superseded,
    ];

    /// A word for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StepRaised => "step_raised",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Frozen => "frozen",
            Self::Superseded => "superseded",
        }
    }
}

/// What was decided between two statuses of a `BirdWatch`, each with the id of its rollout.
#[must_use]
pub fn decided<'a>(old: &BirdWatchStatus, new: &'a BirdWatchStatus) -> Vec<(Decided, &'a str)> {
    let is_new = |id: &str| !old.ended.iter().any(|end| end.id == id);
    let ended = new.ended.iter().filter(|end| is_new(&end.id)).map(|end| {
        let decided = match end.outcome {
            Outcome::Promoted => Decided::Promoted,
            Outcome::RolledBack => Decided::RolledBack,
            Outcome::Superseded => Decided::Superseded,
        };
        (decided, end.id.as_str())
    });
    let mut all: Vec<_> = ended.collect();
    if let Some(rollout) = &new.rollout {
        let before = old.rollout.as_ref().filter(|before| before.id == rollout.id);
        if rollout.confirmed > before.map_or(0, |before| before.confirmed) {
            all.push((Decided::StepRaised, &rollout.id));
        }
        if new.phase == Phase::Frozen && old.phase != Phase::Frozen {
            all.push((Decided::Frozen, &rollout.id));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::world::{STEPS, World, number};
    use super::*;

    /// What a rollout to that phase is counted as.
    fn counted(world: &mut World, phase: Phase) -> Vec<Decided> {
        let mut all = Vec::new();
        for _ in 0..2000 {
            let before = world.status.clone();
            world.next();
            let now = decided(&before, &world.status);
            let id = world.status.rollout.as_ref().map_or("", |rollout| &rollout.id);
            assert!(now.iter().all(|(_, of)| *of == id));
            all.extend(now.iter().map(|(what, _)| *what));
            if world.status.phase == phase {
                return all;
            }
        }
        panic!("not {phase:?}: {}", world.status.message);
    }

    #[test]
    fn each_step_and_the_end_of_a_rollout_are_counted_once() {
        use Decided::{Promoted, RolledBack, StepRaised};
        let mut world = World::with_canary(STEPS);
        let all = counted(&mut world, Phase::Promoted);
        assert_eq!(all, [StepRaised, StepRaised, StepRaised, Promoted]);
        world.deploy("v3");
        world.oracle = |_, weight| (number(if weight > 0 { 9.0 } else { 0.0 }), 1.0);
        let all = counted(&mut world, Phase::RolledBack);
        assert_eq!(all.last(), Some(&RolledBack));
        assert_eq!(all.iter().filter(|what| **what == RolledBack).count(), 1);
        assert_eq!(decided(&world.status, &world.status), []);
    }

    #[test]
    fn a_freeze_and_one_that_takes_over_are_counted_once() {
        let mut world = World::with_canary(&format!("{STEPS}ifUnhealthy: freeze\n"));
        world.until(|w| w.weight() == 10);
        world.oracle = |_, _| (number(9.0), 1.0);
        let before = world.status.clone();
        world.run_to(Phase::Frozen);
        let frozen = world.status.clone();
        let what = |old, new| -> Vec<Decided> {
            let all: Vec<(Decided, &str)> = decided(old, new);
            all.into_iter().map(|(what, _)| what).collect()
        };
        assert_eq!(what(&before, &frozen), [Decided::Frozen]);
        world.deploy("v3");
        world.until(|w| !w.status.ended.is_empty());
        assert_eq!(what(&frozen, &world.status), [Decided::Superseded]);
    }
}
