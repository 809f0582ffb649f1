//! Memory for answers, of the whole process: whatever is asked, and whatever is answered, there is only so much of it.
//!
//! An answer is in memory twice, one after the other. As a *body*, while it is read: a small one needs nobody's leave, for
//! no more of them come than a server is asked questions at a time. One that is longer waits for a place in the middle,
//! and then for one of few for large ones, after which it waits no more, so that nobody waits for each other. Those
//! places are dealt out fairly between servers, and of one server between namespaces; a body that stalls in one makes
//! way for another server's. And as *samples*, from when they are decoded until they are judged: nobody waits there, what
//! does not fit is refused, and asked again at the next check.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep_until};

use super::places::{Asker, Place, Places};
use crate::clients::http::{self, CallError, SMALL_BODY};

/// What a body in the middle has at most.
pub(super) const MIDDLE_BODY: usize = 1 << 20;

/// As many as a server is asked questions at the same time, where nothing else is said.
const MIDDLE_BODIES: usize = 20;

/// Of which a server has one: another's never waits for one server alone.
const LARGE_BODIES: usize = 2;

/// For so long a body has its place whatever it does, and longer by a second for each `PACE` that came.
const GRACE: Duration = Duration::from_millis(500);

/// The KiB per second that a body needs to keep a place that another server waits for.
const PACE: u32 = 8 << 10;

/// The samples that wait to be judged, of all checks of the process, in bytes.
pub(super) const ALL_SAMPLES: usize = 64 << 20;

/// Of these, the most of one namespace, and so of one check.
pub(super) const SAMPLES_OF_ONE: usize = 40 << 20;

/// Room for samples is asked for in these, which is cheaper than for each.
const BLOCK: usize = 64 << 10;

/// The room there is, shared by all servers.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    middle: Places,
    large: Places,
    samples: Mutex<BTreeMap<String, usize>>,
    decoding: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Shared {
            middle: Places::new(MIDDLE_BODIES),
            large: Places::new(LARGE_BODIES),
            samples: Mutex::default(),
            decoding: Arc::default(),
        }))
    }
}

impl Room {
    /// For a body of a server's that nothing is read of yet.
    pub(super) fn for_body(&self, server: &str, asker: Option<&Asker>) -> BodyRoom {
        let mut namespace = DefaultHasher::new();
        asker.map(|asker| &asker.namespace).hash(&mut namespace);
        BodyRoom {
            room: self.clone(),
            asker: Asker {
                namespace: server.to_owned(),
                // Two namespaces with the same number would share what one has: that is all.
                pass: namespace.finish(),
            },
            held: None,
            waits: false,
        }
    }

    /// For samples of a namespace, none yet.
    pub(super) fn for_samples(&self, namespace: &str) -> SampleRoom {
        SampleRoom {
            room: self.clone(),
            namespace: namespace.to_owned(),
            bytes: 0,
            used: 0,
        }
    }

