//! What status holds and people are still to be told, by `BirdWatch`: the sender is given one notice of a thread after
//! the other, and this remembers the rest for the case that status goes away. It sends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clients::slack::{Delivery, Item};

/// Everything that waits.
#[derive(Debug, Default)]
pub struct Later(Mutex<Kept>);

/// A thread with something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose thread.
    pub rollout: String,
    /// The notice that is the first to go; none: the parent is.
    pub notice: Option<i64>,
    /// An alarm is among what waits.
    pub urgent: bool,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: BTreeMap<String, Threads>,
    notices: usize,
}

/// What waits of one `BirdWatch`, by rollout.
#[derive(Debug, Default)]
struct Threads {
    /// All of it, what the sender was given included.
    all: BTreeMap<String, Delivery>,
    /// Threads whose parent Slack does not take.
    without_parent: BTreeSet<String>,
    /// What the sender was given last, and may be saying now.
    given: Option<Waiting>,
}

impl Later {
    /// What waits in a thread now.
    pub fn put(&self, delivery: Delivery) {
        let mut kept = self.lock();
        let more = notices(&delivery);
        let threads = kept.by_key.entry(delivery.key.clone()).or_default();
        let before = threads.all.insert(delivery.rollout.clone(), delivery);
        kept.notices = (kept.notices + more).saturating_sub(before.as_ref().map_or(0, notices));
    }

    /// Whose turn it is: who was given something goes first until that is told, then who has an alarm, then the oldest.
    pub fn next(&self, key: &str, waiting: Vec<Waiting>) -> Option<String> {
        let mut kept = self.lock();
        let threads = kept.by_key.entry(key.to_owned()).or_default();
        let is_given = |one: &Waiting| {
            let given = threads.given.as_ref();
            given.is_some_and(|given| given.rollout == one.rollout && given.notice == one.notice)
        };
        let first = waiting.iter().position(is_given);
        let first = first.or_else(|| waiting.iter().position(|one| one.urgent));
        threads.given = waiting.into_iter().nth(first.unwrap_or(0));
        threads.given.as_ref().map(|given| given.rollout.clone())
    }

    /// What waited according to an older status waits no longer.
    pub fn clear(&self, key: &str) {
        let mut kept = self.lock();
        let all = kept
            .by_key
            .get_mut(key)
            .map(|threads| std::mem::take(&mut threads.all));
        kept.forget(all.iter().flatten().map(|(_, delivery)| delivery));
    }

    /// Takes out what waits of one `BirdWatch`.
    pub fn take(&self, key: &str) -> Vec<Delivery> {
        let mut kept = self.lock();
        let threads = kept.by_key.remove(key).unwrap_or_default();
        kept.forget(threads.all.values());
        threads.all.into_values().collect()
    }

    /// Forgets those whose keys are meant.
    pub fn forget_all(&self, of: impl Fn(&str) -> bool) {
        let mut kept = self.lock();
        let gone: Vec<_> = kept.by_key.extract_if(.., |key, _| of(key)).collect();
        for (_, threads) in gone {
            kept.forget(threads.all.values());
        }
    }

    /// Slack does not take the parent of this thread: its notices stand by themselves.
    pub fn goes_without_parent(&self, key: &str, rollout: &str) {
        let mut kept = self.lock();
        let threads = kept.by_key.entry(key.to_owned()).or_default();
        threads.without_parent.insert(rollout.to_owned());
    }

    /// Whether that was said of this thread.
    #[must_use]
    pub fn is_without_parent(&self, key: &str, rollout: &str) -> bool {
        let kept = self.lock();
        let threads = kept.by_key.get(key);
        threads.is_some_and(|threads| threads.without_parent.contains(rollout))
    }

    /// How many notices wait.
    #[must_use]
    pub fn notices(&self) -> usize {
        self.lock().notices
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget<'a>(&mut self, deliveries: impl Iterator<Item = &'a Delivery>) {
        let fewer: usize = deliveries.map(notices).sum();
        self.notices = self.notices.saturating_sub(fewer);
    }
}

fn notices(delivery: &Delivery) -> usize {
    let is_notice = |item: &&Item| matches!(item, Item::Post { .. });
    delivery.items.iter().filter(is_notice).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::slack::Thread;

    fn delivery(key: &str, rollout: &str, ids: std::ops::Range<i64>) -> Delivery {
        let post = |notice_id| Item::Post {
            notice_id,
            thread: Thread {
                channel: "c".into(),
                parent: None,
                opened_in: None,
            },
            text: String::new(),
            urgent: false,
        };
        Delivery {
            key: key.into(),
            rollout: rollout.into(),
            items: ids.map(post).collect(),
        }
    }

    #[test]
    fn every_notice_that_waits_is_counted_once() {
        let later = Later::default();
        later.put(delivery("a/b", "one", 0..3));
        later.put(delivery("a/b", "one", 1..3));
        later.put(delivery("a/b", "two", 3..4));
        later.put(delivery("c/d", "one", 0..5));
        assert_eq!(later.notices(), 2 + 1 + 5);
        later.clear("a/b");
        later.put(delivery("a/b", "two", 3..4));
        assert_eq!(later.notices(), 1 + 5);
        assert_eq!(later.take("c/d").len(), 1);
        assert_eq!((later.take("c/d").len(), later.notices()), (0, 1));
    }

    #[test]
    fn one_thread_after_the_other_is_told_and_one_with_an_alarm_does_not_interrupt() {
        let later = Later::default();
        let waits = |rollout: &str, notice, urgent| Waiting {
            rollout: rollout.into(),
            notice,
            urgent,
        };
        let next = |waiting| later.next("a/b", waiting);
        let one = |notice| waits("one", Some(notice), false);
        assert_eq!(
            next(vec![one(1), waits("two", None, false)]).as_deref(),
            Some("one")
        );
        assert_eq!(
            next(vec![one(1), waits("two", None, true)]).as_deref(),
            Some("one")
        );
        assert_eq!(
            next(vec![one(2), waits("two", None, true)]).as_deref(),
            Some("two")
        );
        assert_eq!(
            next(vec![one(2), waits("two", Some(7), false)]).as_deref(),
            Some("one")
        );
        assert_eq!(next(Vec::new()), None);
    }

    #[test]
    fn a_thread_without_a_parent_is_known_until_nothing_waits() {
        let later = Later::default();
        later.goes_without_parent("a/b", "one");
        later.clear("a/b");
        assert!(later.is_without_parent("a/b", "one") && !later.is_without_parent("a/b", "two"));
        drop(later.take("a/b"));
        assert!(!later.is_without_parent("a/b", "one"));
    }
}
