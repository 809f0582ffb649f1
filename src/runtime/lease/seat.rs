//! What the rest of the process sees of leadership, shard by shard: whether it acts, until when, and how it says that it is
//! at work.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::runtime::clock::Clock;

use super::{Leadership, Shard, Shards, Term};

/// How long what people are being told may keep a shard from changing hands: telling it twice is the lesser harm then.
pub(super) const LAST_WORD: Duration = Duration::from_secs(2);

/// One shard, as the rest of the process sees it.
#[derive(Clone, Debug)]
pub struct Seat {
    leadership: watch::Receiver<Leadership>,
    work: Work,
}

/// Who is at work on a shard. Its lease is given up when nobody is any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    reconciles: Arc<RwLock<()>>,
    telling: TaskTracker,
}

/// Somebody is at work, until it is dropped.
#[derive(Debug)]
pub struct AtWork {
    _until_dropped: OwnedRwLockReadGuard<()>,
}

/// People are being told something, and it is not noted yet, until it is dropped.
#[derive(Debug)]
pub struct Telling {
    _until_dropped: TaskTrackerToken,
}

/// Nobody is at work, until it is dropped.
#[derive(Debug)]
pub struct Idle {
    _until_dropped: OwnedRwLockWriteGuard<()>,
}

impl Work {
    /// Waits until nobody is at work; nobody begins while the guard is held.
    pub(super) async fn ended(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.reconciles).write_owned().await
    }

    /// Lets nobody tell anything more, and waits for what is being told to be noted, so long: who comes next would tell it again.
    pub(super) async fn told(&self, limit: Duration) {
        self.telling.close();
        let _ = timeout(limit, self.telling.wait()).await;
    }

    /// Whether something may be told.
    pub(super) fn may_tell(&self) -> bool {
        !self.telling.is_closed()
    }

    /// Something may be told again, once there is a term again.
    pub(super) fn tell_again(&self) {
        self.telling.reopen();
    }
}

impl Seat {
    pub(super) fn new(leadership: watch::Receiver<Leadership>, work: Work) -> Self {
        Self { leadership, work }
    }

    /// Whether this process acts, and when that changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Waits until nobody is at work there; nobody begins until it is dropped.
    pub async fn idle(&self) -> Idle {
        Idle {
            _until_dropped: self.work.ended().await,
        }
    }
}

/// The seats of all shards, in their order.
#[derive(Clone, Debug)]
pub struct Seats {
    seats: Arc<[Seat]>,
    shards: Shards,
}

impl Seats {
    pub(super) fn new(shards: Shards, seats: Vec<Seat>) -> Self {
        Self {
            seats: seats.into(),
            shards,
        }
    }

    /// One for everything, without an elector (tests).
    #[must_use]
    pub fn one(leadership: watch::Receiver<Leadership>) -> Self {
        Self::new(Shards::ONE, vec![Seat::new(leadership, Work::default())])
    }

    /// Each with its shard.
    pub fn iter(&self) -> impl Iterator<Item = (Shard, &Seat)> {
        self.shards.all().zip(self.seats.iter())
    }

    /// Lets nobody tell anything more, and waits a little for what is being told to be noted. Reconciles note it: they must not
    /// have stopped.
    pub async fn told(&self) {
        join_all(self.seats.iter().map(|seat| seat.work.told(LAST_WORD))).await;
    }

    /// That of a namespace.
    #[must_use]
    pub fn of(&self, namespace: &str) -> &Seat {
        &self.seats[self.shards.of(namespace).index()]
    }
}

/// Asked before each write: does this process still lead there? Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Gate {
    seats: Seats,
    clock: Clock,
}

impl Gate {
    /// A gate that follows the electors of all shards.
    #[must_use]
    pub fn new(seats: Seats, clock: Clock) -> Self {
        Self { seats, clock }
    }

    /// How namespaces are split.
    #[must_use]
    pub fn shards(&self) -> Shards {
        self.seats.shards
    }

    /// Whether a write in this namespace may be started now.
    #[must_use]
    pub fn is_open(&self, namespace: &str) -> bool {
        self.is_leading(self.seats.of(namespace))
    }

    /// Whether this process has a term in this namespace, be it that it may not write at this instant: once it is renewed, nobody
    /// says so.
    #[must_use]
    pub fn has_term(&self, namespace: &str) -> bool {
        let leadership = self.seats.of(namespace).leadership.borrow();
        leadership.term().is_some()
    }

    /// Whether a write may be started now, in whatever namespace.
    #[must_use]
    pub fn is_open_everywhere(&self) -> bool {
        self.seats.seats.iter().all(|seat| self.is_leading(seat))
    }

