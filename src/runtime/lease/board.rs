//! Which replica holds which shard, as one of them knows it, and what follows: whose turn a free one is, and which one to ask
//! for. Nothing is decided together; each replica comes to the same by the same rules, and a write that
//! meets another is refused.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::Shard;
use super::split::OtherSplits;

/// What the Lease of a shard says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Post {
    /// Who holds it; none where it is free, or not known yet.
    pub(super) holder: Option<String>,
    /// Since when.
    pub(super) since: Option<Timestamp>,
    /// Who asks the holder for it.
    pub(super) asked_for_by: Option<String>,
}

impl Post {
    /// Who has it, or will have it once it is given up.
    fn owner(&self) -> Option<&str> {
        let next = self.asked_for_by.as_deref();
        self.holder.as_deref().map(|holder| next.unwrap_or(holder))
    }
}

/// What the electors of a process share: the posts of all shards, and what they know besides. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Board {
    posts: Arc<watch::Sender<Vec<Post>>>,
    taking: Arc<Mutex<()>>,
    others: Arc<StdMutex<OtherSplits>>,
    /// Cancelled when this process could act at once with whatever it takes.
    pub(super) settled: CancellationToken,
}

impl Board {
    /// Nothing is known of so many.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            posts: Arc::new(watch::Sender::new(vec![Post::default(); shards])),
            taking: Arc::default(),
            others: Arc::default(),
            settled: CancellationToken::new(),
        }
    }

    /// Notes what the Lease of a shard says.
    pub(super) fn note(&self, shard: Shard, post: Post) {
        self.posts.send_if_modified(|posts| {
            let changed = posts[shard.index()] != post;
            posts[shard.index()] = post;
            changed
        });
    }

    /// What is known, and when that changes.
    pub(super) fn posts(&self) -> watch::Receiver<Vec<Post>> {
        self.posts.subscribe()
    }

    /// Held while a shard is taken: what was taken counts when the next one is.
    pub(super) async fn taking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.taking.lock().await
    }

    /// Who splits namespaces in another way; never held across an await.
    pub(super) fn others(&self) -> MutexGuard<'_, OtherSplits> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many others come before `me` where this shard is free.
    pub(super) fn turn(&self, shard: Shard, me: &str) -> u32 {
        turn(&self.posts.borrow(), shard.index(), me)
    }
}

/// How many shards each replica has, or will have.
fn held(posts: &[Post]) -> BTreeMap<&str, usize> {
    let mut held = BTreeMap::new();
    for owner in posts.iter().filter_map(Post::owner) {
        *held.entry(owner).or_default() += 1;
    }
    held
}

/// How many others come before `me` where `posts[shard]` is free: who asked for it, then those with fewer shards.
fn turn(posts: &[Post], shard: usize, me: &str) -> u32 {
    let asked = posts[shard].asked_for_by.as_deref();
    if asked == Some(me) {
        return 0;
    }
    let held = held(posts);
    let mine = (held.get(me).copied().unwrap_or_default(), me);
    let before = held.iter().filter(|(who, count)| (**count, **who) < mine).count();
    u32::try_from(before + usize::from(asked.is_some())).unwrap_or(u32::MAX)
}

