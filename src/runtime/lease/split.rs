//! Leases of the same installation that split namespaces into another number of shards, as while that number is changed: who
//! came later does not act as long as one who came earlier may. No I/O; time is passed in.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use tokio::time::Instant;

use super::record::{self, LeaseView};

/// What was seen of them, and since when it is so.
#[derive(Debug, Default)]
pub(super) struct OtherSplits(HashMap<String, (Option<LeaseSpec>, Instant)>);

impl OtherSplits {
    /// The name of one of `leases` whose holder may act and came before that of `ours`. All replicas read the same
    /// times, whosever clock they are of: of two that meet one gives way.
    pub(super) fn before(
        &mut self,
        ours: &Lease,
        leases: Vec<Lease>,
        duration: Duration,
        now: Instant,
    ) -> Option<String> {
        let last = std::mem::take(&mut self.0);
        let mut found = None;
        for lease in leases {
            let name = lease.metadata.name.clone().unwrap_or_default();
            let unchanged = last.get(&name).filter(|(spec, _)| *spec == lease.spec);
            let since = unchanged.map_or(now, |(_, since)| *since);
            let view = LeaseView::of(&lease, duration);
            let is_silent = now.saturating_duration_since(since) >= view.duration;
            if !view.is_released && !is_silent && order(&lease) < order(ours) {
                found.get_or_insert(name.clone());
            }
            self.0.insert(name, (lease.spec, since));
        }
        found
    }
}

/// One that does not say when it was taken comes first.
fn order(lease: &Lease) -> (Option<Timestamp>, Option<&str>) {
    (record::acquired(lease), lease.metadata.name.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::lease::Timing;

    const DURATION: Duration = Duration::from_secs(15);

    fn taken(name: &str, second: i64) -> Lease {
        let at = Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut lease = record::taken(Lease::default(), "somebody", at, Timing::new(DURATION));
        lease.metadata.name = Some(name.to_owned());
        lease
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_later_waits_until_the_earlier_one_is_gone_or_silent() {
        let mut others = OtherSplits::default();
        let (ours, start) = (taken("b-0-of-3", 10), Instant::now());
        let mut look = |leases: Vec<Lease>, seconds| {
            others.before(&ours, leases, DURATION, start + Duration::from_secs(seconds))
        };
        let earlier = || taken("b", 5);
        assert_eq!(look(vec![], 0), None);
        assert_eq!(look(vec![taken("b", 11)], 0), None, "it waits for us");
        assert_eq!(look(vec![earlier()], 0).as_deref(), Some("b"));
        assert_eq!(look(vec![earlier()], 14).as_deref(), Some("b"));
        assert_eq!(
            look(vec![earlier()], 15),
            None,
            "nothing was heard of it for so long"
        );
        let renewed = record::renewed_at(earlier(), Timestamp::now(), Timing::new(DURATION));
        assert_eq!(look(vec![renewed], 16).as_deref(), Some("b"));
        assert_eq!(look(vec![record::released(earlier())], 17), None);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_of_the_same_instant_one_waits_and_of_one_without_an_instant_we_do() {
        let before = |ours: &Lease, other: Lease| {
            OtherSplits::default().before(ours, vec![other], DURATION, Instant::now())
        };
        let (one, two) = (taken("b-0-of-2", 5), taken("b-0-of-3", 5));
        assert_eq!(before(&two, one.clone()).as_deref(), Some("b-0-of-2"));
        assert_eq!(before(&one, two.clone()), None);
        let mut edited = two;
        edited.spec.as_mut().unwrap().acquire_time = None;
        assert_eq!(before(&one, edited).as_deref(), Some("b-0-of-3"));
    }
}
