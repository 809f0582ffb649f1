//! Memory for answers, of the whole process: whatever is asked, and whatever is answered, there is only so much of it.
//!
//! An answer is in memory twice, one after the other. As a *body*, while it is read: small ones share a pool, and one
//! large one at a time goes beyond. It never has to wait again, so that nobody waits for each other. And as *samples*, from
//! when they are decoded until they are judged: nobody waits there, what does not fit is refused, and asked again at the
//! next check.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::places::{Asker, Place, Places};
use crate::clients::http;

/// Bodies that are no larger share a pool; larger ones come one after the other, up to what one answer may have.
pub(super) const SMALL_BODY: usize = 1 << 20;

/// The pool: as many small bodies as a server is asked questions at the same time, where nothing else is said.
const SMALL_BODIES: usize = 20 * SMALL_BODY;

/// The samples that wait to be judged, of all checks of the process, in bytes.
pub(super) const ALL_SAMPLES: usize = 64 << 20;

/// Of these, the most of one namespace, and so of one check.
pub(super) const SAMPLES_OF_ONE: usize = 40 << 20;

/// The pool is handed out in these.
const UNIT: usize = 64 << 10;

/// The room there is, shared by all servers.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    small: Arc<Semaphore>,
    large: Places,
    samples: Mutex<BTreeMap<String, usize>>,
    decoding: Mutex<()>,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Shared {
            small: Arc::new(Semaphore::new(SMALL_BODIES / UNIT)),
            large: Places::new(1),
            samples: Mutex::default(),
            decoding: Mutex::default(),
        }))
    }
}

impl Room {
    /// For a body that nothing is read of yet.
    pub(super) fn for_body(&self, asker: Option<&Asker>) -> BodyRoom {
        BodyRoom {
            room: self.clone(),
            asker: asker.cloned(),
            small: None,
            large: None,
            waits: false,
        }
    }

    /// For samples of a namespace, none yet.
    pub(super) fn for_samples(&self, namespace: &str) -> SampleRoom {
        SampleRoom {
            room: self.clone(),
            namespace: namespace.to_owned(),
            bytes: 0,
        }
    }

    /// Held while a large answer is decoded, of which there are then several forms.
    pub(super) fn decode(&self) -> MutexGuard<'_, ()> {
        self.0.decoding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn samples(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a body takes; free again when this is dropped.
#[derive(Debug)]
pub(super) struct BodyRoom {
    room: Room,
    asker: Option<Asker>,
    small: Option<OwnedSemaphorePermit>,
    large: Option<Place>,
    waits: bool,
}

impl http::Room for BodyRoom {
    async fn grow(&mut self, bytes: usize) {
        if self.large.is_some() {
            return;
        }
        let has = self.small.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(has);
        if bytes <= SMALL_BODY && self.take_small(more) {
            return;
        }
        self.waits = true;
        self.large = Some(self.room.0.large.take(self.asker.as_ref()).await);
        self.waits = false;
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

impl BodyRoom {
    fn take_small(&mut self, more: usize) -> bool {
        let pool = Arc::clone(&self.room.0.small);
        let taken = u32::try_from(more).map(|more| pool.try_acquire_many_owned(more));
        let Ok(Ok(taken)) = taken else {
            return false;
        };
        match &mut self.small {
            Some(own) => own.merge(taken),
            own => *own = Some(taken),
        }
        true
    }
}

/// What samples take; free again when this is dropped.
#[derive(Debug)]
pub(super) struct SampleRoom {
    room: Room,
    namespace: String,
    bytes: usize,
}

impl SampleRoom {
    /// Takes so many bytes more. `false`: there is no room.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let mut all = self.room.samples();
        let sum: usize = all.values().sum();
        let own = all.get(&self.namespace).copied().unwrap_or(0);
        if sum.saturating_add(more) > ALL_SAMPLES || own.saturating_add(more) > SAMPLES_OF_ONE {
            return false;
        }
        all.insert(self.namespace.clone(), own + more);
        self.bytes += more;
        true
    }
}

impl Drop for SampleRoom {
    fn drop(&mut self) {
        let mut all = self.room.samples();
        if let Some(own) = all.get_mut(&self.namespace) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                all.remove(&self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::clients::http::Room as _;

    fn body(room: &Room, namespace: &str) -> BodyRoom {
        room.for_body(Some(&Asker {
            namespace: namespace.to_owned(),
            pass: 0,
        }))
    }

    #[test]
    fn small_bodies_share_a_pool_and_one_large_one_at_a_time_goes_beyond_and_never_waits_again() {
        let room = Room::default();
        let mut small: Vec<_> = (0..20).map(|_| body(&room, "a")).collect();
        for one in &mut small {
            for bytes in [10, SMALL_BODY / 2, SMALL_BODY] {
                one.grow(bytes).now_or_never().expect("there is room");
            }
        }
        let mut large = body(&room, "a");
        large
            .grow(10)
            .now_or_never()
            .expect("the pool is empty, and it is the first beyond");
        let mut next = body(&room, "b");
        assert!(next.grow(10).now_or_never().is_none());
        assert!(next.waits());
        large
            .grow(20 * SMALL_BODY)
            .now_or_never()
            .expect("it never waits again");
        small.pop();
        next.grow(SMALL_BODY)
            .now_or_never()
            .expect("the pool has room again");
        assert!(
            next.grow(SMALL_BODY + 1).now_or_never().is_none(),
            "one at a time"
        );
        drop(large);
        next.grow(SMALL_BODY + 1).now_or_never().expect("its turn");
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
}