    /// Held while a large answer is decoded, of which there are then several forms.
    pub(super) async fn decode(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.0.decoding).lock_owned().await
    }

    fn samples(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a body takes; free again when this is dropped.
#[derive(Debug)]
pub(super) struct BodyRoom {
    room: Room,
    /// In place of a namespace the server, and in place of its pass the namespace.
    asker: Asker,
    held: Option<Held>,
    waits: bool,
}

#[derive(Debug)]
struct Held {
    _place: Place,
    is_large: bool,
    since: Instant,
    /// How much had come by then.
    from: usize,
}

impl http::Room for BodyRoom {
    async fn grow(&mut self, bytes: usize, length: usize) -> Result<(), CallError> {
        let is_large = bytes > MIDDLE_BODY;
        let has_enough = self.held.as_ref().is_some_and(|held| held.is_large || !is_large);
        if has_enough || bytes <= SMALL_BODY {
            return Ok(());
        }
        self.waits = true;
        let all = if is_large {
            &self.room.0.large
        } else {
            &self.room.0.middle
        };
        let place = tokio::select! {
            biased;
            place = all.take(Some(&self.asker)) => place,
            // One that waits in the middle keeps others from it too.
            () = self.lost(length) => return Err(CallError::TooSlow),
        };
        self.waits = false;
        self.held = Some(Held {
            _place: place,
            is_large,
            since: Instant::now(),
            from: length,
        });
        Ok(())
    }

    async fn lost(&self, length: usize) {
        let Some(held) = &self.held else {
            return std::future::pending().await;
        };
        let came = length.saturating_sub(held.from);
        let for_these = Duration::from_secs(1) * u32::try_from(came >> 10).unwrap_or(u32::MAX) / PACE;
        sleep_until(held.since + GRACE + for_these).await;
        let all = if held.is_large {
            &self.room.0.large
        } else {
            &self.room.0.middle
        };
        all.wanted_by_poorer(&self.asker.namespace).await;
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

/// What samples take; free again when this is dropped.
#[derive(Debug)]
pub(super) struct SampleRoom {
    room: Room,
    namespace: String,
    /// What is reserved, some of it in advance.
    bytes: usize,
    used: usize,
}

impl SampleRoom {
    /// Takes so many bytes more. `false`: there is no room.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let used = self.used.saturating_add(more);
        if used > self.bytes && !self.reserve(used - self.bytes) {
            return false;
        }
        self.used = used;
        true
    }

    fn reserve(&mut self, needed: usize) -> bool {
        let mut all = self.room.samples();
        let sum: usize = all.values().sum();
        let own = all.get(&self.namespace).copied().unwrap_or(0);
        let left = ALL_SAMPLES
            .saturating_sub(sum)
            .min(SAMPLES_OF_ONE.saturating_sub(own));
        if needed > left {
            return false;
        }
        let more = needed.max(BLOCK.min(left));
        all.insert(self.namespace.clone(), own + more);
        self.bytes += more;
        true
    }

    /// Gives back what was reserved and not used.
    pub(super) fn settle(&mut self) {
        let spare = self.bytes - self.used;
        self.bytes = self.used;
        self.room.give_back(&self.namespace, spare);
    }
}

impl Room {
    fn give_back(&self, namespace: &str, bytes: usize) {
        let mut all = self.samples();
        if let Some(own) = all.get_mut(namespace) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                all.remove(namespace);
            }
        }
    }
}