/// The shard that `me` should ask its holder for: of the replica with the most, where that has two more than we; of those the
/// one it has had for longest, so that what has just moved stays. None while any is free, or while an answer is awaited.
pub(super) fn to_ask_for(posts: &[Post], me: &str) -> Option<usize> {
    let asking = |post: &Post| post.asked_for_by.as_deref() == Some(me) && post.holder.as_deref() != Some(me);
    if posts.iter().any(|post| post.holder.is_none() || asking(post)) {
        return None;
    }
    let held = held(posts);
    let mine = held.get(me).copied().unwrap_or_default();
    let (most, Reverse(who)) = held.iter().map(|(who, count)| (*count, Reverse(*who))).max()?;
    if most < mine + 2 {
        return None;
    }
    let of_theirs = |post: &Post| post.holder.as_deref() == Some(who) && post.asked_for_by.is_none();
    let theirs = (0..posts.len()).filter(|index| of_theirs(&posts[*index]));
    theirs.min_by_key(|index| posts[*index].since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(holder: &str, since: i64) -> Post {
        Post {
            holder: (!holder.is_empty()).then(|| holder.to_owned()),
            since: Timestamp::from_second(since).ok(),
            asked_for_by: None,
        }
    }

    fn asked(mut post: Post, by: &str) -> Post {
        post.asked_for_by = Some(by.to_owned());
        post
    }

    /// A letter for each shard: who holds it, from the oldest to the newest.
    fn posts(holders: &str) -> Vec<Post> {
        let of = |(since, holder): (i64, char)| post(holder.to_string().trim_matches('-'), since);
        (0..).zip(holders.chars()).map(of).collect()
    }

    #[test]
    fn who_has_fewest_comes_first_and_of_equals_the_first_by_name() {
        // holders, who, how many come before
        let cases = [
            ("------", "a", 0),
            ("aabbc-", "c", 0),
            ("aabbc-", "a", 1),
            ("aabbc-", "b", 2),
            ("aabbc-", "d", 0),
            ("aabb--", "a", 0),
            ("aabb--", "b", 1),
            ("aaabb-", "b", 0),
            ("aaabb-", "a", 1),
        ];
        for (holders, me, before) in cases {
            assert_eq!(turn(&posts(holders), 5, me), before, "{me} in {holders}");
        }
    }

    #[test]
    fn who_asked_comes_before_all_others() {
        let mut posts = posts("aabbb-");
        posts[5] = asked(posts[5].clone(), "b");
        assert_eq!([turn(&posts, 5, "b"), turn(&posts, 5, "a")], [0, 1]);
    }

    #[test]
    fn a_replica_asks_for_the_oldest_of_the_one_with_the_most() {
        // holders, who, what to ask for
        let cases = [
            ("aaaaaa", "b", Some(0)),
            ("aaaaaa", "a", None),
            ("aaabbb", "c", Some(0)),
            ("abbbba", "c", Some(1)),
            ("aabbcc", "a", None),
            ("aaabbc", "c", Some(0)),
            ("aabbc", "c", None),
            ("aaaaa-", "b", None),
            ("a", "b", None),
            ("aa", "b", Some(0)),
        ];
        for (holders, me, expected) in cases {
            assert_eq!(to_ask_for(&posts(holders), me), expected, "{me} in {holders}");
        }
    }

    #[test]
    fn what_is_asked_for_counts_as_moved() {
        let mut posts = posts("aaa");
        posts[0] = asked(posts[0].clone(), "b");
        assert_eq!(to_ask_for(&posts, "b"), None, "the answer is awaited");
        assert_eq!(to_ask_for(&posts, "c"), Some(1));
        posts[1] = asked(posts[1].clone(), "c");
        assert_eq!(to_ask_for(&posts, "d"), None);
    }

    /// From every division of the shards it comes to one in which nobody has two more than another, each shard moving once at
    /// most, where they ask in turn.
    #[test]
    fn asking_ends_and_moves_nothing_twice() {
        let names = ["a", "b", "c"];
        for division in 0..3_u32.pow(6) {
            let holder = |shard: u32| names[(division / 3_u32.pow(shard) % 3) as usize];
            let mut posts: Vec<Post> = (0..6)
                .map(|shard| post(holder(shard), i64::from(shard)))
                .collect();
            let mut moved = [0; 6];
            for (now, me) in (100..).zip(names.iter().cycle().take(30)) {
                if let Some(shard) = to_ask_for(&posts, me) {
                    posts[shard] = post(me, now);
                    moved[shard] += 1;
                }
            }
            assert!(moved.iter().all(|times| *times <= 1), "{division}: {moved:?}");
            let counts = names.map(|name| held(&posts).get(name).copied().unwrap_or_default());
            assert_eq!(counts, [2, 2, 2], "{division}");
        }
    }
}
