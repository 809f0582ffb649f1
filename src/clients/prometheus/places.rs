//! Who may ask a server next. A server is asked so much at a time; those places are dealt out so that neither one
//! namespace nor one check keeps the others from being heard, however many questions they have and however slow those are.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

/// On whose account a place is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// The namespace of the `BirdWatch` that asks.
    pub(super) namespace: String,
    /// Which of its passes: all questions of one are one asker's.
    pub(super) pass: u64,
}

/// The places of one server. A namespace may take one more while it holds fewer than are free, so that it holds half at
/// most, two hold a third each, and so on; one pass may while it holds fewer than a third of what is free: a quarter at
/// most. Who holds least comes next, and of those who hold the same whoever waits longest since it came or last had one.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Somebody came who has to wait, or a place changed hands.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    all: usize,
    free: usize,
    /// Counts arrivals and turns alike, so that no two have the same number.
    now: u64,
    /// Only those who hold or wait.
    namespaces: BTreeMap<String, Passes>,
    /// Those on nobody's account, whom only a full house keeps waiting.
    others: VecDeque<oneshot::Sender<Place>>,
}

#[derive(Debug, Default)]
struct Passes {
    held: usize,
    /// When it last got a place, or began to wait.
    since: u64,
    all: BTreeMap<u64, Pass>,
}