    /// Begins to work in this namespace; none where this process does not lead there, or is about to give it up.
    #[must_use]
    pub fn enter(&self, namespace: &str) -> Option<AtWork> {
        let seat = self.seats.of(namespace);
        // First, so that whoever gives it up afterwards waits for us.
        let guard = Arc::clone(&seat.work.reconciles).try_read_owned().ok()?;
        self.is_leading(seat).then_some(AtWork {
            _until_dropped: guard,
        })
    }

    /// Begins to tell people something of this namespace; none where others tell it, or are about to.
    #[must_use]
    pub fn tell(&self, namespace: &str) -> Option<Telling> {
        let seat = self.seats.of(namespace);
        // First, so that whoever gives it up afterwards waits for us.
        let token = seat.work.telling.token();
        let may_tell = seat.work.may_tell() && self.is_leading(seat);
        may_tell.then_some(Telling {
            _until_dropped: token,
        })
    }

    /// The present term, if this process leads in this namespace at this moment.
    #[must_use]
    pub fn term(&self, namespace: &str) -> Option<Term> {
        let leadership = self.seats.of(namespace).leadership.borrow();
        leadership
            .term()
            .filter(|_| leadership.is_leading_at(self.clock.monotonic()))
            .cloned()
    }

    fn is_leading(&self, seat: &Seat) -> bool {
        seat.leadership.borrow().is_leading_at(self.clock.monotonic())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use tokio::time::timeout;

    use super::*;

    fn leading(clock: &Clock) -> Leadership {
        let far = clock.monotonic() + Duration::from_hours(1);
        Leadership::Leading(Term::new(Timestamp::UNIX_EPOCH, far))
    }

    /// A gate of two shards, who leads each, and a namespace of each.
    fn two(clock: &Clock) -> (Gate, [watch::Sender<Leadership>; 2], [String; 2]) {
        let shards = Shards::new(2).unwrap();
        let senders = [(); 2].map(|()| watch::channel(Leadership::Standby).0);
        let seats = senders
            .each_ref()
            .map(|sender| Seat::new(sender.subscribe(), Work::default()));
        let name = |index| {
            let mut names = (0..).map(|number| format!("team-{number}"));
            names.find(|name| shards.of(name).index() == index).unwrap()
        };
        let gate = Gate::new(Seats::new(shards, seats.into()), clock.clone());
        (gate, senders, [name(0), name(1)])
    }

    #[tokio::test(start_paused = true)]
    async fn each_shard_has_a_gate_of_its_own() {
        let clock = Clock::paused(Timestamp::UNIX_EPOCH);
        let (gate, senders, [a, b]) = two(&clock);
        let open = || (gate.is_open(&a), gate.is_open(&b), gate.is_open_everywhere());
        assert_eq!(open(), (false, false, false));
        senders[1].send_replace(leading(&clock));
        assert_eq!(open(), (false, true, false));
        assert!(gate.enter(&a).is_none() && gate.enter(&b).is_some());
        assert!(gate.term(&a).is_none() && gate.term(&b).is_some());
        senders[0].send_replace(leading(&clock));
        assert_eq!(open(), (true, true, true));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_a_shard_up_waits_a_little_for_what_is_being_told_and_nothing_more_is_told() {
        let clock = Clock::paused(Timestamp::UNIX_EPOCH);
        let (gate, senders, [a, b]) = two(&clock);
        assert!(gate.tell(&a).is_none(), "it does not lead there");
        for sender in &senders {
            sender.send_replace(leading(&clock));
        }
        let work = &gate.seats.of(&a).work;
        let telling = gate.tell(&a).unwrap();
        let mut told = Box::pin(work.told(LAST_WORD));
        assert!(timeout(LAST_WORD / 2, &mut told).await.is_err());
        assert!(gate.tell(&a).is_none() && gate.tell(&b).is_some() && gate.enter(&a).is_some());
        drop(telling);
        assert!(timeout(Duration::ZERO, told).await.is_ok());
        work.tell_again();
        let _slow = gate.tell(&a).unwrap();
        assert!(timeout(LAST_WORD * 2, work.told(LAST_WORD)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_a_shard_up_waits_for_those_at_work_and_nobody_begins_meanwhile() {
        let clock = Clock::paused(Timestamp::UNIX_EPOCH);
        let (gate, senders, [a, b]) = two(&clock);
        for sender in &senders {
            sender.send_replace(leading(&clock));
        }
        let work = gate.seats.of(&a).work.clone();
        let at_work = gate.enter(&a).unwrap();
        let mut ended = Box::pin(work.ended());
        assert!(timeout(Duration::from_secs(9), &mut ended).await.is_err());
        assert!(gate.enter(&a).is_none(), "it is about to be given up");
        assert!(gate.enter(&b).is_some(), "another shard");
        drop(at_work);
        let guard = timeout(Duration::from_secs(9), ended).await.unwrap();
        assert!(gate.enter(&a).is_none());
        drop(guard);
        assert!(gate.enter(&a).is_some());
    }
}
