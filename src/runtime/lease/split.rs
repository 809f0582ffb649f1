//! Leases of the same installation that split namespaces into another number of shards, as while that number is changed: who
//! comes does not act as long as one of these may. No I/O; time is passed in.
//!
//! Each says in its own Lease that it acts, and then looks at those of others: of two at least one sees the other, and waits.
//! What they remember of when nobody acted is remembered on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::absence::{self, Absence};
use super::record::{self, LeaseView};
use super::{Shard, Shards};

/// What was seen of them, and since when each is so.
#[derive(Debug, Default)]
pub(super) struct OtherSplits(HashMap<String, (Lease, Instant)>);

impl OtherSplits {
    /// Notes what there is now. `ours` is the duration of our own settings.
    pub(super) fn see(&mut self, leases: Vec<Lease>, ours: Duration, now: Instant) {
        let mut last = std::mem::take(&mut self.0);
        for lease in leases {
            let name = lease.metadata.name.clone().unwrap_or_default();
            let unchanged = last.remove(&name).filter(|(seen, _)| seen.spec == lease.spec);
            let since = unchanged.map_or(now, |(_, since)| since);
            self.0.insert(name, (lease, since));
        }
        // Where a hand has deleted it, its holder makes it again.
        last.retain(|_, (lease, since)| may_act(lease, *since, ours, now));
        self.0.extend(last);
    }

    /// The name of one whose holder may act.
    pub(super) fn acting(&self, ours: Duration, now: Instant) -> Option<&str> {
        let mut all = self.0.iter();
        let found = all.find(|(_, (lease, since))| may_act(lease, *since, ours, now));
        found.map(|(name, _)| name.as_str())
    }

    /// Tells these from any others, and from what they were before one of them was written again.
    pub(super) fn fingerprint(&self) -> String {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let all: BTreeMap<_, _> = self
            .0
            .iter()
            .map(|(name, (lease, _))| (name, version(lease)))
            .collect();
        let mut hasher = DefaultHasher::new();
        all.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// By each of the other splits, when nobody acted in one namespace or another of this shard in the installation `base`.
    /// What a clock that is more than `skew` ahead of `now` says does not count.
    pub(super) fn absences(
        &self,
        base: &str,
        (shards, shard): (Shards, Shard),
        (now, skew): (Timestamp, Duration),
    ) -> Vec<Vec<Absence>> {
        let named = self.0.keys().filter_map(|name| Shards::named(base, name));
        let splits: BTreeSet<_> = named.map(|(split, _)| split).collect();
        let by = |split: Shards| {
            let absent = |other| {
                let lease = self.0.get(&split.lease_name(base, other));
                lease.map_or_else(
                    || vec![Absence::ALWAYS],
                    |(lease, _)| record::absent(lease, now, skew),
                )
            };
            let related = split
                .all()
                .filter(|other| shards.may_share(shard, (split, *other)));
            related.map(absent).fold(Vec::new(), absence::by_either)
        };
        splits.into_iter().map(by).collect()
    }
}

fn may_act(lease: &Lease, since: Instant, ours: Duration, now: Instant) -> bool {
    let view = LeaseView::of(lease, ours);
    let is_silent = now.saturating_duration_since(since) >= view.duration;
    record::acts(lease) && !view.is_released && !is_silent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::lease::Timing;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn taken() -> Lease {
        let mut lease = record::taken(Lease::default(), "somebody", at(0), Timing::new(DURATION));
        lease.metadata.name = Some("bird".to_owned());
        lease
    }

    fn renewed(second: i64) -> Lease {
        record::renewed_at(taken(), at(second), Timing::new(DURATION))
    }

    #[tokio::test(start_paused = true)]
    async fn another_is_waited_for_until_it_waits_is_released_or_silent() {
        let mut others = OtherSplits::default();
        let start = Instant::now();
        let mut acts = |leases: Vec<Lease>, seconds| {
            let now = start + Duration::from_secs(seconds);
            others.see(leases, DURATION, now);
            others.acting(DURATION, now).is_some()
        };
        assert!(!acts(vec![], 0));
        assert!(acts(vec![taken()], 0));
        assert!(acts(vec![taken()], 14));
        assert!(!acts(vec![taken()], 15), "nothing was heard of it for so long");
        assert!(acts(vec![renewed(16)], 16));
        assert!(!acts(vec![record::waiting(renewed(17))], 17));
        assert!(acts(vec![record::acting(renewed(18), at(18))], 18));
        assert!(!acts(vec![record::released(renewed(18))], 19));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_deleted_may_come_back_for_as_long_as_it_lasts() {
        let mut others = OtherSplits::default();
        let start = Instant::now();
        others.see(vec![taken()], DURATION, start);
        for (seconds, expected) in [(1, true), (14, true), (15, false)] {
            let now = start + Duration::from_secs(seconds);
            others.see(vec![], DURATION, now);
            assert_eq!(
                others.acting(DURATION, now).is_some(),
                expected,
                "after {seconds} s"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_a_release_that_does_not_say_so_acts() {
        let mut old = taken();
        old.metadata.annotations = None;
        let mut others = OtherSplits::default();
        others.see(vec![old], DURATION, Instant::now());
        assert!(others.acting(DURATION, Instant::now()).is_some());
    }
}
