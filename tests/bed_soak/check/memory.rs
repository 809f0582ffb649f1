//! Memory of the operator's processes: flat once they are warm.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::history::{History, Rss};

/// How long a process may take to have read everything and to have judged a few rollouts.
const WARM: SignedDuration = SignedDuration::from_mins(1);
/// A process that lived less long than this says nothing.
const LIFE: SignedDuration = SignedDuration::from_mins(2);
/// What a process may gain: a quarter, as the status of each service and its memory of versions fill up, and some MiB
/// for the allocator's rounding.
const GAIN: (u64, u64) = (4, 8 * 1024);

/// What became of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) pid: u32,
    pub(crate) lived: SignedDuration,
    /// Once it was warm, and in the end: KiB, each the middle one of several.
    pub(crate) warm: u64,
    pub(crate) end: u64,
}

impl Growth {
    /// Of every process that lived long enough, the longest life first.
    pub(crate) fn of(history: &History) -> Vec<Self> {
        let mut by_pid: BTreeMap<u32, Vec<Rss>> = BTreeMap::new();
        for rss in &history.memory {
            by_pid.entry(rss.pid).or_default().push(*rss);
        }
        let mut all: Vec<_> = by_pid
            .into_values()
            .filter_map(|life| Self::of_life(&life))
            .collect();
        all.sort_by_key(|growth| std::cmp::Reverse(growth.lived));
        all
    }

    fn of_life(life: &[Rss]) -> Option<Self> {
        let (first, last) = (life.first()?, life.last()?);
        let lived = last.at.duration_since(first.at);
        let (warm, tail) = (first.at + WARM, last.at - WARM / 2);
        (lived >= LIFE).then_some(())?;
        Some(Self {
            pid: first.pid,
            lived,
            warm: middle(life, |at| at >= warm && at < warm + WARM / 2)?,
            end: middle(life, |at| at >= tail)?,
        })
    }
}

fn middle(life: &[Rss], when: impl Fn(Timestamp) -> bool) -> Option<u64> {
    let mut sizes: Vec<_> = life
        .iter()
        .filter(|rss| when(rss.at))
        .map(|rss| rss.kib)
        .collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied()
}

pub(super) fn broken(history: &History) -> Vec<String> {
    let lives = Growth::of(history);
    if history.is_long && lives.is_empty() {
        return vec![format!("no process lived {LIFE:?}: nobody saw its memory")];
    }
    let grew = |growth: &Growth| growth.end > growth.warm + growth.warm / GAIN.0 + GAIN.1;
    lives
        .into_iter()
        .filter(grew)
        .map(
            |Growth {
                 pid,
                 lived,
                 warm,
                 end,
             }| format!("process {pid} grew from {warm} to {end} KiB in {lived:?}"),
        )
        .collect()
}

#[test]
fn a_long_soak_in_which_nobody_saw_memory_is_found() {
    let lives_until = |second: i64| {
        [0, 61, second].map(|second| Rss {
            pid: 1,
            at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second),
            kib: 50_000,
        })
    };
    let mut history = History {
        memory: lives_until(119).to_vec(),
        ..History::default()
    };
    assert_eq!(broken(&history), [""; 0], "a short one promises nothing");
    history.is_long = true;
    assert_eq!(broken(&history), ["no process lived 2m: nobody saw its memory"]);
    history.memory = lives_until(120).to_vec();
    assert_eq!(broken(&history), [""; 0]);
}