impl Drop for SampleRoom {
    fn drop(&mut self) {
        self.room.give_back(&self.namespace, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::clients::http::Room as _;

    const LARGE: usize = MIDDLE_BODY + 1;

    fn body(room: &Room, server: &str, namespace: &str) -> BodyRoom {
        let asker = Asker {
            namespace: namespace.to_owned(),
            pass: 0,
        };
        room.for_body(server, Some(&asker))
    }

    /// Whether there is room at once.
    fn grows(body: &mut BodyRoom, bytes: usize) -> bool {
        body.grow(bytes, 0)
            .now_or_never()
            .is_some_and(|grown| grown.is_ok())
    }

    #[tokio::test]
    async fn small_bodies_wait_for_nobody_and_of_the_others_no_server_has_all_places() {
        let room = Room::default();
        let all = (0..30).map(|i| body(&room, "a", &format!("namespace-{i}")));
        let mut all: Vec<_> = all.collect();
        let middle = all
            .iter_mut()
            .filter_map(|one| grows(one, MIDDLE_BODY).then_some(()));
        assert_eq!(middle.count(), MIDDLE_BODIES / 2);
        let large: Vec<_> = all.iter_mut().map(|one| grows(one, LARGE)).collect();
        assert_eq!(large.iter().filter(|has| **has).count(), LARGE_BODIES / 2);
        let mut other = body(&room, "b", "shop");
        assert!(grows(&mut other, MIDDLE_BODY) && grows(&mut other, LARGE));
        assert!(grows(&mut other, 20 * LARGE), "it never waits again");
        // The place in the middle of the one that has a large one now.
        let mut freed = body(&room, "a", "next");
        assert!(grows(&mut freed, MIDDLE_BODY));
        let mut waiting = body(&room, "a", "shop");
        assert!(!grows(&mut waiting, SMALL_BODY + 1) && waiting.waits());
        assert!(grows(&mut body(&room, "a", "shop"), SMALL_BODY));
        drop(all);
        assert!(grows(&mut waiting, SMALL_BODY + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_keeps_a_place_that_another_server_waits_for_only_as_long_as_it_comes() {
        let second = Duration::from_secs(1);
        let room = Room::default();
        let servers = ["a", "b", "c"];
        let [mut stalls, mut comes, mut waits] = servers.map(|server| body(&room, server, "shop"));
        stalls.grow(LARGE, MIDDLE_BODY).await.unwrap();
        comes.grow(LARGE, MIDDLE_BODY).await.unwrap();
        let long = Duration::from_mins(1);
        let lost = async |body: &BodyRoom, length: usize, within: Duration| {
            tokio::time::timeout(within, body.lost(length)).await.is_ok()
        };
        assert!(!lost(&stalls, MIDDLE_BODY, long).await, "nobody waits");
        // The minute that passed is paid for by what came.
        let came = MIDDLE_BODY + 61 * ((PACE as usize) << 10);
        let mut next = Box::pin(waits.grow(LARGE, 0));
        assert!((&mut next).now_or_never().is_none());
        assert!(lost(&stalls, MIDDLE_BODY, Duration::ZERO).await);
        assert!(!lost(&comes, came, second).await && lost(&comes, came, second).await);
        drop(stalls);
        next.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_in_the_middle_for_a_large_place_makes_way_too() {
        let room = Room::default();
        let mut own = body(&room, "a", "large");
        own.grow(LARGE, 0).await.unwrap();
        let mut all: Vec<_> = (0..9).map(|i| body(&room, "a", &format!("{i}"))).collect();
        for one in &mut all {
            one.grow(MIDDLE_BODY, 0).await.unwrap();
        }
        let mut last = body(&room, "a", "last");
        last.grow(MIDDLE_BODY, 0).await.unwrap();
        let others: Vec<_> = ["b", "c", "d", "e", "f"]
            .map(|server| {
                let mut of: Vec<_> = (0..10).map(|i| body(&room, server, &format!("{i}"))).collect();
                of.retain_mut(|one| grows(one, MIDDLE_BODY));
                of
            })
            .into();
        assert_eq!(others.iter().map(Vec::len).sum::<usize>(), 10);
        let mut poor = body(&room, "g", "shop");
        let mut waits = Box::pin(poor.grow(MIDDLE_BODY, 0));
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(last.grow(LARGE, MIDDLE_BODY).await, Err(CallError::TooSlow));
        drop(last);
        waits.await.unwrap();
    }

    #[test]
    fn no_namespace_fills_the_room_for_samples_and_what_is_let_go_is_free_again() {
        let room = Room::default();
        let mut a = room.for_samples("a");
        assert!(a.grow(SAMPLES_OF_ONE) && !a.grow(1));
        assert!(!room.for_samples("a").grow(1));
        let mut b = room.for_samples("b");
        assert!(b.grow(ALL_SAMPLES - SAMPLES_OF_ONE));
        assert!(!room.for_samples("c").grow(1));
        drop(a);
        assert!(room.for_samples("c").grow(SAMPLES_OF_ONE));
        drop(b);
        assert!(room.samples().is_empty());
    }

    #[test]
    fn what_samples_reserve_in_advance_is_given_back_when_they_are_all_there() {
        let room = Room::default();
        let mut all: Vec<_> = (0..2 * ALL_SAMPLES / BLOCK)
            .map(|i| room.for_samples(&i.to_string()))
            .collect();
        for one in &mut all {
            assert!(one.grow(100) && one.grow(28));
            one.settle();
        }
        assert_eq!(room.samples().values().sum::<usize>(), 128 * all.len());
        drop(all);
        assert!(room.samples().is_empty());
    }
}