#[derive(Debug, Default)]
struct Pass {
    held: usize,
    /// The same.
    since: u64,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place that is held; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    asker: Option<Asker>,
    given_back: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.given_back {
            return;
        }
        let mut state = self.places.lock();
        state.give_back(self.asker.as_ref());
        self.places.deal(state);
    }
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        let state = State {
            all,
            free: all,
            now: 0,
            namespaces: BTreeMap::new(),
            others: VecDeque::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
        }))
    }

    /// Waits for a place. One who is no longer awaited is passed over.
    pub(super) async fn take(&self, asker: Option<&Asker>) -> Place {
        loop {
            // No sender is dropped while its receiver is there.
            if let Ok(place) = self.queue(asker).await {
                return place;
            }
        }
    }

    fn queue(&self, asker: Option<&Asker>) -> oneshot::Receiver<Place> {
        let (sender, place) = oneshot::channel();
        let mut state = self.lock();
        state.wait(asker, sender);
        self.deal(state);
        place
    }

    /// Waits until a namespace that holds fewer places than this one waits for one more.
    pub(super) async fn wanted_by_poorer(&self, namespace: &str) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // From here on a change is noticed: it may come between the look and the wait.
            changed.as_mut().enable();
            if self.lock().is_wanted_by_poorer(namespace) {
                return;
            }
            changed.await;
        }
    }

    /// How many places are taken by those whom this asker waits for: its own, its namespace's, or everybody's.
    pub(super) fn before(&self, asker: Option<&Asker>) -> usize {
        let state = self.lock();
        let passes = asker.and_then(|asker| Some((state.namespaces.get(&asker.namespace)?, asker.pass)));
        match passes {
            Some((of, pass)) if state.free > 0 => match of.all.get(&pass) {
                Some(own) if !may_pass(own.held, state.free) => own.held,
                _ => of.held,
            },
            _ => state.all,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out what may be handed out. Nothing that would take the lock is dropped under it.
    fn deal(&self, mut state: MutexGuard<'_, State>) {
        let mut unwanted = Vec::new();
        while let Some((asker, waiting)) = state.next() {
            let place = Place {
                places: self.clone(),
                asker,
                given_back: false,
            };
            if let Err(mut place) = waiting.send(place) {
                state.give_back(place.asker.as_ref());
                place.given_back = true;
                unwanted.push(place);
            }
        }
        drop(state);
        self.0.changed.notify_waiters();
    }
}

const fn may_namespace(held: usize, free: usize) -> bool {
    held < free
}

const fn may_pass(held: usize, free: usize) -> bool {
    held.saturating_mul(3) < free
}

impl State {
    fn wait(&mut self, asker: Option<&Asker>, sender: oneshot::Sender<Place>) {
        self.now += 1;
        let Some(Asker { namespace, pass }) = asker else {
            self.others.retain(|waiting| !waiting.is_closed());
            return self.others.push_back(sender);
        };
        let of = self.namespaces.entry(namespace.clone()).or_default();
        // Who comes now, or again, comes after those who wait already.
        if !of.all.values().any(Pass::waits) {
            of.since = self.now;
        }
        let own = of.all.entry(*pass).or_default();
        if !own.waits() {
            own.since = self.now;
        }
        own.waiting.retain(|waiting| !waiting.is_closed());
        own.waiting.push_back(sender);
    }

    /// Who gets a place now, which is booked to it; none: nobody may.
    fn next(&mut self) -> Option<(Option<Asker>, oneshot::Sender<Place>)> {
        if self.free == 0 {
            return None;
        }
        if let Some(waiting) = self.others.pop_front() {
            self.free -= 1;
            return Some((None, waiting));
        }
        let free = self.free;
        self.namespaces.retain(|_, of| of.is_needed());
        let allowed = self
            .namespaces
            .iter()
            .filter(|(_, of)| may_namespace(of.held, free));
        let allowed = allowed.filter_map(|(name, of)| {
            let order = (of.held, of.since);
            let pass = of.next(free)?;
            Some((order, name.clone(), pass))
        });
        let (_, namespace, pass) = allowed.min()?;
        self.now += 1;
        let of = self.namespaces.get_mut(&namespace)?;
        (of.held, of.since) = (of.held + 1, self.now);
        let own = of.all.get_mut(&pass)?;
        (own.held, own.since) = (own.held + 1, self.now);
        self.free -= 1;
        let waiting = own.waiting.pop_front()?;
        Some((Some(Asker { namespace, pass }), waiting))
    }

    fn is_wanted_by_poorer(&self, namespace: &str) -> bool {
        let held = self.namespaces.get(namespace).map_or(0, |of| of.held);
        let mut others = self.namespaces.iter().filter(|(name, _)| *name != namespace);
        others.any(|(_, of)| of.held < held && of.all.values().any(Pass::waits))
    }

    fn give_back(&mut self, asker: Option<&Asker>) {
        self.free += 1;
        let Some(Asker { namespace, pass }) = asker else {
            return;
        };
        let Some(of) = self.namespaces.get_mut(namespace) else {
            return;
        };
        of.held = of.held.saturating_sub(1);
        if let Some(own) = of.all.get_mut(pass) {
            own.held = own.held.saturating_sub(1);
        }
        if !of.is_needed() {
            self.namespaces.remove(namespace);
        }
    }
}

impl Passes {
    /// Whether it holds a place, or still waits for one.
    fn is_needed(&mut self) -> bool {
        self.all.retain(|_, pass| pass.is_needed());
        !self.all.is_empty()
    }

    /// The pass that comes next, if one may.
    fn next(&self, free: usize) -> Option<u64> {
        let allowed = self
            .all
            .iter()
            .filter(|(_, pass)| !pass.waiting.is_empty() && may_pass(pass.held, free));
        let next = allowed.min_by_key(|(_, pass)| (pass.held, pass.since));
        next.map(|(number, _)| *number)
    }
}

impl Pass {
    fn waits(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_closed())
    }

    /// Whether it holds a place, or still waits for one.
    fn is_needed(&mut self) -> bool {
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.held > 0 || !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn asker(namespace: &str, pass: u64) -> Asker {
        Asker {
            namespace: namespace.to_owned(),
            pass,
        }
    }

    /// As many as it gets at once.
    fn fill(places: &Places, asker: &Asker) -> Vec<Place> {
        let one = || places.take(Some(asker)).now_or_never();
        std::iter::from_fn(one).collect()
    }

    #[test]
    fn one_pass_holds_a_quarter_and_one_namespace_half() {
        for (all, quarter, half) in [(20, 5, 10), (8, 2, 4), (4, 1, 2), (2, 1, 1), (1, 1, 1)] {
            let places = Places::new(all);
            let first = fill(&places, &asker("a", 0));
            let others: Vec<_> = (1..50)
                .flat_map(|pass| fill(&places, &asker("a", pass)))
                .collect();
            assert_eq!(
                (first.len(), first.len() + others.len()),
                (quarter, half),
                "of {all}"
            );
        }
    }

    #[test]
    fn the_more_namespaces_there_are_the_less_each_gets_and_a_newcomer_gets_what_is_free_next() {
        let places = Places::new(20);
        let fill_all = |namespace: &str| -> Vec<Place> {
            (0..9)
                .flat_map(|pass| fill(&places, &asker(namespace, pass)))
                .collect()
        };
        let mut held: Vec<_> = ["a", "b", "c", "d", "e"].map(fill_all).into();
        let counts: Vec<usize> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [10, 5, 3, 1, 1]);
        let (greedy, newcomer) = (asker("a", 1), asker("z", 0));
        let mut more = Box::pin(places.take(Some(&greedy)));
        let mut first = Box::pin(places.take(Some(&newcomer)));
        assert!((&mut more).now_or_never().is_none() && (&mut first).now_or_never().is_none());
        held[0].pop();
        assert!((&mut more).now_or_never().is_none() && first.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_holds_least_comes_next_and_then_who_waits_longest() {
        let places = Places::new(3);
        let take = |namespace: &str| {
            let (places, asker) = (places.clone(), asker(namespace, 0));
            Box::pin(async move { places.take(Some(&asker)).await })
        };
        let mut full = vec![take("a").await, take("b").await, take("c").await];
        let (mut a, mut b, mut d) = (take("a"), take("b"), take("d"));
        assert!((&mut a).now_or_never().is_none() && (&mut b).now_or_never().is_none());
        assert!((&mut d).now_or_never().is_none());
        drop(full.pop());
        let d = (&mut d).now_or_never().expect("a newcomer comes first");
        drop(full.pop());
        let b = (&mut b)
            .now_or_never()
            .expect("who holds none comes before who holds one");
        assert!((&mut a).now_or_never().is_none());
        drop((b, d, full));
        assert!((&mut a).now_or_never().is_some());
    }

    #[tokio::test]
    async fn two_who_come_again_and_again_do_not_keep_a_third_waiting() {
        let orders = [["a", "b", "c"], ["b", "c", "a"]].map(|all| all.map(|name| asker(name, 0)));
        let passes = [[0, 1, 2], [1, 2, 0]].map(|all| all.map(|pass| asker("shop", pass)));
        for [first, second, third] in orders.into_iter().chain(passes) {
            let places = Places::new(1);
            let take = |asker: &Asker| {
                let (places, asker) = (places.clone(), asker.clone());
                Box::pin(async move { places.take(Some(&asker)).await })
            };
            let held = take(&first).await;
            let (mut one, mut patient) = (take(&second), take(&third));
            assert!((&mut one).now_or_never().is_none() && (&mut patient).now_or_never().is_none());
            drop(held);
            let held = one.now_or_never().expect("it came before");
            let mut again = take(&first);
            assert!((&mut again).now_or_never().is_none());
            drop(held);
            let held = patient.now_or_never().expect("after one of each");
            let mut other = take(&second);
            assert!((&mut other).now_or_never().is_none());
            drop(held);
            assert!(again.now_or_never().is_some() && other.now_or_never().is_some());
        }
    }

    #[test]
    fn only_one_who_holds_less_and_waits_wants_a_place_of_anothers() {
        let places = Places::new(4);
        let held = [fill(&places, &asker("a", 0)), fill(&places, &asker("a", 1))];
        let mut wanted = Box::pin(places.wanted_by_poorer("a"));
        let own = asker("a", 2);
        let mut more = Box::pin(places.take(Some(&own)));
        assert!((&mut more).now_or_never().is_none());
        let other = fill(&places, &asker("b", 0));
        assert_eq!((held.len(), other.len()), (2, 1));
        assert!(
            (&mut wanted).now_or_never().is_none(),
            "there is room for the other"
        );
        let (b, c) = (asker("b", 1), asker("c", 0));
        let _last = places.take(Some(&c)).now_or_never().expect("the last");
        let mut poorer = Box::pin(places.take(Some(&b)));
        assert!((&mut poorer).now_or_never().is_none());
        assert!((&mut wanted).now_or_never().is_some());
        assert!(
            places.wanted_by_poorer("b").now_or_never().is_none(),
            "a has more"
        );
        drop(poorer);
        assert!(
            places.wanted_by_poorer("a").now_or_never().is_none(),
            "nobody waits"
        );
    }

    #[test]
    fn one_who_gave_up_waiting_holds_nothing_and_is_forgotten() {
        let places = Places::new(1);
        let held = fill(&places, &asker("a", 0));
        let b = asker("b", 0);
        let mut waits = Box::pin(places.take(Some(&b)));
        assert!((&mut waits).now_or_never().is_none());
        drop(waits);
        drop(held);
        assert_eq!(fill(&places, &asker("c", 0)).len(), 1);
        assert_eq!(places.lock().free, 1);
        assert!(places.lock().namespaces.is_empty());
    }

    #[test]
    fn one_given_a_place_that_it_no_longer_wants_gives_it_back() {
        let places = Places::new(1);
        let held = fill(&places, &asker("a", 0));
        let (b, c) = (asker("b", 0), asker("c", 0));
        let mut waits = Box::pin(places.take(Some(&b)));
        let mut next = Box::pin(places.take(Some(&c)));
        assert!((&mut waits).now_or_never().is_none() && (&mut next).now_or_never().is_none());
        // It is handed over, and nobody looks.
        drop(held);
        drop(waits);
        assert!(next.now_or_never().is_some());
    }
}
