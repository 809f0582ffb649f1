//! Who may ask a server next. A server is asked so much at a time; those places are dealt out so that neither one
//! namespace nor one check keeps the others from being heard, however many questions they have and however slow those are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

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
/// most. Who holds least comes next, and of those who hold the same whoever waits longest since it last had one.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    all: usize,
    free: usize,
    turns: u64,
    /// Only those who hold or wait.
    namespaces: BTreeMap<String, Passes>,
    /// Those on nobody's account, whom only a full house keeps waiting.
    others: VecDeque<oneshot::Sender<Place>>,
}

#[derive(Debug, Default)]
struct Passes {
    held: usize,
    last_turn: u64,
    all: BTreeMap<u64, Pass>,
}

#[derive(Debug, Default)]
struct Pass {
    held: usize,
    last_turn: u64,
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
        Self(Arc::new(Mutex::new(State {
            all,
            free: all,
            turns: 0,
            namespaces: BTreeMap::new(),
            others: VecDeque::new(),
        })))
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let queue = match asker {
            None => &mut self.others,
            Some(Asker { namespace, pass }) => {
                let of = self.namespaces.entry(namespace.clone()).or_default();
                &mut of.all.entry(*pass).or_default().waiting
            }
        };
        queue.retain(|waiting| !waiting.is_closed());
        queue.push_back(sender);
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
            let order = (of.held, of.last_turn);
            let pass = of.next(free)?;
            Some((order, name.clone(), pass))
        });
        let (_, namespace, pass) = allowed.min()?;
        self.turns += 1;
        let of = self.namespaces.get_mut(&namespace)?;
        (of.held, of.last_turn) = (of.held + 1, self.turns);
        let own = of.all.get_mut(&pass)?;
        (own.held, own.last_turn) = (own.held + 1, self.turns);
        self.free -= 1;
        let waiting = own.waiting.pop_front()?;
        Some((Some(Asker { namespace, pass }), waiting))
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
        let next = allowed.min_by_key(|(number, pass)| (pass.held, pass.last_turn, **number));
        next.map(|(number, _)| *number)
    }
}

impl Pass {
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
